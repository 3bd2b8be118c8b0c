"""Step Functions: the parts of the Amazon States Language that the image workflow leans on."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.waiting import eventually

from .conftest import ROLE, WAIT_SCALE

UNKNOWN_FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:there-is-none"


def start(engine: Any, definition: dict[str, Any], name: str = "", suffix: str = "") -> str:
    machine = engine.client("stepfunctions").create_state_machine(
        name=name or f"m-{uuid.uuid4().hex[:8]}", definition=json.dumps(definition), roleArn=ROLE
    )
    execution = engine.client("stepfunctions").start_execution(
        stateMachineArn=machine["stateMachineArn"] + suffix, input="{}"
    )
    return str(execution["executionArn"])


def finish(engine: Any, execution: str, seconds: float = 10) -> dict[str, Any]:
    def ended() -> Any:
        description = engine.client("stepfunctions").describe_execution(executionArn=execution)
        return description if description["status"] != "RUNNING" else None

    result: dict[str, Any] = eventually(ended, "the execution ends", seconds)
    return result


def failing_task(retry: dict[str, Any]) -> dict[str, Any]:
    return {
        "StartAt": "Work",
        "QueryLanguage": "JSONata",
        "States": {
            "Work": {"Type": "Task", "Resource": UNKNOWN_FUNCTION, "Retry": [retry], "End": True},
        },
    }


def retry_delays(engine: Any, execution: str) -> list[float]:
    """Seconds between a failure and the next attempt, at full length (not scaled)."""
    events = engine.client("stepfunctions").get_execution_history(executionArn=execution)["events"]
    moments = [e["timestamp"] for e in events if e["type"] == "TaskScheduled"]
    return [(b - a).total_seconds() / WAIT_SCALE for a, b in itertools.pairwise(moments)]


def test_retry_never_waits_longer_than_max_delay_seconds(gap_engine: Any) -> None:
    retry = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "BackoffRate": 10, "MaxDelaySeconds": 2}

    result = finish(gap_engine, start(gap_engine, failing_task({**retry, "MaxAttempts": 3})), seconds=4)

    assert result["status"] == "FAILED"


def test_retry_with_full_jitter_waits_a_random_part_of_the_delay(gap_engine: Any) -> None:
    retry = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "BackoffRate": 1, "JitterStrategy": "FULL"}

    execution = start(gap_engine, failing_task({**retry, "MaxAttempts": 16}))
    finish(gap_engine, execution)

    # 16 delays drawn between 0 and 1 s: all above 0.6 s once in two million runs.
    assert min(retry_delays(gap_engine, execution)) < 0.6


def test_a_wait_until_a_time_lasts_until_that_time_whatever_the_scale(gap_engine: Any) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)  # times are told in milliseconds
    wait = {"Type": "Wait", "Timestamp": until.isoformat(), "End": True}
    definition = {"StartAt": "Wait", "QueryLanguage": "JSONata", "States": {"Wait": wait}}

    assert finish(gap_engine, start(gap_engine, definition))["stopDate"] >= until


def test_a_slow_machine_does_not_fail_a_jsonata_expression(gap_engine: Any) -> None:
    slow = "{% $count($map([1..200000], function($i) { $string($i) & 'x' })) %}"
    definition = {
        "StartAt": "Think",
        "QueryLanguage": "JSONata",
        "States": {"Think": {"Type": "Pass", "Output": {"n": slow}, "End": True}},
    }

    result = finish(gap_engine, start(gap_engine, definition), seconds=90)

    assert result["status"] == "SUCCEEDED"


def test_timeout_of_the_machine_ends_the_execution(gap_engine: Any) -> None:
    definition = {
        "StartAt": "Wait",
        "TimeoutSeconds": 1,
        "States": {"Wait": {"Type": "Wait", "Seconds": 30, "Next": "Boom"}, "Boom": {"Type": "Fail", "Error": "Late"}},
    }

    execution = start(gap_engine, definition)
    result = finish(gap_engine, execution)

    assert result["status"] == "TIMED_OUT"
    assert result["error"] == "States.Timeout"


def test_an_execution_that_was_stopped_makes_no_further_attempt(gap_engine: Any) -> None:
    retry = {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "BackoffRate": 1, "MaxAttempts": 20}
    execution = start(gap_engine, failing_task(retry))
    eventually(lambda: retry_delays(gap_engine, execution), "the second attempt")

    gap_engine.client("stepfunctions").stop_execution(executionArn=execution)
    before = len(retry_delays(gap_engine, execution))
    time.sleep(5 * 2 * WAIT_SCALE)

    assert len(retry_delays(gap_engine, execution)) == before
    assert finish(gap_engine, execution)["status"] == "ABORTED"


def test_the_history_names_the_function_that_a_task_called(gap_engine: Any) -> None:
    called = f"{UNKNOWN_FUNCTION}:7"
    arguments = {"FunctionName": called, "Payload": "{% $states.input %}"}
    work = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Arguments": arguments, "End": True}
    execution = start(gap_engine, {"StartAt": "Work", "QueryLanguage": "JSONata", "States": {"Work": work}})
    finish(gap_engine, execution)

    events = gap_engine.client("stepfunctions").get_execution_history(executionArn=execution)["events"]
    (scheduled,) = [e["taskScheduledEventDetails"] for e in events if e["type"] == "TaskScheduled"]
    assert json.loads(scheduled.get("parameters", "null")) == {"FunctionName": called, "Payload": {}}


def test_a_mocked_task_that_throws_once_succeeds_on_its_retry(gap_engine: Any) -> None:
    retry = {"ErrorEquals": ["Throttled"], "IntervalSeconds": 1, "MaxAttempts": 2}

    execution = start(gap_engine, failing_task(retry), name="mocked", suffix="#ThrottledOnce")
    result = finish(gap_engine, execution)

    assert result["status"] == "SUCCEEDED"
    assert json.loads(result["output"]) == {"answer": 42}


def counting_task() -> dict[str, Any]:
    """A machine whose task sends one message to the queue in its input, and tries once more when throttled."""
    send = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Arguments": {"QueueUrl": "{% $states.input.queue %}", "MessageBody": "called"},
        "Retry": [{"ErrorEquals": ["Throttled"], "IntervalSeconds": 1, "MaxAttempts": 1}],
        "End": True,
    }
    return {"StartAt": "Work", "QueryLanguage": "JSONata", "States": {"Work": send}}


@pytest.mark.parametrize(
    ("case", "calls"), [("ThrottledOnce", 1), ("AnswerLost", 2)], ids=["no_answer_written", "after_call"]
)
def test_a_mocked_task_can_reach_the_real_service(gap_engine: Any, case: str, calls: int) -> None:
    queue = gap_engine.client("sqs").create_queue(QueueName=f"q-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    machine = gap_engine.client("stepfunctions").create_state_machine(
        name="partly-mocked", definition=json.dumps(counting_task()), roleArn=ROLE
    )

    execution = gap_engine.client("stepfunctions").start_execution(
        stateMachineArn=f"{machine['stateMachineArn']}#{case}", input=json.dumps({"queue": queue})
    )
    result = finish(gap_engine, execution["executionArn"])

    assert result["status"] == "SUCCEEDED"
    attributes = gap_engine.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert int(attributes["ApproximateNumberOfMessages"]) == calls
