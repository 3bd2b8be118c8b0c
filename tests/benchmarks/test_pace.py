"""The simulation, short: every burst ends, at the pace of the quota, and no live upload stands behind a backfill."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from pet_detector.aws import analyses, turns
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Label, Recognition
from tests.benchmarks.pace.scenarios import Scenario, simulate
from tests.benchmarks.pace.table import BACKFILL_APART
from tests.benchmarks.pace.virtual_time import START, Activity, Clock, World
from tests.benchmarks.pace.workflow import ANALYSES, Cloud
from tests.support import moto_world
from tests.support.handler_runs import moto, new_function

IMAGES = {5: 700, 50: 2500}  # enough that most wait, few enough for a second of computing
QUOTAS = pytest.mark.parametrize("quota", [5, 50])


@QUOTAS
def test_every_image_of_a_burst_ends_at_the_pace_of_the_quota(quota: int) -> None:
    result = simulate(Scenario("burst", IMAGES[quota], quota))

    assert result.failed == 0
    assert 1 <= result.over_floor <= 1.05
    assert result.busiest <= quota
    assert result.throttled == 0
    assert result.calls == IMAGES[quota]


def test_before_images_took_turns_many_of_a_burst_failed() -> None:
    """What is known of the old retriers: 44 % of 2,000 images at 5 calls a second."""
    result = simulate(Scenario("old", 2000, 5, is_old=True))

    assert 0.40 <= result.failed / 2000 <= 0.50


def test_images_that_wait_cost_three_transitions_more() -> None:
    result = simulate(Scenario("burst", IMAGES[5], 5))

    assert 2.5 <= result.transitions <= 3.6  # retries of the first second, when Lambda and DynamoDB throttle, included


@QUOTAS
def test_live_uploads_do_not_stand_behind_a_backfill(quota: int) -> None:
    alone = simulate(Scenario("live uploads alone", 1, quota, live=100, live_seconds=200)).live
    scenario = Scenario(
        "backfill", IMAGES[quota], quota, folder="input/backfill", seconds_apart=BACKFILL_APART, live=100
    )
    result = simulate(scenario)

    assert alone
    assert result.live
    assert result.live.half - alone.half <= 0.75
    assert result.live.nearly_all - alone.nearly_all <= 2
    assert result.failed == 0
    assert result.over_floor <= 1.05
    assert result.busiest <= quota


@QUOTAS
def test_no_image_fails_when_others_take_half_of_the_quota(quota: int) -> None:
    result = simulate(Scenario("others", IMAGES[quota], quota, others=0.5))

    assert result.throttled
    assert result.failed == 0
    assert result.over_floor <= 2.2  # 1.8 floors at half of the quota


def test_no_image_fails_when_others_take_most_of_the_quota() -> None:
    result = simulate(Scenario("others", 300, 5, others=0.85))

    assert result.throttled > result.calls / 2
    assert result.failed == 0


@QUOTAS
def test_no_image_fails_when_ten_functions_may_run_at_once(quota: int) -> None:
    result = simulate(Scenario("new account", IMAGES[quota] // 2, quota, concurrency=10))

    assert result.functions == 10
    assert result.no_function
    assert result.failed == 0


def test_copies_are_asked_about_once_and_unreadable_pictures_keep_nobody_waiting() -> None:
    result = simulate(Scenario("copies", IMAGES[50], 50, copies=0.3, unreadable=0.1))

    assert result.failed == 0
    assert result.end - result.floor <= 20  # who waited for another execution with the same bytes is not in a hurry
    assert result.calls < IMAGES[50] * 0.85


# --- The simulation itself --------------------------------------------------------------------------------------------


def test_code_that_is_run_again_learns_the_same_and_time_passes_only_where_it_waits() -> None:
    world = World(seed=1)
    clock, log, made = Clock(world), [], []

    def code() -> float:
        log.append(clock.time() - START)
        clock.sleep(2)
        world.takes_alone(lambda: 0.5, lambda: made.append(world.now - START))
        log.append(clock.time() - START)
        return world.takes(lambda: 1, lambda: world.now - START)

    ended: list[tuple[float, float]] = []

    def activity() -> Activity[None]:
        answer = yield from world.runs(code)
        ended.append((answer, world.now - START))

    world.begin(activity(), START)
    world.run()

    assert log == [0, 0, 2.5, 0, 2.5]
    assert made == [2]
    assert ended == [(3.5, 3.5)]


def test_the_table_of_the_simulation_answers_as_motos_does() -> None:
    commands = list(_commands(random.Random(7), 300))
    world = World(seed=1)
    cloud = Cloud(world, quota=5, concurrency=10, late=0)
    answers: list[Any] = []

    def activity(now: float, command: Callable[[str], Any]) -> Activity[None]:
        answers.append((yield from world.runs(lambda: _answer(command, ANALYSES))))

    with cloud.holds_the_product():
        for now, command in commands:
            with _time_is(now):
                world.begin(activity(now, command), now)
                world.run()
    expected = []
    with new_function(), moto():
        for now, command in commands:
            with _time_is(now):
                expected.append(_answer(command, moto_world.ANALYSES))

    assert answers == expected
    assert len({repr(answer) for answer in expected}) > 50


def _time_is(now: float) -> Any:
    return patch.object(analyses, "time", SimpleNamespace(time=lambda: now))


def _answer(command: Callable[[str], Any], table: str) -> Any:
    try:
        return command(table)
    except PetDetectorError as error:
        return type(error)


def _commands(dice: random.Random, count: int) -> Any:
    """Times, with what the product does then."""
    now = START
    for _ in range(count):
        now += dice.choice([0.1, 1, 40])
        lane, until, number = dice.choice(list(Lane)), now + dice.uniform(0, 60), dice.random()
        content, owner = dice.choice("xy"), dice.choice("ab")
        seen = Recognition((Label("Cat", 99.0),), dice.choice(["3.0", "3.1"]))

        def take(table: str, lane: Lane = lane, now: float = now) -> Any:
            return turns.take(table, lane, 0.3, earliest=now)

        def take_before(table: str, lane: Lane = lane, now: float = now, until: float = until) -> Any:
            return turns.take_before(table, lane, 0.3, earliest=now, latest=until)

        def hold_back(table: str, until: float = until) -> Any:
            return turns.hold_back(table, until)

        def next_turn(table: str, lane: Lane = lane) -> Any:
            return turns.next_turn(table, lane)

        def begin(table: str, content: str = content, owner: str = owner) -> Any:
            return analyses.begin(table, content, owner)

        def wait(
            table: str, content: str = content, owner: str = owner, until: float = until, n: float = number
        ) -> Any:
            return analyses.wait(
                table, content, owner, until=until, turn=until if n < 0.7 else None, setbacks=int(n * 9)
            )

        def finish(table: str, content: str = content, seen: Recognition = seen) -> Any:
            return analyses.finish(table, content, seen)

        def give_up(table: str, content: str = content, owner: str = owner) -> Any:
            return analyses.give_up(table, content, owner)

        weights = {take: 4, take_before: 4, hold_back: 1, next_turn: 2, begin: 6, wait: 4, finish: 1, give_up: 1}
        yield now, dice.choices(list(weights), list(weights.values()))[0]
