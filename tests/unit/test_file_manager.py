"""FileManager: the picture goes to the folder that the Choice decided, under a name of our own."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from file_manager.app import MOVE_SECONDS, lambda_handler
from pet_detector.aws import image_bucket
from pet_detector.aws.clients import client
from pet_detector.rules import image_ids
from pet_detector.rules.errors import AccessDeniedError, ClaimExpiredError, ImageNotFoundError, ServiceError
from pet_detector.rules.models import ImageFormat
from tests.support.moto_world import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY, Cloud, breakdown, refusal
from tests.support.pictures import chunk, jpeg, png, segment
from tests.support.stories import LOST

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
    assert moved == {"key": place, "s3Location": f"s3://{BUCKET}/{place}", "originalLocation": ""}
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


# --- What was converted -----------------------------------------------------------------------------------------------

HEIC = f"input/{IMAGE_ID}.heic"
KEPT = f"originals/{IMAGE_ID}.heic"


def converted_event(aws: Cloud) -> Any:
    """The JPEG of a HEIC is to be filed."""
    version, etag = aws.put(HEIC, b"HEIC", Metadata={"name": "of the sender's"})
    source = image_bucket.read(BUCKET, HEIC, version)
    place = image_ids.converted_key(IMAGE_ID, HEIC)
    image_bucket.store_converted(BUCKET, place, jpeg(), source, ImageFormat.HEIC)
    stored = image_bucket.read(BUCKET, place, None)
    sent = event(aws) | {"key": place, "versionId": stored.version_id, "etag": stored.etag}
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY)
    return sent | {"imageFormat": "heic", "original": {"key": HEIC, "versionId": version, "etag": etag}}


@pytest.mark.parametrize("pictures_keep_metadata", ["strip", "keep"])
@pytest.mark.parametrize("keeps", [False, True])
def test_the_original_goes_or_is_kept_when_its_jpeg_is_filed(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch, keeps: bool, pictures_keep_metadata: str
) -> None:
    monkeypatch.setenv("KEEP_ORIGINALS", str(keeps).lower())
    monkeypatch.setenv("PICTURE_METADATA", pictures_keep_metadata)
    sent = converted_event(aws)
    moved = lambda_handler(sent, context)
    filed = f"cats/{IMAGE_ID}.jpg"
    location = f"s3://{BUCKET}/{KEPT}" if keeps else ""
    assert moved == {"key": filed, "s3Location": f"s3://{BUCKET}/{filed}", "originalLocation": location}
    assert aws.keys() == [filed, *[KEPT] * keeps]
    assert lambda_handler(sent, context) == moved  # again
    # A restart from the filed picture knows what was uploaded, and where it is kept.
    stored = image_bucket.read(BUCKET, filed, None)
    assert (stored.size, stored.content_hash) == (4, hashlib.sha256(b"HEIC").hexdigest())
    assert stored.converted_from == "heic"
    again = sent | {"key": filed, "versionId": stored.version_id, "etag": stored.etag, "original": {}}
    assert lambda_handler(again | {"folder": "dogs"}, context)["originalLocation"] == location
    if keeps:
        kept = aws.s3.get_object(Bucket=BUCKET, Key=KEPT)
        assert (kept["Body"].read(), kept["ContentType"]) == (b"HEIC", "image/heic")
        assert "name" not in kept["Metadata"]


@pytest.mark.parametrize("keeps", [False, True])
def test_the_original_of_a_rejected_picture_is_not_kept_longer_than_its_jpeg(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    """An unsafe one goes after 30 days; originals/ are kept as long as filed pictures."""
    monkeypatch.setenv("KEEP_ORIGINALS", str(keeps).lower())
    moved = lambda_handler(converted_event(aws) | {"folder": "rejected"}, context)
    assert (moved["key"], moved["originalLocation"]) == (f"rejected/{IMAGE_ID}.jpg", "")
    assert aws.keys() == [f"rejected/{IMAGE_ID}.jpg"]


def test_the_original_stays_until_its_jpeg_is_filed(aws: Cloud, context: LambdaContext) -> None:
    sent = converted_event(aws)
    with refusal(client("s3"), "PutObject", "InternalError"), pytest.raises(ServiceError):
        lambda_handler(sent, context)
    assert image_bucket.present_version(BUCKET, HEIC)
    with refusal(client("s3"), "DeleteObject", "InternalError"), pytest.raises(ServiceError):
        lambda_handler(sent, context)
    assert image_bucket.present_version(BUCKET, HEIC)
    lambda_handler(sent, context)
    assert aws.keys() == [f"cats/{IMAGE_ID}.jpg"]


def test_what_could_not_be_converted_is_moved_as_it_is(aws: Cloud, context: LambdaContext) -> None:
    sent = event(aws, HEIC, folder="rejected", extension="bin") | {"imageFormat": "heic", "original": {}}
    assert lambda_handler(sent, context)["originalLocation"] == ""
    assert aws.get(f"rejected/{IMAGE_ID}.bin") == PICTURES["bin"]


# --- For a verdict ----------------------------------------------------------------------------------------------------

NAME = f"{IMAGE_ID}.jpg"
NOTED = {"source-version": "v1", "uploaded-bytes": "7", "uploaded-sha256": "0" * 64}


def verdict(folder: str, *, seconds: float = 600) -> Any:
    """A person chose this folder, and the claim ends in so many seconds."""
    return {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "s3Location": f"s3://{BUCKET}/others/{NAME}",
        "folder": folder,
        "claimEnds": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
    }


def lie(aws: Cloud, *folders: str) -> None:
    """The filed picture lies in these folders."""
    for folder in folders:
        aws.put(f"{folder}/{NAME}", b"picture", ContentType="image/jpeg", Metadata=NOTED)


@pytest.mark.parametrize("folder", image_ids.PICTURE_FOLDERS)
@pytest.mark.parametrize("lies_in", [("others",), ("cats",), ("cats", "others"), ("cats", "dogs", "others")])
def test_a_verdict_moves_the_picture_from_wherever_it_lies(
    aws: Cloud, context: LambdaContext, folder: str, lies_in: tuple[str, ...]
) -> None:
    """Also when earlier runs were stopped in the middle of a move."""
    lie(aws, *lies_in)
    moved = lambda_handler(verdict(folder), context)
    assert moved == {"key": f"{folder}/{NAME}", "s3Location": f"s3://{BUCKET}/{folder}/{NAME}", "originalLocation": ""}
    assert aws.keys() == [f"{folder}/{NAME}"]
    assert lambda_handler(verdict(folder), context) == moved


def test_a_moved_picture_keeps_its_type_and_what_is_noted_of_it(aws: Cloud, context: LambdaContext) -> None:
    lie(aws, "others")
    key = lambda_handler(verdict("dogs"), context)["key"]
    found = aws.s3.head_object(Bucket=BUCKET, Key=key)
    assert (found["ContentType"], found["Metadata"]) == ("image/jpeg", NOTED)


def test_no_older_version_comes_to_light(aws: Cloud, context: LambdaContext) -> None:
    lie(aws, "others", "others")
    lambda_handler(verdict("cats"), context)
    assert aws.s3.list_object_versions(Bucket=BUCKET, Prefix="others/").get("Versions", []) == []


def test_a_picture_in_its_folder_is_not_written(aws: Cloud, context: LambdaContext) -> None:
    lie(aws, "others")
    with refusal(client("s3"), "CopyObject", "AccessDenied") as fault:
        lambda_handler(verdict("others"), context)
    assert fault.happened == 0


def test_a_verdict_on_a_picture_that_is_in_no_folder_says_so(aws: Cloud, context: LambdaContext) -> None:
    with pytest.raises(ImageNotFoundError, match="none of the folders cats, dogs, others"):
        lambda_handler(verdict("cats"), context)


def test_who_comes_when_the_claim_is_nearly_over_moves_nothing(aws: Cloud, context: LambdaContext) -> None:
    lie(aws, "others")
    with pytest.raises(ClaimExpiredError):
        lambda_handler(verdict("cats", seconds=MOVE_SECONDS - 1), context)
    assert aws.keys() == [f"others/{NAME}"]


def test_nothing_is_deleted_before_its_copy_is_seen(aws: Cloud, context: LambdaContext) -> None:
    lie(aws, "others")
    with refusal(client("s3"), "CopyObject", "AccessDenied"), pytest.raises(AccessDeniedError):
        lambda_handler(verdict("cats"), context)
    assert aws.keys() == [f"others/{NAME}"]


@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObjects"])
def test_a_lost_answer_is_no_second_object(aws: Cloud, context: LambdaContext, operation: str) -> None:
    lie(aws, "others")
    with breakdown(client("s3"), operation, LOST, done=True) as fault, pytest.raises(Exception, match=operation):
        lambda_handler(verdict("cats"), context)
    assert fault.happened == 1
    lambda_handler(verdict("cats"), context)
    versions = aws.s3.list_object_versions(Bucket=BUCKET)["Versions"]
    assert [version["Key"] for version in versions] == [f"cats/{NAME}"]
