"""Chooses the next pictures for a person, and leases them: nobody else gets them for a few minutes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pet_detector.aws import detection_logs, reviews
from pet_detector.rules.models import Animal, Record, Status
from pet_detector.rules.people import Person
from pet_detector.rules.review import (
    LEASE_SECONDS,
    WAITING,
    Head,
    Queue,
    is_asked,
    is_blind,
    is_kept,
    is_leased,
    places,
)

# Pages of a queue that are looked through for one answer: what others have leased, and copies of one picture, lie
# together.
_MOST_PAGES = 10
# What an answer needs of a record.
_PROJECTION = "ImageID, ProcessingStatus, S3Location, Reason, Labels, OriginalFilename"


@dataclass(frozen=True)
class Picture:
    """A picture that is now leased to whoever asked, with its record."""

    head: Head
    record: Record


@dataclass(frozen=True)
class Wish:
    """What is asked for: at most `limit` pictures. `leaning`: for a contact sheet, uncertain ones that lean to it.

    `excluded`: ImageIDs that the page has. `first_place`: where the mix of queues begins (`rules.review.places`).
    `filed_since`: nothing of pictures that were filed before, which are gone.
    """

    limit: int
    leaning: Animal | None = None
    excluded: Collection[str] = ()
    first_place: int = 1
    filed_since: int = 0


class _Stock:
    """The pictures of one queue that may be shown to a person, in order, those first that they have leased already."""

    def __init__(self, table: str, queue: Queue, person: Person, wish: Wish, seen: set[str]) -> None:
        self._table, self._queue, self._person, self._wish, self._seen = table, queue, person, wish, seen
        self._pages = reviews.pages_of(table, queue)
        first = next(self._pages)
        asked = sum(self._is_asked(head) for head in first.heads)
        self._asked = asked if first.is_last else None
        mine = [head for head in first.heads if self._is_mine(head)]
        self.mine = self._suitable(mine)
        self.free = self._rest([head for head in first.heads if not self._is_mine(head)])

    def count(self) -> int:
        """How many wait for the person in the queue, at most reviews.MOST_COUNTED."""
        if self._asked is not None:
            return self._asked
        since = self._wish.filed_since
        return reviews.count(self._table, self._queue, filed_since=since, person_id=self._person.id)

    def _is_asked(self, head: Head) -> bool:
        return is_asked(head, self._person.id) and is_kept(head, self._wish.filed_since)

    def _is_mine(self, head: Head) -> bool:
        return is_leased(head, time.time()) and head["LeasedBy"] == self._person.id

    def _rest(self, first: list[Head]) -> Iterator[Head]:
        yield from self._suitable(first)
        for page in islice(self._pages, _MOST_PAGES - 1):
            yield from self._suitable(page.heads)

    def _suitable(self, heads: list[Head]) -> Iterator[Head]:
        """What may be shown. A picture whose bytes were shown, excluded or leased to another, is not shown again."""
        for head in heads:
            if head["ContentHash"] in self._seen:
                continue
            is_anothers = is_leased(head, time.time()) and not self._is_mine(head)
            if is_anothers or head["ImageID"] in self._wish.excluded:
                self._seen.add(head["ContentHash"])
                continue
            # A sheet shows the guess, so what must be judged without it is on none.
            wanted = self._wish.leaning is None or (head["Leaning"] == self._wish.leaning and not is_blind(head))
            if wanted and self._is_asked(head):
                self._seen.add(head["ContentHash"])
                yield head


def lease_next(table: str, records: str, person: Person, wish: Wish) -> tuple[list[Picture], dict[str, int]]:
    """Lease pictures to a person -> them, and how many wait for them by queue (at most reviews.MOST_COUNTED each)."""
    seen: set[str] = set()
    stocks = {queue: _Stock(table, queue, person, wish, seen) for queue in WAITING}
    usable = {Queue.UNCERTAIN: stocks[Queue.UNCERTAIN]} if wish.leaning else stocks
    chosen = _chosen(usable, wish.first_place)
    pictures: list[Picture] = []
    while len(pictures) < wish.limit:
        candidates = list(islice(chosen, wish.limit - len(pictures)))
        if not candidates:
            break
        found = _records(records, candidates)
        for head in candidates:
            record = found.get(head["ImageID"])
            if record is None:
                continue
            until = int(time.time()) + LEASE_SECONDS
            if leased := reviews.lease(table, head, person.id, until):
                pictures.append(Picture(leased, record))
    waiting = {queue.value: stock.count() for queue, stock in stocks.items()}
    return pictures, waiting


def _chosen(stocks: dict[Queue, _Stock], first_place: int) -> Iterator[Head]:
    for stock in stocks.values():
        yield from stock.mine
    for queues in places(first_place):
        found = next((head for queue in queues if queue in stocks for head in stocks[queue].free), None)
        if found is None:
            return
        yield found


def _records(table: str, heads: list[Head]) -> dict[str, Record]:
    """The records of images that can be shown, by ImageID."""
    image_ids = [head["ImageID"] for head in heads]
    items: Iterator[Any] = detection_logs.read_batch(table, image_ids, _PROJECTION, consistent=False)
    found = (detection_logs.deserialized(item) for item in items)
    shown = (Status.COMPLETED, Status.NEEDS_REVIEW)
    return {record["ImageID"]: record for record in found if record.get("ProcessingStatus") in shown}
