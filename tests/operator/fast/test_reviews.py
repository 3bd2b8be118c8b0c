"""`petdetect reviews`: what waits for people, and which verdicts are not carried out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result

from pet_detector.aws.detection_logs import format_time, serialized
from tests.support.moto_world import IMAGE_ID, REVIEWS, Cloud


def ago(**parts: float) -> str:
    """A time as records have it."""
    return format_time(datetime.now(UTC) - timedelta(**parts))


def head(aws: Cloud, queue: str, order: str) -> None:
    item = {"ImageID": IMAGE_ID, "Entry": "review", "Queue": queue, "Order": order, "Sequence": 2, "Verdict": "dog"}
    aws.dynamodb.put_item(TableName=REVIEWS, Item={name: serialized(value) for name, value in item.items()})


def test_nothing_waits(petdetect: Callable[..., Result]) -> None:
    answer = petdetect("reviews")
    assert answer.exit_code == 0
    assert "Waits for review: 0" in answer.stdout
    assert "Oldest uncertain image: none" in answer.stdout


@pytest.mark.parametrize(("minutes", "code"), [(10, 0), (50, 3)])
def test_a_verdict_that_was_started_again_and_is_not_carried_out_is_stuck(
    aws: Cloud, petdetect: Callable[..., Result], minutes: int, code: int
) -> None:
    since = ago(minutes=minutes)
    head(aws, "pending", f"{since}#{IMAGE_ID}")
    answer = petdetect("reviews", "--json")
    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["pending"], document["needsAttention"]) == (code, 1, bool(code))
    assert document["late"] == [
        {"imageId": IMAGE_ID, "verdict": "dog", "sequence": 2, "since": since, "stuck": bool(code)}
    ]
    assert ("verdicts-not-carried-out" in petdetect("reviews").stdout) == bool(code)


@pytest.mark.parametrize(("hours", "code"), [(71, 0), (73, 3)])
def test_reviews_are_overdue(aws: Cloud, petdetect: Callable[..., Result], hours: int, code: int) -> None:
    head(aws, "uncertain", "040.00")
    aws.write(ProcessingStatus="needs_review", ListedAt=f"{ago(hours=hours)}#{IMAGE_ID}")
    answer = petdetect("reviews")
    assert answer.exit_code == code
    assert "Waits for review: 1 (disagreed 0, uncertain 1, sample 0, second 0)" in answer.stdout
    assert ("overdue since 1 hours" in answer.stdout) == bool(code)
