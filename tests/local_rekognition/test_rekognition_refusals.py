"""What the local Rekognition refuses, under which of Amazon's names, and where exactly the limits lie."""

from __future__ import annotations

import base64
import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from PIL import Image

from tests.support.pictures import black_png

CAT = (Path(__file__).parents[2] / "photos" / "cat_chelsea.jpg").read_bytes()
MAX_BYTES = 5_242_880
JSON_TARGET = {"X-Amz-Target": "RekognitionService.DetectLabels", "Content-Type": "application/x-amz-json-1.1"}


def refused(rekognition: Any, **request: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        rekognition.detect_labels(**request)
    return raised.value


def code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def post(server: Any, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


# Pictures


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
def test_only_jpeg_and_png_are_images(rekognition, encode, kind):
    error = refused(rekognition, Image={"Bytes": encode(Image.new("RGB", (100, 100)), kind)})

    assert code(error) == "InvalidImageFormatException"
    assert error.response["Error"]["Message"] == "Request has invalid image format"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    "data",
    [b"a text renamed to cat.jpg", CAT[:40], CAT[: len(CAT) // 2], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9"],
    ids=["text", "head of a JPEG", "half a JPEG", "PNG signature", "empty JPEG"],
)
def test_broken_images_have_an_invalid_format(rekognition, data):
    assert code(refused(rekognition, Image={"Bytes": data})) == "InvalidImageFormatException"


def test_half_a_png_has_an_invalid_format(rekognition, encode):
    with Image.open(Path(__file__).parents[2] / "photos" / "cat_chelsea.jpg") as cat:
        png = encode(cat, "PNG")

    assert code(refused(rekognition, Image={"Bytes": png[: len(png) // 2]})) == "InvalidImageFormatException"


@pytest.mark.parametrize("size", [(79, 80), (80, 79), (1, 1)])
def test_image_under_80_pixels_a_side_is_an_invalid_parameter(rekognition, size):
    error = refused(rekognition, Image={"Bytes": black_png(*size)})

    assert code(error) == "InvalidParameterException"
    assert error.response["Error"]["Message"] == "Request has invalid parameters"


@pytest.mark.parametrize("size", [(10_001, 80), (80, 10_001)])
def test_image_over_10000_pixels_a_side_is_too_large(rekognition, size):
    error = refused(rekognition, Image={"Bytes": black_png(*size)})

    assert code(error) == "ImageTooLargeException"
    assert "exceed maximum dimension size of 10000 pixels" in error.response["Error"]["Message"]


@pytest.mark.parametrize("size", [(80, 80), (10_000, 80), (80, 10_000)])
def test_image_at_the_limits_of_its_sides_is_answered(rekognition, size):
    assert "Labels" in rekognition.detect_labels(Image={"Bytes": black_png(*size)})


def test_decompression_bombs_are_refused_from_their_headers(start_server, connect):
    server = start_server()  # of its own: VmHWM is the most a process ever used
    rekognition = connect(server)
    rekognition.detect_labels(Image={"Bytes": CAT})
    before = server.memory_mb("VmHWM")

    for side in (7_100, 9_900, 13_300, 13_400):  # Pillow's own guards begin at 9,460 and 13,378
        error = refused(rekognition, Image={"Bytes": black_png(side, side)})
        assert code(error) == "ImageTooLargeException"

    assert server.memory_mb("VmHWM") < before + 20
    assert server.memory_mb("VmHWM") < 400


# Parameters


def test_image_bytes_may_have_5242880_bytes(rekognition):
    padded = CAT + bytes(MAX_BYTES - len(CAT))

    labels = rekognition.detect_labels(Image={"Bytes": padded})["Labels"]

    assert "Cat" in [label["Name"] for label in labels]


@pytest.mark.parametrize("length", [MAX_BYTES + 1, 9_000_000])
def test_image_bytes_over_5242880_violate_a_constraint(rekognition, length):
    error = refused(rekognition, Image={"Bytes": CAT + bytes(length - len(CAT))})

    assert code(error) == "ValidationException"
    assert "'image.bytes'" in error.response["Error"]["Message"]
    assert "less than or equal to 5242880" in error.response["Error"]["Message"]


def test_image_bytes_may_not_be_empty(rekognition):
    assert code(refused(rekognition, Image={"Bytes": b""})) == "ValidationException"


@pytest.mark.parametrize(
    "request_",
    [
        {"Image": {}},
        {"Image": {"Bytes": CAT, "S3Object": {"Bucket": "photos", "Name": "cat.jpg"}}},
        {"Image": {"S3Object": {"Bucket": "photos"}}},
        {"Image": {"S3Object": {"Name": "cat.jpg"}}},
        {"Image": {"Bytes": CAT}, "Features": ["IMAGE_PROPERTIES"]},
        {"Image": {"Bytes": CAT}, "Features": ["GENERAL_LABELS", "IMAGE_PROPERTIES"]},
        {"Image": {"Bytes": CAT}, "Settings": {"GeneralLabels": {"LabelInclusionFilters": ["Cat"]}}},
    ],
)
def test_parameters_that_do_not_fit_are_invalid(rekognition, request_):
    assert code(refused(rekognition, **request_)) == "InvalidParameterException"


@pytest.mark.parametrize(
    "options",
    [
        {"MinConfidence": -0.1},
        {"MinConfidence": 100.1},
        {"MinConfidence": float("nan")},
        {"MaxLabels": -1},
        {"Features": ["FACES"]},
        {"Image": {"S3Object": {"Bucket": "no", "Name": "cat.jpg"}}},
        {"Image": {"S3Object": {"Bucket": "photos/cats", "Name": "cat.jpg"}}},
        {"Image": {"S3Object": {"Bucket": "photos", "Name": ""}}},
        {"Image": {"S3Object": {"Bucket": "photos", "Name": "n" * 1025}}},
        {"Image": {"S3Object": {"Bucket": "photos", "Name": "cat.jpg", "Version": ""}}},
    ],
    ids=str,
)
def test_parameters_outside_their_bounds_violate_a_constraint(server, options):
    body = {"Image": {"Bytes": base64.b64encode(CAT).decode()}} | options

    status, answer = post(server, json.dumps(body).encode(), JSON_TARGET)

    assert (status, answer["__type"]) == (400, "ValidationException")
    assert answer["Message"].startswith("1 validation error detected: Value '")


@pytest.mark.parametrize(
    "options",
    [
        {"MinConfidence": 0},
        {"MinConfidence": 100},
        {"MaxLabels": 0},
        {"Features": ["GENERAL_LABELS"]},
        {"Features": []},
    ],
    ids=str,
)
def test_parameters_at_their_bounds_are_answered(rekognition, options):
    assert "Labels" in rekognition.detect_labels(Image={"Bytes": CAT}, **options)


def test_request_without_an_image_violates_a_constraint(server):
    assert post(server, b"{}", JSON_TARGET)[1]["__type"] == "ValidationException"


# What no SDK sends


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'{"Image": "cat.jpg"}',
        b'{"Image": {"Bytes": "%%%"}}',
        b'{"Image": {"Bytes": 7}}',
        b'{"Image": {"Bytes": "AAAA"}, "MinConfidence": true}',
        b'{"Image": {"Bytes": "AAAA"}, "MaxLabels": "10"}',
        b'{"Image": {"Bytes": "AAAA"}, "Features": "GENERAL_LABELS"}',
        b'{"Image": {"Bytes": "AAAA"}, "Settings": {"GeneralLabels": ["Cat"]}}',
    ],
)
def test_what_is_not_the_services_json_cannot_be_deserialized(server, body):
    status, answer = post(server, body, JSON_TARGET)

    assert (status, answer["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("length", ["-1", "ten", "999999999999"])
def test_senseless_content_length_is_answered_at_once(server, length):
    status, answer = post(server, b"{}", JSON_TARGET | {"Content-Length": length})

    assert (status, answer["__type"]) == (400, "SerializationException")


def test_other_operations_are_unknown(rekognition):
    with pytest.raises(ClientError) as raised:
        rekognition.detect_faces(Image={"Bytes": CAT})

    assert code(raised.value) == "UnknownOperationException"


def test_request_without_a_target_is_an_unknown_operation(server):
    assert post(server, b"{}", {})[1]["__type"] == "UnknownOperationException"


def test_answer_after_a_refusal_comes_on_the_same_connection(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        for body in (b"not json", b"x" * 9_000_000, b"{}"):
            connection.request("POST", "/", body, JSON_TARGET)
            response = connection.getresponse()
            response.read()
            assert response.status == 400
            assert not response.will_close
    finally:
        connection.close()


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}], ids=str)
def test_a_web_page_from_elsewhere_is_denied(server, headers):
    status, answer = post(server, b"{}", JSON_TARGET | headers)

    assert (status, answer["__type"]) == (403, "AccessDeniedException")
    assert "localhost" in answer["Message"] or "evil.example" in answer["Message"]
