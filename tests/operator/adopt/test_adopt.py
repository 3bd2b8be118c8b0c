"""`petdetect adopt` on a local AWS of its own: an application is destroyed and made again around its data.

In a folder of its own, as the tests of `destroy` are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import mock

import boto3
import pytest

from local.deploy import machine_parameters, stack_name
from local.engine import CREDENTIALS, REGION, Engine
from pet_detector.aws import clients
from tests.operator.application import CAT, Output
from tests.support.petdetect import petdetect
from tests.support.starter import running
from tests.support.waiting import eventually

PREFIX = "serverlessapp-pet-detector-"
TEMPLATES = "templates"
TABLES = ("DetectionLogsTable", "ErasuresTable", "ReviewsTable")
PERSON = "ada@example.com"
FINISHED = {"completed", "needs_review", "rejected", "failed"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A local AWS with the application, whose packaged template is deployed again under other names."""
    own = tmp_path_factory.getbasetemp()
    builds = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "builds"
    with running(tmp_path_factory.mktemp("adopt") / "engine", builds=builds) as engine:
        engine.client("s3").create_bucket(Bucket=TEMPLATES)
        body = engine.client("cloudformation").get_template(StackName=stack_name(), TemplateStage="Original")
        text: str = body["TemplateBody"]
        engine.client("s3").put_object(Bucket=TEMPLATES, Key="template.yaml", Body=text.encode())
        yield engine


class Stack:
    """The stack of a pull request, deployed as `sam deploy` does, with the stand-in for Amazon Rekognition."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.environment = engine, f"pr-{number}"
        self.name = PREFIX + self.environment
        self.s3, self.dynamodb = engine.client("s3"), engine.client("dynamodb")
        self.cloudformation = engine.client("cloudformation")

    def deploy(self, kind: str) -> None:
        """`kind` is what SAM CLI takes: UPDATE where there is a stack, also one that was imported."""
        pairs = [text.partition("=") for text in [*machine_parameters(self.engine), "Stage=local"]]
        names = {"StackName": self.name, "ChangeSetName": "deploy"}
        self.cloudformation.create_change_set(
            **names,
            ChangeSetType=kind,
            TemplateURL=f"https://s3.us-east-1.amazonaws.com/{TEMPLATES}/template.yaml",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, _, value in pairs],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Tags=[{"Key": "Environment", "Value": self.environment}],
        )
        waiting: dict[str, Any] = {"WaiterConfig": {"Delay": 1}}
        self.cloudformation.get_waiter("change_set_create_complete").wait(**names, **waiting)
        self.cloudformation.execute_change_set(**names)
        self.cloudformation.get_waiter(f"stack_{kind.lower()}_complete").wait(StackName=self.name, **waiting)

    @property
    def resources(self) -> dict[str, str]:
        """Physical ids by logical ids."""
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
        found = [one for page in pages for one in page["StackResourceSummaries"]]
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}

    def upload(self, name: str) -> dict[str, Any]:
        """Put a picture under input/ -> its record, when it is finished."""
        names = self.resources
        key = f"input/{name}.jpg"
        self.s3.put_object(Bucket=names["ImageBucket"], Key=key, Body=CAT.read_bytes())

        def finished() -> dict[str, Any] | None:
            records = self.records()
            ours = [one for one in records.values() if one.get("SourceKey", {}).get("S") == key]
            return next((one for one in ours if one["ProcessingStatus"]["S"] in FINISHED), None)

        record = eventually(finished, f"{key} is processed", 60)
        assert record["ProcessingStatus"]["S"] == "completed"
        return record

    def records(self) -> dict[str, dict[str, Any]]:
        """Every record by its ImageID."""
        items = self.dynamodb.scan(TableName=self.resources["DetectionLogsTable"])["Items"]
        return {item["ImageID"]["S"]: item for item in items if "ProcessingStatus" in item}

    def petdetect(self, command: str, *arguments: str) -> Output:
        """The command for this environment, as on AWS: by the credentials and the address of the environment."""
        settings = {**CREDENTIALS, "AWS_ENDPOINT_URL": self.engine.url, "AWS_DEFAULT_REGION": REGION}
        settings |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        with mock.patch.dict(os.environ, settings), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            result = petdetect("--env", self.environment, command, *arguments)
            clients.forget()
        return Output(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.destroy._POLL_SECONDS", 0.05)
    monkeypatch.setattr("ops.adopt._POLL_SECONDS", 0.05)


def test_a_destroyed_application_is_made_again_around_its_data(engine: Engine) -> None:
    stack = Stack(engine, 2)
    stack.deploy("CREATE")
    before = stack.upload("before")
    names = stack.resources
    kept = {name: names[name] for name in ("ImageBucket", *TABLES, "PeoplePool")}
    assert stack.petdetect("person", "add", PERSON, "--group", "reviewer").code == 0
    people = stack.petdetect("person", "list").out
    policy = stack.s3.get_bucket_policy(Bucket=names["ImageBucket"])["Policy"]
    assert stack.petdetect("adopt", "--yes").code == 1, "the stack is there"
    assert stack.petdetect("destroy", "--confirm", stack.name).code == 0

    adopted = stack.petdetect("adopt", "--yes")

    assert adopted.code == 0, adopted.err
    groups = {"UploaderGroup": "uploader", "ReviewerGroup": "reviewer", "OperatorGroup": "operator"}
    assert stack.resources == kept | groups | {"ImageBucketPolicy": stack.resources["ImageBucketPolicy"]}
    assert stack.s3.get_bucket_policy(Bucket=names["ImageBucket"])["Policy"] == policy
    assert stack.petdetect("adopt", "--yes").code == 1, "it has them already"
    stack.deploy("UPDATE")
    assert {name: stack.resources[name] for name in kept} == kept
    assert stack.records()[before["ImageID"]["S"]] == before
    assert (PERSON in people, "reviewer" in people, stack.petdetect("person", "list").out) == (True, True, people)
    picture = before["S3Location"]["S"].removeprefix(f"s3://{kept['ImageBucket']}/")
    assert stack.s3.head_object(Bucket=kept["ImageBucket"], Key=picture)["ContentLength"] > 0
    after = stack.upload("after")
    assert after["ImageID"]["S"] in stack.records()
    assert stack.petdetect("explain", before["ImageID"]["S"]).code == 0
    # What it took over is its own: it can be destroyed, and taken over, again.
    assert stack.petdetect("destroy", "--confirm", stack.name).code == 0
    assert "takes over" in stack.petdetect("adopt", "--dry-run").out


def test_copies_under_other_names_make_a_second_application_beside_the_first(engine: Engine) -> None:
    first, second = Stack(engine, 3), Stack(engine, 4)
    first.deploy("CREATE")
    before = first.upload("before")
    names = first.resources
    uses = []
    for logical_id in TABLES:
        backup = first.dynamodb.create_backup(TableName=names[logical_id], BackupName="restored")["BackupDetails"]
        copy = f"restored-{logical_id}"
        first.dynamodb.restore_table_from_backup(TargetTableName=copy, BackupArn=backup["BackupArn"])
        first.dynamodb.get_waiter("table_exists").wait(TableName=copy)
        uses += ["--use", f"{logical_id}={copy}"]
    first.s3.create_bucket(Bucket="copied-pictures")
    first.s3.put_bucket_versioning(Bucket="copied-pictures", VersioningConfiguration={"Status": "Enabled"})
    filed = before["S3Location"]["S"].removeprefix(f"s3://{names['ImageBucket']}/")
    first.s3.copy_object(Bucket="copied-pictures", Key=filed, CopySource={"Bucket": names["ImageBucket"], "Key": filed})
    refused = second.petdetect("adopt", "--yes", "--use", f"ImageBucket={names['ImageBucket']}")
    assert (refused.code, f"belongs to the stack {first.name}" in refused.err) == (1, True)

    adopted = second.petdetect("adopt", "--yes", "--use", "ImageBucket=copied-pictures", *uses)

    assert adopted.code == 0, adopted.err
    second.deploy("UPDATE")
    table = second.resources["DetectionLogsTable"]
    assert (table, second.resources["ImageBucket"]) == ("restored-DetectionLogsTable", "copied-pictures")
    assert second.records()[before["ImageID"]["S"]] == before
    # What a restore loses is there again.
    described = second.dynamodb.describe_table(TableName=table)["Table"]
    assert described["StreamSpecification"]["StreamEnabled"] is True
    ttl = second.dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "ExpiresAt")
    backups = second.dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert second.s3.get_bucket_policy(Bucket="copied-pictures")["Policy"]
    after = second.upload("after")
    assert after["S3Location"]["S"].startswith("s3://copied-pictures/")
    assert first.records() == {before["ImageID"]["S"]: before}, "nothing of the first has changed"
    assert first.upload("another")["S3Location"]["S"].startswith(f"s3://{names['ImageBucket']}/")
