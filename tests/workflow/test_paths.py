"""The way that every case takes through the shipped definition, how it ends, and how often each task is tried."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("name", ["Cat", "Dog", "Other"])
def test_a_certain_image_takes_at_most_eight_transitions(runs: dict[str, Run], name: str) -> None:
    assert runs[name].transitions <= 8
