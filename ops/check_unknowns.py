"""What only AWS can say, and no harmless command can ask: a line each, so that nobody believes it was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3

from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG

# CloudWatch lists a metric 15 minutes after its first data; the first deployment itself takes a part of an hour.
_LISTED = timedelta(hours=1)
_METRICS = ("OpenExecutionCount", "OpenExecutionLimit")
_DRY = {
    "names of DynamoDB's errors": (
        "To see the name, the workflow's role would have to lose UpdateItem, and images would fail. All names are "
        "retried, so nothing hangs on it. The first execution that fails in Claim Upload shows it (petdetect explain)."
    ),
    "causes of failed expressions": (
        "Whether AWS shortens the quoted expression: only an execution that fails shows it, and operators are told of "
        "each. The first with States.QueryEvaluationError does (petdetect explain)."
    ),
    "copies by a backfill": (
        "Nothing else copies. If you use it, a backfill of a prefix with one picture shows it "
        "(docs/operations.md#after-the-first-deployment)."
    ),
    "TLS of the gateway": "curl --tls-max 1.1 on /health must fail in the handshake; Python's own TLS is too new.",
}


def metrics(subject: Subject) -> Iterator[Line]:
    """Whether Step Functions publishes the metrics of the account that OpenExecutionsAlarm compares."""
    name = "metrics of Step Functions"
    if subject.is_local:
        yield not_checked(name, "The local AWS has no metrics of the account.")
        return
    cloudwatch = boto3.client("cloudwatch", config=CLIENT_CONFIG)
    missing = [
        metric
        for metric in _METRICS
        if not any(
            not found.get("Dimensions")
            for page in cloudwatch.get_paginator("list_metrics").paginate(Namespace="AWS/States", MetricName=metric)
            for found in page["Metrics"]
        )
    ]
    said = f"There is no {', '.join(missing)} without dimensions in AWS/States"
    if missing and subject.created > datetime.now(UTC) - _LISTED:
        yield not_checked(
            name, f"{said} yet: CloudWatch lists a metric 15 minutes after the account's first execution. Check later."
        )
    elif missing:
        yield not_ok(
            name,
            f"{said}: OpenExecutionsAlarm stays blind. In an account whose first execution is minutes old, check again "
            "in a quarter of an hour.",
        )
    else:
        yield ok(name, ", ".join(_METRICS))


def executions(subject: Subject) -> Iterator[Line]:
    """Whether what is started through the alias counts under the state machine's own ARN, which alarms watch."""
    name = "metrics of executions"
    if subject.is_local:
        yield not_checked(name, "The local AWS counts them as we believe that AWS does.")
        return
    cloudwatch, arn = boto3.client("cloudwatch", config=CLIENT_CONFIG), subject.deployment.workflow_arn
    pages = cloudwatch.get_paginator("list_metrics").paginate(
        Namespace="AWS/States",
        MetricName="ExecutionsStarted",
        Dimensions=[{"Name": "StateMachineArn", "Value": arn}],
        RecentlyActive="PT3H",
    )
    if any(len(found["Dimensions"]) == 1 for page in pages for found in page["Metrics"]):
        yield ok(name, "those through the alias count under the state machine")
    else:
        yield not_checked(
            name,
            "None is counted under the state machine yet: CloudWatch lists a metric 15 minutes after its first image. "
            "If it stays so, alarms see no release: change their dimension in stacks/observability.yaml to the alias.",
        )


def shifts(subject: Subject) -> Iterator[Line]:
    """Whether CodeDeploy took the alarms that send a shift back."""
    name = "alarms of shifts"
    groups = subject.of_type("AWS::CodeDeploy::DeploymentGroup")
    if not groups:
        yield not_checked(name, "The stack shifts all at once: CodeDeploy has no group of it.")
        return
    codedeploy = boto3.client("codedeploy", config=CLIENT_CONFIG)
    application = next(iter(subject.of_type("AWS::CodeDeploy::Application").values()))
    without = []
    for logical_id, group in sorted(groups.items()):
        found = codedeploy.get_deployment_group(
            applicationName=application, deploymentGroupName=group.rpartition("|")[2]
        )
        alarms = found["deploymentGroupInfo"].get("alarmConfiguration", {})
        if not (alarms.get("enabled") and alarms.get("alarms")):
            without.append(logical_id)
    if without and subject.deployment.parameter("ReleaseShift") != "AllAtOnce":
        yield not_ok(name, f"{', '.join(without)} watches none: a bad release is not sent back. Deploy again.")
    else:
        yield ok(name, f"{len(groups)} groups of CodeDeploy" + (", all at once" if without else ", each with alarms"))


def unknowable(subject: Subject) -> Iterator[Line]:
    """The rest, with who can see it."""
    yield from (not_checked(name, why) for name, why in _DRY.items())
