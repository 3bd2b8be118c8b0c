"""Amazon DynamoDB: whom an API key belongs to, and what it may see. One item a key in the table DetectionLogs.

The item `ImageID = "key#<id of the API key>"` holds `Owner`, `Client` (its name), perhaps `SeesAll` and `RevokedAt`;
`petdetect key` writes it. Without an item a key is its own owner and sees only what it uploaded. Records name the owner
in `UploadedBy`, so that a key that replaces another one, with the same owner, sees what the old one uploaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.errors import RequestError
from pet_detector.rules.models import Record

# No ImageID looks like this: they are hexadecimal.
KEY_PREFIX = "key#"


@dataclass(frozen=True)
class ApiClient:
    """Who makes a request. `owner` stands in UploadedBy of what it uploads; `sees_all` is for operators."""

    owner: str
    sees_all: bool = False

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
        item = client("dynamodb").get_item(TableName=table, Key=item_key(key_id)).get("Item", {})
    if "RevokedAt" in item:
        raise RequestError(403, "INVALID_API_KEY", "Send a valid API key in the header x-api-key.")
    return ApiClient(item.get("Owner", {}).get("S", key_id), item.get("SeesAll", {}).get("BOOL", False))
