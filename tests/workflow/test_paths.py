"""The way that every case takes through the deployed definition, how it ends, and how often each task is tried."""

from __future__ import annotations

import json

import pytest

from pet_detector.rules import prices

from .answers import REJECTIONS
from .cases import CASES
from .executions import Run, definition

TASKS = {name for name, state in definition()["States"].items() if state["Type"] == "Task"}


@pytest.mark.parametrize("name", CASES)
def test_execution_takes_its_path(runs: dict[str, Run], name: str) -> None:
    assert runs[name].path == CASES[name].path


@pytest.mark.parametrize("name", CASES)
def test_execution_ends_as_it_should(runs: dict[str, Run], name: str) -> None:
    run = runs[name]

    assert (run.status, run.error) == ("FAILED" if CASES[name].error else "SUCCEEDED", CASES[name].error)


@pytest.mark.parametrize("name", CASES)
def test_each_task_is_tried_as_often_as_it_should(runs: dict[str, Run], name: str) -> None:
    assert runs[name].attempts == CASES[name].expected_attempts(TASKS)


@pytest.mark.parametrize("name", ["Cat", "Dog", "Other", "Reused", *(f"Rejected{reason}" for reason in REJECTIONS)])
def test_an_image_takes_as_many_transitions_as_its_price_counts(runs: dict[str, Run], name: str) -> None:
    assert runs[name].transitions == prices.TRANSITIONS <= 6


def test_a_review_adds_as_many_transitions_as_its_price_counts(runs: dict[str, Run]) -> None:
    assert runs["Uncertain"].transitions == prices.TRANSITIONS + prices.REVIEW_TRANSITIONS


@pytest.mark.parametrize(
    ("name", "waits", "reviews"), [("Waiting", 1, 0), ("WaitingThreeTimes", 3, 0), ("WaitingAndUncertain", 1, 1)]
)
def test_each_wait_adds_as_many_transitions_as_its_price_counts(
    runs: dict[str, Run], name: str, waits: int, reviews: int
) -> None:
    more = waits * prices.WAIT_TRANSITIONS + reviews * prices.REVIEW_TRANSITIONS
    assert runs[name].transitions == prices.TRANSITIONS + more


def test_the_record_becomes_final_when_everything_else_is_done(runs: dict[str, Run]) -> None:
    final = [run for run in runs.values() if run.status == "SUCCEEDED" and "Move Image" in run.path]

    assert {run.path[-1] for run in final} == {"Log Detection", "Already Claimed"}
    assert all(run.path[-2] == "Log Detection" for run in final if run.path[-1] == "Already Claimed")


@pytest.mark.parametrize(
    ("name", "status"), [("Cat", "completed"), ("Uncertain", "needs_review"), ("RejectedEmpty", "rejected")]
)
def test_an_execution_says_in_its_output_how_the_image_ended(runs: dict[str, Run], name: str, status: str) -> None:
    assert json.loads(runs[name].output or "") == {"outcome": status}


@pytest.mark.parametrize("name", CASES)
def test_an_execution_says_in_its_output_when_the_image_was_claimed_already(runs: dict[str, Run], name: str) -> None:
    """The rule that counts duplicates looks for that word, in no other execution's output."""
    run = runs[name]

    assert ("already_claimed" in (run.output or "")) is (run.path[-1] == "Already Claimed")
