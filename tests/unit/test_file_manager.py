"""FileManager: the picture goes to the folder that the Choice decided, under a name of our own."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from file_manager.app import lambda_handler
from pet_detector.rules import image_ids
from pet_detector.rules.errors import ImageNotFoundError
from tests.support.moto_world import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY, Cloud
from tests.support.pictures import chunk, jpeg, png, segment

# Where it was taken, a comment, and what lies behind its end; its pixels are made up.
SECRETS = segment(0xE1, b"Exif\x00\x00II*\x00 SECRET") + segment(0xFE, b"SECRET")
PICTURES = {"jpg": jpeg(before=SECRETS) + b"SECRET", "png": png(between=chunk(b"tEXt", b"SECRET")), "bin": b"SECRET"}


def event(aws: Cloud, key: str = KEY, folder: str = "cats", extension: str = "jpg") -> Any:
    version, etag = aws.put(key, PICTURES[extension])
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


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("folder", [folder for folder in image_ids.FOLDERS if folder != "rejected"])
def test_a_picture_is_filed_without_its_metadata(
    aws: Cloud, context: LambdaContext, folder: str, extension: str
) -> None:
    moved = lambda_handler(event(aws, folder=folder, extension=extension), context)
    assert aws.get(moved["key"]) == (jpeg() if extension == "jpg" else png())


def test_a_rejected_file_stays_as_it_is(aws: Cloud, context: LambdaContext) -> None:
    for extension, data in PICTURES.items():
        moved = lambda_handler(event(aws, folder="rejected", extension=extension), context)
        assert aws.get(moved["key"]) == data


def test_who_must_keep_originals_gets_them_byte_for_byte(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PICTURE_METADATA", "keep")
    moved = lambda_handler(event(aws), context)
    assert aws.get(moved["key"]) == PICTURES["jpg"]


def test_what_is_no_picture_is_never_filed_as_one(aws: Cloud, context: LambdaContext) -> None:
    """The gate lets nothing through that cannot be cleaned; if it did, the picture would not be shown uncleaned."""
    with pytest.raises(ValueError, match="neither JPEG nor PNG"):
        lambda_handler(event(aws, extension="bin"), context)
    assert aws.keys() == [KEY]


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
