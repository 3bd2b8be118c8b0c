"""Amazon DynamoDB: the table Erasures, the ledger of what was erased. One row per image, and no personal data in it.

It outlives every backup of the table and the bucket: whoever restores one reads here what to erase again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import now
from pet_detector.aws.errors import refused_item, translated


class Stage(StrEnum):
    """How far an erasure has come."""

    BEGUN = "begun"  # asked for; it has to be done, or done again, until it is
    DONE = "done"
    REFUSED = "refused"  # the image was at work, and is left as it is


class Source(StrEnum):
    """Who asked."""

    API = "api"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Erasure:
    """A row. Times are RFC 3339 UTC, of the first erasure: a later run of the same image changes neither.

    `objects` (versions and delete markers), `analyses`, dead letters (`messages`) and items of its review (`reviews`)
    are how many were deleted, over all runs.
    """

    image_id: str
    stage: str
    source: str
    begun_at: str
    erased_at: str
    objects: int
    analyses: int
    messages: int
    reviews: int


def begin(table: str, image_id: str, source: Source) -> None:
    """Note that an image is to be erased, before anything is deleted."""
    values: dict[str, Any] = {":stage": {"S": Stage.BEGUN}, ":source": {"S": source}, ":now": {"S": now()}}
    _update(
        table, image_id, "SET Stage = :stage, RequestedBy = :source, BegunAt = if_not_exists(BegunAt, :now)", values
    )


def refuse(table: str, image_id: str) -> None:
    """Note that a begun erasure was refused. The row of an image that was erased before stays begun: it came back."""
    condition = "Stage = :begun AND attribute_not_exists(ErasedAt)"
    values = {":stage": {"S": Stage.REFUSED}, ":begun": {"S": Stage.BEGUN}}
    _update(table, image_id, "SET Stage = :stage", values, condition)


def finish(
    table: str, image_id: str, *, objects: int, analyses: int, reviews: int, messages: int, is_done: bool
) -> None:
    """Add to the counts, and note that the image is gone; the row stays begun unless `is_done`."""
    values: dict[str, Any] = {
        ":stage": {"S": Stage.DONE if is_done else Stage.BEGUN},
        ":now": {"S": now()},
        ":objects": {"N": str(objects)},
        ":analyses": {"N": str(analyses)},
        ":messages": {"N": str(messages)},
        ":reviews": {"N": str(reviews)},
    }
    update = "SET ErasedAt = if_not_exists(ErasedAt, :now), Stage = :stage"
    update += " ADD Versions :objects, Analyses :analyses, Messages :messages, Reviews :reviews"
    _update(table, image_id, update, values)


def _update(table: str, image_id: str, update: str, values: Any, condition: str = "") -> None:
    conditional: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
    with translated("dynamodb:UpdateItem Erasures"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression=update,
                ExpressionAttributeValues=values,
                **conditional,
            )
        except ClientError as error:
            refused_item(error)


def find(table: str, image_id: str) -> Erasure | None:
    """The row of an image, or None."""
    key = {"ImageID": {"S": image_id}}
    with translated("dynamodb:GetItem Erasures"):
        item = client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    return _row(item) if item else None


def every(table: str) -> Iterator[Erasure]:
    """The whole ledger."""
    pages = client("dynamodb").get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    with translated("dynamodb:Scan Erasures"):
        for page in pages:
            yield from map(_row, page["Items"])


def _row(item: dict[str, Any]) -> Erasure:
    texts = [item.get(name, {}).get("S", "") for name in ("ImageID", "Stage", "RequestedBy", "BegunAt", "ErasedAt")]
    numbers = [int(item.get(name, {}).get("N", "0")) for name in ("Versions", "Analyses", "Messages", "Reviews")]
    return Erasure(*texts, *numbers)
