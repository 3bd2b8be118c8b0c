"""Takes verdicts and undos, once each, and has them carried out.

What comes with a known key gets its first answer, whatever others have done since. Everything else is decided from the
review as it was read, and written only if nobody else has written since; if somebody has, it is decided anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from pet_detector.aws import detection_logs, reviews
from pet_detector.aws.reviews import Saved
from pet_detector.rules.errors import PetDetectorError, RequestError, ThrottledError
from pet_detector.rules.models import Animal, Status
from pet_detector.rules.people import Person
from pet_detector.rules.review import (
    LEASE_SECONDS,
    Kind,
    Mode,
    Review,
    Row,
    appended,
    changes,
    head_of_any,
    is_asked,
    is_blind,
    is_late,
    is_leased,
    may_undo,
    mode_of,
    sequence_of,
    with_changes,
)
from pet_detector.runtime.observability import logger
from pet_detector.use_cases.review_queue import ATTEMPTS, MOST_LOOKED_AT, Resources, carry_out, carry_over


@dataclass(frozen=True)
class Verdict:
    """What a person says of a picture. `sequence`: how many rows its review had when it was shown, if that is known."""

    image_id: str
    key: str
    animal: Animal
    mode: Mode
    blind: bool
    milliseconds: int
    sequence: int | None = None


@dataclass(frozen=True)
class Undo:
    """A person takes their verdict with the key `undoes` back."""

    image_id: str
    key: str
    undoes: str


@dataclass(frozen=True)
class Answer:
    """What was saved. `animal` is what the person said; after an undo what holds now, None when nothing does."""

    image_id: str
    key: str
    sequence: int
    animal: str | None


def save(resources: Resources, person: Person, said: Verdict | Undo) -> Answer:
    """Append what a person said, and start the review machine; the same key again gives the same answer.

    Raises RequestError when it cannot be said (any more), and ThrottledError when others write all the time.
    """
    for _ in range(ATTEMPTS):
        review = reviews.review(resources.reviews, said.image_id)
        if review and not review.is_whole:
            continue
        begun, review = review is not None, review or _correction(resources, said.image_id)
        if earlier := review.row_of(said.key):
            _same_request(review, earlier, person, said)
            return _follow(resources, review, earlier)
        longer = appended(review, _row(review, person, said) | {"At": detection_logs.now()})
        match _write(resources, longer, person, said, begun=begun):
            case Saved.SAVED:
                return _follow(resources, longer, longer.rows[-1])
            case Saved.NOT_FINISHED:
                raise _not_filed(resources, said.image_id)
    raise ThrottledError("others decide about it in just this moment")


def _correction(resources: Resources, image_id: str) -> Review:
    """The review that begins with a correction, of an image that nobody was asked about. Raises RequestError."""
    record = detection_logs.find(resources.records, image_id)
    if record is None or record["ProcessingStatus"] not in (Status.COMPLETED, Status.NEEDS_REVIEW):
        raise _not_filed(resources, image_id)
    percent = 0 if is_late(record, datetime.now(UTC)) else resources.sample_percent
    return Review(head_of_any(record, percent, resources.second_look_percent))


def _write(resources: Resources, longer: Review, person: Person, said: Verdict | Undo, *, begun: bool) -> Saved:
    changed = changes(longer)
    # The page shows the picture again at once. Not in the gallery: nobody's turn has come there.
    if isinstance(said, Undo) and longer.rows[-1]["Mode"] != Mode.GALLERY:
        changed |= {"LeasedBy": person.id, "LeasedUntil": int(time.time()) + LEASE_SECONDS}
    if begun:
        return reviews.append(resources.reviews, resources.records, longer, changed)
    return reviews.put_head(resources.reviews, resources.records, with_changes(longer.head, changed), longer.rows[-1])


def _row(review: Review, person: Person, said: Verdict | Undo) -> Row:
    """The row of what is said. Raises RequestError when it cannot be said (any more)."""
    row: Row = {"Key": said.key, "Person": person.id, "PersonName": person.name}
    if isinstance(said, Undo):
        undone = review.row_of(said.undoes)
        if undone is None or undone["Kind"] != Kind.VERDICT or undone["Person"] != person.id:
            raise RequestError(409, "NOTHING_TO_UNDO", "This is no verdict of yours, so there is nothing to undo.")
        if not may_undo(review, undone):
            message = "It was undone before, or decided anew since: correct it in the gallery if it is wrong."
            raise RequestError(409, "NOTHING_TO_UNDO", message)
        undo = Row(Kind=Kind.UNDO.value, Undoes=sequence_of(undone), Mode=undone["Mode"], Blind=undone["Blind"])
        return row | undo
    _may_decide(review, person, said)
    # What the page says is believed only of pictures that are shown so.
    blind = said.blind and said.mode is Mode.SINGLE and is_blind(review.head)
    return row | Row(
        Kind=Kind.VERDICT.value,
        Animal=said.animal.value,
        Mode=mode_of(review.head, said.mode, blind=blind).value,
        Blind=blind,
        Milliseconds=said.milliseconds,
    )


def _may_decide(review: Review, person: Person, said: Verdict) -> None:
    head = review.head
    decided = RequestError(
        409, "DECIDED_ALREADY", "Somebody has decided about this picture since it was shown: yours was not saved."
    )
    if said.sequence is not None and said.sequence != int(head["Sequence"]):
        raise decided
    if said.sequence is None and said.mode is Mode.GALLERY and head["Sequence"]:  # it would overrule what nobody showed
        message = "People have said something about this image: send sequence, the number of reviews that you saw."
        raise RequestError(400, "INVALID_BODY", message)
    if is_leased(head, time.time()) and head["LeasedBy"] != person.id:
        raise RequestError(
            409, "SOMEBODY_DECIDES", "Somebody else has this picture before them and decides: yours was not saved."
        )
    if said.mode is not Mode.GALLERY and not is_asked(head, person.id):
        if said.sequence is None and "Verdict" in head:
            raise decided
        message = "This picture waits for no answer of yours: it was not saved. Is it wrong? Correct it in the gallery."
        raise RequestError(409, "NOT_WAITING", message)


def _same_request(review: Review, row: Row, person: Person, said: Verdict | Undo) -> None:
    """Raise RequestError when the key was used for something else."""
    if isinstance(said, Undo):
        undone = review.row_of(said.undoes)
        same = undone is not None and row.get("Undoes") == sequence_of(undone)
    else:
        same = row.get("Animal") == said.animal
    if not same or row["Person"] != person.id:
        raise RequestError(
            409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was sent with something else; choose a new key."
        )


def _follow(resources: Resources, review: Review, row: Row) -> Answer:
    """What comes after a row was saved, again each time that it is sent: whatever fails here is made up for later."""
    sequence = sequence_of(row)
    if sequence == len(review.rows):
        carry_out(resources, review.image_id, sequence)
        try:
            # Those behind them get it when the verdict has been carried out.
            if number := carry_over(resources, review, MOST_LOOKED_AT):
                logger.info("Verdict carried over to the same bytes", rows=number)
        except PetDetectorError as error:
            logger.warning("Same bytes not decided", error=str(error))
    animal = row.get("Animal") if row["Kind"] == Kind.VERDICT else row.get("Leaves")
    return Answer(review.image_id, row["Key"], sequence, animal)


def _not_filed(resources: Resources, image_id: str) -> RequestError:
    """The answer about an image on which nobody can decide."""
    if detection_logs.find(resources.records, image_id) is None:
        return RequestError(404, "IMAGE_NOT_FOUND", "There is no such image: it was erased, or it never existed.")
    return RequestError(
        409, "NOT_FINISHED", "This image is not sorted (yet): people decide about completed and needs_review ones."
    )
