"""Amazon DynamoDB: the table ReviewsTable, what waits for people and every verdict (`rules.review` says what it means).

Of an image: the item `review` is the head, `verdict#000001` and so on are the rows. A row and the head that counts it
are written in one transaction, on the condition that the head still counts what was read: of two people who decide at
once one wins, and nothing is half written. The transaction also asks the record, in the table DetectionLogs: nothing is
written about an image that was erased.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import BATCH, serialized
from pet_detector.aws.errors import code_of, refused_item, translated
from pet_detector.rules.errors import RequestError, ThrottledError
from pet_detector.rules.models import Status
from pet_detector.rules.review import HEAD, ROW_PREFIX, Head, Queue, Review, Row, rows_and_head

# How far a queue is counted: more is "very many".
MOST_COUNTED = 1000
# Heads that one call of DynamoDB reads: some 100 KB.
PAGE = 200
# Rows that one transaction keeps longer than their head: it takes 100 items.
_MOST_RENEWED = 90
_DAY = 24 * 60 * 60

_deserialize = TypeDeserializer().deserialize


class Saved(StrEnum):
    """What became of a write."""

    SAVED = "saved"
    CHANGED = "changed"  # somebody else wrote in this moment: read again
    NOT_FINISHED = "not finished"  # the image is not filed, or was erased


def head(table: str, image_id: str) -> Head | None:
    """The head of an image, read consistently, or None."""
    with translated("dynamodb:GetItem Reviews"):
        answer = client("dynamodb").get_item(TableName=table, Key=_key(image_id, HEAD), ConsistentRead=True)
    return cast(Head, _values(answer["Item"])) if "Item" in answer else None


def review(table: str, image_id: str) -> Review | None:
    """The head of an image and all its rows, read consistently, or None. See Review.is_whole."""
    return rows_and_head(_of_image(table, image_id))


def rows(table: str, image_id: str) -> list[Row]:
    """All rows of an image, in order, read consistently."""
    found = review(table, image_id)
    return list(found.rows) if found else []


def _of_image(table: str, image_id: str) -> Iterator[dict[str, Any]]:
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            ConsistentRead=True,
            KeyConditionExpression="ImageID = :image",
            ExpressionAttributeValues={":image": {"S": image_id}},
        )
    )
    with translated("dynamodb:Query Reviews"):
        for page in pages:
            yield from map(_values, page["Items"])


# --- Queues -----------------------------------------------------------------------------------------------------------


def waiting(table: str, queue: Queue, limit: int = PAGE) -> Iterator[Head]:
    """The heads of a queue in its order, at most `limit`. The index lags behind the table by moments."""
    for page in pages_of(table, queue):
        yield from page.heads[:limit]
        limit -= len(page.heads)
        if limit <= 0:
            return


@dataclass(frozen=True)
class QueuePage:
    """Part of a queue; `is_last` when nothing comes after it."""

    heads: list[Head]
    is_last: bool


def pages_of(table: str, queue: Queue) -> Iterator[QueuePage]:
    """A queue in its order, page by page. Nothing is read before it is asked for."""
    question: dict[str, Any] = _queue(table, queue) | {"Limit": PAGE}
    while True:
        with translated("dynamodb:Query Reviews"):
            answer = client("dynamodb").query(**question)
        last = answer.get("LastEvaluatedKey")
        yield QueuePage([cast(Head, _values(item)) for item in answer["Items"]], last is None)
        if last is None:
            return
        question["ExclusiveStartKey"] = last


def count(table: str, queue: Queue, *, filed_since: int = 0, person_id: str = "") -> int:
    """How many images stand in a queue whose picture was filed since then (seconds since 1970): of the first
    MOST_COUNTED, there may be more.

    Of a person: without those that they have decided, and are not asked about again.
    """
    question: dict[str, Any] = _queue(table, queue) | {"Select": "COUNT"}
    question["FilterExpression"] = "(NOT FiledAt < :since)"
    question["ExpressionAttributeValues"] |= {":since": serialized(filed_since)}
    if person_id:
        question["FilterExpression"] += " AND (NOT contains(Deciders, :person))"
        question["ExpressionAttributeValues"] |= {":person": {"S": person_id}}
    found = looked_at = 0
    while looked_at < MOST_COUNTED:
        with translated("dynamodb:Query Reviews"):
            answer = client("dynamodb").query(**question, Limit=MOST_COUNTED - looked_at)
        found += answer["Count"]
        looked_at += answer["ScannedCount"]
        if "LastEvaluatedKey" not in answer:
            break
        question["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    return found


def pending(table: str, older_than: str) -> Iterator[Head]:
    """The heads whose verdict waits to be carried out since before that time (in the format of records)."""
    for page in pages_of(table, Queue.PENDING):
        for found in page.heads:
            if found["Order"] >= older_than:
                return
            yield found


def _queue(table: str, queue: Queue) -> dict[str, Any]:
    return {
        "TableName": table,
        "IndexName": "QueueIndex",
        "KeyConditionExpression": "#queue = :queue",
        "ExpressionAttributeNames": {"#queue": "Queue"},
        "ExpressionAttributeValues": {":queue": {"S": queue.value}},
    }


def every_head(table: str) -> Iterator[Head]:
    """All heads, read consistently: it reads the whole table."""
    for item in _everything(table, FilterExpression="Entry = :head", ExpressionAttributeValues={":head": {"S": HEAD}}):
        yield cast(Head, item)


def every_review(table: str) -> Iterator[Review]:
    """All heads with their rows, read consistently: it reads the whole table, and holds it in memory."""
    items: dict[str, list[dict[str, Any]]] = {}
    for item in _everything(table):
        items.setdefault(item["ImageID"], []).append(item)
    yield from filter(None, map(rows_and_head, items.values()))


def every_image(table: str) -> Iterator[str]:
    """The ImageIDs of which there is anything, perhaps more than once: it reads the whole table."""
    for item in _everything(table, ProjectionExpression="ImageID, Entry"):
        if item["Entry"] == HEAD or item["Entry"].startswith(ROW_PREFIX):
            yield item["ImageID"]


def _everything(table: str, **more: Any) -> Iterator[dict[str, Any]]:
    pages = client("dynamodb").get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **more)
    with translated("dynamodb:Scan Reviews"):
        for page in pages:
            yield from map(_values, page["Items"])


# --- Other ways to find them ------------------------------------------------------------------------------------------


def of_content(table: str, content_hash: str) -> Iterator[Head]:
    """The heads of all images with these bytes, by ImageID. The index lags behind the table by moments."""
    question: dict[str, Any] = {
        "TableName": table,
        "IndexName": "ContentIndex",
        "KeyConditionExpression": "ContentHash = :hash",
        "ExpressionAttributeValues": {":hash": {"S": content_hash}},
        "Limit": BATCH,
    }
    while True:
        with translated("dynamodb:Query Reviews"):
            answer = client("dynamodb").query(**question)
        found = heads_of(table, {item["ImageID"]["S"] for item in answer["Items"]})
        yield from (found[image_id] for image_id in sorted(found))
        if "LastEvaluatedKey" not in answer:
            return
        question["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def verdicts_of(table: str, person_id: str, limit: int, before: str | None) -> tuple[list[Row], str | None]:
    """The verdicts that a person gave, newest first, and where the next page begins: None at the end.

    Without those that were carried over to the same bytes. A page may be short. Raises RequestError when `before` is
    not from such an answer.
    """
    question: dict[str, Any] = {
        "TableName": table,
        "IndexName": "PersonIndex",
        "KeyConditionExpression": "#person = :person",
        "FilterExpression": "#kind = :verdict AND attribute_not_exists(SameAs)",
        "ExpressionAttributeNames": {"#person": "Person", "#kind": "Kind"},
        "ExpressionAttributeValues": {":person": {"S": person_id}, ":verdict": {"S": "verdict"}},
        "ScanIndexForward": False,
        "Limit": limit,
    }
    if before is not None:
        parts = before.split("~")
        if len(parts) != 3 or not all(parts) or len(before) > 200:
            raise RequestError(400, "INVALID_TOKEN", "before is not from an answer of this list: send it unchanged.")
        at, image_id, entry = parts
        question["ExclusiveStartKey"] = _key(image_id, entry) | {"Person": {"S": person_id}, "At": {"S": at}}
    with translated("dynamodb:Query Reviews"):
        answer = client("dynamodb").query(**question)
    last = answer.get("LastEvaluatedKey")
    token = "~".join(last[name]["S"] for name in ("At", "ImageID", "Entry")) if last else None
    return [cast(Row, _values(item)) for item in answer["Items"]], token


def heads_of(table: str, image_ids: set[str]) -> dict[str, Head]:
    """The heads of at most BATCH images, by ImageID, read consistently. Raises ThrottledError when none can be read."""
    found: dict[str, Head] = {}
    keys: Any = [_key(image_id, HEAD) for image_id in sorted(image_ids)]
    while keys:
        with translated("dynamodb:BatchGetItem Reviews"):
            answer = client("dynamodb").batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
        found |= {str(item["ImageID"]["S"]): cast(Head, _values(item)) for item in answer["Responses"].get(table, [])}
        left = answer.get("UnprocessedKeys", {}).get(table, {"Keys": []})["Keys"]
        if len(left) == len(keys):
            raise ThrottledError("dynamodb:BatchGetItem Reviews: nothing was read")
        keys = left
    return found


# --- Writes -----------------------------------------------------------------------------------------------------------


def put_head(table: str, records: str, new: Head, row: Row | None = None) -> Saved:
    """Put a new head, with its first row if it has one. CHANGED when the image has a head. `records`: DetectionLogs."""
    put = {"TableName": table, "Item": _item(new), "ConditionExpression": "attribute_not_exists(ImageID)"}
    return _write(records, new["ImageID"], {"Put": put}, _put_row(table, row))


def append(table: str, records: str, longer: Review, changes: Mapping[str, Any]) -> Saved:
    """Write the last row of a review, and the `changes` of its head (None removes an attribute).

    CHANGED when the head counts another number of rows than the review had before, or waits elsewhere.
    """
    was, row = longer.head, longer.rows[-1]
    sets = {name: value for name, value in changes.items() if value is not None}
    removes = [name for name, value in changes.items() if value is None]
    names = {f"#{name}": name for name in changes}
    values = {f":{name}": serialized(value) for name, value in sets.items()}
    values |= {":was": serialized(len(longer.rows) - 1), ":stood": {"S": was["Queue"]}}
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
    if removes:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in removes)
    update = {
        "TableName": table,
        "Key": _key(was["ImageID"], HEAD),
        "UpdateExpression": expression,
        "ConditionExpression": "#Sequence = :was AND #Queue = :stood",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
    expires = int(row.get("ExpiresAt", 0))  # two days after the head: rows that lag by less than a day still outlive it
    early = [earlier for earlier in longer.rows[:-1] if int(earlier.get("ExpiresAt", expires)) < expires - _DAY]
    kept = [_keep_until(table, earlier, expires) for earlier in early[:_MOST_RENEWED]]
    return _write(records, was["ImageID"], {"Update": update}, [*_put_row(table, row), *kept])


def _keep_until(table: str, row: Row, expires: int) -> dict[str, Any]:
    update = {
        "TableName": table,
        "Key": _key(row["ImageID"], row["Entry"]),
        "UpdateExpression": "SET ExpiresAt = :expires",
        "ConditionExpression": "attribute_exists(ImageID)",
        "ExpressionAttributeValues": {":expires": serialized(expires)},
    }
    return {"Update": update}


def _put_row(table: str, row: Row | None) -> list[dict[str, Any]]:
    if row is None:
        return []
    put = {"TableName": table, "Item": _item(row), "ConditionExpression": "attribute_not_exists(ImageID)"}
    return [{"Put": put}]


def _write(records: str, image_id: str, of_head: dict[str, Any], of_row: list[dict[str, Any]]) -> Saved:
    check = {
        "TableName": records,
        "Key": {"ImageID": {"S": image_id}},
        "ConditionExpression": "ProcessingStatus IN (:completed, :uncertain)",
        "ExpressionAttributeValues": {
            ":completed": {"S": Status.COMPLETED.value},
            ":uncertain": {"S": Status.NEEDS_REVIEW.value},
        },
    }
    items: Any = [{"ConditionCheck": check}, of_head, *of_row]
    with translated("dynamodb:TransactWriteItems Reviews"):
        try:
            client("dynamodb").transact_write_items(TransactItems=items)
        except ClientError as error:
            reasons = _reasons(error)
            if reasons[0] == "ConditionalCheckFailed":
                return Saved.NOT_FINISHED
            return Saved.CHANGED
    return Saved.SAVED


def _reasons(error: ClientError) -> list[str]:
    """Why a transaction was refused, by item. Raises the error again when it is not for a condition or a conflict."""
    if code_of(error) == "TransactionCanceledException":
        response: Any = error.response
        reasons = [str(reason.get("Code", "None")) for reason in response.get("CancellationReasons", [])]
        if reasons and set(reasons) <= {"None", "ConditionalCheckFailed", "TransactionConflict"}:
            return reasons
    raise error


def lease(table: str, seen: Head, person_id: str, until: int) -> Head | None:
    """Lease a picture that waits to a person until then (seconds since 1970), also one that they have leased already.

    The head as it is now; None when somebody else has leased it, or something else has changed since it was `seen`.
    """
    values = {
        ":person": person_id,
        ":until": until,
        ":now": int(time.time()),
        ":queue": seen["Queue"],
        ":sequence": int(seen["Sequence"]),
    }
    with translated("dynamodb:UpdateItem Reviews"):
        try:
            answer = client("dynamodb").update_item(
                TableName=table,
                Key=_key(seen["ImageID"], HEAD),
                UpdateExpression="SET LeasedBy = :person, LeasedUntil = :until",
                ConditionExpression=(
                    "#queue = :queue AND #sequence = :sequence"
                    " AND (attribute_not_exists(LeasedUntil) OR LeasedUntil <= :now OR LeasedBy = :person)"
                ),
                ExpressionAttributeNames={"#queue": "Queue", "#sequence": "Sequence"},
                ExpressionAttributeValues={name: serialized(value) for name, value in values.items()},
                ReturnValues="ALL_NEW",
            )
        except ClientError as error:
            if code_of(error) != "TransactionConflictException":  # somebody decides about it in this moment
                refused_item(error)
            return None
    return cast(Head, _values(answer["Attributes"]))


def pass_over(table: str, image_id: str) -> None:
    """Note of an image of the sample that its turn came, and that somebody said nothing. Of any other, do nothing."""
    with translated("dynamodb:UpdateItem Reviews"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key=_key(image_id, HEAD),
                UpdateExpression="SET PassedOver = :yes",
                # What was just taken back is shown before it is carried out.
                ConditionExpression="#queue = :sample OR NextQueue = :sample",
                ExpressionAttributeNames={"#queue": "Queue"},
                ExpressionAttributeValues={":yes": {"BOOL": True}, ":sample": {"S": Queue.SAMPLE.value}},
            )
        except ClientError as error:
            if code_of(error) != "TransactionConflictException":  # somebody decides about it in this moment
                refused_item(error)


def forget(table: str, image_id: str) -> int:
    """Delete everything about an image, for an erasure -> how many items it was."""
    deleted = 0
    for item in list(_of_image(table, image_id)):
        with translated("dynamodb:DeleteItem Reviews"):
            client("dynamodb").delete_item(TableName=table, Key=_key(image_id, item["Entry"]))
        deleted += 1
    return deleted


def _key(image_id: str, entry: str) -> dict[str, Any]:
    return {"ImageID": {"S": image_id}, "Entry": {"S": entry}}


def _item(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: serialized(value) for name, value in values.items()}


def _values(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _deserialize(value) for name, value in item.items()}
