"""What CloudFormation does to a deployed release when today's template comes, judged by its schemas."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest

from tests.support.definitions import STACKS, translate
from tests.support.paths import REPOSITORY
from tests.support.stacks import NAMES, STACK_FILE, Stack
from tests.support.templates import load

from . import archive
from .replacements import Resources, added_indexes, moved_names, replaced

# An upgrade may replace these. CloudFormation makes the new one first and deletes the old one last.
HARMLESS = {
    "FailureRecorderFunctionEventInvokeConfig": "settings of asynchronous calls: of the alias instead of the function",
    "MetricsPublisherFunctionEventInvokeConfig": "the same",
    "ReconcilerFunctionEventInvokeConfig": "the same",
    "FailureRecorderFunctionExecutionFailedPermission": "a permission: of the alias instead of the function",
    "MetricsPublisherFunctionDuplicateIgnoredPermission": "the same",
    "ImagesApiFunctionAllImagesPermissionStage": "the same",
    "ImagesApiFunctionHealthPermissionStage": "the same",
    "ImagesApiFunctionOneImagePermissionStage": "the same",
    "UploadApiFunctionUploadPermissionStage": "the same",
    "ImageUploadedRule": "has a name now; while both are there an upload starts twice, and one finds it claimed",
}

# What an upgrade removes of what holds something, and where it is said that one has to look into it first.
REMOVED_STORES = {
    "UndeliveredUploadsQueue",
    "UnrecordedFailuresQueue",
    "UnmeasuredChangesQueue",
    "MissedReconciliationsQueue",
    "UndeliveredNoticesQueue",
}
STORES = (
    "AWS::S3::Bucket",
    "AWS::DynamoDB::Table",
    "AWS::SQS::Queue",
    "AWS::SNS::Topic",
    "AWS::Logs::LogGroup",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::ApiKey",
    "AWS::KMS::Key",
    "AWS::SSM::Parameter",
)

# Releases whose alarms and dashboards moved between stacks since: they are upgraded without Observability.
WITHOUT_OBSERVABILITY = {"e7db1c3"}


@cache
def today() -> Resources:
    resources: Resources = translate()["Resources"]
    return resources


@pytest.fixture(scope="module", params=archive.names())
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier release, unpacked; its directory has its name."""
    return archive.unpack(request.param, tmp_path_factory.mktemp("release") / request.param)


@pytest.fixture
def before(release: Path) -> Resources:
    resources: Resources = translate(load(release / "template.yaml"))["Resources"]
    return resources


def test_an_upgrade_replaces_nothing_that_holds_something_or_has_an_address(before: Resources) -> None:
    assert set(replaced(before, today())) - set(HARMLESS) == set()
    assert not [name for name in HARMLESS if today()[name]["Type"] in STORES]


def test_an_upgrade_removes_only_stores_that_the_changelog_names(before: Resources) -> None:
    gone = {name for name in before.keys() - today().keys() if before[name]["Type"] in STORES}
    assert gone - REMOVED_STORES == set()
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert [name for name in gone if f"`{name}`" not in changelog] == []


def test_each_row_is_still_needed(tmp_path: Path) -> None:
    found: set[str] = set()
    for name in archive.names():
        template = archive.unpack(name, tmp_path / name) / "template.yaml"
        found |= replaced(translate(load(template))["Resources"], today()).keys()
    assert found == set(HARMLESS)


def test_an_upgrade_makes_one_index_of_a_table_at_most(before: Resources) -> None:
    assert {name: indexes for name, indexes in added_indexes(before, today()).items() if len(indexes) > 1} == {}


def test_an_upgrade_moves_no_alarm_and_no_dashboard_to_another_resource(release: Path) -> None:
    names = NAMES | {"MonthlyBudgetUsd": 100, "CostAnomalyUsd": 10}
    old = Stack(release / "stacks" / STACK_FILE.name, names).resources
    moved = moved_names(old, Stack(STACK_FILE, names).resources)
    assert bool(moved) == (release.name in WITHOUT_OBSERVABILITY), moved


@pytest.mark.parametrize("stack", sorted(file.name for file in STACKS.glob("*.yaml")))
def test_an_upgrade_replaces_nothing_in_the_optional_stacks(release: Path, stack: str) -> None:
    if (release / "stacks" / stack).exists():
        assert replaced(load(release / "stacks" / stack)["Resources"], load(STACKS / stack)["Resources"]) == {}


def test_the_judge_objects() -> None:
    changed = copy.deepcopy(today())
    table = changed["DetectionLogsTable"]["Properties"]
    table["TableName"] = "pets"
    changed["PetDetectorApiStage"]["Properties"]["StageName"] = "another"
    found = replaced(today(), changed)
    # The mapping reads the stream of the table, and no mapping can be given another one.
    assert found["DetectionLogsTable"] == {"TableName"}
    assert found["RecordChangedMapping"] == {"EventSourceArn"}
    assert found["PetDetectorApiStage"] == {"StageName"}
    assert "ImageBucket" not in found

    del table["GlobalSecondaryIndexes"][:2]
    assert len(added_indexes(today(), changed)["DetectionLogsTable"]) == 2

    alarm = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": "pets-errors"}}
    assert moved_names({"Alarms.Errors": alarm}, {"Errors": alarm}) == {"pets-errors"}
    assert moved_names({"Errors": alarm}, {"Errors": alarm}) == set()
