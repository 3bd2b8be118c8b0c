"""The way that every case takes through the deployed definition, how it ends, and how often each task is tried."""

from __future__ import annotations

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
    assert runs[name].transitions == prices.TRANSITIONS <= 8


def test_a_review_adds_as_many_transitions_as_its_price_counts(runs: dict[str, Run]) -> None:
    assert runs["Uncertain"].transitions == prices.TRANSITIONS + prices.REVIEW_TRANSITIONS


@pytest.mark.parametrize("name", CASES)
def test_an_execution_says_in_its_output_when_the_image_was_claimed_already(runs: dict[str, Run], name: str) -> None:
    """The rule that counts duplicates looks for that word, in no other execution's output."""
    run = runs[name]

    assert ("already_claimed" in (run.output or "")) is (run.path[-1] == "Already Claimed")
