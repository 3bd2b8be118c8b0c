"""Amazon DynamoDB: what the figures need of the table ReviewsTable, and the figures themselves, which lie in it too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from pet_detector.aws import reviews
from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import deserialized
from pet_detector.aws.errors import translated
from pet_detector.rules.accuracy import Review
from pet_detector.rules.models import Animal
from pet_detector.rules.review import WAITING, Head, Queue, Row, is_in_turn

# The ImageID of the items that hold figures, which is none of an image.
FIGURES = "figures"
ACCURACY, THRESHOLDS = "accuracy", "thresholds"

_READ = (
    *("ImageID", "HomeOrder", "Guess", "Certain", "Scores", "PolicyVersion", "GuessedAt"),
    *("Purpose", "Probability", "SecondLook", "Verdict", "DecidedKey", "InTurn", "PassedOver"),
)
_THREADS = 8


def asked(table: str, since: str) -> Iterator[tuple[str, bool, Review]]:
    """Everything that people were asked about of what the machine decided from a time on (in the format of records).

    -> ImageID, whether two people are asked, and the review. The index lags behind the table by moments, and a head
    that moves to another queue meanwhile is read twice: each image comes once, as it was read last.
    """
    found: dict[str, tuple[str, bool, Review]] = {}
    names = {f"#{number}": name for number, name in enumerate(_READ)}
    for queue in Queue:
        # Nothing is done before it was guessed, so what lies before that time in this queue, by time, is too old.
        since_then = " AND #order >= :since" if queue is Queue.DONE else ""
        pages = (
            client("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=table,
                IndexName="QueueIndex",
                KeyConditionExpression=f"#queue = :queue{since_then}",
                FilterExpression="GuessedAt >= :since",
                ProjectionExpression=", ".join(names),
                ExpressionAttributeNames=names | {"#queue": "Queue"} | ({"#order": "Order"} if since_then else {}),
                ExpressionAttributeValues={":queue": {"S": queue.value}, ":since": {"S": since}},
            )
        )
        with translated("dynamodb:Query"):
            for page in pages:
                for item in page["Items"]:
                    head = cast(Head, deserialized(item))
                    found[head["ImageID"]] = (head["ImageID"], head.get("SecondLook", False), Review.of_head(head))
    yield from found.values()


def second_looks(table: str, image_ids: list[str]) -> list[tuple[Animal, Animal]]:
    """What the first two people said of each of these images; those that fewer looked at are left out.

    What was carried over from an image of the same bytes, corrected in the gallery, or undone is no look of its own.
    Neither is one of two of whom one saw what the machine says: that makes people agree. The third is not taken for
    the second then: they are asked only because the first two disagree.
    """
    # The first one alone: boto3 must not make the same client in two threads at once.
    found = [_two_looks(table, image_id) for image_id in image_ids[:1]]
    with ThreadPoolExecutor(_THREADS) as pool:
        found += pool.map(lambda image_id: _two_looks(table, image_id), image_ids[1:])
    return [pair for pair in found if pair]


def _two_looks(table: str, image_id: str) -> tuple[Animal, Animal] | None:
    found = reviews.review(table, image_id)
    looks: dict[str, Row] = {}
    for row in found.standing if found else ():
        if is_in_turn(row) and "SameAs" not in row:
            looks.setdefault(row["Person"], row)
    first, second, *_ = (*looks.values(), None, None)
    if first is None or second is None or not (first["Blind"] and second["Blind"]):
        return None
    return Animal(first["Animal"]), Animal(second["Animal"])


def waiting(table: str, filed_since: int) -> dict[str, int]:
    """How many pictures that were filed since then wait in each queue, and how many verdicts are not carried out
    (`pending`).

    Counted up to reviews.MOST_COUNTED: who has 1,000 pictures before them need not know how many more.
    """
    pictures = {queue.value: reviews.count(table, queue, filed_since=filed_since) for queue in WAITING}
    return pictures | {Queue.PENDING.value: reviews.count(table, Queue.PENDING)}


def store(table: str, entry: str, document: dict[str, Any]) -> None:
    """Keep a document of figures, in place of the one before. It has a `computedAt`."""
    item = {"ImageID": FIGURES, "Entry": entry, "Document": json.dumps(document), "ComputedAt": document["computedAt"]}
    with translated("dynamodb:PutItem"):
        client("dynamodb").put_item(TableName=table, Item={name: {"S": text} for name, text in item.items()})


def stored(table: str, entry: str) -> dict[str, Any] | None:
    """The document that was kept last; None before the first one."""
    with translated("dynamodb:GetItem"):
        answer = client("dynamodb").get_item(TableName=table, Key={"ImageID": {"S": FIGURES}, "Entry": {"S": entry}})
    document: dict[str, Any] | None = json.loads(answer["Item"]["Document"]["S"]) if "Item" in answer else None
    return document
