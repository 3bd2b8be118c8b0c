"""Amazon DynamoDB: what ReviewKeeper reads in the table Reviews, and the marks that it keeps there.

Its marks lie under an ImageID that no image has. They have no Queue, so that no index has them.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import serialized
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import ThrottledError
from pet_detector.rules.execution_input import VerdictRef

HEAD = "review"
PENDING, DONE = "pending", "done"
# Where pictures wait for a person.
WAITING = ("disagreed", "uncertain", "sample", "second")
# Of a queue no more are counted.
COUNTED = 1000

_KEEPER = "keeper"


@dataclass(frozen=True)
class Pending:
    """A verdict that was not carried out, and since when (RFC 3339)."""

    verdict: VerdictRef
    since: str


def pending(table: str, before: str = "~") -> Iterator[Pending]:
    """The verdicts that were not carried out since before that time (RFC 3339), the oldest first; by default all.

    The index lags behind the table by moments.
    """
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            IndexName="QueueIndex",
            KeyConditionExpression="#queue = :pending AND #order < :before",
            ExpressionAttributeNames={"#queue": "Queue", "#order": "Order"},
            ExpressionAttributeValues={":pending": {"S": PENDING}, ":before": {"S": before}},
        )
    )
    with translated("dynamodb:Query Reviews"):
        for page in pages:
            for item in page["Items"]:
                verdict = VerdictRef(item["ImageID"]["S"], int(item["Sequence"]["N"]))
                yield Pending(verdict, item["Order"]["S"])


def count(table: str, queue: str) -> int:
    """How many heads are in a queue; COUNTED means that many or more."""
    counted = 0
    asked: dict[str, Any] = {}
    while counted < COUNTED:
        with translated("dynamodb:Query Reviews"):
            page = client("dynamodb").query(
                TableName=table,
                IndexName="QueueIndex",
                KeyConditionExpression="#queue = :queue",
                ExpressionAttributeNames={"#queue": "Queue"},
                ExpressionAttributeValues={":queue": {"S": queue}},
                Select="COUNT",
                Limit=COUNTED - counted,
                **asked,
            )
        counted += page["Count"]
        if "LastEvaluatedKey" not in page:
            break
        asked = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    return counted


def without_head(table: str, image_ids: Collection[str]) -> set[str]:
    """Those of at most 100 images that were never put into a queue."""
    keys = [{"ImageID": {"S": image_id}, "Entry": {"S": HEAD}} for image_id in image_ids]
    missing = set(image_ids)
    while keys:
        with translated("dynamodb:BatchGetItem Reviews"):
            answer = client("dynamodb").batch_get_item(
                RequestItems={table: {"Keys": keys, "ProjectionExpression": "ImageID"}}
            )
        missing -= {item["ImageID"]["S"] for item in answer["Responses"].get(table, [])}
        left: Any = answer.get("UnprocessedKeys", {}).get(table, {"Keys": []})["Keys"]
        if len(left) == len(keys):
            raise ThrottledError("dynamodb:BatchGetItem Reviews: nothing was read")
        keys = left
    return missing


def close(table: str, verdict: VerdictRef) -> bool:
    """Take a verdict off what is still to be carried out, because its image is no more; False if a newer one came."""
    with translated("dynamodb:UpdateItem Reviews"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": verdict.image_id}, "Entry": {"S": HEAD}},
                UpdateExpression="SET #queue = :done REMOVE PendingSince",
                ConditionExpression="#queue = :pending AND #sequence = :sequence",
                ExpressionAttributeNames={"#queue": "Queue", "#sequence": "Sequence"},
                ExpressionAttributeValues={
                    ":pending": {"S": PENDING},
                    ":done": {"S": DONE},
                    ":sequence": {"N": str(verdict.sequence)},
                },
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def reserve(table: str, what: str, day: str) -> bool:
    """Reserve what is done once a day (`day` as YYYY-MM-DD); False when it was reserved before."""
    claim = uuid.uuid4().hex
    with translated("dynamodb:UpdateItem Reviews"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key=_mark(what),
                UpdateExpression="SET DoneOn = :day, DoneBy = :claim",
                ConditionExpression="attribute_not_exists(DoneOn) OR DoneOn < :day",
                ExpressionAttributeValues={":day": serialized(day), ":claim": serialized(claim)},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            # When DynamoDB's answer is lost, the SDK calls again, and finds the claim of the first attempt.
            return bool(refused_item(error).get("DoneBy") == {"S": claim})
    return True


def release(table: str, what: str) -> None:
    """Take back the reservation of what was not done, so that the next run does it."""
    with translated("dynamodb:UpdateItem Reviews"):
        client("dynamodb").update_item(TableName=table, Key=_mark(what), UpdateExpression="REMOVE DoneOn, DoneBy")


def position(table: str) -> str:
    """Behind which uncertain image the next run looks for those that are in no queue; empty for the first one."""
    with translated("dynamodb:GetItem Reviews"):
        answer = client("dynamodb").get_item(TableName=table, Key=_mark("position"), ConsistentRead=True)
    return str(answer.get("Item", {}).get("Position", {}).get("S", ""))


def move_to(table: str, place: str) -> None:
    """Have the next run begin behind this place, or at the beginning if it is empty."""
    with translated("dynamodb:UpdateItem Reviews"):
        client("dynamodb").update_item(
            TableName=table,
            Key=_mark("position"),
            UpdateExpression="SET #position = :place",
            ExpressionAttributeNames={"#position": "Position"},
            ExpressionAttributeValues={":place": {"S": place}},
        )


def _mark(what: str) -> dict[str, Any]:
    return {"ImageID": {"S": _KEEPER}, "Entry": {"S": what}}
