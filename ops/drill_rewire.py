"""Sets again what a restored table does not have, and proves each setting by reading it back.

DynamoDB restores items, keys and indexes. Stream, TTL, point-in-time recovery, tags, deletion protection and alarms are
lost: without a stream there are no metrics and no reviews, without TTL nothing is ever forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from ops import definitions, drill_alarms, drill_restore
from ops.drill_restore import TABLES, WAITING, Copy, when_ready
from ops.environment import CLIENT_CONFIG, Deployment

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

# What a drill made says whose drill it was.
DRILL_TAG = "petdetect:drill"
# Stages without deletion protection: the condition IsProtected of template.yaml.
_UNPROTECTED = ("local", "dev")
_NONE = "none"


@dataclass(frozen=True)
class Setting:
    """A setting of a restored table or bucket: what it should be, and what was read back."""

    of: str
    name: str
    wanted: str
    found: str

    @property
    def is_set(self) -> bool:
        """Whether it is proven."""
        return self.wanted == self.found


def tags_of(deployment: Deployment) -> dict[str, str]:
    """The tags of the stack, which CloudFormation gave to its tables, and the drill's own."""
    cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
    stack = cloudformation.describe_stacks(StackName=deployment.stack)["Stacks"][0]
    return {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])} | {DRILL_TAG: deployment.stack}


def rewire(deployment: Deployment, copy: Copy, tags: Mapping[str, str]) -> list[Setting]:
    """Set everything on the copies, and read it back."""
    found: list[Setting] = []
    for logical_id in TABLES:
        _set(copy.table(logical_id), _wanted(deployment, logical_id), tags)
        _keep_key(deployment, copy, logical_id)
    for logical_id in TABLES:
        found += _proof(deployment, copy, logical_id, tags)
    names = {drill_restore.original(deployment, logical_id): copy.table(logical_id) for logical_id in TABLES}
    found += [
        Setting("alarm", alarm, "same", "same" if is_same else "other")
        for alarm, is_same in drill_alarms.restore(names, copy)
    ]
    return [*found, *_proof_of_bucket(deployment.bucket, copy)]


# --- Tables -----------------------------------------------------------------------------------------------------------


def _wanted(deployment: Deployment, logical_id: str) -> dict[str, str]:
    """What the template gives to a table, in words."""
    properties = definitions.document(definitions.TEMPLATE)["Resources"][logical_id]["Properties"]
    indexes = (index["IndexName"] for index in properties.get("GlobalSecondaryIndexes", []))
    return {
        "indexes": " ".join(sorted(indexes)) or _NONE,
        "stream": properties.get("StreamSpecification", {}).get("StreamViewType", _NONE),
        "TTL": properties.get("TimeToLiveSpecification", {}).get("AttributeName", _NONE),
        "point-in-time recovery": "on",
        "deletion protection": "off" if deployment.parameter("Stage") in _UNPROTECTED else "on",
    }


def _set(table: str, wanted: Mapping[str, str], tags: Mapping[str, str]) -> None:
    dynamodb = _dynamodb()
    arn = drill_restore.describe(table)["TableArn"]
    pairs: Any = [{"Key": key, "Value": value} for key, value in tags.items()]
    when_ready(lambda: dynamodb.tag_resource(ResourceArn=arn, Tags=pairs))
    if wanted["stream"] != _NONE:
        stream: Any = {"StreamEnabled": True, "StreamViewType": wanted["stream"]}
        when_ready(lambda: dynamodb.update_table(TableName=table, StreamSpecification=stream))
    if wanted["TTL"] != _NONE:
        ttl: Any = {"AttributeName": wanted["TTL"], "Enabled": True}
        when_ready(lambda: dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl))
    recovery: Any = {"PointInTimeRecoveryEnabled": True}
    when_ready(lambda: dynamodb.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=recovery))
    if wanted["deletion protection"] == "on":
        when_ready(lambda: dynamodb.update_table(TableName=table, DeletionProtectionEnabled=True))
    dynamodb.get_waiter("table_exists").wait(TableName=table, WaiterConfig=WAITING)


def _keep_key(deployment: Deployment, copy: Copy, logical_id: str) -> None:
    """Have a copy encrypted with the key of the original, if it was not restored so."""
    name, before = copy.table(logical_id), drill_restore.describe(drill_restore.original(deployment, logical_id))
    if before is None or _key(before) == _key(drill_restore.describe(name)):
        return
    key: Any = {"Enabled": True, "SSEType": "KMS"}
    if deployment.parameter("DataKey") == "customer":
        key["KMSMasterKeyId"] = _key(before)
    when_ready(lambda: _dynamodb().update_table(TableName=name, SSESpecification=key))
    _dynamodb().get_waiter("table_exists").wait(TableName=name, WaiterConfig=WAITING)


def _proof(deployment: Deployment, copy: Copy, logical_id: str, tags: Mapping[str, str]) -> Iterator[Setting]:
    name = copy.table(logical_id)
    table = drill_restore.describe(name)
    before = drill_restore.describe(drill_restore.original(deployment, logical_id))
    wanted = _wanted(deployment, logical_id) | {
        "tags": _pairs(tags),
        "key": _key(before) if before else _key(table),  # of a table that is gone nobody can say
    }
    found = _read(name, table)
    yield from (Setting(logical_id, setting, value, found[setting]) for setting, value in wanted.items())


def _read(name: str, table: Any) -> dict[str, str]:
    """The same words, as AWS says it."""
    dynamodb = _dynamodb()
    stream = table.get("StreamSpecification", {})
    ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    recovery = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    status = recovery.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    return {
        "indexes": " ".join(sorted(index["IndexName"] for index in table.get("GlobalSecondaryIndexes") or [])) or _NONE,
        "stream": stream["StreamViewType"] if stream.get("StreamEnabled") and table.get("LatestStreamArn") else _NONE,
        "TTL": ttl.get("AttributeName", _NONE) if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") else _NONE,
        "point-in-time recovery": "on" if status == "ENABLED" else "off",
        "deletion protection": "on" if table.get("DeletionProtectionEnabled") else "off",
        "tags": _pairs({tag["Key"]: tag["Value"] for tag in tags}),
        "key": _key(table),
    }


def _pairs(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _key(table: Any) -> str:
    return str(table.get("SSEDescription", {}).get("KMSMasterKeyArn", "AWS's own"))


# --- The bucket -------------------------------------------------------------------------------------------------------


def _proof_of_bucket(bucket: str, copy: Copy) -> Iterator[Setting]:
    s3 = _s3()
    versioning = s3.get_bucket_versioning(Bucket=copy.bucket).get("Status", _NONE)
    yield Setting("ImageBucket", "versioning", "Enabled", versioning)
    block = s3.get_public_access_block(Bucket=copy.bucket)["PublicAccessBlockConfiguration"]
    is_private = len(block) == 4 and all(block.values())
    yield Setting("ImageBucket", "public access", "blocked", "blocked" if is_private else "possible")
    wanted, found = (_algorithm(drill_restore.encryption_of(name)) for name in (bucket, copy.bucket))
    yield Setting("ImageBucket", "encryption", wanted, found)
    notifications = s3.get_bucket_notification_configuration(Bucket=copy.bucket)
    starts = notifications.keys() - {"ResponseMetadata"}
    yield Setting("ImageBucket", "events", "off, as it starts nothing", "on" if starts else "off, as it starts nothing")


def _algorithm(encryption: Any) -> str:
    if not encryption:
        return "AES256"
    rule = encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    return " ".join(filter(None, [rule["SSEAlgorithm"], rule.get("KMSMasterKeyID", "")]))


def _dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=CLIENT_CONFIG)


def _s3() -> S3Client:
    return boto3.client("s3", config=CLIENT_CONFIG)
