"""Amazon DynamoDB: how many images were analysed today, to limit the costs. Items in the table Analyses: one a day for
all images, and one a day for each uploader while there is a limit for that. `of` is the uploader, empty for all.
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import PetDetectorError

# Longer than its day, and long enough to look back at a bad week.
COUNTER_KEPT_SECONDS = 7 * 24 * 60 * 60


def spend(table: str, limit: int, of: str = "") -> bool:
    """Count one image to be analysed today (UTC). False: `limit` were counted already, and this one was not.

    `limit` 0 means no limit, and costs no call. A retry counts again, as AWS may bill the call that failed; a
    throttled call is not billed, and is taken back (`take_back`).
    """
    if limit == 0:
        return True
    with translated("dynamodb:UpdateItem Analyses"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key=_counter_of_today(of),
                UpdateExpression="ADD Images :one SET ExpiresAt = :expires",
                ConditionExpression="attribute_not_exists(Images) OR Images < :limit",
                ExpressionAttributeValues={
                    ":one": {"N": "1"},
                    ":limit": {"N": str(limit)},
                    ":expires": {"N": str(int(time.time()) + COUNTER_KEPT_SECONDS)},
                },
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def is_reached(table: str, limit: int, of: str = "") -> bool:
    """Whether `spend` would refuse an image now: such an image need not wait for its turn. Counts nothing."""
    return limit > 0 and spent(table, of) >= limit


def take_back(table: str, limit: int, of: str = "") -> None:
    """Count one image less, because Rekognition throttled the call that was counted.

    Never raises: an image that cannot be taken back stays counted.
    """
    if limit == 0:
        return
    with contextlib.suppress(PetDetectorError), translated("dynamodb:UpdateItem Analyses"):
        client("dynamodb").update_item(
            TableName=table,
            Key=_counter_of_today(of),
            UpdateExpression="ADD Images :less",
            ConditionExpression="Images > :none",  # a day that began since has nothing to take back
            ExpressionAttributeValues={":less": {"N": "-1"}, ":none": {"N": "0"}},
        )


def spent(table: str, of: str = "") -> int:
    """Images that `spend` counted today (UTC)."""
    with translated("dynamodb:GetItem Analyses"):
        item = (
            client("dynamodb").get_item(TableName=table, Key=_counter_of_today(of), ConsistentRead=True).get("Item", {})
        )
    return int(item["Images"]["N"]) if item else 0


def _counter_of_today(of: str) -> Any:
    return {"ContentHash": {"S": f"analysed#{datetime.now(UTC):%Y-%m-%d}" + (f"#{of}" if of else "")}}
