"""Restores tables and the bucket's objects beside the original. Nothing here writes to the original.

A table comes from its point-in-time recovery, where there is one; on the local AWS, which would copy today's items, and
when the table is gone, from a backup. The newest of those may have been made by AWS when the table was deleted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops import records
from ops.drill_compare import Stored
from ops.environment import CLIENT_CONFIG, LOCAL, REGION, Deployment, region
from ops.errors import OperatorError
from pet_detector.aws.errors import code_of
from pet_detector.aws.image_bucket import UPLOADED_HASH
from pet_detector.rules.image_ids import INPUT_FOLDER

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

# Logical ids of the tables that are restored. Analyses is a cache, and has no backup.
RECORDS, REVIEWS, LEDGER = "DetectionLogsTable", "ReviewsTable", "ErasuresTable"
TABLES = (RECORDS, REVIEWS, LEDGER)
# A restore may take hours: as long as the promise of docs/reliability.md (RTO, 4 hours).
WAITING: Any = {"Delay": 5, "MaxAttempts": 2880}
# A table takes one change at a time, and recovery is available some seconds after a restore.
_BUSY = ("ResourceInUseException", "LimitExceededException", "ContinuousBackupsUnavailableException")
# Of a copy: its source was archived, or has gone since it was listed (the workflow moves uploads).
_NOT_COPIED = ("InvalidObjectState", "ObjectNotInActiveTierError", "NoSuchKey", "NoSuchVersion")
# An ETag that is the MD5 of the bytes: an object of one part, not encrypted with a key of KMS.
_MD5 = re.compile(r'"[0-9a-f]{32}"')


@dataclass(frozen=True)
class Copy:
    """The names of what a drill makes: all begin with `name`, `<stack>-drill-<12 hexadecimal digits>`."""

    name: str

    @property
    def bucket(self) -> str:
        """The bucket with the copied objects."""
        return self.name

    def table(self, logical_id: str) -> str:
        """The copy of a table."""
        return f"{self.name}-{logical_id}"


@dataclass(frozen=True)
class Source:
    """What a table is restored from: a backup (its ARN), else its point-in-time recovery. `moment`: as it was then."""

    table: str
    moment: datetime
    backup: str = ""


@dataclass(frozen=True)
class Version:
    """An object version of the original."""

    key: str
    version_id: str
    modified: datetime
    size: int
    etag: str


def original(deployment: Deployment, logical_id: str) -> str:
    """The name of an original table, be it there or not."""
    return deployment.output(f"{logical_id}Name")


def describe(table: str) -> Any:
    """What DynamoDB says of a table; None when there is none."""
    try:
        return _dynamodb().describe_table(TableName=table)["Table"]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return None


# --- Tables -----------------------------------------------------------------------------------------------------------


def sources(deployment: Deployment, copy: Copy, at: datetime | None) -> dict[str, Source]:
    """What each table is restored from, as it was at one moment. On the local AWS it makes a backup first.

    Raises OperatorError when a table cannot be restored as it was `at` that moment.
    """
    originals = {logical_id: original(deployment, logical_id) for logical_id in TABLES}
    is_local = deployment.environment == LOCAL
    windows = {table: None if is_local else _window(table) for table in originals.values()}
    latest = min((window[1] for window in windows.values() if window), default=None)
    found = {}
    for logical_id, table in originals.items():
        window = windows[table]
        wanted = at or latest
        if window and wanted and window[0] <= wanted <= window[1]:
            found[logical_id] = Source(table, wanted)
        elif is_local and at is None and describe(table) is not None:
            found[logical_id] = _back_up(table, copy)
        elif backup := _newest_backup(table, at):
            found[logical_id] = backup
        else:
            reach = f" Its recovery reaches from {window[0]} to {window[1]}." if window else ""
            when = f" that was made until {at:%Y-%m-%d %H:%M:%S %Z}" if at else ""
            raise OperatorError(f"There is no backup of {table}{when}, so nothing to restore.{reach}")
    return found


def _window(table: str) -> tuple[datetime, datetime] | None:
    """From when to when a table can be restored to the second; None when it cannot, or is gone."""
    try:
        answer = _dynamodb().describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    except ClientError as error:
        if code_of(error) != "TableNotFoundException":
            raise
        return None
    recovery = answer.get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        return None
    return recovery["EarliestRestorableDateTime"], recovery["LatestRestorableDateTime"]


def _newest_backup(table: str, at: datetime | None) -> Source | None:
    """The newest backup of a table, made until then, by whoever: AWS makes one when a table is deleted."""
    pages = _dynamodb().get_paginator("list_backups").paginate(TableName=table, BackupType="ALL")
    backups = [
        backup
        for page in pages
        for backup in page["BackupSummaries"]
        if backup["BackupStatus"] == "AVAILABLE" and backup["BackupType"] in ("USER", "SYSTEM")
    ]
    made = [
        Source(table, backup["BackupCreationDateTime"].astimezone(UTC), backup["BackupArn"])
        for backup in backups
        if at is None or backup["BackupCreationDateTime"] <= at
    ]
    return max(made, key=lambda source: source.moment, default=None)


def _back_up(table: str, copy: Copy) -> Source:
    """A backup of now, which the drill removes again."""
    arn = _dynamodb().create_backup(TableName=table, BackupName=copy.name)["BackupDetails"]["BackupArn"]
    return Source(table, datetime.now(UTC), arn)


def begin(copy: Copy, chosen: Mapping[str, Source]) -> None:
    """Let DynamoDB restore every table into its copy, side by side."""
    for logical_id, source in chosen.items():
        target = copy.table(logical_id)
        if source.backup:
            _when_made(source.backup)
            _dynamodb().restore_table_from_backup(TargetTableName=target, BackupArn=source.backup)
        else:
            _dynamodb().restore_table_to_point_in_time(
                SourceTableName=source.table, TargetTableName=target, RestoreDateTime=source.moment
            )


def wait(copy: Copy, chosen: Mapping[str, Source]) -> None:
    """Until all of them can be used."""
    for logical_id in chosen:
        _dynamodb().get_waiter("table_exists").wait(TableName=copy.table(logical_id), WaiterConfig=WAITING)


def _when_made(backup: str) -> None:
    """Wait until a backup can be restored: some seconds after it was asked for."""
    for _ in range(WAITING["MaxAttempts"]):
        details = _dynamodb().describe_backup(BackupArn=backup)["BackupDescription"]["BackupDetails"]
        if details["BackupStatus"] == "AVAILABLE":
            return
        time.sleep(WAITING["Delay"])
    raise OperatorError(f"The backup {backup} does not become available.")


def items(table: str) -> Iterator[dict[str, Any]]:
    """Every item of a table, read consistently, in DynamoDB's notation."""
    for page in _dynamodb().get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from page["Items"]


def make_cache(copy: Copy) -> str:
    """An empty table in the place of Analyses: what is erased on the copy must not touch the original's -> its name."""
    name = copy.table("AnalysesTable")
    _dynamodb().create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "ContentHash", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "ContentHash", "KeyType": "HASH"}],
    )
    _dynamodb().get_waiter("table_exists").wait(TableName=name, WaiterConfig=WAITING)
    return name


def bring_up_to_date(ledger: str, copy: Copy) -> None:
    """Put the rows of today's ledger into its copy: what was erased since then is erased again, too."""
    target = copy.table(LEDGER)
    for item in items(ledger):
        _dynamodb().put_item(TableName=target, Item=item)


# --- The bucket -------------------------------------------------------------------------------------------------------


def make_bucket(copy: Copy, bucket: str, tags: Mapping[str, str]) -> None:
    """A private, versioned bucket, encrypted like the original. It starts no workflow, and is empty after a day."""
    s3 = _s3()
    # Outside us-east-1 S3 asks which region it is; there it takes no answer.
    place: Any = {} if region() == REGION else {"CreateBucketConfiguration": {"LocationConstraint": region()}}
    s3.create_bucket(Bucket=copy.bucket, **place)
    s3.put_public_access_block(
        Bucket=copy.bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_tagging(
        Bucket=copy.bucket, Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
    )
    s3.put_bucket_versioning(Bucket=copy.bucket, VersioningConfiguration={"Status": "Enabled"})
    if encryption := encryption_of(bucket):
        s3.put_bucket_encryption(Bucket=copy.bucket, ServerSideEncryptionConfiguration=encryption)
    # Whatever becomes of the drill, no picture stays in it.
    rule: Any = {"ID": "Drill", "Filter": {"Prefix": ""}, "Status": "Enabled", "Expiration": {"Days": 1}}
    rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": 1}
    s3.put_bucket_lifecycle_configuration(Bucket=copy.bucket, LifecycleConfiguration={"Rules": [rule]})


def encryption_of(bucket: str) -> Any:
    """The default encryption of a bucket; None when it has none of its own."""
    try:
        return _s3().get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
    except ClientError as error:
        if code_of(error) != "ServerSideEncryptionConfigurationNotFoundError":
            raise
        return None


def versions_at(bucket: str, at: datetime | None) -> Iterator[list[Version]]:
    """For each key of a bucket, what was there at that moment (None: now), oldest first.

    Under input/ every version counts, because each may be an image; elsewhere the newest one, unless it was deleted.
    """
    pages = _s3().get_paginator("list_object_versions").paginate(Bucket=bucket)
    entries = itertools.chain.from_iterable(_entries(page) for page in pages)
    for key, group in itertools.groupby(entries, key=lambda entry: str(entry["Key"])):
        there = sorted(group, key=lambda entry: (entry["LastModified"], entry["IsLatest"]))
        there = [entry for entry in there if at is None or entry["LastModified"] <= at]
        if not key.startswith(f"{INPUT_FOLDER}/"):
            there = there[-1:]
        # A delete marker has no size.
        found = [_version(entry) for entry in there if "Size" in entry]
        if found:
            yield found


def _entries(page: Any) -> list[Any]:
    """Versions and delete markers, by key. S3 knows their times in whole seconds, and which of a key is the newest."""
    both = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return sorted(both, key=lambda entry: str(entry["Key"]))


def _version(entry: Any) -> Version:
    modified = entry["LastModified"].astimezone(UTC)
    return Version(entry["Key"], entry["VersionId"], modified, entry["Size"], entry["ETag"])


def copy_objects(bucket: str, groups: Iterable[list[Version]], copy: Copy) -> tuple[list[Stored], list[str]]:
    """Copy versions, several keys at a time -> those that were copied, and "key: why not" of the others."""
    s3 = _s3()
    stored: list[Stored] = []
    not_copied: list[str] = []
    for done in records.for_each(lambda group: [_copy(s3, bucket, version, copy.bucket) for version in group], groups):
        stored += [one for one in done if isinstance(one, Stored)]
        not_copied += [one for one in done if isinstance(one, str)]
    return stored, not_copied


def _copy(s3: S3Client, bucket: str, version: Version, target: str) -> Stored | str:
    """S3 computes the hash of what it copies, so that no byte of it has to travel; else the copy is read."""
    try:
        answer = s3.copy_object(
            Bucket=target,
            Key=version.key,
            CopySource={"Bucket": bucket, "Key": version.key, "VersionId": version.version_id},
            ChecksumAlgorithm="SHA256",
            TaggingDirective="REPLACE",
        )
    except ClientError as error:
        if code_of(error) not in _NOT_COPIED:
            raise
        return f"{version.key}: {code_of(error)}"
    place: Any = {"Bucket": target, "Key": version.key, "VersionId": answer["VersionId"]}
    head = s3.head_object(**place)
    checksum = answer["CopyObjectResult"].get("ChecksumSHA256", "")
    try:
        content_hash = base64.b64decode(checksum, validate=True).hex() if checksum else _hash(s3, place)
    except binascii.Error:
        content_hash = _hash(s3, place)
    if not version.key.startswith(f"{INPUT_FOLDER}/"):  # there an uploader writes the metadata
        content_hash = head["Metadata"].get(UPLOADED_HASH, content_hash)
    is_whole = head["ContentLength"] == version.size and _same_md5(version.etag, head)
    return Stored(version.key, version.version_id, version.modified, content_hash, answer["VersionId"], is_whole)


def _hash(s3: S3Client, place: Any) -> str:
    sha256 = hashlib.sha256()
    with closing(s3.get_object(**place)["Body"]) as body:
        for chunk in body.iter_chunks(1024 * 1024):
            sha256.update(chunk)
    return sha256.hexdigest()


def _same_md5(etag: str, head: Any) -> bool:
    """Whether the ETags say nothing else: they are comparable when both are an MD5."""
    if head.get("ServerSideEncryption", "AES256") != "AES256" or not _MD5.fullmatch(etag):
        return True
    return not _MD5.fullmatch(head["ETag"]) or etag == head["ETag"]


def _dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=CLIENT_CONFIG)


def _s3() -> S3Client:
    return boto3.client("s3", config=CLIENT_CONFIG)


def when_ready(call: Callable[[], object]) -> None:
    """Make a change as soon as the table takes it."""
    for _ in range(WAITING["MaxAttempts"]):
        try:
            call()
        except ClientError as error:
            if code_of(error) not in _BUSY:
                raise
            time.sleep(WAITING["Delay"])
        else:
            return
    call()
