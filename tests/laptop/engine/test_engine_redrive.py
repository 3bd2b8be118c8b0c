"""Step Functions: RedriveExecution goes on at the failed state, with input and variables, by what it began with."""

from __future__ import annotations

import json
from typing import Any

from tests.support.waiting import eventually

from .test_engine_distributed_map import ended
from .test_engine_state_machine_versions import Machine

# Sends a message to a queue that does not exist at first: there the execution fails.
SEND = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage"}


def visits(queue: str, words: str) -> dict[str, Any]:
    """A machine that remembers a word, sends it, and returns it with its input."""
    remember = {"Type": "Pass", "Assign": {"word": words}, "Output": {"from": "first"}, "Next": "Send"}
    arguments = {"QueueUrl": queue, "MessageBody": "{% $word %}"}
    output = "{% {'word': $word, 'input': $states.input, 'began': $states.context.Execution.Input} %}"
    return {
        "QueryLanguage": "JSONata",
        "StartAt": "Remember",
        "States": {
            "Remember": remember,
            "Send": {**SEND, "Arguments": arguments, "Output": output, "End": True},
        },
    }


def unmade_queue(engine: Any) -> tuple[str, str]:
    """The URL and the name of a queue that is gone."""
    url, arn = engine.create_queue()
    engine.client("sqs").delete_queue(QueueUrl=url)
    return url, arn.rpartition(":")[2]


def failed(engine: Any, machine: Machine, arn: str) -> str:
    """Start it and let it fail."""
    started = machine.states.start_execution(stateMachineArn=arn, input=json.dumps({"k": "{% 1 + 1 %}"}))
    assert ended(engine, started["executionArn"])["status"] == "FAILED"
    return str(started["executionArn"])


def test_a_redrive_goes_on_with_the_version_it_began_with(gap_engine: Any) -> None:
    url, name = unmade_queue(gap_engine)
    machine = Machine(gap_engine, visits(url, "one"))
    first = machine.publish()
    execution = failed(gap_engine, machine, first)
    machine.publish(visits(url, "two"))
    gap_engine.client("sqs").create_queue(QueueName=name)

    assert gap_engine.refusal(machine.states.redrive_execution, executionArn=execution) is None
    end = ended(gap_engine, execution)

    assert end["status"] == "SUCCEEDED"
    assert json.loads(end["output"]) == {"word": "one", "input": {"from": "first"}, "began": {"k": "{% 1 + 1 %}"}}
    assert end["stateMachineVersionArn"] == first
    assert end["redriveCount"] == 1
    events = machine.states.get_execution_history(executionArn=execution)["events"]
    kinds = [event["type"] for event in events]
    assert kinds.count("ExecutionRedriven") == 1
    assert kinds.count("PassStateEntered") == 1  # what was done is not done again
    assert kinds[-1] == "ExecutionSucceeded"


def test_an_execution_that_was_stopped_goes_on_where_it_was(gap_engine: Any) -> None:
    url, _ = gap_engine.create_queue()
    wait = {"Type": "Wait", "Seconds": 10}
    send = {**SEND, "Parameters": {"QueueUrl": url, "MessageBody": "sent"}, "Next": "Wait More"}
    states = {"Wait": {**wait, "Next": "Send"}, "Send": send, "Wait More": {**wait, "End": True}}
    machine = Machine(gap_engine, {"StartAt": "Wait", "States": states})
    execution = machine.states.start_execution(stateMachineArn=machine.arn)["executionArn"]

    def waits() -> bool:
        return len(machine.states.get_execution_history(executionArn=execution)["events"]) > 1

    eventually(waits, "the execution waits")
    machine.states.stop_execution(executionArn=execution)
    assert gap_engine.refusal(machine.states.redrive_execution, executionArn=execution) is None
    assert ended(gap_engine, execution)["status"] == "SUCCEEDED"

    # The wait of the first attempt, which nobody ended, was over first: it must not send a second message.
    attributes = gap_engine.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "1"


def test_what_succeeded_is_not_redriven(gap_engine: Any) -> None:
    machine = Machine(gap_engine, {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
    execution = machine.run(machine.arn)

    refusal = gap_engine.refusal(machine.states.redrive_execution, executionArn=execution["executionArn"])

    assert refusal == "ExecutionNotRedrivable"
    assert execution["redriveStatus"] == "NOT_REDRIVABLE"


def test_the_same_token_redrives_once(gap_engine: Any) -> None:
    url, _ = unmade_queue(gap_engine)
    machine = Machine(gap_engine, visits(url, "one"))
    execution = failed(gap_engine, machine, machine.arn)
    redrive = machine.states.redrive_execution
    arguments = {"executionArn": execution, "clientToken": "t"}

    assert [gap_engine.refusal(redrive, **arguments), gap_engine.refusal(redrive, **arguments)] == [None, None]

    assert ended(gap_engine, execution)["redriveCount"] == 1
