"""Amazon S3: reading, filing and handing out pictures. One bucket; its name comes from the caller."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import ABSENCES, CHANGES, code_of, translated
from pet_detector.rules.errors import AccessDeniedError, ImageChangedError, ImageNotFoundError, ServiceError
from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.image_ids import FOLDERS, INPUT_FOLDER, NEWEST
from pet_detector.rules.models import ImageFormat

CORRELATION_FIELD = "x-amz-meta-correlation-id"
UPLOAD_LINK_SECONDS = 300
VIEW_LINK_SECONDS = 300

# By the extension of a stored object; bin is what was rejected, which no browser should try to show.
CONTENT_TYPES = {kind.value: kind.content_type for kind in ImageFormat} | {"bin": "application/octet-stream"}
# Those of filed objects.
FILED_EXTENSIONS = ("jpg", "png", "bin")

# Why S3 can copy an object neither now nor on another attempt: it is archived (also by S3 Intelligent-Tiering, which a
# listing does not show), its sender has the key (SSE-C), or the key in AWS KMS cannot be used.
_UNREADABLE = frozenset(
    [
        "InvalidObjectState",
        "InvalidRequest",
        "KMS.DisabledException",
        "KMS.NotFoundException",
        "KMS.KMSInvalidStateException",
    ]
)

# Metadata of a filed picture: which object it was made of (an ETag alone does not say, as it differs after multipart
# uploads), and what was uploaded, size in bytes and SHA-256, when it is not the same byte for byte; also its
# format, when it was another one.
_SOURCE_ETAG, _SOURCE_VERSION = "source-etag", "source-version"
UPLOADED_BYTES, UPLOADED_HASH, _UPLOADED_FORMAT = "uploaded-bytes", "uploaded-sha256", "uploaded-format"
_CHUNK_BYTES = 1024 * 1024

# The ETag of an object that was stored in one part. Of a multipart upload it ends with the number of parts.
_ETAG_OF_ONE_PART = re.compile(r'"[0-9a-f]{32}"')


def content_hash(bucket: str, key: str, version_id: str) -> str | None:
    """The SHA-256 of the bytes as they were uploaded, in hexadecimal; None when the version is gone."""
    digest = hashlib.sha256()
    with translated("s3:GetObject"):
        try:
            answer = client("s3").get_object(Bucket=bucket, Key=key, VersionId=version_id)
        except ClientError as error:
            if code_of(error) not in ABSENCES:
                raise
            return None
        with closing(answer["Body"]) as body:
            if UPLOADED_HASH in answer["Metadata"]:  # what was filed may be without what the upload had besides pixels
                return answer["Metadata"][UPLOADED_HASH]
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def locate(bucket: str, image_id: str, key: str, version_id: str) -> tuple[str, str] | None:
    """(key, version) of an image that an execution left somewhere: at its source, else filed; None when it is gone.

    `version_id` may be NEWEST.
    """
    places: list[tuple[str, str | None]] = [(key, None if version_id == NEWEST else version_id)]
    places += [(f"{folder}/{image_id}.{extension}", None) for folder in FOLDERS for extension in FILED_EXTENSIONS]
    for place, version in places:
        if found := present_version(bucket, place, version):
            return place, found
    return None


def present_version(bucket: str, key: str, version_id: str | None = None) -> str | None:
    """The version of an object, by default its newest, if it is there."""
    with translated("s3:HeadObject"):
        try:
            return client("s3").head_object(**_version(bucket, key, version_id)).get("VersionId", "null")
        except ClientError as error:
            if code_of(error) not in ABSENCES:
                raise
            return None


@dataclass(frozen=True)
class StoredImage:
    """One version of an object. `data` is None when it has more than MAX_BYTES: it is not read.

    `size` (bytes) and `content_hash` (SHA-256 in hexadecimal, empty without data) are those of the file that was
    uploaded. Those of `data` differ once the picture was converted, or filed without its metadata. `converted_from` is
    the format (an ImageFormat) of the upload, if `data` is the JPEG that was made of it. `source_version`: the version
    of the upload that a filed picture was made of, if it says so.
    """

    size: int
    etag: str
    version_id: str
    data: bytes | None
    content_hash: str
    converted_from: str = ""
    source_version: str = ""


class _Version(TypedDict):
    Bucket: str
    Key: str
    VersionId: NotRequired[str]


def _version(bucket: str, key: str, version_id: str | None) -> _Version:
    return {"Bucket": bucket, "Key": key, "VersionId": version_id} if version_id else {"Bucket": bucket, "Key": key}


class _Condition(TypedDict):
    IfMatch: NotRequired[str]


def read(bucket: str, key: str, version_id: str | None, etag: str | None = None) -> StoredImage:
    """Read one version of an object, by default its newest; with an `etag`, only if it is the object with that one.

    Raises ImageNotFoundError, ImageChangedError, ServiceError for bytes that were damaged in transit, and the errors
    of AWS.
    """
    condition: _Condition = {"IfMatch": etag} if etag else {}
    with translated("s3:GetObject"):
        answer = client("s3").get_object(**_version(bucket, key, version_id), **condition)
        with closing(answer["Body"]) as body:  # its own `with` hands out the raw stream, without checks and errors
            size = answer["ContentLength"]
            data = body.read() if size <= MAX_BYTES else None
    if data is not None and _is_damaged(data, answer["ETag"], answer.get("ServerSideEncryption", "AES256")):
        raise ServiceError("s3:GetObject: the bytes were damaged in transit")
    content_hash = "" if data is None else hashlib.sha256(data).hexdigest()
    # Under input/ an uploader writes the metadata: who could name a hash could take another picture's analysis.
    noted = {} if key.startswith(f"{INPUT_FOLDER}/") else answer.get("Metadata", {})
    if noted.keys() >= {UPLOADED_BYTES, UPLOADED_HASH}:
        size, content_hash = int(noted[UPLOADED_BYTES]), noted[UPLOADED_HASH]
    version = answer.get("VersionId", "null")
    return StoredImage(
        size,
        answer["ETag"],
        version,
        data,
        content_hash,
        noted.get(_UPLOADED_FORMAT, ""),
        noted.get(_SOURCE_VERSION, ""),
    )


def _is_damaged(data: bytes, etag: str, encryption: str) -> bool:
    """Whether these are certainly not the object's bytes: its ETag is an MD5, and not theirs.

    The ETag is the MD5 of an object that was stored in one part and encrypted with SSE-S3. With SSE-KMS it looks the
    same and is not. A picture that was damaged in transit must not be rejected as a broken one; botocore compares only
    checksums that the uploader sent, and a form sends none.
    """
    if encryption != "AES256" or not _ETAG_OF_ONE_PART.fullmatch(etag):
        return False
    return hashlib.md5(data, usedforsecurity=False).hexdigest() != etag.strip('"')


def move(
    bucket: str,
    key: str,
    version_id: str,
    etag: str,
    destination: str,
    *,
    clean: Callable[[bytes], bytes] | None = None,
) -> None:
    """Move one version of an object to the key `destination`: write if unchanged, verify, and only then delete.

    What is written is what `clean` makes of its bytes; without `clean` S3 copies it, byte for byte. Safe to run again
    after any crash: when the source is gone and the destination was made of it, nothing is left to do. The new object
    gets a content type by its extension and none of the uploader's metadata. Raises ImageChangedError when the source
    is not the object with that `etag`, ImageNotFoundError when it is nowhere, and what `clean` raises.
    """
    if key == destination:
        _verify(bucket, destination, None)
        return
    try:
        if clean is None:
            _copy(bucket, key, version_id, etag, destination)
        else:
            _write(bucket, key, version_id, etag, destination, clean)
    except ImageNotFoundError:
        _verify(bucket, destination, version_id)  # an earlier run moved it, or it is lost
        return
    _verify(bucket, destination, version_id)
    delete_version(bucket, key, version_id)  # not the key: a newer upload under the same key stays where it is


def _copy(bucket: str, key: str, version_id: str, etag: str, destination: str) -> None:
    with translated("s3:CopyObject"):
        client("s3").copy_object(
            Bucket=bucket,
            Key=destination,
            CopySource={"Bucket": bucket, "Key": key, "VersionId": version_id},
            CopySourceIfMatch=etag,
            MetadataDirective="REPLACE",
            ContentType=CONTENT_TYPES[destination.rpartition(".")[2]],
            Metadata=_source(version_id, etag),
            TaggingDirective="REPLACE",
        )


def _write(
    bucket: str, key: str, version_id: str, etag: str, destination: str, clean: Callable[[bytes], bytes]
) -> None:
    stored = read(bucket, key, version_id, etag)
    if stored.data is None:  # the gate lets nothing through that is so large
        raise ImageChangedError("The object is too large to be the one that was analysed.")
    uploaded = _uploaded(stored, stored.converted_from)
    with translated("s3:PutObject"):
        client("s3").put_object(
            Bucket=bucket,
            Key=destination,
            Body=clean(stored.data),
            ContentType=CONTENT_TYPES[destination.rpartition(".")[2]],
            Metadata=_source(version_id, etag) | uploaded,
        )


def _uploaded(stored: StoredImage, converted_from: str) -> dict[str, str]:
    noted = {UPLOADED_BYTES: str(stored.size), UPLOADED_HASH: stored.content_hash}
    return noted | ({_UPLOADED_FORMAT: converted_from} if converted_from else {})


def converted_before(bucket: str, key: str, source_version: str) -> str | None:
    """The version of the object at `key`, if it was made of this version of the upload."""
    with translated("s3:HeadObject"):
        try:
            answer = client("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if code_of(error) not in ABSENCES:
                raise
            return None
    is_same = answer["Metadata"].get(_SOURCE_VERSION) == source_version
    return answer.get("VersionId", "null") if is_same else None


def store_converted(bucket: str, key: str, jpeg: bytes, source: StoredImage, format: ImageFormat) -> str:
    """Put the JPEG that was made of an upload of this format -> its version. It says what was uploaded."""
    with translated("s3:PutObject"):
        answer = client("s3").put_object(
            Bucket=bucket,
            Key=key,
            Body=jpeg,
            ContentType=ImageFormat.JPEG.content_type,
            Metadata=_source(source.version_id, source.etag) | _uploaded(source, format.value),
        )
    return answer.get("VersionId", "null")


def delete_version(bucket: str, key: str, version_id: str) -> None:
    """Delete one version for good; one that is gone already is no error."""
    with translated("s3:DeleteObject"):
        client("s3").delete_object(Bucket=bucket, Key=key, VersionId=version_id)


def _source(version_id: str, etag: str) -> dict[str, str]:
    return {_SOURCE_ETAG: etag.strip('"'), _SOURCE_VERSION: version_id}


def _verify(bucket: str, key: str, source_version: str | None) -> None:
    with translated("s3:HeadObject"):
        metadata = client("s3").head_object(Bucket=bucket, Key=key)["Metadata"]
    if source_version is not None and metadata.get(_SOURCE_VERSION) != source_version:
        raise ImageNotFoundError(f"{key} is made of another object, and the source is gone.")


class UploadForm(TypedDict):
    """A presigned POST: send `fields` as a multipart form to `url`, with the picture as last field, named `file`."""

    url: str
    fields: dict[str, str]


def upload_form(bucket: str, key: str, content_type: str, correlation_id: str) -> UploadForm:
    """A form that can put just this key, with just this type, of 1 byte to MAX_BYTES, for UPLOAD_LINK_SECONDS.

    The object's metadata will name the request that asked for the form.
    """
    fields = {"Content-Type": content_type, CORRELATION_FIELD: correlation_id}
    form = client("s3").generate_presigned_post(
        bucket,
        key,
        Fields=fields,
        Conditions=[*({name: value} for name, value in fields.items()), ["content-length-range", 1, MAX_BYTES]],
        ExpiresIn=UPLOAD_LINK_SECONDS,
    )
    return {"url": form["url"], "fields": form["fields"]}


def store(bucket: str, key: str, data: bytes, content_type: str, correlation_id: str) -> None:
    """Put a new object; when the key exists already (the same request, again) leave it as it is."""
    with translated("s3:PutObject"):
        try:
            client("s3").put_object(
                Bucket=bucket,
                Key=key,
                Body=data,
                ContentType=content_type,
                IfNoneMatch="*",
                Metadata={CORRELATION_FIELD.removeprefix("x-amz-meta-"): correlation_id},
            )
        except ClientError as error:
            if code_of(error) not in CHANGES:
                raise


def copy_in(bucket: str, key: str, source_bucket: str, source_key: str, etag: str, correlation_id: str) -> None:
    """Copy an object, if it still has that ETag (without quotes), to a key at which there is none.

    The copy gets a content type by its extension and none of the source's metadata. Raises ImageChangedError when the
    source has changed or the key is taken, ImageNotFoundError when the source is gone, AccessDeniedError when nobody
    can read it as it is.
    """
    with translated("s3:CopyObject"):
        try:
            client("s3").copy_object(
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": source_bucket, "Key": source_key},
                CopySourceIfMatch=f'"{etag}"',
                IfNoneMatch="*",
                MetadataDirective="REPLACE",
                ContentType=CONTENT_TYPES[key.rpartition(".")[2]],
                Metadata={CORRELATION_FIELD.removeprefix("x-amz-meta-"): correlation_id},
                TaggingDirective="REPLACE",
            )
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                raise ImageNotFoundError("The source's bucket does not exist.") from error
            if code_of(error) in _UNREADABLE:
                raise AccessDeniedError(f"s3:CopyObject: {code_of(error)}") from error
            raise


def view_link(bucket: str, key: str) -> str:
    """A link that shows the picture for VIEW_LINK_SECONDS to whoever holds it; never write it to a log."""
    return client("s3").generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": key,
            "ResponseContentType": CONTENT_TYPES[key.rpartition(".")[2]],
            "ResponseContentDisposition": "inline",
            "ResponseCacheControl": "private, no-store",  # else a browser may keep the picture longer than the link
        },
        ExpiresIn=VIEW_LINK_SECONDS,
    )
