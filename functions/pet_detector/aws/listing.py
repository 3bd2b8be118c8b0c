"""Amazon DynamoDB: lists of records from the indexes of DetectionLogs, newest first, page by page."""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from dataclasses import dataclass
from typing import Any

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import deserialized, is_forgotten, serialized
from pet_detector.aws.errors import translated
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import SHARDS
from pet_detector.rules.models import Animal, Record, Status


@dataclass(frozen=True)
class Query:
    """What to list. `since` and `until` are RFC 3339 UTC times, compared as text: since <= CreatedAt < until."""

    animal: Animal | None = None
    status: Status | None = None
    since: str | None = None
    until: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no record can ever match: what has no animal yet, or an uncertain cat (it is filed as other)."""
        if self.animal is None:
            return False
        without_animal = self.status in (Status.UPLOADING, Status.REJECTED)
        return without_animal or (self.status is Status.NEEDS_REVIEW and self.animal is not Animal.OTHER)

    def spread(self) -> tuple[str, str, str]:
        """-> (index, its partition key attribute, prefix of the partition key's values)."""
        # With both, the index that holds fewer records to skip: a cat that waits for a review is rare.
        if self.animal and self.status in (None, Status.COMPLETED):
            return "AnimalIndex", "AnimalShard", f"{self.animal.value}#"
        if self.status:
            return "StatusIndex", "StatusShard", f"{self.status.value}#"
        return "ListingIndex", "Shard", ""


@dataclass(frozen=True)
class Page:
    """Records, newest first, and the token for the next page, or None at the end."""

    records: list[Record]
    next_token: str | None


def list_images(table: str, query: Query, limit: int, token: str | None = None) -> Page:
    """List records newest first, at most `limit` (1 to 100), after the position of `token`.

    Merges one ordered query per shard, so that no single partition takes every write. The listing is eventually
    consistent. Raises RequestError for a token that is not of this listing.
    """
    before = _open_token(token, query) if token else None
    if query.is_empty:
        return Page([], None)
    with translated("dynamodb:Query"):
        shards = [_query_shard(table, query, str(shard), limit + 1, before) for shard in range(SHARDS)]
    merged = heapq.merge(*shards, key=lambda record: str(record["ListedAt"]), reverse=True)
    records = [record for record, _ in zip(merged, range(limit + 1), strict=False)]
    more = len(records) > limit
    records = records[:limit]
    return Page(records, _seal_token(records[-1]["ListedAt"], query) if more else None)


def _query_shard(table: str, query: Query, shard: str, limit: int, before: str | None) -> list[Record]:
    index, attribute, prefix = query.spread()
    # "\x7f" sorts behind every character of a time and an id; ListedAt is "<CreatedAt>#<ImageID>".
    upper, lower = before or query.until or "\x7f", query.since or "0"
    if lower >= upper:  # nothing lies between the two, and DynamoDB refuses to look
        return []
    values = {":shard": prefix + shard, ":upper": upper, ":lower": lower}
    arguments: dict[str, Any] = {
        "TableName": table,
        "IndexName": index,
        "KeyConditionExpression": "#shard = :shard AND ListedAt BETWEEN :lower AND :upper",
        "ExpressionAttributeNames": {"#shard": attribute},
        "ScanIndexForward": False,
    }
    if query.animal and query.status:
        by_animal = index == "AnimalIndex"
        arguments["FilterExpression"] = f"{'ProcessingStatus' if by_animal else 'DetectedAnimal'} = :other"
        values[":other"] = query.status.value if by_animal else query.animal.value
    arguments["ExpressionAttributeValues"] = {name: serialized(value) for name, value in values.items()}
    # DynamoDB filters after it has read a page: small pages would find little, with a call each.
    size = 1000 if "FilterExpression" in arguments else limit + 1
    records: list[Record] = []
    for page in client("dynamodb").get_paginator("query").paginate(**arguments, PaginationConfig={"PageSize": size}):
        items = [item for item in page["Items"] if item["ListedAt"]["S"] != upper]  # BETWEEN includes it
        records += [deserialized(item) for item in items if not is_forgotten(item)]
        if len(records) >= limit:
            break
    return records[:limit]


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
    return [query.animal, query.status, query.since, query.until]
