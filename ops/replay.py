"""`petdetect replay`: what other numbers would have decided, from the labels in the records, without Rekognition."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click

from ops import output, policy_command
from ops.environment import Deployment
from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.models import Label
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.policy_changes import with_numbers
from pet_detector.use_cases import policy_changes

# The table is read in so many parts at once.
SEGMENTS = 8
# What a decision needs, and what is known of it. `Labels` is most of it.
_READ = "ImageID, DetectedAnimal, Certain, Labels, PolicyVersion, MachineAnimal, VerdictSequence"
UNSURE = "review"


@dataclass(frozen=True)
class Case:
    """A picture that would have been decided otherwise: cat, dog, other, or `review` when people are asked."""

    image_id: str
    was: str
    would_be: str
    truth: str | None
    reason: str


@dataclass
class Replay:
    """What other numbers do to the records that have labels.

    `changes` counts by (was, would be). `judged` are those of which people said what they are; errors are certain
    decisions that differ from it.
    """

    records: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    reviews_before: int = 0
    reviews_after: int = 0
    judged: int = 0
    errors_before: int = 0
    errors_after: int = 0
    cases: list[Case] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def changed(self) -> int:
        """How many would have been decided otherwise."""
        return sum(self.changes.values())

    def add(self, item: dict[str, Any], policy: Policy, limit: int) -> None:
        """Count one record, in DynamoDB's notation; `limit` is how many cases are kept."""
        machine = item.get("MachineAnimal") or item.get("DetectedAnimal")
        if machine is None or "Labels" not in item:
            return
        self.records += 1
        was = machine["S"] if _was_certain(item) else UNSURE
        labels = [Label(label["M"]["Name"]["S"], float(label["M"]["Confidence"]["N"])) for label in item["Labels"]["L"]]
        decision = decide(labels, policy)
        would_be = decision.animal.value if decision.certain else UNSURE
        self.reviews_before += was == UNSURE
        self.reviews_after += would_be == UNSURE
        truth = item["DetectedAnimal"]["S"] if "VerdictSequence" in item else None
        if truth:
            self.judged += 1
            self.errors_before += was not in (UNSURE, truth)
            self.errors_after += would_be not in (UNSURE, truth)
        if was != would_be:
            self.changes[was, would_be] += 1
            if len(self.cases) < limit:
                self.cases.append(Case(item["ImageID"]["S"], was, would_be, truth, decision.reason))


def _was_certain(item: dict[str, Any]) -> bool:
    return bool(item.get("Certain", {}).get("BOOL", False))


def replay(table: str, policy: Policy, limit: int) -> Replay:
    """Decide every record again. Raises AWS's errors. Reads the whole table, and changes nothing."""
    started = time.monotonic()
    found = Replay()
    for item in scan(table):
        found.add(item, policy, limit)
    found.seconds = time.monotonic() - started
    return found


def scan(table: str) -> Iterator[dict[str, Any]]:
    """Every record with labels, in DynamoDB's notation, in no order: read in parts side by side."""
    client("dynamodb")  # before the threads: boto3 must not make the same client in two of them at once
    with ThreadPoolExecutor(SEGMENTS) as pool:
        yield from itertools.chain.from_iterable(pool.map(lambda part: _part(table, part), range(SEGMENTS)))


def _part(table: str, part: int) -> list[dict[str, Any]]:
    pages: Iterable[Any] = (
        client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=table,
            Segment=part,
            TotalSegments=SEGMENTS,
            ProjectionExpression=_READ,
            FilterExpression="attribute_exists(Labels)",
        )
    )
    with translated("dynamodb:Scan"):
        return [item for page in pages for item in page["Items"]]


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each number of the policy, and how many pictures are named."""
    for one in reversed(dataclasses.fields(Policy)):
        function = click.option(f"--{one.name}", type=click.FloatRange(0, 100), metavar="PERCENT")(function)
    limit = click.IntRange(0, 10_000)
    return click.option("--limit", type=limit, default=20, show_default=True, help="Pictures to name.")(function)


def run(deployment: Deployment, numbers: Mapping[str, float | None], limit: int, *, as_json: bool) -> None:
    """Print what would change. Raises RequestError when the numbers make no policy."""
    current = policy_changes.history(policy_command.parameter_of(deployment))[0].policy
    policy = with_numbers(current, {name: number for name, number in numbers.items() if number is not None})
    found = replay(deployment.table, policy, limit)
    if as_json:
        changes = [{"was": was, "wouldBe": then, "images": n} for (was, then), n in found.changes.most_common()]
        document = output.to_json(found) | {"policy": policy, "changes": changes, "changed": found.changed}
        output.say_json(document)
        return
    output.say(
        f"With {policy_command.numbers(policy)}, of {found.records} records {found.changed} would be decided otherwise:"
    )
    if found.changes:
        output.print_table(
            ("was", "would be", "images"),
            ((was, then, str(number)) for (was, then), number in found.changes.most_common()),
        )
    output.say(f"Pictures to review: {found.reviews_after} instead of {found.reviews_before}.")
    if found.judged:
        output.say(
            f"Of {found.judged} that people judged: {found.errors_after} errors instead of {found.errors_before}. "
            "They are no random sample; petdetect thresholds estimates the errors of all."
        )
    else:
        output.say("People have judged none of them yet, so errors are not known.")
    if found.cases:
        output.print_table(
            ("image", "was", "would be", "people said", "because"),
            ((one.image_id, one.was, one.would_be, one.truth or "-", one.reason) for one in found.cases),
        )
    output.say(f"{found.records} records in {found.seconds:.1f} s, without a call of Rekognition.")
