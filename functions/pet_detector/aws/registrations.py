"""Amazon DynamoDB: who may copy an object in, so that a backfill registers it once.

The record of an image says so itself: `CopyClaim` names the attempt that may copy, and until `CopyEnds` no other one
begins. The status leaves `uploading` only when the workflow claims the object, and only then can it move away.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import (
    UPLOADING_KEPT_SECONDS,
    deserialized,
    now,
    put_announced,
    read_batch,
    serialized,
)
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.models import BACKFILL, Record, Status

# Longer than RegisterImages runs (its Timeout in template.yaml) and S3 works on a copy: when it is over, the attempt
# has copied, or it never will.
COPY_SECONDS = 120


@dataclass(frozen=True)
class Attempt:
    """The right to copy one object in, until `ends` (seconds since 1970), for `seconds` in all."""

    claim: str
    ends: int
    seconds: int = COPY_SECONDS

    @property
    def is_fresh(self) -> bool:
        """Whether there is still time to begin: a laptop may have slept since."""
        return time.time() < self.ends - self.seconds / 2


def begin(table: str, image_id: str, *, file_name: str, backfill: str, seconds: int = COPY_SECONDS) -> Attempt | Record:
    """Announce an image that nobody knows, and take the right to copy it in; else its record as it stands.

    `backfill` becomes the record's CorrelationId, and the right lasts `seconds`.
    """
    attempt = _new_attempt(seconds)
    record = put_announced(
        table,
        image_id,
        {
            "OriginalFilename": file_name,
            "UploadedBy": BACKFILL,
            "CorrelationId": backfill,
            "CopyClaim": attempt.claim,
            "CopyEnds": attempt.ends,
        },
    )
    return _own_or_found(record, attempt)


def take_over(table: str, image_id: str, seen: str, seconds: int = COPY_SECONDS) -> Attempt | Record:
    """Take the right to copy from the attempt `seen`, if nobody else did and the workflow has not claimed the image.

    Else the record as it stands: empty when DynamoDB has deleted it, as it expired.
    """
    attempt = _new_attempt(seconds)
    values = {
        ":uploading": Status.UPLOADING.value,
        ":seen": seen,
        ":claim": attempt.claim,
        ":ends": attempt.ends,
        ":expires": int(time.time()) + UPLOADING_KEPT_SECONDS,
        ":now": now(),
    }
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="SET CopyClaim = :claim, CopyEnds = :ends, ExpiresAt = :expires, UpdatedAt = :now",
                ConditionExpression="ProcessingStatus = :uploading AND CopyClaim = :seen",
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            return _own_or_found(deserialized(refused_item(error)), attempt)
    return attempt


def withdraw(table: str, image_id: str, claim: str) -> None:
    """Take back the announcement of an image that this attempt could not copy, unless somebody else has it now."""
    values = {":uploading": Status.UPLOADING.value, ":claim": claim}
    with translated("dynamodb:DeleteItem"):
        try:
            client("dynamodb").delete_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                ConditionExpression="ProcessingStatus = :uploading AND CopyClaim = :claim",
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
            )
        except ClientError as error:
            refused_item(error)


def known(table: str, image_ids: list[str]) -> dict[str, Record]:
    """The records of those ids (at most 100) that have one, eventually consistent: status, when and where.

    Raises ThrottledError when DynamoDB reads none of them.
    """
    projection = "ImageID, ProcessingStatus, TurnAt, CopyEnds, S3Location"
    items = read_batch(table, image_ids, projection, consistent=False)
    return {item["ImageID"]["S"]: deserialized(item) for item in items}


def _new_attempt(seconds: int) -> Attempt:
    return Attempt(uuid.uuid4().hex, int(time.time()) + seconds, seconds)


def _own_or_found(record: Record, attempt: Attempt) -> Attempt | Record:
    # Also when DynamoDB's answer is lost: the SDK calls again, and finds what the first attempt wrote.
    return attempt if record.get("CopyClaim") == attempt.claim else record
