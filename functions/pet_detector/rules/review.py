"""Reviews: which images people are asked about, in what order, and what their verdicts make of an image.

A review is a head and rows. The head says where the image waits, and what is true of it now; a row is one verdict, or
one undo, and is never changed. What the head says follows from its rows alone (`changes`): so an undo may come in any
order, at any time, and is itself a row.

    uncertain, sample --verdict--> pending --carried out--> done
                                                        +-> second     drawn for agreement: another person is asked
    second            --verdict--> pending ------------+--> disagreed  they disagree: a third person decides
    sample            --gallery--> pending --carried out--> sample       corrected before its turn, which still comes
    anything          --undo-----> pending ---------------> where the rows that are left put it

`pending` is where the review machine works: it makes the record say what the head says, and moves the head on to its
NextQueue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypedDict, cast

from pet_detector.rules.models import Animal, Record, Status

# A picture is one person's for so long. A lease ends by itself.
LEASE_SECONDS = 300
# ReviewQueue puts the head of an image seconds after it was filed.
QUEUED_WITHIN = timedelta(hours=1)


class Queue(StrEnum):
    """Where an image stands."""

    DISAGREED = "disagreed"  # two people said different things: waits for a third
    UNCERTAIN = "uncertain"
    SAMPLE = "sample"  # drawn from all images; people are asked without seeing what the machine said
    SECOND = "second"  # one person has decided, another one is asked the same
    PENDING = "pending"  # decided, and not carried out yet
    DONE = "done"


# The queues of what waits for people, in the order in which they are looked through.
WAITING = (Queue.DISAGREED, Queue.UNCERTAIN, Queue.SAMPLE, Queue.SECOND)
# What is shown of these is the picture alone: who sees an opinion agrees with it. See also `is_blind`.
_BLIND = frozenset([Queue.DISAGREED, Queue.SAMPLE, Queue.SECOND])


class Purpose(StrEnum):
    """Why people are asked."""

    UNCERTAIN = "uncertain"
    SAMPLE = "sample"
    UNMEASURED = "unmeasured"  # uncertain, but no certain image was drawn beside it: in no estimate
    CORRECTION = "correction"  # nobody asked: somebody saw a mistake, so it says nothing about how often there are any


class Kind(StrEnum):
    """What a row is."""

    VERDICT = "verdict"
    UNDO = "undo"


class Mode(StrEnum):
    """Where a person decided."""

    SINGLE = "single"
    SHEET = "sheet"
    GALLERY = "gallery"


class Head(TypedDict, total=False):
    """The item `review` of an image in the table ReviewsTable. Missing: not so, or not yet."""

    ImageID: str
    Entry: str  # HEAD
    Queue: str
    Order: str  # sort key of QueueIndex
    HomeQueue: str  # where it waits without any verdict
    HomeOrder: str
    NextQueue: str  # of a pending one: where it goes when it is carried out
    NextOrder: str
    ContentHash: str
    Guess: str  # the Animal that the machine filed it as
    Leaning: str  # the Animal that it leaned to
    Certain: bool
    Scores: dict[str, Decimal]  # percent, by cat and dog
    Confidence: Decimal  # percent
    PolicyVersion: str
    ModelVersion: str
    GuessedAt: str  # this and the other times: RFC 3339 UTC, but for those in seconds
    Purpose: str
    Probability: Decimal  # the chance with which it was chosen, 0 to 1; 0 tells nothing about other images
    SecondLook: bool
    Sequence: Decimal | int  # how many rows it has
    Verdict: str  # the Animal that holds now
    VerdictSequence: Decimal | int  # the row that says so
    DecidedKey: str  # names the decision among images of the same bytes: see `origin_of`
    DecidedBy: str
    DecidedAt: str
    InTurn: bool  # a verdict stands that was given when its turn came
    PassedOver: bool  # its turn came as one of the sample, and somebody let it pass. That stays so
    Deciders: set[str]  # whose verdicts stand that were given in turn: they are not asked again
    Undone: set[Decimal] | set[int]  # sequences of verdicts that were undone
    LeasedBy: str
    LeasedUntil: Decimal | int  # seconds since 1970
    PendingSince: str
    CarriedOut: Decimal | int  # the sequence that the record says
    FiledAt: Decimal | int  # seconds since 1970: since when the picture lies where it is
    ExpiresAt: Decimal | int  # seconds since 1970, as the record


class Row(TypedDict, total=False):
    """An item `verdict#<sequence>`: what one person said once."""

    ImageID: str
    Entry: str
    Key: str  # the idempotency key of the request
    Person: str  # id of a person
    PersonName: str
    At: str
    Kind: str
    Animal: str  # of a verdict
    Undoes: Decimal | int  # of an undo: the sequence of the verdict
    Leaves: str  # of an undo: the Animal that holds then; missing when no verdict is left
    Blind: bool
    Mode: str
    Milliseconds: Decimal | int
    PolicyVersion: str
    ModelVersion: str
    SameAs: str  # the ImageID of the image whose bytes are the same, and about which it was said
    ExpiresAt: Decimal | int  # later than the head's


# Rows outlive their head by two days when they are written, and at least by one. DynamoDB deletes what has expired
# within days, in no order: a review of which a row is missing could not go on.
ROW_LONGER_SECONDS = 2 * 24 * 60 * 60
HEAD = "review"
ROW_PREFIX = "verdict#"


@dataclass(frozen=True)
class Review:
    """A head with all its rows, in order."""

    head: Head
    rows: tuple[Row, ...] = ()

    @property
    def image_id(self) -> str:
        """The image's ImageID."""
        return self.head["ImageID"]

    @property
    def is_whole(self) -> bool:
        """Whether every row that the head counts was read: what is being written may be seen in part."""
        return len(self.rows) == int(self.head.get("Sequence", 0))

    def row_of(self, key: str) -> Row | None:
        """The row of an idempotency key."""
        return next((row for row in self.rows if row["Key"] == key), None)

    @property
    def standing(self) -> list[Row]:
        """The verdicts that were not undone, in order."""
        undone = {int(row["Undoes"]) for row in self.rows if row["Kind"] == Kind.UNDO}
        return [row for row in self.rows if row["Kind"] == Kind.VERDICT and sequence_of(row) not in undone]


def entry_of(sequence: int) -> str:
    """The sort key of a row."""
    return f"{ROW_PREFIX}{sequence:06d}"


def sequence_of(row: Row) -> int:
    """The number of a row: 1 is the first."""
    return int(row["Entry"].removeprefix(ROW_PREFIX))


# --- Whom to ask about what -------------------------------------------------------------------------------------------


# Lots are drawn by ContentHash, so that all images of the same bytes are drawn or none, and have the same turn: what
# people say of one holds for the others.


def sampled(content_hash: str, percent: float) -> bool:
    """Whether images are of the so many percent that are drawn, certain or not, to measure accuracy."""
    return _draw("sample", content_hash) < percent / 100


def second_look(content_hash: str, percent: float) -> bool:
    """Whether another person is asked the same about images, for the share of images on which two people agree."""
    return _draw("second", content_hash) < percent / 100


def _draw(purpose: str, content_hash: str) -> float:
    """A number from 0 to 1 that has nothing to do with what is seen: the same one whenever it is asked."""
    return int(_hash(purpose, content_hash)[:12], 16) / 16**12


def _hash(purpose: str, content_hash: str) -> str:
    return hashlib.sha256(f"{purpose}#{content_hash}".encode()).hexdigest()


def is_late(record: Record, now: datetime) -> bool:
    """Whether an image without a head was filed too long ago to be drawn: nobody drew from the images of that time.

    There was no sample yet, or ReviewQueue has lost the change. A draw now would take only what somebody happens to
    find: uncertain images, and mistakes.
    """
    return _seconds(_guessed_at(record)) < (now - QUEUED_WITHIN).timestamp()


def margin(scores: Mapping[str, Any]) -> float:
    """How far the machine was from saying something else: points between the two likeliest of cat, dog and other."""
    first, second, _ = sorted(_three(scores).values(), reverse=True)
    return first - second


def leaning(scores: Mapping[str, Any]) -> Animal:
    """What the machine leaned to; an animal rather than other when it is even."""
    three = _three(scores)
    return max((Animal.CAT, Animal.DOG, Animal.OTHER), key=lambda animal: three[animal])


def _three(scores: Mapping[str, Any]) -> dict[Animal, float]:
    cat, dog = float(scores.get("cat", 0)), float(scores.get("dog", 0))
    return {Animal.CAT: cat, Animal.DOG: dog, Animal.OTHER: 100 - max(cat, dog)}


def new_head(record: Record, sample_percent: float, second_look_percent: float) -> Head | None:
    """The head of an image that the workflow has filed; None when nobody is to be asked about it."""
    head = head_of_any(record, sample_percent, second_look_percent)
    return None if head["Purpose"] == Purpose.CORRECTION else head


def head_of_any(record: Record, sample_percent: float, second_look_percent: float) -> Head:
    """The same, also of an image that nobody is to be asked about, but somebody has something to say about.

    Such a correction is in no estimate. Neither is an uncertain image where nothing is drawn (`sample_percent` 0): with
    it, but without the certain images of its time, the machine would seem to be less often certain than it is.
    """
    image_id, content_hash = record["ImageID"], record["ContentHash"]
    scores = record.get("Scores", {})
    is_certain = record["ProcessingStatus"] != Status.NEEDS_REVIEW
    head: Head = {
        "ImageID": image_id,
        "Entry": HEAD,
        "ContentHash": content_hash,
        "Guess": record["DetectedAnimal"],
        "Leaning": record["DetectedAnimal"] if is_certain else leaning(scores).value,
        "Certain": is_certain,
        "Scores": scores,
        "Confidence": record["ConfidenceScore"],
        "PolicyVersion": record.get("PolicyVersion", ""),
        "ModelVersion": record.get("ModelVersion", ""),
        "GuessedAt": _guessed_at(record),
        "FiledAt": _seconds(_guessed_at(record)),
        "SecondLook": second_look(content_hash, second_look_percent),
        "Sequence": 0,
    }
    if "ExpiresAt" in record:
        head["ExpiresAt"] = record["ExpiresAt"]
    if sampled(content_hash, sample_percent):  # also uncertain ones: those of the other queue are judged hardest first
        home, order = Queue.SAMPLE, _hash("order", content_hash)
        head["Purpose"], head["Probability"] = Purpose.SAMPLE.value, Decimal(str(sample_percent)) / 100
    elif not is_certain:
        home, order = Queue.UNCERTAIN, f"{margin(scores):06.2f}#{image_id}"
        purpose = Purpose.UNCERTAIN if sample_percent else Purpose.UNMEASURED
        head["Purpose"], head["Probability"] = purpose.value, Decimal(1)
    else:
        home, order = Queue.DONE, f"{head['GuessedAt']}#{image_id}"
        head["Purpose"], head["Probability"], head["SecondLook"] = Purpose.CORRECTION.value, Decimal(0), False
    head["Queue"] = head["HomeQueue"] = home.value
    head["Order"] = head["HomeOrder"] = order
    return head


def _guessed_at(record: Record) -> str:
    return record.get("Timestamp", record["UpdatedAt"])


def places(first: int) -> Iterator[tuple[Queue, ...]]:
    """For each place of a page, from place `first` on (1 is the first of all): the queues that may fill it, best first.

    Every tenth place is for a second look, every other fifth one for the sample, so that both go on however many
    uncertain images wait. What people disagree about comes before everything.
    """
    place = first
    while True:
        if place % 10 == 0:
            yield Queue.DISAGREED, Queue.SECOND, Queue.UNCERTAIN, Queue.SAMPLE
        elif place % 5 == 0:
            yield Queue.DISAGREED, Queue.SAMPLE, Queue.UNCERTAIN, Queue.SECOND
        else:
            yield Queue.DISAGREED, Queue.UNCERTAIN, Queue.SAMPLE, Queue.SECOND
        place += 1


def is_leased(head: Head, now: float) -> bool:
    """Whether somebody has the picture before them; `now` in seconds since 1970."""
    return float(head.get("LeasedUntil", 0)) > now


def is_asked(head: Head, person_id: str) -> bool:
    """Whether a person may be asked about it: it waits, or will after an undo, and they have not decided."""
    return _queue_to_be(head) in WAITING and person_id not in head.get("Deciders", set())


def is_blind(head: Head) -> bool:
    """Whether people are shown the picture alone, or are once an undo is carried out.

    Also the first look at what two people judge: how well they agree says nothing when one of them saw the guess.
    """
    return _is_blind_now(head) or head.get("SecondLook", False)


def mode_of(head: Head, mode: Mode, *, blind: bool) -> Mode:
    """As what a verdict is kept. Who has seen the guess of a picture that is asked blind corrects it: out of turn."""
    return mode if blind or not _is_blind_now(head) else Mode.GALLERY


def _is_blind_now(head: Head) -> bool:
    return _queue_to_be(head) in _BLIND


def _queue_to_be(head: Head) -> str:
    return head["NextQueue"] if head["Queue"] == Queue.PENDING else head["Queue"]


# --- What verdicts make of an image -----------------------------------------------------------------------------------


def is_in_turn(row: Row) -> bool:
    """Whether a verdict was given when the image's turn came; what was carried over, when that of its origin came.

    In the gallery people correct what they happen to see, and mistakes are seen first.
    """
    return row["Mode"] != Mode.GALLERY


def effective(head: Head, standing: Sequence[Row]) -> tuple[Row | None, Queue]:
    """Of the verdicts that stand: the one that holds, and where the image goes when that is carried out."""
    if not standing:
        return None, Queue(head["HomeQueue"])
    last, looks = standing[-1], [row for row in standing if is_in_turn(row)]
    if not looks and head["HomeQueue"] == Queue.SAMPLE:
        return last, Queue.SAMPLE
    if not is_in_turn(last) or "SameAs" in last:
        return last, Queue.DONE
    # A correction before the first look is an opinion of its own if that look says something else.
    corrections = standing[: standing.index(looks[0])]
    contradicted = [row for row in corrections[-1:] if row["Animal"] != looks[0]["Animal"]]
    match [*contradicted, *looks]:
        case [first]:
            return first, Queue.SECOND if head.get("SecondLook") else Queue.DONE
        case [first, second]:
            return first, Queue.DONE if first["Animal"] == second["Animal"] else Queue.DISAGREED
    return last, Queue.DONE


def changes(review: Review) -> dict[str, Any]:
    """What the head says after the last of its rows; None removes an attribute."""
    head, standing = review.head, review.standing
    newest = review.rows[-1]
    holds, next_queue = effective(head, standing)
    undone = {int(row["Undoes"]) for row in review.rows if row["Kind"] == Kind.UNDO}
    now = f"{newest['At']}#{review.image_id}"
    is_moved = (holds["Animal"] if holds else head["Guess"]) != head.get("Verdict", head["Guess"])
    orders = {head["HomeQueue"]: head["HomeOrder"], Queue.SECOND.value: _hash("order", head["ContentHash"])}
    return {
        "Queue": Queue.PENDING.value,
        "Order": now,
        "NextQueue": next_queue.value,
        "NextOrder": orders.get(next_queue.value, now),
        "PendingSince": newest["At"],
        "Sequence": len(review.rows),
        "Verdict": holds["Animal"] if holds else None,
        "VerdictSequence": sequence_of(holds) if holds else None,
        "DecidedKey": _decision(review.image_id, holds) if holds else None,
        "DecidedBy": holds["Person"] if holds else None,
        "DecidedAt": holds["At"] if holds else None,
        "InTurn": any(map(is_in_turn, standing)) or None,
        "Deciders": {row["Person"] for row in standing if is_in_turn(row)} or None,
        "Undone": undone or None,
        "LeasedBy": None,
        "LeasedUntil": None,
        **(_filed_anew(head, newest["At"]) if is_moved else {}),
    }


def _filed_anew(head: Head, at: str) -> dict[str, int]:
    """A picture that moves is a new object, which S3 keeps as long as any; what is known of it stays as much longer.

    Also when a verdict is undone before it was carried out: whether the machine is moving the picture at this moment
    does not stand here, and a record that stays too long is better than a picture that has none.
    """
    filed = _seconds(at)
    later = max(0, filed - int(head.get("FiledAt", filed)))
    return {"FiledAt": filed} | ({"ExpiresAt": int(head["ExpiresAt"]) + later} if "ExpiresAt" in head else {})


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def filed_since(days: float, now: float) -> int:
    """When pictures were filed at the earliest that the bucket still has (in seconds since 1970, as `now`).

    `days` is the parameter ImageRetentionDays.
    """
    return int(now - days * 24 * 60 * 60)


def is_kept(head: Head, since: int) -> bool:
    """Whether the picture is still there, by `filed_since`."""
    return int(head.get("FiledAt", since)) >= since


def with_changes(head: Head, changed: Mapping[str, Any]) -> Head:
    """The head after `changes`."""
    left = {name: value for name, value in head.items() if name not in changed}
    return cast(Head, left | {name: value for name, value in changed.items() if value is not None})


def may_undo(review: Review, row: Row) -> bool:
    """Whether a verdict still stands, and none that holds was given after it."""
    standing = review.standing
    holds, _ = effective(review.head, standing)
    return row in standing and (holds is None or sequence_of(holds) <= sequence_of(row))


# --- The same bytes ---------------------------------------------------------------------------------------------------


def origin_of(review: Review) -> tuple[str, str, Row] | None:
    """Of an image with a verdict that holds: the image that it was said about, the key under which it is carried over
    to other images of the same bytes, and the row. None without a verdict.
    """
    holds, _ = effective(review.head, review.standing)
    if holds is None:
        return None
    return holds.get("SameAs", review.image_id), _decision(review.image_id, holds), holds


def _decision(image_id: str, holds: Row) -> str:
    return holds["Key"] if "SameAs" in holds else f"{_own(image_id)}{sequence_of(holds)}"


def _own(image_id: str) -> str:
    return f"same-{image_id}-"


def is_carried_over(head: Head) -> bool:
    """Whether what holds was said about another image of the same bytes."""
    return "DecidedKey" in head and not head["DecidedKey"].startswith(_own(head["ImageID"]))


def may_lack(source: Review, head: Head) -> bool:
    """Whether an image of the same bytes may lack what was decided about `source`; `carried` says what."""
    found, key = origin_of(source), head.get("DecidedKey")
    if key is None:
        return found is not None
    return key.startswith(_own(source.image_id)) and (found is None or found[1] != key)


def carried(source: Review, other: Review) -> list[Row]:
    """The rows that `other`, of the same bytes, lacks: what was decided about `source`, and what of it was undone.

    None for an image about which somebody has decided itself. Carried rows have no Entry and no time yet.
    """
    standing = other.standing
    if any("SameAs" not in row for row in standing):
        return []
    found = origin_of(source)
    has = other.row_of(found[1]) if found else None
    if found and has is None:
        return [] if found[0] == other.image_id else [copied(found)]
    later = sequence_of(has) if has else 0  # what was carried over after it, holds no more
    stale = [row for row in standing if row["SameAs"] == source.image_id and sequence_of(row) > later]
    return [_undo_of(row) for row in stale]


def copied(found: tuple[str, str, Row]) -> Row:
    """The row for another image of the same bytes, from `origin_of`."""
    origin, key, holds = found
    kept = ("Person", "PersonName", "Kind", "Animal", "Blind", "Mode", "Milliseconds")
    return _row(holds, kept) | Row(Key=key, SameAs=origin)


def _undo_of(row: Row) -> Row:
    undo = Row(Kind=Kind.UNDO.value, Key=f"undo-{row['Key']}", Undoes=sequence_of(row))
    return _row(row, ("Person", "PersonName", "Blind", "Mode", "SameAs")) | undo


def _row(of: Mapping[str, Any], names: Iterable[str]) -> Row:
    return cast(Row, {name: of[name] for name in names if name in of})


def appended(review: Review, row: Row) -> Review:
    """The review with one row more, which gets its place, and what it holds of the image."""
    head = review.head
    whole: Row = {
        **row,
        "ImageID": review.image_id,
        "Entry": entry_of(len(review.rows) + 1),
        "PolicyVersion": head.get("PolicyVersion", ""),
        "ModelVersion": head.get("ModelVersion", ""),
    }
    longer = Review(head, (*review.rows, whole))
    if "ExpiresAt" in head:
        whole["ExpiresAt"] = int(changes(longer).get("ExpiresAt", head["ExpiresAt"])) + ROW_LONGER_SECONDS
    if whole["Kind"] == Kind.UNDO:
        holds, _ = effective(head, longer.standing)
        if holds:
            whole["Leaves"] = holds["Animal"]
    return longer


def rows_and_head(items: Iterable[Mapping[str, Any]]) -> Review | None:
    """The review that the items of one image make; None when there is no head."""
    head: Any = None
    rows: list[Any] = []
    for item in items:
        if item["Entry"] == HEAD:
            head = item
        elif item["Entry"].startswith(ROW_PREFIX):
            rows.append(item)
    rows.sort(key=lambda row: str(row["Entry"]))
    return Review(head, tuple(rows)) if head else None
