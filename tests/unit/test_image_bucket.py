"""Reading, filing and handing out pictures in S3: nothing is lost, whatever happens between two calls."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from pet_detector.aws import image_bucket, image_versions
from pet_detector.aws.clients import client
from pet_detector.aws.image_versions import StoredVersion
from pet_detector.rules import image_ids
from pet_detector.rules.errors import (
    AccessDeniedError,
    ImageChangedError,
    ImageNotFoundError,
    PetDetectorError,
    ServiceError,
    ThrottledError,
)
from pet_detector.rules.image_format import MAX_BYTES
from tests.support.moto_world import BUCKET, CORRELATION, IMAGE_ID, KEY, Cloud, breakdown, refusal

FILED = f"cats/{IMAGE_ID}.jpg"
TIMEOUT = ReadTimeoutError(endpoint_url="https://s3")


def versions(aws: Cloud, key: str) -> list[str]:
    """The version ids of a key, newest first."""
    found = aws.s3.list_object_versions(Bucket=BUCKET, Prefix=key)
    return [version["VersionId"] for version in found.get("Versions", [])]


# --- Ids and places ---------------------------------------------------------------------------------------------------


def test_the_id_is_in_a_key_that_the_api_made(aws: Cloud) -> None:
    for version in ("v1", "", None):
        assert image_ids.image_id_of(KEY, version) == IMAGE_ID


@pytest.mark.parametrize(
    "key",
    [
        "input/tom.jpg",
        f"input/{IMAGE_ID}",
        f"input/{IMAGE_ID}.JPG",
        f"input/{IMAGE_ID}.jpg/x",
        f"input/{IMAGE_ID}.jpg\n",
        f"input/{IMAGE_ID.upper()}.jpg",
        f"input/more/{IMAGE_ID}.jpg",
        f"cats/{IMAGE_ID}.jpg",
        "input/ünï \U0001f408.jpg",
    ],
)
def test_the_id_of_any_other_key_is_a_hash_of_key_and_version(key: str) -> None:
    expected = hashlib.sha256(f"{key}@v1".encode()).hexdigest()[:32]
    assert image_ids.image_id_of(key, "v1") == image_ids.hashed_image_id(key, "v1") == expected
    assert image_ids.image_id_of(key, "v2") != expected
    for version in (None, ""):
        with pytest.raises(ValueError, match="needs a version"):
            image_ids.image_id_of(key, version)


def test_lists_every_version_under_input_and_no_mark_of_deletion(aws: Cloud) -> None:
    expected = {(KEY, aws.put(KEY, b"x")[0]), (KEY, aws.put(KEY, b"y")[0]), ("input/a b", aws.put("input/a b", b"")[0])}
    aws.put("inputs/x.jpg", b"x")
    aws.put(FILED, b"x")
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY)
    found = list(image_versions.input_versions(BUCKET))
    assert {(version.key, version.version_id) for version in found} == expected
    assert len(found) == len(expected)
    assert all(abs(datetime.now(UTC) - version.modified) < timedelta(minutes=1) for version in found)


def test_deletes_versions_and_no_others(aws: Cloud) -> None:
    first, second, third = (aws.put(KEY, data)[0] for data in (b"x", b"y", b"z"))
    image_versions.delete_versions(BUCKET, [StoredVersion(KEY, version) for version in (first, third, "gone")])
    assert [version.version_id for version in image_versions.input_versions(BUCKET)] == [second]
    assert versions(aws, KEY) == [second], "no delete marker hides it"


@pytest.mark.parametrize(("code", "error"), [("AccessDenied", AccessDeniedError), ("InternalError", ServiceError)])
def test_versions_that_s3_does_not_delete_are_an_error(
    monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception]
) -> None:
    answer = {"Errors": [{"Key": KEY, "VersionId": "v1", "Code": code, "Message": "secret"}]}
    monkeypatch.setattr(client("s3"), "delete_objects", lambda **_: answer)
    with pytest.raises(error, match=f"s3:DeleteObjects: {code} for 1 of 2 versions"):
        image_versions.delete_versions(BUCKET, [StoredVersion(KEY, "v1"), StoredVersion(KEY, "v2")])


def test_locates_an_image_at_its_source_or_where_it_was_filed(aws: Cloud) -> None:
    version, etag = aws.put(KEY, b"x")
    newer, _ = aws.put(KEY, b"newer")
    assert image_bucket.locate(BUCKET, IMAGE_ID, KEY, version) == (KEY, version)
    assert image_bucket.locate(BUCKET, IMAGE_ID, KEY, image_ids.NEWEST) == (KEY, newer)
    image_bucket.move(BUCKET, KEY, version, etag, FILED)
    assert image_bucket.locate(BUCKET, IMAGE_ID, KEY, version) == (FILED, versions(aws, FILED)[0])
    aws.s3.delete_object(Bucket=BUCKET, Key=FILED)
    assert image_bucket.locate(BUCKET, IMAGE_ID, KEY, version) is None


def test_an_object_version_is_present_until_it_is_deleted(aws: Cloud) -> None:
    assert image_bucket.present_version(BUCKET, KEY) is None
    older, _ = aws.put(KEY, b"x")
    newer, _ = aws.put(KEY, b"y")
    assert image_bucket.present_version(BUCKET, KEY) == newer
    assert image_bucket.present_version(BUCKET, KEY, older) == older
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY, VersionId=older)
    assert image_bucket.present_version(BUCKET, KEY, older) is None
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert image_bucket.present_version(BUCKET, KEY) is None
    assert image_bucket.present_version(BUCKET, KEY, newer) == newer


@pytest.mark.parametrize(
    "place",
    [f"{folder}/{IMAGE_ID}.{extension}" for folder in image_ids.FOLDERS for extension in image_bucket.FILED_EXTENSIONS],
)
def test_locates_an_image_in_every_folder(aws: Cloud, place: str) -> None:
    version, _ = aws.put(place, b"x")
    assert image_bucket.locate(BUCKET, IMAGE_ID, KEY, image_ids.NEWEST) == (place, version)


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_reads_the_version_that_is_asked_for_else_the_newest(aws: Cloud) -> None:
    old, old_etag = aws.put(KEY, b"old")
    new, new_etag = aws.put(KEY, b"newer")
    hashes = [hashlib.sha256(data).hexdigest() for data in (b"old", b"newer")]
    assert image_bucket.read(BUCKET, KEY, old) == image_bucket.StoredImage(3, old_etag, old, b"old", hashes[0])
    assert image_bucket.read(BUCKET, KEY, None) == image_bucket.StoredImage(5, new_etag, new, b"newer", hashes[1])
    assert image_bucket.read(BUCKET, KEY, "").version_id == new


def test_a_bucket_without_versions_has_the_version_null(aws: Cloud) -> None:
    aws.s3.create_bucket(Bucket="without-versions")
    aws.s3.put_object(Bucket="without-versions", Key=KEY, Body=b"x")
    assert image_bucket.read("without-versions", KEY, None).version_id == "null"


@pytest.mark.parametrize(("size", "is_read"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_reads_up_to_15_mb_and_of_more_only_the_size(aws: Cloud, size: int, is_read: bool) -> None:
    aws.put(KEY, bytes(size))
    stored = image_bucket.read(BUCKET, KEY, None)
    assert (stored.size, stored.data is not None) == (size, is_read)


def test_reads_an_object_only_if_it_is_the_one_that_was_analysed(aws: Cloud) -> None:
    version, etag = aws.put(KEY, b"x")
    assert image_bucket.read(BUCKET, KEY, version, etag).data == b"x"
    with pytest.raises(ImageChangedError):
        image_bucket.read(BUCKET, KEY, version, '"another"')


def test_reading_what_is_not_there_is_no_retry(aws: Cloud) -> None:
    version, _ = aws.put(KEY, b"x")
    for key, wanted in (("input/other.jpg", None), (KEY, "no-such-version")):
        with pytest.raises(ImageNotFoundError):
            image_bucket.read(BUCKET, key, wanted)
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY)
    with pytest.raises(ImageNotFoundError):
        image_bucket.read(BUCKET, KEY, None)
    assert image_bucket.read(BUCKET, KEY, version).data == b"x"


@pytest.mark.parametrize(
    ("etag", "encryption", "is_taken"),
    [
        ('"9dd4e461268c8034f5c8564e155c67a6"', {"ServerSideEncryption": "AES256"}, True),  # the MD5 of x
        ('"9dd4e461268c8034f5c8564e155c67a6"', {}, True),
        ('"00000000000000000000000000000000"', {"ServerSideEncryption": "AES256"}, False),
        ('"00000000000000000000000000000000"', {}, False),
        # These ETags are not an MD5 of the bytes: of a multipart upload, and of objects encrypted with SSE-KMS.
        ('"00000000000000000000000000000000-2"', {"ServerSideEncryption": "AES256"}, True),
        ('"00000000000000000000000000000000"', {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:k"}, True),
        ('"00000000000000000000000000000000"', {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "arn:k"}, True),
    ],
)
def test_bytes_that_were_damaged_in_transit_are_read_again(
    etag: str, encryption: dict[str, str], is_taken: bool
) -> None:
    with Stubber(client("s3")) as stubber:
        body = StreamingBody(io.BytesIO(b"x"), content_length=1)
        answer = {"Body": body, "ContentLength": 1, "ETag": etag, "VersionId": "v"}
        stubber.add_response("get_object", answer | encryption)
        if is_taken:
            assert image_bucket.read(BUCKET, KEY, "v").data == b"x"
        else:
            with pytest.raises(ServiceError, match="damaged"):
                image_bucket.read(BUCKET, KEY, "v")


def test_a_body_that_breaks_off_is_a_failure_of_the_service() -> None:
    with Stubber(client("s3")) as stubber:
        body = StreamingBody(io.BytesIO(b"half"), content_length=8)
        stubber.add_response("get_object", {"Body": body, "ContentLength": 8, "ETag": '"e"', "VersionId": "v"})
        with pytest.raises(ServiceError):
            image_bucket.read(BUCKET, KEY, "v")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [("SlowDown", 503, ThrottledError), ("AccessDenied", 403, AccessDeniedError), ("InternalError", 500, ServiceError)],
)
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("GetObject", lambda version, _: image_bucket.read(BUCKET, KEY, version)),
        ("CopyObject", lambda version, etag: image_bucket.move(BUCKET, KEY, version, etag, FILED)),
        ("GetObject", lambda version, etag: image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=bytes)),
        ("PutObject", lambda version, etag: image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=bytes)),
        ("HeadObject", lambda version, etag: image_bucket.move(BUCKET, KEY, version, etag, FILED)),
        ("DeleteObject", lambda version, etag: image_bucket.move(BUCKET, KEY, version, etag, FILED)),
        ("PutObject", lambda *_: image_bucket.store(BUCKET, "input/new.jpg", b"x", "image/jpeg", CORRELATION)),
        ("ListObjectVersions", lambda *_: list(image_versions.input_versions(BUCKET))),
        ("HeadObject", lambda version, _: image_bucket.locate(BUCKET, IMAGE_ID, KEY, version)),
    ],
    ids=["read", "copy", "read to clean", "file", "verify", "delete", "store", "list", "locate"],
)
def test_every_call_raises_the_domains_errors(
    aws: Cloud,
    operation: str,
    call: Callable[[str, str], object],
    code: str,
    status: int,
    kind: type[PetDetectorError],
) -> None:
    version, etag = aws.put(KEY, b"x")
    with refusal(client("s3"), operation, code, status) as fault, pytest.raises(kind) as found:
        call(version, etag)
    assert fault.happened == 1
    assert type(found.value) is kind
    assert aws.get(KEY) == b"x"


# --- Moving -----------------------------------------------------------------------------------------------------------

# S3 copies a rejected file; a picture is read, cleaned and written. What holds of one holds of the other.
Clean = Callable[[bytes], bytes]
either_way = pytest.mark.parametrize("clean", [None, bytes.upper], ids=["copied", "cleaned"])


def filed(data: bytes, clean: Clean | None) -> bytes:
    """What the filed object has of an object's bytes."""
    return clean(data) if clean else data


@either_way
def test_moves_an_object_and_leaves_nothing_behind(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(KEY, b"x")
    image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert aws.keys() == [FILED]
    assert aws.get(FILED) == filed(b"x", clean)
    assert versions(aws, KEY) == []


@either_way
def test_moves_an_object_that_a_kms_key_encrypts(aws: Cloud, clean: Clean | None) -> None:
    """S3 compares the ETag that it stored, whatever it is made of; the copy gets the bucket's own encryption."""
    version, etag = aws.put(KEY, b"x", ServerSideEncryption="aws:kms")
    stored = image_bucket.read(BUCKET, KEY, version)
    assert (stored.data, stored.etag) == (b"x", etag)
    image_bucket.move(BUCKET, KEY, version, stored.etag, FILED, clean=clean)
    assert aws.keys() == [FILED]
    assert aws.get(FILED) == filed(b"x", clean)


@either_way
@pytest.mark.parametrize("storage_class", ["STANDARD_IA", "GLACIER_IR"])
def test_a_picture_of_a_cold_class_is_read_and_moved_and_is_warm_then(
    aws: Cloud, storage_class: Any, clean: Clean | None
) -> None:
    """A class that must be restored first would be refused: ColdStorageClass offers none."""
    version, etag = aws.put(FILED, b"x", StorageClass=storage_class)
    assert image_bucket.read(BUCKET, FILED, version, etag).data == b"x"
    image_bucket.move(BUCKET, FILED, version, etag, f"dogs/{IMAGE_ID}.jpg", clean=clean)
    assert aws.get(f"dogs/{IMAGE_ID}.jpg") == filed(b"x", clean)
    assert "StorageClass" not in aws.s3.head_object(Bucket=BUCKET, Key=f"dogs/{IMAGE_ID}.jpg")  # STANDARD
    archived, etag = aws.put(FILED, b"x", StorageClass="GLACIER")
    with pytest.raises(PetDetectorError):
        image_bucket.move(BUCKET, FILED, archived, etag, f"others/{IMAGE_ID}.jpg", clean=clean)


@either_way
def test_moving_twice_finds_nothing_left_to_do(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(KEY, b"x")
    for _ in range(3):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert aws.keys() == [FILED]
    assert len(versions(aws, FILED)) == 1


@pytest.mark.parametrize(
    ("operation", "clean"),
    [
        *((operation, None) for operation in ("CopyObject", "HeadObject", "DeleteObject")),
        *((operation, bytes.upper) for operation in ("GetObject", "PutObject", "HeadObject", "DeleteObject")),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_a_crash_at_any_call_loses_nothing_and_the_next_run_finishes(
    aws: Cloud, operation: str, clean: Clean | None, done: bool
) -> None:
    version, etag = aws.put(KEY, b"x")
    with breakdown(client("s3"), operation, TIMEOUT, done=done) as fault, pytest.raises(ServiceError):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert fault.happened == 1
    assert aws.keys(), "lost"
    image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert aws.keys() == [FILED]
    assert aws.get(FILED) == filed(b"x", clean)
    assert versions(aws, KEY) == []


@either_way
def test_deletes_nothing_before_the_copy_is_verified(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(KEY, b"x")
    with refusal(client("s3"), "HeadObject", "404", 404), pytest.raises(ImageNotFoundError):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert versions(aws, KEY) == [version]


@either_way
def test_a_newer_version_under_the_same_key_stays(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(KEY, b"analysed")
    newer, _ = aws.put(KEY, b"newer")
    image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)
    assert aws.get(FILED) == filed(b"analysed", clean)
    assert aws.get(KEY) == b"newer"
    assert versions(aws, KEY) == [newer]


@pytest.mark.parametrize("code", ["PreconditionFailed", "412"])
@either_way
def test_an_object_with_another_etag_is_not_moved(aws: Cloud, code: str, clean: Clean | None) -> None:
    version, _ = aws.put(KEY, b"x")
    operation = "GetObject" if clean else "CopyObject"
    with refusal(client("s3"), operation, code, 412), pytest.raises(ImageChangedError) as found:
        image_bucket.move(BUCKET, KEY, version, '"another"', FILED, clean=clean)
    assert aws.keys() == [KEY]
    assert KEY not in str(found.value)  # Lambda writes the message of an error to its log


def test_an_object_that_changed_or_is_too_large_is_not_cleaned(aws: Cloud) -> None:
    version, _ = aws.put(KEY, b"x")
    with pytest.raises(ImageChangedError):
        image_bucket.move(BUCKET, KEY, version, '"another"', FILED, clean=bytes)
    version, etag = aws.put(KEY, bytes(MAX_BYTES + 1))
    with pytest.raises(ImageChangedError):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=bytes)
    assert aws.keys() == [KEY]


def test_what_cannot_be_cleaned_stays_where_it_is(aws: Cloud) -> None:
    def fail(data: bytes) -> bytes:
        raise ValueError("neither JPEG nor PNG")

    version, etag = aws.put(KEY, b"x")
    with pytest.raises(ValueError, match="neither"):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=fail)
    assert aws.keys() == [KEY]


def test_a_cleaned_object_is_known_by_what_was_uploaded_wherever_it_is_moved(aws: Cloud) -> None:
    """A redrive analyses the filed picture again: its record keeps the size and the hash of the upload."""
    version, etag = aws.put(KEY, b"picture and its metadata")
    uploaded = image_bucket.read(BUCKET, KEY, version)
    image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=lambda _: b"picture")
    for place, then in itertools.pairwise([FILED, f"dogs/{IMAGE_ID}.jpg", f"others/{IMAGE_ID}.jpg"]):
        stored = image_bucket.read(BUCKET, place, None)
        assert stored.data == b"picture"
        assert (stored.size, stored.content_hash) == (uploaded.size, uploaded.content_hash)
        image_bucket.move(BUCKET, place, stored.version_id, stored.etag, then, clean=bytes)
    assert aws.keys() == [f"others/{IMAGE_ID}.jpg"]


def test_an_uploader_cannot_pass_a_picture_off_as_another_one(aws: Cloud) -> None:
    """Labels are stored by the hash: under input/ nobody but the bytes says what it is."""
    aws.put(KEY, b"x", Metadata={"uploaded-bytes": "7", "uploaded-sha256": "0" * 64})
    stored = image_bucket.read(BUCKET, KEY, None)
    assert (stored.size, stored.content_hash) == (1, hashlib.sha256(b"x").hexdigest())


def test_copies_just_the_version_and_the_etag_that_were_analysed(aws: Cloud) -> None:
    sent: list[dict[str, str]] = []
    version, etag = aws.put(KEY, b"x")
    aws.put(KEY, b"newer")
    client("s3").meta.events.register(
        "before-call.s3.CopyObject", lambda params, **_: sent.append(dict(params["headers"]))
    )
    image_bucket.move(BUCKET, KEY, version, etag, FILED)
    (headers,) = sent
    assert headers["x-amz-copy-source"] == f"{BUCKET}/{KEY}?versionId={version}"
    assert headers["x-amz-copy-source-if-match"] == etag


@either_way
def test_an_object_that_is_nowhere_is_not_found(aws: Cloud, clean: Clean | None) -> None:
    with pytest.raises(ImageNotFoundError):
        image_bucket.move(BUCKET, KEY, "5c1d0d6c-0000-4000-8000-000000000000", '"e"', FILED, clean=clean)


@either_way
def test_a_copy_of_another_object_at_the_destination_does_not_pass_for_ours(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(KEY, b"ours")
    other, other_etag = aws.put("input/other.jpg", b"other")
    image_bucket.move(BUCKET, "input/other.jpg", other, other_etag, FILED, clean=clean)
    aws.s3.delete_object(Bucket=BUCKET, Key=KEY, VersionId=version)
    with pytest.raises(ImageNotFoundError, match="made of another object"):
        image_bucket.move(BUCKET, KEY, version, etag, FILED, clean=clean)


@either_way
def test_an_object_that_is_filed_already_stays_where_it_is(aws: Cloud, clean: Clean | None) -> None:
    version, etag = aws.put(FILED, b"x")
    image_bucket.move(BUCKET, FILED, version, etag, FILED, clean=clean)
    assert versions(aws, FILED) == [version]
    aws.s3.delete_object(Bucket=BUCKET, Key=FILED)
    with pytest.raises(ImageNotFoundError):
        image_bucket.move(BUCKET, FILED, version, etag, FILED, clean=clean)


@pytest.mark.parametrize(
    ("extension", "content_type"), [("jpg", "image/jpeg"), ("png", "image/png"), ("bin", "application/octet-stream")]
)
@either_way
def test_the_filed_object_has_our_content_type_and_nothing_of_the_uploaders(
    aws: Cloud, extension: str, content_type: str, clean: Clean | None
) -> None:
    version, etag = aws.put(
        KEY, b"x", ContentType="text/html", Metadata={"evil": "yes"}, Tagging="evil=yes", CacheControl="public"
    )
    place = f"rejected/{IMAGE_ID}.{extension}"
    image_bucket.move(BUCKET, KEY, version, etag, place, clean=clean)
    head = aws.s3.head_object(Bucket=BUCKET, Key=place)
    assert head["ContentType"] == content_type
    uploaded = {"uploaded-bytes": "1", "uploaded-sha256": hashlib.sha256(b"x").hexdigest()} if clean else {}
    assert head["Metadata"] == {"source-etag": etag.strip('"'), "source-version": version} | uploaded
    assert "CacheControl" not in head
    assert aws.s3.get_object_tagging(Bucket=BUCKET, Key=place)["TagSet"] == []


@pytest.mark.parametrize("name", ["a b+c&d=e?.jpg", "../../etc/passwd", "ünï/\U0001f408.jpg", "%2e%2e.jpg", "\n.jpg"])
def test_moves_from_hostile_keys(aws: Cloud, name: str) -> None:
    version, etag = aws.put(f"input/{name}", b"x")
    image_bucket.move(BUCKET, f"input/{name}", version, etag, FILED)
    assert aws.keys() == [FILED]


# --- Storing and handing out ------------------------------------------------------------------------------------------


def test_storing_again_leaves_the_first_object_as_it_is(aws: Cloud) -> None:
    image_bucket.store(BUCKET, KEY, b"first", "image/png", CORRELATION)
    image_bucket.store(BUCKET, KEY, b"second", "image/jpeg", "another")
    assert aws.get(KEY) == b"first"
    assert len(versions(aws, KEY)) == 1
    head = aws.s3.head_object(Bucket=BUCKET, Key=KEY)
    assert (head["ContentType"], head["Metadata"]) == ("image/png", {"correlation-id": CORRELATION})


def test_a_form_takes_one_key_one_type_and_1_byte_to_15_mb_for_five_minutes() -> None:
    before = datetime.now(UTC)
    form = image_bucket.upload_form(BUCKET, KEY, "image/png", CORRELATION)
    assert BUCKET in form["url"]
    assert form["fields"]["key"] == KEY
    assert form["fields"]["Content-Type"] == "image/png"
    assert form["fields"]["x-amz-meta-correlation-id"] == CORRELATION
    assert form["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    for condition in (
        {"bucket": BUCKET},
        {"key": KEY},
        {"Content-Type": "image/png"},
        {"x-amz-meta-correlation-id": CORRELATION},
        ["content-length-range", 1, MAX_BYTES],
    ):
        assert condition in policy["conditions"]
    lives = datetime.fromisoformat(policy["expiration"]) - before
    assert timedelta(seconds=298) < lives < timedelta(seconds=330)


def test_a_link_shows_one_picture_for_five_minutes_as_the_type_that_we_gave_it() -> None:
    link = urlsplit(image_bucket.view_link(BUCKET, f"dogs/{IMAGE_ID}.png"))
    query = parse_qs(link.query)
    assert link.path.endswith(f"/dogs/{IMAGE_ID}.png")
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["300"]
    assert query["response-content-type"] == ["image/png"]
    assert query["response-content-disposition"] == ["inline"]


def test_the_sdk_makes_one_attempt_as_the_state_machine_owns_the_retries(aws: Cloud) -> None:
    aws.put(KEY, b"x")
    with breakdown(client("s3"), "GetObject", TIMEOUT, done=False, times=9) as fault, pytest.raises(ServiceError):
        image_bucket.read(BUCKET, KEY, None)
    assert fault.happened == 1
