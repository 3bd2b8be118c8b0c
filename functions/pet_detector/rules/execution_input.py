"""The input of an execution of the image workflow, or of one that carries out a verdict, written and read in one place.

It is what the rule ImageUploadedRule passes on of an "Object Created" event of Amazon S3, or the same shape written
here. The header of image_workflow.asl.yaml says what each part does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pet_detector.rules.image_ids import (
    CONVERTED_FOLDER,
    FOLDERS,
    IMAGE_ID,
    INPUT_FOLDER,
    NEWEST,
    ORIGINALS_FOLDER,
    hashed_image_id,
    image_id_in,
    image_id_of,
)

# Kinds of executions whose names begin with the kind.
_BY_NAME = ("redrive", "release", "reconcile")


@dataclass(frozen=True)
class ImageRef:
    """The image that an execution is about. `version_id` is NEWEST when the input names no version."""

    image_id: str
    key: str
    version_id: str


@dataclass(frozen=True)
class VerdictRef:
    """The verdict that an execution of the review workflow carries out: the image, and the number of the verdict."""

    image_id: str
    sequence: int


def verdict_of(text: str | None) -> VerdictRef | None:
    """The verdict that an input names, or None when it is no input of the review workflow."""
    try:
        document: dict[str, Any] = json.loads(text or "")
        image_id, sequence = document["imageId"], document["sequence"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_named = isinstance(image_id, str) and IMAGE_ID.fullmatch(image_id) is not None
    is_numbered = isinstance(sequence, int) and not isinstance(sequence, bool)
    return VerdictRef(image_id, sequence) if is_named and is_numbered else None


def text_for(subject: ImageRef, *, received: str | None = None, restart: bool = False, release: bool = False) -> str:
    """An input as JSON. `received` is when the object was stored (RFC 3339), if the workflow does not know it yet.

    `restart` starts a failed or held image again; `release` lets it pass the daily limit.
    """
    document: dict[str, Any] = {
        "detail": {"object": {"key": subject.key, "version-id": subject.version_id}},
        "imageId": subject.image_id,
    }
    document |= {"time": received} if received else {}
    document |= {name: True for name, wanted in (("restart", restart), ("release", release)) if wanted}
    return json.dumps(document)


def subject_of(text: str | None) -> ImageRef | None:
    """The image that an input names, or None when it names none: whatever Claim Upload refuses to claim.

    Else who may start an execution could have another's image marked as failed, by an input that never claims it. (A
    time that is a text, but no time, is the one exception: Claim Upload fails, and the image is named all the same.)
    """
    try:
        document: dict[str, Any] = json.loads(text or "")
        found = document["detail"]["object"]
        key, version = found["key"], found.get("version-id")
        if not (isinstance(key, str) and key and isinstance(version, str | None)):
            return None
        # While the versioning of a new bucket is not yet effective S3 names no version: the object's is null.
        version = version or ("null" if document.get("source") == "aws.s3" else None)
        image_id = document["imageId"] if "imageId" in document else image_id_of(key, version)
        is_named = isinstance(image_id, str) and IMAGE_ID.fullmatch(image_id) is not None
        if not is_named or not isinstance(document.get("time", ""), str):
            return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_filed = key.partition("/")[0] in (*FOLDERS, CONVERTED_FOLDER, ORIGINALS_FOLDER) and "/" in key
    is_upload = key.startswith(f"{INPUT_FOLDER}/")
    if (is_filed and image_id not in key) or (is_upload and not _is_own(image_id, key, version)):
        return None
    return ImageRef(image_id, key, version or NEWEST)


def _is_own(image_id: str, key: str, version: str | None) -> bool:
    """Whether this is the ImageID of an upload: the one in its key, or the hash of key and version."""
    return image_id == image_id_in(key) or (version is not None and image_id == hashed_image_id(key, version))


def kind_of(name: str, text: str | None) -> str:
    """What started an execution, by its name and its input: event, redrive, release, reconcile, restart, manual or
    unreadable.
    """
    try:
        document = json.loads(text or "")
        is_restart, is_event = document.get("restart") is True, document.get("detail-type") == "Object Created"
    except (ValueError, AttributeError):
        return "unreadable"
    for kind in _BY_NAME:
        if name.startswith(f"{kind}-"):
            return kind
    if is_restart:
        return "restart"
    return "event" if is_event else "manual"
