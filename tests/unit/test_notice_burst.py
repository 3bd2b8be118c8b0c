"""A storm of notices: so many of a kind in any 5 minutes, then one digest that counts all the others."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pet_detector.aws import detection_logs, notice_burst
from pet_detector.aws.clients import client, counting_client
from pet_detector.aws.notice_burst import Turn, settle, take_turn, withheld
from pet_detector.rules.errors import AccessDeniedError, ServiceError, ThrottledError
from pet_detector.rules.notices import BURST_MINUTES, FAILURE, REVIEW
from tests.support.moto_world import TABLE, Cloud, breakdown, refusal

NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
LOST = ReadTimeoutError(endpoint_url="https://aws")


class Clock:
    """The time that the module reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = NOON
        monkeypatch.setattr(notice_burst, "datetime", SimpleNamespace(now=lambda _: self.time))

    def wait(self, **duration: float) -> None:
        self.time += timedelta(**duration)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def turns(number: int, kind: str = REVIEW, limit: int = 3) -> list[str]:
    return [take_turn(TABLE, kind, limit).value for _ in range(number)]


def digest(kind: str = REVIEW, limit: int = 3) -> int:
    """What a run of the Reconciler tells of a kind."""
    told = withheld(TABLE, kind, limit)
    settle(TABLE, told)
    return told.number


def item(aws: Cloud, kind: str = REVIEW) -> dict[str, Any]:
    return aws.item(f"notice-burst#{kind}")


# --- Which notices are sent -------------------------------------------------------------------------------------------


def test_so_many_are_sent_the_last_one_says_so_and_the_digest_counts_the_rest(aws: Cloud) -> None:
    assert turns(5) == ["send", "send", "last", "digest", "digest"]
    assert digest() == 2
    assert digest() == 0


def test_a_storm_of_one_kind_does_not_withhold_the_other(aws: Cloud) -> None:
    turns(9)
    assert turns(1, FAILURE) == ["send"]
    assert (digest(FAILURE), digest()) == (0, 6)


def test_a_burst_of_one_is_its_last_one_at_once(aws: Cloud) -> None:
    assert turns(2, limit=1) == ["last", "digest"]


def test_few_notices_are_sent_for_ever(aws: Cloud, clock: Clock) -> None:
    for _ in range(20):
        assert set(turns(1)) <= {"send", "last"}
        clock.wait(minutes=2)
        digest()


def test_minutes_that_are_over_are_forgotten(aws: Cloud, clock: Clock) -> None:
    for _ in range(40):
        assert turns(1, limit=20) == ["send"]
        digest(limit=20)
        clock.wait(minutes=1)
    assert len(item(aws)) < 10


def test_of_the_first_of_the_5_minutes_no_second_is_missed(aws: Cloud, clock: Clock) -> None:
    clock.wait(seconds=29)
    assert turns(3) == ["send", "send", "last"]
    clock.wait(minutes=4, seconds=5)
    assert turns(1) == ["digest"]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 90), st.booleans()), min_size=1, max_size=40), st.integers(1, 5))
def test_no_5_minutes_have_more_notices_than_they_may(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[int, bool]], limit: int
) -> None:
    """Whenever digests come, which may end the storm."""
    aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": f"notice-burst#{REVIEW}"}})
    clock, sent = Clock(monkeypatch), []
    for pause, digest_comes in steps:
        clock.wait(seconds=pause)
        if digest_comes:
            digest(limit=limit)
        if take_turn(TABLE, REVIEW, limit) is not Turn.DIGEST:
            sent.append(clock.time)
    for first in sent:
        assert sum(first <= time < first + timedelta(minutes=BURST_MINUTES) for time in sent) <= limit


# --- How long a storm lasts -------------------------------------------------------------------------------------------


def test_a_storm_of_hours_is_one_burst_and_digests(aws: Cloud, clock: Clock) -> None:
    counted: Counter[str] = Counter()
    digests = []
    for minute in range(1, 121):
        counted.update(turns(2))
        clock.wait(minutes=1)
        if minute % 15 == 0:
            digests.append(digest())
    assert counted == {"send": 2, "last": 1, "digest": 237}
    assert sum(digests) == 237
    assert len(digests) == 8


def test_after_the_storm_people_get_notices_again(aws: Cloud, clock: Clock) -> None:
    turns(9)
    clock.wait(minutes=7)
    assert turns(1) == ["digest"], "the digest has not come yet"
    clock.wait(minutes=7)
    assert digest() == 7
    assert turns(1) == ["send"]


def test_a_digest_in_the_middle_of_a_storm_does_not_end_it(aws: Cloud, clock: Clock) -> None:
    turns(9)
    clock.wait(minutes=1)
    assert digest() == 6
    assert turns(1) == ["digest"]
    clock.wait(minutes=15)
    assert digest() == 1
    assert turns(1) == ["send"]


def test_people_get_notices_when_no_digest_comes_any_more(aws: Cloud, clock: Clock) -> None:
    """The Reconciler does not run. What is withheld is kept for it."""
    turns(9)
    clock.wait(minutes=31)
    assert turns(4) == ["send", "send", "last", "digest"]
    assert digest() == 7


def test_the_digest_says_since_when(aws: Cloud, clock: Clock) -> None:
    turns(3)
    clock.wait(minutes=1)
    turns(1)
    first = detection_logs.format_time(clock.time)
    clock.wait(minutes=1)
    turns(1)
    assert withheld(TABLE, REVIEW, 3).since == first
    digest()
    assert withheld(TABLE, REVIEW, 3).since == detection_logs.format_time(clock.time), "of the last digest"


# --- Many at once, and what fails -------------------------------------------------------------------------------------


def one_update_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DynamoDB does to an item, and moto does not."""
    lock, made = threading.Lock(), counting_client()

    def update_item(**request: Any) -> Any:
        with lock:
            return made.update_item(**request)

    monkeypatch.setattr(notice_burst, "counting_client", lambda: SimpleNamespace(update_item=update_item))


def test_of_300_at_the_same_moment_just_so_many_are_sent(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    one_update_at_a_time(monkeypatch)
    assert turns(1, limit=20) == ["send"]
    barrier = threading.Barrier(30)

    def ten(_: int) -> list[str]:
        barrier.wait()
        return turns(10, limit=20)

    with ThreadPoolExecutor(30) as pool:
        found = Counter(itertools.chain.from_iterable(pool.map(ten, range(30))))
    assert found == {"send": 18, "last": 1, "digest": 281}
    assert digest(limit=20) == 281


def test_what_comes_between_the_digest_and_its_settling_is_kept_for_the_next_one(aws: Cloud, clock: Clock) -> None:
    for minutes in (0, 10):  # the storm goes on, or is over
        turns(9)
        clock.wait(minutes=minutes, seconds=1)
        told = withheld(TABLE, REVIEW, 3)
        turns(2)
        settle(TABLE, told)
        assert withheld(TABLE, REVIEW, 3).number == 2
        clock.wait(minutes=20)
        assert digest() == 2


@pytest.mark.parametrize("minutes", [0, 10])
def test_settling_twice_takes_nothing_off_twice(aws: Cloud, clock: Clock, minutes: int) -> None:
    turns(9)
    clock.wait(minutes=minutes, seconds=1)
    told = withheld(TABLE, REVIEW, 3)
    clock.wait(seconds=1)
    settle(TABLE, told)
    turns(20)
    waiting = withheld(TABLE, REVIEW, 3).number
    settle(TABLE, told)
    assert withheld(TABLE, REVIEW, 3).number == waiting > 0


@pytest.mark.parametrize("minutes", [0, 10])
def test_a_lost_answer_of_the_settling_takes_nothing_off_twice(aws: Cloud, clock: Clock, minutes: int) -> None:
    turns(9)
    clock.wait(minutes=minutes, seconds=1)
    told = withheld(TABLE, REVIEW, 3)
    turns(2)
    clock.wait(seconds=1)
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True) as fault:
        settle(TABLE, told)
    assert fault.happened == 1
    assert withheld(TABLE, REVIEW, 3).number == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", ThrottledError),
        ("InternalServerError", ServiceError),
        ("AccessDeniedException", AccessDeniedError),
    ],
)
def test_a_count_that_is_refused_is_tried_once(aws: Cloud, code: str, kind: type[Exception]) -> None:
    with refusal(counting_client(), "UpdateItem", code) as fault, pytest.raises(kind):
        take_turn(TABLE, REVIEW, 3)
    assert fault.happened == 1


def test_a_lost_answer_counts_once(aws: Cloud) -> None:
    with breakdown(counting_client(), "UpdateItem", LOST, done=True) as fault, pytest.raises(ServiceError):
        take_turn(TABLE, REVIEW, 3)
    assert fault.happened == 1
    assert turns(3) == ["send", "last", "digest"]


def test_the_count_is_no_record(aws: Cloud) -> None:
    """Whoever reads records does not see it: by id, in an index, or in the stream (test_metrics_publisher.py)."""
    turns(5)
    assert not item(aws).keys() & {"ProcessingStatus", "Shard", "StatusShard", "AnimalShard", "ListedAt", "ExpiresAt"}
    assert detection_logs.find(TABLE, f"notice-burst#{REVIEW}") is None
