"""Images that the local Rekognition reads from S3."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import RunningServer, StubS3

MAX_OBJECT_BYTES = 15_728_640


def names(rekognition: Any, **s3_object: str) -> set[str]:
    return {label["Name"] for label in rekognition.detect_labels(Image={"S3Object": s3_object})["Labels"]}


def refused(rekognition: Any, **s3_object: str) -> Any:
    with pytest.raises(ClientError) as raised:
        rekognition.detect_labels(Image={"S3Object": s3_object})
    return raised.value.response


def test_reads_the_object(rekognition: Any, s3: StubS3, photo: Callable[[str], bytes]) -> None:
    s3.put("photos", "input/a cat +1.jpg", photo("cat_chelsea.jpg"))

    assert "Cat" in names(rekognition, Bucket="photos", Name="input/a cat +1.jpg")


def test_reads_the_version_it_is_asked_for(rekognition: Any, s3: StubS3, photo: Callable[[str], bytes]) -> None:
    s3.put("photos", "pet.jpg", photo("cat_chelsea.jpg"), version="first")
    s3.put("photos", "pet.jpg", photo("dog_gcompris_german_shepherd.jpg"), version="second")

    assert "Cat" in names(rekognition, Bucket="photos", Name="pet.jpg", Version="first")
    assert "Dog" in names(rekognition, Bucket="photos", Name="pet.jpg", Version="second")
    assert "Dog" in names(rekognition, Bucket="photos", Name="pet.jpg")


@pytest.mark.parametrize(
    "s3_object",
    [
        {"Bucket": "photos", "Name": "absent.jpg"},
        {"Bucket": "nowhere", "Name": "there.jpg"},
        {"Bucket": "photos", "Name": "there.jpg", "Version": "never"},
        {"Bucket": "locked", "Name": "there.jpg"},
    ],
    ids=["no key", "no bucket", "no version", "no access"],
)
def test_object_that_cannot_be_had_is_an_invalid_s3_object(
    rekognition: Any, s3: StubS3, photo: Callable[[str], bytes], s3_object: Any
) -> None:
    s3.put("photos", "there.jpg", photo("cat_chelsea.jpg"), version="only")
    s3.denied.add("locked")

    response = refused(rekognition, **s3_object)

    assert response["Error"]["Code"] == "InvalidS3ObjectException"
    assert response["Error"]["Message"].startswith("Unable to get object metadata from S3.")


def test_object_may_have_15_mb(rekognition: Any, s3: StubS3, photo: Callable[[str], bytes]) -> None:
    cat = photo("cat_chelsea.jpg")
    s3.put("photos", "large.jpg", cat + bytes(MAX_OBJECT_BYTES - len(cat)))

    assert "Cat" in names(rekognition, Bucket="photos", Name="large.jpg")


def test_object_over_15_mb_is_too_large(rekognition: Any, s3: StubS3, photo: Callable[[str], bytes]) -> None:
    cat = photo("cat_chelsea.jpg")
    s3.put("photos", "larger.jpg", cat + bytes(MAX_OBJECT_BYTES - len(cat) + 1))

    assert refused(rekognition, Bucket="photos", Name="larger.jpg")["Error"]["Code"] == "ImageTooLargeException"


def test_empty_object_has_an_invalid_format(rekognition: Any, s3: StubS3) -> None:
    s3.put("photos", "empty.jpg", b"")

    assert refused(rekognition, Bucket="photos", Name="empty.jpg")["Error"]["Code"] == "InvalidImageFormatException"


def test_silent_s3_is_an_internal_error_that_callers_retry(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        server = start_server("--s3-endpoint", f"http://127.0.0.1:{closed.getsockname()[1]}")

        response = refused(connect(server), Bucket="photos", Name="cat.jpg")

    assert response["Error"]["Code"] == "InternalServerError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 500


def test_without_an_s3_endpoint_no_object_can_be_had(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any]
) -> None:
    server = start_server()

    response = refused(connect(server), Bucket="photos", Name="cat.jpg")

    assert response["Error"]["Code"] == "InvalidS3ObjectException"
    assert "started without --s3-endpoint" in server.log.read_text()
