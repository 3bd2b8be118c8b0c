"""GET /images, GET /images/{id} and GET /health: what clients see of the table."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.types import TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from images_api.app import MAX_TOKEN_LENGTH, lambda_handler, limit_of, moment
from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.rules import image_ids
from pet_detector.rules.errors import RequestError
from pet_detector.rules.models import Animal, Status
from tests.support.api_events import body_of, refused, request
from tests.support.moto_world import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, ORIGIN, TABLE, Cloud, refusal

# A token that is right but for its length: spaces are nothing in JSON.
PADDED_TOKEN = base64.urlsafe_b64encode(
    json.dumps(["2026-11-21T09:30:00.000Z", [None] * 5]).ljust(1024).encode()
).decode()

INSIDE = {  # what no client needs to know
    "UploadedBy": "key-id",
    "RequestFingerprint": "f" * 64,
    "ContentHash": "e" * 64,
    "ExecutionArn": EXECUTION,
    "SourceKey": "input/secret name.jpg",
    "SourceVersion": "v1",
    "Notices": ["uncertain"],
    "Executions": [EXECUTION],
    "Error": {"Error": "AccessDeniedError", "Cause": "s3:GetObject"},
    "Labels": [{"Name": "Cat", "Confidence": 98}],
    "ExpiresAt": 4_000_000_000,
}


def put(aws: Cloud, number: int = 0, *, status: Status = Status.COMPLETED, animal: Animal | None = Animal.CAT) -> str:
    """Write a record as the workflow leaves it; `number` makes it newer -> its ImageID."""
    image_id = f"{number:x}{IMAGE_ID}"[:32]
    shard = image_ids.shard_of(image_id)
    created = f"2026-11-21T09:30:00.{number:03}Z"
    texts: dict[str, Any] = INSIDE | {
        "ImageID": image_id,
        "ProcessingStatus": status.value,
        "StatusShard": f"{status.value}#{shard}",
        "Shard": shard,
        "OwnerShard": f"{INSIDE['UploadedBy']}#{shard}",
        "ListedAt": f"{created}#{image_id}",
        "CreatedAt": created,
        "UpdatedAt": created,
        "OriginalFilename": "tom.jpg",
        "FileSize": 12_345,
        "CorrelationId": CORRELATION,
    }
    if animal:
        texts |= {
            "DetectedAnimal": animal.value,
            "AnimalShard": f"{animal.value}#{shard}",
            "Certain": True,
            "AnalysisReused": True,
            "S3Location": f"s3://{BUCKET}/cats/{image_id}.jpg",
        }
    item = {name: TypeSerializer().serialize(value) for name, value in texts.items()}
    if animal:  # the state machine writes numbers as text
        item |= {
            "ConfidenceScore": {"N": "98.77"},
            "Scores": {"M": {"cat": {"N": "98.77"}, "dog": {"N": "0"}}},
        }
    aws.dynamodb.put_item(TableName=TABLE, Item=item)
    return image_id


def get(path: str, context: LambdaContext, **query: str) -> dict[str, Any]:
    return lambda_handler(request("GET", path, query=query or None), context)


# --- One image --------------------------------------------------------------------------------------------------------


def test_shows_an_image_with_a_link_to_look_at_it(aws: Cloud, context: LambdaContext) -> None:
    image_id = put(aws)
    answer = get(f"/images/{image_id}", context)
    body = body_of(answer)
    link = urlsplit(body.pop("viewUrl"))
    assert answer["statusCode"] == 200
    assert body == {
        "imageId": image_id,
        "status": "completed",
        "animal": "cat",
        "confidence": 98.77,
        "certain": True,
        "scores": {"cat": 98.77, "dog": 0},
        "fileName": "tom.jpg",
        "fileSize": 12_345,
        "correlationId": CORRELATION,
        "location": f"s3://{BUCKET}/cats/{image_id}.jpg",
        "createdAt": "2026-11-21T09:30:00.000Z",
        "updatedAt": "2026-11-21T09:30:00.000Z",
        "viewUrlExpiresInSeconds": 300,
    }
    assert '"fileSize": 12345' in answer["body"]
    assert link.path.endswith(f"/cats/{image_id}.jpg")
    assert parse_qs(link.query)["response-content-type"] == ["image/jpeg"]
    assert parse_qs(link.query)["response-cache-control"] == ["private, no-store"]


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [("jpg", "jpg"), ("png", "png"), ("unknown", "unknown"), ("JPEG", "jpg"), ("PNG", "png")],  # the last two: formerly
)
def test_the_format_has_todays_name_in_one_image_and_in_lists(
    aws: Cloud, context: LambdaContext, recorded: str, shown: str
) -> None:
    image_id = put(aws)
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": image_id}},
        AttributeUpdates={"ImageFormat": {"Value": {"S": recorded}}},
    )
    assert body_of(get(f"/images/{image_id}", context))["imageFormat"] == shown
    assert [image["imageFormat"] for image in body_of(get("/images", context))["images"]] == [shown]


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.COMPLETED])
def test_an_image_that_waits_says_when_its_turn_comes(aws: Cloud, context: LambdaContext, status: Status) -> None:
    image_id, turn = put(aws, status=status), "2026-11-29T17:40:03.250Z"
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="SET TurnAt = :turn",
        ExpressionAttributeValues={":turn": {"S": turn}},
    )
    body = body_of(get(f"/images/{image_id}", context))
    assert body.get("turnAt") == (turn if status is Status.PROCESSING else None)


@pytest.mark.parametrize(("number", "words"), [(1, "1 later upload "), (1199, "1199 later uploads ")])
def test_an_image_says_how_many_later_uploads_of_its_form_were_rejected(
    aws: Cloud, context: LambdaContext, number: int, words: str
) -> None:
    image_id = put(aws, status=Status.COMPLETED)
    assert "superseded" not in body_of(get(f"/images/{image_id}", context))
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="ADD Superseded :number",
        ExpressionAttributeValues={":number": {"N": str(number)}},
    )
    told = body_of(get(f"/images/{image_id}", context))["superseded"]
    assert (told["reasonCode"], told["uploads"]) == ("SUPERSEDED", number)
    assert told["reason"].startswith(words)
    assert "a new form" in told["reason"]


@pytest.mark.parametrize("status", list(Status))
def test_only_what_was_filed_under_an_animal_has_a_link(aws: Cloud, context: LambdaContext, status: Status) -> None:
    body = body_of(get(f"/images/{put(aws, status=status)}", context))
    assert ("viewUrl" in body) is (status in (Status.COMPLETED, Status.NEEDS_REVIEW))
    assert ("viewUrlExpiresInSeconds" in body) is ("viewUrl" in body)


def test_an_image_that_has_just_been_announced_shows_what_is_known(aws: Cloud, context: LambdaContext) -> None:
    detection_logs.announce(
        TABLE, IMAGE_ID, file_name="tom.jpg", uploaded_by="key-id", fingerprint="f", correlation_id=CORRELATION
    )
    body = body_of(get(f"/images/{IMAGE_ID}", context))
    assert body.keys() == {"imageId", "status", "fileName", "correlationId", "createdAt", "updatedAt"}


def test_what_is_inside_stays_inside(aws: Cloud, context: LambdaContext) -> None:
    image_id = put(aws, status=Status.FAILED)
    for answer in (get(f"/images/{image_id}", context), get("/images", context)):
        assert answer["statusCode"] == 200
        for value in INSIDE.values():
            assert json.dumps(value) not in answer["body"]


@pytest.mark.parametrize(
    "image_id",
    [
        "f" * 32,
        "F" * 32,
        "f" * 31,
        "f" * 33,
        "x",
        "..%2F..",
        "%00",
        "f" * 31 + "\n",
        "٣" * 32,
        "' OR 1=1",
        "x" * 2000,
    ],
)
def test_what_is_no_image_is_not_found(aws: Cloud, context: LambdaContext, image_id: str) -> None:
    assert refused(get(f"/images/{image_id}", context))[0] == 404


def test_an_unknown_id_says_where_ids_come_from(aws: Cloud, context: LambdaContext) -> None:
    answer = get(f"/images/{IMAGE_ID}", context)
    assert refused(answer) == (404, "IMAGE_NOT_FOUND")
    assert "POST /upload" in body_of(answer)["message"]


def test_the_memory_of_a_notice_is_no_image(aws: Cloud, context: LambdaContext) -> None:
    detection_logs.reserve_notice(TABLE, IMAGE_ID, EXECUTION)
    assert refused(get(f"/images/{IMAGE_ID}", context)) == (404, "IMAGE_NOT_FOUND")


def test_counts_of_notices_in_the_same_table_are_no_images(aws: Cloud, context: LambdaContext) -> None:
    aws.withhold("ImageUncertain", 7)
    for path in ("/images/notice-burst#ImageUncertain", "/images/notice-burst%23ImageUncertain"):
        assert refused(get(path, context))[0] == 404
    assert json.loads(get("/images", context)["body"])["images"] == []


# --- The listing ------------------------------------------------------------------------------------------------------


def test_lists_newest_first_page_by_page(aws: Cloud, context: LambdaContext) -> None:
    ids = [put(aws, number) for number in range(7)]
    listed: list[str] = []
    query = {"limit": "3"}
    sizes = []
    while True:
        body = body_of(get("/images", context, **query))
        assert body.keys() == {"images", "nextToken"}
        sizes.append(len(body["images"]))
        listed += [image["imageId"] for image in body["images"]]
        if body["nextToken"] is None:
            break
        assert len(body["nextToken"]) <= MAX_TOKEN_LENGTH
        query["nextToken"] = body["nextToken"]
    assert listed == ids[::-1]
    assert sizes == [3, 3, 1]


def test_a_page_has_twenty_images_by_default(aws: Cloud, context: LambdaContext) -> None:
    for number in range(21):
        put(aws, number)
    assert len(body_of(get("/images", context))["images"]) == 20
    assert len(body_of(get("/images", context, limit="21"))["images"]) == 21


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [3, 2, 1]),
        ({"animal": "cat"}, [1]),
        ({"animal": "dog"}, [2]),
        ({"animal": "other"}, []),
        ({"status": "processing"}, [3]),
        ({"status": "completed"}, [1]),
        ({"animal": "dog", "status": "failed"}, [2]),
        ({"animal": "dog", "status": "completed"}, []),
        ({"from": "2026-11-21"}, [3, 2, 1]),
        ({"to": "2026-11-21"}, []),
        ({"from": "2026-11-21T09:30:00.002Z"}, [3, 2]),
        ({"to": "2026-11-21T09:30:00.002Z"}, [1]),
        ({"from": "2026-11-21T10:30:00.002+01:00", "to": "2026-11-21T09:30:00.003Z"}, [2]),
        ({"from": "2026-11-21T09:30:00.002Z", "to": "2026-11-21T09:30:00.002Z"}, []),
    ],
)
def test_filters_by_animal_status_and_time(
    aws: Cloud, context: LambdaContext, query: dict[str, str], numbers: list[int]
) -> None:
    ids = {
        1: put(aws, 1),
        2: put(aws, 2, animal=Animal.DOG, status=Status.FAILED),
        3: put(aws, 3, animal=None, status=Status.PROCESSING),
    }
    listed = [image["imageId"] for image in body_of(get("/images", context, **query))["images"]]
    assert listed == [ids[number] for number in numbers]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"animal": "horse"}, "INVALID_FILTER"),
        ({"anmal": "cat"}, "INVALID_FILTER"),
        ({"animal": ""}, "INVALID_FILTER"),
        ({"animal": "CAT"}, "INVALID_FILTER"),
        ({"status": "done"}, "INVALID_FILTER"),
        ({"from": "yesterday"}, "INVALID_FILTER"),
        ({"to": ""}, "INVALID_FILTER"),
        ({"to": "2026-13-01"}, "INVALID_FILTER"),
        ({"from": "0001-01-01T00:00:00+14:00"}, "INVALID_FILTER"),
        ({"from": "2026-11-22", "to": "2026-11-21"}, "INVALID_FILTER"),
        ({"limit": "0"}, "INVALID_LIMIT"),
        ({"limit": "101"}, "INVALID_LIMIT"),
        ({"limit": "-1"}, "INVALID_LIMIT"),
        ({"limit": "1e1"}, "INVALID_LIMIT"),
        ({"limit": "٣"}, "INVALID_LIMIT"),
        ({"limit": ""}, "INVALID_LIMIT"),
        ({"limit": "9" * 5000}, "INVALID_LIMIT"),
        ({"nextToken": "x"}, "INVALID_TOKEN"),
        ({"nextToken": "A" * 1025}, "INVALID_TOKEN"),
        ({"nextToken": "W1tb" * 256}, "INVALID_TOKEN"),  # 768 brackets
        ({"nextToken": "W1tb" * 2500}, "INVALID_TOKEN"),  # more than Python's parser of JSON takes
        ({"nextToken": PADDED_TOKEN}, "INVALID_TOKEN"),
    ],
)
def test_a_bad_filter_is_answered_with_what_to_change(
    aws: Cloud, context: LambdaContext, query: dict[str, str], code: str
) -> None:
    assert refused(get("/images", context, **query)) == (400, code)


def test_a_filter_that_is_given_twice_is_refused(aws: Cloud, context: LambdaContext) -> None:
    event = request("GET", "/images", query={"animal": "dog"})
    event["multiValueQueryStringParameters"] = {"animal": ["cat", "dog"]}

    assert refused(lambda_handler(event, context)) == (400, "INVALID_FILTER")


def test_a_bad_word_is_answered_with_the_good_ones(aws: Cloud, context: LambdaContext) -> None:
    assert body_of(get("/images", context, animal="horse"))["message"] == "animal must be one of cat, dog, other."


@given(st.text() | st.datetimes().map(str) | st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()))
def test_any_time_is_utc_with_milliseconds_or_a_request_error(text: str) -> None:
    with contextlib.suppress(RequestError):
        found = moment("from", text)
        assert found is not None
        assert len(found) == len("2026-11-21T09:30:00.000Z")
        assert found.endswith("Z")


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is that of Tokyo."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21", "2026-11-21T00:00:00.000Z"),
        ("2026-11-21T09:30:00", "2026-11-21T09:30:00.000Z"),
        ("2026-11-21T09:30:00+09:00", "2026-11-21T00:30:00.000Z"),
    ],
)
def test_a_time_without_an_offset_is_utc_wherever_the_function_runs(text: str, expected: str) -> None:
    assert moment("from", text) == expected


@given(st.integers(-10, 1010).map(str) | st.text())
def test_any_limit_is_from_1_to_100_or_a_request_error(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert 1 <= limit_of(text) <= 100


# --- The rest ---------------------------------------------------------------------------------------------------------


PARTS = ("storage", "records", "workflow", "policy")


@pytest.mark.usefixtures("policy", "workflow")
def test_healthy_is_a_service_whose_parts_all_answer(aws: Cloud, context: LambdaContext) -> None:
    answer = lambda_handler(request("GET", "/health", api_key_id=None), context)
    assert (answer["statusCode"], body_of(answer)) == (
        200,
        {"status": "ok", "dependencies": dict.fromkeys(PARTS, "ok")},
    )
    assert answer["multiValueHeaders"]["Access-Control-Allow-Origin"] == [ORIGIN]
    assert answer["multiValueHeaders"]["Cache-Control"] == ["no-store"]


@pytest.mark.usefixtures("workflow")
def test_one_part_that_does_not_answer_is_named_without_details(aws: Cloud, context: LambdaContext) -> None:
    answer = get("/health", context)  # there is no policy parameter
    down = dict.fromkeys(PARTS, "ok") | {"policy": "down"}
    assert (answer["statusCode"], body_of(answer)) == (503, {"status": "down", "dependencies": down})


@pytest.mark.parametrize(
    ("code", "expected"),
    [("ThrottlingException", (503, "BUSY")), ("InternalServerError", (503, "UNAVAILABLE"))],
)
@pytest.mark.parametrize(("path", "operation"), [("/images", "Query"), (f"/images/{IMAGE_ID}", "GetItem")])
def test_a_table_that_does_not_answer_makes_the_service_unavailable(
    aws: Cloud, context: LambdaContext, path: str, operation: str, code: str, expected: tuple[int, str]
) -> None:
    with refusal(client("dynamodb"), operation, code):
        assert refused(get(path, context)) == expected
