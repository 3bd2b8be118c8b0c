"""The input of an execution of the image workflow, written and read in one place.

It is an "Object Created" event of Amazon S3, or the same shape written here. The header of image_workflow.asl.yaml says
what each part does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pet_detector.rules.image_ids import IMAGE_ID, NEWEST, image_id_of

# Kinds of executions whose names begin with the kind.
_BY_NAME = ("redrive", "release", "reconcile")


@dataclass(frozen=True)
class ImageRef:
    """The image that an execution is about. `version_id` is NEWEST when the input names no version."""

    image_id: str
    key: str
    version_id: str


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
    """The image that an input names, or None when it names none."""
    try:
        document: dict[str, Any] = json.loads(text or "")
        found = document["detail"]["object"]
        key = found["key"]
        # While the versioning of a new bucket is not yet effective S3 names no version: the object's is null.
        version = found.get("version-id") or ("null" if document.get("source") == "aws.s3" else None)
        image_id = document.get("imageId") or image_id_of(key, version)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    usable = isinstance(key, str) and key and isinstance(version, str | None)
    named = isinstance(image_id, str) and IMAGE_ID.fullmatch(image_id)
    return ImageRef(image_id, key, version or NEWEST) if usable and named else None


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
