"""Amazon DynamoDB: lists of records from the indexes of DetectionLogs, newest first, page by page."""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import NOT_FORGOTTEN, deserialized, serialized
from pet_detector.aws.errors import translated
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import SHARDS
from pet_detector.rules.models import Animal, Record, Status

# The most calls of Query for one page: one of each shard, and two more of each if all must be read on.
MAX_QUERIES = 3 * SHARDS
# Records of a page that is read on, to find what is rare; DynamoDB stops at 1 MB all the same.
LARGE_PAGE = 1000


@dataclass(frozen=True)
class Query:
    """What to list. `since` and `until` are RFC 3339 UTC times, compared as text: since <= CreatedAt < until.

    `owner`: only what it uploaded, by UploadedBy; None lists everything.
    """

    animal: Animal | None = None
    status: Status | None = None
    since: str | None = None
    until: str | None = None
    owner: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no record can ever match: what has no animal yet, or an uncertain cat (it is filed as other)."""
        if self.animal is None:
            return False
        without_animal = self.status in (Status.UPLOADING, Status.REJECTED)
        return without_animal or (self.status is Status.NEEDS_REVIEW and self.animal is not Animal.OTHER)

    def spread(self) -> tuple[str, str, str]:
        """-> (index, its partition key attribute, prefix of the partition key's values)."""
        if self.owner is not None:
            return "OwnerIndex", "OwnerShard", f"{self.owner}#"
        # With both, the index that holds fewer records to skip: a cat that waits for a review is rare.
        if self.animal and self.status in (None, Status.COMPLETED):
            return "AnimalIndex", "AnimalShard", f"{self.animal.value}#"
        if self.status:
            return "StatusIndex", "StatusShard", f"{self.status.value}#"
        return "ListingIndex", "Shard", ""


@dataclass(frozen=True)
class Page:
    """Records, newest first, and the token for the next page: None is the end, a short or empty page is not."""

    records: list[Record]
    next_token: str | None


def list_images(table: str, query: Query, limit: int, token: str | None = None) -> Page:
    """List records newest first, at most `limit` (1 to 100), after the position of `token`.

    Merges one ordered query per shard, so that no single partition takes every write. It makes at most MAX_QUERIES
    calls, whatever the table holds. When they do not fill the page, because most of what they read is of no interest,
    the page is short, perhaps empty, and its `next_token` goes on from there. The listing is eventually consistent.
    Raises RequestError for a token that is not of this listing.
    """
    before = _open_token(token, query) if token else None
    # "\x7f" sorts behind every character of a time and an id; ListedAt is "<CreatedAt>#<ImageID>".
    upper, lower = before or query.until or "\x7f", query.since or "0"
    if query.is_empty or lower >= upper:  # nothing lies between the two, and DynamoDB refuses to look
        return Page([], None)
    arguments = {"TableName": table, **_question(query, upper, lower)}
    shards = [_Shard(arguments, query, str(number)) for number in range(SHARDS)]
    with translated("dynamodb:Query"):
        for shard in shards:
            shard.read_on(upper, limit)
        for _ in range(MAX_QUERIES - SHARDS):
            last = max(shards, key=lambda shard: shard.position)
            if last.is_read or sum(shard.count_from(last.position) for shard in shards) > limit:
                break
            last.read_on(upper, limit)
    # What lies before that position may come after a record that its shard has not reached yet.
    position = max(shard.position for shard in shards)
    found = [item for shard in shards for item in shard.items if _listed_at(item) >= position]
    found.sort(key=_listed_at, reverse=True)
    records = [deserialized(item) for item in found[:limit]]
    if len(found) > limit:
        return Page(records, _seal_token(records[-1]["ListedAt"], query))
    return Page(records, _seal_token(position, query) if position else None)


def _question(query: Query, upper: str, lower: str) -> dict[str, Any]:
    """What is asked of every shard; the value of :shard is still missing."""
    index, attribute, _ = query.spread()
    conditions, values = [], {":upper": upper, ":lower": lower}
    # What the index itself does not select.
    if query.animal and index != "AnimalIndex":
        conditions.append("DetectedAnimal = :animal")
        values[":animal"] = query.animal.value
    if query.status and index != "StatusIndex":
        conditions.append("ProcessingStatus = :status")
        values[":status"] = query.status.value
    serialized_values = {name: serialized(value) for name, value in values.items()}
    if query.animal is None and query.status in (None, Status.UPLOADING):
        conditions.append(NOT_FORGOTTEN)
        serialized_values |= {":uploading": serialized(Status.UPLOADING), ":now": serialized(int(time.time()))}
    filters = {"FilterExpression": " AND ".join(conditions)} if conditions else {}
    return {
        "IndexName": index,
        "KeyConditionExpression": "#shard = :shard AND ListedAt BETWEEN :lower AND :upper",
        "ExpressionAttributeNames": {"#shard": attribute},
        "ExpressionAttributeValues": serialized_values,
        "ScanIndexForward": False,
        **filters,
    }


class _Shard:
    """What was read of one shard, newest first, down to `position`; "" is its end.

    `items` holds no more than are of use for one page.
    """

    def __init__(self, arguments: dict[str, Any], query: Query, shard: str) -> None:
        value = {":shard": serialized(query.spread()[2] + shard)}
        self._arguments = arguments | {"ExpressionAttributeValues": arguments["ExpressionAttributeValues"] | value}
        self.items: list[dict[str, Any]] = []
        self.position = "\x7f"

    @property
    def is_read(self) -> bool:
        """Whether the shard has nothing more."""
        return self.position == ""

    def count_from(self, position: str) -> int:
        """How many of the items lie at that position or after it."""
        return sum(_listed_at(item) >= position for item in self.items)

    def read_on(self, upper: str, limit: int) -> None:
        """Read one page more: the first as large as an answer needs, the others as large as DynamoDB allows.

        DynamoDB filters after it has read a page, and stops at 1 MB: small pages would find little, with a call each.
        """
        # One more than `limit` tells whether there is a next page, and BETWEEN includes `upper`.
        size = LARGE_PAGE if "ExclusiveStartKey" in self._arguments else limit + 2
        answer = client("dynamodb").query(**self._arguments, Limit=size)
        self.items += [item for item in answer["Items"] if _listed_at(item) != upper]
        del self.items[limit + 1 :]
        last = answer.get("LastEvaluatedKey")
        self.position = _listed_at(last) if last else ""
        self._arguments["ExclusiveStartKey"] = last


def _listed_at(item: Mapping[str, Any]) -> str:
    return str(item["ListedAt"]["S"])


def _seal_token(listed_at: str, query: Query) -> str:
    text = json.dumps([listed_at, _identity(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _open_token(token: str, query: Query) -> str:
    try:
        listed_at, identity = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, UnicodeDecodeError, ValueError, TypeError):
        listed_at = identity = None
    if not isinstance(listed_at, str) or len(listed_at) > 100 or identity != _identity(query):
        raise RequestError(
            400, "INVALID_TOKEN", "nextToken is not of this listing: send it unchanged, with the same filters."
        )
    return listed_at


def _identity(query: Query) -> list[str | None]:
    return [query.animal, query.status, query.since, query.until, query.owner]
