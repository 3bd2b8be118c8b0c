"""`petdetect status`: what is counted, and what needs attention."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from ops.environment import Deployment
from pet_detector.aws import detection_logs, image_versions
from pet_detector.aws.image_versions import InputVersion
from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.operator.fast.releases import LIVE, Releases
from tests.support.moto_world import IMAGE_ID, KEY, Cloud


def _lie_under_input(monkeypatch: pytest.MonkeyPatch, **hours: float) -> None:
    """Objects under input/, each so many hours old."""
    now = datetime.now(UTC)
    versions = [InputVersion(f"input/{name}.jpg", "v1", now - timedelta(hours=ago)) for name, ago in hours.items()]
    monkeypatch.setattr(image_versions, "input_versions", lambda *_: iter(versions))


@pytest.mark.parametrize(
    ("status", "hours", "stuck"),
    [
        ("", 0.9, 0),
        ("", 1.1, 1),
        ("uploading", 1.1, 1),
        ("completed", 1.1, 1),
        ("held", 1.1, 0),
        ("failed", 1.1, 0),
    ],
)
def test_an_object_is_stuck_after_an_hour_unless_its_image_is_failed_or_held(
    aws: Cloud,
    petdetect: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    hours: float,
    stuck: int,
) -> None:
    if status:
        now, never = datetime.now(UTC).isoformat(), 4_102_444_800
        aws.write(ProcessingStatus=status, SourceKey=KEY, SourceVersion="v1", UpdatedAt=now, ExpiresAt=never)
    _lie_under_input(monkeypatch, **{IMAGE_ID: hours})

    answer = petdetect("status", "--json")
    document = json.loads(answer.stdout)

    assert answer.exit_code == (3 if stuck else 0)
    assert document["stuckObjects"] == stuck
    assert document["objectsInInput"] == 1
    words = "unfinished objects of over an hour under input/: 1; see petdetect reconcile --dry-run"
    assert (words in petdetect("status").stdout) == bool(stuck)


def test_the_oldest_object_and_the_oldest_image_at_work_are_named(
    aws: Cloud, petdetect: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    _lie_under_input(monkeypatch, **{"a" * 32: 0.1, "b" * 32: 0.5, "c" * 32: 0.2})
    for image_id, day in ((IMAGE_ID, 20), (OTHER_ID, 19)):
        aws.write(image_id, ProcessingStatus="processing", ListedAt=f"2026-11-{day}T09:00:00.000Z#{image_id}")

    status = petdetect("status", "--json")
    document = json.loads(status.stdout)

    assert status.exit_code == 0
    assert document["oldestObject"]["name"] == f"input/{'b' * 32}.jpg"
    assert document["oldestObject"]["ageSeconds"] == pytest.approx(1800, abs=30)
    assert document["oldestUnfinished"]["name"] == OTHER_ID
    assert document["oldestUnfinished"]["since"] == "2026-11-19T09:00:00.000Z"


def _in(hours: float) -> str:
    return detection_logs.format_time(datetime.now(UTC) + timedelta(hours=hours))


@pytest.mark.parametrize(("turn", "stuck"), [(2.0, 0), (-1.5, 0), (-2.5, 1), (None, 1)])
def test_an_object_whose_image_waits_for_its_turn_is_not_stuck(
    aws: Cloud, petdetect: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, turn: float | None, stuck: int
) -> None:
    turns = {} if turn is None else {"TurnAt": _in(turn)}
    aws.write(ProcessingStatus="processing", SourceVersion="v1", ClaimedAt=_in(-20), ListedAt=_in(-20), **turns)
    _lie_under_input(monkeypatch, **{IMAGE_ID: 20})

    assert json.loads(petdetect("status", "--json").stdout)["stuckObjects"] == stuck


def test_the_oldest_image_at_work_is_none_that_waits_and_one_that_waited_is_as_old_as_its_turn(
    aws: Cloud, petdetect: Callable[..., Result]
) -> None:
    def oldest() -> dict[str, Any] | None:
        found: dict[str, Any] | None = json.loads(petdetect("status", "--json").stdout)["oldestUnfinished"]
        return found

    for digit, came, turn in (("1", -30, 2), ("2", -20, -0.5), ("3", -1, None)):
        turns = {} if turn is None else {"TurnAt": _in(turn)}
        aws.write(digit * 32, ProcessingStatus="processing", ListedAt=f"{_in(came)}#{digit * 32}", **turns)
    assert (oldest() or {})["name"] == "3" * 32
    aws.write("3" * 32, ProcessingStatus="completed", ListedAt="x")
    found = oldest() or {}
    assert (found["name"], found["ageSeconds"]) == ("2" * 32, pytest.approx(1800, abs=30))
    aws.write("2" * 32, ProcessingStatus="completed", ListedAt="x")
    assert oldest() is None


def test_a_dead_letter_that_somebody_is_reading_still_counts(
    aws: Cloud, deployment: Deployment, petdetect: Callable[..., Result]
) -> None:
    queue = deployment.outputs["ImageEventsDeadLetterQueueUrl"]
    for _ in range(2):
        aws.sqs.send_message(QueueUrl=queue, MessageBody="{}")
    assert len(aws.sqs.receive_message(QueueUrl=queue)["Messages"]) == 1

    status = petdetect("status", "--json")

    assert status.exit_code == 3
    assert json.loads(status.stdout)["deadLetters"] == {"ImageEventsDeadLetterQueue": 2, "ReportsDeadLetterQueue": 0}


def test_a_failed_image_needs_attention(aws: Cloud, petdetect: Callable[..., Result]) -> None:
    images.present(aws)
    images.gone(aws, OTHER_ID, "completed")

    table = petdetect("status")
    document = json.loads(petdetect("status", "--json").stdout)

    assert table.exit_code == 3
    assert "failed images; see petdetect failed" in table.stdout
    assert document["needsAttention"]
    others = dict.fromkeys(("uploading", "processing", "needs_review", "rejected", "held"), 0)
    assert document["images"] == {"completed": 1, "failed": 1} | others
    assert document["objectsInInput"] == 1
    assert document["oldestObject"]["name"] == KEY


def test_a_held_image_starts_by_itself(aws: Cloud, petdetect: Callable[..., Result]) -> None:
    images.present(aws, status="held")

    status = petdetect("status")

    assert status.exit_code == 0
    assert "Held until tomorrow:      1; to start them today: petdetect release" in status.stdout


def test_notices_that_wait_for_a_digest_are_counted(aws: Cloud, petdetect: Callable[..., Result]) -> None:
    assert "Withheld notices" not in petdetect("status").stdout
    aws.withhold("ImageUncertain", 437)
    aws.withhold("ImageProcessingFailed", 12)

    status = petdetect("status")
    document = json.loads(petdetect("status", "--json").stdout)

    assert status.exit_code == 0
    assert "Withheld notices:         437 reviews, 12 failures; one digest tells of them within 15" in status.stdout
    assert (document["withheldReviews"], document["withheldFailures"]) == (437, 12)


def test_the_document_has_every_count(petdetect: Callable[..., Result]) -> None:
    assert set(json.loads(petdetect("status", "--json").stdout)) == {
        "environment",
        "images",
        "deadLetters",
        "runningExecutions",
        "oldestUnfinished",
        "objectsInInput",
        "oldestObject",
        "stuckObjects",
        "withheldReviews",
        "withheldFailures",
        "analysedToday",
        "dailyAnalysisLimit",
        "pace",
        "release",
        "advice",
        "needsAttention",
    }


@pytest.mark.parametrize(
    ("routes", "words"),
    [
        ({2: 100}, "version 2\n"),
        ({2: 100, 1: 0}, "version 2\n"),
        ({1: 100}, "version 1, not the newest, 2: somebody rolled back, or a deployment went back"),
        ({2: 10, 1: 90}, "version 2, 10 % and version 1, 90 % of new executions; `live` is split"),
    ],
)
def test_says_which_release_is_live(
    aws: Cloud, published: Releases, petdetect: Callable[..., Result], routes: dict[int, int], words: str
) -> None:
    published.publish(2)
    published.routes[LIVE] = routes

    status = petdetect("status")
    document = json.loads(petdetect("status", "--json").stdout)

    assert status.exit_code == 0
    assert f"Release:                  {words}" in status.stdout
    assert document["release"] == {
        "shares": {str(number): share for number, share in routes.items() if share},
        "newest": 2,
    }
