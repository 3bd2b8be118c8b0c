"""The business metrics of a record's changes: each fact is counted once, and from the record alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.rules.business_metrics import measurements
from pet_detector.rules.models import Measurement, Record, Status
from pet_detector.rules.prices import image_cost


def record(status: str, **attributes: Any) -> Record:
    """A record as it is in this status, four seconds after its picture came."""
    common = {
        "ImageID": "0" * 32,
        "ProcessingStatus": status,
        "ReceivedAt": "2026-11-21T09:30:00Z",
        "UpdatedAt": "2026-11-21T09:30:04.500Z",
        "DetectedAnimal": "cat",
        "ConfidenceScore": 97.5,
        "ReasonCode": "EMPTY",
    }
    return cast(Record, common | attributes)


def names(old: Record | None, new: Record | None) -> list[str]:
    return [measurement.metric for measurement in measurements(old, new)]


def one(metric: str, old: Record | None, new: Record | None) -> Measurement:
    (found,) = [measurement for measurement in measurements(old, new) if measurement.metric == metric]
    return found


def test_what_a_person_decides_is_no_new_image() -> None:
    """Neither a verdict nor its undo counts or costs anything again."""
    assert names(record("needs_review"), record("completed")) == []
    assert names(record("completed"), record("needs_review")) == []


# --- What is received -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, record("uploading")], ids=["straight into the bucket", "promised by the API"])
def test_an_image_is_received_when_it_is_claimed(old: Record | None) -> None:
    assert names(old, record("processing")) == ["ImageReceived"]


def test_a_promise_is_not_yet_an_image() -> None:
    assert names(None, record("uploading")) == []


@pytest.mark.parametrize("status", ["failed", "rejected", "completed"])
def test_an_image_whose_claim_was_not_seen_is_received_all_the_same(status: str) -> None:
    """A failure may be the first that is ever written of an image."""
    assert names(None, record(status))[0] == "ImageReceived"


def test_an_image_of_a_backfill_is_registered_once() -> None:
    announced = record("uploading", UploadedBy="backfill")
    assert names(None, announced) == ["ImageRegistered"]
    assert names(announced, announced | {"CopyClaim": "another"}) == []
    assert names(announced, record("processing", UploadedBy="backfill")) == ["ImageReceived"]


# --- What becomes of it -----------------------------------------------------------------------------------------------


def test_a_certain_image_is_classified() -> None:
    found = list(measurements(record("processing"), record("completed")))
    assert found == [
        Measurement("ImageClassified", dimension=("Animal", "cat")),
        Measurement("ConfidenceScore", 97.5, "Percent"),
        Measurement("ProcessingTime", 4500.0, "Milliseconds"),
        Measurement("EstimatedCost", image_cost(analysed=True, uncertain=False), "None"),
    ]


@pytest.mark.parametrize(
    ("turn", "milliseconds"),
    [
        ("2026-11-21T14:30:00.000Z", 4500.0),  # it waited for five hours
        ("2026-11-21T09:29:00.000Z", 14_404_500.0 + 3_600_000),  # the turn of a former execution
        ("2026-11-21T14:30:09.000Z", 0.0),  # its turn came earlier than was expected
    ],
)
@pytest.mark.parametrize("status", ["completed", "needs_review", "rejected"])
def test_waiting_for_a_turn_is_no_processing_time(status: str, turn: str, milliseconds: float) -> None:
    new = record(status, TurnAt=turn, UpdatedAt="2026-11-21T14:30:04.500Z")
    assert one("ProcessingTime", record("processing"), new).value == milliseconds


def test_an_uncertain_image_is_classified_too_and_costs_the_review() -> None:
    new = record("needs_review", DetectedAnimal="other")
    assert names(record("processing"), new) == [
        "ImageClassified",
        "ConfidenceScore",
        "ImageUncertain",
        "ProcessingTime",
        "EstimatedCost",
    ]
    assert one("ImageClassified", record("processing"), new).dimension == ("Animal", "other")
    assert one("EstimatedCost", record("processing"), new).value == image_cost(analysed=True, uncertain=True)


def test_an_image_that_waited_for_its_turn_is_counted_and_costs_the_wait() -> None:
    new = record("completed", TurnAt="2026-11-21T09:30:01.500Z")
    assert one("ImageWaited", record("processing"), new).value == 1
    expected = image_cost(analysed=True, uncertain=False, waited=True)
    assert one("EstimatedCost", record("processing"), new).value == expected


def test_a_reused_analysis_costs_no_call() -> None:
    new = record("completed", AnalysisReused=True)
    assert one("AnalysisReused", record("processing"), new).value == 1
    assert one("EstimatedCost", record("processing"), new).value == image_cost(analysed=False, uncertain=False)
    assert "AnalysisReused" not in names(record("processing"), record("completed", AnalysisReused=False))


def test_a_rejected_image_says_why_and_costs_no_call() -> None:
    new = record("rejected", ReasonCode="TRUNCATED")
    assert names(record("processing"), new) == ["ImageRejected", "ProcessingTime", "EstimatedCost"]
    assert one("ImageRejected", record("processing"), new).dimension == ("ReasonCode", "TRUNCATED")
    assert one("EstimatedCost", record("processing"), new).value == image_cost(analysed=False, uncertain=False)


def test_a_failed_image_is_only_failed() -> None:
    assert names(record("processing"), record("failed")) == ["ImageFailed"]


def test_a_held_image_is_held_and_not_finished() -> None:
    assert names(record("processing"), record("held")) == ["ImageHeld"]


# --- What counts nothing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(Status))
def test_a_duplicate_changes_no_status_and_counts_nothing(status: str) -> None:
    assert names(record(status), record(status, UpdatedAt="2026-11-21T10:00:00Z", Notices={"uncertain"})) == []


@pytest.mark.parametrize("status", list(Status))
def test_a_record_that_expires_counts_nothing(status: str) -> None:
    assert names(record(status), None) == []


def test_a_record_that_only_remembers_a_notice_counts_nothing() -> None:
    assert names(None, {"ImageID": "0" * 32, "Notices": {"an execution"}}) == []


def test_no_change_at_all_counts_nothing() -> None:
    assert names(None, None) == []


# --- Whole stories ----------------------------------------------------------------------------------------------------

FAILED_AND_RESTARTED = ["uploading", "processing", "failed", "processing", "completed"]
HELD_AND_RELEASED = ["uploading", "processing", "held", "processing", "needs_review"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (FAILED_AND_RESTARTED, {"ImageReceived": 1, "ImageFailed": 1, "ImageClassified": 1}),
        (HELD_AND_RELEASED, {"ImageReceived": 1, "ImageHeld": 1, "ImageClassified": 1, "ImageUncertain": 1}),
        (["failed", "processing", "failed"], {"ImageReceived": 1, "ImageFailed": 2}),
    ],
    ids=["failed and restarted", "held and released", "failed twice"],
)
def test_a_restart_receives_nothing_again(statuses: list[str], expected: dict[str, int]) -> None:
    story = [None, *(record(status) for status in statuses)]
    counted = Counter(name for old, new in pairwise(story) for name in names(old, new))
    assert {name: counted[name] for name in counted if name.startswith("Image")} == expected


@given(st.lists(st.sampled_from(list(Status)), min_size=1, max_size=8))
def test_every_image_is_received_at_most_once_and_before_anything_else(statuses: list[Status]) -> None:
    later = [status for status in statuses if status is not Status.UPLOADING]
    story = [None, record("uploading"), *(record(status) for status in later)]
    counted = [name for old, new in pairwise(story) for name in names(old, new)]
    assert counted.count("ImageReceived") == bool(later)
    assert not counted or counted[0] == "ImageReceived"


def test_time_counts_from_the_first_receipt_over_a_restart() -> None:
    new = record("completed", UpdatedAt="2026-11-22T09:30:00Z")
    assert one("ProcessingTime", record("processing"), new).value == 24 * 60 * 60 * 1000


def test_clocks_that_disagree_give_no_negative_time() -> None:
    new = record("completed", UpdatedAt="2026-11-21T09:29:59.900Z")
    assert one("ProcessingTime", record("processing"), new).value == 0


def test_a_record_from_before_there_was_a_time_of_receipt_has_no_processing_time() -> None:
    new = record("completed")
    del new["ReceivedAt"]
    assert names(record("processing"), new) == ["ImageClassified", "ConfidenceScore", "EstimatedCost"]


# --- Content safety ---------------------------------------------------------------------------------------------------


def test_an_unsafe_picture_is_counted_by_its_reason_and_costs_one_call_of_rekognition() -> None:
    found = record("rejected", ReasonCode="UNSAFE_CONTENT")
    assert one("ImageRejected", record("processing"), found).dimension == ("ReasonCode", "UNSAFE_CONTENT")
    assert one("EstimatedCost", record("processing"), found).value == pytest.approx(0.001 + 6 * 0.000025)


def test_a_picture_that_was_found_safe_costs_two_calls_and_its_copy_none() -> None:
    safe = record("completed", ModerationVersion="7.0")
    assert one("EstimatedCost", record("processing"), safe).value == pytest.approx(0.002 + 6 * 0.000025)
    copy = record("completed", ModerationVersion="7.0", AnalysisReused=True)
    assert one("EstimatedCost", record("processing"), copy).value == pytest.approx(6 * 0.000025)
