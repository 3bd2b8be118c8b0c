"""`petdetect prune`: which versions go, and which never."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from tests.operator.fast.releases import BACKFILL_WORKFLOW, LIVE, Releases, naming, version_arn
from tests.support.moto_world import REVIEW_WORKFLOW, Cloud

Petdetect = Callable[..., Result]


@pytest.fixture(autouse=True)
def _nine_releases(aws: Cloud, published: Releases) -> None:
    """Version N of the workflow names version N of ImageProcessor, and version 1 or 2 of FileManager."""
    for number in range(1, 10):
        published.publish(number, ImageProcessor=number, FileManager=1 if number < 9 else 2)
    published.routes[LIVE] = {9: 100}
    published.definitions[BACKFILL_WORKFLOW] = naming(RegisterImages=7)
    published.functions["RegisterImages"] = list(range(1, 8))
    published.definitions[REVIEW_WORKFLOW] = naming(FileManager=2)
    published.executions[BACKFILL_WORKFLOW] = []


def _surplus(petdetect: Petdetect) -> dict[str, list[int]]:
    """What a dry run would delete: numbers by name."""
    document = json.loads(petdetect("prune", "--dry-run", "--json").stdout)
    found: dict[str, list[int]] = {}
    for each in document["surplus"]:
        found.setdefault(each["of"], []).append(each["number"])
    return found


def test_the_newest_five_stay_and_what_they_name(petdetect: Petdetect, published: Releases) -> None:
    answer = petdetect("prune", "--yes")

    assert answer.exit_code == 0
    assert [asked["arn"] for name, asked in published.calls if name == "DeleteStateMachineVersion"] == [
        version_arn(number) for number in (4, 3, 2, 1)
    ]
    assert published.functions == {
        "ImageProcessor": [5, 6, 7, 8, 9],
        "FileManager": [1, 2],  # five versions, though only two are there
        "RegisterImages": [3, 4, 5, 6, 7],
    }
    assert "10 versions deleted" in answer.stdout
    assert not [asked for _, asked in published.calls if asked.get("version") == "$LATEST"]


def test_a_second_run_has_nothing_to_do(petdetect: Petdetect, published: Releases) -> None:
    assert petdetect("prune", "--yes").exit_code == 0
    before = len(published.calls)
    again = petdetect("prune", "--yes")
    assert (again.exit_code, len(published.calls)) == (0, before)
    assert "0 versions are surplus" in again.stdout


def test_a_run_that_was_killed_is_finished_by_the_next(petdetect: Petdetect, published: Releases) -> None:
    for number in (4, 3):  # it had begun
        published.delete_state_machine_version(version_arn(number))
    published.delete_function("ImageProcessor", "4")
    assert petdetect("prune", "--yes").exit_code == 0
    assert published.functions["ImageProcessor"] == [5, 6, 7, 8, 9]
    assert _surplus(petdetect) == {}


@pytest.mark.parametrize(
    ("name", "routes"), [(LIVE, {2: 100}), (LIVE, {9: 90, 2: 10}), (f"{LIVE}-also", {2: 100}), (f"{LIVE}-z", {2: 100})]
)
def test_a_version_that_any_alias_names_stays_with_its_functions(
    petdetect: Petdetect, published: Releases, name: str, routes: dict[int, int]
) -> None:
    published.routes |= {f"{LIVE}-{letter}": {9: 100} for letter in "abc"}  # more than a page
    published.routes[name] = routes
    found = _surplus(petdetect)
    assert found["ImageWorkflow"] == [4, 3, 1]
    assert found["ImageProcessor"] == [4, 3, 1]


@pytest.mark.parametrize(
    ("status", "days", "stays"),
    [
        ("RUNNING", 0, True),
        ("RUNNING", 29, True),  # it waits for its turn
        ("FAILED", 13.9, True),
        ("TIMED_OUT", 13.9, True),
        ("ABORTED", 13.9, True),
        ("FAILED", 14.1, False),
        ("SUCCEEDED", 0, False),
    ],
)
def test_a_version_that_an_execution_needs_stays_with_its_functions(
    petdetect: Petdetect, published: Releases, status: str, days: float, stays: bool
) -> None:
    for number in range(4):  # more than a page
        published.run(status, f"new-{number}", version=9)
    published.run(status, "old", version=2, days_ago=days)
    found = _surplus(petdetect)
    expected = [4, 3, 1] if stays else [4, 3, 2, 1]
    assert (found["ImageWorkflow"], found["ImageProcessor"]) == (expected, expected)


def test_a_long_execution_that_failed_lately_keeps_its_version_though_others_ended_before(
    petdetect: Petdetect, published: Releases
) -> None:
    """The list is in the order of their begin."""
    for number in range(4):
        published.run("FAILED", f"new-{number}", version=9, days_ago=20)
    published.run("FAILED", "old", version=2, days_ago=40)
    published.executions["arn:aws:states:us-east-1:123456789012:stateMachine:ImageWorkflow"][-1]["stopDate"] = (
        published.executions["arn:aws:states:us-east-1:123456789012:stateMachine:ImageWorkflow"][-1]["stopDate"]
        .now()
        .astimezone()
    )
    assert 2 not in _surplus(petdetect)["ImageWorkflow"]


@pytest.mark.parametrize("status", ["RUNNING", "FAILED"])
def test_an_execution_without_a_version_keeps_the_functions_that_its_definition_names(
    petdetect: Petdetect, published: Releases, status: str
) -> None:
    published.run(status, "by-hand", definition=naming(ImageProcessor=3))
    published.run(status, "backfill", BACKFILL_WORKFLOW, definition=naming(RegisterImages=1))
    found = _surplus(petdetect)
    assert found["ImageWorkflow"] == [4, 3, 2, 1]
    assert found["ImageProcessor"] == [4, 2, 1]
    assert found["RegisterImages"] == [2]


def test_the_machines_themselves_keep_what_they_name(petdetect: Petdetect, published: Releases) -> None:
    """A person may start them in the console; somebody may have rolled a function of the backfill back."""
    published.definitions[BACKFILL_WORKFLOW] = naming(RegisterImages=1)
    published.definitions["arn:aws:states:us-east-1:123456789012:stateMachine:ImageWorkflow"] = naming(ImageProcessor=2)
    published.functions["FileManager"] = list(range(1, 10))
    published.definitions[REVIEW_WORKFLOW] = naming(FileManager=3)
    found = _surplus(petdetect)
    assert found["RegisterImages"] == [2]
    assert found["ImageProcessor"] == [4, 3, 1]
    assert found["FileManager"] == [4]  # images name 1 and 2, reviews 3


@pytest.mark.parametrize("shares", [{1: 1.0}, {9: 0.9, 1: 0.1}])
def test_a_function_version_that_an_alias_names_stays(
    petdetect: Petdetect, published: Releases, shares: dict[int, float]
) -> None:
    published.functions["UploadApi"] = list(range(1, 10))
    published.aliases["UploadApi"] = {"live": shares}
    assert _surplus(petdetect)["UploadApi"] == [4, 3, 2]


@pytest.mark.parametrize(
    ("code", "words"),
    [("ResourceConflictException", "1 are named by an alias since then"), ("ResourceNotFoundException", "")],
)
def test_what_changes_meanwhile_is_no_failure(petdetect: Petdetect, published: Releases, code: str, words: str) -> None:
    published.refused["ImageProcessor:3"] = code
    answer = petdetect("prune", "--yes")
    assert answer.exit_code == 0
    assert words in answer.stdout
    assert len(published.calls) == 9


def test_an_alias_that_takes_a_version_of_the_workflow_meanwhile_keeps_it(
    petdetect: Petdetect, published: Releases
) -> None:
    published.refused[version_arn(3)] = "ConflictException"
    answer = petdetect("prune", "--yes", "--json")
    document: dict[str, Any] = json.loads(answer.stdout)
    assert (answer.exit_code, len(document["surplus"]), len(document["deleted"])) == (0, 10, 9)


def test_an_error_of_aws_is_an_error(petdetect: Petdetect, published: Releases) -> None:
    published.refused["ImageProcessor:3"] = "AccessDeniedException"
    assert petdetect("prune", "--yes").exit_code == 1


def test_asks_first_and_a_dry_run_changes_nothing(petdetect: Petdetect, published: Releases) -> None:
    table = petdetect("prune", "--dry-run")
    unsure = petdetect("prune", typed="n\n")
    assert (table.exit_code, unsure.exit_code) == (0, 1)
    assert "10 versions are surplus; 5 of the image workflow and 12 of functions stay" in table.stdout
    assert petdetect("prune", "--json").exit_code == 2
    assert published.calls == []


def test_a_deployment_in_progress_is_waited_for(petdetect: Petdetect, published: Releases) -> None:
    published.stack_status = ["UPDATE_IN_PROGRESS"]
    answer = petdetect("prune", "--yes")
    assert (answer.exit_code, published.calls) == (1, [])
