"""Asking Rekognition in one's turn: who asks when, who waits until when, and who need not ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pet_detector.aws import daily_limit, rekognition, turns
from pet_detector.aws.clients import client
from pet_detector.rules.errors import AccessDeniedError, AnalysisInProgressError, ServiceError, ThrottledError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Label, ReasonCode, Recognition, Rejection
from pet_detector.use_cases.analyser import (
    LONGEST_PAUSE_SECONDS,
    SLEEP_SECONDS,
    Analysis,
    Limits,
    Picture,
    Waiting,
    analyse_once,
)
from tests.support.moto_world import ANALYSES, BUCKET, Cloud

CAT = Recognition((Label("Cat", 98.0),), "3.0")
START = 1_800_000_000.0
PACE = 2.0

Outcome = Analysis | Rejection | Waiting | None


class World:
    """A clock that only the test and the functions' own sleep move, and a Rekognition that says what the test says.

    `asked` has the time of every call of Rekognition.
    """

    def __init__(self) -> None:
        self.now = START
        self.asked: list[float] = []
        self.slept: list[float] = []
        self.answers: list[Recognition | Rejection | Exception] = []

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def recognize(self, bucket: str, key: str, version_id: str) -> Recognition | Rejection:
        self.asked.append(self.now)
        answer = self.answers.pop(0) if self.answers else CAT
        if isinstance(answer, Exception):
            raise answer
        return answer

    def analyse(
        self,
        picture: str,
        owner: str | None = None,
        *,
        folder: str = "input",
        a_day: int = 0,
        a_key: int = 0,
        by: str = "",
        pace: float = PACE,
    ) -> Outcome:
        """Analyse a picture that is named by its bytes; its execution has the same name unless it is given."""
        found = Picture(BUCKET, f"{folder}/{picture}.jpg", "v", picture)
        limits = Limits(pace, a_day, a_key)
        return analyse_once(ANALYSES, found, owner=owner or picture, limits=limits, uploaded_by=by)

    def wait(self, outcome: Outcome) -> None:
        """Let the time come that an image waits for."""
        assert isinstance(outcome, Waiting)
        self.now = max(self.now, outcome.until)


def near(seconds: float) -> Any:
    """The table keeps microseconds."""
    return pytest.approx(seconds, abs=1e-3)


@pytest.fixture
def world(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> World:
    """Its clock is the one of `analyser` and of `analyses`."""
    found = World()
    clock = SimpleNamespace(time=found.time, sleep=found.sleep)
    monkeypatch.setattr("pet_detector.use_cases.analyser.time", clock)
    monkeypatch.setattr("pet_detector.aws.analyses.time", clock)
    monkeypatch.setattr(rekognition, "recognize", found.recognize)
    return found


# --- One turn a call --------------------------------------------------------------------------------------------------


def test_nobody_waits_while_there_is_no_queue(world: World) -> None:
    assert world.analyse("a") == Analysis(CAT, reused=False)
    assert world.asked == [START]
    assert world.slept == [0.0]


def test_a_turn_within_sleep_seconds_is_slept_for_and_a_later_one_is_waited_for(world: World) -> None:
    outcomes = [world.analyse(name) for name in "abcd"]  # the second and third sleep half a second each
    assert outcomes == [Analysis(CAT, reused=False)] * 4
    world.now = START
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 9.5)
    world.now = START + 10 - SLEEP_SECONDS - 0.1
    assert world.analyse("e") == Waiting(START + 10)
    assert max(world.slept) <= SLEEP_SECONDS
    assert len(world.asked) == 4


def test_no_call_is_made_before_its_turn_and_all_turns_are_used(world: World) -> None:
    waiting = {}
    for n in range(12):  # at the same moment
        world.now = START
        waiting[f"p{n}"] = world.analyse(f"p{n}")
    waits = sorted((w.until, name) for name, w in waiting.items() if isinstance(w, Waiting))
    assert waits, "there is a queue"
    for until, name in waits:
        world.now = max(world.now, until - SLEEP_SECONDS)
        assert isinstance(world.analyse(name), Analysis)
    assert world.asked == pytest.approx([START + n / PACE for n in range(12)])


def test_an_image_that_comes_back_early_waits_for_the_same_turn(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    first = world.analyse("a")
    assert world.analyse("a") == first
    world.wait(first)
    assert isinstance(world.analyse("a"), Analysis)
    assert turns.next_turn(ANALYSES, Lane.LIVE) == pytest.approx(START + 101)


def test_after_a_reset_of_the_schedule_a_turn_beyond_it_is_worth_nothing(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 400 * 86400)
    assert world.analyse("a") == Waiting(near(START + 400 * 86400 + 0.5))
    client("dynamodb").delete_item(TableName=ANALYSES, Key={"ContentHash": {"S": "turns#live"}})
    assert world.analyse("a") == Analysis(CAT, reused=False)
    assert world.asked == [START]


def test_a_turn_is_used_once_and_a_second_attempt_takes_another(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    world.wait(world.analyse("a"))
    world.answers = [ServiceError("down")]
    with pytest.raises(ServiceError):
        world.analyse("a")
    assert isinstance(world.analyse("a"), Analysis)
    assert world.asked == pytest.approx([START + 100.5, START + 101])


def test_an_image_that_comes_much_too_late_takes_another_turn(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    world.wait(world.analyse("a"))
    world.now += 400
    assert isinstance(world.analyse("a"), Analysis)
    assert turns.next_turn(ANALYSES, Lane.LIVE) == pytest.approx(world.asked[0] + 0.5)


# --- The same bytes ---------------------------------------------------------------------------------------------------


def test_what_was_analysed_before_takes_no_turn(world: World) -> None:
    world.analyse("a")
    before = turns.next_turn(ANALYSES, Lane.LIVE)
    assert world.analyse("a", "another") == Analysis(CAT, reused=True)
    assert turns.next_turn(ANALYSES, Lane.LIVE) == before


def test_copies_wait_for_the_turn_of_the_first_and_take_none(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    first = world.analyse("a")
    assert isinstance(first, Waiting)
    copies = [world.analyse("a", f"copy {n}") for n in range(20)]
    assert turns.next_turn(ANALYSES, Lane.LIVE) == pytest.approx(START + 101)
    assert all(isinstance(copy, Waiting) and 2 <= copy.until - first.until <= 12 for copy in copies)
    assert len({copy.until for copy in copies if isinstance(copy, Waiting)}) > 1, "they do not all come back at once"
    world.wait(first)
    assert world.analyse("a") == Analysis(CAT, reused=False)
    assert [world.analyse("a", f"copy {n}") for n in range(20)] == [Analysis(CAT, reused=True)] * 20
    assert len(world.asked) == 1


def test_a_copy_takes_the_place_of_a_first_that_never_comes_back(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    world.analyse("a", "gone")
    world.now = START + 500
    assert world.analyse("a", "copy") == Analysis(CAT, reused=False)


def test_while_the_first_asks_the_others_come_again(world: World) -> None:
    world.answers = [ServiceError("down")]
    with pytest.raises(ServiceError):
        world.analyse("a")
    with pytest.raises(AnalysisInProgressError):
        world.analyse("a", "copy")


# --- Throttled all the same -------------------------------------------------------------------------------------------


def test_a_throttle_is_a_pause_and_another_turn_and_each_pause_is_longer(world: World) -> None:
    pauses = []
    for _ in range(12):
        world.answers = [ThrottledError("others use it")]
        outcome = world.analyse("a")
        assert isinstance(outcome, Waiting)
        pauses.append(outcome.until - world.now)
        world.wait(outcome)
    assert all(2**n / 2 <= pause <= 2**n for n, pause in enumerate(pauses[:6], start=1))
    assert all(LONGEST_PAUSE_SECONDS / 2 <= pause <= LONGEST_PAUSE_SECONDS for pause in pauses[6:])
    assert world.analyse("a") == Analysis(CAT, reused=False)
    assert len(world.asked) == 13


def test_a_throttle_holds_back_those_that_have_no_turn_yet(world: World) -> None:
    world.answers = [ThrottledError("others use it")]
    world.analyse("a")
    assert isinstance(world.analyse("b"), Analysis)
    assert world.asked == [START, START + SLEEP_SECONDS]


def test_an_image_that_was_throttled_in_its_turn_does_not_use_it_again(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    world.wait(world.analyse("a"))
    world.answers = [ThrottledError("others use it")]
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 200)  # a long queue has come meanwhile
    world.wait(world.analyse("a"))
    assert world.analyse("a") == Waiting(near(START + 200.5))


# --- Two lanes --------------------------------------------------------------------------------------------------------


def test_a_backfill_takes_turns_of_both_lanes(world: World) -> None:
    assert isinstance(world.analyse("a", folder="input/backfill"), Analysis)
    for lane in Lane:
        assert turns.next_turn(ANALYSES, lane) == pytest.approx(START + 0.5)


def test_a_live_upload_overtakes_a_backfill(world: World) -> None:
    turns.take(ANALYSES, Lane.BACKFILL, PACE, earliest=START + 3600)
    assert world.analyse("old", folder="input/backfill") == Waiting(START + 3600.5)
    assert isinstance(world.analyse("live"), Analysis)
    assert world.asked == [START]


def test_a_live_upload_does_not_wait_for_the_same_bytes_of_a_backfill(world: World) -> None:
    turns.take(ANALYSES, Lane.BACKFILL, PACE, earliest=START + 600)
    waiting = world.analyse("same", "old", folder="input/backfill")
    assert isinstance(waiting, Waiting)
    assert world.analyse("same", "new") == Analysis(CAT, reused=False)
    assert world.analyse("same", "old", folder="input/backfill") == Analysis(CAT, reused=True)


def test_a_backfill_waits_for_the_same_bytes_of_another_image(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 60)
    turns.take(ANALYSES, Lane.BACKFILL, PACE, earliest=START + 600)
    assert world.analyse("live", "first") == Waiting(near(START + 60.5))
    assert isinstance(world.analyse("live", "second", folder="input/backfill"), Waiting)
    world.analyse("stored", "first", folder="input/backfill")
    assert isinstance(world.analyse("stored", "second", folder="input/backfill"), Waiting)
    world.now = START + 60.5
    assert world.analyse("live", "first") == Analysis(CAT, reused=False)
    assert len(world.asked) == 1


def test_a_backfill_stands_behind_the_live_uploads_that_queue(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 60)
    first = world.analyse("a", folder="input/backfill")
    second = world.analyse("b", folder="input/backfill")
    assert (first, second) == (Waiting(START + 60.5), Waiting(START + 61))
    assert turns.next_turn(ANALYSES, Lane.LIVE) == pytest.approx(START + 60.5), "it took no turn of theirs"
    world.wait(first)
    assert isinstance(world.analyse("a", folder="input/backfill"), Analysis)


def test_a_backfill_that_finds_its_turn_taken_by_live_uploads_waits_again(world: World) -> None:
    turns.take(ANALYSES, Lane.BACKFILL, PACE, earliest=START + 10)
    world.wait(world.analyse("a", folder="input/backfill"))
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 60)
    again = world.analyse("a", folder="input/backfill")
    assert again == Waiting(near(START + 60.5))
    assert world.asked == []
    world.wait(again)
    assert isinstance(world.analyse("a", folder="input/backfill"), Analysis)


def test_a_backfill_that_live_uploads_refuse_again_and_again_comes_back_later_each_time(world: World) -> None:
    turns.take(ANALYSES, Lane.BACKFILL, PACE, earliest=START + 10)
    outcome = world.analyse("a", folder="input/backfill")
    pauses = []
    for _ in range(10):
        world.wait(outcome)
        turns.take(ANALYSES, Lane.LIVE, PACE, earliest=world.now + 2)  # a short queue of live uploads, without an end
        outcome = world.analyse("a", folder="input/backfill")
        assert isinstance(outcome, Waiting)
        pauses.append(outcome.until - world.now)
    assert pauses[-1] > 50, "each time costs three transitions"
    assert max(pauses) <= LONGEST_PAUSE_SECONDS
    world.wait(outcome)
    assert isinstance(world.analyse("a", folder="input/backfill"), Analysis)
    assert len(world.asked) == 1


# --- The daily limit and other ends -----------------------------------------------------------------------------------


def test_what_the_limit_of_the_day_refuses_does_not_wait_for_a_turn(world: World) -> None:
    daily_limit.spend(ANALYSES, 1)
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    assert world.analyse("a", a_day=1) is None
    assert turns.next_turn(ANALYSES, Lane.LIVE) == pytest.approx(START + 100.5)
    assert isinstance(world.analyse("a", "another", a_day=2), Waiting), "the lease of the first has ended"


def test_the_limit_counts_on_the_day_of_the_call(world: World) -> None:
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    waiting = world.analyse("a", a_day=1)
    assert daily_limit.spent(ANALYSES) == 0
    daily_limit.spend(ANALYSES, 1)  # another image is analysed meanwhile
    world.wait(waiting)
    assert world.analyse("a", a_day=1) is None
    assert world.asked == []


def spent(*uploaders: str) -> list[int]:
    return [daily_limit.spent(ANALYSES, of) for of in uploaders]


def test_one_key_that_is_at_its_limit_leaves_the_rest_of_the_day_to_others(world: World) -> None:
    assert isinstance(world.analyse("a", by="one", a_day=3, a_key=1), Analysis)
    assert [world.analyse(name, by="one", a_day=3, a_key=1) for name in "bcdef"] == [None] * 5
    assert spent("", "one", "two") == [1, 1, 0], "what is held counts nowhere"
    assert isinstance(world.analyse("g", by="two", a_day=3, a_key=1), Analysis)
    assert isinstance(world.analyse("a", by="one", a_day=3, a_key=1), Analysis), "what costs nothing is not limited"
    assert spent("", "one", "two") == [2, 1, 1]
    assert isinstance(world.analyse("b", by="one"), Analysis), "an operator released it"


def test_the_limit_of_all_holds_for_a_key_below_its_own(world: World) -> None:
    daily_limit.spend(ANALYSES, 5)
    turns.take(ANALYSES, Lane.LIVE, PACE, earliest=START + 100)
    waiting = world.analyse("a", by="one", a_day=2, a_key=2)
    daily_limit.spend(ANALYSES, 5)  # another image is analysed meanwhile
    world.wait(waiting)
    assert world.analyse("a", by="one", a_day=2, a_key=2) is None
    assert spent("", "one") == [2, 0], "the key has not used up anything"


@pytest.mark.parametrize("uploader", ["s3", "backfill", ""])
def test_what_has_no_key_counts_against_the_limit_of_all_only(world: World, uploader: str) -> None:
    for name in "ab":
        assert isinstance(world.analyse(name, by=uploader, a_day=2, a_key=1), Analysis)
    assert world.analyse("c", by=uploader, a_day=2, a_key=1) is None


def test_the_limit_of_keys_works_without_one_of_all_and_costs_a_call_only_when_it_is_on(world: World) -> None:
    world.analyse("the first one has a schedule to make", by="one")
    events: Any = client("dynamodb").meta.events
    calls: list[str] = []
    events.register("before-call.dynamodb", lambda model, **_: calls.append(model.name))
    world.analyse("a", by="one")
    without = calls.copy()
    calls.clear()
    world.analyse("b", by="one", a_key=1)
    assert sorted(calls) == sorted([*without, "GetItem", "UpdateItem"])
    assert world.analyse("c", by="one", a_key=1) is None


def test_a_throttled_call_is_taken_back(world: World) -> None:
    world.answers = [ThrottledError("others use it")]
    world.analyse("a", a_day=5, a_key=5, by="one")
    assert spent("", "one") == [0, 0]


@pytest.mark.parametrize(
    "answer", [AccessDeniedError("no"), Rejection(ReasonCode.UNSUPPORTED_FORMAT, "It cannot be read.")]
)
def test_without_an_answer_to_keep_the_lease_ends(world: World, answer: Exception | Rejection) -> None:
    world.answers = [answer]
    if isinstance(answer, Exception):
        with pytest.raises(AccessDeniedError):
            world.analyse("a")
    else:
        assert world.analyse("a") == answer
    assert isinstance(world.analyse("a", "another"), Analysis)
