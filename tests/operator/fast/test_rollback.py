"""`petdetect rollback`: where `live` goes, what is said before, and when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from ops import rollback
from tests.operator.fast.releases import LIVE, Releases, version_arn
from tests.support.definitions import references, resources, source
from tests.support.moto_world import Cloud

Petdetect = Callable[..., Result]


@pytest.fixture(autouse=True)
def _three_releases(aws: Cloud, published: Releases) -> None:
    published.publish(2, ImageProcessor=2)
    published.publish(3, ImageProcessor=2, FileManager=4)
    published.routes[LIVE] = {3: 100}
    published.functions["UploadApi"] = [1, 2, 10]
    published.aliases["UploadApi"] = {"live": {10: 1.0}}


def test_goes_back_by_one_with_one_call_and_says_its_seconds(petdetect: Petdetect, published: Releases) -> None:
    answer = petdetect("rollback", "--yes")

    assert answer.exit_code == 0
    ((operation, asked),) = published.calls
    assert operation == "UpdateStateMachineAlias"
    assert asked == {"alias": LIVE, "routes": [{"stateMachineVersionArn": version_arn(2), "weight": 100}]}
    assert "from version 3 to 2" in answer.stdout
    assert "Version 2 is live, after 0." in answer.stdout
    for kept in ("SSM", "records and pictures", "roles", "the API's", "The next deployment"):
        assert kept in answer.stdout


def test_a_dry_run_shows_every_version_and_changes_nothing(petdetect: Petdetect, published: Releases) -> None:
    table = petdetect("rollback", "--dry-run")
    document = json.loads(petdetect("rollback", "--dry-run", "--json").stdout)

    assert table.exit_code == 0
    assert published.calls == []
    assert "FileManager 4, ImageProcessor 2" in table.stdout
    assert "100 %" in table.stdout
    assert [(each["number"], each["share"]) for each in document["versions"]] == [(3, 100), (2, 0), (1, 0)]
    assert (document["from"], document["to"], document["dryRun"]) == (3, 2, True)


@pytest.mark.parametrize(("typed", "number"), [("y\n", 2), ("n\n", 3), ("", 3)])
def test_asks_first(petdetect: Petdetect, published: Releases, typed: str, number: int) -> None:
    answer = petdetect("rollback", typed=typed)

    assert (answer.exit_code == 0) == (number == 2)
    assert published.routes[LIVE] == {number: 100}
    assert petdetect("rollback", "--json").exit_code == 2


def test_goes_forward_again_by_its_number(petdetect: Petdetect, published: Releases) -> None:
    assert petdetect("rollback", "--yes").exit_code == 0
    assert petdetect("rollback", "--to", "3", "--yes").exit_code == 0
    assert published.routes[LIVE] == {3: 100}


def test_a_version_that_was_taken_back_is_not_the_one_to_go_back_to(petdetect: Petdetect, published: Releases) -> None:
    """Version 3 was bad, 4 mends it and is bad in another way: 2 was the last good one."""
    assert petdetect("rollback", "--yes").exit_code == 0
    published.publish(4, ImageProcessor=3)
    published.routes[LIVE] = {4: 100}  # as the next deployment does, which leaves the description

    assert "from version 4 to 2" in petdetect("rollback", "--yes").stdout
    assert published.routes[LIVE] == {2: 100}
    assert petdetect("rollback", "--to", "4", "--yes").exit_code == 0  # it was not so bad
    published.publish(5, ImageProcessor=4)
    published.routes[LIVE] = {5: 100}
    assert "from version 5 to 4" in petdetect("rollback", "--dry-run").stdout


def test_all_that_are_older_were_taken_back(petdetect: Petdetect, published: Releases) -> None:
    published.descriptions[LIVE] = "Taken back: 1, 2"
    answer = petdetect("rollback", "--yes")
    assert (answer.exit_code, published.calls) == (1, [])
    assert "were taken back (--to names one all the same)" in answer.stderr.replace("\n", " ")


def test_a_description_of_somebody_elses_says_nothing(petdetect: Petdetect, published: Releases) -> None:
    published.descriptions[LIVE] = "The release of 2026-11-02"
    assert "from version 3 to 2" in petdetect("rollback", "--dry-run").stdout


def test_a_function_remembers_too(petdetect: Petdetect, published: Releases) -> None:
    assert petdetect("rollback", "--function", "UploadApi", "--yes").exit_code == 0
    published.functions["UploadApi"].append(11)
    published.aliases["UploadApi"]["live"] = {11: 1.0}
    assert "from version 11 to 2" in petdetect("rollback", "--function", "UploadApi", "--dry-run").stdout


@pytest.mark.parametrize(("routes", "number"), [({3: 10, 2: 90}, 1), ({3: 60, 1: 40}, 2)])
def test_a_split_alias_goes_wholly_to_the_version_before_the_one_with_most_of_it(
    petdetect: Petdetect, published: Releases, routes: dict[int, int], number: int
) -> None:
    published.routes[LIVE] = routes
    assert petdetect("rollback", "--yes").exit_code == 0
    assert published.routes[LIVE] == {number: 100}


def test_a_version_of_a_split_alias_can_have_all_of_it(petdetect: Petdetect, published: Releases) -> None:
    published.routes[LIVE] = {3: 10, 2: 90}
    assert petdetect("rollback", "--to", "2", "--yes").exit_code == 0
    assert published.routes[LIVE] == {2: 100}


def test_versions_that_were_pruned_are_passed_over(petdetect: Petdetect, published: Releases) -> None:
    published.delete_state_machine_version(version_arn(2))
    assert petdetect("rollback", "--yes").exit_code == 0
    assert published.routes[LIVE] == {1: 100}


@pytest.mark.parametrize(
    ("routes", "arguments", "words"),
    [
        ({1: 100}, (), "nothing to go back to: version 1 is the oldest"),
        ({3: 100}, ("--to", "4"), "no version 4 of the image workflow: there are 3, 2, 1"),
        ({3: 100}, ("--to", "3"), "live already"),
    ],
)
def test_what_cannot_be_is_refused(
    petdetect: Petdetect, published: Releases, routes: dict[int, int], arguments: tuple[str, ...], words: str
) -> None:
    published.routes[LIVE] = routes

    answer = petdetect("rollback", "--yes", *arguments)

    assert answer.exit_code == 1
    assert words in answer.stderr
    assert published.calls == []


# --- While CloudFormation works ---------------------------------------------------------------------------------------


def test_a_deployment_in_progress_is_cancelled_and_waited_for(
    petdetect: Petdetect, published: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.waiter.time.sleep", lambda _: None)
    published.stack_status = ["UPDATE_IN_PROGRESS"] * 2 + ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]

    answer = petdetect("rollback", "--yes")

    assert answer.exit_code == 0, answer.stderr
    assert [operation for operation, _ in published.calls] == ["CancelUpdateStack"]
    assert "aws cloudformation cancel-update-stack --stack-name serverlessapp-pet-detector-dev" in answer.stdout
    assert "taken back, after" in answer.stdout


def test_a_deployment_that_cannot_go_back_is_reported(
    petdetect: Petdetect, published: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.waiter.time.sleep", lambda _: None)
    published.stack_status = ["UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED"]

    answer = petdetect("rollback", "--yes")

    assert answer.exit_code == 1
    assert "it is UPDATE_ROLLBACK_FAILED" in answer.stderr
    assert "describe-stack-events" in answer.stderr


def test_a_deployment_in_progress_is_only_shown_in_a_dry_run_and_refuses_a_version(
    petdetect: Petdetect, published: Releases
) -> None:
    published.stack_status = ["UPDATE_IN_PROGRESS"]

    shown = petdetect("rollback", "--dry-run")
    document = json.loads(petdetect("rollback", "--dry-run", "--json").stdout)
    refused = petdetect("rollback", "--to", "1", "--yes")
    unsure = petdetect("rollback", typed="n\n")

    assert "cancel-update-stack" in shown.stdout
    assert document == {"dryRun": True, "cancels": "serverlessapp-pet-detector-dev"}
    assert (refused.exit_code, unsure.exit_code) == (1, 1)
    assert "A deployment is in progress" in refused.stderr
    assert published.calls == []


@pytest.mark.parametrize("status", rollback._BUSY)
def test_a_stack_that_is_busy_otherwise_is_waited_for(petdetect: Petdetect, published: Releases, status: str) -> None:
    published.stack_status = [status]
    answer = petdetect("rollback", "--yes")
    assert (answer.exit_code, published.calls) == (1, [])
    assert f"is {status}: wait" in answer.stderr


# --- Functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [{10: 1.0}, {10: 0.9, 2: 0.1}])
def test_a_function_goes_back_by_one(petdetect: Petdetect, published: Releases, shares: dict[int, float]) -> None:
    published.aliases["UploadApi"]["live"] = shares

    answer = petdetect("rollback", "--function", "UploadApi", "--yes")

    assert answer.exit_code == 0
    ((operation, asked),) = published.calls
    assert operation == "UpdateAlias"
    assert asked == {"function": "UploadApi", "to": "2", "RoutingConfig": {"AdditionalVersionWeights": {}}}
    assert "petdetect rollback --function UploadApi --to 10" in answer.stdout


def test_a_function_without_codedeploy_needs_no_way_back(petdetect: Petdetect, published: Releases) -> None:
    published.functions["Reconciler"] = [1, 2]
    published.aliases["Reconciler"] = {"live": {2: 1.0}}
    answer = petdetect("rollback", "--function", "Reconciler", "--yes")
    assert published.aliases["Reconciler"]["live"] == {1: 1.0}
    assert "CodeDeploy" not in answer.stdout


def test_a_function_that_an_older_stack_has_not_is_refused(petdetect: Petdetect) -> None:
    answer = petdetect("rollback", "--function", "ErasureApi", "--yes")
    assert answer.exit_code == 1
    assert "has no function ErasureApi" in answer.stderr


def test_functions_with_calls_of_their_own_are_those_that_something_else_than_a_workflow_calls() -> None:
    """A rule, a schedule, a stream or the API. The others the state machines call, by their versions."""
    functions = resources("AWS::Lambda::Function").keys()
    callers = ("AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::Lambda::EventSourceMapping")
    called = {
        name
        for kind in callers
        for properties in resources(kind).values()
        for name in references(properties) & functions
    }
    written = source()["Resources"]
    for name in functions:
        events = written[name]["Properties"].get("Events", {}).values()
        called |= {name} if any(event["Type"] == "Api" for event in events) else set()
    shifted = {name for name in functions if "DeploymentPreference" in written[name]["Properties"]}
    assert {name.removesuffix("Function") for name in called} == set(rollback.FUNCTIONS)
    assert {name.removesuffix("Function") for name in shifted} == set(rollback._SHIFTED_BY_CODEDEPLOY)
