"""Amazon DynamoDB: the table DetectionLogs, one record per image.

UploadApi announces an upload here; the state machine claims it and logs its result with calls of its own. This module
also reads records, marks them failed or dismissed, and remembers notices. `listing` finds many records.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import ThrottledError
from pet_detector.rules.image_ids import SHARDS, image_id_in, shard_of
from pet_detector.rules.models import ERASED, ImageFormat, Record, Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import KeysAndAttributesTypeDef, QueryOutputTypeDef

# The record of an upload that never came expires after a day; DynamoDB deletes it within two more days.
UPLOADING_KEPT_SECONDS = 24 * 60 * 60

# Age at which a claim has expired, counted from `claim_counts_from`: more than all budgets of image_workflow.asl.yaml
# but those of functions that Lambda throttles.
CLAIM_SECONDS = 7200
# Age at which the claim of a verdict on its picture has expired: review.asl.yaml computes with the same.
REVIEW_CLAIM_SECONDS = 900
# The most keys that BatchGetItem takes.
BATCH = 100
# Characters of an error's cause that are kept, in a record and as the cause of a failed execution.
CAUSE_LENGTH = 1000

# Filters out what `is_forgotten`, in an expression of DynamoDB; :uploading is the status, :now in seconds since 1970.
NOT_FORGOTTEN = "NOT (ProcessingStatus = :uploading AND ExpiresAt < :now)"

_DISMISSED = "dismissed#"
# What is read of many records at once: enough to decide about an image that is not finished.
_UNFINISHED = (
    *("ImageID", "ProcessingStatus", "StatusShard", "SourceKey", "SourceVersion", "#error"),
    *("ExecutionArn", "ClaimedAt", "TurnAt", "UpdatedAt", "ExpiresAt", "ErasedAt", "UploadedBy"),
)

serialized = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def now() -> str:
    """The time, in the format of records."""
    return format_time(datetime.now(UTC))


def format_time(time_in_utc: datetime) -> str:
    """RFC 3339 with milliseconds, as Step Functions writes a time: `2026-11-21T09:30:00.123Z`."""
    return time_in_utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def announce(
    table: str, image_id: str, *, file_name: str, uploaded_by: str, fingerprint: str, correlation_id: str
) -> Record:
    """Write the record of an upload that is about to come, or find the one that the same request made before.

    Returns the record as it stands. Its `RequestFingerprint` equals `fingerprint` unless the id was used for another
    request.
    """
    return put_announced(
        table,
        image_id,
        {
            "OriginalFilename": file_name,
            "UploadedBy": uploaded_by,
            "RequestFingerprint": fingerprint,
            "CorrelationId": correlation_id,
        },
    )


def put_announced(table: str, image_id: str, attributes: Record) -> Record:
    """Write a record of status uploading, unless the image has one -> the record as it stands.

    Of the `attributes`, UploadedBy must be there.
    """
    created = now()
    record: Record = {
        "ImageID": image_id,
        "ProcessingStatus": Status.UPLOADING.value,
        **attributes,
        "CreatedAt": created,
        "UpdatedAt": created,
        "ListedAt": f"{created}#{image_id}",
        "Shard": shard_of(image_id),
        "StatusShard": f"{Status.UPLOADING.value}#{shard_of(image_id)}",
        "OwnerShard": f"{attributes['UploadedBy']}#{shard_of(image_id)}",
        "ExpiresAt": int(time.time()) + UPLOADING_KEPT_SECONDS,
    }
    with translated("dynamodb:PutItem"):
        try:
            client("dynamodb").put_item(
                TableName=table,
                Item={name: serialized(value) for name, value in record.items()},
                ConditionExpression="attribute_not_exists(ImageID)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            return deserialized(refused_item(error))
    return record


def find(table: str, image_id: str) -> Record | None:
    """The record of an image, read consistently, or None. An item that only remembers a notice is not a record, nor is
    what is left of an erased image.
    """
    item = _item(table, image_id)
    if "ProcessingStatus" not in item or is_forgotten(item) or item["ProcessingStatus"]["S"] == ERASED:
        return None
    return deserialized(item)


def find_many(table: str, image_ids: Collection[str]) -> dict[str, Record]:
    """The records of at most BATCH images, read consistently, by ImageID: those that `find` finds, and erased ones.

    Of each, only the attributes that say what to do about an image that is not finished.
    """
    items = read_batch(table, image_ids, ", ".join(_UNFINISHED), {"#error": "Error"}, consistent=True)
    return {
        item["ImageID"]["S"]: deserialized(item)
        for item in items
        if "ProcessingStatus" in item and not is_forgotten(item)
    }


def read_batch(
    table: str,
    image_ids: Collection[str],
    projection: str,
    names: Mapping[str, str] | None = None,
    *,
    consistent: bool,
) -> Iterator[dict[str, Any]]:
    """What is there of at most BATCH images, in DynamoDB's notation; `names` are those that `projection` stands for.

    Raises ThrottledError when DynamoDB reads none of them.
    """
    read: KeysAndAttributesTypeDef = {
        "Keys": [{"ImageID": {"S": image_id}} for image_id in dict.fromkeys(image_ids)],
        "ConsistentRead": consistent,
        "ProjectionExpression": projection,
    }
    if names:
        read["ExpressionAttributeNames"] = names
    while read["Keys"]:
        with translated("dynamodb:BatchGetItem"):
            answer = client("dynamodb").batch_get_item(RequestItems={table: read})
        yield from answer["Responses"].get(table, [])
        left = answer.get("UnprocessedKeys", {}).get(table, {"Keys": []})["Keys"]
        if len(left) == len(read["Keys"]):
            raise ThrottledError("dynamodb:BatchGetItem: nothing was read")
        read = read | {"Keys": left}


def all_known(table: str, image_id: str) -> Record | None:
    """The same, also of an upload that never came, of what only remembers a notice, and of an erased image."""
    item = _item(table, image_id)
    return deserialized(item) if item else None


def _item(table: str, image_id: str) -> dict[str, Any]:
    with translated("dynamodb:GetItem"):
        answer = client("dynamodb").get_item(TableName=table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
    item: dict[str, Any] = answer.get("Item", {})
    return item


def is_forgotten(item: dict[str, Any]) -> bool:
    """Whether this is an expired upload that never came. DynamoDB deletes expired items only days later."""
    waits = item["ProcessingStatus"]["S"] == Status.UPLOADING
    return waits and int(item["ExpiresAt"]["N"]) < time.time()


def deserialized(item: dict[str, Any]) -> Record:
    """A record as Python's own values; `item` is as DynamoDB and its streams write it. Numbers become Decimals."""
    record = cast(Record, {name: _deserialize(value) for name, value in item.items()})
    if "ImageFormat" in record:
        record["ImageFormat"] = ImageFormat.of_record(record["ImageFormat"])
    return record


def expect_turn(table: str, image_id: str, *, execution_arn: str, at: float) -> None:
    """Note when the turn of an image comes that this execution works on (`at`, in seconds since 1970).

    Until then, and CLAIM_SECONDS longer, its claim is valid. Does nothing to another execution's image.
    """
    values = {
        ":turn": format_time(datetime.fromtimestamp(at, UTC)),
        ":processing": Status.PROCESSING.value,
        ":execution": execution_arn,
        ":now": now(),
    }
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="SET TurnAt = :turn, UpdatedAt = :now",
                ConditionExpression="ProcessingStatus = :processing AND ExecutionArn = :execution",
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
            )
        except ClientError as error:
            refused_item(error)


def record_failure(
    table: str,
    image_id: str,
    *,
    execution_arn: str,
    key: str,
    version_id: str,
    error: str,
    cause: str,
    expires_at: int,
) -> bool:
    """Mark a record failed if this execution left it unfinished, or if it never got as far; False otherwise.

    `key` and `version_id` are those of the execution's object, and the record expires after it, at `expires_at`
    (seconds since 1970). `cause` is cut to CAUSE_LENGTH characters.
    """
    time_text = now()
    values = {
        ":failed": Status.FAILED.value,
        ":processing": Status.PROCESSING.value,
        ":uploading": Status.UPLOADING.value,
        ":shard": shard_of(image_id),
        ":statusShard": f"{Status.FAILED.value}#{shard_of(image_id)}",
        ":error": {"Error": error, "Cause": cause[:CAUSE_LENGTH]},
        ":now": time_text,
        ":listedAt": f"{time_text}#{image_id}",
        ":execution": execution_arn,
        ":key": key,
        ":id": image_id,
        ":inKey": image_id_in(key) or "none",  # an upload that was announced comes under a key that contains its id
        ":version": version_id,
        ":correlation": execution_arn.rpartition(":")[2],
        ":expires": expires_at,
    }
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression=(
                    "SET ProcessingStatus = :failed, StatusShard = :statusShard, #shard = :shard, #error = :error,"
                    " UpdatedAt = :now, ExecutionArn = :execution, SourceKey = :key,"
                    " SourceVersion = if_not_exists(SourceVersion, :version),"
                    " CreatedAt = if_not_exists(CreatedAt, :now), ListedAt = if_not_exists(ListedAt, :listedAt),"
                    " CorrelationId = if_not_exists(CorrelationId, :correlation), ExpiresAt = :expires"
                ),
                ConditionExpression=(
                    "attribute_not_exists(ProcessingStatus) OR (ProcessingStatus = :uploading AND :inKey = :id)"
                    " OR (ExecutionArn = :execution AND ProcessingStatus = :processing)"
                ),
                ExpressionAttributeNames={"#error": "Error", "#shard": "Shard"},
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error_of_aws:
            # When DynamoDB's answer is lost, the SDK calls again, and finds what the first attempt wrote.
            found = deserialized(refused_item(error_of_aws))
            wanted = {"ProcessingStatus": Status.FAILED, "ExecutionArn": execution_arn, "UpdatedAt": time_text}
            return wanted.items() <= found.items()
    return True


def dismiss(table: str, image_id: str, *, execution_arn: str, expires_at: int) -> bool:
    """Take an image that this execution failed, and whose object is gone, off the list of failed images.

    Its status stays failed, and the record expires at `expires_at` (seconds since 1970). False when the record has
    changed since. The mark is its StatusShard, such as `dismissed#2`, which a later claim or failure overwrites.
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
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="SET StatusShard = :statusShard, UpdatedAt = :now, ExpiresAt = :expires",
                ConditionExpression=(
                    "ProcessingStatus = :failed AND (attribute_not_exists(ExecutionArn) OR ExecutionArn = :execution)"
                ),
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def is_dismissed(record: Record) -> bool:
    """Whether an operator dismissed this failed image."""
    return str(record.get("StatusShard", "")).startswith(_DISMISSED)


def claim_counts_from(record: Record) -> str:
    """From when CLAIM_SECONDS count: the later of ClaimedAt and TurnAt, because the execution waits until then."""
    return max(record.get("ClaimedAt", ""), record.get("TurnAt", ""))


def expired_claims(table: str, before: str) -> Iterator[Record]:
    """Records with status processing whose `claim_counts_from` is before that time (in the format of `now`)."""
    condition = "ClaimedAt < :before AND (attribute_not_exists(TurnAt) OR TurnAt < :before)"
    for shard in range(SHARDS):
        for page in _pages(table, Status.PROCESSING, shard, {":before": before}, FilterExpression=condition):
            yield from map(deserialized, page["Items"])


def with_status(table: str, status: Status, shard: int, after: str = "", most: int = 100) -> list[Record]:
    """At most so many records of a status in one shard whose ListedAt comes after `after`: the oldest first.

    The index lags behind the table by moments.
    """
    page = next(iter(_pages(table, status, shard, after=after, Limit=most)))
    return list(map(deserialized, page["Items"]))


def count(table: str, status: Status) -> int:
    """How many records have this status. The index lags behind the table by moments."""
    return sum(page["Count"] for shard in range(SHARDS) for page in _pages(table, status, shard, Select="COUNT"))


def oldest_at_work(table: str) -> tuple[Record, str] | None:
    """Of the images that an execution works on, the one that came first, and when; None when there is none.

    What waits for its turn is not worked on. What has waited came when its turn did. As late as `count`.
    """
    condition = "attribute_not_exists(TurnAt) OR TurnAt <= :now"
    pages = (
        page
        for shard in range(SHARDS)
        for page in _pages(table, Status.PROCESSING, shard, {":now": now()}, FilterExpression=condition)
    )
    found = (deserialized(item) for page in pages for item in page["Items"])
    came = ((record, max(record["ListedAt"].partition("#")[0], record.get("TurnAt", ""))) for record in found)
    return min(came, key=lambda pair: pair[1], default=None)


def _pages(
    table: str, status: Status, shard: int, values: Mapping[str, str] | None = None, *, after: str = "", **more: Any
) -> Iterator[QueryOutputTypeDef]:
    """What StatusIndex holds of a status in one shard, by ListedAt (after `after`): the oldest first."""
    values = {":shard": f"{status.value}#{shard}", **({":after": after} if after else {}), **(values or {})}
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            IndexName="StatusIndex",
            KeyConditionExpression="StatusShard = :shard" + (" AND ListedAt > :after" if after else ""),
            ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
            **more,
        )
    )
    with translated("dynamodb:Query"):
        yield from pages


def reserve_notice(table: str, image_id: str, fact: str) -> bool:
    """Reserve the sending of the notice of one fact about an image; False when it was reserved before, or the image
    was erased.
    """
    claim = uuid.uuid4().hex
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="ADD Notices :facts SET NoticeClaim = :claim",
                ConditionExpression="NOT contains(Notices, :fact) AND NOT ProcessingStatus = :erased",
                ExpressionAttributeValues={
                    ":facts": {"SS": [fact]},
                    ":fact": {"S": fact},
                    ":claim": {"S": claim},
                    ":erased": {"S": ERASED},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            # When DynamoDB's answer is lost, the SDK calls again, and finds the claim of the first attempt.
            return bool(refused_item(error).get("NoticeClaim") == {"S": claim})
    return True


def release_notice(table: str, image_id: str, fact: str) -> None:
    """Take back the reservation of a notice that SNS rejected, so that it can be sent again."""
    with translated("dynamodb:UpdateItem"):
        client("dynamodb").update_item(
            TableName=table,
            Key={"ImageID": {"S": image_id}},
            UpdateExpression="DELETE Notices :facts REMOVE NoticeClaim",
            ExpressionAttributeValues={":facts": {"SS": [fact]}},
        )
