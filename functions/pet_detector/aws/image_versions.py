"""Amazon S3: every version of the image bucket's objects, listed and deleted for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pet_detector.aws import image_bucket
from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.errors import AccessDeniedError, ServiceError
from pet_detector.rules.image_ids import (
    BACKFILL_FOLDER,
    CONVERTED_BACKFILL_FOLDER,
    CONVERTED_FOLDER,
    FOLDERS,
    INPUT_FOLDER,
    NEWEST,
    ORIGINALS_FOLDER,
    image_id_in,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        ListObjectVersionsOutputTypeDef,
        ListObjectVersionsRequestTypeDef,
        ObjectIdentifierTypeDef,
    )

# Of one key that contains an ImageID, as many versions are listed.
VERSIONS_A_KEY = 1000
# The most that DeleteObjects takes.
_DELETED_AT_ONCE = 1000
# Where objects lie whose key the ImageID makes.
_FOLDERS_OF_AN_IMAGE = (
    INPUT_FOLDER,
    BACKFILL_FOLDER,
    CONVERTED_FOLDER,
    CONVERTED_BACKFILL_FOLDER,
    ORIGINALS_FOLDER,
    *FOLDERS,
)


@dataclass(frozen=True)
class InputVersion:
    """A version of an object under input/, and when it was written."""

    key: str
    version_id: str
    modified: datetime


def input_versions(bucket: str, after: str = "") -> Iterator[InputVersion]:
    """Object versions under input/ whose key comes after `after`, without delete markers; by key, newest first.

    Of a key that contains an ImageID only the newest VERSIONS_A_KEY: an upload form works any number of times, and
    must not keep anyone from what lies behind its key.
    """
    asked: ListObjectVersionsRequestTypeDef = {"Bucket": bucket, "Prefix": f"{INPUT_FOLDER}/"}
    if after:
        asked["KeyMarker"] = after
    key, number = "", 0
    while True:
        with translated("s3:ListObjectVersions"):
            page = client("s3").list_object_versions(**asked)
        for version in page.get("Versions", []):
            number = number + 1 if version["Key"] == key else 1
            key = version["Key"]
            if number <= VERSIONS_A_KEY or not image_id_in(key):
                yield InputVersion(key, version["VersionId"], version["LastModified"])
        if not page["IsTruncated"]:
            return
        if number >= VERSIONS_A_KEY and page["NextKeyMarker"] == key and image_id_in(key):
            # To the next key. The blank: not everything that speaks like S3 leaves out the key of the marker itself.
            asked["KeyMarker"] = f"{key} "
            asked.pop("VersionIdMarker", None)
        else:
            asked["KeyMarker"], asked["VersionIdMarker"] = page["NextKeyMarker"], page["NextVersionIdMarker"]


@dataclass(frozen=True)
class StoredVersion:
    """A version of an object of an image; a delete marker has no bytes."""

    key: str
    version_id: str
    is_marker: bool = False


@dataclass(frozen=True)
class FiledVersion(StoredVersion):
    """A version of a filed picture; `is_newest` is what a reader of its key gets."""

    is_newest: bool = False


def filed_versions(bucket: str, key: str) -> list[FiledVersion]:
    """Every version of a picture at this key, without delete markers."""
    return [
        FiledVersion(key, entry["VersionId"], is_newest=entry["IsLatest"])
        for page in _version_pages(bucket, key)
        for entry in page.get("Versions", [])
        if entry["Key"] == key
    ]


def versions_of(bucket: str, image_id: str, key: str | None, version_id: str | None) -> list[StoredVersion]:
    """Every version, copy and delete marker of an image's objects.

    They are all whose key the ImageID makes, in any folder, and the image's own version (`version_id`) at `key`, where
    its uploader may have put it: other versions there are other images.
    """
    prefixes = tuple(f"{folder}/{image_id}." for folder in _FOLDERS_OF_AN_IMAGE)
    found = {
        StoredVersion(entry["Key"], entry["VersionId"], is_marker)
        for prefix in prefixes
        for page in _version_pages(bucket, prefix)
        for is_marker, entries in ((False, page.get("Versions", [])), (True, page.get("DeleteMarkers", [])))
        for entry in entries
    }
    # At a key of the image's own everything is listed already.
    own = None if not key or key.startswith(prefixes) or version_id == NEWEST else version_id
    if key and own and image_bucket.present_version(bucket, key, own):
        found.add(StoredVersion(key, own))
    return sorted(found, key=lambda version: (version.key, version.version_id))


def _version_pages(bucket: str, prefix: str) -> Iterator[ListObjectVersionsOutputTypeDef]:
    with translated("s3:ListObjectVersions"):
        yield from client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)


def all_versions(bucket: str) -> Iterator[StoredVersion]:
    """Every object version of the bucket, without delete markers."""
    for page in _version_pages(bucket, ""):
        yield from (StoredVersion(entry["Key"], entry["VersionId"]) for entry in page.get("Versions", []))


def delete_versions(bucket: str, versions: Sequence[StoredVersion]) -> None:
    """Delete them for good, a thousand at a time. Those that are gone already are no error.

    Raises AccessDeniedError or ServiceError when S3 does not delete one of them.
    """
    for first in range(0, len(versions), _DELETED_AT_ONCE):
        objects: list[ObjectIdentifierTypeDef] = [
            {"Key": version.key, "VersionId": version.version_id}
            for version in versions[first : first + _DELETED_AT_ONCE]
        ]
        with translated("s3:DeleteObjects"):
            answer = client("s3").delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors", []):
            code = errors[0].get("Code", "unknown")
            refused = AccessDeniedError if code == "AccessDenied" else ServiceError
            raise refused(f"s3:DeleteObjects: {code} for {len(errors)} of {len(objects)} versions")
