"""Registers stored pictures as images, each once, and not far ahead of the schedule. Used by RegisterImages and by the
operator's command `petdetect backfill`.

A picture is copied to input/backfill/<ImageID>, and its event starts the workflow like any upload's. Its id follows
from the source, so that whoever comes again finds its record:

    its record                                the object at its key    what happens
    ----------------------------------------- ------------------------ -------------------------------------------------
    none                                      -                        announced, then copied
    uploading                                 there                    nothing: its event, or the Reconciler, starts it
    uploading, another attempt may be copying none                     busy: look again when that attempt is over
    uploading, that attempt is over           none                     taken over, then copied
    any other status                          -                        nothing: it is known

Why no second copy is made: one attempt at a time may copy. The next one begins when the one before is over, looks for
the object, and then takes over on the condition that the record is still `uploading`. The object moves away only after
the workflow has claimed it, and then the record is not. So an object that was not there, with a record that is still
`uploading` after the look, was never copied.

What S3 refuses to read is not announced: an attempt that is denied withdraws its own announcement.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pet_detector.aws import daily_limit, detection_logs, image_bucket, registrations, turns
from pet_detector.aws.registrations import COPY_SECONDS, Attempt
from pet_detector.rules import backfill
from pet_detector.rules.backfill import Source
from pet_detector.rules.errors import AccessDeniedError, ImageChangedError, ImageNotFoundError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Record, Status

# How far registered images may reach ahead of the schedule: enough that it never runs dry, few enough that the images
# in flight stay few (a quota of AWS allows 1,000,000 open executions).
HORIZON_SECONDS = 600
# While the limit of the day is reached: until it may have been raised, or the next day has begun.
LIMITED_SECONDS = 900


class Outcome(StrEnum):
    """What became of one picture."""

    REGISTERED = "registered"
    KNOWN = "known"  # registered before
    BUSY = "busy"  # another attempt may still be copying it
    SKIPPED = "skipped"
    MISSING = "missing"  # the source is gone
    DENIED = "denied"  # it cannot be read: a right, a key, or it is archived
    CHANGED = "changed"  # the source is another object now: a later run finds it under another id


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that registering needs, and how many images they analyse.

    `a_day` 0 means no limit.
    """

    bucket: str
    table: str
    analyses: str
    a_day: int
    calls_per_second: float


@dataclass(frozen=True)
class Registration:
    """What became of a picture.

    `until` is when a busy one can be tried again, in seconds since 1970; `error` says why one is denied.
    """

    outcome: Outcome
    until: float = 0.0
    error: AccessDeniedError | None = None


def waits_until(resources: Resources) -> float | None:
    """When to go on (seconds since 1970), if enough is registered for now; else None.

    That is when it reaches too far ahead of the schedule, or uses up the limit of the day: more would be held.
    """
    now = time.time()
    turn = turns.next_turn(resources.analyses, Lane.BACKFILL) or now
    if turn > now + HORIZON_SECONDS:
        return turn - HORIZON_SECONDS
    ahead = max(0, int((turn - now) * resources.calls_per_second))
    is_used_up = resources.a_day > 0 and daily_limit.spent(resources.analyses) + ahead >= resources.a_day
    return now + LIMITED_SECONDS if is_used_up else None


def register_object(resources: Resources, source: Source, name: str) -> Registration:
    """Register an object by a copy inside of S3; `name` is the backfill's. Raises the errors of AWS."""
    kind = backfill.format_of(source.key)
    is_own = source.bucket == resources.bucket and backfill.is_own(source.key)
    if kind is None or is_own or backfill.reason_to_skip(source.key, source.size, source.storage_class):
        return Registration(Outcome.SKIPPED)
    key = backfill.destination(source.image_id, kind)

    def copy() -> None:
        image_bucket.copy_in(resources.bucket, key, source.bucket, source.key, source.etag, name)

    return register(resources, source.image_id, key, backfill.file_name_of(source.key), name, copy)


def register(
    resources: Resources,
    image_id: str,
    key: str,
    file_name: str,
    name: str,
    store: Callable[[], None],
    seconds: int = COPY_SECONDS,
) -> Registration:
    """Register a picture: `store` puts it at `key`, where it must not replace anything. See the table above.

    `store` must end within half of `seconds`: when they are over, another attempt may begin.
    """
    attempt = registrations.begin(resources.table, image_id, file_name=file_name, backfill=name, seconds=seconds)
    if not isinstance(attempt, Attempt):
        found = _judged(resources, attempt, key)
        if found:
            return found
        attempt = registrations.take_over(resources.table, image_id, attempt.get("CopyClaim", ""), seconds)
        if not isinstance(attempt, Attempt):
            if not attempt:  # it had expired, and DynamoDB deleted it just now
                return Registration(Outcome.BUSY, time.time() + 1)
            is_busy = attempt.get("ProcessingStatus") == Status.UPLOADING
            return Registration(Outcome.BUSY, _end_of(attempt)) if is_busy else Registration(Outcome.KNOWN)
    if not attempt.is_fresh:
        return Registration(Outcome.BUSY, attempt.ends)
    try:
        store()
    except ImageNotFoundError:
        return Registration(Outcome.MISSING)
    except AccessDeniedError as error:
        registrations.withdraw(resources.table, image_id, attempt.claim)
        return Registration(Outcome.DENIED, error=error)
    except ImageChangedError:  # S3 says the same when the key is taken
        return Registration(Outcome.KNOWN if _is_registered(resources, image_id, key) else Outcome.CHANGED)
    return Registration(Outcome.REGISTERED)


def _judged(resources: Resources, record: Record, key: str) -> Registration | None:
    """What is to say of an image with a record; None when its copy was never made, and now may be."""
    if record.get("ProcessingStatus") != Status.UPLOADING or image_bucket.present_version(resources.bucket, key):
        return Registration(Outcome.KNOWN)
    if _end_of(record) > time.time():
        return Registration(Outcome.BUSY, _end_of(record))
    return None


def _end_of(record: Record) -> float:
    return float(record.get("CopyEnds", 0))


def _is_registered(resources: Resources, image_id: str, key: str) -> bool:
    if image_bucket.present_version(resources.bucket, key):
        return True
    record = detection_logs.find(resources.table, image_id)
    return record is not None and record["ProcessingStatus"] != Status.UPLOADING
