"""`petdetect drill` after five damages: what it finds is what was done, everything is back on the copy, and the
original is as it was. tests/operator/drill does the same on the local AWS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from click.testing import Result
from moto.backends import get_backend

from ops import drill, drill_command, drill_remove, drill_restore
from ops.environment import Deployment
from pet_detector.aws import erasures
from tests.operator.fast import images
from tests.operator.fast.releases import Releases
from tests.support.moto_world import ANALYSES, BUCKET, ERASURES, REVIEWS, TABLE, Cloud

Petdetect = Callable[..., Result]
FOLDERS = {"cats": "cat", "dogs": "dog", "others": "other"}
STRIPPED = b"what is filed has no metadata"
PREFIX = "serverlessapp-pet-detector-dev-drill-"


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation knows the tags of the stack."""
    stacks = {"Stacks": [{"Tags": [{"Key": "Project", "Value": "pet-detector"}]}]}
    monkeypatch.setattr(Releases, "describe_stacks", lambda *_, **__: stacks)


def ids(folder: str) -> list[str]:
    """Twelve images of a folder."""
    return [hashlib.sha256(f"{folder}{number}".encode()).hexdigest()[:32] for number in range(12)]


def file(aws: Cloud, folder: str, image_id: str) -> None:
    """A finished image as the workflow leaves it: what was uploaded has another hash than what is filed."""
    uploaded = hashlib.sha256(image_id.encode()).hexdigest()
    metadata = {"uploaded-sha256": uploaded, "uploaded-bytes": "9", "source-version": "v"}
    aws.put(f"{folder}/{image_id}.jpg", STRIPPED, Metadata=metadata)
    aws.write(
        image_id,
        ProcessingStatus="completed",
        DetectedAnimal=FOLDERS[folder],
        S3Location=f"s3://{BUCKET}/{folder}/{image_id}.jpg",
        ContentHash=uploaded,
        Timestamp="2026-11-21T09:00:00.000Z",
        UpdatedAt="2026-11-21T09:00:01.000Z",
        SourceKey=f"input/{image_id}.jpg",
        SourceVersion="v",
        Notices={"b", "a"},
    )


@pytest.fixture
def before(aws: Cloud, deployment: Deployment) -> datetime:
    """36 finished images, one that failed, one that waits, an API key, a review; backups of them -> a moment after."""
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})
    for folder in FOLDERS:
        for image_id in ids(folder):
            file(aws, folder, image_id)
    images.present(aws, "a" * 32)
    images.present(aws, "b" * 32, "held", UpdatedAt=datetime.now(UTC).isoformat())
    aws.know_key("key-1", Owner="key-1")
    aws.put_review({"ImageID": ids("cats")[0], "Entry": "review", "Queue": "uncertain", "Order": "1"})
    aws.put("samples/check/cat.jpg", b"nobody's")
    for table in (TABLE, REVIEWS, ERASURES):
        aws.dynamodb.create_backup(TableName=table, BackupName="nightly")
    hour = timedelta(hours=1)
    for version in versions_in_moto():
        version.last_modified -= hour
    for backup in get_backend("dynamodb")["123456789012"]["us-east-1"].backups.values():
        backup.creation_date_time -= hour
    return datetime.now(UTC) - hour / 2


def versions_in_moto() -> Iterator[Any]:
    """Every object version that moto has, to make it older."""
    keys = get_backend("s3")["123456789012"]["aws"].buckets[BUCKET].keys
    return (version for key in list(keys) for version in keys.getlist(key))


def original(aws: Cloud) -> object:
    """All of the original: items, versions and delete markers, settings, backups, executions, alarms."""
    there = aws.dynamodb.list_tables()["TableNames"]
    versions = aws.s3.list_object_versions(Bucket=BUCKET)
    return (
        {
            table: sorted(
                json.dumps(item, sort_keys=True, default=str) for item in aws.dynamodb.scan(TableName=table)["Items"]
            )
            for table in there
        },
        [(one["Key"], one["VersionId"]) for one in versions.get("Versions", [])],
        [(one["Key"], one["VersionId"]) for one in versions.get("DeleteMarkers", [])],
        {table: aws.dynamodb.describe_table(TableName=table)["Table"] for table in there},
        aws.dynamodb.list_backups()["BackupSummaries"],
        sorted(bucket["Name"] for bucket in aws.s3.list_buckets()["Buckets"]),
        aws.started(),
    )


def rows_deleted(aws: Cloud) -> dict[str, Any]:
    """A script deleted records."""
    lost = ids("cats")[:5]
    for image_id in lost:
        aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": image_id}})
    return {"DetectionLogsTable": {"removed": sorted(lost)}}


def rows_changed(aws: Cloud) -> dict[str, Any]:
    """A script made dogs of cats."""
    wrong = ids("cats")[2:9]
    for image_id in wrong:
        aws.dynamodb.update_item(
            TableName=TABLE,
            Key={"ImageID": {"S": image_id}},
            UpdateExpression="SET DetectedAnimal = :dog",
            ExpressionAttributeValues={":dog": {"S": "dog"}},
        )
    return {"DetectionLogsTable": {"changed": sorted(wrong)}}


def keys_deleted(aws: Cloud) -> dict[str, Any]:
    """Somebody ran `aws s3 rm --recursive` on a folder."""
    there = aws.keys()
    keys = [key for key in there if key.startswith("dogs/")]
    for key in keys:
        aws.s3.delete_object(Bucket=BUCKET, Key=key)
    return {"objects": {"removed": sorted(keys)}}


def bucket_emptied(aws: Cloud) -> dict[str, Any]:
    """And on the whole bucket."""
    keys = aws.keys()
    for key in keys:
        aws.s3.delete_object(Bucket=BUCKET, Key=key)
    # Under input/ a delete marker changes nothing: the version is the image.
    return {"objects": {"removed": sorted(key for key in keys if not key.startswith("input/"))}}


def table_gone(aws: Cloud) -> dict[str, Any]:
    """Somebody deleted the table."""
    aws.dynamodb.delete_table(TableName=TABLE)
    return {"gone": ["DetectionLogsTable"]}


@pytest.mark.parametrize("damage", [rows_deleted, rows_changed, keys_deleted, bucket_emptied, table_gone])
def test_it_finds_what_was_damaged_brings_all_back_and_touches_nothing(
    aws: Cloud, petdetect: Petdetect, before: datetime, damage: Callable[[Cloud], dict[str, Any]]
) -> None:
    expected = damage(aws)
    as_it_is = original(aws)

    result = petdetect("drill", "--at", before.isoformat(), "--yes", "--json")

    assert original(aws) == as_it_is
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # What it finds is what was done, and no more.
    nothing: dict[str, list[str]] = {"removed": [], "changed": [], "added": []}
    names = {"DetectionLogsTable", "ReviewsTable", "objects"} - set(expected.get("gone", []))
    assert found["gone"] == expected.get("gone", [])
    assert found["changes"] == {name: nothing | expected.get(name, {}) for name in names}
    # Everything is back: every record has its object, with its hash.
    assert found["restored"] == {"objects": 39, "DetectionLogsTable": 39, "ReviewsTable": 1}
    assert (found["first"]["agree"], found["first"]["missing"], found["open"]) == (36, [], 0)
    assert found["isWhole"]
    assert set(found["rtoSeconds"]) == {"restore", "rewire", "verify", "remove"}
    assert drill_remove.find(PREFIX) == []


def test_settings_are_set_again_proven_and_a_lost_one_is_told(
    aws: Cloud, petdetect: Petdetect, before: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudwatch = boto3.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="records-throttled",
        MetricName="WriteThrottleEvents",
        Namespace="AWS/DynamoDB",
        Dimensions=[{"Name": "TableName", "Value": TABLE}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )

    changed = BaseClient._make_api_call  # type: ignore[attr-defined]

    def changes_the_key(client: Any, operation: str, parameters: Any) -> Any:
        """As DynamoDB does; moto's UpdateTable forgets it."""
        if operation == "UpdateTable" and "SSESpecification" in parameters:
            table = get_backend("dynamodb")["123456789012"]["us-east-1"].tables[parameters["TableName"]]
            own = {"KMSMasterKeyId": "arn:aws:kms:us-east-1:123456789012:key/aws-dynamodb"}
            table.sse_specification = own | parameters["SSESpecification"]
        return changed(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", changes_the_key)
    aws.dynamodb.update_table(TableName=TABLE, SSESpecification={"Enabled": True, "SSEType": "KMS"})

    settings = json.loads(petdetect("drill", "--yes", "--json").stdout)["settings"]

    found = {(one["of"], one["name"]): one["found"] for one in settings}
    assert found["DetectionLogsTable", "stream"] == "NEW_AND_OLD_IMAGES"
    assert found["DetectionLogsTable", "TTL"] == found["ReviewsTable", "TTL"] == "ExpiresAt"
    assert found["DetectionLogsTable", "indexes"] == "AnimalIndex ListingIndex OwnerIndex StatusIndex"
    assert found["ErasuresTable", "TTL"] == found["ErasuresTable", "stream"] == "none"
    assert {found[table, "point-in-time recovery"] for table in drill_restore.TABLES} == {"on"}
    assert found["ImageBucket", "versioning"] == "Enabled"
    assert found["DetectionLogsTable", "key"].startswith("arn:aws:kms:")
    assert found["alarm", "records-throttled"] == "same"
    assert "Project=pet-detector" in found["ErasuresTable", "tags"]
    assert [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]] == ["records-throttled"]

    refused = BaseClient._make_api_call  # type: ignore[attr-defined]

    def forgets(client: Any, operation: str, parameters: Any) -> Any:
        return {} if operation == "UpdateTimeToLive" else refused(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", forgets)
    result = petdetect("drill", "--yes")
    assert result.exit_code == 3
    assert "not ExpiresAt" in result.stdout
    assert "Not everything came back, or was proven" in result.stdout


def test_protected_tables_are_protected_again_and_removed_all_the_same(
    aws: Cloud, deployment: Deployment, petdetect: Petdetect, before: datetime
) -> None:
    deployment.parameters["Stage"] = "prod"
    found = json.loads(petdetect("drill", "--yes", "--json").stdout)
    protection = [one for one in found["settings"] if one["name"] == "deletion protection"]
    assert [(one["wanted"], one["found"]) for one in protection] == [("on", "on")] * 3
    assert found["isWhole"]
    assert drill_remove.find(PREFIX) == []


def test_a_copy_is_removed_without_the_recovery_by_which_aws_would_keep_a_backup_of_it(
    aws: Cloud, petdetect: Petdetect, before: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovery: dict[str, bool] = {}
    deleted: dict[str, bool] = {}
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def noted(client: Any, operation: str, parameters: Any) -> Any:
        name = parameters.get("TableName", "")
        if operation == "UpdateContinuousBackups":
            recovery[name] = parameters["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        elif operation == "DeleteTable":
            deleted[name] = recovery[name]
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    assert petdetect("drill", "--yes").exit_code == 0
    assert deleted
    assert not any(deleted.values())


def test_what_was_erased_since_is_erased_again_on_the_copy_alone(
    aws: Cloud, petdetect: Petdetect, before: datetime
) -> None:
    erased = ids("cats")[:3]
    assert petdetect("erase", *erased, "--yes").exit_code == 0
    as_it_is = original(aws)

    # The objects' versions are gone for good: what comes back is the records. One was erased with its object there.
    aws.put(f"cats/{erased[0]}.jpg", STRIPPED)
    as_it_is = original(aws)
    result = petdetect("drill", "--at", before.isoformat(), "--yes", "--json")

    assert original(aws) == as_it_is  # also the ledger's counts
    found = json.loads(result.stdout)
    assert (result.exit_code, found["erasedAgain"], found["notErased"]) == (0, 3, [])
    assert found["first"]["agree"] == 33
    assert found["changes"]["DetectionLogsTable"]["changed"] == sorted(erased)


def test_the_gap_is_closed_by_rebuilding_and_by_the_reconcilers_rule(
    aws: Cloud, petdetect: Petdetect, before: datetime
) -> None:
    """Objects are as they are now, the table as of an hour ago: what came since has an object and no record."""
    images.gone(aws, "e" * 32, "processing", ClaimedAt="2026-11-21T09:00:00.000Z")
    aws.dynamodb.create_backup(TableName=TABLE, BackupName="the newest")
    file(aws, "dogs", "c" * 32)
    aws.put(f"input/{'d' * 32}.jpg", b"just uploaded")
    as_it_is = original(aws)

    result = petdetect("drill", "--yes", "--json")

    found = json.loads(result.stdout)
    assert original(aws) == as_it_is
    assert found["first"]["unrecorded"] == [f"dogs/{'c' * 32}.jpg"]
    assert found["first"]["notStarted"] == [f"input/{'d' * 32}.jpg"]
    assert found["rebuilt"] == ["c" * 32]
    assert found["reconciler"] == {"start": 1, "leave": 2, "close": 1}
    assert found["first"]["missing"] == ["e" * 32]
    assert (result.exit_code, found["open"]) == (3, 1)  # the one whose object is gone for good


def test_point_in_time_recovery_is_preferred_and_the_rpo_is_the_newest_surviving_fact(
    aws: Cloud, petdetect: Petdetect, before: datetime
) -> None:
    recovery = {"PointInTimeRecoveryStatus": "ENABLED", "EarliestRestorableDateTime": before.timestamp()}
    recovery["LatestRestorableDateTime"] = datetime.now(UTC).timestamp()
    for table in get_backend("dynamodb")["123456789012"]["us-east-1"].tables.values():
        table.continuous_backups["PointInTimeRecoveryDescription"] = recovery
    found = json.loads(petdetect("drill", "--yes", "--json").stdout)
    assert {source["backup"] for source in found["sources"].values()} == {""}
    assert found["rpoSeconds"] == 0
    assert found["rpo"].startswith("0 s: the newest surviving fact is of 2026-")


def test_a_verdict_that_would_be_lost_counts_in_the_rpo(aws: Cloud, petdetect: Petdetect, before: datetime) -> None:
    """Each table may come from another backup: the records' alone would say that nothing is lost."""
    row = {"ImageID": ids("cats")[0], "Entry": "verdict#1", "At": "2026-11-21T09:00:00.000Z"}
    aws.put_review(row)
    aws.dynamodb.create_backup(TableName=REVIEWS, BackupName="later")
    aws.put_review(row | {"Entry": "verdict#2", "At": "2026-11-21T09:20:00.000Z"})
    found = json.loads(petdetect("drill", "--yes", "--json").stdout)
    assert found["rpoSeconds"] == 20 * 60


def test_on_the_local_aws_no_rpo_is_made_up(
    aws: Cloud, deployment: Deployment, petdetect: Petdetect, before: datetime
) -> None:
    object.__setattr__(deployment, "environment", "local")
    aws.dynamodb.update_continuous_backups(
        TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    as_it_is = original(aws)
    shown = petdetect("drill", "--yes").stdout
    assert "RPO: not measured here" in shown
    assert "on the local AWS, which says nothing about AWS" in shown
    assert "backup arn:aws:dynamodb" in shown  # its point-in-time recovery copies today's items
    assert original(aws) == as_it_is  # the backup that it made is gone


def test_nothing_to_restore_from_is_said_and_nothing_is_left(
    aws: Cloud, petdetect: Petdetect, before: datetime
) -> None:
    refused = petdetect("drill", "--at", "2026-01-01T00:00:00Z", "--yes")
    assert refused.exit_code == 1
    assert f"There is no backup of {TABLE} that was made until 2026-01-01 00:00:00 UTC" in refused.stderr
    assert drill_remove.find(PREFIX) == []
    assert petdetect("drill", "--at", "yesterday", "--yes").exit_code == 2
    assert petdetect("drill", "--at", "2126-01-01", "--yes").exit_code == 2
    assert petdetect("drill", "--json").exit_code == 2
    assert petdetect("drill", "--clean-up", "--at", "2026-01-01").exit_code == 2
    assert petdetect("drill", typed="n\n").exit_code == 1


def test_the_copy_of_the_bucket_is_made_in_the_region_of_the_application(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 refuses a bucket without the name of the region, but in us-east-1; `--env recovery` is in us-west-2."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(region_name="us-west-2"))
    copy = drill_restore.Copy(f"{PREFIX}0123456789ab")
    drill_restore.make_bucket(copy, BUCKET, {})
    assert aws.s3.get_bucket_location(Bucket=copy.bucket)["LocationConstraint"] == "us-west-2"


class KilledError(BaseException):
    """The process ends in the middle, like kill -9: nothing is caught, and nothing cleaned up."""


@pytest.mark.parametrize("operation", ["CopyObject", "UpdateTimeToLive", "Scan"])
@pytest.mark.parametrize("how", [KeyboardInterrupt, RuntimeError])
def test_a_drill_that_is_interrupted_removes_what_it_made(
    aws: Cloud,
    deployment: Deployment,
    before: datetime,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    how: type[BaseException],
) -> None:
    as_it_is = original(aws)
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def breaks(client: Any, name: str, parameters: Any) -> Any:
        if name == operation:
            raise how("in the middle")
        return call(client, name, parameters)

    planned = drill.plan(deployment, None)
    with monkeypatch.context() as patched:
        patched.setattr(BaseClient, "_make_api_call", breaks)
        with pytest.raises(how, match="in the middle"):
            drill.run(deployment, planned, lambda _: None)
    assert original(aws) == as_it_is


def test_what_a_killed_drill_left_is_found_and_removed(
    aws: Cloud, deployment: Deployment, petdetect: Petdetect, before: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = original(aws)
    deployment.parameters["Stage"] = "prod"  # its tables are protected
    with monkeypatch.context() as patched:
        patched.setattr(drill_remove, "remove", lambda *_: [])
        drill.run(deployment, drill.plan(deployment, None), lambda _: None)
    left = drill_remove.find(PREFIX)
    assert sorted({one.kind for one in left}) == ["bucket", "table"]
    assert f"{len(left)} resources of an earlier drill are there" in petdetect("drill", typed="n\n").stdout

    asked, done = petdetect("drill", "--clean-up", typed="n\n"), petdetect("drill", "--clean-up", "--yes")

    assert (asked.exit_code, done.exit_code) == (1, 0)
    assert f"{len(left)} removed, 0 left." in done.stdout
    assert original(aws) == as_it_is
    assert petdetect("drill", "--clean-up", "--yes").stdout.startswith("No drill has left anything.")
    assert json.loads(petdetect("drill", "--clean-up", "--yes", "--json").stdout) == {"removed": [], "left": []}


def test_what_nobody_can_copy_is_named(aws: Cloud, petdetect: Petdetect, before: datetime) -> None:
    key = f"cats/{ids('cats')[0]}.jpg"
    aws.s3.copy_object(
        Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": key}, StorageClass="GLACIER"
    )  # archived
    result = petdetect("drill", "--yes")
    assert result.exit_code == 3
    assert f"1 not copied: {key}: " in result.stdout
    assert "1 records without their object" in result.stdout


def test_only_the_copy_knows_its_cache(aws: Cloud, petdetect: Petdetect, before: datetime) -> None:
    analysed = hashlib.sha256(ids("cats")[0].encode()).hexdigest()  # what the copy erases again
    aws.dynamodb.put_item(TableName=ANALYSES, Item={"ContentHash": {"S": analysed}})
    erasures.begin(ERASURES, ids("cats")[0], erasures.Source.OPERATOR)
    assert petdetect("drill", "--at", before.isoformat(), "--yes").exit_code == 0
    assert len(aws.dynamodb.scan(TableName=ANALYSES)["Items"]) == 1
    assert drill_command.ATTENTION == 3
