"""The review machine and ReviewKeeper: what a person decides is carried out, once, whatever comes between."""

from __future__ import annotations

from typing import Any

import pytest

from pet_detector.aws import detection_logs
from tests.support.verdicts import FOLDER_OF, Verdicts

from .application import HttpApplication

STATES = ["Read Review", "Claim Picture", "Move Picture", "Log Verdict", "Close Review"]


@pytest.fixture(scope="module")
def verdicts(application: HttpApplication) -> Verdicts:
    """People who decide."""
    return Verdicts(application)


def check(verdicts: Verdicts, image_id: str, animal: str, status: str = "completed") -> dict[str, Any]:
    """The picture lies in one folder, and record and head say so -> the record."""
    record, head = verdicts.record(image_id), verdicts.head(image_id)
    assert verdicts.places(image_id) == [FOLDER_OF[animal]]
    assert record["S3Location"].endswith(f"/{FOLDER_OF[animal]}/{image_id}.jpg")
    shard = record["Shard"]
    assert (record["DetectedAnimal"], record["AnimalShard"]) == (animal, f"{animal}#{shard}")
    assert (record["ProcessingStatus"], record["StatusShard"]) == (status, f"{status}#{shard}")
    assert record["VerdictSequence"] == head["CarriedOut"] == head["Sequence"]
    assert not record.keys() & {"ReviewClaim", "ReviewClaimedAt"}
    assert not head.keys() & {"PendingSince", "NextQueue", "NextOrder"}
    return record


@pytest.mark.parametrize("animal", FOLDER_OF)
def test_a_verdict_is_carried_out_in_five_transitions(verdicts: Verdicts, animal: str) -> None:
    image_id = verdicts.filed()
    verdicts.decide(image_id, animal)
    verdicts.settled(image_id)
    record = check(verdicts, image_id, animal)
    assert (record["ReviewedBy"], record["MachineAnimal"]) == ("person-1", "other")
    assert verdicts.head(image_id)["Queue"] == "done"
    (execution,) = verdicts.executions(image_id)
    verdicts.ended(image_id)
    assert verdicts.application.states_entered(execution) == STATES
    assert verdicts.transitions(execution) == 5


def test_the_picture_keeps_its_type_and_what_is_noted_of_it(verdicts: Verdicts) -> None:
    image_id = verdicts.filed()
    verdicts.decide(image_id, "dog")
    verdicts.settled(image_id)
    application = verdicts.application
    found = application.s3.head_object(Bucket=application.bucket, Key=f"dogs/{image_id}.jpg")
    assert found["ContentType"] == "image/jpeg"
    assert found["Metadata"]["uploaded-sha256"] == image_id * 2


@pytest.mark.parametrize(
    ("certain", "animal", "status"), [(False, "other", "needs_review"), (True, "cat", "completed")]
)
def test_an_undo_restores_what_the_machine_had_decided(
    verdicts: Verdicts, certain: bool, animal: str, status: str
) -> None:
    image_id = verdicts.filed(certain=certain)
    verdicts.decide(image_id, "dog")
    verdicts.settled(image_id)
    verdicts.decide(image_id, None)
    verdicts.settled(image_id)
    record = check(verdicts, image_id, animal, status)
    assert not record.keys() & {"ReviewedBy", "ReviewedAt"}
    head = verdicts.head(image_id)
    assert (head["Queue"], head["Order"]) == (head["HomeQueue"], head["HomeOrder"])


def test_of_many_verdicts_at_once_the_newest_holds(verdicts: Verdicts) -> None:
    image_id = verdicts.filed()
    for animal in ("cat", "dog", "other", "cat", "dog"):
        verdicts.decide(image_id, animal)
    verdicts.settled(image_id)
    verdicts.ended(image_id)
    check(verdicts, image_id, "dog")


def test_executions_about_the_same_verdict_do_it_once(verdicts: Verdicts) -> None:
    image_id = verdicts.filed()
    sequence = verdicts.decide(image_id, "cat")
    for number in range(4):
        verdicts.start(image_id, sequence, again=str(number))
    verdicts.settled(image_id)
    verdicts.ended(image_id)
    check(verdicts, image_id, "cat")
    assert len(verdicts.application.objects(f"cats/{image_id}")) == 1


def test_an_older_execution_changes_nothing(verdicts: Verdicts) -> None:
    image_id = verdicts.filed()
    verdicts.decide(image_id, "cat")
    verdicts.settled(image_id)
    verdicts.decide(image_id, "dog")
    verdicts.settled(image_id)
    before = verdicts.record(image_id)
    verdicts.start(image_id, 1, again="late")
    verdicts.ended(image_id)
    assert verdicts.record(image_id) == before


def test_a_verdict_that_comes_while_another_is_carried_out_follows_it(verdicts: Verdicts) -> None:
    """Its own execution finds the picture claimed and ends; the owner of the claim carries it out."""
    image_id = verdicts.filed()
    verdicts.decide(image_id, "cat", start=False)
    application = verdicts.application
    owner = f"{verdicts.workflow.replace(':stateMachine:', ':execution:')}:{image_id}-1"
    application.change_record(image_id, ReviewClaim=owner, ReviewClaimedAt=detection_logs.now())
    verdicts.decide(image_id, "dog")
    assert verdicts.ended(image_id) == ["Nothing to Carry Out"]
    assert verdicts.record(image_id)["DetectedAnimal"] == "other"
    verdicts.start(image_id, 1)
    verdicts.settled(image_id)
    check(verdicts, image_id, "dog")


def test_a_picture_that_is_gone_leaves_the_verdict_in_the_record(verdicts: Verdicts) -> None:
    image_id = verdicts.filed()
    application = verdicts.application
    application.s3.delete_object(Bucket=application.bucket, Key=f"others/{image_id}.jpg")
    verdicts.decide(image_id, "cat")
    record = verdicts.settled(image_id)
    assert verdicts.ended(image_id) == ["Close Review"]
    assert (record["DetectedAnimal"], record["VerdictSequence"]) == ("cat", "1")
    assert record["S3Location"].endswith(f"/others/{image_id}.jpg")


@pytest.mark.parametrize("is_erased", [True, False])
def test_a_verdict_on_an_image_that_is_no_more_is_closed(verdicts: Verdicts, is_erased: bool) -> None:
    image_id = verdicts.filed()
    application = verdicts.application
    verdicts.decide(image_id, "cat", start=False)
    if is_erased:
        application.change_record(image_id, ProcessingStatus="erased")
    else:  # expired
        application.dynamodb.delete_item(TableName=application.table, Key={"ImageID": {"S": image_id}})
    before = verdicts.record(image_id)
    verdicts.start(image_id, 1)
    assert verdicts.ended(image_id) == ["Nothing to Carry Out"]
    verdicts.age(image_id)
    assert verdicts.keep()["closed"] >= 1
    assert verdicts.head(image_id)["Queue"] == "done"
    assert verdicts.record(image_id) == before


@pytest.mark.parametrize("state", STATES[:4])
def test_an_execution_that_is_stopped_is_finished_by_the_keeper(verdicts: Verdicts, state: str) -> None:
    image_id = verdicts.filed()
    application = verdicts.application
    verdicts.decide(image_id, "cat", start=False)
    left_by(verdicts, image_id, state)
    before = len(verdicts.executions(image_id))
    verdicts.keep()
    assert len(verdicts.executions(image_id)) == before, "a young verdict was started again"
    verdicts.age(image_id)
    answer = verdicts.keep()
    assert "errorType" not in answer, answer
    assert len(verdicts.executions(image_id)) == before + 1
    verdicts.settled(image_id)
    verdicts.ended(image_id)
    check(verdicts, image_id, "cat")
    assert len(application.objects(f"cats/{image_id}")) == 1


def left_by(verdicts: Verdicts, image_id: str, state: str) -> None:
    """What an execution has done that was stopped just after this state did its work."""
    application = verdicts.application
    if state == "Log Verdict":
        verdicts.start(image_id, 1)
        verdicts.settled(image_id)
        verdicts.reopen(image_id)
    if state in ("Claim Picture", "Move Picture"):
        long_ago = "2026-01-01T00:00:00.000Z"
        application.change_record(image_id, ReviewClaim="arn:of:a:stopped:execution", ReviewClaimedAt=long_ago)
    if state == "Move Picture":  # in the middle of it: copied, and not deleted
        key = {"Bucket": application.bucket, "Key": f"others/{image_id}.jpg"}
        application.s3.copy_object(Bucket=application.bucket, Key=f"cats/{image_id}.jpg", CopySource=key)
