"""The boundary to Amazon DynamoDB: the table DetectionLogs, one record per image.

The state machine writes a record's middle and end itself (Claim Image, Log Detection, Record Failure); here are the
beginning, the reading and the notices.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError

from pet_detector.aws_errors import refused_item, translated
from pet_detector.errors import RequestError
from pet_detector.models import REVIEW_FACT, Animal, Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Record = dict[str, Any]

# Partition keys of the listing indexes are spread over so many values; image_workflow.asl.yaml computes the same.
SHARDS = 4
# An upload that was announced and never came is forgotten after a day (DynamoDB deletes it within two more).
UPLOADING_KEPT_SECONDS = 24 * 60 * 60

# Age at which a claim belongs to nobody: TimeoutSeconds of image_workflow.asl.yaml.
CLAIM_SECONDS = 3600
# Of an error's cause, which may hold a stack trace; image_workflow.asl.yaml cuts at the same place.
CAUSE_LENGTH = 1000

_DISMISSED = "dismissed#"

_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


@cache
def _client() -> DynamoDBClient:
    return boto3.client("dynamodb", config=_CONFIG)


def shard_of(image_id: str) -> str:
    """The shard of an ImageID ("0" to "3"): its first hex digit modulo SHARDS."""
    return str(int(image_id[0], 16) % SHARDS)


def now() -> str:
    """The time, as records spell it."""
    return spelled(datetime.now(UTC))


def spelled(time_in_utc: datetime) -> str:
    """RFC 3339 with milliseconds, as Step Functions writes a time: `2026-11-21T09:30:00.123Z`."""
    return time_in_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def announce(
    table: str, image_id: str, *, file_name: str, uploaded_by: str, fingerprint: str, correlation_id: str
) -> Record:
    """Write the record of an upload that is about to come, or find the one that the same request made before.

    Returns the record as it stands. Its `RequestFingerprint` equals `fingerprint` unless the id was used for another
    request.
    """
    created = now()
    record: Record = {
        "ImageID": image_id,
        "ProcessingStatus": Status.UPLOADING.value,
        "OriginalFilename": file_name,
        "UploadedBy": uploaded_by,
        "RequestFingerprint": fingerprint,
        "CorrelationId": correlation_id,
        "CreatedAt": created,
        "UpdatedAt": created,
        "ListedAt": f"{created}#{image_id}",
        "Shard": shard_of(image_id),
        "StatusShard": f"{Status.UPLOADING.value}#{shard_of(image_id)}",
        "ExpiresAt": int(time.time()) + UPLOADING_KEPT_SECONDS,
    }
    with translated("dynamodb:PutItem"):
        try:
            _client().put_item(
                TableName=table,
                Item={name: _serialize(value) for name, value in record.items()},
                ConditionExpression="attribute_not_exists(ImageID)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            return plain(refused_item(error))
    return record


def find(table: str, image_id: str) -> Record | None:
    """The record of an image, as of now, or None. What only remembers a notice (`claim_notice`) is no record."""
    with translated("dynamodb:GetItem"):
        answer = _client().get_item(TableName=table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
    item = answer.get("Item", {})
    return plain(item) if "ProcessingStatus" in item and not _is_forgotten(item) else None


def _is_forgotten(item: dict[str, Any]) -> bool:
    """Whether an upload never came: DynamoDB deletes expired records some day, but they end when they expire."""
    waits = item["ProcessingStatus"]["S"] == Status.UPLOADING
    return waits and int(item["ExpiresAt"]["N"]) < time.time()


def plain(item: dict[str, Any]) -> Record:
    """A record as Python's own values; `item` is as DynamoDB and its streams write it. Numbers become Decimals."""
    return {name: _deserialize(value) for name, value in item.items()}


@dataclass(frozen=True)
class Query:
    """What to list. `since` and `until` are RFC 3339 UTC times, compared as text: since <= CreatedAt < until."""

    animal: Animal | None = None
    status: Status | None = None
    since: str | None = None
    until: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no record can ever match: what has no animal yet, or an uncertain cat (it is filed as other)."""
        if self.animal is None:
            return False
        without_animal = self.status in (Status.UPLOADING, Status.REJECTED)
        return without_animal or (self.status is Status.NEEDS_REVIEW and self.animal is not Animal.OTHER)

    def spread(self) -> tuple[str, str, str]:
        """-> (index, its partition key attribute, prefix of the partition key's values)."""
        # With both, the index that holds fewer records of no interest: a cat that waits for a review is rare.
        if self.animal and self.status in (None, Status.COMPLETED):
            return "AnimalIndex", "AnimalShard", f"{self.animal.value}#"
        if self.status:
            return "StatusIndex", "StatusShard", f"{self.status.value}#"
        return "ListingIndex", "Shard", ""


@dataclass(frozen=True)
class Page:
    """Records, newest first, and the token for the next page, or None at the end."""

    records: list[Record]
    next_token: str | None


def list_images(table: str, query: Query, limit: int, token: str | None = None) -> Page:
    """List records newest first, at most `limit` (1 to 100), after the position of `token`.

    Merges one ordered query per shard, so that no single partition takes every write. The listing is eventually
    consistent. Raises RequestError for a token that is not of this listing.
    """
    before = _open_token(token, query) if token else None
    if query.is_empty:
        return Page([], None)
    with translated("dynamodb:Query"):
        shards = [_query_shard(table, query, str(shard), limit + 1, before) for shard in range(SHARDS)]
    merged = heapq.merge(*shards, key=lambda record: str(record["ListedAt"]), reverse=True)
    records = [record for record, _ in zip(merged, range(limit + 1), strict=False)]
    more = len(records) > limit
    records = records[:limit]
    return Page(records, _seal_token(records[-1]["ListedAt"], query) if more else None)


def _query_shard(table: str, query: Query, shard: str, limit: int, before: str | None) -> list[Record]:
    index, attribute, prefix = query.spread()
    # "\x7f" sorts behind every character of a time and an id; ListedAt is "<CreatedAt>#<ImageID>".
    upper, lower = before or query.until or "\x7f", query.since or "0"
    if lower > upper:  # DynamoDB refuses to look between the two
        return []
    values = {":shard": prefix + shard, ":upper": upper, ":lower": lower}
    arguments: dict[str, Any] = {
        "TableName": table,
        "IndexName": index,
        "KeyConditionExpression": "#shard = :shard AND ListedAt BETWEEN :lower AND :upper",
        "ExpressionAttributeNames": {"#shard": attribute},
        "ScanIndexForward": False,
    }
    if query.animal and query.status:
        by_animal = index == "AnimalIndex"
        arguments["FilterExpression"] = f"{'ProcessingStatus' if by_animal else 'DetectedAnimal'} = :other"
        values[":other"] = query.status.value if by_animal else query.animal.value
    arguments["ExpressionAttributeValues"] = {name: _serialize(value) for name, value in values.items()}
    # DynamoDB filters what it has read: small pages would find little, with a round trip each.
    size = 1000 if "FilterExpression" in arguments else limit + 1
    records: list[Record] = []
    for page in _client().get_paginator("query").paginate(**arguments, PaginationConfig={"PageSize": size}):
        items = [item for item in page["Items"] if item["ListedAt"]["S"] != upper]  # BETWEEN includes it
        records += [plain(item) for item in items if not _is_forgotten(item)]
        if len(records) >= limit:
            break
    return records[:limit]


def _seal_token(listed_at: str, query: Query) -> str:
    text = json.dumps([listed_at, _identity(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _open_token(token: str, query: Query) -> str:
    try:
        listed_at, identity = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError):
        listed_at = identity = None
    if not isinstance(listed_at, str) or len(listed_at) > 100 or identity != _identity(query):
        raise RequestError(
            400, "INVALID_TOKEN", "nextToken is not of this listing: send it unchanged, with the same filters."
        )
    return listed_at


def _identity(query: Query) -> list[str | None]:
    return [query.animal, query.status, query.since, query.until]


def record_failure(
    table: str, image_id: str, *, execution_arn: str, key: str, version_id: str, error: str, cause: str
) -> bool:
    """Mark a record failed if this execution left it unfinished, or if it never got as far; False otherwise.

    Unfinished is also an uncertain image that nobody was told of. `key` and `version_id` are the execution's object.
    `cause` is cut to CAUSE_LENGTH characters.
    """
    time_text = now()
    values = {
        ":failed": Status.FAILED.value,
        ":processing": Status.PROCESSING.value,
        ":uploading": Status.UPLOADING.value,
        ":review": Status.NEEDS_REVIEW.value,
        ":told": REVIEW_FACT,
        ":shard": shard_of(image_id),
        ":statusShard": f"{Status.FAILED.value}#{shard_of(image_id)}",
        ":error": {"Error": error, "Cause": cause[:CAUSE_LENGTH]},
        ":now": time_text,
        ":listedAt": f"{time_text}#{image_id}",
        ":execution": execution_arn,
        ":key": key,
        ":version": version_id,
        ":correlation": execution_arn.rpartition(":")[2],
    }
    with translated("dynamodb:UpdateItem"):
        try:
            _client().update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression=(
                    "SET ProcessingStatus = :failed, StatusShard = :statusShard, #shard = :shard, #error = :error,"
                    " UpdatedAt = :now, ExecutionArn = :execution, SourceKey = :key,"
                    " SourceVersion = if_not_exists(SourceVersion, :version),"
                    " CreatedAt = if_not_exists(CreatedAt, :now), ListedAt = if_not_exists(ListedAt, :listedAt),"
                    " CorrelationId = if_not_exists(CorrelationId, :correlation) REMOVE ExpiresAt"
                ),
                ConditionExpression=(
                    "attribute_not_exists(ProcessingStatus) OR ProcessingStatus = :uploading"
                    " OR (ExecutionArn = :execution AND (ProcessingStatus = :processing"
                    " OR (ProcessingStatus = :review AND NOT contains(Notices, :told))))"
                ),
                ExpressionAttributeNames={"#error": "Error", "#shard": "Shard"},
                ExpressionAttributeValues={name: _serialize(value) for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error_of_aws:
            # When an answer is lost on its way the SDK asks again, and finds what this very call wrote.
            found = plain(refused_item(error_of_aws))
            wanted = {"ProcessingStatus": Status.FAILED, "ExecutionArn": execution_arn, "UpdatedAt": time_text}
            return wanted.items() <= found.items()
    return True


def dismiss(table: str, image_id: str, *, execution_arn: str, expires_at: int) -> bool:
    """Take an image that this execution failed, and whose object is gone, off the list of failed ones; it still says
    failed, and expires at `expires_at` (seconds since 1970). False when it is not as it was.

    The mark is its StatusShard, `dismissed#2`: a claim or another failure writes another one over it.
    """
    values = {
        ":failed": Status.FAILED.value,
        ":statusShard": f"{_DISMISSED}{shard_of(image_id)}",
        ":now": now(),
        ":expires": expires_at,
        ":execution": execution_arn,
    }
    with translated("dynamodb:UpdateItem"):
        try:
            _client().update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="SET StatusShard = :statusShard, UpdatedAt = :now, ExpiresAt = :expires",
                ConditionExpression=(
                    "ProcessingStatus = :failed AND (attribute_not_exists(ExecutionArn) OR ExecutionArn = :execution)"
                ),
                ExpressionAttributeValues={name: _serialize(value) for name, value in values.items()},
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def is_dismissed(record: Record) -> bool:
    """Whether an operator ended this failed image."""
    return str(record.get("StatusShard", "")).startswith(_DISMISSED)


def abandoned(table: str, claimed_before: str) -> Iterator[Record]:
    """Records that are processing since before that time (as `now` writes it)."""
    for shard in range(SHARDS):
        pages = (
            _client()
            .get_paginator("query")
            .paginate(
                TableName=table,
                IndexName="StatusIndex",
                KeyConditionExpression="StatusShard = :shard",
                FilterExpression="ClaimedAt < :before",
                ExpressionAttributeValues={
                    ":shard": {"S": f"{Status.PROCESSING.value}#{shard}"},
                    ":before": {"S": claimed_before},
                },
            )
        )
        with translated("dynamodb:Query"):
            for page in pages:
                yield from map(plain, page["Items"])


def claim_notice(table: str, image_id: str, fact: str) -> bool:
    """Reserve the sending of the notice of one fact about an image; False when it was reserved before."""
    claim = uuid.uuid4().hex
    with translated("dynamodb:UpdateItem"):
        try:
            _client().update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="ADD Notices :facts SET NoticeClaim = :claim",
                ConditionExpression="NOT contains(Notices, :fact)",
                ExpressionAttributeValues={":facts": {"SS": [fact]}, ":fact": {"S": fact}, ":claim": {"S": claim}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            # When an answer is lost on its way the SDK asks again, and finds the claim of this very call.
            return bool(refused_item(error).get("NoticeClaim") == {"S": claim})
    return True


def release_notice(table: str, image_id: str, fact: str) -> None:
    """Take back a reservation, because the notice was certainly not sent."""
    with translated("dynamodb:UpdateItem"):
        _client().update_item(
            TableName=table,
            Key={"ImageID": {"S": image_id}},
            UpdateExpression="DELETE Notices :facts REMOVE NoticeClaim",
            ExpressionAttributeValues={":facts": {"SS": [fact]}},
        )
