"""Amazon DynamoDB: the table Analyses. What Rekognition saw in which bytes, so that the same bytes are paid for once.

One item per content hash holds either a lease (Rekognition is asked about an image, or it waits for its turn) or the
labels; with ContentSafety also what content moderation saw (an unsafe picture has no labels). A lease belongs to the
image, not to an execution: a stopped one that is started again keeps its turn.
The item `newest-model` holds the model version of the latest answer: labels of another version are not used again.
`daily_limit` and `turns` keep items of their own in the same table.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import AnalysisInProgressError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Label, Moderation, Recognition

# Longer than the Timeout of ImageProcessor in template.yaml: when a lease ends, its owner has ended before.
LEASE_SECONDS = 30
# The same picture comes again soon or never; in three months Rekognition's model will have changed anyway.
KEPT_SECONDS = 90 * 24 * 60 * 60

# How long after its turn an owner may come back and use it: Lambda may have no environment free for it right away.
TURN_KEPT_SECONDS = 300

_NEWEST_MODEL = "newest-model"


@dataclass(frozen=True)
class Lease:
    """The right to ask Rekognition about some bytes.

    `turn` is the turn that its owner took before and has not used (seconds since 1970), if it came not long ago.
    `setbacks`: how often it came for its turn in vain. `recognition` and `moderation` are the half of an analysis that
    is stored: only the other one is to be asked for.
    """

    turn: float | None
    setbacks: int
    recognition: Recognition | None = None
    moderation: Moderation | None = None


@dataclass(frozen=True)
class Taken:
    """Another owner has the lease, and waits for its turn until `until` (seconds since 1970)."""

    until: float


def begin(
    table: str, content_hash: str, owner: str, *, lane: Lane = Lane.LIVE, moderated: bool = False
) -> Recognition | Lease | Taken:
    """The stored recognition of these bytes, or a lease: then `owner` (an ImageID) must ask Rekognition and `finish`.

    Of several owners at the same moment one gets the lease, until it finishes, gives up, or LEASE_SECONDS have passed;
    the others get Taken while it waits for its turn, and AnalysisInProgressError while it asks. The same owner may
    begin again: its turn has come, its execution crashed or was stopped, or an answer to it was lost.
    A live upload takes the lease from an image of a backfill that waits: it does not stand behind it.
    `moderated`: a recognition without its moderation does not count as stored.
    """
    unknown = "attribute_not_exists(ModelVersion) OR (ModelVersion <> :newest AND :newest <> :none)"
    if moderated:
        unknown += " OR attribute_not_exists(Moderation)"
    now = int(time.time())
    with translated("dynamodb:UpdateItem Analyses"):
        newest = _newest_model(table)
        try:
            answer = client("dynamodb").update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression=(
                    "SET LeaseOwner = :owner, LeaseEnds = :ends, ExpiresAt = :expires REMOVE Turn, WaitsUntil"
                ),
                ConditionExpression=(
                    f"({unknown})"
                    " AND (attribute_not_exists(LeaseEnds) OR LeaseEnds < :now OR LeaseOwner = :owner"
                    " OR (attribute_exists(WaitsUntil) AND WaitsIn = :backfill AND :lane <> :backfill))"
                ),
                ExpressionAttributeValues={
                    ":owner": {"S": owner},
                    ":ends": {"N": str(now + LEASE_SECONDS)},
                    ":now": {"N": str(now)},
                    ":expires": {"N": str(now + KEPT_SECONDS)},
                    ":newest": newest.get("ModelVersion", {"S": "none"}),
                    ":none": {"S": "none"},
                    ":lane": {"S": lane.value},
                    ":backfill": {"S": Lane.BACKFILL.value},
                },
                ReturnValues="ALL_OLD",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            item = refused_item(error)
            # The very first answer may have come since: whoever gave it has noted its model before.
            newest = newest or _newest_model(table)
        else:
            return _lease(answer.get("Attributes", {}), owner, newest)
    recognition = _recognition(item, newest)
    if recognition is None or (moderated and recognition.moderation is None):
        if "WaitsUntil" in item:
            return Taken(_number(item["WaitsUntil"]))
        raise AnalysisInProgressError("Another execution is asking Rekognition about the same bytes.")
    return recognition


def known(table: str, content_hash: str) -> tuple[Recognition | None, Moderation | None]:
    """What Rekognition, by whichever model, and content moderation saw in these bytes.

    None: it was not asked, or is not known any more. An unsafe picture has the second alone.
    """
    with translated("dynamodb:GetItem Analyses"):
        answer = client("dynamodb").get_item(TableName=table, Key={"ContentHash": {"S": content_hash}})
    item: dict[str, Any] = answer.get("Item", {})
    return (_recognition(item, item) if "Labels" in item else None), _moderation(item)


def _recognition(item: dict[str, Any], newest: dict[str, Any]) -> Recognition | None:
    """The labels in an item, with the moderation if there is one; None without labels of the newest model."""
    if "ModelVersion" not in item or item["ModelVersion"] != newest.get("ModelVersion"):
        return None
    return Recognition(_labels_of(item), item["ModelVersion"]["S"], _moderation(item))


def _moderation(item: dict[str, Any]) -> Moderation | None:
    """Whatever model gave it: it is asked for again when the item has expired."""
    if "Moderation" not in item:
        return None
    stored = item["Moderation"]["M"]
    return Moderation(_labels_of(stored), stored["ModelVersion"]["S"])


def _labels_of(stored: dict[str, Any]) -> tuple[Label, ...]:
    labels = (label["M"] for label in stored["Labels"]["L"])
    return tuple(Label(label["Name"]["S"], float(Decimal(label["Confidence"]["N"]))) for label in labels)


def _stored(labels: tuple[Label, ...], model_version: str) -> dict[str, Any]:
    """The attributes that `_labels_of` reads."""
    listed = [{"M": {"Name": {"S": label.name}, "Confidence": {"N": str(label.confidence)}}} for label in labels]
    return {"ModelVersion": {"S": model_version}, "Labels": {"L": listed}}


def _lease(old: dict[str, Any], owner: str, newest: dict[str, Any]) -> Lease:
    """The lease of an owner, whose item was `old` before it began."""
    recognition, moderation = _recognition(old, newest), _moderation(old)
    if old.get("LeaseOwner") != {"S": owner}:
        return Lease(None, 0, recognition, moderation)
    turn = _number(old["Turn"]) if "Turn" in old else None
    is_late = turn is not None and turn < time.time() - TURN_KEPT_SECONDS
    setbacks = int(old["Setbacks"]["N"]) if "Setbacks" in old else 0
    return Lease(None if is_late else turn, setbacks, recognition, moderation)


def _number(value: dict[str, Any]) -> float:
    return float(Decimal(value["N"]))


def wait(
    table: str,
    content_hash: str,
    owner: str,
    *,
    until: float,
    turn: float | None,
    setbacks: int = 0,
    lane: Lane = Lane.LIVE,
) -> None:
    """Keep the lease while its owner waits `until` (seconds since 1970) for the `turn` that it took, if any.

    It ends TURN_KEPT_SECONDS later if the owner does not come back. Does nothing to another owner's lease.
    """
    values: dict[str, Any] = {":until": {"N": f"{until:.6f}"}, ":setbacks": {"N": str(setbacks)}}
    values |= {":ends": {"N": str(int(until) + TURN_KEPT_SECONDS)}, ":owner": {"S": owner}}
    values[":lane"] = {"S": lane.value}
    update = "SET WaitsUntil = :until, WaitsIn = :lane, LeaseEnds = :ends, Setbacks = :setbacks"
    if turn is not None:
        update += ", Turn = :turn"
        values[":turn"] = {"N": f"{turn:.6f}"}
    _change_own_lease(table, content_hash, update, values)


def keep_moderation(table: str, content_hash: str, owner: str, moderation: Moderation) -> None:
    """Store one half of an analysis, and keep the lease. Does nothing to another owner's lease."""
    values = {":owner": {"S": owner}, ":moderation": {"M": _stored(moderation.categories, moderation.model_version)}}
    _change_own_lease(table, content_hash, "SET Moderation = :moderation", values)


def finish(table: str, content_hash: str, recognition: Recognition) -> None:
    """Store what Rekognition said, which ends the lease."""
    item = _stored(recognition.labels, recognition.model_version)
    if moderation := recognition.moderation:
        item["Moderation"] = {"M": _stored(moderation.categories, moderation.model_version)}
    with translated("dynamodb:PutItem Analyses"):
        # In this order: labels of a version that is not yet known as the newest would not be used.
        _note_model(table, recognition.model_version)
        client("dynamodb").put_item(
            TableName=table,
            Item={
                **item,
                "ContentHash": {"S": content_hash},
                "ExpiresAt": {"N": str(int(time.time()) + KEPT_SECONDS)},
            },
        )


def _newest_model(table: str) -> dict[str, Any]:
    key = {"ContentHash": {"S": _NEWEST_MODEL}}
    return dict(client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def _note_model(table: str, version: str) -> None:
    """Remember a model's version unless a newer one is known: while AWS rolls one out, both of them answer."""
    order = {"N": str(_order(version))}
    try:
        client("dynamodb").put_item(
            TableName=table,
            Item={"ContentHash": {"S": _NEWEST_MODEL}, "ModelVersion": {"S": version}, "ModelOrder": order},
            ConditionExpression="attribute_not_exists(ModelOrder) OR ModelOrder <= :order",
            ExpressionAttributeValues={":order": order},
        )
    except ClientError as error:
        refused_item(error)


def _order(version: str) -> int:
    """A number that is larger for newer versions, such as "3.0"; 0 for one of another form."""
    major, _, minor = version.partition(".")
    return int(major) * 1000 + int(minor) if major.isdecimal() and minor.isdecimal() else 0


def give_up(table: str, content_hash: str, owner: str) -> None:
    """End the lease without an answer, so that no other execution waits. Does nothing to another owner's lease."""
    _change_own_lease(table, content_hash, "REMOVE LeaseOwner, LeaseEnds", {":owner": {"S": owner}})


def _change_own_lease(table: str, content_hash: str, update: str, values: dict[str, Any]) -> None:
    with translated("dynamodb:UpdateItem Analyses"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression=update,
                ConditionExpression="LeaseOwner = :owner",
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            refused_item(error)


def forget(table: str, content_hash: str, owner: str) -> bool:
    """Delete what is known of some bytes; False while another owner than `owner` asks about them, or waits to.

    That one has a record with the same hash; the item is its analysis then.
    """
    with translated("dynamodb:DeleteItem Analyses"):
        try:
            client("dynamodb").delete_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                ConditionExpression="attribute_not_exists(LeaseEnds) OR LeaseEnds < :now OR LeaseOwner = :owner",
                ExpressionAttributeValues={":now": {"N": str(int(time.time()))}, ":owner": {"S": owner}},
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True
