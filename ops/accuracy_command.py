"""`petdetect accuracy` and `thresholds`: how often the machine is right, and what another threshold would do."""

from __future__ import annotations

from ops import output, policy_command
from ops.environment import Deployment
from pet_detector.rules import figures
from pet_detector.rules.models import Animal
from pet_detector.use_cases import accuracy, policy_changes


def show_accuracy(deployment: Deployment, days: int, *, as_json: bool) -> None:
    """Compute, keep for the page (of the usual period only), and print."""
    found = _compute(deployment, days)
    if as_json:
        output.say_json(found.accuracy_document)
        return
    estimated = found.accuracy
    output.print_table(
        ("class", "precision (of those it was certain of, right)", "recall (of those there are, found)", "judged"),
        (
            (
                animal.value,
                figures.estimate_text(estimated.precision[animal]),
                figures.estimate_text(estimated.recall[animal]),
                f"{estimated.precision[animal].judged} and {estimated.recall[animal].judged}",
            )
            for animal in Animal
        ),
    )
    output.say(f"Cohen's kappa of two people: {figures.estimate_text(estimated.agreement, ' pairs')}")
    output.say(
        f"The last {days} days: {estimated.drawn} pictures were drawn by chance, and {estimated.judged} of them count. "
        "In brackets: 95 % intervals. docs/accuracy.md says what counts, and why."
    )


def show_thresholds(deployment: Deployment, days: int, *, as_json: bool) -> None:
    """Compute, keep for the page, and print."""
    document = _compute(deployment, days).thresholds_document
    in_force = policy_changes.history(policy_command.parameter_of(deployment))[0].policy
    document["current"] = in_force.minimum if in_force else None
    if as_json:
        output.say_json(document)
        return
    if not document["rows"]:
        output.say(figures.not_enough(document["least"]))
        return
    output.print_table(
        ("minimum", "pictures to review", "wrong among the others"),
        (
            (
                f"{row['minimum']:g} %" + (" (now)" if row["minimum"] == document["current"] else ""),
                f"{row['review']} ({row['reviewPercent']:.1f} %)",
                row["text"],
            )
            for row in document["rows"]
        ),
    )
    output.say(
        f"The last {days} days. `at most` holds with 95 % confidence. To change it: "
        'petdetect policy set minimum=75 --because "..."'
    )


def _compute(deployment: Deployment, days: int) -> accuracy.Figures:
    table = deployment.output("ReviewsTableName")
    found = accuracy.compute(table, days)
    if days == accuracy.DAYS:  # the page shows no other period
        accuracy.keep(table, found)
    return found
