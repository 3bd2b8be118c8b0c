"""Puts images into the queue for review, and carries a verdict over to images of the same bytes.

    a record becomes completed or needs_review   `enqueue`: a head, if people are to be asked; with the verdict of the
                                                 same bytes, if there is one
    somebody decides, or takes it back           `carry_over`: to the other images of these bytes that wait

Both may be called any number of times: a head is put once, and a carried row has a key that says what it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from pet_detector.aws import detection_logs, review_workflow, reviews
from pet_detector.aws.reviews import Saved
from pet_detector.rules.errors import PetDetectorError, ThrottledError
from pet_detector.rules.models import Record, Status
from pet_detector.rules.review import (
    Review,
    appended,
    carried,
    changes,
    copied,
    head_of_any,
    may_lack,
    new_head,
    origin_of,
    with_changes,
)
from pet_detector.runtime.observability import logger

# Images of the same bytes that one call looks at. Each verdict that is carried over is carried out, which changes a
# record, and that calls `carry_over` again: many are done in turn.
MOST_AT_ONCE = 25
# Images of the same bytes among which a new one looks for a verdict, and which a person's request looks at. There may
# be ten thousand, of which none is decided: the first ones are decided first, as carrying over begins there.
MOST_LOOKED_AT = 200
# How often somebody else may write in just this moment before a caller is told that the service is busy.
ATTEMPTS = 5


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that reviews need, and the shares (in percent) of what is asked.

    `records` is the table DetectionLogs.
    """

    reviews: str
    records: str
    workflow_arn: str
    sample_percent: float = 0
    second_look_percent: float = 0


def enqueue(resources: Resources, record: Record) -> Saved | None:
    """Put the head of an image that the workflow has filed; None when nobody is to be asked about it.

    CHANGED: it has one already. NOT_FINISHED: it was erased in the meantime.
    """
    shares = (resources.sample_percent, resources.second_look_percent)
    head = new_head(record, *shares)
    decided = _decided(resources, record)
    found = origin_of(decided) if decided else None
    if found and found[2]["Animal"] != record["DetectedAnimal"]:
        head = head_of_any(record, *shares)
    if head is None:
        return None
    if found is None:
        return reviews.put_head(resources.reviews, resources.records, head)
    longer = appended(Review(head), copied(found) | {"At": detection_logs.now()})
    head = with_changes(head, changes(longer))
    saved = reviews.put_head(resources.reviews, resources.records, head, longer.rows[0])
    if saved is Saved.SAVED:
        carry_out(resources, record["ImageID"], 1)
    return saved


def _decided(resources: Resources, record: Record) -> Review | None:
    """The review of another image with the same bytes that has a verdict, if there is one among MOST_LOOKED_AT."""
    for head in islice(reviews.of_content(resources.reviews, record["ContentHash"]), MOST_LOOKED_AT):
        if head["ImageID"] != record["ImageID"] and "DecidedKey" in head:
            review = reviews.review(resources.reviews, head["ImageID"])
            if review and review.is_whole and review.standing:
                return review
    return None


def carry_over(resources: Resources, source: Review, most: int | None = None) -> int:
    """Give the other waiting images of the same bytes what was decided about this one -> how many rows were written.

    `most`: how many images are looked at; without it, all.
    """
    origin = origin_of(source)
    if origin and origin[0] != source.image_id:  # what is said here was carried over itself
        source = reviews.review(resources.reviews, origin[0]) or source
    written = 0
    for head in islice(reviews.of_content(resources.reviews, source.head["ContentHash"]), most):
        if head["ImageID"] != source.image_id and may_lack(source, head):
            written += _carry_to(resources, source, head["ImageID"])
        if written >= MOST_AT_ONCE:
            break
    return written


def _carry_to(resources: Resources, source: Review, image_id: str) -> int:
    for _ in range(ATTEMPTS):
        other = reviews.review(resources.reviews, image_id)
        if other is None:
            return 0
        if not other.is_whole:
            continue
        lacking = carried(source, other)
        if not lacking:
            return 0
        for row in lacking:
            longer = appended(other, row | {"At": detection_logs.now()})
            saved = reviews.append(resources.reviews, resources.records, longer, changes(longer))
            if saved is not Saved.SAVED:
                break
            carry_out(resources, image_id, len(longer.rows))
            other = Review(with_changes(other.head, changes(longer)), longer.rows)
        if saved is Saved.SAVED:
            return len(lacking)
        if saved is Saved.NOT_FINISHED:
            return 0
    raise ThrottledError(f"{image_id} is being decided about by others all the time")


def carry_out(resources: Resources, image_id: str, sequence: int) -> bool:
    """Start the review machine. What cannot be started now is started by ReviewKeeper: the verdict is saved."""
    try:
        return review_workflow.start(resources.workflow_arn, image_id, sequence)
    except PetDetectorError as error:
        logger.warning("Review not started", image_id=image_id, sequence=sequence, error=str(error))
        return False


def of_record(resources: Resources, old: Record | None, new: Record) -> str | None:
    """What a change of a record means for reviews, done -> what was done, in a word for the log; None for nothing.

    Raises the domain's errors: the change is to be given again then.
    """
    if new.get("ProcessingStatus") not in (Status.COMPLETED, Status.NEEDS_REVIEW):
        return None
    decided, before = new.get("VerdictSequence"), (old or {}).get("VerdictSequence")
    if decided is not None:
        if decided == before:
            return None
        source = reviews.review(resources.reviews, new["ImageID"])
        return "carried over" if source and carry_over(resources, source) else None
    if old is not None and old.get("ProcessingStatus") == new["ProcessingStatus"]:
        return None
    words = {Saved.SAVED: "queued", Saved.CHANGED: "queued before", Saved.NOT_FINISHED: "erased", None: None}
    return words[enqueue(resources, new)]
