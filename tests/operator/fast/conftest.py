"""Tests of the operator's rules on moto: seconds for all of them. The folder above runs the same commands for real."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from click.testing import Result
from moto.backends import get_backend

from ops import cli
from ops.environment import Deployment
from pet_detector.aws import clients
from tests.operator.fast.releases import Releases, answering
from tests.support import moto_world as cloud
from tests.support.petdetect import petdetect as run_petdetect

SESSION = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=cloud.REGION)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[cloud.Cloud]:
    """moto's AWS with the application's bucket, tables and state machine, reached with made-up credentials."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "PETDETECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", SESSION)
    monkeypatch.setattr("pet_detector.aws.dead_letters._WAIT_SECONDS", 0)  # moto has all messages at once
    monkeypatch.setattr("ops.erase_command.PATIENCE_SECONDS", 0)  # and counts them without delay
    clients.forget()
    with cloud.moto_aws():
        found = cloud.Cloud()
        found.deploy_workflow()
        yield found
    clients.forget()


@pytest.fixture
def published() -> Iterator[Releases]:
    """The versions and aliases; at first one version of the workflow, which is live."""
    releases = Releases()
    with answering(SESSION, releases, "sfn", "lambda", "cloudformation"):
        releases.publish(1, ImageProcessor=1)
        releases.routes[cloud.LIVE] = {1: 100}
        yield releases


@pytest.fixture
def deployment(published: Releases, aws: cloud.Cloud) -> Deployment:
    """The application on moto; its stack sets no parameter."""
    aws.make_queues()
    outputs = {
        "ImageBucketName": cloud.BUCKET,
        "DetectionLogsTableName": cloud.TABLE,
        "AnalysesTableName": cloud.ANALYSES,
        "ImageWorkflowArn": cloud.WORKFLOW,
        "LiveAliasArn": cloud.LIVE,
        "BackfillWorkflowArn": cloud.BACKFILL_WORKFLOW,
        "ReviewWorkflowArn": cloud.REVIEW_WORKFLOW,
        "NoticesTopicArn": cloud.TOPIC,
        "ErasuresTableName": cloud.ERASURES,
        "ReviewsTableName": cloud.REVIEWS,
        "PolicyParameterName": cloud.POLICY_PARAMETER,
        "ImageEventsDeadLetterQueueUrl": cloud.EVENTS_QUEUE,
        "ReportsDeadLetterQueueUrl": cloud.REPORTS_QUEUE,
    }
    return Deployment("dev", "serverlessapp-pet-detector-dev", outputs, {})


@pytest.fixture(autouse=True)
def quotas() -> Iterator[dict[str, Any]]:
    """What Service Quotas and Lambda, which moto lacks, say of the account: answers or error codes by operation."""
    names = ("video operation StartLabelDetection", "image operation DetectLabels", "image operation DetectFaces")
    values = [
        {"QuotaName": f"Transactions per second per account for the Amazon Rekognition {name}", "Value": value}
        for name, value in zip(names, (5.0, 50.0, 40.0), strict=True)
    ]
    found: dict[str, Any] = {
        "list_service_quotas": {"Quotas": values},
        "list_aws_default_service_quotas": {"Quotas": [dict(value) for value in values]},
        "get_account_settings": {"AccountLimit": {"ConcurrentExecutions": 1000}},
    }
    with answering(SESSION, found, "service-quotas", "lambda"):
        yield found


@pytest.fixture
def petdetect(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command on that deployment."""
    monkeypatch.setattr(cli, "connect", lambda _: deployment)

    return run_petdetect


@pytest.fixture
def end_executions(aws: cloud.Cloud) -> Callable[..., int]:
    """Gives every running execution this end, and output; moto's run forever -> how many it were."""

    def end(status: str, output: Any = None) -> int:
        machines = get_backend("stepfunctions")["123456789012"][cloud.REGION].state_machines
        executions = [execution for machine in machines for execution in machine.executions]
        running = [execution for execution in executions if execution.status == "RUNNING"]
        for execution in running:
            execution.status, execution.output = status, output
        return len(running)

    return end
