"""The table Analyses: the same bytes are paid for once, of several executions one asks, and a day has its limit."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from pet_detector.aws import analyses
from pet_detector.aws.analyses import (
    KEPT_SECONDS,
    LEASE_SECONDS,
    TURN_KEPT_SECONDS,
    Lease,
    Taken,
    begin,
    finish,
    give_up,
    wait,
)
from pet_detector.aws.clients import client
from pet_detector.aws.daily_limit import is_reached, spend, spent, take_back
from pet_detector.rules.errors import (
    AccessDeniedError,
    AnalysisInProgressError,
    PetDetectorError,
    ServiceError,
    ThrottledError,
)
from pet_detector.rules.models import Label, Recognition
from tests.support.moto_world import ANALYSES, Cloud, breakdown, refusal

HASH = "a" * 64
SEEN = Recognition((Label("Cat", 98.765432), Label("Pet", 71.0)), "3.0")
NEW = Lease(turn=None, setbacks=0)
LOST = ReadTimeoutError(endpoint_url="https://dynamodb")


@pytest.fixture(autouse=True)
def table(aws: Cloud) -> Any:
    """The table."""
    return boto3.resource("dynamodb").Table(ANALYSES)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """later(seconds): time passes."""
    passed = [0.0]
    real = time.time
    monkeypatch.setattr("pet_detector.aws.analyses.time.time", lambda: real() + passed[0])

    def move(seconds: float) -> None:
        passed[0] += seconds

    return move


def item(table: Any, content_hash: str = HASH) -> dict[str, Any]:
    found: dict[str, Any] = table.get_item(Key={"ContentHash": content_hash})["Item"]
    return found


# --- One pays, others read --------------------------------------------------------------------------------------------


def test_the_first_must_ask_and_the_next_reads_what_was_said() -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    finish(ANALYSES, HASH, SEEN)
    assert begin(ANALYSES, HASH, "second") == SEEN
    assert begin(ANALYSES, HASH, "first") == SEEN


def test_other_bytes_are_another_matter() -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    finish(ANALYSES, HASH, SEEN)
    assert begin(ANALYSES, "b" * 64, "first") == NEW


def test_a_picture_with_nothing_on_it_is_remembered_too() -> None:
    empty = Recognition((), "3.0")
    assert begin(ANALYSES, HASH, "first") == NEW
    finish(ANALYSES, HASH, empty)
    assert begin(ANALYSES, HASH, "second") == empty


def test_of_two_at_once_one_asks_and_the_other_comes_again() -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "second")


def test_the_very_first_answer_counts_for_who_began_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a new deployment no model is known, and the same bytes may come many times in its first second."""
    read = analyses._newest_model
    looks: list[dict[str, Any]] = []

    def newest_model(table: str) -> dict[str, Any]:
        looks.append(read(table))
        if len(looks) == 1:  # the answer comes just after this look
            finish(ANALYSES, HASH, SEEN)
        return looks[-1]

    monkeypatch.setattr(analyses, "_newest_model", newest_model)
    found = begin(ANALYSES, HASH, "second")
    assert looks[0] == {}
    assert isinstance(found, Recognition)


def test_the_same_owner_may_begin_again_after_a_crash() -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    assert begin(ANALYSES, HASH, "first") == NEW


def test_giving_up_ends_the_lease_but_not_another_owners() -> None:
    assert begin(ANALYSES, HASH, "one") == NEW
    give_up(ANALYSES, HASH, "two")
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "two")
    give_up(ANALYSES, HASH, "one")
    assert begin(ANALYSES, HASH, "two") == NEW


def test_giving_up_that_aws_refuses_is_an_error() -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(AccessDeniedError):
        give_up(ANALYSES, HASH, "one")


def test_a_lease_whose_owner_is_dead_ends(later: Any) -> None:
    assert begin(ANALYSES, HASH, "dead") == NEW
    later(LEASE_SECONDS - 1)
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "second")
    later(2)
    assert begin(ANALYSES, HASH, "second") == NEW
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "third")


def test_a_lease_never_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is a whole second; what is left of the second in which it began counts, too."""
    clock = [1_000_000.9]
    monkeypatch.setattr("pet_detector.aws.analyses.time.time", lambda: clock[0])
    assert begin(ANALYSES, HASH, "first") == NEW
    clock[0] = 1_000_000.0 + LEASE_SECONDS  # a tenth of a second is missing
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "second")


def test_an_answer_that_was_lost_makes_no_owner_wait(aws: Cloud) -> None:
    """The lease was written, its answer was cut, the SDK asks again: the owner recognises its own lease."""
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True) as fault:
        assert begin(ANALYSES, HASH, "first") == NEW
    assert fault.happened == 1


# --- Waiting for a turn -----------------------------------------------------------------------------------------------


def near(seconds: float) -> Any:
    """The table keeps microseconds."""
    return pytest.approx(seconds, abs=1e-3)


def wait_for(turn: float | None, *, until: float, owner: str = "first", setbacks: int = 0) -> None:
    wait(ANALYSES, HASH, owner, until=until, turn=turn, setbacks=setbacks)


def test_an_owner_that_waits_keeps_the_lease_and_finds_its_turn_once(later: Any) -> None:
    turn = time.time() + 3600
    begin(ANALYSES, HASH, "first")
    wait_for(turn, until=turn)
    later(3599)
    assert begin(ANALYSES, HASH, "second") == Taken(near(turn))
    assert begin(ANALYSES, HASH, "first") == Lease(near(turn), 0)
    assert begin(ANALYSES, HASH, "first") == NEW, "a turn is for one call"


def test_while_the_owner_asks_in_its_turn_others_come_again() -> None:
    begin(ANALYSES, HASH, "first")
    wait_for(time.time(), until=time.time())
    begin(ANALYSES, HASH, "first")
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "second")


@pytest.mark.parametrize(("seconds", "is_kept"), [(TURN_KEPT_SECONDS - 5, True), (TURN_KEPT_SECONDS + 5, False)])
def test_a_turn_is_kept_for_five_minutes(later: Any, seconds: int, is_kept: bool) -> None:
    turn = time.time() + 100
    begin(ANALYSES, HASH, "first")
    wait_for(turn, until=turn)
    later(100 + seconds)
    found = begin(ANALYSES, HASH, "first")
    assert isinstance(found, Lease)
    assert (found.turn is not None) == is_kept


def test_an_owner_that_does_not_come_back_loses_the_lease_and_its_turn_is_nobodys(later: Any) -> None:
    turn = time.time() + 100
    begin(ANALYSES, HASH, "gone")
    wait_for(turn, until=turn, owner="gone", setbacks=2)
    later(100 + TURN_KEPT_SECONDS - 2)
    assert isinstance(begin(ANALYSES, HASH, "second"), Taken)
    later(4)
    assert begin(ANALYSES, HASH, "second") == NEW


def test_throttles_are_counted_for_their_owner(later: Any) -> None:
    begin(ANALYSES, HASH, "first")
    wait_for(None, until=time.time() + 2, setbacks=3)
    assert begin(ANALYSES, HASH, "first") == Lease(None, 3)
    finish(ANALYSES, HASH, SEEN)
    assert begin(ANALYSES, HASH, "first") == SEEN


def test_only_the_owner_can_wait() -> None:
    begin(ANALYSES, HASH, "first")
    wait_for(None, until=time.time() + 1000, owner="second")
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "second")


# --- Another model ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [("3.0", "3.1"), ("3.9", "3.10"), ("3.9", "4.0"), ("unknown", "3.0"), ("2026a", "2026b")],
)
def test_what_an_older_model_said_is_asked_again(older: str, newer: str) -> None:
    for content_hash, version in ((HASH, older), ("b" * 64, newer)):
        assert begin(ANALYSES, content_hash, "first") == NEW
        finish(ANALYSES, content_hash, Recognition(SEEN.labels, version))
    assert begin(ANALYSES, HASH, "second") == NEW
    finish(ANALYSES, HASH, Recognition((), newer))
    assert begin(ANALYSES, HASH, "third") == Recognition((), newer)


def test_while_aws_replaces_a_model_the_newer_one_counts() -> None:
    for content_hash, version in ((HASH, "3.1"), ("b" * 64, "3.0")):
        assert begin(ANALYSES, content_hash, "first") == NEW
        finish(ANALYSES, content_hash, Recognition(SEEN.labels, version))
    assert begin(ANALYSES, HASH, "second") == Recognition(SEEN.labels, "3.1")
    assert begin(ANALYSES, "b" * 64, "second") == NEW


def test_what_was_just_written_is_read() -> None:
    """A read that may be older than the last write would ask Rekognition, or an operator, once too often."""
    asked: list[bool] = []
    client("dynamodb").meta.events.register(
        "before-parameter-build.dynamodb.GetItem", lambda params, **_: asked.append(params.get("ConsistentRead", False))
    )
    begin(ANALYSES, HASH, "first")
    spent(ANALYSES)
    assert asked == [True, True]


def test_what_is_asked_again_is_asked_by_one(table: Any) -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    finish(ANALYSES, HASH, SEEN)
    finish(ANALYSES, "b" * 64, Recognition((), "3.1"))
    assert begin(ANALYSES, HASH, "second") == NEW
    with pytest.raises(AnalysisInProgressError):
        begin(ANALYSES, HASH, "third")


def test_finishing_ends_the_lease_and_sets_an_end(table: Any) -> None:
    assert begin(ANALYSES, HASH, "first") == NEW
    before = int(time.time())
    finish(ANALYSES, HASH, SEEN)
    stored = item(table)
    assert not {"LeaseOwner", "LeaseEnds"} & set(stored)
    assert before + KEPT_SECONDS <= stored["ExpiresAt"] <= before + KEPT_SECONDS + 5
    assert item(table, "newest-model")["ModelVersion"] == "3.0"


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ThrottlingException", 400, ThrottledError),
        ("ProvisionedThroughputExceededException", 400, ThrottledError),
        ("InternalServerError", 500, ServiceError),
        ("AccessDeniedException", 400, AccessDeniedError),
    ],
)
@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem", "PutItem"])
def test_errors_of_aws_have_the_names_that_the_state_machine_retries(
    operation: str, code: str, status: int, error: type[PetDetectorError]
) -> None:
    def ask_and_store() -> None:
        begin(ANALYSES, HASH, "first")
        finish(ANALYSES, HASH, SEEN)

    with refusal(client("dynamodb"), operation, code, status), pytest.raises(error):
        ask_and_store()


# --- The daily limit --------------------------------------------------------------------------------------------------


def test_no_limit_costs_no_call() -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException") as fault:
        assert spend(ANALYSES, 0)
    assert fault.happened == 0


def test_the_limit_is_reached_and_no_further() -> None:
    for _ in range(3):
        assert spend(ANALYSES, 3)
    for _ in range(2):
        assert not spend(ANALYSES, 3)


def test_what_was_refused_is_not_counted(table: Any) -> None:
    spend(ANALYSES, 1)
    assert not spend(ANALYSES, 1)
    assert item(table, f"analysed#{datetime.now(UTC):%Y-%m-%d}")["Images"] == 1


def test_a_raised_limit_lets_more_through_on_the_same_day() -> None:
    spend(ANALYSES, 1)
    assert spend(ANALYSES, 2)
    assert not spend(ANALYSES, 2)


def test_whether_it_is_reached_is_known_without_counting() -> None:
    assert [is_reached(ANALYSES, limit) for limit in (0, 1)] == [False, False]
    spend(ANALYSES, 1)
    assert [is_reached(ANALYSES, limit) for limit in (0, 1, 2)] == [False, True, False]
    assert spent(ANALYSES) == 1


def test_what_was_refused_by_rekognition_is_taken_back() -> None:
    assert spend(ANALYSES, 1)
    take_back(ANALYSES, 1)
    assert spent(ANALYSES) == 0
    assert spend(ANALYSES, 1)


def test_what_was_counted_yesterday_is_not_taken_back_today() -> None:
    take_back(ANALYSES, 1)  # the call began before midnight
    assert spent(ANALYSES) == 0
    assert spend(ANALYSES, 1)
    assert not spend(ANALYSES, 1)


@pytest.mark.parametrize(("limit", "calls"), [(0, 0), (5, 1)])
def test_to_take_back_costs_nothing_without_a_limit_and_never_hides_why_it_was_needed(limit: int, calls: int) -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException") as fault:
        take_back(ANALYSES, limit)
    assert fault.happened == calls


def test_the_next_day_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        moment = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.moment

    monkeypatch.setattr("pet_detector.aws.daily_limit.datetime", Clock)
    spend(ANALYSES, 1)
    assert not spend(ANALYSES, 1)
    Clock.moment = datetime(2026, 11, 22, tzinfo=UTC)
    assert spend(ANALYSES, 1)


def test_a_counter_expires_a_week_after_its_last_image(table: Any) -> None:
    """Never on its own day, as the limit would begin anew."""
    week = 7 * 24 * 60 * 60
    before = int(time.time())
    spend(ANALYSES, 5)
    counter = item(table, f"analysed#{datetime.now(UTC):%Y-%m-%d}")
    assert before + week <= counter["ExpiresAt"] <= before + week + 5


def test_a_throttled_counter_is_retried_and_not_taken_for_the_limit() -> None:
    with refusal(client("dynamodb"), "UpdateItem", "ThrottlingException"), pytest.raises(ThrottledError):
        spend(ANALYSES, 5)
