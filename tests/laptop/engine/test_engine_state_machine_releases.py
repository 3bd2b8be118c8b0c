"""CloudFormation: a stack publishes versions of a state machine, and shifts an alias to the new one in steps."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.waiting import eventually

from .conftest import ROLE, RunningEngine, run_engine
from .test_engine_distributed_map import ended
from .test_engine_state_machine_versions import says

RETAIN = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}


def template(
    words: str, *, role: str = ROLE, tag: str = "", retain: Any = RETAIN, last: str = "{}", **preference: Any
) -> dict[str, Any]:
    """A state machine, its version and its alias `live`, as SAM writes them; and one that comes last."""
    machine = {"RoleArn": role, "DefinitionString": json.dumps(says(words)), "Tags": [{"Key": "t", "Value": tag}]}
    revision = {"Fn::GetAtt": ["Machine", "StateMachineRevisionId"]}
    version = {"StateMachineArn": {"Ref": "Machine"}, "StateMachineRevisionId": revision}
    shift = {"StateMachineVersionArn": {"Ref": "Version"}, "Type": "ALL_AT_ONCE", **preference}
    return {
        "Resources": {
            "Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": machine},
            "Version": {"Type": "AWS::StepFunctions::StateMachineVersion", "Properties": version, **retain},
            "Alias": {
                "Type": "AWS::StepFunctions::StateMachineAlias",
                "Properties": {"Name": "live", "DeploymentPreference": shift},
            },
            "Last": {
                "Type": "AWS::StepFunctions::StateMachine",
                "DependsOn": "Alias",
                "Properties": {"RoleArn": role, "DefinitionString": last},
            },
        },
        "Outputs": {name: {"Value": {"Ref": name}} for name in ("Machine", "Version", "Alias")},
    }


class Stack:
    """A stack of that template."""

    def __init__(self, engine: Any, **properties: Any) -> None:
        self.engine, self.name = engine, f"s-{uuid.uuid4().hex[:8]}"
        self.states, self.cloudformation = engine.client("stepfunctions"), engine.client("cloudformation")
        body = json.dumps(template("one", **properties))
        try:
            self.cloudformation.create_stack(StackName=self.name, TemplateBody=body)
        except ClientError as error:  # what the plain engine says of types that it does not know
            raise AssertionError(str(error)) from error
        self.outputs = engine.stack_outputs(self.name)
        self.alias = self.outputs["Alias"]

    def begin(self, words: str, **properties: Any) -> None:
        """Begin to update the stack."""
        self.cloudformation.update_stack(StackName=self.name, TemplateBody=json.dumps(template(words, **properties)))

    def status(self) -> str:
        """The stack's status when it has one that stays."""

        def settled() -> str | None:
            status = str(self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"])
            return None if "IN_PROGRESS" in status else status

        return str(eventually(settled, "the stack's update ends", 20))

    def update(self, words: str, **properties: Any) -> str:
        """Update the stack to its end."""
        self.begin(words, **properties)
        return self.status()

    def weights(self) -> dict[str, int]:
        """The alias's weights by number of version."""
        routes = self.states.describe_state_machine_alias(stateMachineAliasArn=self.alias)["routingConfiguration"]
        return {route["stateMachineVersionArn"].rpartition(":")[2]: route["weight"] for route in routes}

    def versions(self) -> list[str]:
        """The numbers of all versions, newest first."""
        found = self.states.list_state_machine_versions(stateMachineArn=self.outputs["Machine"])
        return [version["stateMachineVersionArn"].rpartition(":")[2] for version in found["stateMachineVersions"]]

    def says(self) -> Any:
        """What an execution of the alias says."""
        started = self.states.start_execution(stateMachineArn=self.alias)["executionArn"]
        return json.loads(ended(self.engine, started)["output"])

    def failures(self) -> str:
        """Why resources failed."""
        events = self.cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        return "\n".join(e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"] == "UPDATE_FAILED")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """An engine whose deployments have short minutes: 0.5 s."""
    yield from run_engine("local.ministack_ext", tmp_path_factory.mktemp("quick"), CLOCK_MINUTE_SECONDS="0.5")


def alarm(engine: Any, state: str) -> str:
    """An alarm of its own that is in this state; returns its name."""
    name = f"a-{uuid.uuid4().hex[:8]}"
    cloudwatch = engine.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace=name, MetricName="m", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")
    return name


def test_a_new_definition_becomes_a_version_and_the_alias_follows(gap_engine: Any) -> None:
    stack = Stack(gap_engine)
    assert (stack.says(), stack.weights()) == ("one", {"1": 100})

    assert stack.update("two") == "UPDATE_COMPLETE"

    assert (stack.says(), stack.weights()) == ("two", {"2": 100})
    assert stack.versions() == ["2", "1"]  # the old one is retained


def test_a_new_role_becomes_a_version_and_a_new_tag_does_not(gap_engine: Any) -> None:
    stack = Stack(gap_engine)

    stack.update("one", tag="new")
    assert stack.versions() == ["1"]
    stack.update("one", tag="new", role=gap_engine.create_role(f"r-{uuid.uuid4().hex[:8]}", {
        "Effect": "Allow", "Action": "sqs:*", "Resource": "*"}))  # fmt: skip

    assert stack.versions() == ["2", "1"]


def test_a_version_that_is_not_retained_goes_when_it_is_replaced(gap_engine: Any) -> None:
    stack = Stack(gap_engine, retain={})

    assert stack.update("two", retain={}) == "UPDATE_COMPLETE"

    assert stack.versions() == ["2"]


def test_a_canary_has_its_share_and_then_everything(quick: RunningEngine) -> None:
    stack = Stack(quick)

    stack.begin("two", Type="CANARY", Percentage=10, Interval=4)
    eventually(lambda: stack.weights() == {"1": 90, "2": 10}, "the canary begins")

    assert stack.status() == "UPDATE_COMPLETE"
    assert stack.weights() == {"2": 100}


def test_a_linear_shift_goes_in_steps(quick: RunningEngine) -> None:
    stack = Stack(quick)
    seen: list[dict[str, int]] = []

    stack.begin("two", Type="LINEAR", Percentage=25, Interval=1)

    def done() -> bool:
        weights = stack.weights()
        if weights not in seen:
            seen.append(weights)
        return weights == {"2": 100}

    eventually(done, "the shift ends", 20)
    assert [weights.get("2", 0) for weights in seen if weights != {"1": 100}] == [25, 50, 75, 100]
    assert stack.status() == "UPDATE_COMPLETE"


def test_an_alarm_brings_the_alias_back_and_the_stack_with_it(quick: RunningEngine) -> None:
    watched = alarm(quick, "OK")
    stack = Stack(quick)

    stack.begin("two", Type="CANARY", Percentage=10, Interval=100, Alarms=[watched])
    eventually(lambda: "2" in stack.weights(), "the canary begins")
    quick.client("cloudwatch").set_alarm_state(AlarmName=watched, StateValue="ALARM", StateReason="test")

    assert stack.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.weights() == {"1": 100}
    assert stack.says() == "one"
    assert watched in stack.failures()


def test_an_update_that_fails_later_brings_the_alias_back_at_once(quick: RunningEngine) -> None:
    stack = Stack(quick, Type="CANARY", Percentage=10, Interval=100)  # 50 s: nobody waits for them

    assert stack.update("two", last="[unclosed") == "UPDATE_ROLLBACK_COMPLETE"

    assert (stack.says(), stack.weights()) == ("one", {"1": 100})
    events = stack.cloudformation.describe_stack_events(StackName=stack.name)["StackEvents"]
    moves = [e for e in events if (e["LogicalResourceId"], e["ResourceStatus"]) == ("Alias", "UPDATE_COMPLETE")]
    assert len(moves) == 2  # there, and back


def test_an_alarm_that_rings_already_stops_the_deployment_at_once(quick: RunningEngine) -> None:
    stack = Stack(quick)

    status = stack.update("two", Type="CANARY", Percentage=10, Interval=100, Alarms=[alarm(quick, "ALARM")])

    assert (status, stack.weights()) == ("UPDATE_ROLLBACK_COMPLETE", {"1": 100})


def test_an_alarm_that_does_not_exist_never_rings(quick: RunningEngine) -> None:
    stack = Stack(quick)

    assert stack.update("two", Type="CANARY", Percentage=50, Interval=1, Alarms=["there-is-none"]) == "UPDATE_COMPLETE"


def test_an_update_that_is_cancelled_brings_the_alias_back(quick: RunningEngine) -> None:
    stack = Stack(quick)

    stack.begin("two", Type="CANARY", Percentage=10, Interval=100)
    eventually(lambda: "2" in stack.weights(), "the canary begins")
    stack.cloudformation.cancel_update_stack(StackName=stack.name)

    assert stack.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.weights() == {"1": 100}


def test_the_engine_serves_while_an_alias_shifts(quick: RunningEngine) -> None:
    stack = Stack(quick)
    stack.begin("two", Type="CANARY", Percentage=50, Interval=6)
    eventually(lambda: "2" in stack.weights(), "the canary begins")

    said = {stack.says() for _ in range(2)}

    assert said <= {"one", "two"}
    assert stack.weights() == {"1": 50, "2": 50}  # it still shifts
    assert stack.status() == "UPDATE_COMPLETE"


def test_the_alias_of_a_new_stack_needs_no_shift(quick: RunningEngine) -> None:
    stack = Stack(quick, Type="CANARY", Percentage=10, Interval=100)

    assert stack.weights() == {"1": 100}


def test_a_deleted_stack_leaves_no_alias(engine: Any) -> None:
    stack = Stack(engine)
    stack.cloudformation.delete_stack(StackName=stack.name)

    describe = stack.states.describe_state_machine_alias

    eventually(
        lambda: engine.refusal(describe, stateMachineAliasArn=stack.alias) == "ResourceNotFound", "the alias is gone"
    )
