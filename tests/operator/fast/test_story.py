"""`petdetect explain`: executions that are gone, errors without a name, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import Result

from ops import next_steps, story
from ops.environment import Deployment
from pet_detector.rules.execution_input import kind_of
from pet_detector.rules.models import Record
from tests.support.moto_world import EXECUTION, IMAGE_ID, KEY, Cloud

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_an_execution_that_step_functions_has_deleted_is_gone(
    aws: Cloud, deployment: Deployment, petdetect: Callable[..., Result]
) -> None:
    aws.write(ProcessingStatus="completed", SourceKey=KEY, SourceVersion="v1", ExecutionArn=EXECUTION)

    (run,) = story.tell(deployment, IMAGE_ID).runs

    assert (run.status, run.started) == ("GONE", None)
    assert "execution one: Step Functions has deleted it" in petdetect("explain", IMAGE_ID).stdout
    document = json.loads(petdetect("explain", IMAGE_ID, "--json").stdout)
    assert [found["status"] for found in document["executions"]] == ["GONE"]
    assert document["notified"] == []


def _event(kind: str, **details: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": NOON, **details}


def _entered(state: str) -> dict[str, Any]:
    return _event("TaskStateEntered", stateEnteredEventDetails={"name": state})


def test_an_attempt_that_timed_out_has_the_name_that_the_state_machine_catches() -> None:
    history = [
        _event("ExecutionStarted", executionStartedEventDetails={}),
        _entered("Analyze Image"),
        _event("TaskScheduled", taskScheduledEventDetails={}),
        _event("TaskTimedOut", taskTimedOutEventDetails={"resourceType": "lambda", "resource": "invoke"}),
        _event("TaskScheduled", taskScheduledEventDetails={}),
        _event("TaskFailed", taskFailedEventDetails={"error": "ServiceError", "cause": "down"}),
        _entered("Move Image"),
        _event("ExecutionTimedOut", executionTimedOutEventDetails={}),
    ]

    analyze, move = story.steps_of(history)

    assert (analyze.state, analyze.attempts) == ("Analyze Image", 2)
    assert [(problem.error, problem.cause) for problem in analyze.problems] == [
        ("States.Timeout", ""),
        ("ServiceError", "down"),
    ]
    assert (move.state, move.attempts, move.problems) == ("Move Image", 0, [])


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("redrive-1", '{"restart": true}', "redrive"),
        ("release-1", '{"restart": true, "release": true}', "release"),
        ("reconcile-1", "{}", "reconcile"),
        ("by-hand", '{"restart": true}', "restart"),
        ("by-hand", '{"detail-type": "Object Created"}', "event"),
        ("by-hand", "{}", "manual"),
        ("redrive-1", "none", "unreadable"),
        ("redrive-1", None, "unreadable"),
    ],
)
def test_who_started_an_execution(name: str, text: str | None, kind: str) -> None:
    assert kind_of(name, text) == kind


@pytest.mark.parametrize(
    ("record", "is_there", "advice", "command"),
    [
        ({"ProcessingStatus": "held"}, True, "The daily limit of analysed images was reached.", "release"),
        ({"ProcessingStatus": "held"}, False, "It was held by the daily limit, and its object is gone", None),
        ({"ProcessingStatus": "processing"}, True, "No execution works on it any more.", "reconcile"),
        ({"ProcessingStatus": "uploading"}, True, "It was uploaded and nothing has started", "reconcile"),
        ({"ProcessingStatus": "uploading"}, False, "It is not uploaded yet.", None),
        ({"ProcessingStatus": "completed"}, True, "Nothing: it is finished.", None),
        ({"ProcessingStatus": "completed"}, False, "It is finished, and its object is gone", None),
        ({"ProcessingStatus": "needs_review"}, True, "A person should look at it and decide.", None),
        ({"ProcessingStatus": "failed"}, True, "An unexpected error", "redrive"),
        ({"ProcessingStatus": "failed"}, False, "An unexpected error", "dismiss"),
        ({"ProcessingStatus": "failed", "StatusShard": "dismissed#0"}, False, "Nothing: its object is gone", None),
        ({}, False, "No record could be written; operators were notified.", "reconcile"),
    ],
)
def test_every_state_of_an_image_has_its_next_step(
    record: Record, is_there: bool, advice: str, command: str | None
) -> None:
    found: Record = {"ImageID": IMAGE_ID, **record}

    sentence, commands = next_steps.of(found, (KEY, "v1") if is_there else None, is_running=False)

    assert sentence.startswith(advice)
    assert [line.split()[:2] for line in commands] == ([["petdetect", command]] if command else [])


LATER, EARLIER = "2999-01-01T00:00:00.500Z", "2026-01-01T00:00:00.500Z"


@pytest.mark.parametrize(
    ("turn", "advice"),
    [
        (LATER, "Its turn comes at 2999-01-01 00:00:00 UTC: wait."),
        (EARLIER, "An execution works on it: wait."),
        (None, "An execution works on it: wait."),
    ],
)
def test_an_image_that_waits_for_its_turn_only_needs_time(turn: str | None, advice: str) -> None:
    record: Record = {"ImageID": IMAGE_ID, "ProcessingStatus": "processing"}
    if turn:
        record["TurnAt"] = turn

    sentence, commands = next_steps.of(record, (KEY, "v1"), is_running=True)

    assert sentence.startswith(advice)
    assert commands == []


@pytest.mark.parametrize(
    ("turn", "expires"),
    [(None, "From 2026-01-01 02:00"), (LATER, "From 2999-01-01 02:00"), (EARLIER, "From 2026-01-01 02:00")],
)
def test_a_claim_expires_two_hours_after_the_later_of_claim_and_turn(turn: str | None, expires: str) -> None:
    record: Record = {"ImageID": IMAGE_ID, "ProcessingStatus": "processing", "ClaimedAt": "2026-01-01T00:00:00.000Z"}
    if turn:
        record["TurnAt"] = turn

    sentence, _ = next_steps.of(record, (KEY, "v1"), is_running=False)

    assert f"{expires} UTC on its claim has expired" in sentence


@pytest.mark.parametrize(
    ("status", "turn", "title"),
    [
        ("processing", LATER, ": processing (waits for its turn until 2999-01-01 00:00:00 UTC)"),
        ("processing", EARLIER, ": processing\n"),
        ("held", LATER, ": held\n"),
    ],
)
def test_a_waiting_image_is_shown_as_such(
    aws: Cloud, deployment: Deployment, petdetect: Callable[..., Result], status: str, turn: str, title: str
) -> None:
    aws.write(ProcessingStatus=status, SourceKey=KEY, SourceVersion="v1", ExecutionArn=EXECUTION, TurnAt=turn)

    assert title in petdetect("explain", IMAGE_ID).stdout
