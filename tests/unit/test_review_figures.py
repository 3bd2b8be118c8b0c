"""What the figures read of the reviews, and the daily computation: from the table to the page and to the metrics."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pet_detector.aws import review_figures
from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import format_time, now
from pet_detector.rules.models import Animal
from pet_detector.use_cases import accuracy
from tests.support.moto_world import REVIEWS, Cloud

CAT, DOG = Animal.CAT, Animal.DOG


def ago(days: float) -> str:
    return format_time(datetime.now(UTC) - timedelta(days=days))


def head(number: int, verdict: str | None = "cat", days: float = 0, **attributes: Any) -> dict[str, Any]:
    """A certain cat of the sample, guessed so many days ago; decided in its turn just now, if at all."""
    image_id = f"{number:032x}"
    found: dict[str, Any] = {"ImageID": image_id, "Entry": "review", "HomeOrder": f"{number:04}", "Guess": "cat"}
    found |= {"Certain": True, "Scores": {"cat": Decimal(95), "dog": Decimal(0)}, "Purpose": "sample"}
    found |= {"PolicyVersion": "2:80/15/50/55", "GuessedAt": ago(days), "Probability": Decimal("0.02"), "Sequence": 0}
    decided = {"Queue": "done", "Order": now(), "Verdict": verdict, "InTurn": True}
    return found | (decided if verdict else {"Queue": "sample", "Order": "0"}) | attributes


def row(image: dict[str, Any], sequence: int, person: str, animal: str = "", **attributes: Any) -> dict[str, Any]:
    """A verdict, or an undo without an animal."""
    found = {"ImageID": image["ImageID"], "Entry": f"verdict#{sequence:06}", "Key": f"key-{sequence}", "At": now()}
    found |= {"Person": person, "Kind": "verdict" if animal else "undo", "Mode": "single", "Blind": True}
    return found | ({"Animal": animal} if animal else {}) | attributes


def test_reads_every_queue_and_nothing_too_old(aws: Cloud) -> None:
    for number, queue in enumerate(("disagreed", "uncertain", "sample", "second", "pending", "done")):
        order = now() if queue == "done" else "0"
        aws.put_review(head(number, Queue=queue, Order=order))
        aws.put_review(head(10 + number, days=31, Queue=queue, Order=order))

    found = list(review_figures.asked(REVIEWS, ago(30)))

    assert {image_id for image_id, _, _ in found} == {f"{number:032x}" for number in range(6)}


def test_what_was_passed_over_and_what_was_decided_out_of_turn_is_read_as_such(aws: Cloud) -> None:
    aws.put_review(head(1, verdict=None, PassedOver=True))
    aws.put_review(head(2) | {"InTurn": False})
    aws.put_review(head(3, DecidedKey=f"same-{3:032x}-1"))
    aws.put_review(head(4, DecidedKey=f"same-{3:032x}-1"))

    found = {
        image_id[-1]: (one.in_turn, one.passed_over, one.carried_over)
        for image_id, _, one in review_figures.asked(REVIEWS, ago(1))
    }

    assert found == {
        "1": (False, True, False),
        "2": (False, False, False),
        "3": (True, False, False),
        "4": (True, False, True),  # what was said about the third one, of the same bytes
    }


def test_what_moves_meanwhile_is_read_once(aws: Cloud) -> None:
    """It waited when its queue was read, and was decided when those of the decided were read."""
    waited = head(1, verdict=None)
    aws.put_review(waited)
    moved: list[bool] = []

    def move(params: dict[str, Any], **_: Any) -> None:
        if params["ExpressionAttributeValues"][":queue"] in ("second", {"S": "second"}) and not moved:
            aws.put_review(head(1, verdict="dog"))
            moved.append(True)

    client("dynamodb").meta.events.register("provide-client-params.dynamodb.Query", move)

    ((image_id, _, review),) = review_figures.asked(REVIEWS, ago(30))

    assert moved
    assert (image_id, review.verdict) == (waited["ImageID"], DOG)


def test_two_looks_are_those_of_two_people(aws: Cloud) -> None:
    """What was undone, corrected in the gallery or carried over is none; a third person decides and is not asked.

    And both were blind.
    """
    images = [head(number, SecondLook=True) for number in range(8)]
    aws.put_review(
        images[0], row(images[0], 1, "ada", "cat"), row(images[0], 2, "bob", "dog"), row(images[0], 3, "eve", "cat")
    )
    aws.put_review(images[1], row(images[1], 1, "ada", "cat"), row(images[1], 2, "ada", "dog"))
    aws.put_review(images[2], row(images[2], 1, "ada", "cat"), row(images[2], 2, "bob", "dog", Mode="gallery"))
    aws.put_review(images[3], row(images[3], 1, "ada", "cat"), row(images[3], 2, "bob", "dog", SameAs="f" * 32))
    undo = row(images[4], 2, "ada", Undoes=1)
    aws.put_review(
        images[4],
        row(images[4], 1, "ada", "cat"),
        undo,
        row(images[4], 3, "ada", "dog"),
        row(images[4], 4, "bob", "dog"),
    )
    aws.put_review(images[5])
    aws.put_review(images[6], row(images[6], 1, "ada", "cat", Blind=False), row(images[6], 2, "bob", "cat"))
    third = row(images[7], 3, "eve", "cat")
    aws.put_review(images[7], row(images[7], 1, "ada", "cat"), row(images[7], 2, "bob", "dog", Blind=False), third)

    found = review_figures.second_looks(REVIEWS, [image["ImageID"] for image in images])

    assert found == [(CAT, DOG), (DOG, DOG)]


def test_the_daily_figures_are_kept_and_published(aws: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        aws.put_review(head(number, verdict="dog" if number < 12 else "cat"))

    accuracy.daily(REVIEWS)

    kept = review_figures.stored(REVIEWS, review_figures.ACCURACY)
    assert kept is not None
    assert kept["days"] == 30
    assert kept["classes"]["cat"]["precision"]["value"] == 80
    assert kept["sample"] == {"drawn": 60, "judged": 60}
    thresholds = review_figures.stored(REVIEWS, review_figures.THRESHOLDS)
    assert thresholds is not None
    assert {row["minimum"]: row["review"] for row in thresholds["rows"]}[98] == 3000
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    values = {name: value for one in documents for name, value in one.items() if name.startswith("Precision")}
    assert values["Precision"] == [80.0]
    assert 85 < values["PrecisionBound"][0] < 90


def test_with_too_little_nothing_is_published_and_the_page_learns_what_is_missing(
    aws: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(16):
        aws.put_review(head(number))

    accuracy.daily(REVIEWS)

    kept = review_figures.stored(REVIEWS, review_figures.ACCURACY)
    assert kept is not None
    assert kept["classes"]["cat"]["precision"]["text"] == "not enough yet: 34 more"
    assert '"_aws"' not in capsys.readouterr().out


def test_no_verdicts_at_all(aws: Cloud, logs: io.StringIO) -> None:
    accuracy.daily(REVIEWS)

    thresholds = review_figures.stored(REVIEWS, review_figures.THRESHOLDS)
    assert thresholds is not None
    assert (thresholds["current"], thresholds["rows"]) == (None, [])
    assert '"drawn":0' in logs.getvalue()
