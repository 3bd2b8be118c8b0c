"""Drift: what differs from the templates, without what is meant to differ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3

from ops.check_lines import NESTED, Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackResourceDriftTypeDef

_LOOK_EVERY = 5.0  # seconds
# Type of a resource, beginning of a property -> why it may differ.
MEANT = {
    ("AWS::SSM::Parameter", "/Value"): "operators change the numbers of the decision",
    ("AWS::StepFunctions::StateMachineAlias", "/RoutingConfiguration"): "petdetect rollback sets it back",
    ("AWS::StepFunctions::StateMachineAlias", "/DeploymentPreference"): "it is read only while a version is deployed",
    ("AWS::Lambda::Alias", "/FunctionVersion"): "CodeDeploy and petdetect rollback set it",
    ("AWS::Lambda::Alias", "/RoutingConfig"): "CodeDeploy shifts it",
    ("AWS::ApiGateway::ApiKey", "/Enabled"): "petdetect key revoke disables it",
    ("AWS::ApiGateway::Account", "/CloudWatchRoleArn"): "the account has one, which another stack may set",
    ("AWS::CloudWatch::Alarm", "/ActionsEnabled"): "the line alarms says whether they may act",
}


def drift(subject: Subject, seconds: float) -> Iterator[Line]:
    """Ask CloudFormation about the stack and its nested ones, for at most so many seconds."""
    if subject.is_local:
        yield not_checked("drift", "The local AWS finds none, whatever was changed.")
        return
    if subject.version:
        yield not_checked("drift", "It is about the stack, not about a version: check without --version.")
        return
    cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
    nested = {name: found.physical_id for name, found in subject.resources.items() if found.kind == NESTED}
    deadline = time.monotonic() + seconds
    asked = {
        name: cloudformation.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
        for name, stack in {"the stack": subject.deployment.stack, **nested}.items()
    }
    for name, detection in asked.items():
        yield _of_stack(cloudformation, name, nested.get(name, subject.deployment.stack), detection, deadline)


def _of_stack(cloudformation: CloudFormationClient, name: str, stack: str, detection: str, deadline: float) -> Line:
    title = f"drift of {name}"
    while True:
        state = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if state["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        if time.monotonic() > deadline:
            return not_checked(
                title,
                "CloudFormation is not ready in time: later, aws cloudformation describe-stack-resource-drifts "
                f"--stack-name {stack}",
            )
        time.sleep(_LOOK_EVERY)
    found = _drifted(cloudformation, stack)
    meant = [told for one in found for told in _meant(one)]
    unmeant = [told for one in found for told in _unmeant(one)]
    if unmeant:
        return not_ok(
            title,
            f"{'; '.join(unmeant)}. It was changed beside CloudFormation: set it back, or put it into the "
            "template and deploy.",
        )
    if state["DetectionStatus"] == "DETECTION_FAILED":
        reason = state.get("DetectionStatusReason", "no reason")
        return not_checked(title, f"CloudFormation could not look at everything ({reason}), and found nothing else.")
    return ok(title, f"only what is meant: {'; '.join(meant)}" if meant else "none")


def _drifted(cloudformation: CloudFormationClient, stack: str) -> list[StackResourceDriftTypeDef]:
    found: list[StackResourceDriftTypeDef] = []
    token = ""
    while True:
        page = cloudformation.describe_stack_resource_drifts(
            StackName=stack,
            StackResourceDriftStatusFilters=["MODIFIED", "DELETED"],
            **({"NextToken": token} if token else {}),  # type: ignore[arg-type]
        )
        found += page["StackResourceDrifts"]
        token = page.get("NextToken", "")
        if not token:
            return found


def _reason(found: StackResourceDriftTypeDef, path: str) -> str | None:
    for (kind, beginning), reason in MEANT.items():
        if found["ResourceType"] == kind and path.startswith(beginning):
            return reason
    return None


def _meant(found: StackResourceDriftTypeDef) -> Iterator[str]:
    for difference in found.get("PropertyDifferences", []):
        if reason := _reason(found, difference["PropertyPath"]):
            yield f"{found['LogicalResourceId']}{difference['PropertyPath']} ({reason})"


def _unmeant(found: StackResourceDriftTypeDef) -> Iterator[str]:
    if found["StackResourceDriftStatus"] == "DELETED":
        yield f"{found['LogicalResourceId']} is gone"
    for difference in found.get("PropertyDifferences", []):
        path = difference["PropertyPath"]
        if _reason(found, path) is None:
            yield (
                f"{found['LogicalResourceId']}{path} is {difference['ActualValue'][:80]} and not "
                f"{difference['ExpectedValue'][:80]}"
            )
