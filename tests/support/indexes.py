"""A stand-in for Query on the indexes of DetectionLogs, quick enough for 100,000 records.

As Amazon DynamoDB it reads up to Limit records or 1 MB, and filters what it has read: a page may be short or empty
although there is more. moto filters first, so that its pages are always full.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from boto3.dynamodb.types import TypeSerializer
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.models.dynamo_type import DynamoType

from pet_detector.rules.image_ids import shard_of
from pet_detector.rules.models import Animal, Status

Item = dict[str, Any]

MEGABYTE = 1024**2
# Attributes of the partition keys, and of what the filters of the code under test look at.
_PARTITIONS = {
    "ListingIndex": "Shard",
    "AnimalIndex": "AnimalShard",
    "StatusIndex": "StatusShard",
    "OwnerIndex": "OwnerShard",
}
_FILTERED = ("ProcessingStatus", "DetectedAnimal", "ExpiresAt")


@dataclass(frozen=True)
class _Row:
    """An item with what a filter of moto looks at."""

    item: Item
    attrs: dict[str, DynamoType]
    size: int


@dataclass
class Indexes:
    """A client of DynamoDB with one method. `read` has the bytes that each call has read."""

    partitions: dict[tuple[str, str], list[_Row]]
    positions: dict[tuple[str, str], list[str]]
    read: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, items: Iterable[Item], size: int = 1_000) -> Indexes:
        """The indexes of a table with these items, of `size` bytes each."""
        partitions: dict[tuple[str, str], list[_Row]] = {}
        for item in sorted(items, key=lambda item: str(item["ListedAt"]["S"])):
            row = _Row(item, {name: DynamoType(item[name]) for name in _FILTERED if name in item}, size)
            for index, attribute in _PARTITIONS.items():
                if attribute in item:
                    partitions.setdefault((index, item[attribute]["S"]), []).append(row)
        positions = {key: [row.item["ListedAt"]["S"] for row in rows] for key, rows in partitions.items()}
        return cls(partitions, positions)

    def query(self, **arguments: Any) -> dict[str, Any]:
        """One page, newest first. Refuses any other question than that of the listing."""
        values, limit = arguments["ExpressionAttributeValues"], arguments["Limit"]
        index = arguments["IndexName"]
        assert arguments["ExpressionAttributeNames"] == {"#shard": _PARTITIONS[index]}
        assert arguments["KeyConditionExpression"] == "#shard = :shard AND ListedAt BETWEEN :lower AND :upper"
        assert values[":lower"]["S"] < values[":upper"]["S"]
        assert arguments["ScanIndexForward"] is False
        assert limit > 0
        used = " ".join([arguments["KeyConditionExpression"], arguments.get("FilterExpression", "")])
        assert all(name in used for name in values), "DynamoDB refuses a value that no expression uses"
        key = (index, values[":shard"]["S"])
        rows, positions = self.partitions.get(key, []), self.positions.get(key, [])
        first = bisect_left(positions, values[":lower"]["S"])
        end = bisect_right(positions, values[":upper"]["S"])
        if start := arguments.get("ExclusiveStartKey"):
            assert start.keys() == {"ImageID", "ListedAt", _PARTITIONS[index]}
            end = min(end, bisect_left(positions, start["ListedAt"]["S"]))
        found: list[Item] = []
        size = 0
        matches = (
            _filter(arguments["FilterExpression"], json.dumps(values)) if "FilterExpression" in arguments else None
        )
        answer: dict[str, Any] = {"Items": found}
        for number in range(end - 1, first - 1, -1):
            row = rows[number]
            size += row.size
            if matches is None or matches.expr(row):
                found.append(row.item)
            # Also at the very end: DynamoDB does not know yet that nothing follows.
            if end - number == limit or size >= MEGABYTE:
                answer["LastEvaluatedKey"] = {
                    name: row.item[name] for name in ("ImageID", "ListedAt", _PARTITIONS[index])
                }
                break
        self.read.append(size)
        return answer


@cache
def _filter(expression: str, values: str) -> Any:
    return get_filter_expression(expression, {}, json.loads(values))


# --- A large table ----------------------------------------------------------------------------------------------------

OWNERS = ("key-of-a", "key-of-b")  # a has twice as many records
_LONG_AGO, _AGES_AHEAD = 1, 4_000_000_000
_serialized = TypeSerializer().serialize


def record(
    number: int, status: Status, animal: Animal | None = None, *, forgotten: bool = False, image_id: str
) -> Item:
    """A record as the listing sees it; a higher `number` is newer: its CreatedAt is so many milliseconds after 2026."""
    created = f"2026-{1 + number // 86_400_000 % 12:02}-01T{_clock(number)}Z"
    shard = shard_of(image_id)
    texts: Item = {
        "ImageID": image_id,
        "CreatedAt": created,
        "ListedAt": f"{created}#{image_id}",
        "Shard": shard,
        "ProcessingStatus": status.value,
        "StatusShard": f"{status.value}#{shard}",
        "OwnerShard": f"{OWNERS[number % 3 % 2]}#{shard}",
        "ExpiresAt": _LONG_AGO if forgotten else _AGES_AHEAD,
    }
    if animal:
        texts |= {"DetectedAnimal": animal.value, "AnimalShard": f"{animal.value}#{shard}"}
    return {name: _serialized(value) for name, value in texts.items()}


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds % 86_400_000, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{milliseconds:03}"


def mixed(count: int, seed: int = 9) -> Iterator[Item]:
    """So many records of every kind that the workflow leaves, some in the same millisecond, in no order.

    The newest tenth are uploads that never came, as after a client that announced uploads all day.
    """
    chance = random.Random(seed)
    kinds: list[tuple[Status, Animal | None]] = [
        *[(Status.COMPLETED, animal) for animal in Animal] * 6,
        *[(Status.NEEDS_REVIEW, Animal.OTHER)] * 2,
        *[(Status.FAILED, animal) for animal in Animal],
        (Status.FAILED, None),
        *[(Status.REJECTED, None)] * 2,
        (Status.HELD, None),
        *[(Status.PROCESSING, None)] * 3,
        (Status.PROCESSING, Animal.CAT),
        (Status.UPLOADING, None),
    ]
    for number in range(count):
        left = number >= count - count // 10
        status, animal = (Status.UPLOADING, None) if left else chance.choice(kinds)
        forgotten = status is Status.UPLOADING and (left or chance.random() < 0.5)
        yield record(number // 2, status, animal, forgotten=forgotten, image_id=f"{chance.getrandbits(128):032x}")
