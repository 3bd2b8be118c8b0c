"""`petdetect redrive` and `release`: which images they take, what they ask and say, and that they start each once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from ops import restart
from pet_detector.aws import image_workflow
from pet_detector.rules import image_ids
from pet_detector.rules.errors import ThrottledError
from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.support.moto_world import EXECUTION, IMAGE_ID, KEY, Cloud

Petdetect = Callable[..., Result]
COMMANDS = pytest.mark.parametrize(("command", "status"), [("redrive", "failed"), ("release", "held")])


def _outcomes(result: Result) -> dict[str, str]:
    return {image["imageId"]: image["outcome"] for image in json.loads(result.stdout)["images"]}


@COMMANDS
def test_a_dry_run_changes_nothing(aws: Cloud, petdetect: Petdetect, command: str, status: str) -> None:
    images.present(aws, status=status)
    before = images.snapshot(aws)

    one = petdetect(command, IMAGE_ID, "--dry-run")
    everything = petdetect(command, "--all", "--dry-run", "--json")

    assert one.exit_code == everything.exit_code == 0
    assert f"{command} with {KEY}" in one.stdout
    words = {"redrive": "redriven", "release": "released"}[command]
    assert f"1 of 1 would be {words}. Nothing was changed." in one.stdout
    planned = json.loads(everything.stdout)["images"]
    assert [(image["imageId"], image["refusal"]) for image in planned] == [(IMAGE_ID, None)]
    assert images.snapshot(aws) == before


@COMMANDS
def test_all_asks_first(aws: Cloud, petdetect: Petdetect, command: str, status: str) -> None:
    images.present(aws, status=status)
    images.gone(aws, OTHER_ID, status)
    before = images.snapshot(aws)

    for answer in ("n\n", ""):
        asked = petdetect(command, "--all", "--no-wait", typed=answer)
        assert asked.exit_code == 1
        assert f"{command.capitalize()} 1 {status} images in dev?" in asked.stderr
    assert petdetect(command, "--all", "--json").exit_code == 2
    assert images.snapshot(aws) == before

    assert "started" in petdetect(command, "--all", "--no-wait", typed="y\n").stdout
    assert len(aws.started()) == 1


@COMMANDS
def test_nothing_to_do(petdetect: Petdetect, command: str, status: str) -> None:
    for options in ([], ["--yes"], ["--dry-run"]):
        assert petdetect(command, "--all", *options).stdout == f"There is nothing to {command}.\n"


@COMMANDS
def test_all_are_those_of_the_status_and_neither_command_does_the_others_work(
    aws: Cloud, petdetect: Petdetect, command: str, status: str
) -> None:
    other_status = {"failed": "held", "held": "failed"}[status]
    images.present(aws, status=status)
    other = images.present(aws, OTHER_ID, other_status)

    refused = petdetect(command, other, "--no-wait")
    everything = petdetect(command, "--all", "--yes", "--no-wait", "--json")

    assert refused.exit_code == 1
    participle = {"redrive": "redriven", "release": "released"}[command]
    assert f"It is {other_status}, and only {status} images are {participle}." in refused.stderr
    assert _outcomes(everything) == {IMAGE_ID: "started"}


def test_all_of_one_reason_and_no_other(aws: Cloud, petdetect: Petdetect) -> None:
    images.present(aws)
    images.present(aws, OTHER_ID, reason="ExecutionAborted")

    result = petdetect("redrive", "--all", "--reason", "ServiceError", "--yes", "--no-wait", "--json")

    assert _outcomes(result) == {IMAGE_ID: "started"}


@COMMANDS
def test_an_image_whose_object_is_gone_is_refused_and_the_others_are_started(
    aws: Cloud, petdetect: Petdetect, command: str, status: str
) -> None:
    gone, there = images.gone(aws, status=status), images.present(aws, OTHER_ID, status)

    alone = petdetect(command, gone, "--no-wait")
    together = petdetect(command, gone, there, "--no-wait")

    assert alone.exit_code == together.exit_code == 1
    assert "Its object is gone" in alone.stderr
    assert aws.started() == {}  # named together they are done together
    result = petdetect(command, "--all", "--yes", "--no-wait", "--json")
    assert result.exit_code == 3
    assert _outcomes(result) == {gone: "refused", there: "started"}


def test_an_execution_that_takes_too_long_is_not_waited_for(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.present(aws)
    clock = SimpleNamespace(monotonic=itertools.count().__next__, sleep=lambda _: None)
    monkeypatch.setattr(restart, "time", clock)

    late = petdetect("redrive", IMAGE_ID, "--timeout", "2")

    assert late.exit_code == 3
    assert "It still runs." in late.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["redrive"],
        ["release"],
        ["redrive", "input/cat.jpg"],
        ["redrive", "a" * 7],
        ["redrive", "a" * 32, "--all"],
        ["release", "a" * 32, "--all"],
        ["redrive", "a" * 32, "--reason", "ServiceError"],
    ],
)
def test_what_makes_no_sense_is_refused(petdetect: Petdetect, arguments: list[str]) -> None:
    assert petdetect(*arguments).exit_code == 2


def test_what_does_not_exist_is_refused(petdetect: Petdetect) -> None:
    unknown = petdetect("redrive", IMAGE_ID)

    assert unknown.exit_code == 1
    assert "There is no image" in unknown.stderr


def test_an_image_that_was_moved_before_it_failed_is_found_in_its_folder(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws)
    aws.put(f"cats/{IMAGE_ID}.jpg", b"picture")

    assert petdetect("redrive", IMAGE_ID, "--no-wait").exit_code == 0

    (started,) = aws.started().values()
    assert started["detail"]["object"]["key"] == f"cats/{IMAGE_ID}.jpg"


def test_what_was_put_back_is_redriven_and_the_plan_and_the_story_say_so(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws)
    version, _ = aws.put(KEY, b"picture")
    before = images.snapshot(aws)

    story = petdetect("explain", IMAGE_ID).stdout
    place = json.loads(petdetect("explain", IMAGE_ID, "--json").stdout)["object"]
    plan = petdetect("redrive", IMAGE_ID, "--dry-run").stdout
    plans = json.loads(petdetect("redrive", "--all", "--dry-run", "--json").stdout)["images"]
    left = json.loads(petdetect("reconcile", "--older-than", "0", "--json").stdout)

    assert images.snapshot(aws) == before
    assert "put back instead of version gone, which is gone" in story
    assert "a redrive takes that one" in story
    assert place == {"key": KEY, "versionId": version, "replaces": "gone"}
    assert "instead of version gone" in plan
    assert [(found["replaces"], found["refusal"]) for found in plans] == [("gone", None)]
    assert [(found["action"], found["imageId"]) for found in left["findings"]] == [("leave", IMAGE_ID)]
    assert left["gap"] == 0
    assert petdetect("redrive", IMAGE_ID, "--no-wait").exit_code == 0
    (started,) = aws.started().values()
    assert started["detail"]["object"] == {"key": KEY, "version-id": version}


def test_another_image_under_the_same_key_was_not_put_back(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws)
    version, _ = aws.put(KEY, b"picture")
    other = image_ids.hashed_image_id(KEY, version)
    images.write(aws, other, "failed", SourceKey=KEY, SourceVersion=version)

    assert "Its object is gone" in petdetect("redrive", IMAGE_ID, "--no-wait").stderr
    assert petdetect("redrive", other, "--no-wait").exit_code == 0


def test_another_upload_under_a_key_of_no_id_was_not_put_back(aws: Cloud, petdetect: Petdetect) -> None:
    key = "input/tom.jpg"
    image_id = images.gone(aws, image_ids.hashed_image_id(key, "gone"), SourceKey=key)
    aws.put(key, b"picture")

    assert "Its object is gone" in petdetect("redrive", image_id, "--no-wait").stderr


def test_an_image_that_too_many_executions_worked_on_is_refused(aws: Cloud, petdetect: Petdetect) -> None:
    def executions(number: int) -> None:
        images.present(aws, Executions={EXECUTION, *(f"{EXECUTION}{count}" for count in range(1, number))})

    executions(restart.MAX_EXECUTIONS)
    before = images.snapshot(aws)
    refused = petdetect("redrive", IMAGE_ID, "--no-wait")
    assert refused.exit_code == 1
    assert "50 executions have worked on it" in refused.stderr
    assert "upload the picture again" in refused.stderr
    assert petdetect("redrive", "--all", "--yes", "--no-wait").exit_code == 3
    assert images.snapshot(aws) == before

    executions(restart.MAX_EXECUTIONS - 1)
    assert petdetect("redrive", IMAGE_ID, "--no-wait").exit_code == 0


@pytest.mark.parametrize("options", [[], ["--no-wait"]], ids=["waiting", "not waiting"])
def test_what_is_known_is_printed_when_aws_fails_in_the_middle(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    both = {images.present(aws), images.present(aws, OTHER_ID)}
    start, started = image_workflow.start, list[str]()

    def start_once(workflow: str, name: str, key: str, version_id: str, image_id: str, **more: Any) -> bool:
        if started:
            raise ThrottledError("states:StartExecution: too often")
        started.append(image_id)
        return start(workflow, name, key, version_id, image_id, **more)

    monkeypatch.setattr(image_workflow, "start", start_once)

    failed = petdetect("redrive", "--all", "--yes", "--json", *options)
    document = json.loads(failed.stdout)

    assert failed.exit_code == 1
    assert "too often" in failed.stderr
    assert "too often" in document["error"]
    assert [image["imageId"] for image in document["images"]] == started
    readable = petdetect("redrive", "--all", "--yes", *options)
    assert (readable.exit_code, readable.stdout) == (1, "")
    monkeypatch.setattr(image_workflow, "start", start)
    assert _outcomes(petdetect("redrive", "--all", "--yes", "--no-wait", "--json")) == dict.fromkeys(both, "started")


def test_an_image_that_cannot_be_claimed_does_not_keep_the_others_from_it(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch, end_executions: Callable[[str], int]
) -> None:
    monkeypatch.setattr(restart, "MAX_ATTEMPTS", 1)
    images.present(aws)
    petdetect("redrive", IMAGE_ID, "--no-wait")
    end_executions("SUCCEEDED")  # and the record is as before: it could not claim the image
    other = images.present(aws, OTHER_ID)

    result = petdetect("redrive", "--all", "--yes", "--no-wait", "--json")

    assert result.exit_code == 3
    assert _outcomes(result) == {IMAGE_ID: "failed", other: "started"}
    remarks = {image["imageId"]: image["remark"] for image in json.loads(result.stdout)["images"]}
    assert "could not claim it" in remarks[IMAGE_ID]
    assert remarks[other] == ""
