"""Amazon DynamoDB: what ReviewKeeper notes in the table ReviewsTable: what it did today, and where it stopped.

It lies under an ImageID that no image has, and has no Queue, so that it is in no index.
"""

from __future__ import annotations

import uuid
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import serialized
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.review import HEAD, Head, Queue

_KEEPER = "keeper"


def close(table: str, head: Head) -> bool:
    """Take a verdict off what is still to be carried out, because its image is no more; False if a newer one came."""
    with translated("dynamodb:UpdateItem Reviews"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": head["ImageID"]}, "Entry": {"S": HEAD}},
                UpdateExpression="SET #queue = :done REMOVE NextQueue, NextOrder, PendingSince",
                ConditionExpression="#queue = :pending AND #sequence = :sequence",
                ExpressionAttributeNames={"#queue": "Queue", "#sequence": "Sequence"},
                ExpressionAttributeValues={
                    ":pending": {"S": Queue.PENDING.value},
                    ":done": {"S": Queue.DONE.value},
                    ":sequence": serialized(int(head["Sequence"])),
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


def is_done(table: str, what: str, day: str) -> bool:
    """Whether something was reserved on this day, or later."""
    with translated("dynamodb:GetItem Reviews"):
        answer = client("dynamodb").get_item(TableName=table, Key=_mark(what), ConsistentRead=True)
    return str(answer.get("Item", {}).get("DoneOn", {}).get("S", "")) >= day


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
