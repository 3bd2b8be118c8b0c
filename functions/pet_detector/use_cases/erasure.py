"""Erases images: every version of their objects, their record, the analysis of their bytes, and parked messages that
name them. Used by ErasureApi and by the operator's command `petdetect erase`.

    1. the ledger        the row says that the erasure has begun                        nothing is deleted before
    2. the record        gets the status `erased`: no index, no reader and no           lost to an execution that claims
                         execution finds the image any more                             the image: refused, nothing done
    3. the bytes         the hash of those whose record does not have it
    4. the analysis      but for one that another image with the same bytes asks for
    5. the objects       all versions, copies and delete markers, in all folders
    6. the review        what people said about it; from step 2 on nothing more is written there
    7. dead letters      those that name the image, its version or its executions
    8. the record        is replaced by a mark without anything of the image
    9. the ledger        the row says how much it was, and that it is done

After a crash anywhere the same erasure is run again, and does what is left: the record keeps what leads to the objects
until they are gone. `replay` runs every erasure again of which something is there, after a restore for example.

The analysis is deleted although another image may have the same bytes: it is a cache, there is no index by hash, and
the worst is one more call of Rekognition, for $0.001, when the same bytes come once more.

The mark (ImageID, status, times) stays as long as a record would. Whatever comes late for the image meets it: a
repeated event, an execution that is continued, a restart, a backfill whose source still has the picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pet_detector.aws import (
    analyses,
    dead_letters,
    detection_logs,
    erased_records,
    erasures,
    image_bucket,
    image_versions,
    image_workflow,
    reviews,
)
from pet_detector.aws.erasures import Source, Stage
from pet_detector.aws.image_bucket import UPLOAD_LINK_SECONDS
from pet_detector.aws.image_versions import StoredVersion
from pet_detector.rules import image_ids
from pet_detector.rules.models import ERASED, Record, Status
from pet_detector.rules.review import Review
from pet_detector.runtime.observability import logger

# After the end of a form: what it has begun to send arrives.
_ARRIVES_SECONDS = 60
# After an image failed: when its execution was stopped, a function of it may still be moving the object. More than the
# Timeout of FileManager (template.yaml) and the time that S3 works on a copy.
SETTLES_SECONDS = 60
# Versions that name nobody: "null" before versioning, and the one of an execution that was started by hand.
_COMMON_VERSIONS = (image_ids.NEWEST, "null")


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that erasing needs. The mark stays for `retention_days`."""

    bucket: str
    table: str
    analyses: str
    reviews: str
    ledger: str
    dead_letter_queues: tuple[str, ...]
    retention_days: int


@dataclass(frozen=True)
class Found:
    """What is there of an image now: its record, the versions of its objects, what people said about it, and why it
    cannot be erased yet.
    """

    image_id: str
    record: Record | None
    versions: list[StoredVersion]
    review: Review | None = None
    refusal: str = ""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to erase: no object, no review, and at most the mark of an erasure."""
        is_forgotten = self.record is None or erased_records.is_mark(self.record)
        return not self.versions and self.review is None and is_forgotten


@dataclass
class Outcome:
    """What became of one image. `is_done` is False when a dead letter may be left that could not be looked at.

    `refusal`: why nothing was done. `objects` are versions and delete markers.
    """

    image_id: str
    refusal: str = ""
    objects: int = 0
    analyses: int = 0
    reviews: int = 0
    messages: int = 0
    is_done: bool = False


@dataclass
class _Erasing:
    outcome: Outcome
    names: set[str] = field(default_factory=set)  # what a message calls the image by


def look(resources: Resources, image_id: str, source: Source) -> Found:
    """What is there of an image. Raises the errors of AWS."""
    record = detection_logs.all_known(resources.table, image_id)
    versions = _versions(resources, image_id, record)
    review = reviews.review(resources.reviews, image_id)
    return Found(image_id, record, versions, review, _refusal(record, source))


def erase(resources: Resources, image_ids_: Sequence[str], source: Source, *, patience: float = 0) -> list[Outcome]:
    """Erase images, together, because the dead letters are looked through once. Some hundred at a time.

    If dead letters are in other hands, it waits for them for so many seconds (`patience`) before it says so. Raises
    the errors of AWS: run again, it does the rest.
    """
    begun = [_begin(resources, image_id, source) for image_id in image_ids_]
    working = [erasing for erasing in begun if not erasing.outcome.refusal]
    if working:
        names = {erasing.outcome.image_id: erasing.names for erasing in working}
        looked = dead_letters.forget(resources.dead_letter_queues, names, patience=patience)
        for erasing in working:
            erasing.outcome.messages = looked.deleted[erasing.outcome.image_id]
            erasing.outcome.is_done = looked.is_whole
            _finish(resources, erasing.outcome)
    return [erasing.outcome for erasing in begun]


def _begin(resources: Resources, image_id: str, source: Source) -> _Erasing:
    """Steps 1 to 6."""
    outcome = Outcome(image_id)
    record = detection_logs.all_known(resources.table, image_id)
    outcome.refusal = _refusal(record, source)
    if outcome.refusal:
        return _Erasing(outcome)
    erasures.begin(resources.ledger, image_id, source)
    is_hidden = record is not None and record.get("ProcessingStatus") == ERASED
    if not is_hidden and not erased_records.hide(resources.table, image_id, record):
        erasures.refuse(resources.ledger, image_id)
        outcome.refusal = "It has changed in this moment: try again."
        return _Erasing(outcome)
    versions = _versions(resources, image_id, record)
    for content_hash in _hashes(resources, record, versions):
        outcome.analyses += analyses.forget(resources.analyses, content_hash, image_id)
    image_versions.delete_versions(resources.bucket, versions)
    outcome.objects = len(versions)
    outcome.reviews = reviews.forget(resources.reviews, image_id)
    return _Erasing(outcome, _names(image_id, record))


def _finish(resources: Resources, outcome: Outcome) -> None:
    """Steps 8 and 9."""
    expires_at = int(time.time()) + resources.retention_days * 24 * 60 * 60
    erased_records.leave_mark(resources.table, outcome.image_id, expires_at)
    erasures.finish(
        resources.ledger,
        outcome.image_id,
        objects=outcome.objects,
        analyses=outcome.analyses,
        reviews=outcome.reviews,
        messages=outcome.messages,
        is_done=outcome.is_done,
    )
    logger.info("Image erased", image_id=outcome.image_id, objects=outcome.objects, messages=outcome.messages)


def _versions(resources: Resources, image_id: str, record: Record | None) -> list[StoredVersion]:
    record = record or {}
    return image_versions.versions_of(resources.bucket, image_id, record.get("SourceKey"), record.get("SourceVersion"))


def _hashes(resources: Resources, record: Record | None, versions: list[StoredVersion]) -> set[str]:
    """The hashes under which the image's bytes may have been analysed: a record has one when it is final."""
    if record and "ContentHash" in record:
        return {record["ContentHash"]}
    found = (
        image_bucket.content_hash(resources.bucket, version.key, version.version_id)
        for version in versions
        if not version.is_marker
    )
    return set(filter(None, found))


def _names(image_id: str, record: Record | None) -> set[str]:
    """What a message may call the image by: its id, its object's version, its executions."""
    record = record or {}
    version = record.get("SourceVersion", "null")
    names = {image_id, *record.get("Executions", set())}
    return names if version in _COMMON_VERSIONS else names | {version}


def _refusal(record: Record | None, source: Source) -> str:
    """Why an image cannot be erased now, in a sentence that says what to do; empty when it can."""
    status = (record or {}).get("ProcessingStatus")
    if record is None or status is None:
        return ""
    if status == Status.PROCESSING:
        return _refusal_of_processing(record, source)
    waits = 0.0
    if "ReviewClaim" in record:  # a verdict on it is being carried out
        waits = _seconds(record.get("ReviewClaimedAt", "")) + detection_logs.REVIEW_CLAIM_SECONDS - time.time()
    elif status == Status.UPLOADING:
        form_ends = _seconds(record.get("CreatedAt", "")) + UPLOAD_LINK_SECONDS + _ARRIVES_SECONDS
        waits = max(form_ends, float(record.get("CopyEnds", 0))) - time.time()
    elif status == Status.FAILED:
        waits = _seconds(record.get("UpdatedAt", "")) + SETTLES_SECONDS - time.time()
    return f"Its picture may still be arriving or moving: try again in {int(waits) + 1} s." if waits > 0 else ""


def _refusal_of_processing(record: Record, source: Source) -> str:
    """An operator may erase what its execution has left behind."""
    if source is Source.API:
        return "It is being processed: try again when it has another status."
    execution = record.get("ExecutionArn", "")
    began = _seconds(detection_logs.claim_counts_from(record))
    if began + detection_logs.CLAIM_SECONDS < time.time() and not (execution and image_workflow.is_running(execution)):
        return ""
    return (
        "It is being processed: try again when it has another status; or stop its execution first, and try again a "
        f"minute later: aws stepfunctions stop-execution --execution-arn {execution}"
    )


def _seconds(text: str) -> float:
    """A record's time in seconds since 1970; 0 when it has none."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp() if text else 0.0


def came_back(resources: Resources) -> Iterator[str]:
    """The ids in the ledger of which something is there, or whose erasure has not come to its end.

    It reads the whole ledger, the records of its images, the name of every object once, and all reviews.
    """
    rows = {row.image_id: row for row in erasures.every(resources.ledger) if row.stage != Stage.REFUSED}
    wanted = {image_id for image_id, row in rows.items() if row.stage != Stage.DONE}
    for batch in _batches(sorted(rows.keys() - wanted)):
        records = detection_logs.read_batch(
            resources.table, batch, "ImageID, ProcessingStatus, ErasedAt", consistent=True
        )
        for item in records:
            if not erased_records.is_mark(detection_logs.deserialized(item)):
                wanted.add(item["ImageID"]["S"])
    for version in image_versions.all_versions(resources.bucket):
        name = version.key.rpartition("/")[2].partition(".")[0]
        wanted |= {name, image_ids.hashed_image_id(version.key, version.version_id)} & rows.keys()
    wanted |= set(reviews.every_image(resources.reviews)) & rows.keys()
    yield from sorted(wanted)


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[first : first + detection_logs.BATCH] for first in range(0, len(ids), detection_logs.BATCH))


def of_uploader(resources: Resources, owner: str) -> Iterable[str]:
    """The ids of all images of an owner."""
    return erased_records.uploaded_by(resources.table, owner)
