"""FileManager: the picture goes to the folder that the Choice decided, under a name of our own."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from file_manager.app import lambda_handler
from pet_detector.rules.errors import ImageNotFoundError

from .cloud import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY, Cloud


def event(aws: Cloud, key: str = KEY, folder: str = "cats", extension: str = "jpg") -> Any:
    version, etag = aws.put(key, b"x")
    return {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "key": key,
        "versionId": version,
        "etag": etag,
        "folder": folder,
        "extension": extension,
    }


@pytest.mark.parametrize(
    ("folder", "extension"), [("cats", "jpg"), ("dogs", "png"), ("others", "jpg"), ("rejected", "bin")]
)
def test_files_the_picture_under_its_id(aws: Cloud, context: LambdaContext, folder: str, extension: str) -> None:
    place = f"{folder}/{IMAGE_ID}.{extension}"
    moved = lambda_handler(event(aws, folder=folder, extension=extension), context)
    assert moved == {"key": place, "s3Location": f"s3://{BUCKET}/{place}"}
    assert aws.keys() == [place]


def test_the_uploaders_name_is_no_part_of_the_new_one(aws: Cloud, context: LambdaContext) -> None:
    lambda_handler(event(aws, key="input/../../dogs/Tom's cat.exe"), context)
    assert aws.keys() == [f"cats/{IMAGE_ID}.jpg"]


def test_running_again_gives_the_same_answer(aws: Cloud, context: LambdaContext) -> None:
    sent = event(aws)
    assert lambda_handler(sent, context) == lambda_handler(sent, context)


def test_a_picture_that_is_nowhere_fails_the_state(aws: Cloud, context: LambdaContext) -> None:
    sent = event(aws)
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY, VersionId=sent["versionId"])
    with pytest.raises(ImageNotFoundError):
        lambda_handler(sent, context)
