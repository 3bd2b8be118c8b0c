"""Nothing in the definition goes untested: every state, branch, catcher and retrier is taken by some case.

The lists come from the definition itself, so a new state fails here until it has a case.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .cases import CASES
from .executions import Run, definition

STATES: dict[str, Any] = definition()["States"]

BRANCHES = [
    (name, index)
    for name, state in STATES.items()
    if state["Type"] == "Choice"
    for index in [*range(len(state["Choices"])), *([None] if "Default" in state else [])]
]
CATCHERS = [(name, index) for name, state in STATES.items() for index in range(len(state.get("Catch", [])))]
RETRIERS = [(name, index) for name, state in STATES.items() for index in range(len(state.get("Retry", [])))]


def thrown(case: str, run: Run) -> Iterator[tuple[str, list[str | None]]]:
    """Each task of a run that was tried, and what its attempts were answered: the name of an error, or None."""
    for state, attempts in run.attempts.items():
        answers = CASES[case].answers[state][:attempts]
        yield state, [answer.get("Throw", {}).get("Error") for answer in answers]


def retrier_of(state: str, error: str) -> int | None:
    """The retrier that decides about an error: the first that names it."""
    for index, retrier in enumerate(STATES[state].get("Retry", [])):
        if {error, "States.ALL"} & set(retrier["ErrorEquals"]):
            return index
    return None


def retried(runs: dict[str, Run], state: str, retrier: int) -> Iterator[str]:
    """Every error after which this retrier had the task tried again."""
    for case, run in runs.items():
        for where, errors in thrown(case, run):
            if where == state:
                yield from (error for error in errors[:-1] if error and retrier_of(state, error) == retrier)


def exhausted(runs: dict[str, Run], state: str, retrier: int) -> Iterator[str]:
    """Every case in which this retrier used all its attempts in vain."""
    attempts = 1 + STATES[state]["Retry"][retrier]["MaxAttempts"]
    for case, run in runs.items():
        for where, errors in thrown(case, run):
            same = [error for error in errors if error and retrier_of(state, error) == retrier]
            if where == state and errors[-1] and len(same) == attempts:
                yield case


def test_no_state_hides_in_another() -> None:
    assert not [name for name, state in STATES.items() if state["Type"] in ("Map", "Parallel")]  # not in these lists


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_entered(runs: dict[str, Run], state: str) -> None:
    assert any(state in run.path for run in runs.values())


@pytest.mark.parametrize(("state", "index"), BRANCHES)
def test_every_branch_of_a_choice_is_taken(runs: dict[str, Run], state: str, index: int | None) -> None:
    assert any(index in run.chosen.get(state, []) for run in runs.values())


@pytest.mark.parametrize(("state", "index"), CATCHERS)
def test_every_catcher_catches(runs: dict[str, Run], state: str, index: int) -> None:
    assert any(run.caught.get(state) == index for run in runs.values())


@pytest.mark.parametrize(("state", "index"), RETRIERS)
def test_every_retrier_retries_each_error_that_it_names(runs: dict[str, Run], state: str, index: int) -> None:
    named = set(STATES[state]["Retry"][index]["ErrorEquals"]) - {"States.ALL"}
    errors = set(retried(runs, state, index))

    assert errors
    assert errors >= named


@pytest.mark.parametrize(("state", "index"), RETRIERS)
def test_every_retrier_gives_up_in_some_case(runs: dict[str, Run], state: str, index: int) -> None:
    assert list(exhausted(runs, state, index))


def test_every_mocked_state_is_a_task_of_the_definition() -> None:
    tasks = {name for name, state in STATES.items() if state["Type"] == "Task"}

    assert all(case.answers.keys() == tasks for case in CASES.values())
