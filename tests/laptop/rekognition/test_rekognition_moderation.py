"""DetectModerationLabels of the local Rekognition: a stub that says so, and flags only what a test has marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import RunningServer, StubS3

MARKER = b"moderation-stub:[Violence]"


def test_every_picture_is_safe_and_the_answer_says_that_nobody_looked(
    rekognition: Any, photo: Callable[[str], bytes]
) -> None:
    answer = rekognition.detect_moderation_labels(Image={"Bytes": photo("cat_chelsea.jpg")})
    assert answer["ModerationLabels"] == []
    assert answer["ModerationModelVersion"] == "local-stub-that-judges-no-picture"


def test_a_marked_picture_is_unsafe(rekognition: Any, s3: StubS3, photo: Callable[[str], bytes]) -> None:
    s3.put("marked", "cat.jpg", photo("cat_chelsea.jpg") + MARKER, version="only")
    place = {"S3Object": {"Bucket": "marked", "Name": "cat.jpg", "Version": "only"}}
    answer = rekognition.detect_moderation_labels(Image=place, MinConfidence=50.0)
    assert answer["ModerationLabels"] == [
        {"Name": "Violence", "ParentName": "", "Confidence": 99.0, "TaxonomyLevel": 1}
    ]
    assert rekognition.detect_moderation_labels(Image=place, MinConfidence=99.5)["ModerationLabels"] == []
    # The other operation sees a cat.
    assert "Cat" in {label["Name"] for label in rekognition.detect_labels(Image=place)["Labels"]}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Image": {}}, "InvalidParameterException"),
        ({"Image": {"S3Object": {"Bucket": "marked", "Name": "nothing.jpg"}}}, "InvalidS3ObjectException"),
        ({"Image": {"Bytes": b"x"}, "MinConfidence": 101}, "ValidationException"),
    ],
)
def test_it_refuses_what_the_other_operation_refuses(rekognition: Any, request_: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as raised:
        rekognition.detect_moderation_labels(**request_)
    assert raised.value.response["Error"]["Code"] == code


def test_each_operation_has_a_quota_of_its_own(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any], photo: Callable[[str], bytes]
) -> None:
    rekognition = connect(start_server("--calls-per-second", "0.001"))
    picture = {"Bytes": photo("cat_chelsea.jpg")}
    rekognition.detect_moderation_labels(Image=picture)
    rekognition.detect_labels(Image=picture)
    with pytest.raises(ClientError) as raised:
        rekognition.detect_moderation_labels(Image=picture)
    assert raised.value.response["Error"]["Code"] == "ProvisionedThroughputExceededException"
