"""Asks Rekognition about the same bytes once, at the pace of its quota, and not above the daily limits of analyses.

With content safety it is asked twice in one turn: first whether the picture is safe, and of a safe one for the labels.
The quota of each operation is its own, and the pace below both of them.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from pet_detector.aws import analyses, daily_limit, rekognition, turns
from pet_detector.aws.analyses import Lease
from pet_detector.rules.content_safety import violation
from pet_detector.rules.errors import PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.lanes import Lane, lane_of
from pet_detector.rules.models import BACKFILL, STRAIGHT_INTO_S3, Moderation, Recognition, Rejection
from pet_detector.runtime.observability import count, logger

# A turn that comes within this time is waited for in the function, which costs less than three more state transitions.
# Half a second more than a Wait state needs, which knows whole seconds only: an image that is woken half a second late
# is still in time. Late ones would meet others in their second, and exceed the pace.
SLEEP_SECONDS = 1.5
# How far ahead an image of a backfill may take its turn among live uploads: those wait so much longer at most.
BEHIND_LIVE_SECONDS = 0.5
# After the turn of another image with the same bytes: it has asked by then.
ASKED_SECONDS = 2.0
# Longest pause of an image that comes for its turn in vain again and again: others use Rekognition's quota, or live
# uploads use it up before a backfill. An execution may wait some 2,000 times (25,000 events): 50 hours at least.
LONGEST_PAUSE_SECONDS = 120.0

Seen = TypeVar("Seen", Moderation, Recognition)  # Python 3.11 has no other spelling


@dataclass(frozen=True)
class Analysis:
    """What Rekognition saw; `reused`: it was asked about the same bytes before, and not now."""

    recognition: Recognition
    reused: bool


@dataclass(frozen=True)
class Waiting:
    """The image has to wait: its turn comes at `until` (seconds since 1970). Then it is to be analysed again."""

    until: float

    @property
    def wake_up(self) -> int:
        """When to begin to analyse it: early enough, and at most SLEEP_SECONDS before its turn.

        In whole seconds since 1970, as a Wait state may leave out the rest.
        """
        return math.ceil(self.until - SLEEP_SECONDS)


@dataclass(frozen=True)
class _Turn:
    """A turn that the image has taken (`at`). It may ask Rekognition then, or has to come back at `until`.

    `setbacks`: how often it has come in vain so far, this time included.
    """

    at: float
    may_ask: bool
    until: float
    setbacks: int


@dataclass(frozen=True)
class Picture:
    """An object version, and the SHA-256 of its bytes in hexadecimal."""

    bucket: str
    key: str
    version_id: str
    content_hash: str


@dataclass(frozen=True)
class Limits:
    """`calls_per_second` of Rekognition; images `a_day` of all, and `a_day_per_key` of the API (0: no limit)."""

    calls_per_second: float
    a_day: int
    a_day_per_key: int = 0

    def daily(self, uploaded_by: str) -> list[tuple[int, str]]:
        """What counts for an image of this uploader, as `daily_limit` takes it: its own limit, then that of all."""
        has_key = uploaded_by not in ("", STRAIGHT_INTO_S3, BACKFILL)
        return [(self.a_day_per_key, uploaded_by)] * has_key + [(self.a_day, "")]


def analyse_once(
    table: str,
    picture: Picture,
    *,
    owner: str,
    limits: Limits,
    uploaded_by: str = "",
    unsafe_from: float | None = None,
) -> Analysis | Rejection | Waiting | None:
    """What is on the picture, from the table Analyses or from Rekognition; None above a daily limit.

    `owner` is the ImageID, `uploaded_by` the record's. `unsafe_from` is the confidence (percent) of unsafe content from
    which the picture is rejected; None does not ask for it. Rekognition is asked in the image's turn; until that
    comes, or when Rekognition throttles all the same, the image waits. Raises AnalysisInProgressError while another
    image with the same bytes is being asked about, and what `rekognition.recognize` raises, except its ThrottledError.
    """
    lane = lane_of(picture.key)
    begun = analyses.begin(table, picture.content_hash, owner, lane=lane, moderated=unsafe_from is not None)
    if isinstance(begun, Recognition):
        return _unsafe(begun.moderation, unsafe_from) or Analysis(begun, reused=True)
    if isinstance(begun, analyses.Taken):
        # Spread over some seconds, as there may be many with the same bytes.
        return Waiting(max(begun.until, time.time()) + ASKED_SECONDS + random.uniform(0, 10))  # noqa: S311 - no secret
    if unsafe := _unsafe(begun.moderation, unsafe_from):
        analyses.give_up(table, picture.content_hash, owner)
        return unsafe
    daily = limits.daily(uploaded_by)
    if begun.turn is None and any(daily_limit.is_reached(table, *limit) for limit in daily):
        _give_up_for_today(table, picture, owner)
        return None
    now = time.time()
    turn = _take_turn(table, lane, begun, limits.calls_per_second, now)
    if not turn.may_ask:
        until, setbacks = turn.until, turn.setbacks
        analyses.wait(table, picture.content_hash, owner, until=until, turn=turn.at, setbacks=setbacks, lane=lane)
        return Waiting(turn.until)
    time.sleep(max(0.0, turn.at - time.time()))
    if not _spend(table, daily):
        _give_up_for_today(table, picture, owner)
        return None
    answer = _ask(table, picture, owner, begun, unsafe_from)
    if answer is None:
        _take_back(table, daily)
        return _wait_after_throttle(table, picture, owner, begun.setbacks)
    return answer if isinstance(answer, Rejection) else Analysis(answer, reused=False)


def _take_turn(table: str, lane: Lane, lease: Lease, pace: float, now: float) -> _Turn:
    """The turn to ask Rekognition, at most SLEEP_SECONDS from now, or the one to come back for.

    The lease may have a turn of this lane that the image took before.
    """
    soon = now + SLEEP_SECONDS
    own = lease.turn
    if own is not None and own > soon and own > (turns.next_turn(table, lane) or 0.0):
        own = None  # an operator has reset the schedule since
    turn = own if own is not None else turns.take(table, lane, pace, earliest=now)
    if turn > soon or lane is Lane.LIVE:
        return _Turn(turn, may_ask=turn <= soon, until=turn, setbacks=lease.setbacks)
    # In its own turn, so that a live upload meets a backfill that is ahead of it by BEHIND_LIVE_SECONDS at most.
    time.sleep(max(0.0, turn - now))
    now = time.time()
    admitted = turns.take_before(table, Lane.LIVE, pace, earliest=now, latest=now + BEHIND_LIVE_SECONDS)
    if admitted is not None:
        return _Turn(admitted, may_ask=True, until=admitted, setbacks=lease.setbacks)
    # Live uploads are queueing: come back behind those that are there now, each time later.
    behind = max(turns.next_turn(table, Lane.LIVE) or 0.0, now + SLEEP_SECONDS)
    turn = turns.take(table, lane, pace, earliest=behind)
    until = max(turn, now + _pause(lease.setbacks))
    return _Turn(turn, may_ask=False, until=until, setbacks=lease.setbacks + 1)


def _spend(table: str, daily: list[tuple[int, str]]) -> bool:
    """Count the image in all its limits, or in none if one of them is reached."""
    for number, limit in enumerate(daily):
        if not daily_limit.spend(table, *limit):
            _take_back(table, daily[:number])
            return False
    return True


def _take_back(table: str, daily: list[tuple[int, str]]) -> None:
    for limit in daily:
        daily_limit.take_back(table, *limit)


def _give_up_for_today(table: str, picture: Picture, owner: str) -> None:
    analyses.give_up(table, picture.content_hash, owner)
    logger.info("Image held: a daily limit of analyses is reached")


def _pause(setbacks: int) -> float:
    """Seconds to wait after coming for a turn in vain: up to 2, 4, 8 ... and LONGEST_PAUSE_SECONDS."""
    longest = min(LONGEST_PAUSE_SECONDS, 2.0 ** (setbacks + 1))
    return random.uniform(longest / 2, longest)  # noqa: S311 - a delay, not a secret


def _wait_after_throttle(table: str, picture: Picture, owner: str, setbacks: int) -> Waiting:
    """Wait a moment, and then for another turn: others use the quota too, or it is lower than the pace."""
    now = time.time()
    turns.hold_back(table, now + SLEEP_SECONDS)
    until = now + _pause(setbacks)
    lane = lane_of(picture.key)
    analyses.wait(table, picture.content_hash, owner, until=until, turn=None, setbacks=setbacks + 1, lane=lane)
    logger.info("Rekognition throttled a call in its turn", setbacks=setbacks + 1)
    return Waiting(until)


def _unsafe(moderation: Moderation | None, unsafe_from: float | None) -> Rejection | None:
    return violation(moderation, unsafe_from) if moderation and unsafe_from is not None else None


def _ask(
    table: str, picture: Picture, owner: str, begun: Lease, unsafe_from: float | None
) -> Recognition | Rejection | None:
    """Rekognition's answer, stored for the same bytes; None when it throttles the call.

    Whether the picture is safe comes first: nobody pays for the labels of an unsafe one. It is stored at once, so that
    it is not paid for again when the second call is throttled or fails.
    """
    moderation = begun.moderation
    if unsafe_from is not None and moderation is None:
        seen = _call(table, picture, owner, rekognition.moderate)
        if not isinstance(seen, Moderation):
            return seen
        analyses.keep_moderation(table, picture.content_hash, owner, seen)
        moderation = seen
    if unsafe := _unsafe(moderation, unsafe_from):
        analyses.give_up(table, picture.content_hash, owner)
        return unsafe
    answer = begun.recognition or _call(table, picture, owner, rekognition.recognize)
    if isinstance(answer, Recognition):
        answer = replace(answer, moderation=moderation)
        analyses.finish(table, picture.content_hash, answer)
    return answer


def _call(
    table: str, picture: Picture, owner: str, operation: Callable[[str, str, str], Seen | Rejection]
) -> Seen | Rejection | None:
    """The answer of one operation; None when Rekognition throttles the call.

    Where there is no answer to store, the lease on the bytes ends, so that others may ask. After a ServiceError the
    lease stays, as there may be an answer, lost on its way; after a throttle it stays too, as its owner asks again.
    """
    try:
        answer = operation(picture.bucket, picture.key, picture.version_id)
    except ThrottledError:  # only here: DynamoDB's, when it is to store the answer, has nothing to do with the pace
        return None
    except PetDetectorError as error:
        if not isinstance(error, ServiceError):
            analyses.give_up(table, picture.content_hash, owner)
        raise
    if isinstance(answer, Rejection):
        analyses.give_up(table, picture.content_hash, owner)
    else:
        count("RekognitionCall")
    return answer
