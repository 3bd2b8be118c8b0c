"""Amazon DynamoDB: turns to call Rekognition, handed out at the pace of its quota.

Virtual scheduling (GCRA). One item a lane in the table Analyses holds `NextTurn`: the time, in seconds since 1970, of
the first turn that nobody has. Who takes a turn moves it on by one interval, the reciprocal of the pace. It is one
write while nobody waits, and two otherwise; the item never moves back, so that no two callers have the same turn.

Every call of Rekognition needs a turn of the live lane. An image of a backfill takes a turn of its own lane first;
when that has come, it gets a turn of the live lane only if one is near (`latest`). So live uploads never stand behind a
backfill, and both together stay within the pace.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.lanes import Lane


def take(table: str, lane: Lane, calls_per_second: float, *, earliest: float) -> float:
    """The time of a turn that is now the caller's, not before `earliest`, both in seconds since 1970.

    A turn that is not used is lost: all others wait an interval longer. So is one when DynamoDB's answer is lost, as
    the SDK takes another.
    """
    turn = _take(table, lane, calls_per_second, earliest, "attribute_exists(NextTurn)", {})
    return earliest if turn is None else turn  # None: an operator has deleted the item this very moment


def take_before(table: str, lane: Lane, calls_per_second: float, *, earliest: float, latest: float) -> float | None:
    """The same, but None, and nothing is taken, when the next turn comes after `latest`."""
    return _take(table, lane, calls_per_second, earliest, "NextTurn <= :latest", {":latest": latest})


def _take(
    table: str, lane: Lane, calls_per_second: float, earliest: float, when_busy: str, values: dict[str, float]
) -> float | None:
    interval = 1 / calls_per_second
    idle = {":earliest": earliest, ":after": earliest + interval}
    with translated("dynamodb:UpdateItem Analyses"):
        if _change(
            table, lane, "SET NextTurn = :after", "attribute_not_exists(NextTurn) OR NextTurn <= :earliest", idle
        ):
            return earliest
        busy = {**values, ":interval": interval}
        old = _change(table, lane, "SET NextTurn = NextTurn + :interval", when_busy, busy)
    return _time_in(old) if old else None


def next_turn(table: str, lane: Lane) -> float | None:
    """When the next turn of a lane would be; None, or a time in the past, when nobody waits. Takes nothing."""
    with translated("dynamodb:GetItem Analyses"):
        answer = client("dynamodb").get_item(TableName=table, Key=_key(lane), ConsistentRead=True)
    item = answer.get("Item")
    return _time_in(item) if item else None


def hold_back(table: str, until: float) -> None:
    """Give out no turn before `until`: Rekognition throttles, because others use its quota too."""
    with translated("dynamodb:UpdateItem Analyses"):
        _change(table, Lane.LIVE, "SET NextTurn = :until", "NextTurn < :until", {":until": until})


def _change(table: str, lane: Lane, update: str, condition: str, values: dict[str, float]) -> dict[str, Any] | None:
    """The item as it was before the update (without NextTurn if it is new), or None when the condition was not met."""
    try:
        answer = client("dynamodb").update_item(
            TableName=table,
            Key=_key(lane),
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeValues={name: {"N": f"{value:.6f}"} for name, value in values.items()},
            ReturnValues="ALL_OLD",
        )
    except ClientError as error:
        refused_item(error)
        return None
    return {**_key(lane), **answer.get("Attributes", {})}


def _key(lane: Lane) -> dict[str, Any]:
    return {"ContentHash": {"S": f"turns#{lane.value}"}}


def _time_in(item: dict[str, Any]) -> float:
    if "NextTurn" not in item:  # botocore takes a body that is no JSON for an empty answer
        raise ServiceError("dynamodb:UpdateItem Analyses: unreadable answer")
    return float(Decimal(item["NextTurn"]["N"]))
