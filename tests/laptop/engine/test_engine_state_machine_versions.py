"""Step Functions: an execution runs the version that it was started with, and tells which one that was."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import pytest

from tests.support.waiting import eventually

from .conftest import ALL, ROLE
from .test_engine_distributed_map import ended
from .test_engine_step_functions import failing_task


def says(words: Any) -> dict[str, Any]:
    """A state machine whose output is this."""
    return {"StartAt": "Say", "States": {"Say": {"Type": "Pass", "Result": words, "End": True}}}


class Machine:
    """A state machine with versions and aliases."""

    def __init__(self, engine: Any, definition: Any, name: str = "", role: str = ROLE) -> None:
        self.engine, self.states = engine, engine.client("stepfunctions")
        name = name or f"m-{uuid.uuid4().hex[:8]}"
        made = self.states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=role)
        self.arn = made["stateMachineArn"]

    def publish(self, definition: Any = None, **more: Any) -> str:
        """Change the state machine, and publish a version of it; returns the version's ARN."""
        if definition is not None:
            self.states.update_state_machine(stateMachineArn=self.arn, definition=json.dumps(definition), **more)
        version = self.states.publish_state_machine_version(stateMachineArn=self.arn)
        return str(version["stateMachineVersionArn"])

    def alias(self, **weights: int) -> str:
        """An alias `live`, with weights by number of version (`v1=90, v2=10`); returns its ARN."""
        routes = [
            {"stateMachineVersionArn": f"{self.arn}:{version.removeprefix('v')}", "weight": weight}
            for version, weight in weights.items()
        ]
        made = self.states.create_state_machine_alias(name="live", routingConfiguration=routes)
        return str(made["stateMachineAliasArn"])

    def run(self, arn: str) -> Any:
        """Run it by this ARN, to its end; what DescribeExecution says."""
        return ended(self.engine, self.states.start_execution(stateMachineArn=arn, input="{}")["executionArn"])


def test_an_execution_of_a_version_runs_that_version(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    first = machine.publish()
    machine.publish(says("two"))

    execution = machine.run(first)

    assert json.loads(execution["output"]) == "one"
    assert execution["executionArn"].startswith(machine.arn.replace(":stateMachine:", ":execution:") + ":")
    assert execution["stateMachineArn"] == machine.arn
    assert execution["stateMachineVersionArn"] == first


def test_an_alias_draws_a_version_by_its_weights(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    machine.publish()
    machine.publish(says("two"))
    alias = machine.alias(v1=50, v2=50)

    executions = [machine.states.start_execution(stateMachineArn=alias)["executionArn"] for _ in range(30)]
    ends = [ended(gap_engine, execution) for execution in executions]

    assert {json.loads(execution["output"]) for execution in ends} == {"one", "two"}  # by chance one: 2 in a billion
    for execution in ends:
        assert execution["stateMachineAliasArn"] == alias
        assert execution["stateMachineVersionArn"] == f"{machine.arn}:{1 if 'one' in execution['output'] else 2}"


def test_a_version_acts_with_its_own_role(gap_engine: Any) -> None:
    _, queue = gap_engine.create_queue()
    url = gap_engine.client("sqs").get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"]
    send = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": True}
    definition = {"StartAt": "Send", "States": {"Send": {**send, "Parameters": {"QueueUrl": url, "MessageBody": "1"}}}}
    machine = Machine(gap_engine, definition, role=gap_engine.create_role(f"may-{uuid.uuid4().hex[:8]}", ALL))
    able = machine.publish()
    other = {**ALL, "Action": "sqs:ReceiveMessage"}
    machine.publish(definition, roleArn=gap_engine.create_role(f"may-not-{uuid.uuid4().hex[:8]}", other))

    assert [machine.run(able)["status"], machine.run(machine.arn)["status"]] == ["SUCCEEDED", "FAILED"]


@pytest.mark.parametrize("integration", ["startExecution", "startExecution.sync:2"])
def test_a_nested_execution_runs_the_version_too(gap_engine: Any, integration: str) -> None:
    _, queue = gap_engine.create_queue()
    url = gap_engine.client("sqs").get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"]
    send = {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": True}

    def sends(words: str) -> dict[str, Any]:
        return {"StartAt": "Send", "States": {"Send": {**send, "Parameters": {"QueueUrl": url, "MessageBody": words}}}}

    inner = Machine(gap_engine, sends("one"))
    inner.publish()
    alias = inner.alias(v1=100)
    inner.publish(sends("two"))
    start = {"Type": "Task", "Resource": f"arn:aws:states:::states:{integration}", "End": True}
    outer = Machine(
        gap_engine, {"StartAt": "In", "States": {"In": {**start, "Parameters": {"StateMachineArn": alias}}}}
    )

    outer.run(outer.arn)

    receive = gap_engine.client("sqs").receive_message
    messages = eventually(lambda: receive(QueueUrl=url).get("Messages"), "the nested execution sends")
    assert [message["Body"] for message in messages] == ["one"]


def test_a_synchronous_execution_runs_the_version_too(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    first = machine.publish()
    machine.publish(says("two"))
    start = gap_engine.client_without_prefix("stepfunctions").start_sync_execution

    assert gap_engine.refusal(start, stateMachineArn=first) is None
    assert json.loads(start(stateMachineArn=first)["output"]) == "one"


def test_a_test_case_of_the_mocks_goes_with_an_alias(gap_engine: Any) -> None:
    retry = {"ErrorEquals": ["Throttled"], "IntervalSeconds": 1, "MaxAttempts": 2}
    machine = Machine(gap_engine, failing_task(retry), name="mocked-alias")
    machine.publish()
    alias = machine.alias(v1=100)

    execution = machine.run(f"{alias}#ThrottledOnce")

    assert json.loads(execution["output"]) == {"answer": 42}
    assert execution.get("stateMachineAliasArn") == alias


def test_executions_are_listed_by_version_and_by_alias(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    first = machine.publish()
    second = machine.publish(says("two"))
    alias = machine.alias(v2=100)
    by = {arn: machine.run(arn)["executionArn"] for arn in (machine.arn, first, second, alias)}

    def listed(arn: str) -> set[str]:
        pages = machine.states.get_paginator("list_executions").paginate(
            stateMachineArn=arn, PaginationConfig={"PageSize": 1}
        )
        return {execution["executionArn"] for page in pages for execution in page["executions"]}

    assert listed(machine.arn) == set(by.values())
    assert listed(first) == {by[first]}
    assert listed(second) == {by[second], by[alias]}
    assert listed(alias) == {by[alias]}
    entry = machine.states.list_executions(stateMachineArn=alias)["executions"][0]
    assert (entry["stateMachineVersionArn"], entry["stateMachineAliasArn"]) == (second, alias)


def test_a_rule_starts_the_alias_and_its_events_tell_the_version(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    first = machine.publish()
    machine.publish(says("two"))
    alias = machine.alias(v1=100)
    url, queue = gap_engine.create_queue("events")
    events, name = gap_engine.client("events"), f"r-{uuid.uuid4().hex[:8]}"
    changes = {"source": ["aws.states"], "detail": {"stateMachineArn": [machine.arn]}}
    events.put_rule(Name=f"{name}-changes", EventPattern=json.dumps(changes))
    events.put_targets(Rule=f"{name}-changes", Targets=[{"Id": "queue", "Arn": queue}])
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=[{"Id": "machine", "Arn": alias, "RoleArn": ROLE}])

    events.put_events(Entries=[{"Source": name, "DetailType": "t", "Detail": "{}"}])

    told: list[dict[str, Any]] = []

    def both() -> bool:
        answer = gap_engine.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        told.extend(json.loads(message["Body"])["detail"] for message in answer.get("Messages", []))
        return len(told) == 2

    eventually(both, "both changes of status arrive")
    assert {detail["status"] for detail in told} == {"RUNNING", "SUCCEEDED"}
    for detail in told:
        assert detail["stateMachineVersionArn"] == first
        assert detail["stateMachineAliasArn"] == alias
    assert {json.loads(detail["output"]) for detail in told if detail["output"]} == {"one"}
    history = machine.states.get_execution_history(executionArn=told[0]["executionArn"])["events"]
    assert history[0]["executionStartedEventDetails"]["stateMachineAliasArn"] == alias


def test_an_event_for_an_alias_that_does_not_exist_is_a_dead_letter(gap_engine: Any) -> None:
    machine, name = Machine(gap_engine, says("one")), f"r-{uuid.uuid4().hex[:8]}"
    url, queue = gap_engine.create_queue("events")
    _, next_queue = gap_engine.create_queue("events")
    events = gap_engine.client("events")
    target = {"Id": "1", "Arn": f"{machine.arn}:live", "RoleArn": ROLE, "DeadLetterConfig": {"Arn": queue}}
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=[target, {"Id": "2", "Arn": next_queue}])

    events.put_events(Entries=[{"Source": name, "DetailType": "t", "Detail": "{}"}])

    receive = gap_engine.client("sqs").receive_message
    next_url = gap_engine.client("sqs").get_queue_url(QueueName=next_queue.rpartition(":")[2])["QueueUrl"]
    eventually(lambda: receive(QueueUrl=next_url).get("Messages"), "the other target has the event")
    assert len(receive(QueueUrl=url).get("Messages", [])) == 1


def test_what_an_execution_runs_can_be_seen_after_the_machine_has_changed(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    execution = machine.run(machine.arn)["executionArn"]
    machine.publish(says("two"))

    seen = machine.states.describe_state_machine_for_execution(executionArn=execution)

    assert json.loads(seen["definition"]) == says("one")


def test_a_revision_is_published_once(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))

    versions = [machine.publish(), machine.publish(), machine.publish(says("one")), machine.publish(says("two"))]

    assert [version.rpartition(":")[2] for version in versions] == ["1", "1", "1", "2"]


def test_versions_go_with_their_machine(gap_engine: Any) -> None:
    name = f"m-{uuid.uuid4().hex[:8]}"
    machine = Machine(gap_engine, says("one"), name)
    first = machine.publish()
    machine.alias(v1=100)
    machine.states.delete_state_machine(stateMachineArn=machine.arn)
    Machine(gap_engine, says("two"), name)

    listed = machine.states.list_state_machine_versions(stateMachineArn=machine.arn)["stateMachineVersions"]
    aliases = machine.states.list_state_machine_aliases(stateMachineArn=machine.arn)["stateMachineAliases"]

    assert (listed, aliases) == ([], [])
    assert gap_engine.refusal(machine.states.start_execution, stateMachineArn=first) == "StateMachineDoesNotExist"


def test_a_version_that_an_alias_names_stays(engine: Any) -> None:
    machine = Machine(engine, says("one"))
    first = machine.publish()
    machine.alias(v1=100)

    refused = engine.refusal(machine.states.delete_state_machine_version, stateMachineVersionArn=first)

    assert refused == "ConflictException"


def test_a_version_is_described_as_it_was(engine: Any) -> None:
    machine = Machine(engine, says("one"))
    first = machine.publish()
    machine.publish(says("two"))

    described = machine.states.describe_state_machine(stateMachineArn=first)

    assert json.loads(described["definition"]) == says("one")


def test_executions_in_flight_end_on_what_they_began_with(engine: Any) -> None:
    wait = {"Type": "Wait", "Seconds": 5, "Next": "Say"}
    one, two = ({**says(words), "StartAt": "Wait"} for words in ("one", "two"))
    for definition in (one, two):
        definition["States"]["Wait"] = wait
    machine = Machine(engine, one)
    machine.publish()
    alias = machine.alias(v1=100)
    started = [machine.states.start_execution(stateMachineArn=alias)["executionArn"] for _ in range(5)]

    second = machine.publish(two)
    routes = [{"stateMachineVersionArn": second, "weight": 100}]
    machine.states.update_state_machine_alias(stateMachineAliasArn=alias, routingConfiguration=routes)
    started += [machine.states.start_execution(stateMachineArn=alias)["executionArn"] for _ in range(5)]

    said = [json.loads(ended(engine, execution)["output"]) for execution in started]
    assert [word for word, _ in itertools.groupby(said)] == ["one", "two"]
