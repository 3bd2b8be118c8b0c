"""`petdetect drill` and `petdetect rebuild` on a local AWS of their own, whose table one of the damages deletes.

In a folder of its own, because the tests above wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pet_detector.aws import clients
from tests.operator.application import CAT, DOG, Application
from tests.support.deployment import never_seen
from tests.support.starter import running
from tests.support.waiting import eventually

TABLES = ("DetectionLogsTable", "ReviewsTable", "ErasuresTable")
NOTHING: dict[str, list[str]] = {"removed": [], "changed": [], "added": []}
Damage = Callable[[Application], dict[str, Any]]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The deployed application, after it has worked: cats, a dog, a file that is no picture, and one erased image."""
    own = tmp_path_factory.getbasetemp()
    builds = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "builds"
    with running(tmp_path_factory.mktemp("drill") / "engine", builds=builds) as engine:
        found = Application(engine)
        pictures = [CAT.read_bytes(), DOG.read_bytes(), never_seen(CAT), b"no picture", never_seen(DOG)]
        ids = [found.put_bytes(picture) for picture in pictures]
        for image_id in ids:
            found.settled(image_id)
        assert found.petdetect("erase", ids[-1], "--yes").code == 0
        yield found
    clients.forget()


@pytest.fixture(scope="module")
def moment(application: Application) -> datetime:
    """When backups of the tables were there, and nothing was damaged. S3 tells times in whole seconds."""
    for name in TABLES:
        application.dynamodb.create_backup(TableName=application.outputs[f"{name}Name"], BackupName="nightly")
    now = datetime.now(UTC)
    eventually(lambda: datetime.now(UTC) > now + timedelta(seconds=2), "the next whole second")
    return now + timedelta(seconds=1)


def original(application: Application) -> object:
    """All of the original, and whatever else is there: items, versions, delete markers, tables, buckets, backups."""
    dynamodb, s3 = application.dynamodb, application.s3
    there = dynamodb.list_tables()["TableNames"]
    return (
        {
            table: sorted(
                json.dumps(item, sort_keys=True, default=str) for item in dynamodb.scan(TableName=table)["Items"]
            )
            for table in there
        },
        sorted(application.objects(delete_markers=True)),
        sorted(bucket["Name"] for bucket in s3.list_buckets()["Buckets"]),
        sorted(backup["BackupArn"] for backup in dynamodb.list_backups()["BackupSummaries"]),
        {table: dynamodb.describe_table(TableName=table)["Table"].get("LatestStreamArn") for table in there},
        sorted(application.execution_arns()),
    )


def rows_deleted(application: Application) -> dict[str, Any]:
    lost = sorted(record["ImageID"]["S"] for record in finished(application))[:2]
    for image_id in lost:
        application.dynamodb.delete_item(TableName=application.table, Key={"ImageID": {"S": image_id}})
    return {"DetectionLogsTable": {"removed": lost}}


def rows_changed(application: Application) -> dict[str, Any]:
    wrong = sorted(record["ImageID"]["S"] for record in finished(application))
    for image_id in wrong:
        application.change_record(image_id, Reason="a script was here")
    return {"DetectionLogsTable": {"changed": wrong}}


def keys_deleted(application: Application) -> dict[str, Any]:
    keys = sorted({key for key, _ in application.objects("cats/")})
    for key in keys:
        application.s3.delete_object(Bucket=application.bucket, Key=key)
    assert keys
    return {"objects": {"removed": keys}}


def bucket_emptied(application: Application) -> dict[str, Any]:
    keys = sorted({key for key, _ in application.objects()})
    for key in keys:
        application.s3.delete_object(Bucket=application.bucket, Key=key)
    return {"objects": {"removed": keys}}


def table_gone(application: Application) -> dict[str, Any]:
    application.dynamodb.delete_table(TableName=application.table)
    return {"gone": ["DetectionLogsTable"]}


def finished(application: Application) -> list[dict[str, Any]]:
    """Records of images that are filed."""
    return [record for record in application.records() if "S3Location" in record]


@contextlib.contextmanager
def mended_after(application: Application) -> Iterator[None]:
    """What the block damages is there again after it, but for a table that is gone."""
    before, markers = application.items(), set(application.objects(delete_markers=True))
    yield
    if application.table in application.dynamodb.list_tables()["TableNames"]:
        for item in before:
            application.dynamodb.put_item(TableName=application.table, Item=item)
    for key, version in set(application.objects(delete_markers=True)) - markers:
        application.s3.delete_object(Bucket=application.bucket, Key=key, VersionId=version)


def test_a_record_that_was_lost_is_rebuilt_as_it_was(application: Application, moment: datetime) -> None:
    with mended_after(application):
        before = {record["ImageID"]["S"]: record for record in finished(application)}
        for image_id in before:
            application.dynamodb.delete_item(TableName=application.table, Key={"ImageID": {"S": image_id}})

        output = application.petdetect("rebuild", "--all", "--yes")

        assert output.code == 0, output
        assert f"{len(before)} rebuilt, 0 not." in output.out
        after = {record["ImageID"]["S"]: record for record in finished(application)}
        same = ("ProcessingStatus", "S3Location", "DetectedAnimal", "ContentHash", "FileSize", "Labels", "ReasonCode")
        for image_id, record in before.items():
            assert {name: after[image_id].get(name) for name in same} == {name: record.get(name) for name in same}
            times = [datetime.fromisoformat(found[image_id]["Timestamp"]["S"]) for found in (before, after)]
            assert abs(times[0] - times[1]) < timedelta(minutes=1)
            assert "RebuiltAt" in after[image_id]
            shown = application.petdetect("explain", image_id)
            assert (shown.code, "rebuilt" in shown.out) == (0, True)


def test_five_damages_are_found_brought_back_and_nothing_is_touched(
    application: Application, moment: datetime, tmp_path: Path
) -> None:
    """One test, because the last damage cannot be mended: the stream and its readers are gone with the table."""
    records = len(finished(application))
    for damage in (rows_deleted, rows_changed, keys_deleted, bucket_emptied, table_gone):
        with mended_after(application):
            expected = damage(application)
            as_it_is = original(application)

            output = application.petdetect("drill", "--at", moment.isoformat(), "--yes", "--json")

            assert output.code == 0, (damage.__name__, output)
            assert original(application) == as_it_is, damage.__name__
            found = output.json
            names = {"DetectionLogsTable", "ReviewsTable", "objects"} - set(expected.get("gone", []))
            assert found["changes"] == {name: NOTHING | expected.get(name, {}) for name in names}, damage.__name__
            assert found["gone"] == expected.get("gone", [])
            assert (found["first"]["agree"], found["open"]) == (records, 0)
            assert all(setting["wanted"] == setting["found"] for setting in found["settings"])
            assert found["rpoSeconds"] is None
            (tmp_path / f"{damage.__name__}.json").write_text(json.dumps(found["rtoSeconds"]))
            print(damage.__name__, found["rtoSeconds"])
