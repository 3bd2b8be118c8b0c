"""`petdetect redrive`: failed images are finished, once."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest

from ops import restart
from pet_detector.aws import image_workflow
from pet_detector.rules import image_ids
from pet_detector.rules.errors import ThrottledError
from tests.operator.application import CAT, DOG, Application, ended, eventually, start_petdetect


def _redrives(application: Application, image_id: str) -> list[str]:
    return [name for name in application.executions(image_id) if name.startswith("redrive-")]


def test_a_dry_run_changes_nothing(application: Application) -> None:
    image_id = application.mended()
    before = application.snapshot()

    one = application.petdetect("redrive", image_id, "--dry-run")
    short = application.petdetect("redrive", image_id[:8], "--dry-run")
    everything = application.petdetect("redrive", "--all", "--dry-run", "--json")

    assert one.code == everything.code == 0
    assert f"redrive with input/{image_id}.jpg" in one.out
    assert "1 of 1 would be redriven. Nothing was changed." in one.out
    assert short.out == one.out
    assert [(image["imageId"], image["refusal"]) for image in everything.json["images"]] == [(image_id, None)]
    assert application.snapshot() == before


def test_a_second_redrive_of_the_same_failure_does_nothing(application: Application) -> None:
    image_id = application.mended()
    first = application.petdetect("redrive", image_id)
    before = application.snapshot()

    second = application.petdetect("redrive", image_id)

    assert first.code == 0
    assert "finished" in first.out
    assert application.keys(image_id) == [f"cats/{image_id}.jpg"]
    assert second.code == 1
    assert "It is completed, and only failed images are redriven." in second.err
    assert application.snapshot() == before


def test_two_operators_at_once_start_one_execution(application: Application) -> None:
    image_id = application.mended()

    both = [start_petdetect("redrive", image_id, **application.variables) for _ in range(2)]
    codes = {ended(process).code for process in both}

    assert 0 in codes
    assert codes <= {0, 1}  # 1: it came later, and saw that the image was at work or finished
    assert application.completed(image_id)
    assert len(_redrives(application, image_id)) == 1


def test_all_of_one_reason_and_no_other(application: Application) -> None:
    missing = [application.mended(), application.mended()]
    with application.analysis_taken(DOG):
        other = application.put(DOG)
        application.sfn.stop_execution(executionArn=application.retried(other))
        application.finished(other)

    result = application.petdetect("redrive", "--all", "--reason", "ImageNotFoundError", "--yes", "--json")

    assert result.code == 0
    assert {image["imageId"]: image["outcome"] for image in result.json["images"]} == dict.fromkeys(missing, "finished")
    assert application.status(other) == "failed"
    rest = application.petdetect("redrive", "--all", typed="y\n")
    assert rest.code == 0
    assert "Redrive 1 failed images in local?" in rest.err
    assert application.status(other) == "completed"
    assert application.petdetect("redrive", "--all").out == "There is nothing to redrive.\n"
    assert application.petdetect("redrive", "--all", "--dry-run").out == "There is nothing to redrive.\n"


def test_all_asks_first(application: Application) -> None:
    application.mended()
    before = application.snapshot()

    for answer in ("n\n", ""):
        assert application.petdetect("redrive", "--all", typed=answer).code == 1
    assert application.petdetect("redrive", "--all", "--json").code == 2

    assert application.snapshot() == before


def test_an_image_whose_object_is_gone_is_refused_and_the_others_are_finished(application: Application) -> None:
    gone, there = application.missing(), application.mended()

    alone = application.petdetect("redrive", gone)
    together = application.petdetect("redrive", gone, there)

    assert alone.code == together.code == 1
    assert "Its object is gone" in alone.err
    assert application.status(there) == "failed"  # named together they are done together
    result = application.petdetect("redrive", "--all", "--yes", "--json")
    assert result.code == 3
    outcomes = {image["imageId"]: image["outcome"] for image in result.json["images"]}
    assert outcomes == {gone: "refused", there: "finished"}


def test_an_image_that_fails_again_needs_attention_and_can_be_redriven_again(application: Application) -> None:
    with application.broken_policy():
        image_id = application.put()
        application.finished(image_id)
        again = application.petdetect("redrive", image_id)
    assert again.code == 3
    assert "PolicyInvalidError" in again.out

    assert application.petdetect("redrive", image_id).code == 0
    assert application.status(image_id) == "completed"
    assert len(_redrives(application, image_id)) == 2


def test_a_redrive_that_could_not_claim_is_not_the_last_one(application: Application) -> None:
    image_id = application.mended()
    failed = application.item(image_id)["ExecutionArn"]["S"]
    name = f"redrive-{image_id}-{hashlib.sha256(failed.encode()).hexdigest()[:16]}"
    arn = application.start(image_id, name)  # without a restart it ends as Already Claimed
    eventually(lambda: application.sfn.describe_execution(executionArn=arn)["status"] == "SUCCEEDED", "it ends")
    assert application.status(image_id) == "failed"

    assert application.petdetect("redrive", image_id).code == 0

    assert _redrives(application, image_id) == [f"{name}-2"]


def test_nobody_has_to_wait(application: Application) -> None:
    image_id = application.mended()

    started = application.petdetect("redrive", image_id, "--no-wait", "--json")

    assert started.code == 0
    assert [image["outcome"] for image in started.json["images"]] == ["started"]
    assert application.completed(image_id)
    assert len(_redrives(application, image_id)) == 1


def test_an_execution_that_takes_too_long_is_not_waited_for(application: Application) -> None:
    image_id = application.mended()
    with application.analysis_taken(CAT):
        late = application.petdetect("redrive", image_id, "--timeout", "1")

    assert late.code == 3
    assert "It still runs." in late.out
    assert application.completed(image_id)


def test_an_image_that_was_moved_before_it_failed_is_found_in_its_folder(application: Application) -> None:
    image_id = application.missing()
    application.s3.put_object(Bucket=application.bucket, Key=f"cats/{image_id}.jpg", Body=CAT.read_bytes())

    assert application.petdetect("redrive", image_id).code == 0

    assert application.status(image_id) == "completed"
    assert application.keys(image_id) == [f"cats/{image_id}.jpg"]


def test_what_does_not_exist_or_makes_no_sense_is_refused(application: Application) -> None:
    unknown = application.petdetect("redrive", uuid.uuid4().hex)
    assert unknown.code == 1
    assert "There is no image" in unknown.err
    for arguments in (
        ["redrive"],
        ["redrive", "input/cat.jpg"],
        ["redrive", "a" * 7],  # fewer digits than `make run` shows
        ["dismiss", "a" * 8],  # the object is gone, and an ID is found by its object
        ["redrive", "a" * 32, "--all"],
        ["redrive", "a" * 32, "--reason", "ServiceError"],
    ):
        assert application.petdetect(*arguments).code == 2


def test_what_was_put_back_is_redriven_and_the_plan_and_the_story_say_so(application: Application) -> None:
    image_id = application.missing()
    gone = application.item(image_id)["SourceVersion"]["S"]
    assert application.petdetect("redrive", image_id).code == 1
    application.come(image_id)
    before = application.snapshot()

    story = application.petdetect("explain", image_id)
    document = application.petdetect("explain", image_id, "--json").json
    plan = application.petdetect("redrive", image_id, "--dry-run")
    plans = application.petdetect("redrive", "--all", "--dry-run", "--json").json["images"]
    left = application.petdetect("reconcile", "--older-than", "0", "--json").json["findings"]

    assert application.snapshot() == before
    assert f"put back instead of version {gone}, which is gone" in story.out
    assert "a redrive takes that one" in story.out
    assert document["object"]["replaces"] == gone
    assert document["object"]["versionId"] != gone
    assert gone in plan.out
    assert [(found["replaces"], found["refusal"]) for found in plans] == [(gone, None)]
    assert [(found["action"], found["imageId"]) for found in left] == [("leave", image_id)]
    assert application.petdetect("redrive", image_id).code == 0
    assert application.keys() == [f"cats/{image_id}.jpg"]
    assert application.petdetect("status").code == 0


def test_another_image_under_the_same_key_was_not_put_back(application: Application) -> None:
    image_id = application.missing()
    application.come(image_id)
    key = f"input/{image_id}.jpg"
    version_id = application.newest(image_id)
    other = image_ids.hashed_image_id(key, version_id)
    item = application.item(image_id) | {"ImageID": {"S": other}, "SourceVersion": {"S": version_id}}
    application.dynamodb.put_item(TableName=application.table, Item=item)

    assert "Its object is gone" in application.petdetect("redrive", image_id).err
    assert application.petdetect("redrive", other).code == 0
    assert application.status(other) == "completed"


def test_another_upload_under_a_key_of_no_id_was_not_put_back(application: Application) -> None:
    key, old = "input/tom.jpg", application.missing()
    image_id = image_ids.hashed_image_id(key, "gone")
    item = application.item(old) | {"ImageID": {"S": image_id}, "SourceKey": {"S": key}, "SourceVersion": {"S": "gone"}}
    application.dynamodb.put_item(TableName=application.table, Item=item)
    with application.uploads_ignored():
        application.s3.put_object(Bucket=application.bucket, Key=key, Body=CAT.read_bytes())

    assert "Its object is gone" in application.petdetect("redrive", image_id).err


def test_an_image_that_too_many_executions_worked_on_is_refused(application: Application) -> None:
    image_id = application.mended()
    last = application.item(image_id)["ExecutionArn"]["S"]

    def executions(number: int) -> None:
        application.dynamodb.update_item(
            TableName=application.table,
            Key={"ImageID": {"S": image_id}},
            UpdateExpression="SET Executions = :all",
            ExpressionAttributeValues={":all": {"SS": [last, *(f"{last}{count}" for count in range(1, number))]}},
        )

    executions(restart.MAX_EXECUTIONS)
    before = application.snapshot()
    refused = application.petdetect("redrive", image_id)
    assert refused.code == 1
    assert "50 executions have worked on it" in refused.err
    assert "upload the picture again" in refused.err
    assert application.petdetect("redrive", "--all", "--yes").code == 3
    assert application.snapshot() == before
    executions(restart.MAX_EXECUTIONS - 1)
    assert application.petdetect("redrive", image_id).code == 0
    assert len(application.executions(image_id)) == restart.MAX_EXECUTIONS


@pytest.mark.parametrize("options", [[], ["--no-wait"]], ids=["waiting", "not waiting"])
def test_what_is_known_is_printed_when_aws_fails_in_the_middle(
    application: Application, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    both = {application.mended(), application.mended()}
    start, started = image_workflow.start, list[str]()

    def start_once(workflow: str, name: str, key: str, version_id: str, image_id: str, **more: Any) -> bool:
        if started:
            raise ThrottledError("states:StartExecution: too often")
        started.append(image_id)
        return start(workflow, name, key, version_id, image_id, **more)

    monkeypatch.setattr(image_workflow, "start", start_once)

    failed = application.petdetect("redrive", "--all", "--yes", "--json", *options)

    assert failed.code == 1
    assert "too often" in failed.err
    assert "too often" in failed.json["error"]
    assert [image["imageId"] for image in failed.json["images"]] == started
    assert application.completed(started[0])
    readable = application.petdetect("redrive", "--all", "--yes", *options)
    assert (readable.code, readable.out) == (1, "")
    monkeypatch.undo()
    assert application.petdetect("redrive", "--all", "--yes").code == 0
    assert {application.status(image_id) for image_id in both} == {"completed"}


def test_an_image_that_cannot_be_claimed_does_not_keep_the_others_from_it(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "MAX_ATTEMPTS", 1)
    stuck, other = application.mended(), application.mended()
    failed = application.item(stuck)["ExecutionArn"]["S"]
    name = f"redrive-{stuck}-{hashlib.sha256(failed.encode()).hexdigest()[:16]}"
    arn = application.start(stuck, name)  # without a restart it ends as Already Claimed
    eventually(lambda: application.sfn.describe_execution(executionArn=arn)["status"] == "SUCCEEDED", "it ends")

    result = application.petdetect("redrive", "--all", "--yes", "--json")

    assert result.code == 3
    outcomes = {image["imageId"]: (image["outcome"], image["remark"]) for image in result.json["images"]}
    assert outcomes[other] == ("finished", "")
    assert outcomes[stuck][0] == "failed"
    assert "could not claim it" in outcomes[stuck][1]
