"""Amazon DynamoDB: the end of a record in the table DetectionLogs, when its image is erased.

First the record gets the status `erased`, and keeps what leads to the objects; when those are gone, a mark replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import now, serialized
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.models import ERASED, Record


def is_mark(record: Record) -> bool:
    """Whether this is all that is left of an erased image, and not an erasure that has not come to its end."""
    return record.get("ProcessingStatus") == ERASED and "ErasedAt" in record


def hide(table: str, image_id: str, record: Record | None) -> bool:
    """Take an image out of everybody's sight, and out of the reach of executions; False when it has changed since.

    `record` is the item as it was read, None when there was none. Raises the errors of AWS.
    """
    names = ("ProcessingStatus", "ExecutionArn", "UpdatedAt")
    read = {name: str(value) for name, value in (record or {}).items() if name in names}
    values = {":erased": ERASED, ":now": now()} | {f":{name}": value for name, value in read.items()}
    conditions = [f"{name} = :{name}" if name in read else f"attribute_not_exists({name})" for name in names]
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression=(
                    "SET ProcessingStatus = :erased, UpdatedAt = :now"
                    " REMOVE #shard, StatusShard, AnimalShard, OwnerShard"  # no index lists it any more
                ),
                ConditionExpression=" AND ".join(conditions),
                ExpressionAttributeNames={"#shard": "Shard"},
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            # When DynamoDB's answer is lost, the SDK calls again, and finds what the first attempt wrote.
            return bool(refused_item(error).get("UpdatedAt") == {"S": values[":now"]})
    return True


def leave_mark(table: str, image_id: str, expires_at: int) -> None:
    """Replace a hidden record by the mark, which expires at `expires_at` (seconds since 1970)."""
    mark = {"ImageID": image_id, "ProcessingStatus": ERASED, "ErasedAt": now(), "ExpiresAt": expires_at}
    with translated("dynamodb:PutItem"):
        try:
            client("dynamodb").put_item(
                TableName=table,
                Item={name: serialized(value) for name, value in mark.items()},
                ConditionExpression="attribute_not_exists(ImageID) OR ProcessingStatus = :erased",
                ExpressionAttributeValues={":erased": {"S": ERASED}},
            )
        except ClientError as error:
            refused_item(error)


def uploaded_by(table: str, owner: str) -> Iterator[str]:
    """The ImageID of every record whose UploadedBy is `owner`, read consistently.

    It reads the whole table: an index lags behind, and does not have the records from before it was made.
    """
    pages = (
        client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=table,
            ConsistentRead=True,
            FilterExpression="UploadedBy = :owner AND attribute_exists(ProcessingStatus)",
            ExpressionAttributeValues={":owner": {"S": owner}},
            ProjectionExpression="ImageID",
        )
    )
    with translated("dynamodb:Scan"):
        for page in pages:
            yield from (item["ImageID"]["S"] for item in page["Items"])
