"""`petdetect reconcile` takes up what was lost; `petdetect status` says whether anything needs attention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ops import status
from pet_detector.aws import image_workflow
from pet_detector.rules import image_ids
from pet_detector.rules.errors import AccessDeniedError
from tests.operator.application import DOG, Application, ended, eventually, start_petdetect


def test_a_lost_event_is_found_and_its_image_finished(application: Application) -> None:
    with application.uploads_ignored():
        image_id = application.put()
    before = application.snapshot()

    young = application.petdetect("reconcile")
    unstarted = application.petdetect("explain", image_id)
    dry = application.petdetect("reconcile", "--older-than", "0", "--dry-run")
    assert application.snapshot() == before
    real = application.petdetect("reconcile", "--older-than", "0", "--json")

    assert young.out == "Nothing to reconcile: no upload is overdue.\n"
    assert "may have no record yet" in unstarted.err
    assert dry.code == 0
    assert image_id in dry.out
    assert "start it" in dry.out
    assert (real.json["gap"], real.json["started"], real.json["closed"]) == (1, 1, 0)
    assert application.finished(image_id) == "completed"
    story = application.petdetect("explain", image_id, "--json").json
    assert [run["kind"] for run in story["executions"]] == ["reconcile"]


def test_a_record_that_nobody_works_on_is_closed_and_nothing_but_json_is_printed(application: Application) -> None:
    image_id = application.missing()
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    application.dynamodb.update_item(
        TableName=application.table,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="SET ProcessingStatus = :status, StatusShard = :shard, ClaimedAt = :then REMOVE Notices",
        ExpressionAttributeValues={
            ":status": {"S": "processing"},
            ":shard": {"S": f"processing#{image_ids.shard_of(image_id)}"},
            ":then": {"S": long_ago},
        },
    )
    assert "its claim has expired" in application.petdetect("explain", image_id).out
    assert application.petdetect("status", "--json").json["oldestUnfinished"]["name"] == image_id

    # In a process of its own: log lines and metrics would go to the real standard output.
    closed = ended(start_petdetect("reconcile", "--json", **application.variables))

    assert closed.json["closed"] == 1
    assert closed.err == ""
    assert application.item(image_id)["Error"]["M"]["Error"]["S"] == "ExecutionLost"


def test_a_failed_image_is_left_to_the_operator(application: Application) -> None:
    image_id = application.mended()
    before = application.snapshot()

    found = application.petdetect("reconcile", "--older-than", "0", "--json").json

    assert [(one["action"], one["imageId"]) for one in found["findings"]] == [("leave", image_id)]
    assert found["gap"] == 0
    assert application.snapshot() == before


def test_status_is_fine_when_nothing_failed(application: Application) -> None:
    image_id = application.put()
    application.finished(image_id)

    status = application.petdetect("status", "--json")

    assert status.code == application.petdetect("status").code == 0
    assert status.json["images"] == {
        "uploading": 0,
        "processing": 0,
        "completed": 1,
        "needs_review": 0,
        "rejected": 0,
        "held": 0,
        "failed": 0,
    }
    assert status.json["runningExecutions"] == 0
    assert status.json["objectsInInput"] == 0


def test_status_needs_attention_when_an_image_failed(application: Application) -> None:
    image_id = application.mended()

    status = application.petdetect("status")
    document = application.petdetect("status", "--json").json

    assert status.code == 3
    assert "failed images; see petdetect failed" in status.out
    assert document["needsAttention"]
    assert document["images"]["failed"] == document["objectsInInput"] == 1
    assert document["oldestObject"]["name"] == f"input/{image_id}.jpg"


def test_status_needs_attention_when_any_queue_holds_a_dead_letter(application: Application) -> None:
    queues = {name.removesuffix("Url"): url for name, url in application.outputs.items() if name.endswith("QueueUrl")}
    assert set(application.petdetect("status", "--json").json["deadLetters"]) == set(queues)
    name, url = sorted(queues.items())[0]
    application.sqs.send_message(QueueUrl=url, MessageBody="{}")

    status = application.petdetect("status", "--json")

    assert status.code == 3
    assert status.json["deadLetters"] == {queue: int(queue == name) for queue in queues}
    assert "docs/operations.md#dead-letters" in application.petdetect("status").out


def test_what_could_not_be_taken_up_is_told(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    with application.uploads_ignored():
        image_id = application.put()

    def refuse(*_: object, **__: object) -> bool:
        raise AccessDeniedError("states:StartExecution: AccessDenied")

    monkeypatch.setattr(image_workflow, "start", refuse)
    document = application.petdetect("reconcile", "--older-than", "0", "--json")
    table = application.petdetect("reconcile", "--older-than", "0")

    assert document.code == table.code == 1
    assert (document.json["gap"], document.json["started"]) == (1, 0)
    assert document.json["error"] == "states:StartExecution: AccessDenied"
    assert image_id in table.out
    assert "states:StartExecution: AccessDenied" in table.err


def test_an_age_that_is_no_age_is_refused(application: Application) -> None:
    for minutes in ("-1", "525601", "99999999999", "ten"):
        assert application.petdetect("reconcile", "--dry-run", "--older-than", minutes).code == 2
    assert application.petdetect("reconcile", "--dry-run", "--older-than", "525600").code == 0


def test_status_needs_attention_when_an_object_was_not_taken_up_in_an_hour(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with application.uploads_ignored():
        image_id = application.put()
    held = application.held(DOG)
    assert application.petdetect("status").code == 0
    monkeypatch.setattr(status, "_STUCK_AFTER", timedelta(0))

    table = application.petdetect("status")
    document = application.petdetect("status", "--json")

    assert table.code == document.code == 3
    assert "unfinished objects of over an hour under input/: 1; see petdetect reconcile --dry-run" in table.out
    assert (document.json["stuckObjects"], document.json["objectsInInput"]) == (1, 2)
    application.petdetect("reconcile", "--older-than", "0")
    eventually(lambda: application.status(image_id) == "completed", "the lost image is finished")
    assert application.petdetect("status").code == 0
    assert application.status(held) == "held"


@pytest.mark.parametrize("more", [{}, {"UpdatedAt": "yesterday"}], ids=["without a time", "with words"])
def test_a_record_that_a_person_wrote_is_shown(application: Application, more: dict[str, str]) -> None:
    image_id = "cd" * 16
    attributes = {"ProcessingStatus": "failed", "StatusShard": "failed#0", "ListedAt": f"2026-11-21#{image_id}"}
    item = {name: {"S": value} for name, value in (attributes | more).items()}
    application.dynamodb.put_item(TableName=application.table, Item=item | {"ImageID": {"S": image_id}})

    assert "unknown" in application.petdetect("failed").out
    assert application.petdetect("failed", "--json").json["images"][0]["failedAt"] is None
    assert "failed" in application.petdetect("explain", image_id).out
    assert application.petdetect("redrive", "--all", "--dry-run").code == 0
    assert application.petdetect("status").code == 3
    assert application.petdetect("dismiss", image_id, "--yes").code == 0
