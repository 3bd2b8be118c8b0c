"""CodeDeploy: a stack shifts a function's alias to its new version as its deployment group says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.waiting import eventually

from .conftest import ALL, ROLE, RunningEngine, run_engine
from .test_engine_state_machine_releases import alarm

# A hook that reports what its environment says; `nothing` reports nothing.
HOOK = """
import os
import boto3

def handler(event, context):
    if os.environ["ANSWER"] != "nothing":
        boto3.client("codedeploy").put_lifecycle_event_hook_execution_status(
            deploymentId=event["DeploymentId"],
            lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
            status=os.environ["ANSWER"],
        )
"""


def function(source: str, **variables: str) -> dict[str, Any]:
    code = {"ZipFile": source}
    properties = {"Runtime": "python3.13", "Handler": "index.handler", "Role": ROLE, "Code": code, "Timeout": 10}
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {**properties, "Environment": {"Variables": variables}},
    }


def template(
    words: str, description: str, *, plan: str = "AllAtOnce", role: str, alarms: Any = (), **hooks: str
) -> dict[str, Any]:
    """A function, its version and its alias `live`, as SAM writes them; the hooks `Before` and `After` answer so."""
    policy = {"ApplicationName": {"Ref": "Application"}, "DeploymentGroupName": {"Ref": "Group"}}
    policy |= {f"{when}AllowTrafficHook": {"Ref": f"{when}Hook"} for when in hooks}
    version = {"FunctionName": {"Ref": "Function"}, "Description": description}
    alias = {"FunctionName": {"Ref": "Function"}, "Name": "live"}
    alias["FunctionVersion"] = {"Fn::GetAtt": ["Version", "Version"]}
    group = {
        "ApplicationName": {"Ref": "Application"},
        "ServiceRoleArn": role,
        "DeploymentConfigName": f"CodeDeployDefault.Lambda{plan}",
        "AlarmConfiguration": {"Enabled": bool(alarms), "Alarms": [{"Name": name} for name in alarms]},
    }
    return {
        "Resources": {
            # before what they need, so that the order is found and not lucky
            "Alias": {
                "Type": "AWS::Lambda::Alias",
                "Properties": alias,
                "UpdatePolicy": {"CodeDeployLambdaAliasUpdate": policy},
            },
            "Version": {"Type": "AWS::Lambda::Version", "Properties": version, "UpdateReplacePolicy": "Retain"},
            "Function": function(f"def handler(event, context):\n    return '{words}'"),
            "Group": {"Type": "AWS::CodeDeploy::DeploymentGroup", "DependsOn": "Version", "Properties": group},
            "Application": {
                "Type": "AWS::CodeDeploy::Application",
                "Properties": {"ComputePlatform": "Lambda"},
            },
            **{f"{when}Hook": function(HOOK, ANSWER=answer) for when, answer in hooks.items()},
        },
        "Outputs": {"Function": {"Value": {"Ref": "Function"}}},
    }


class Stack:
    """A stack of that template."""

    def __init__(self, engine: Any, role: str = "", **properties: Any) -> None:
        self.engine, self.name, self.cloudformation = (
            engine,
            f"s-{uuid.uuid4().hex[:8]}",
            engine.client("cloudformation"),
        )
        self.role = role or engine.create_role(f"r-{uuid.uuid4().hex[:8]}", ALL, services=["codedeploy"])
        body = json.dumps(template("one", "1", role=self.role, **properties))
        try:
            self.cloudformation.create_stack(StackName=self.name, TemplateBody=body)
        except ClientError as error:  # what the plain engine says of types that it does not know
            raise AssertionError(str(error)) from error
        self.function = engine.stack_outputs(self.name)["Function"]

    def begin(self, words: str, description: str = "2", **properties: Any) -> None:
        """Begin to update the stack."""
        body = json.dumps(template(words, description, role=self.role, **properties))
        self.cloudformation.update_stack(StackName=self.name, TemplateBody=body)

    def status(self) -> str:
        """The stack's status when it has one that stays."""

        def settled() -> str | None:
            status = str(self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"])
            return None if "IN_PROGRESS" in status else status

        return str(eventually(settled, "the stack's update ends", 20))

    def update(self, words: str, description: str = "2", **properties: Any) -> str:
        """Update the stack to its end."""
        self.begin(words, description, **properties)
        return self.status()

    def weights(self) -> dict[str, float]:
        """The alias's weights by version."""
        alias = self.engine.client("lambda").get_alias(FunctionName=self.function, Name="live")
        more = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return {alias["FunctionVersion"]: 1 - sum(more.values()), **more}

    def says(self) -> Any:
        """What a call of the alias returns."""
        answer = self.engine.client("lambda").invoke(FunctionName=self.function, Qualifier="live")
        return json.loads(answer["Payload"].read())

    def failures(self) -> str:
        """Why resources failed."""
        events = self.cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        return "\n".join(e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"] == "UPDATE_FAILED")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """An engine whose deployments have short minutes: 0.2 s."""
    yield from run_engine("local.ministack_ext", tmp_path_factory.mktemp("quick"), CLOCK_MINUTE_SECONDS="0.2")


def test_hooks_that_succeed_let_the_new_version_through(gap_engine: Any) -> None:
    hooks = {"Before": "Succeeded", "After": "Succeeded"}
    stack = Stack(gap_engine, **hooks)
    assert stack.says() == "one"

    assert stack.update("two", **hooks) == "UPDATE_COMPLETE"

    assert (stack.says(), stack.weights()) == ("two", {"2": 1})


@pytest.mark.parametrize("hook", ["Before", "After"])
@pytest.mark.parametrize("answer", ["Failed", "nothing"])
def test_a_hook_that_does_not_succeed_keeps_the_old_version(quick: RunningEngine, hook: str, answer: str) -> None:
    stack = Stack(quick)

    assert stack.update("two", **{hook: answer}) == "UPDATE_ROLLBACK_COMPLETE"

    assert (stack.says(), stack.weights()) == ("one", {"1": 1})
    assert "the hook" in stack.failures()


def test_a_canary_has_its_share_and_then_everything(quick: RunningEngine) -> None:
    stack = Stack(quick)

    stack.begin("two", plan="Canary10Percent10Minutes")
    eventually(lambda: stack.weights() == {"1": 0.9, "2": 0.1}, "the canary begins")

    assert stack.status() == "UPDATE_COMPLETE"
    assert stack.weights() == {"2": 1}


def test_a_linear_shift_goes_in_steps(quick: RunningEngine) -> None:
    stack = Stack(quick)
    seen: list[float] = []

    stack.begin("two", plan="Linear10PercentEvery2Minutes")

    def done() -> bool:
        share = stack.weights().get("2", 0)
        if share and share not in seen:
            seen.append(share)
        return share == 1

    eventually(done, "the shift ends", 20)
    assert seen == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert stack.status() == "UPDATE_COMPLETE"


def test_an_alarm_brings_the_old_version_back(quick: RunningEngine) -> None:
    watched = alarm(quick, "OK")
    stack = Stack(quick)

    stack.begin("two", plan="Canary10Percent30Minutes", alarms=[watched])
    eventually(lambda: "2" in stack.weights(), "the canary begins")
    quick.client("cloudwatch").set_alarm_state(AlarmName=watched, StateValue="ALARM", StateReason="test")

    assert stack.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert (stack.says(), stack.weights()) == ("one", {"1": 1})
    assert watched in stack.failures()


@pytest.mark.parametrize("missing", ["lambda:UpdateAlias", "lambda:GetAlias", "cloudwatch:DescribeAlarms"])
def test_a_deployment_group_acts_with_its_role(quick: RunningEngine, missing: str) -> None:
    denied = {"Effect": "Deny", "Action": missing, "Resource": "*"}
    role = quick.create_role(f"r-{uuid.uuid4().hex[:8]}", ALL, denied, services=["codedeploy"])
    stack = Stack(quick, role)

    assert stack.update("two", alarms=[alarm(quick, "OK")]) == "UPDATE_ROLLBACK_COMPLETE"

    assert missing in stack.failures()
    assert stack.weights() == {"1": 1}


@pytest.mark.parametrize(
    "moved", [{"FunctionVersion": "2"}, {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.5}}}]
)
def test_an_alias_that_somebody_has_moved_is_not_shifted(engine: Any, moved: dict[str, Any]) -> None:
    stack, functions = Stack(engine), engine.client("lambda")
    functions.update_function_configuration(FunctionName=stack.function, MemorySize=256)
    functions.publish_version(FunctionName=stack.function)
    functions.update_alias(FunctionName=stack.function, Name="live", **moved)

    assert stack.update("two") == "UPDATE_ROLLBACK_COMPLETE"

    assert "does not point to version 1 alone" in stack.failures()


def test_a_description_alone_makes_no_version(engine: Any) -> None:
    stack = Stack(engine)

    assert stack.update("one", "new") == "UPDATE_ROLLBACK_COMPLETE"

    assert "A version for this Lambda function exists" in stack.failures()


def test_a_version_that_is_replaced_and_retained_can_be_called(engine: Any) -> None:
    stack = Stack(engine)
    stack.update("two")

    answer = engine.client("lambda").invoke(FunctionName=stack.function, Qualifier="1")

    assert json.loads(answer["Payload"].read()) == "one"


@pytest.mark.parametrize(("shift", "kinds"), [("AllAtOnce", 0), ("Canary10Percent10Minutes", 1)])
def test_sam_shifts_as_a_parameter_says(engine: Any, shift: str, kinds: int) -> None:
    assert groups(engine, shift, default="Linear10PercentEvery1Minute") == kinds


def test_sam_knows_the_value_of_a_parameter(gap_engine: Any) -> None:
    assert groups(gap_engine, "Canary10Percent10Minutes", default="AllAtOnce") == 1


def groups(engine: Any, shift: str, default: str) -> int:
    """How many deployment groups SAM makes of a template whose parameter `Shift` has this value."""
    gradual = {
        name: {"Gradual": name != "AllAtOnce"}
        for name in ("AllAtOnce", "Canary10Percent10Minutes", "Linear10PercentEvery1Minute")
    }
    enabled = {"Fn::FindInMap": ["Shifts", {"Ref": "Shift"}, "Gradual"]}
    properties = {
        **{"Runtime": "python3.13", "Handler": "index.handler", "InlineCode": "def handler(e, c): return 1"},
        **{"Role": ROLE, "AutoPublishAlias": "live"},
        "DeploymentPreference": {"Enabled": enabled, "Type": {"Ref": "Shift"}, "Role": ROLE},
    }
    sam = {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Shift": {"Type": "String", "Default": default}},
        "Mappings": {"Shifts": gradual},
        "Resources": {"Function": {"Type": "AWS::Serverless::Function", "Properties": properties}},
    }
    name, cloudformation = f"s-{uuid.uuid4().hex[:8]}", engine.client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(sam),
        Parameters=[{"ParameterKey": "Shift", "ParameterValue": shift}],
        Capabilities=["CAPABILITY_AUTO_EXPAND", "CAPABILITY_IAM"],
    )
    engine.stack_outputs(name)
    resources = cloudformation.list_stack_resources(StackName=name)["StackResourceSummaries"]
    return [resource["ResourceType"] for resource in resources].count("AWS::CodeDeploy::DeploymentGroup")
