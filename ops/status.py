"""The state of the whole application, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import boto3

from ops import records
from ops.environment import CLIENT_CONFIG, Deployment
from pet_detector.aws import daily_limit, image_bucket
from pet_detector.aws.image_bucket import InputVersion
from pet_detector.rules import image_ids
from pet_detector.rules.models import Status
from pet_detector.use_cases import reconciler
from pet_detector.use_cases.reconciler import Action

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


# The age from which an object under input/ is stuck, unless its image failed, is held or at work: the schedule takes it
# up, and an execution finishes it, in a fraction of that.
_STUCK_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class Waiting:
    """Something unfinished: an image's ID or an object's key, and since when."""

    name: str
    since: datetime


@dataclass(frozen=True)
class State:
    """Counts; `images` by status, `dead_letters` by queue. The oldest are None when there is nothing.

    `stuck_objects` lie under input/ for over an hour, and are neither failed, held nor at work.
    `analysed_today` is what counts against `daily_limit`, and is only counted when there is one (not 0).
    """

    images: dict[str, int]
    dead_letters: dict[str, int]
    running_executions: int
    oldest_unfinished: Waiting | None
    objects_in_input: int
    oldest_object: Waiting | None
    stuck_objects: int
    analysed_today: int
    daily_limit: int

    @property
    def needs_attention(self) -> bool:
        """Failed images, dead letters or stuck objects wait for a person."""
        return bool(self.images[Status.FAILED] or self.stuck_objects or any(self.dead_letters.values()))


def state_of(deployment: Deployment) -> State:
    """Look at everything. The counts come from an index, which lags behind the table by moments."""
    dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
    versions = list(image_bucket.input_versions(deployment.bucket))
    oldest = min(versions, key=lambda version: version.modified, default=None)
    return State(
        images={status.value: _count(dynamodb, deployment.table, status) for status in Status},
        dead_letters=_dead_letters(deployment),
        running_executions=_running(deployment),
        oldest_unfinished=_oldest_unfinished(dynamodb, deployment.table),
        objects_in_input=len(versions),
        oldest_object=Waiting(oldest.key, oldest.modified) if oldest else None,
        stuck_objects=_stuck(deployment, versions),
        analysed_today=daily_limit.spent(deployment.output("AnalysesTableName")),
        daily_limit=int(deployment.parameters["DailyAnalysisLimit"]),
    )


def _stuck(deployment: Deployment, versions: list[InputVersion]) -> int:
    now = datetime.now(UTC)
    old = [version for version in versions if version.modified < now - _STUCK_AFTER]
    findings = records.for_each(partial(reconciler.judge, deployment.table, now=now), old)
    return sum(finding.action in (Action.START, Action.REPORT) for finding in findings)


def _count(dynamodb: DynamoDBClient, table: str, status: Status) -> int:
    pages = (
        page
        for shard in range(image_ids.SHARDS)
        for page in dynamodb.get_paginator("query").paginate(
            TableName=table,
            IndexName="StatusIndex",
            Select="COUNT",
            KeyConditionExpression="StatusShard = :shard",
            ExpressionAttributeValues={":shard": {"S": f"{status.value}#{shard}"}},
        )
    )
    return sum(page["Count"] for page in pages)


def _oldest_unfinished(dynamodb: DynamoDBClient, table: str) -> Waiting | None:
    """Of the images that an execution has claimed; uploads that were only announced may well never come."""
    found = []
    for shard in range(image_ids.SHARDS):
        answer = dynamodb.query(
            TableName=table,
            IndexName="StatusIndex",
            KeyConditionExpression="StatusShard = :shard",
            ExpressionAttributeValues={":shard": {"S": f"{Status.PROCESSING.value}#{shard}"}},
            ScanIndexForward=True,  # ListedAt begins with the time of creation
            Limit=1,
        )
        for item in answer["Items"]:
            if created := records.moment(item["ListedAt"]["S"].partition("#")[0]):
                found.append(Waiting(item["ImageID"]["S"], created))
    return min(found, key=lambda waiting: waiting.since, default=None)


def _dead_letters(deployment: Deployment) -> dict[str, int]:
    sqs = boto3.client("sqs", config=CLIENT_CONFIG)
    depths = {}
    for name, url in deployment.dead_letter_queues.items():
        attributes = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        )["Attributes"]
        depths[name] = sum(int(depth) for depth in attributes.values())
    return depths


def _running(deployment: Deployment) -> int:
    sfn = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    pages = sfn.get_paginator("list_executions").paginate(
        stateMachineArn=deployment.workflow_arn, statusFilter="RUNNING"
    )
    return sum(len(page["executions"]) for page in pages)
