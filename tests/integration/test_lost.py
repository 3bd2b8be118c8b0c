"""What the workflow cannot see ends too: stopped executions, lost events, and two uploads under one key."""

from __future__ import annotations

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from pet_detector.rules import image_ids, metadata
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, UNCERTAIN_CAT
from tests.support.waiting import eventually

from .application import HttpApplication
from .gallery import Gallery
from .pictures import new_cat

FORM = {"fileName": "cat.jpg", "contentType": "image/jpeg"}
NOTHING = {"gap": 0, "started": 0, "closed": 0}


def test_a_stopped_execution_is_a_failed_image_and_one_notice(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    content = new_cat()
    content_hash = hashlib.sha256(content).hexdigest()
    application.set_lease(content_hash, 600)  # so the execution waits
    image_id = application.client.upload("cat.jpg", "image/jpeg", content)
    execution = eventually(lambda: application.item(image_id).get("ExecutionArn", {}).get("S"), "it is claimed")
    eventually(lambda: application.attempts(execution)["Analyze Image"] > 1, "it waits for the other's analysis")

    application.sfn.stop_execution(executionArn=execution, error="Maintenance", cause="by hand")
    eventually(lambda: application.notices(image_id), "operators are notified")

    item = application.item(image_id)
    assert item["ProcessingStatus"]["S"] == "failed"
    assert item["Error"]["M"]["Error"]["S"] == "ExecutionAborted"  # the event of the local AWS says no more
    assert item["Notices"]["SS"] == [execution]
    (notice,) = application.notices(image_id)
    assert notice["MessageAttributes"]["Error"]["Value"] == "ExecutionAborted"
    assert notice["MessageAttributes"]["CorrelationID"]["Value"] == item["CorrelationId"]["S"]
    assert "The execution ended as ABORTED." in notice["Message"]
    assert application.reconciled() == NOTHING  # an operator decides

    application.set_lease(content_hash, 0)
    again = application.start_execution(application.input_of(execution) | {"restart": True})
    assert application.ended(again) == "Log Detection"
    assert application.client.image(image_id)["status"] == "completed"
    assert set(application.item(image_id)["Executions"]["SS"]) == {execution, again}
    assert len(application.notices(image_id)) == 1


def test_uploads_whose_events_were_lost_are_found(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery
    with application.uploads_ignored():
        promised = application.upload(CERTAIN_DOG)
        foreign = "input/a b+c/é.jpg"
        version = application.put_object(foreign, UNCERTAIN_CAT.read_bytes())
    before = application.item(promised)

    assert application.reconciled() == {"gap": 2, "started": 2, "closed": 0}

    strange = image_ids.hashed_image_id(foreign, version)
    assert application.finished_image(promised)["animal"] == "dog"
    assert application.finished_image(strange)["status"] == "needs_review"
    assert len(application.notices(strange)) == 1
    item = application.item(promised)
    assert item["CorrelationId"] == before["CorrelationId"]
    received = datetime.fromisoformat(item["ReceivedAt"]["S"])  # when it was stored, not when it was found
    assert received <= datetime.fromisoformat(item["ClaimedAt"]["S"])
    assert application.reconciled() == NOTHING


def test_a_second_upload_with_a_used_form_is_rejected_and_told(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    image = quiet_gallery["cat"]
    before = application.item(image.id)
    version = application.put_object(image.key, CERTAIN_DOG.read_bytes())
    (late,) = eventually(
        lambda: [e for e in application.executions_of_key(image.id) if version in str(application.input_of(e))],
        "its event starts an execution",
    )
    assert application.ended(late) == "Already Claimed"
    assert (image.key, version) in application.objects(image.key)

    assert application.reconciled() == NOTHING

    assert application.objects(image.key, delete_markers=True) == []
    assert application.item(image.id) == before | {"Superseded": {"N": "1"}}
    assert "Superseded" not in before
    told = application.client.image(image.id)["superseded"]
    assert (told["reasonCode"], told["uploads"]) == ("SUPERSEDED", 1)
    assert not application.item(image_ids.hashed_image_id(image.key, version)), "no image of its own"
    assert application.stored(image.record["location"]) == metadata.strip(image.content)
    assert application.reconciled() == NOTHING


def test_a_form_that_is_used_twice_at_once_gives_one_image(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    ticket = application.call("POST", "/upload", FORM).json
    form, key = ticket["upload"], ticket["upload"]["fields"]["key"]
    pictures = [CERTAIN_CAT.read_bytes(), CERTAIN_DOG.read_bytes()]

    with ThreadPoolExecutor(2) as pool:
        sent = pool.map(lambda content: application.post_form(form["url"], form["fields"], content), pictures)
        assert [answer.status for answer in sent] == [204, 204]
    first = application.finished_image(ticket["imageId"])
    eventually(lambda: len(application.executions_of_key(ticket["imageId"])) == 2, "both events have come")
    assert sorted(map(application.ended, application.executions_of_key(ticket["imageId"]))) == [
        "Already Claimed",
        "Log Detection",
    ]
    assert len(application.objects(key)) == 1

    assert application.reconciled() == NOTHING

    assert application.objects(key) == []
    assert application.stored(first["location"]) in pictures
    assert application.client.image(ticket["imageId"])["superseded"]["uploads"] == 1


def test_the_workflow_is_given_four_values_of_an_upload(application: HttpApplication) -> None:
    """No address and no requester: what an execution was given stays in its history for 90 days."""
    image_id = application.upload(CERTAIN_DOG)
    application.finished_image(image_id)
    (execution,) = application.executions_of_key(image_id)
    given = application.input_of(execution)
    assert {name: set(part) if isinstance(part, dict) else part for name, part in given.items()} == {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "id": given["id"],
        "time": given["time"],
        "detail": {"object"},
    }
    assert set(given["detail"]["object"]) == {"key", "version-id"}


def test_a_record_that_nobody_works_on_is_closed_and_told(application: HttpApplication, quiet_gallery: Gallery) -> None:
    """Its execution ended without a word, and there is no object to start again with."""
    assert quiet_gallery
    image_id, long_ago = uuid.uuid4().hex, "2026-01-01T00:00:00.000Z"
    shard = image_ids.shard_of(image_id)
    key, execution = f"input/{image_id}.jpg", f"{application.workflow.replace('stateMachine', 'execution')}:lost"
    texts = {
        "ImageID": image_id,
        "ProcessingStatus": "processing",
        "Shard": shard,
        "StatusShard": f"processing#{shard}",
        "ListedAt": f"{long_ago}#{image_id}",
        "CreatedAt": long_ago,
        "UpdatedAt": long_ago,
        "ClaimedAt": long_ago,
        "ExecutionArn": execution,
        "SourceKey": key,
        "SourceVersion": "newest",
        "OriginalFilename": "lost.jpg",
        "CorrelationId": "lost",
    }
    application.dynamodb.put_item(TableName=application.table, Item={name: {"S": text} for name, text in texts.items()})

    assert application.reconciled() == {"gap": 1, "started": 0, "closed": 1}

    assert application.item(image_id)["Error"]["M"]["Error"]["S"] == "ExecutionLost"
    (notice,) = application.notices(image_id)
    assert notice["MessageAttributes"]["Kind"]["Value"] == "ImageProcessingFailed"
    assert application.reconciled() == NOTHING
    with application.uploads_ignored():  # the uploader sends it again
        application.put_object(key, CERTAIN_CAT.read_bytes())
        again = application.start_execution({"detail": {"object": {"key": key}}, "restart": True})
        assert application.ended(again) == "Log Detection"
