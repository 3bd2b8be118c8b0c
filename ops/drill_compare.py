"""What a drill compares: a restored copy with the original, and records with their objects by hash. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pet_detector.rules import image_ids
from pet_detector.rules.models import ERASED, Status

# Files that are no pictures are kept for so many days: ExpireRejected in template.yaml.
REJECTED_DAYS = 30

_FINAL = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.REJECTED)


@dataclass(frozen=True)
class Row:
    """An item of a table, as far as it is compared. `digest` is of all its attributes; empty texts: it has none."""

    digest: str
    status: str = ""
    key: str = ""  # at which its object lies, or lay before the workflow moved it
    content_hash: str = ""
    updated_at: str = ""  # its newest fact (RFC 3339 UTC)
    filed_at: str = ""
    is_dismissed: bool = False


@dataclass(frozen=True)
class Stored:
    """A restored object version, with the id and the time that it has in the original.

    `content_hash` is of what was uploaded (SHA-256, hexadecimal): noted in the object, if what is filed differs.
    `copied_as` is its version in the copy. `is_whole`: the copy has the size and, where they can be compared, the ETag
    of the original.
    """

    key: str
    version_id: str
    modified: datetime
    content_hash: str
    copied_as: str = ""
    is_whole: bool = True

    @property
    def folder(self) -> str:
        """The first part of its key."""
        return self.key.partition("/")[0]

    @property
    def image_id(self) -> str:
        """The image that it is, or belongs to."""
        if self.folder == image_ids.INPUT_FOLDER:
            return image_ids.image_id_of(self.key, self.version_id)
        return self.key.rpartition("/")[2].partition(".")[0]


@dataclass(frozen=True)
class Changes:
    """What has happened to the original since the moment that was restored: keys, in order."""

    removed: list[str]
    changed: list[str]
    added: list[str]

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.removed) + len(self.changed) + len(self.added)


def changes(restored: Mapping[str, str], original: Mapping[str, str]) -> Changes:
    """Compare what was restored with what is there now: by key, each with what tells its content."""
    both = restored.keys() & original.keys()
    return Changes(
        sorted(restored.keys() - original.keys()),
        sorted(key for key in both if restored[key] != original[key]),
        sorted(original.keys() - restored.keys()),
    )


@dataclass
class Agreement:
    """How records and objects of the copy fit together: ids of images, and keys of objects, that do not."""

    agree: int = 0  # records whose object is there, with their hash
    without_hash: int = 0  # records whose object is there, and that name no hash
    expired: int = 0  # records whose object the bucket's lifecycle has deleted by now, as it should
    missing: list[str] = field(default_factory=list)  # records whose object is not there
    other_bytes: list[str] = field(default_factory=list)  # records whose object has another hash
    unrecorded: list[str] = field(default_factory=list)  # filed objects that no record names
    not_started: list[str] = field(default_factory=list)  # uploads under input/ without a record, or of an erased image
    damaged: list[str] = field(default_factory=list)  # copies that are not what was copied

    @property
    def differences(self) -> int:
        """What does not fit. An upload without a record is the Reconciler's to start, and counts too."""
        lists = (self.missing, self.other_bytes, self.unrecorded, self.not_started, self.damaged)
        return sum(map(len, lists))


def agreement(rows: Mapping[str, Row], objects: Iterable[Stored], now: datetime, image_days: int) -> Agreement:
    """Compare every record with its object, and the other way round. `rows` are those of images, by ImageID.

    `image_days` is ImageRetentionDays: what is older is not missed.
    """
    found = Agreement()
    by_key: dict[str, Stored] = {}
    images: set[str] = set()
    for one in objects:
        by_key[one.key] = one  # of several versions the newest comes last
        images.add(one.image_id)
        if not one.is_whole:
            found.damaged.append(one.key)
        _judge_object(found, rows, one)
    for image_id, row in sorted(rows.items()):
        _judge_record(found, image_id, row, by_key, images, now, image_days)
    for keys in (found.unrecorded, found.not_started, found.damaged):
        keys.sort()
    return found


def _judge_object(found: Agreement, rows: Mapping[str, Row], one: Stored) -> None:
    row = rows.get(one.image_id)
    if one.folder == image_ids.INPUT_FOLDER:
        if row is None or row.status == ERASED:
            found.not_started.append(one.key)
    elif one.folder in (*image_ids.FOLDERS, image_ids.ORIGINALS_FOLDER):
        is_original = one.folder == image_ids.ORIGINALS_FOLDER
        # What an execution had moved before the record was final belongs to it, too.
        is_named = row is not None and (is_original or row.status not in _FINAL or row.key == one.key)
        if not is_named or (row and row.status == ERASED):
            found.unrecorded.append(one.key)


def _judge_record(
    found: Agreement,
    image_id: str,
    row: Row,
    by_key: Mapping[str, Stored],
    images: set[str],
    now: datetime,
    image_days: int,
) -> None:
    if row.status not in _FINAL:
        waits = row.status in (Status.PROCESSING, Status.HELD, Status.FAILED) and not row.is_dismissed
        if waits and image_id not in images and row.key not in by_key:
            found.missing.append(image_id)
        return
    stored = by_key.get(row.key)
    if stored is None:
        if _has_expired(row, now, image_days):
            found.expired += 1
        else:
            found.missing.append(image_id)
    elif not row.content_hash:
        found.without_hash += 1
    elif stored.content_hash == row.content_hash:
        found.agree += 1
    else:
        found.other_bytes.append(image_id)


def _has_expired(row: Row, now: datetime, image_days: int) -> bool:
    """Whether the lifecycle may have deleted its object. S3 does it at the end of the day."""
    days = min(REJECTED_DAYS, image_days) if row.status == Status.REJECTED else image_days
    try:
        return datetime.fromisoformat(row.filed_at) + timedelta(days=days) <= now
    except (ValueError, TypeError):
        return False


def row_of(item: Mapping[str, Any]) -> Row:
    """An item of DetectionLogs or Reviews, in DynamoDB's notation. The marks of an erased image are all alike."""
    status = item.get("ProcessingStatus", {}).get("S", "")
    if status == ERASED:
        return Row(ERASED, ERASED)
    location = item.get("S3Location", {}).get("S", "").removeprefix("s3://").partition("/")[2]
    return Row(
        digest(item),
        status,
        location or item.get("SourceKey", {}).get("S", ""),
        item.get("ContentHash", {}).get("S", ""),
        item.get("UpdatedAt", item.get("At", {})).get("S", ""),  # a verdict says when it was given
        item.get("Timestamp", {}).get("S", ""),
        item.get("StatusShard", {}).get("S", "").startswith("dismissed#"),
    )


def digest(item: Mapping[str, Any]) -> str:
    """Of all attributes: a set has no order."""
    plain = {
        name: {kind: sorted(inner) if kind in ("SS", "NS") else inner for kind, inner in value.items()}
        for name, value in item.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def newest_fact(rows: Mapping[str, Row]) -> tuple[str, str] | None:
    """(time, key) of the row that changed last; None when no row says when."""
    return max(((row.updated_at, key) for key, row in rows.items() if row.updated_at), default=None)
