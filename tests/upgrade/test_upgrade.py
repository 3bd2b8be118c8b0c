"""A stack of an earlier release, with data in it, is upgraded by `sam deploy` of today's template.

The tests of a release run in the order in which they stand: first what only reads, then what goes on with the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any
from unittest import mock

import boto3
import pytest
import requests

from local.deploy import deploy, stack_name, stack_resources
from local.engine import Engine
from pet_detector.aws import clients
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, FINISHED
from tests.support.petdetect import petdetect
from tests.support.starter import running
from tests.support.waiting import eventually

from . import archive
from .earlier import Answer, Images, Release, ask, fill, leave_unfinished, let_run, lose, note, post_form

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
PRECIOUS = {"ImageBucket", "DetectionLogsTable", "PetDetectorApi", "ApiKey"}
IMAGE_FORMATS = {"JPEG": "jpg", "PNG": "png"}  # how the first releases wrote them
THROTTLED_SECONDS = 120  # a call that Lambda throttled is tried again after a minute at most
STATUSES = {"uploading", "processing", "held", "completed", "needs_review", "rejected", "failed"}


@dataclass
class Upgrade:
    """The upgraded stack, what was in it before, and an operator's key."""

    engine: Engine
    images: Images
    before: dict[str, dict[str, str]]
    key_value: str
    stack: Release

    @cached_property
    def operator_key(self) -> str:
        """The value of an operator's key, which sees every image."""
        value: str = self.petdetect("key", "create", "reviewer", "--operator", "--show")["value"]
        return value

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

    def ask(self, path: str, *, operator: bool = False) -> Answer:
        """GET of the API, with the key that the earlier release made, or an operator's."""
        return ask(self.stack.url, self.operator_key if operator else self.stack.api_key, "GET", path)

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
    with running(home / "engine", directory=release, SFN_WAIT_SCALE="1") as engine:
        old = Release(engine)
        images = fill(old)
        leave_unfinished(old, images)
        before = {kind: stack_resources(engine, kind) for kind in KEPT}
        with old.deaf():
            lose(old, images)
            note(old, images)
            deploy(engine)
        yield Upgrade(engine, images, before, old.api_key, Release(engine))
    clients.forget()


def test_nothing_that_holds_something_or_has_an_address_is_another_one(upgrade: Upgrade) -> None:
    after = {kind: stack_resources(upgrade.engine, kind) for kind in KEPT}
    assert {kind: after[kind] | before for kind, before in upgrade.before.items()} == after
    assert upgrade.stack.api_key == upgrade.key_value
    cloudformation = upgrade.engine.client("cloudformation")
    newest = max(cloudformation.list_change_sets(StackName=stack_name())["Summaries"], key=itemgetter("CreationTime"))
    changes = cloudformation.describe_change_set(StackName=stack_name(), ChangeSetName=newest["ChangeSetId"])["Changes"]
    of = {change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"] for change in changes}
    assert of["DetectionLogsTable"]["Action"] == "Modify"
    assert "True" not in [of[name].get("Replacement") for name in PRECIOUS & of.keys()]


def test_every_record_is_there_as_it_was(upgrade: Upgrade) -> None:
    # An execution that runs on writes nothing until its picture is analysed.
    assert {image: upgrade.stack.item(image) for image in upgrade.images.all} == upgrade.images.records
    assert len(upgrade.images.all) == 30
    assert set(upgrade.images.by_status) == STATUSES


def test_no_object_version_is_gone(upgrade: Upgrade) -> None:
    assert set(upgrade.stack.objects(delete_markers=True)) == upgrade.images.objects


def test_the_clients_key_reads_what_its_client_uploaded_as_before(upgrade: Upgrade) -> None:
    for image in upgrade.images.of_clients:
        expected = {**upgrade.images.answers[image]}
        for changed in ("viewUrl", "analysisReused"):  # a link is signed anew; only operators see the other
            expected.pop(changed, None)
        if "imageFormat" in expected:
            expected["imageFormat"] = IMAGE_FORMATS.get(expected["imageFormat"], expected["imageFormat"])
        answer = upgrade.ask(f"/images/{image}").body
        link = answer.pop("viewUrl", None)
        assert answer == expected
        assert (link is not None) == (answer["status"] in ("completed", "needs_review"))
        assert link is None or requests.get(link, timeout=60).status_code == 200


def test_what_came_straight_into_the_bucket_is_for_operators(upgrade: Upgrade) -> None:
    for image in upgrade.images.all - upgrade.images.of_clients:
        assert upgrade.ask(f"/images/{image}").body["code"] == "IMAGE_NOT_FOUND"
        assert upgrade.ask(f"/images/{image}", operator=True).body["imageId"] == image


def test_an_operators_lists_hold_every_old_image(upgrade: Upgrade) -> None:
    assert upgrade.listed(operator=True) == upgrade.images.all
    for status, images in upgrade.images.by_status.items():
        assert upgrade.listed(f"&status={status}", operator=True) == set(images)
    by_animal = {animal: upgrade.listed(f"&animal={animal}", operator=True) for animal in ("cat", "dog", "other")}
    animals = {image: answer["animal"] for image, answer in upgrade.images.answers.items() if "animal" in answer}
    assert {image: animal for animal, images in by_animal.items() for image in images} == animals


def test_a_clients_lists_hold_its_old_images_after_one_command_that_can_be_run_again(upgrade: Upgrade) -> None:
    without_owner = sum("OwnerShard" not in record for record in upgrade.images.records.values())
    before = upgrade.listed()
    assert upgrade.petdetect("key", "index-old", "--dry-run") == {"would_change": without_owner}
    assert upgrade.listed() == before
    assert upgrade.petdetect("key", "index-old") == {"changed": without_owner}
    assert upgrade.petdetect("key", "index-old") == {"changed": 0}
    assert upgrade.listed() == upgrade.images.of_clients


def test_a_page_that_was_begun_before_is_begun_again(upgrade: Upgrade) -> None:
    answer = upgrade.ask(f"/images?limit=2&nextToken={upgrade.images.page_token}")
    assert (answer.status, answer.body["code"]) == (400, "INVALID_TOKEN")


def test_executions_that_ran_through_the_upgrade_end_well_or_are_redriven(upgrade: Upgrade) -> None:
    stack, (known, new) = upgrade.stack, upgrade.images.running
    # Others have all turns, as in a burst. Executions from before there were turns do not know how to wait for one.
    burst = contextlib.nullcontext() if upgrade.images.take_turns else stack.queue(3600)
    with burst:
        let_run(stack)
        eventually(lambda: stack.status(known) == "completed", f"{known} is completed", THROTTLED_SECONDS)
        assert stack.item(known)["ExecutionArn"] == upgrade.images.records[known]["ExecutionArn"]
        expected = "completed" if upgrade.images.take_turns else "failed"
        eventually(lambda: stack.status(new) == expected, f"{new} is {expected}", THROTTLED_SECONDS)
    if not upgrade.images.take_turns:
        upgrade.petdetect("redrive", new)
        assert stack.status(new) == "completed"


def test_failed_and_held_images_are_started_again(upgrade: Upgrade) -> None:
    for command, status in (("redrive", "failed"), ("release", "held")):
        images = upgrade.images.by_status[status]
        upgrade.petdetect(command, *images)
        assert {upgrade.stack.status(image) for image in images} <= set(FINISHED)


def test_a_form_from_before_the_upgrade_still_takes_its_picture(upgrade: Upgrade) -> None:
    for image, form in upgrade.images.forms.items():
        assert post_form(form, CERTAIN_CAT.read_bytes()) == 204
        assert upgrade.stack.settled(image) == "completed"


def test_the_reconciler_finds_what_was_lost_before_the_upgrade(upgrade: Upgrade) -> None:
    lost = [image for image in upgrade.images.by_status["processing"] if image not in upgrade.images.running]
    version = next(version for key, version in upgrade.images.objects if key == upgrade.images.lost_key)
    nameless = hashlib.sha256(f"{upgrade.images.lost_key}@{version}".encode()).hexdigest()[:32]
    assert "errorType" not in upgrade.stack.reconcile()
    for image in (*lost, nameless):
        eventually(lambda image=image: upgrade.stack.status(image) == "completed", f"{image} is completed")  # type: ignore[misc]


def test_a_client_of_the_earlier_release_goes_on(upgrade: Upgrade) -> None:
    for upload in (upgrade.stack.by_form, upgrade.stack.inline):
        image = upload(CERTAIN_DOG.read_bytes())
        assert upgrade.stack.settled(image) == "completed"
        assert upgrade.ask(f"/images/{image}").body["animal"] == "dog"
        assert image in upgrade.listed("&animal=dog&status=completed&from=2020-01-01")
    assert upgrade.stack.settled(upgrade.stack.by_s3(CERTAIN_DOG.read_bytes())) == "completed"


def test_in_the_end_every_image_is_finished_and_was_filed_once(upgrade: Upgrade) -> None:
    records = {record["ImageID"]["S"]: record for record in upgrade.stack.records()}
    assert upgrade.images.all <= set(records)
    assert {record["ProcessingStatus"]["S"] for record in records.values()} <= set(FINISHED)
    locations = [record["S3Location"]["S"].partition(f"{upgrade.stack.bucket}/")[2] for record in records.values()]
    assert sorted(locations) == sorted(key for key, _ in upgrade.stack.objects())
    assert upgrade.petdetect("status")


def test_nothing_that_the_upgrade_left_is_in_the_way_of_destroying_all(upgrade: Upgrade) -> None:
    """What it replaced of functions was left behind, and CloudFormation says so for 90 days."""
    events = upgrade.engine.client("cloudformation").get_paginator("describe_stack_events")
    left = events.paginate(StackName=stack_name()).search("StackEvents[?ResourceStatus=='DELETE_SKIPPED'].ResourceType")
    assert "AWS::Lambda::Permission" in list(left)
    answer = upgrade.petdetect("destroy", "--with-data", "--confirm", stack_name())
    assert (answer["leftovers"], answer["stays"]) == (0, [])
