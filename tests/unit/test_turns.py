"""Turns to call Rekognition: one after the other at the pace, none twice, none before its time."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from pet_detector.aws.clients import client
from pet_detector.aws.turns import hold_back, next_turn, take, take_before
from pet_detector.rules.errors import AccessDeniedError, ServiceError, ThrottledError
from pet_detector.rules.lanes import Lane, lane_of
from tests.support.moto_world import ANALYSES, Cloud, breakdown, refusal

NOW = 1_800_000_000.0
PACE = 4.0  # a turn each 0.25 s

pytestmark = pytest.mark.usefixtures("aws")


def took(lane: Lane = Lane.LIVE, *, earliest: float = NOW) -> float:
    return take(ANALYSES, lane, PACE, earliest=earliest)


@pytest.fixture
def writes() -> list[str]:
    """The calls of UpdateItem."""
    made: list[str] = []
    client("dynamodb").meta.events.register("before-call.dynamodb.UpdateItem", lambda **_: made.append("UpdateItem"))
    return made


def test_the_first_turn_is_at_once_and_the_next_ones_follow_at_the_pace() -> None:
    assert [took() for _ in range(5)] == pytest.approx([NOW, NOW + 0.25, NOW + 0.5, NOW + 0.75, NOW + 1])


def test_a_turn_costs_one_write_when_nobody_waits_and_two_when_somebody_does(writes: list[Any]) -> None:
    took()
    assert len(writes) == 1
    took()
    assert len(writes) == 3


def test_after_a_quiet_time_nothing_is_caught_up_on() -> None:
    took()
    assert [took(earliest=NOW + 60) for _ in range(2)] == pytest.approx([NOW + 60, NOW + 60.25])


def test_the_lanes_do_not_know_of_each_other() -> None:
    took(Lane.BACKFILL)
    assert took() == NOW


def test_a_turn_that_would_come_too_late_is_not_taken() -> None:
    for _ in range(4):
        took()
    assert take_before(ANALYSES, Lane.LIVE, PACE, earliest=NOW, latest=NOW + 0.9) is None
    assert take_before(ANALYSES, Lane.LIVE, PACE, earliest=NOW, latest=NOW + 1) == pytest.approx(NOW + 1)
    assert next_turn(ANALYSES, Lane.LIVE) == pytest.approx(NOW + 1.25)


def test_an_absurd_schedule_gives_absurd_turns_and_never_the_same_one_twice() -> None:
    """Better late than all at once: an operator can reset it (docs/operations.md)."""
    took(earliest=NOW * 1000)  # milliseconds, by a fault
    assert len({took() for _ in range(3)}) == 3
    assert took() > NOW * 1000


def test_asking_for_the_next_turn_takes_none() -> None:
    assert next_turn(ANALYSES, Lane.LIVE) is None
    took()
    for _ in range(2):
        assert next_turn(ANALYSES, Lane.LIVE) == pytest.approx(NOW + 0.25)


def test_a_lane_that_is_held_back_moves_only_forward() -> None:
    hold_back(ANALYSES, NOW + 5)  # nobody ever took a turn
    assert took() == NOW
    hold_back(ANALYSES, NOW + 5)
    assert took() == NOW + 5
    hold_back(ANALYSES, NOW + 1)
    assert took() == pytest.approx(NOW + 5.25)


def test_a_lost_answer_costs_a_turn_and_gives_none_twice() -> None:
    lost = ReadTimeoutError(endpoint_url="https://dynamodb")
    with breakdown(client("dynamodb"), "UpdateItem", lost, done=True):
        first = took()
    assert first == pytest.approx(NOW + 0.25)
    with breakdown(client("dynamodb"), "UpdateItem", lost, done=True):
        second = took(earliest=NOW + 60)
    assert second == pytest.approx(NOW + 60.25)
    assert took() == pytest.approx(NOW + 60.5)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ProvisionedThroughputExceededException", 400, ThrottledError),
        ("InternalServerError", 500, ServiceError),
        ("AccessDeniedException", 400, AccessDeniedError),
    ],
)
def test_errors_of_aws_have_the_names_that_the_state_machine_retries(
    code: str, status: int, error: type[Exception]
) -> None:
    with refusal(client("dynamodb"), "UpdateItem", code, status):
        with pytest.raises(error):
            took()
        with pytest.raises(error):
            hold_back(ANALYSES, NOW)


def test_what_cannot_be_written_is_no_turn(aws: Cloud) -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(AccessDeniedError):
        took()
    assert next_turn(ANALYSES, Lane.LIVE) is None


@pytest.mark.parametrize(
    ("key", "lane"),
    [
        ("input/cat.jpg", Lane.LIVE),
        ("input/backfill/cat.jpg", Lane.BACKFILL),
        ("input/backfill.jpg", Lane.LIVE),
        ("input/my/input/backfill/cat.jpg", Lane.LIVE),
        ("cats/cat.jpg", Lane.LIVE),
    ],
)
def test_the_folder_is_the_lane(key: str, lane: Lane) -> None:
    assert lane_of(key) is lane
