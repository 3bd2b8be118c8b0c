"""Permissions: what a version or an alias of a state machine or a function needs, as on AWS."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
import pytest

from tests.support.local_aws import REGION
from tests.support.waiting import eventually

from .test_engine_api_gateway import KEY, Api, permission, template
from .test_engine_distributed_map import ended
from .test_engine_state_machine_versions import Machine, says

RETURNS = "def handler(event, context):\n    return 1"


def signed(engine: Any, service: str, *statements: dict[str, Any]) -> Any:
    """A client that signs with a role that has this policy."""
    role = engine.create_role(f"r-{uuid.uuid4().hex[:8]}", *statements)
    credentials = engine.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    session: Any = boto3.session.Session()
    return session.client(
        service, REGION, endpoint_url=engine.url, aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"], aws_session_token=credentials["SessionToken"],
    )  # fmt: skip


def start_by(qualifier: str, machine: Machine) -> dict[str, Any]:
    """The right to start the state machine by this version or alias only."""
    condition = {"ForAnyValue:StringEquals": {"states:StateMachineQualifier": qualifier}}
    return {"Effect": "Allow", "Action": "states:StartExecution", "Resource": machine.arn, "Condition": condition}


@pytest.fixture
def released(gap_engine: Any) -> tuple[Machine, str]:
    """A state machine with a version, and its alias."""
    machine = Machine(gap_engine, says("one"))
    machine.publish()
    return machine, machine.alias(v1=100)


def test_an_alias_is_started_by_a_right_on_the_machine(gap_engine: Any, released: tuple[Machine, str]) -> None:
    machine, alias = released
    any_way = signed(gap_engine, "stepfunctions", {**start_by("", machine), "Condition": {}})

    for arn in (machine.arn, f"{machine.arn}:1", alias):
        assert gap_engine.refusal(any_way.start_execution, stateMachineArn=arn) is None


def test_a_condition_narrows_the_right_to_an_alias(gap_engine: Any, released: tuple[Machine, str]) -> None:
    machine, alias = released
    by_alias = signed(gap_engine, "stepfunctions", start_by("live", machine))

    assert gap_engine.refusal(by_alias.start_execution, stateMachineArn=alias) is None
    for arn in (machine.arn, f"{machine.arn}:1"):
        assert gap_engine.refusal(by_alias.start_execution, stateMachineArn=arn) == "AccessDeniedException"


def test_an_alias_is_changed_by_a_right_on_the_machine(gap_engine: Any, released: tuple[Machine, str]) -> None:
    machine, alias = released
    may = {**start_by("live", machine), "Action": ["states:UpdateStateMachineAlias", "states:DeleteStateMachineAlias"]}
    states = signed(gap_engine, "stepfunctions", may)
    routes = [{"stateMachineVersionArn": f"{machine.arn}:1", "weight": 100}]

    update, delete = states.update_state_machine_alias, states.delete_state_machine_alias
    assert gap_engine.refusal(update, stateMachineAliasArn=alias, routingConfiguration=routes) is None
    assert gap_engine.refusal(delete, stateMachineAliasArn=alias) is None
    assert gap_engine.refusal(delete, stateMachineAliasArn=f"{machine.arn}:other") == "AccessDeniedException"


def test_an_alias_is_made_by_a_right_on_the_machine(gap_engine: Any) -> None:
    machine = Machine(gap_engine, says("one"))
    routes = [{"stateMachineVersionArn": machine.publish(), "weight": 100}]
    states = signed(
        gap_engine, "stepfunctions", {**start_by("live", machine), "Action": "states:CreateStateMachineAlias"}
    )
    create = states.create_state_machine_alias

    assert gap_engine.refusal(create, name="live", routingConfiguration=routes) is None
    assert gap_engine.refusal(create, name="other", routingConfiguration=routes) == "AccessDeniedException"


@pytest.mark.parametrize(("qualifier", "ends"), [("live", "SUCCEEDED"), ("other", "FAILED")])
def test_a_machine_starts_another_by_alias_with_its_role(engine: Any, qualifier: str, ends: str) -> None:
    inner = Machine(engine, says("one"))
    inner.publish()
    start = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution", "End": True}
    definition = {"StartAt": "In", "States": {"In": {**start, "Parameters": {"StateMachineArn": inner.alias(v1=100)}}}}
    role = engine.create_role(f"r-{uuid.uuid4().hex[:8]}", start_by(qualifier, inner))
    outer = Machine(engine, definition, role=role)

    assert outer.run(outer.arn)["status"] == ends


def test_a_rule_starts_an_alias_with_its_role(engine: Any) -> None:
    machine = Machine(engine, says("one"))
    machine.publish()
    alias, events, name = machine.alias(v1=100), engine.client("events"), f"r-{uuid.uuid4().hex[:8]}"
    role = engine.create_role(f"r-{uuid.uuid4().hex[:8]}", start_by("live", machine), services=["events"])
    targets = [{"Id": arn.rpartition(":")[2], "Arn": arn, "RoleArn": role} for arn in (machine.arn, alias)]
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=targets)

    events.put_events(Entries=[{"Source": name, "DetailType": "t", "Detail": "{}"}])

    def executions() -> Any:
        return machine.states.list_executions(stateMachineArn=machine.arn)["executions"]

    eventually(executions, "the rule starts an execution")
    eventually(lambda: engine.denials(machine.arn), "the other target is denied")
    assert [execution.get("stateMachineAliasArn") for execution in executions()] == [alias]


def function_with_version(engine: Any) -> tuple[str, str]:
    """A function with version 1 and the alias `live`; its name and ARN."""
    name, functions = engine.create_function(RETURNS), engine.client("lambda")
    functions.publish_version(FunctionName=name)
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    return name, f"arn:aws:lambda:{REGION}:000000000000:function:{name}"


@pytest.mark.parametrize(("suffix", "allowed"), [("", {""}), (":*", {"1", "live"}), (":live", {"live"})])
def test_a_function_is_called_by_a_right_on_the_arn_that_is_called(
    gap_engine: Any, suffix: str, allowed: set[str]
) -> None:
    name, arn = function_with_version(gap_engine)
    may = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": f"{arn}{suffix}"}
    invoke = signed(gap_engine, "lambda", may).invoke

    def called(qualifier: str) -> set[str | None]:
        whole = gap_engine.refusal(invoke, FunctionName=f"{arn}:{qualifier}" if qualifier else arn)
        by_parameter = {"Qualifier": qualifier} if qualifier else {}
        return {whole, gap_engine.refusal(invoke, FunctionName=name, **by_parameter)}

    for qualifier in ("", "1", "live"):
        assert called(qualifier) == ({None} if qualifier in allowed else {"AccessDeniedException"})


@pytest.mark.parametrize(("suffix", "ends"), [("", "FAILED"), (":*", "SUCCEEDED")])
def test_a_task_calls_a_version_by_a_right_on_versions(engine: Any, suffix: str, ends: str) -> None:
    _, arn = function_with_version(engine)
    may = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": f"{arn}{suffix}"}
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
    definition = {"StartAt": "Call", "States": {"Call": {**task, "Parameters": {"FunctionName": f"{arn}:1"}}}}
    machine = Machine(engine, definition, role=engine.create_role(f"r-{uuid.uuid4().hex[:8]}", may))

    started = machine.states.start_execution(stateMachineArn=machine.arn)["executionArn"]

    assert ended(engine, started)["status"] == ends


@pytest.mark.parametrize("permitted", ["", "live"])
def test_a_rule_calls_an_alias_by_the_permission_on_that_alias(engine: Any, permitted: str) -> None:
    name, arn = function_with_version(engine)
    events, rule = engine.client("events"), f"r-{uuid.uuid4().hex[:8]}"
    qualifier = {"Qualifier": permitted} if permitted else {}
    engine.client("lambda").add_permission(
        FunctionName=name,
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        **qualifier,
    )
    url, queue = engine.create_queue("events")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    target = {"Id": "function", "Arn": f"{arn}:live", "DeadLetterConfig": {"Arn": queue}}
    events.put_targets(Rule=rule, Targets=[target, {"Id": "queue", "Arn": queue}])

    events.put_events(Entries=[{"Source": rule, "DetailType": "t", "Detail": "{}"}])

    # One message is the event itself; a second one is the call that was denied.
    expected = 1 if permitted else 2
    found: list[Any] = []

    def arrived() -> bool:
        found.extend(engine.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []))
        return len(found) >= expected

    eventually(arrived, "the messages arrive")
    assert bool(engine.denials(f"{arn}:live")) is not bool(permitted)


@pytest.mark.parametrize(("permitted", "status"), [("Alias", 200), ("Echo", 500)])
def test_an_api_calls_an_alias_by_the_permission_on_that_alias(engine: Any, permitted: str, status: int) -> None:
    key = uuid.uuid4().hex
    document = json.loads(json.dumps(template()).replace("${Echo.Arn}", "${Alias}").replace(KEY, key))
    version = {"FunctionName": {"Ref": "Echo"}}
    alias = {**version, "Name": "live", "FunctionVersion": {"Fn::GetAtt": ["Version", "Version"]}}
    document["Resources"] |= {
        "Version": {"Type": "AWS::Lambda::Version", "Properties": version},
        "Alias": {"Type": "AWS::Lambda::Alias", "Properties": alias},
        "EchoPermission": permission(permitted),
    }
    outputs = engine.create_stack(document)

    answer = Api(f"{engine.url}/_aws/execute-api/{outputs['ApiId']}/local", "").call("GET", "/images?animal=cat", key)

    assert answer.status == status
