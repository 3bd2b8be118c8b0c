"""Lambda: an alias splits its calls, versions keep what they were, and each is counted."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.waiting import eventually

from .conftest import ROLE
from .test_engine_distributed_map import ended
from .test_engine_state_machine_versions import Machine

TELLS = """
import os

def handler(event, context):
    if event == "fail":
        raise RuntimeError
    memory = int(context.memory_limit_in_mb)
    return ["{words}", os.environ.get("SETTING"), memory, context.function_version, context.invoked_function_arn]
"""


def archive(source: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("index.py", source)
    return packed.getvalue()


class Function:
    """A function with two versions, and an alias of them."""

    def __init__(self, engine: Any, **weights: float) -> None:
        self.engine, self.functions = engine, engine.client("lambda")
        self.name = engine.create_function(TELLS.format(words="one"))
        self.first = self.publish()
        self.functions.update_function_code(FunctionName=self.name, ZipFile=archive(TELLS.format(words="two")))
        self.second = self.publish()
        routing = {"RoutingConfig": {"AdditionalVersionWeights": {"2": weights["v2"]}}} if weights else {}
        made = self.functions.create_alias(FunctionName=self.name, Name="live", FunctionVersion="1", **routing)
        self.alias = made["AliasArn"]

    def publish(self) -> str:
        return str(self.functions.publish_version(FunctionName=self.name)["FunctionArn"])

    def call(self, arn: str, event: Any = None) -> Any:
        return json.loads(self.functions.invoke(FunctionName=arn, Payload=json.dumps(event))["Payload"].read())


def by_invoke(function: Function, calls: int) -> set[tuple[str, str]]:
    told = [function.call(function.alias) for _ in range(calls)]
    return {(words, arn) for words, _, _, _, arn in told}


def by_task(function: Function, calls: int) -> set[tuple[str, str]]:
    call = {"Type": "Task", "Resource": function.alias, "End": True}
    each = {"Type": "Map", "ItemsPath": "$", "MaxConcurrency": 4, "End": True}
    iterator = {"StartAt": "Call", "States": {"Call": call}}
    machine = Machine(function.engine, {"StartAt": "Each", "States": {"Each": {**each, "Iterator": iterator}}})
    started = machine.states.start_execution(stateMachineArn=machine.arn, input=json.dumps([0] * calls))
    output = json.loads(ended(function.engine, started["executionArn"])["output"])
    return {(words, arn) for words, _, _, _, arn in output}


@pytest.mark.parametrize("called", [by_invoke, by_task])
def test_an_alias_splits_its_calls(gap_engine: Any, called: Any) -> None:
    function = Function(gap_engine, v2=0.5)

    # By chance one version only: 2 in a billion. The function is told the alias's ARN.
    assert called(function, 30) == {("one", function.alias), ("two", function.alias)}


def test_an_alias_without_weights_calls_its_version(engine: Any) -> None:
    function = Function(engine)

    assert by_invoke(function, 5) == {("one", function.alias)}


def test_an_alias_is_described_by_its_main_version(engine: Any) -> None:
    function = Function(engine, v2=0.99)
    describe = function.functions.get_function_configuration

    assert {describe(FunctionName=function.name, Qualifier="live")["Version"] for _ in range(5)} == {"1"}


def test_a_version_keeps_code_environment_and_memory(engine: Any) -> None:
    function = Function(engine)
    before = {arn: function.call(arn) for arn in (function.first, function.second)}  # their workers are warm
    change = {"Environment": {"Variables": {"SETTING": "new"}}, "MemorySize": 512, "Timeout": 7}
    function.functions.update_function_configuration(FunctionName=function.name, **change)
    third = function.publish()

    assert {arn: function.call(arn) for arn in before} == before
    assert function.call(third)[:4] == ["two", "new", 512, "3"]
    old = function.functions.get_function_configuration(FunctionName=function.first)
    assert (old["Timeout"], old["MemorySize"], old["Version"]) == (10, 128, "1")


@pytest.mark.parametrize(("weights", "numbers"), [({}, ["1"]), ({"v2": 0.5}, ["1", "2"])])
def test_a_stack_keeps_a_version_that_an_alias_names(gap_engine: Any, weights: Any, numbers: list[str]) -> None:
    code = {"ZipFile": "def handler(event, context): return 1"}
    properties = {"Runtime": "python3.13", "Handler": "index.handler", "Role": ROLE, "Code": code}
    resources: dict[str, Any] = {"Function": {"Type": "AWS::Lambda::Function", "Properties": properties}}
    version = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": "Function"}}}
    named = {"Outputs": {"Function": {"Value": {"Ref": "Function"}}}}
    stack = gap_engine.create_stack({"Resources": {**resources, "Version": version}, **named})
    functions, name = gap_engine.client("lambda"), stack["Function"]
    functions.update_function_configuration(FunctionName=name, MemorySize=256)
    functions.publish_version(FunctionName=name)
    main = "2" if weights else "1"
    routing = {"AdditionalVersionWeights": {"1": weights["v2"]} if weights else {}}
    functions.create_alias(FunctionName=name, Name="live", FunctionVersion=main, RoutingConfig=routing)

    gap_engine.update_stack(stack["StackName"], {"Resources": resources, **named})

    left = functions.list_versions_by_function(FunctionName=name)["Versions"]
    assert [v["Version"] for v in left if v["Version"] in numbers] == numbers


def test_versions_share_the_reserved_concurrency(gap_engine: Any) -> None:
    function = Function(gap_engine)
    function.functions.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)

    for arn in (function.name, function.first, function.alias):
        assert gap_engine.refusal(function.functions.invoke, FunctionName=arn) == "TooManyRequestsException"


def test_nothing_new_is_no_version(engine: Any) -> None:
    function = Function(engine)

    assert function.publish() == function.second


@pytest.mark.parametrize("qualifier", [{}, {"Qualifier": "$LATEST"}])
def test_a_failed_event_of_no_alias_has_the_function_s_settings(engine: Any, qualifier: dict[str, str]) -> None:
    function = Function(engine)
    url, queue = engine.create_queue("lambda")
    function.functions.put_function_event_invoke_config(
        FunctionName=function.name, MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": queue}}, **qualifier,
    )  # fmt: skip

    function.functions.invoke(FunctionName=function.name, InvocationType="Event", Payload=json.dumps("fail"))

    receive = engine.client("sqs").receive_message
    eventually(lambda: receive(QueueUrl=url).get("Messages"), "the failed event arrives")


def test_a_failed_event_of_an_alias_goes_to_the_alias_s_destination(gap_engine: Any) -> None:
    function = Function(gap_engine)
    url, queue = gap_engine.create_queue("lambda")
    function.functions.put_function_event_invoke_config(
        FunctionName=function.name, Qualifier="live", MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )  # fmt: skip

    function.functions.invoke(FunctionName=function.alias, InvocationType="Event", Payload=json.dumps("fail"))

    def arrived() -> Any:
        return gap_engine.client("sqs").receive_message(QueueUrl=url).get("Messages")

    deadline = time.monotonic() + 5
    while not (messages := arrived()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert messages, "the event is lost"
    assert json.loads(messages[0]["Body"])["requestPayload"] == "fail"


def counted(engine: Any, metric: str, **dimensions: str) -> float:
    """The sum of a metric of AWS/Lambda under exactly these dimensions."""
    now = datetime.now(UTC)
    points = engine.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda", MetricName=metric, StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1), Period=3600, Statistics=["Sum"],
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
    )["Datapoints"]  # fmt: skip
    return float(sum(point["Sum"] for point in points))


def test_calls_are_counted_by_alias_and_version(gap_engine: Any) -> None:
    function = Function(gap_engine)
    name = function.name
    function.call(function.alias)
    function.call(function.alias, "fail")
    function.call(function.second)
    function.call(name)

    live = {"FunctionName": name, "Resource": f"{name}:live"}
    assert counted(gap_engine, "Invocations", FunctionName=name) == 4  # counted once, not twice
    assert counted(gap_engine, "Invocations", **live) == 2
    assert counted(gap_engine, "Errors", **live) == 1
    assert counted(gap_engine, "Errors", **live, ExecutedVersion="1") == 1
    assert counted(gap_engine, "Errors", **live, ExecutedVersion="2") == 0
    assert counted(gap_engine, "Invocations", FunctionName=name, Resource=f"{name}:2") == 1
    assert counted(gap_engine, "Invocations", FunctionName=name, Resource=name) == 1


def test_a_queue_s_messages_reach_the_alias(engine: Any) -> None:
    function = Function(engine)
    url, queue = engine.create_queue()
    function.functions.create_event_source_mapping(EventSourceArn=queue, FunctionName=function.alias)

    engine.client("sqs").send_message(QueueUrl=url, MessageBody="1")

    live = {"FunctionName": function.name, "Resource": f"{function.name}:live", "ExecutedVersion": "1"}
    eventually(lambda: counted(engine, "Invocations", **live) == 1, "the message is handled")


def test_a_schedule_reaches_the_alias(engine: Any) -> None:
    function = Function(engine)
    at = (datetime.now(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
    role = engine.create_role(
        f"r-{uuid.uuid4().hex[:8]}", {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function.alias}
    )
    engine.client("scheduler").create_schedule(
        Name=f"s-{uuid.uuid4().hex[:8]}", ScheduleExpression=f"at({at})", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": function.alias, "RoleArn": role},
    )  # fmt: skip

    live = {"FunctionName": function.name, "Resource": f"{function.name}:live", "ExecutedVersion": "1"}
    eventually(lambda: counted(engine, "Invocations", **live) == 1, "the schedule runs", 20)
