"""POST /upload: a form or a picture, the same answer for the same request, and no trust in anything that is sent."""

from __future__ import annotations

import base64
import io
import json
import re
import unicodedata
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.aws import detection_logs, listing
from pet_detector.aws.clients import client
from pet_detector.rules.image_format import MAX_BYTES
from tests.support.api_events import API_KEY, API_KEY_ID, body_of, refused, request, upload
from tests.support.moto_world import BUCKET, ORIGIN, TABLE, Cloud, breakdown, refusal
from upload_api.app import FILE_NAME_LENGTH, MAX_INLINE_BYTES, clean_name, lambda_handler

GOOD = {"fileName": "tom.jpg", "contentType": "image/jpeg"}


def set_status(aws: Cloud, image_id: str, status: str) -> None:
    """What the workflow does to a record in the meantime."""
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="SET ProcessingStatus = :s",
        ExpressionAttributeValues={":s": {"S": status}},
    )


# --- The two ways -----------------------------------------------------------------------------------------------------


TYPES = [("image/jpeg", "jpg"), ("image/png", "png"), ("image/webp", "webp"), ("image/avif", "avif")]
TYPES += [("image/heic", "heic"), ("image/heif", "heic")]


@pytest.mark.parametrize(("content_type", "extension"), TYPES)
def test_hands_out_a_form_for_the_key_of_a_new_image(
    aws: Cloud, context: LambdaContext, content_type: str, extension: str
) -> None:
    answer = lambda_handler(upload(content_type=content_type), context)
    body = body_of(answer)
    assert answer["statusCode"] == 201
    assert body.keys() == {"imageId", "status", "upload", "expiresInSeconds"}
    assert re.fullmatch(r"[0-9a-f]{32}", body["imageId"])
    assert (body["status"], body["expiresInSeconds"]) == ("uploading", 300)
    assert body["upload"]["fields"]["key"] == f"input/{body['imageId']}.{extension}"
    policy = json.loads(base64.b64decode(body["upload"]["fields"]["policy"]))
    assert ["content-length-range", 1, MAX_BYTES] in policy["conditions"]
    assert aws.keys() == []


@pytest.mark.parametrize(("content_type", "extension"), TYPES)
def test_stores_a_picture_that_comes_with_the_request(
    aws: Cloud, context: LambdaContext, content_type: str, extension: str
) -> None:
    answer = lambda_handler(upload(b"picture", content_type=content_type), context)
    body = body_of(answer)
    assert answer["statusCode"] == 202
    assert body == {"imageId": body["imageId"], "status": "uploading"}
    key = f"input/{body['imageId']}.{extension}"
    assert aws.keys() == [key]
    assert aws.get(key) == b"picture"
    assert aws.s3.head_object(Bucket=BUCKET, Key=key)["ContentType"] == content_type


@pytest.mark.parametrize("data", [None, b"picture"])
def test_the_correlation_id_is_the_id_that_the_api_gave_the_request(
    aws: Cloud, context: LambdaContext, logs: io.StringIO, data: bytes | None
) -> None:
    """The access log has the same: one saved query finds the whole story."""
    event = upload(data)
    event["requestContext"] |= {"extendedRequestId": "the-id-of-this-request", "requestId": 'x\n"é'}
    body = body_of(lambda_handler(event, context))
    assert aws.item(body["imageId"])["CorrelationId"] == {"S": "the-id-of-this-request"}
    if data is None:
        sent = body["upload"]["fields"]["x-amz-meta-correlation-id"]
    else:
        sent = aws.s3.head_object(Bucket=BUCKET, Key=aws.keys()[0])["Metadata"]["correlation-id"]
    assert sent == "the-id-of-this-request"
    assert {json.loads(line)["correlation_id"] for line in logs.getvalue().splitlines()} == {sent}


@pytest.mark.parametrize("data", [None, b"picture"])
def test_announces_the_image_before_anything_can_arrive(aws: Cloud, context: LambdaContext, data: bytes | None) -> None:
    body = body_of(lambda_handler(upload(data, file_name="dir/Tom.jpg"), context))
    record = detection_logs.find(TABLE, body["imageId"])
    assert record is not None
    assert (record["OriginalFilename"], record["UploadedBy"]) == ("Tom.jpg", API_KEY_ID)
    assert record["ProcessingStatus"] == "uploading"
    assert API_KEY not in str(record)


def test_every_upload_is_an_image_of_its_own(aws: Cloud, context: LambdaContext) -> None:
    ids = {body_of(lambda_handler(upload(b"same picture"), context))["imageId"] for _ in range(5)}
    assert len(ids) == 5


def test_answers_are_for_browsers_of_our_origin_and_for_no_cache(aws: Cloud, context: LambdaContext) -> None:
    headers = lambda_handler(upload(), context)["multiValueHeaders"]
    assert headers["Access-Control-Allow-Origin"] == [ORIGIN]
    assert headers["Cache-Control"] == ["no-store"]
    assert headers["Content-Type"] == ["application/json"]
    strange = request("POST", "/upload", body=GOOD, headers={"Origin": "https://evil.example.com"})
    assert lambda_handler(strange, context)["multiValueHeaders"]["Access-Control-Allow-Origin"] == [ORIGIN]


def test_a_caller_without_a_key_is_written_down_as_unknown(aws: Cloud, context: LambdaContext) -> None:
    body = body_of(lambda_handler(upload(api_key_id=None), context))
    record = detection_logs.find(TABLE, body["imageId"])
    assert record is not None
    assert record["UploadedBy"] == "unknown"


# --- Idempotency ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, b"picture"])
def test_the_same_request_under_the_same_key_is_one_image(
    aws: Cloud, context: LambdaContext, data: bytes | None
) -> None:
    answers = [lambda_handler(upload(data, idempotency_key="one"), context) for _ in range(3)]
    assert len({body_of(answer)["imageId"] for answer in answers}) == 1
    assert len({answer["statusCode"] for answer in answers}) == 1
    assert len(listing.list_images(TABLE, listing.Query(), 10).records) == 1
    assert len(aws.s3.list_object_versions(Bucket=BUCKET).get("Versions", [])) == (0 if data is None else 1)


@pytest.mark.parametrize(
    "other",
    [
        upload(b"another", idempotency_key="one"),
        upload(idempotency_key="one"),
        upload(b"picture", idempotency_key="one", file_name="other.jpg"),
        upload(b"picture", idempotency_key="one", content_type="image/png"),
    ],
    ids=["picture", "form", "name", "type"],
)
def test_another_request_under_the_same_key_is_refused_and_changes_nothing(
    aws: Cloud, context: LambdaContext, other: dict[str, Any]
) -> None:
    image_id = body_of(lambda_handler(upload(b"picture", idempotency_key="one"), context))["imageId"]
    record = detection_logs.find(TABLE, image_id)
    assert refused(lambda_handler(other, context)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert aws.get(f"input/{image_id}.jpg") == b"picture"
    assert len(aws.keys()) == 1
    assert detection_logs.find(TABLE, image_id) == record


def test_another_caller_may_have_the_same_key(aws: Cloud, context: LambdaContext) -> None:
    first = body_of(lambda_handler(upload(idempotency_key="one"), context))
    second = body_of(lambda_handler(upload(b"x", idempotency_key="one", api_key_id="other"), context))
    assert first["imageId"] != second["imageId"]


def test_the_header_has_any_case(aws: Cloud, context: LambdaContext) -> None:
    ids = {
        body_of(lambda_handler(request("POST", "/upload", body=GOOD, headers={name: "one"}), context))["imageId"]
        for name in ("Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY")
    }
    assert len(ids) == 1


@pytest.mark.parametrize(("length", "status"), [(0, 400), (1, 201), (255, 201), (256, 400)])
def test_an_idempotency_key_has_1_to_255_characters(
    aws: Cloud, context: LambdaContext, length: int, status: int
) -> None:
    answer = lambda_handler(upload(idempotency_key="k" * length), context)
    assert answer["statusCode"] == status
    if status == 400:
        assert refused(answer) == (400, "INVALID_IDEMPOTENCY_KEY")


@pytest.mark.parametrize("key", ["../../x", "\u202e", "a\nb", "%00", "🐈"])
def test_an_idempotency_key_is_no_part_of_the_id(aws: Cloud, context: LambdaContext, key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", body_of(lambda_handler(upload(idempotency_key=key), context))["imageId"])


def test_a_repeated_request_tells_how_far_the_image_is_and_stores_nothing_again(
    aws: Cloud, context: LambdaContext
) -> None:
    sent = upload(b"picture", idempotency_key="one")
    image_id = body_of(lambda_handler(sent, context))["imageId"]
    found = aws.s3.list_object_versions(Bucket=BUCKET)["Versions"][0]
    aws.s3.delete_object(Bucket=BUCKET, Key=found["Key"], VersionId=found["VersionId"])  # it was moved
    set_status(aws, image_id, "completed")
    answer = lambda_handler(sent, context)
    assert (answer["statusCode"], body_of(answer)) == (200, {"imageId": image_id, "status": "completed"})
    assert aws.keys() == []


def test_a_repeated_request_for_a_form_gets_none_once_the_picture_is_here(aws: Cloud, context: LambdaContext) -> None:
    sent = upload(idempotency_key="one")
    first = body_of(lambda_handler(sent, context))
    assert body_of(lambda_handler(sent, context)).keys() == first.keys()
    set_status(aws, first["imageId"], "processing")
    answer = lambda_handler(sent, context)
    assert (answer["statusCode"], body_of(answer)) == (200, {"imageId": first["imageId"], "status": "processing"})


def test_a_repeated_request_repairs_a_crash_between_record_and_picture(aws: Cloud, context: LambdaContext) -> None:
    sent = upload(b"picture", idempotency_key="one")
    lost = ReadTimeoutError(endpoint_url="https://s3")
    with breakdown(client("s3"), "PutObject", lost, done=False) as fault:
        assert refused(lambda_handler(sent, context)) == (503, "UNAVAILABLE")
    assert fault.happened == 1
    assert lambda_handler(sent, context)["statusCode"] == 202
    assert len(aws.keys()) == 1


# --- What is refused --------------------------------------------------------------------------------------------------

INVALID_BODIES: list[tuple[object, str]] = [
    (None, "INVALID_BODY"),
    ("", "INVALID_BODY"),
    ("not JSON", "INVALID_BODY"),
    ("[]", "INVALID_BODY"),
    ('"text"', "INVALID_BODY"),
    ("null", "INVALID_BODY"),
    ("12", "INVALID_BODY"),
    ("9" * 5000, "INVALID_BODY"),  # more digits than Python turns into a number
    ("[" * 100_000, "INVALID_BODY"),
    ('{"a":' * 100_000, "INVALID_BODY"),
    ("\x00", "INVALID_BODY"),
    ({}, "INVALID_FILE_NAME"),
    (GOOD | {"fileName": ""}, "INVALID_FILE_NAME"),
    (GOOD | {"fileName": None}, "INVALID_FILE_NAME"),
    (GOOD | {"fileName": 5}, "INVALID_FILE_NAME"),
    (GOOD | {"fileName": ["tom.jpg"]}, "INVALID_FILE_NAME"),
    (GOOD | {"fileName": "x" * 256}, "INVALID_FILE_NAME"),
    ({"fileName": "tom.jpg"}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"contentType": "image/gif"}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"contentType": "IMAGE/JPEG"}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"contentType": "image/jpeg; charset=x"}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"contentType": ["image/jpeg"]}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"contentType": {}}, "UNSUPPORTED_CONTENT_TYPE"),
    (GOOD | {"image": "not base64!"}, "INVALID_IMAGE"),
    (GOOD | {"image": "abc"}, "INVALID_IMAGE"),
    (GOOD | {"image": "YWJj\n"}, "INVALID_IMAGE"),
    (GOOD | {"image": "-_-_"}, "INVALID_IMAGE"),
    (GOOD | {"image": "ünï="}, "INVALID_IMAGE"),
    (GOOD | {"image": "data:image/png;base64,YWJj"}, "INVALID_IMAGE"),
    (GOOD | {"image": None}, "INVALID_IMAGE"),
    (GOOD | {"image": 5}, "INVALID_IMAGE"),
    (GOOD | {"image": ["YWJj"]}, "INVALID_IMAGE"),
    (GOOD | {"image": {}}, "INVALID_IMAGE"),
    (GOOD | {"image": ""}, "EMPTY"),
]


@pytest.mark.parametrize(("body", "code"), INVALID_BODIES, ids=range(len(INVALID_BODIES)))
def test_a_bad_request_is_answered_with_what_to_change_and_leaves_no_trace(
    aws: Cloud, context: LambdaContext, body: object, code: str
) -> None:
    assert refused(lambda_handler(request("POST", "/upload", body=body), context)) == (400, code)
    assert aws.keys() == []
    assert listing.list_images(TABLE, listing.Query(), 1).records == []


def test_takes_up_to_4_mb_with_the_request(aws: Cloud, context: LambdaContext) -> None:
    assert MAX_INLINE_BYTES == 4 * 1024 * 1024
    assert lambda_handler(upload(bytes(MAX_INLINE_BYTES)), context)["statusCode"] == 202
    assert refused(lambda_handler(upload(bytes(MAX_INLINE_BYTES + 1)), context)) == (413, "TOO_LARGE")
    assert len(aws.keys()) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ThrottlingException", (503, "BUSY")),
        ("InternalServerError", (503, "UNAVAILABLE")),
        ("AccessDeniedException", (500, "INTERNAL_ERROR")),
    ],
)
def test_an_error_of_the_service_is_not_blamed_on_the_caller(
    aws: Cloud, context: LambdaContext, code: str, expected: tuple[int, str]
) -> None:
    with refusal(client("dynamodb"), "PutItem", code):
        answer = lambda_handler(upload(b"x"), context)
    assert refused(answer) == expected
    assert code not in answer["body"]
    assert aws.keys() == []


# --- File names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("tom.jpg", "tom.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\tom.jpg", "tom.jpg"),
        ("photos/tom.jpg/", "tom.jpg"),
        ("/", "image"),
        (".", "image"),
        ("..", "image"),
        ("a/..", "image"),
        ("....", "image"),
        ("   ", "image"),
        ("\x00\x1b[31m", "[31m"),
        ("tom\r\nSet-Cookie: x.jpg", "tomSet-Cookie: x.jpg"),
        ("gpj.\u202egnp", "gpj.gnp"),
        ("\u200b\u200d\ufeff", "image"),
        ("a\u2028b\u2029c", "abc"),
        ("\ud800.jpg", ".jpg"),
        ("ünï \U0001f408.jpg", "ünï \U0001f408.jpg"),
        ("<script>alert(1)</script>", "script>"),
        ("x" * 255, "x" * 255),
    ],
)
def test_a_file_name_is_shown_without_its_tricks(sent: str, shown: str) -> None:
    assert clean_name(sent) == shown


@given(st.text(st.characters() | st.sampled_from("/\\. \x00\u202e\u2028\ud800"), max_size=FILE_NAME_LENGTH))
def test_a_clean_name_is_one_visible_part_of_a_path(file_name: str) -> None:
    clean = clean_name(file_name)
    assert 1 <= len(clean) <= max(len(file_name), len("image"))
    assert not set(clean) & {"/", "\\"}
    assert clean.strip(".") != ""
    assert clean == clean.strip()
    assert not {unicodedata.category(character) for character in clean} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert clean_name(clean) == clean
    clean.encode()


@pytest.mark.parametrize("name", ["../../cats/x.jpg", "\x00", "\ud800", "\u202egpj.tac", "'; DROP TABLE", "${7*7}"])
def test_a_hostile_file_name_touches_neither_key_nor_id(aws: Cloud, context: LambdaContext, name: str) -> None:
    body = body_of(lambda_handler(upload(b"x", file_name=name), context))
    assert aws.keys() == [f"input/{body['imageId']}.jpg"]
    record = detection_logs.find(TABLE, body["imageId"])
    assert record is not None
    assert record["OriginalFilename"] == clean_name(name)
