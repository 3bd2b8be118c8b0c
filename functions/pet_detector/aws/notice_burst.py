"""Amazon DynamoDB: how many notices of a kind people got in these minutes, and how many wait for a digest.

One item for each kind in the table DetectionLogs. It is no record: it has no ProcessingStatus, is in no index, and its
ImageID is no image's (`notice-burst#ImageUncertain`). It counts the notices of each minute, and what was withheld since
the last digest. Counting has no condition, so that any number of functions may do it at once: DynamoDB puts them in an
order, and each sees those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client, counting_client
from pet_detector.aws.detection_logs import format_time
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.notices import BURST_MINUTES, DIGEST_MINUTES

_BURST = timedelta(minutes=BURST_MINUTES)
# When no digest has come for so long, the Reconciler does not run: then people get notices again.
_DIGEST_OVERDUE = timedelta(minutes=2 * DIGEST_MINUTES)

_ITEM = "notice-burst#"
_MINUTE = "Notices@"  # and the minute


class Turn(StrEnum):
    """What becomes of a notice: it is sent, it is sent as the last one before a digest, or the digest counts it."""

    SEND = "send"
    LAST = "last"
    DIGEST = "digest"


@dataclass(frozen=True)
class Withheld:
    """What people are still to be told of, by one digest. `since`: of the first of them, or of the last digest.

    `is_storm`: still too many come, so that those to come are withheld as well.
    """

    kind: str
    number: int
    since: str
    is_storm: bool
    read_at: str
    old_minutes: tuple[str, ...]


def take_turn(table: str, kind: str, limit: int) -> Turn:
    """Count a notice that is about to be sent: at most `limit` of a kind in any 5 minutes, the others in the digest.

    Once one was withheld, all that follow are, until a digest finds that the storm is over. So however long it lasts,
    people get `limit` notices of the kind, and digests. Raises the errors of AWS: then it is not known whether the
    notice was counted.
    """
    now = datetime.now(UTC)
    names = {"#minute": _minute(now)}
    item = _count(table, kind, "ADD #minute :one", {":one": {"N": "1"}}, ExpressionAttributeNames=names)
    counted = sum(_recent(item, now).values())
    if counted <= limit and item.get("WithheldSince", {"S": ""})["S"] < format_time(now - _DIGEST_OVERDUE):
        return Turn.LAST if counted == limit else Turn.SEND
    values = {":one": {"N": "1"}, ":now": {"S": format_time(now)}}
    _count(table, kind, "ADD Withheld :one SET WithheldSince = if_not_exists(WithheldSince, :now)", values)
    return Turn.DIGEST


def _count(table: str, kind: str, update: str, values: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One attempt: a second one, after an answer that was lost, would count twice."""
    with translated("dynamodb:UpdateItem notice-burst"):
        answer = counting_client().update_item(
            TableName=table,
            Key=_key(kind),
            UpdateExpression=update,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            **more,
        )
    if "Attributes" not in answer:  # an answer that was cut off on its way
        raise ServiceError("dynamodb:UpdateItem notice-burst: no attributes")
    return dict(answer["Attributes"])


def withheld(table: str, kind: str, limit: int) -> Withheld:
    """What the next digest tells of a kind: `number` may be 0. Read consistently."""
    now = datetime.now(UTC)
    with translated("dynamodb:GetItem notice-burst"):
        answer = client("dynamodb").get_item(TableName=table, Key=_key(kind), ConsistentRead=True)
    item: dict[str, Any] = answer.get("Item", {})
    recent = _recent(item, now)
    return Withheld(
        kind,
        number=int(item.get("Withheld", {"N": "0"})["N"]),
        since=item.get("WithheldSince", {"S": ""})["S"],
        is_storm=sum(recent.values()) > limit,
        read_at=format_time(now),
        old_minutes=tuple(name for name in item if name.startswith(_MINUTE) and name not in recent),
    )


def settle(table: str, told: Withheld) -> None:
    """Take what people were told of off the count, keep what came meanwhile, and end the storm if it is over.

    Repeated, also because an answer was lost, it takes nothing off twice.
    """
    if not told.since:
        if told.old_minutes:
            _change(table, told)
        return
    since = {":since": {"S": told.since}}
    if not told.is_storm and _change(
        table,
        told,
        removed=["Withheld", "WithheldSince"],
        condition="WithheldSince = :since AND Withheld = :told",
        values=since | {":told": {"N": str(told.number)}},
    ):
        return
    _change(
        table,
        told,
        "ADD Withheld :less SET WithheldSince = :readAt",
        condition="WithheldSince = :since",
        values=since | {":less": {"N": str(-told.number)}, ":readAt": {"S": told.read_at}},
    )


def _change(
    table: str,
    told: Withheld,
    update: str = "",
    *,
    removed: Iterable[str] = (),
    condition: str = "",
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Change the item, and forget its old minutes. False when the condition does not hold: it was changed since."""
    names = {f"#minute{number}": minute for number, minute in enumerate(told.old_minutes)}
    request: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
    if condition:
        request |= {"ConditionExpression": condition, "ExpressionAttributeValues": values}
    gone = ", ".join([*removed, *names])
    with translated("dynamodb:UpdateItem notice-burst"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key=_key(told.kind),
                UpdateExpression=f"{update} REMOVE {gone}" if gone else update,
                **request,
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def _recent(item: Mapping[str, Any], now: datetime) -> dict[str, int]:
    """The notices of the last minutes: of the whole ones, so that none of the last 5 minutes is missing."""
    first = _minute(now - _BURST)
    return {name: int(item[name]["N"]) for name in item if name.startswith(_MINUTE) and name >= first}


def _minute(time: datetime) -> str:
    """The attribute that counts the notices of a minute; of two, the later one is the larger."""
    return f"{_MINUTE}{time:%Y-%m-%dT%H:%MZ}"


def _key(kind: str) -> dict[str, Any]:
    return {"ImageID": {"S": _ITEM + kind}}
