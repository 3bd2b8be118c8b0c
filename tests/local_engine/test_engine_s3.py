"""S3: what the application relies on and plain MiniStack 1.5.33 already does; no patch stands behind these."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import requests

MAX_BYTES = 15 * 1024 * 1024


@pytest.fixture
def bucket(engine: Any) -> str:
    """A versioned bucket."""
    name = f"b-{uuid.uuid4().hex}"
    engine.client("s3").create_bucket(Bucket=name)
    engine.client("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def send_form(post: dict[str, Any], body: bytes, **changed: str) -> tuple[int, str]:
    """Send a presigned form as a browser does; return the status and the answer's text."""
    answer = requests.post(post["url"], data={**post["fields"], **changed}, files={"file": ("a", body)}, timeout=30)
    return answer.status_code, answer.text


def presign(engine: Any, bucket: str, seconds: int = 300) -> dict[str, Any]:
    post: dict[str, Any] = engine.client("s3").generate_presigned_post(
        bucket,
        "input/1.jpg",
        Fields={"Content-Type": "image/jpeg"},
        Conditions=[{"Content-Type": "image/jpeg"}, ["content-length-range", 1, MAX_BYTES]],
        ExpiresIn=seconds,
    )
    return post


def test_a_presigned_form_takes_the_file_it_was_made_for(engine: Any, bucket: str) -> None:
    assert send_form(presign(engine, bucket), b"x")[0] == 204
    assert engine.client("s3").head_object(Bucket=bucket, Key="input/1.jpg")["ContentType"] == "image/jpeg"


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "EntityTooSmall"), (bytes(MAX_BYTES + 1), "EntityTooLarge")],
    ids=["empty", "over 15 MB"],
)
def test_a_presigned_form_refuses_a_size_out_of_range(engine: Any, bucket: str, body: bytes, code: str) -> None:
    status, answer = send_form(presign(engine, bucket), body)

    assert status == 400
    assert f"<Code>{code}</Code>" in answer


@pytest.mark.parametrize("changed", [{"key": "input/2.jpg"}, {"Content-Type": "text/html"}], ids=["key", "type"])
def test_a_presigned_form_refuses_another_key_or_type(engine: Any, bucket: str, changed: dict[str, str]) -> None:
    assert send_form(presign(engine, bucket), b"x", **changed)[0] == 403


def test_a_presigned_form_expires(engine: Any, bucket: str) -> None:
    assert send_form(presign(engine, bucket, seconds=-1), b"x")[0] == 403


def test_reads_and_deletes_name_a_version(engine: Any, bucket: str) -> None:
    s3 = engine.client("s3")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")

    old = {"Bucket": bucket, "Key": "k", "VersionId": first["VersionId"]}
    assert s3.get_object(**old, IfMatch=first["ETag"])["Body"].read() == b"1"
    assert s3.head_object(**old)["ETag"] == first["ETag"]
    assert "PreconditionFailed" in engine.refusal(s3.get_object, **old, IfMatch=second["ETag"])
    s3.delete_object(**old)
    assert engine.refusal(s3.head_object, **old) is not None
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_a_copy_is_made_from_the_version_that_was_checked_and_no_other(engine: Any, bucket: str) -> None:
    s3 = engine.client("s3")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    source = {"Bucket": bucket, "Key": "k", "VersionId": first["VersionId"]}
    copy = {"Bucket": bucket, "Key": "cats/k", "CopySource": source}

    assert "PreconditionFailed" in engine.refusal(s3.copy_object, **copy, CopySourceIfMatch=second["ETag"])
    s3.copy_object(**copy, CopySourceIfMatch=first["ETag"])

    assert s3.get_object(Bucket=bucket, Key="cats/k")["Body"].read() == b"1"


def test_a_write_can_insist_on_being_the_first(engine: Any, bucket: str) -> None:
    s3 = engine.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")

    assert "PreconditionFailed" in engine.refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
