"""`petdetect explain` and `petdetect failed`: what an operator learns."""

from __future__ import annotations

import re

import pytest

from tests.operator.application import DOG, Application


def test_tells_the_story_of_an_image_that_failed_and_was_redriven(application: Application) -> None:
    with application.broken_policy():
        image_id = application.put()
        assert application.finished(image_id) == "failed"
    before = application.petdetect("explain", image_id)
    assert application.petdetect("redrive", image_id).code == 0

    after = application.petdetect("explain", image_id)

    assert before.code == after.code == 0
    assert f"petdetect redrive {image_id}" in before.out
    assert "docs/operations.md#policyinvaliderror" in before.out
    story = [
        rf"Image {image_id}: completed \(cat, 98\.",
        rf"object +cats/{image_id}\.jpg",
        r"1\. .* started by the upload's event",
        "Claim Upload",
        "Analyze Image",
        "PolicyInvalidError: .*: The policy parameter must hold JSON",
        "Record Failure",
        "Processing Failed",
        "ended: FAILED",
        rf"2\. .* execution redrive-{image_id}-[0-9a-f]{{16}}, started by petdetect redrive",
        "Claim Upload",
        "Move Image",
        "Log Detection",
        "Image Classified",
        "ended: SUCCEEDED",
        "notified: operators, of the failure",
        "Nothing: it is finished",
    ]
    assert re.search(".*".join(story), after.out, re.DOTALL), after.out


def test_the_story_is_readable_by_programs(application: Application) -> None:
    image_id = application.mended()
    application.petdetect("redrive", image_id)

    story = application.petdetect("explain", image_id, "--json").json

    assert story["status"] == "completed"
    assert [run["kind"] for run in story["executions"]] == ["manual", "redrive"]
    assert [run["status"] for run in story["executions"]] == ["FAILED", "SUCCEEDED"]
    analyze = story["executions"][0]["steps"][1]
    assert (analyze["state"], analyze["problems"][0]["error"]) == ("Analyze Image", "ImageNotFoundError")
    assert story["object"]["key"] == f"cats/{image_id}.jpg"
    assert story["record"]["FileSize"] == 27255
    assert story["commands"] == []


def test_tells_of_retries(application: Application) -> None:
    with application.analysis_taken(DOG):
        image_id = application.put(DOG)
        application.retried(image_id)
    assert application.finished(image_id) == "completed"

    story = application.petdetect("explain", image_id)

    assert re.search(r"Analyze Image  \(\d+ attempts\)", story.out)
    assert "AnalysisInProgressError: Another execution is asking" in story.out


def test_tells_of_an_execution_that_was_stopped(application: Application) -> None:
    with application.analysis_taken(DOG):
        image_id = application.put(DOG)
        application.sfn.stop_execution(executionArn=application.retried(image_id))
        application.finished(image_id)

        story = application.petdetect("explain", image_id)

    assert ": failed (ExecutionAborted)" in story.out
    assert "ended: ABORTED" in story.out
    assert "docs/operations.md#executionaborted" in story.out
    assert application.petdetect("redrive", image_id).code == 0
    assert application.status(image_id) == "completed"


def test_an_image_at_work_is_left_alone(application: Application) -> None:
    with application.analysis_taken(DOG):
        image_id = application.put(DOG)
        application.retried(image_id)

        story = application.petdetect("explain", image_id)
        refused = application.petdetect("redrive", image_id)
        status = application.petdetect("status", "--json").json

    assert "it still runs" in story.out
    assert "An execution works on it: wait." in story.out
    assert refused.code == 1
    assert "It is processing" in refused.err
    assert status["runningExecutions"] == status["images"]["processing"] == 1
    assert status["oldestUnfinished"]["name"] == image_id
    application.finished(image_id)


def test_an_upload_that_did_not_come_yet_is_no_fault(application: Application) -> None:
    story = application.petdetect("explain", application.announce())

    assert story.code == 0
    assert ": uploading" in story.out
    assert "It is not uploaded yet" in story.out


def test_an_upload_whose_event_is_lost_is_told_from_one_that_did_not_come(application: Application) -> None:
    image_id = application.announce()
    with application.uploads_ignored():
        application.put(image_id=image_id)

    story = application.petdetect("explain", image_id)

    assert f"input/{image_id}.jpg" in story.out
    assert "petdetect reconcile --older-than 0" in story.out


def test_an_image_without_a_record_is_explained_by_its_notice(application: Application) -> None:
    image_id = "ab" * 16
    arn = application.start(image_id)
    application.finished(image_id)
    key = {"ImageID": {"S": image_id}}
    application.dynamodb.put_item(TableName=application.table, Item=key | {"Notices": {"SS": [arn]}})

    story = application.petdetect("explain", image_id)

    assert ": unrecorded" in story.out
    assert "ImageNotFoundError" in story.out
    assert application.petdetect("redrive", image_id).code == 1


def test_an_image_whose_object_is_gone_says_so(application: Application) -> None:
    image_id = application.missing()

    story = application.petdetect("explain", image_id)

    assert re.search(r"object +gone", story.out)
    assert "redrive needs it back" in story.out


def test_lists_what_failed_with_reason_age_and_place(application: Application) -> None:
    gone, there = application.missing(), application.mended()

    listed = application.petdetect("failed", "--json").json["images"]
    table = application.petdetect("failed").out

    assert {image["imageId"]: image["object"] for image in listed} == {gone: None, there: f"input/{there}.jpg"}
    assert {image["reason"] for image in listed} == {"ImageNotFoundError"}
    assert all(text in table for text in (gone, there, "ImageNotFoundError", " s ago", "gone", f"input/{there}.jpg"))


def test_lists_by_reason_and_says_when_there_are_more(application: Application) -> None:
    application.missing()
    application.missing()

    assert application.petdetect("failed", "--reason", "ThrottledError").out == "No image has failed.\n"
    assert "there are more, see --limit" in application.petdetect("failed", "--limit", "1").out
    listed = application.petdetect("failed", "--reason", "ImageNotFoundError", "--limit", "1", "--json").json
    assert (len(listed["images"]), listed["more"]) == (1, True)


def test_a_file_name_cannot_draw_on_the_terminal(application: Application) -> None:
    image_id = application.missing()
    application.dynamodb.update_item(
        TableName=application.table,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="SET OriginalFilename = :name",
        ExpressionAttributeValues={":name": {"S": "\x1b[31m[bold]cat[/bold]\u202egpj.exe"}},
    )

    for command in (["failed"], ["explain", image_id]):
        printed = application.petdetect(*command).out
        assert "\x1b" not in printed
        assert "\u202e" not in printed
        assert "[bold]cat[/bold]" in printed


@pytest.mark.parametrize("digits", [8, 31])
def test_the_first_digits_of_an_id_are_enough_for_a_filed_image_and_for_a_failed_one(
    application: Application, digits: int
) -> None:
    filed = application.put()
    assert application.finished(filed) == "completed"
    with application.broken_policy():
        failed = application.put()
        assert application.finished(failed) == "failed"

    for image_id, status in ((filed, "completed"), (failed, "failed")):
        assert f"Image {image_id}: {status}" in application.petdetect("explain", image_id[:digits].upper()).out


def test_digits_of_several_images_or_of_none_are_refused(application: Application) -> None:
    for end in ("1", "2"):
        application.s3.put_object(Bucket=application.bucket, Key=f"cats/{'ab' * 15}0{end}.jpg", Body=b"a")

    several = application.petdetect("explain", "abababab")
    none = application.petdetect("explain", "babababa")

    assert (several.code, none.code) == (1, 1)
    assert "2 images have an ID that begins with abababab: give more digits" in several.err
    assert "No stored image in local has an ID that begins with babababa" in none.err
    assert application.petdetect("explain", "abababa").code == 2
