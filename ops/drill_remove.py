"""Finds and removes what drills made, also one that was killed.

By name: whatever a drill makes is called `<stack>-drill-...`. A tag would not do: a table has none while DynamoDB still
restores it, and a backup never has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops.drill_restore import WAITING, when_ready
from ops.environment import CLIENT_CONFIG
from pet_detector.aws import image_versions
from pet_detector.aws.errors import code_of
from pet_detector.aws.image_versions import StoredVersion

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

TABLE, BUCKET, BACKUP, ALARM = "table", "bucket", "backup", "alarm"


@dataclass(frozen=True)
class Made:
    """Something that a drill made: what it is, and its name (of a backup the ARN)."""

    kind: str
    name: str


def prefix_of(stack: str) -> str:
    """How the names of all that drills of a stack make begin."""
    return f"{stack}-drill-"


def find(prefix: str) -> list[Made]:
    """What is there whose name begins like this: tables first, whose removal takes longest."""
    return [*_tables(prefix), *_buckets(prefix), *_backups(prefix), *_alarms(prefix)]


def _tables(prefix: str) -> Iterator[Made]:
    for page in _dynamodb().get_paginator("list_tables").paginate():
        yield from (Made(TABLE, name) for name in page["TableNames"] if name.startswith(prefix))


def _buckets(prefix: str) -> Iterator[Made]:
    names = (bucket["Name"] for bucket in _s3().list_buckets()["Buckets"])
    yield from (Made(BUCKET, name) for name in names if name.startswith(prefix))


def _backups(prefix: str) -> Iterator[Made]:
    for page in _dynamodb().get_paginator("list_backups").paginate(BackupType="USER"):
        for backup in page["BackupSummaries"]:
            if backup["BackupName"].startswith(prefix) and backup["BackupStatus"] != "DELETED":
                yield Made(BACKUP, backup["BackupArn"])


def _alarms(prefix: str) -> Iterator[Made]:
    cloudwatch = boto3.client("cloudwatch", config=CLIENT_CONFIG)
    for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix):
        yield from (Made(ALARM, alarm["AlarmName"]) for alarm in page["MetricAlarms"])


def remove(prefix: str, say: Callable[[str], None]) -> list[Made]:
    """Remove all of it -> what is still there, which should be nothing. Raises the errors of AWS: run it again then."""
    found = find(prefix)
    for one in found:
        say(f"removing {one.kind} {one.name} ...")
        if one.kind == TABLE:
            _remove_table(one.name)
        elif one.kind == BUCKET:
            _remove_bucket(one.name)
        elif one.kind == BACKUP:
            _dynamodb().delete_backup(BackupArn=one.name)
        else:
            boto3.client("cloudwatch", config=CLIENT_CONFIG).delete_alarms(AlarmNames=[one.name])
    for one in found:
        if one.kind == TABLE:
            _dynamodb().get_waiter("table_not_exists").wait(TableName=one.name, WaiterConfig=WAITING)
    return find(prefix)


def _remove_table(name: str) -> None:
    """One that DynamoDB still restores is removed when that has ended: it cannot be broken off."""
    dynamodb = _dynamodb()
    try:
        if dynamodb.describe_table(TableName=name)["Table"]["TableStatus"] == "DELETING":
            return
        dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig=WAITING)
        if dynamodb.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
            dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig=WAITING)
        # With it on, DynamoDB would keep a backup of the copy for 35 days, and nobody can delete that.
        recovery: Any = {"PointInTimeRecoveryEnabled": False}
        when_ready(
            lambda: dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=recovery)
        )
        dynamodb.delete_table(TableName=name)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise


def _remove_bucket(name: str) -> None:
    s3 = _s3()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        versions = [
            StoredVersion(entry["Key"], entry["VersionId"])
            for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        ]
        image_versions.delete_versions(name, versions)
    s3.delete_bucket(Bucket=name)


def _dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=CLIENT_CONFIG)


def _s3() -> S3Client:
    return boto3.client("s3", config=CLIENT_CONFIG)
