"""Amazon DynamoDB: whom an API key belongs to, and what it may see. One item a key in the table DetectionLogs.

The item `ImageID = "key#<id of the API key>"` holds `Owner`, `Client` (its name), perhaps `SeesAll`, `RevokeBy` and
`RevokedAt`, and `HalfMade` until its value is kept; `petdetect key` writes it. Without an item a key is its own owner
and sees only what it uploaded. Records name the owner in `UploadedBy`: a key that replaces another one, with the same
owner, sees what the old one uploaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.errors import RequestError
from pet_detector.rules.models import Record
from pet_detector.rules.people import Person

# No ImageID looks like this: they are hexadecimal.
KEY_PREFIX = "key#"


@dataclass(frozen=True)
class ApiClient:
    """Who makes a request. `owner` stands in UploadedBy of what it uploads; `sees_all` is for operators.

    A person, who is to judge pictures, is also shown what the machine saw on them.
    """

    owner: str
    sees_all: bool = False
    is_person: bool = False

    def may_see(self, record: Record) -> bool:
        """Whether this client may know that the record's image exists."""
        return self.sees_all or record.get("UploadedBy") == self.owner


def item_key(key_id: str) -> dict[str, Any]:
    """The key, in DynamoDB's notation, of the item about an API key."""
    return {"ImageID": {"S": f"{KEY_PREFIX}{key_id}"}}


def of_key(table: str, key_id: str) -> ApiClient:
    """The client of an API key's id (never its value). Raises RequestError (403) when the key was revoked.

    One eventually consistent read a request and no cache: what a key loses it must lose at once, also while API Gateway
    still lets it through.
    """
    with translated("dynamodb:GetItem"):
        answer = client("dynamodb").get_item(TableName=table, Key=item_key(key_id))
    item: dict[str, Any] = answer.get("Item", {})
    if "RevokedAt" in item:
        raise RequestError(403, "INVALID_API_KEY", "Send a valid API key in the header x-api-key.")
    return _client_in(item, key_id)


def of_person(person: Person) -> ApiClient:
    """The client that a person is: sees what they uploaded; reviewers and operators see everything."""
    return ApiClient(person.owner, person.sees_all, is_person=True)


def of_who_erases(person: Person) -> ApiClient:
    """The same for what they may erase: a reviewer sees others' pictures, and erases none of them."""
    return ApiClient(person.owner, sees_all=person.may_set_policy, is_person=True)


def _client_in(item: dict[str, Any], key_id: str) -> ApiClient:
    return ApiClient(item.get("Owner", {}).get("S", key_id), item.get("SeesAll", {}).get("BOOL", False))


# --- For operators ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownKey:
    """What the table says of an API key. `revoke_by` and `revoked_at` are times in the format of records."""

    client: ApiClient
    revoke_by: str | None = None
    revoked_at: str | None = None
    is_half_made: bool = False


def known(table: str, key_ids: Iterable[str]) -> dict[str, KnownKey]:
    """What the table says of these keys, read consistently, by id; what `of_key` assumes of one without an item."""
    return {key_id: _known(table, key_id) for key_id in key_ids}


def _known(table: str, key_id: str) -> KnownKey:
    with translated("dynamodb:GetItem"):
        answer = client("dynamodb").get_item(TableName=table, Key=item_key(key_id), ConsistentRead=True)
    item: dict[str, Any] = answer.get("Item", {})
    by, at = (item.get(name, {}).get("S") for name in ("RevokeBy", "RevokedAt"))
    return KnownKey(_client_in(item, key_id), by, at, "HalfMade" in item)


def register(table: str, key_id: str, name: str, client_of_key: ApiClient) -> None:
    """Write down whom a new key belongs to, before anybody can use it. Raises ServiceError for a revoked key."""
    item = item_key(key_id) | {"Client": {"S": name}, "Owner": {"S": client_of_key.owner}}
    item["HalfMade"] = {"BOOL": True}
    if client_of_key.sees_all:
        item["SeesAll"] = {"BOOL": True}
    with translated("dynamodb:PutItem"):
        client("dynamodb").put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(RevokedAt)")


def finish(table: str, key_id: str) -> None:
    """Note that the value of a new key is kept."""
    with translated("dynamodb:UpdateItem"):
        client("dynamodb").update_item(TableName=table, Key=item_key(key_id), UpdateExpression="REMOVE HalfMade")


def mark(table: str, key_id: str, name: str, attribute: Literal["RevokeBy", "RevokedAt"], time: str) -> None:
    """Note until when a key that was replaced is to be revoked, or that it is revoked. A first time stays."""
    with translated("dynamodb:UpdateItem"):
        client("dynamodb").update_item(
            TableName=table,
            Key=item_key(key_id),
            UpdateExpression=f"SET {attribute} = if_not_exists({attribute}, :time), Client = :name",
            ExpressionAttributeValues={":time": {"S": time}, ":name": {"S": name}},
        )
