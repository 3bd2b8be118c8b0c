"""A stack of an earlier release, with data in it, is upgraded by `sam deploy` of today's template.

The tests of a release run in the order in which they stand here: first what only reads, then what goes on with the data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest

from local.deploy import deploy, stack_resources
from local.engine import Engine
from pet_detector.aws import clients
from tests.support.deployment import CERTAIN_CAT, never_seen
from tests.support.paths import REPOSITORY
from tests.support.petdetect import petdetect
from tests.support.starter import running
from tests.support.waiting import eventually

from . import archive
from .earlier import Answer, Images, Release, ask, fill, post_form

KEPT = {
    "AWS::S3::Bucket",
    "AWS::DynamoDB::Table",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::ApiGateway::ApiKey",
    "AWS::ApiGateway::UsagePlan",
    "AWS::StepFunctions::StateMachine",
    "AWS::Lambda::Function",
    "AWS::SNS::Topic",
    "AWS::SSM::Parameter",
    "AWS::Logs::LogGroup",
}
# What the API says of an image in another way than the release that it was uploaded to: a client has been told.
SAID_ANEW = {"viewUrl", "imageFormat", "analysisReused"}
TODAY = Path(os.environ.get("TODAY", REPOSITORY))


@dataclass
class Upgrade:
    """The upgraded stack, what was in it before, and an operator's key."""

    engine: Engine
    images: Images
    before: dict[str, dict[str, str]]
    key_value: str
    stack: Release
    operator_key: str = ""

    def petdetect(self, *arguments: str) -> Any:
        """What today's command prints about the stack; it must succeed."""
        aws, rekognition = self.engine.processes
        variables = {
            "ENGINE_HOME": str(self.engine.home),
            "PORT": str(aws.port),
            "REKOGNITION_PORT": str(rekognition.port),
        }
        with mock.patch.dict(os.environ, variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            result = petdetect(*arguments, "--json")
        assert result.exit_code == 0, result.output + result.stderr
        return json.loads(result.stdout)

    def ask(self, path: str, verb: str = "GET", *, operator: bool = False, document: Any = None) -> Answer:
        """A call of the API, with the key that the earlier release made, or an operator's."""
        return ask(self.stack.url, self.operator_key if operator else self.stack.api_key, verb, path, document)

    def listed(self, filters: str = "", *, operator: bool = False) -> set[str]:
        """The ids of a whole listing."""
        found: set[str] = set()
        token = ""
        while token is not None:
            page = self.ask(f"/images?limit=100{filters}{token and f'&nextToken={token}'}", operator=operator).body
            found |= {image["imageId"] for image in page["images"]}
            token = page["nextToken"]
        return found


@pytest.fixture(scope="module", params=archive.names())
def upgrade(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    """Each release in turn: deployed, filled, upgraded."""
    home = tmp_path_factory.mktemp(request.param)
    release = archive.unpack(request.param, home / "release")
    clients.forget()
    with running(home / "engine", application=release, SFN_WAIT_SCALE="1") as engine:
        old = Release(engine)
        images = fill(old)
        before = {kind: stack_resources(engine, kind) for kind in KEPT}
        deploy(engine, TODAY)
        yield Upgrade(engine, images, before, old.api_key, Release(engine))
    clients.forget()


def test_nothing_that_holds_something_or_has_an_address_is_another_one(upgrade: Upgrade) -> None:
    after = {kind: stack_resources(upgrade.engine, kind) for kind in KEPT}
    kept = {kind: {name: after[kind].get(name) for name in names} for kind, names in upgrade.before.items()}
    gone = {"AWS::SQS::Queue"}
    assert kept == upgrade.before, gone
    assert upgrade.stack.api_key == upgrade.key_value


def test_every_record_is_there_as_it_was(upgrade: Upgrade) -> None:
    # An execution that runs on writes nothing until it is analysed.
    assert {image: upgrade.stack.item(image) for image in upgrade.images.all} == upgrade.images.records
    assert len(upgrade.images.all) >= 30
    assert set(upgrade.images.by_status) == {
        "uploading", "processing", "held", "completed", "needs_review", "rejected", "failed",
    }  # fmt: skip


def test_no_object_version_is_gone(upgrade: Upgrade) -> None:
    assert set(upgrade.stack.objects(delete_markers=True)) == upgrade.images.objects


def test_the_clients_key_reads_what_its_client_uploaded_as_before(upgrade: Upgrade) -> None:
    for image, before in upgrade.images.answers.items():
        answer = upgrade.ask(f"/images/{image}")
        if image in upgrade.images.of_clients:
            assert {**answer.body, **{name: before.get(name) for name in SAID_ANEW}} == {
                **before, **{name: before.get(name) for name in SAID_ANEW}
            }  # fmt: skip
        else:  # straight into the bucket: an operator's key sees it
            assert (answer.status, answer.body["code"]) == (404, "IMAGE_NOT_FOUND")
