"""ReviewApi and ReviewQueue as the tests of reviews call them, and a stand-in for the review machine."""

from __future__ import annotations

import hashlib
import itertools
from decimal import Decimal
from typing import Any, cast

import review_api.app
import review_queue.app
from pet_detector.aws import detection_logs, reviews
from pet_detector.rules.review import Head, Review
from tests.support.api_events import body_of, request
from tests.support.handler_runs import CONTEXT
from tests.support.moto_world import BUCKET, REVIEWS, TABLE, Cloud

ADA, BOB, EVE = "ada-0001", "bob-0002", "eve-0003"
_keys = itertools.count(1)


def image_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def filed(aws: Cloud, number: int = 0, status: str = "needs_review", **more: Any) -> str:
    """Write the record of an image as the workflow leaves it -> its ImageID."""
    found = image_id(number)
    animal = "other" if status == "needs_review" else "cat"
    record = {
        "ProcessingStatus": status,
        "DetectedAnimal": animal,
        "AnimalShard": f"{animal}#0",
        "ContentHash": hashlib.sha256(f"bytes of {number}".encode()).hexdigest(),
        "ConfidenceScore": Decimal(40),
        "Certain": status == "completed",
        "Scores": {"cat": Decimal(60), "dog": Decimal(0)},
        "Labels": [{"Name": "Cat", "Confidence": Decimal(60)}],
        "Reason": "Perhaps a cat.",
        "PolicyVersion": "1:80/15/50",
        "ModelVersion": "3.0",
        "S3Location": f"s3://{BUCKET}/others/{found}.jpg",
        "OriginalFilename": "tom.jpg",
        "UploadedBy": "s3",
        "Timestamp": detection_logs.now(),
        "UpdatedAt": "2026-11-21T09:30:00.000Z",
        "ExpiresAt": 2_000_000_000,
    } | more
    aws.write(found, **record)
    return found


def change(aws: Cloud, image: str, old: dict[str, Any] | None = None, number: str = "1") -> dict[str, Any]:
    """A stream record of what an image's record is now."""
    images = {"NewImage": aws.item(image)} | ({"OldImage": old} if old else {})
    return {"eventName": "MODIFY", "dynamodb": images | {"SequenceNumber": number}}


def queue(aws: Cloud, *images: str) -> dict[str, Any]:
    """Call ReviewQueue with what the stream says of images that were just filed."""
    records = [change(aws, image, number=str(number)) for number, image in enumerate(images, 1)]
    return cast(dict[str, Any], review_queue.app.lambda_handler({"Records": records}, CONTEXT))


def put(aws: Cloud, *numbers: int, status: str = "needs_review", **more: Any) -> list[str]:
    """File images and queue them -> their ids."""
    images = [filed(aws, number, status, **more) for number in numbers]
    queue(aws, *images)
    return images


def call(method: str, path: str, person: str = ADA, groups: tuple[str, ...] = ("reviewer",), **more: Any) -> Any:
    """What ReviewApi answers, with its status as `status`."""
    answer = review_api.app.lambda_handler(request(method, path, groups=groups, sub=person, **more), CONTEXT)
    return {"status": answer["statusCode"], **body_of(answer)}


def page(person: str = ADA, **query: str) -> Any:
    return call("GET", "/people/reviews", person, query=query)


def new_key() -> str:
    return f"key-{next(_keys):08d}"


def say(image: str, animal: str = "dog", person: str = ADA, key: str | None = None, **more: Any) -> Any:
    body = {"imageId": image, "animal": animal, "blind": False, "mode": "single", "milliseconds": 700} | more
    return call("POST", "/people/reviews", person, body=body, headers={"Idempotency-Key": key or new_key()})


def undo(image: str, undoes: str, person: str = ADA, key: str | None = None) -> Any:
    body = {"imageId": image, "undoes": undoes}
    return call("POST", "/people/reviews", person, body=body, headers={"Idempotency-Key": key or new_key()})


def head(image: str) -> Head:
    found = reviews.head(REVIEWS, image)
    assert found is not None
    return found


def review(image: str) -> Review:
    found = reviews.review(REVIEWS, image)
    assert found is not None
    return found


def carry_out(aws: Cloud, image: str) -> None:
    """What the review machine does at its end: the record says what the head says, and the head moves on."""
    now = head(image)
    animal = now.get("Verdict", now["Guess"])
    status = "completed" if "Verdict" in now or now["Certain"] else "needs_review"
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": image}},
        UpdateExpression="SET VerdictSequence = :n, DetectedAnimal = :animal, ProcessingStatus = :status",
        ExpressionAttributeValues={
            ":n": {"N": str(now["Sequence"])},
            ":animal": {"S": animal},
            ":status": {"S": status},
        },
    )
    aws.dynamodb.update_item(
        TableName=REVIEWS,
        Key={"ImageID": {"S": image}, "Entry": {"S": "review"}},
        UpdateExpression=(
            "SET #queue = NextQueue, #order = NextOrder, CarriedOut = :n REMOVE NextQueue, NextOrder, PendingSince"
        ),
        ConditionExpression="#sequence = :n AND #queue = :pending",
        ExpressionAttributeNames={"#queue": "Queue", "#order": "Order", "#sequence": "Sequence"},
        ExpressionAttributeValues={":n": {"N": str(now["Sequence"])}, ":pending": {"S": "pending"}},
    )
