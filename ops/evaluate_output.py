"""What a person reads of an evaluation, and the same as JSON for programs."""

from __future__ import annotations

from typing import Any

from ops.backfill_output import duration
from ops.evaluate import Evaluation
from ops.evaluation import Answer, Bin, Figures, Judged, Share
from ops.output import print_table, say
from pet_detector.rules.models import Animal, Rejection
from pet_detector.rules.prices import prices
from pet_detector.rules.text import printable

COLUMNS = {
    Answer.CAT: "cat",
    Answer.DOG: "dog",
    Answer.OTHER: "other",
    Answer.PEOPLE: "uncertain: people",
    Answer.REJECTED: "rejected",
}
# Files that are listed on a terminal; the HTML file and --json have all.
_LISTED = 10


def share(found: Share) -> str:
    """`96.0 % (24 of 25; 80.5 to 99.3 %)`: the share and its 95 % interval."""
    if found.value is None:
        return "none"
    low, high = found.interval
    return f"{found.value:.1%} ({found.right} of {found.of}; {low:.1%} to {high:.1%})".replace("%", " %")


def range_of(one: Bin) -> str:
    """`50 to 60 %`."""
    return f"{one.low:g} to {one.high:g} %"


def said(one: Judged) -> str:
    """What the machine said of a picture: `dog, certain`, `people (leaned to cat)`, `rejected`."""
    if one.answer is Answer.REJECTED:
        return "rejected"
    return f"people (leaned to {one.guess})" if one.answer is Answer.PEOPLE else f"{one.answer}, certain"


def asked(evaluation: Evaluation, found: Figures) -> str:
    """How many were asked about, how long a call took, and what it cost."""
    if found.milliseconds is None:
        return "The recognizer was asked about no picture."
    middle, high = found.milliseconds
    price = prices()["rekognition_image"]
    dollars = (
        f"on AWS it is ${price:g} an image, ${evaluation.dollars:,.3f} for these"
        if evaluation.is_local
        else f"${price:g} an image, ${evaluation.dollars:,.3f} in all"
    )
    copies = f" Of {evaluation.copies:,} with more than 5 MB a smaller copy was sent." if evaluation.copies else ""
    times = f"{middle:,.0f} ms each (median), 95 % within {high:,.0f} ms"
    return f"Asked about {evaluation.asked:,} pictures: {times}; {dollars}.{copies}"


def about(evaluation: Evaluation) -> list[str]:
    """What was asked, and how far the figures reach: sentences."""
    model = ", ".join(sorted(evaluation.models)) or "none"
    lines = [f"Policy {evaluation.policy} of {evaluation.environment}, model {model}."]
    if evaluation.is_local:
        lines.append("The local recognizer is not Amazon's: its figures say nothing about those of Rekognition.")
    lines.append(
        "Intervals (95 %) are of chance alone: for other pictures than these, or another mix of them, figures differ."
    )
    return lines


def show_price(pictures: int, pace: float, seconds: float) -> None:
    """What asking Amazon costs and how long it takes."""
    dollars = pictures * prices()["rekognition_image"]
    say(
        f"Amazon Rekognition will be asked about {pictures:,} pictures: about ${dollars:,.2f} and {duration(seconds)}, "
        f"at {pace:g} calls a second at most. It gets the pictures' bytes; nothing is stored in the application, and "
        "DailyAnalysisLimit does not count them."
    )


def show(evaluation: Evaluation, found: Figures) -> None:
    """The whole report."""
    if evaluation.stopped:
        say("Stopped before the end: these are the pictures that were judged so far.")
    for line in about(evaluation):
        say(line)
    if found.pictures:
        _show_figures(evaluation, found)
    else:
        say("There was no picture to judge.")
    _show_left(evaluation)


def _show_figures(evaluation: Evaluation, found: Figures) -> None:
    rows = [(f"{truth}", *(f"{found.matrix[truth][answer]:,}" for answer in Answer)) for truth in Animal]
    print_table(("is \\ was filed as", *(COLUMNS[answer] for answer in Answer)), rows)
    print_table(
        ("class", "precision: is it, of those filed as it", "recall: filed as it, of those that are"),
        [(f"{animal}", share(found.precision[animal]), share(found.recall[animal])) for animal in Animal],
    )
    say(f"Without a person: {share(found.certain)}; right of those: {share(found.correct)}.")
    say(asked(evaluation, found))
    print_table(
        ("so sure was it", "pictures", "it said, on average", "its guess was right"),
        [
            (range_of(one), f"{one.right.of:,}", f"{one.said:.1f} %" if one.said is not None else "", share(one.right))
            for one in found.curve
            if one.right.of
        ],
    )
    if found.worst:
        print_table(
            ("worst", "is", "it said", "sure", "why"),
            [(one.name, f"{one.truth}", said(one), f"{one.said:.1f} %", one.found.reason) for one in found.worst],
        )


def _show_left(evaluation: Evaluation) -> None:
    for one in evaluation.left[:_LISTED]:
        say(f"Left out: {printable(one.name)}: {printable(one.reason)}.")
    if (more := len(evaluation.left) - _LISTED) > 0:
        say(f"Left out: {more:,} more; --html and --json list them.")


def document(evaluation: Evaluation, found: Figures) -> dict[str, Any]:
    """The same for programs: shares from 0 to 1, confidence in percent, times in milliseconds."""
    return {
        "environment": evaluation.environment,
        "folder": evaluation.folder,
        "policy": evaluation.policy,
        "models": sorted(evaluation.models),
        "stopped": evaluation.stopped,
        "pictures": found.pictures,
        "asked": evaluation.asked,
        "copies": evaluation.copies,
        "dollars": 0.0 if evaluation.is_local else evaluation.dollars,
        "dollarsAnImageOnAws": prices()["rekognition_image"],
        "milliseconds": found.milliseconds and {"median": found.milliseconds[0], "p95": found.milliseconds[1]},
        "matrix": found.matrix,
        "precision": {animal: _share(one) for animal, one in found.precision.items()},
        "recall": {animal: _share(one) for animal, one in found.recall.items()},
        "certain": _share(found.certain),
        "correct": _share(found.correct),
        "reliability": [
            {"from": one.low, "to": one.high, "said": one.said, "right": _share(one.right)} for one in found.curve
        ],
        "judged": [_judged(one) for one in evaluation.judged],
        "worst": [one.name for one in found.worst],
        "leftOut": evaluation.left,
    }


def _share(found: Share) -> dict[str, Any]:
    low, high = found.interval
    return {"right": found.right, "of": found.of, "value": found.value, "low": low, "high": high}


def _judged(one: Judged) -> dict[str, Any]:
    code = {"reasonCode": one.found.code} if isinstance(one.found, Rejection) else {"scores": one.found.scores}
    return {
        "name": one.name,
        "truth": one.truth,
        "answer": one.answer,
        "guess": one.guess,
        "said": one.said,
        "right": one.is_right,
        "reason": one.found.reason,
        "milliseconds": one.milliseconds,
        **code,
    }
