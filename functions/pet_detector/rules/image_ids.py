"""An image's ImageID, the object keys that contain it, and the shard of its record."""

from __future__ import annotations

import hashlib
import re

# 32 lower-case hexadecimal digits. Use `fullmatch`.
IMAGE_ID = re.compile(r"[0-9a-f]{32}")

INPUT_FOLDER = "input"
# What lies here waits behind all other uploads (`lanes`).
BACKFILL_FOLDER = f"{INPUT_FOLDER}/backfill"
# Files that are no pictures, and are shown to nobody.
REJECTED_FOLDER = "rejected"
PICTURE_FOLDERS = ("cats", "dogs", "others")
FOLDERS = (*PICTURE_FOLDERS, REJECTED_FOLDER)
# JPEGs that were made of other formats, until they are filed; those of a backfill apart, as under input/.
CONVERTED_FOLDER = "converted"
CONVERTED_BACKFILL_FOLDER = f"{CONVERTED_FOLDER}/backfill"
# What they were made of, if it is kept.
ORIGINALS_FOLDER = "originals"
# SourceVersion of a record whose execution was started by hand, without a version.
NEWEST = "newest"

# Number of values that the partition keys of the indexes are spread over; image_workflow.asl.yaml computes the same.
SHARDS = 4

_KEY_WITH_ID = re.compile(rf"(?:{INPUT_FOLDER}|{BACKFILL_FOLDER})/({IMAGE_ID.pattern})\.[a-z]+")


def image_id_of(key: str, version_id: str | None) -> str:
    """The ImageID of an object version: the one in its key (of the API, of a backfill), else a hash of key and version.

    `image_workflow.asl.yaml` computes the same. Raises ValueError when a version is needed and missing.
    """
    if in_key := image_id_in(key):
        return in_key
    if not version_id:
        raise ValueError("A key without an ImageID needs a version.")
    return hashed_image_id(key, version_id)


def image_id_in(key: str) -> str | None:
    """The ImageID that the key of an upload contains, if the API made the key, or a backfill."""
    match = _KEY_WITH_ID.fullmatch(key)
    return match[1] if match else None


def hashed_image_id(key: str, version_id: str) -> str:
    """The ImageID of an object version whose key contains none."""
    return hashlib.sha256(f"{key}@{version_id}".encode()).hexdigest()[:32]


def converted_key(image_id: str, key: str) -> str:
    """Where the JPEG lies that is made of the upload at `key`: in the folder of its lane (lanes.py)."""
    is_backfill = key.startswith(f"{BACKFILL_FOLDER}/")
    return f"{CONVERTED_BACKFILL_FOLDER if is_backfill else CONVERTED_FOLDER}/{image_id}.jpg"


def key_in(location: str) -> str:
    """The key in a record's S3Location: what was restored names the bucket of before, and its picture lies in ours."""
    return location.split("/", 3)[3]


def shard_of(image_id: str) -> str:
    """The shard of an ImageID ("0" to "3"): its first hex digit modulo SHARDS."""
    return str(int(image_id[0], 16) % SHARDS)
