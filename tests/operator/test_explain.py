"""`petdetect explain` and `redrive`: the story of an image that failed, from its error to its end."""

from __future__ import annotations

import re

from tests.operator.application import CAT, DOG, Application, ended, eventually, start_petdetect
from tests.support.deployment import never_seen


def _redrives(application: Application, image_id: str) -> list[str]:
    return [name for name in application.claimants(image_id) if name.startswith("redrive-")]


def test_tells_the_story_of_an_image_that_failed_twice_and_was_redriven(application: Application) -> None:
    with application.broken_policy():
        image_id = application.put()
        assert application.settled(image_id) == "failed"
        before = application.petdetect("explain", image_id)
        failed_again = application.petdetect("redrive", image_id)
    assert application.petdetect("status").code == failed_again.code == 3
    assert "PolicyInvalidError" in failed_again.out
    redriven = application.petdetect("redrive", image_id)
    snapshot = application.snapshot()

    after = application.petdetect("explain", image_id)
    document = application.petdetect("explain", image_id, "--json").json
    again = application.petdetect("redrive", image_id)

    assert before.code == redriven.code == after.code == 0
    assert f"petdetect redrive {image_id}" in before.out
    assert "docs/operations.md#policyinvaliderror" in before.out
    assert "finished" in redriven.out
    failed = ["Claim Upload", "Analyze Image", "PolicyInvalidError: .*: The policy parameter must hold JSON"]
    failed += ["Record Failure", "Processing Failed", "ended: FAILED"]
    redrive = rf"execution redrive-{image_id}-[0-9a-f]{{16}}, started by petdetect redrive"
    story = [
        rf"Image {image_id}: completed \(cat, 98\.",
        rf"object +cats/{image_id}\.jpg",
        r"1\. .* started by the upload's event",
        *failed,
        rf"2\. .* {redrive}",
        *failed,
        rf"3\. .* {redrive}",
        "Claim Upload",
        "Move Image",
        "Certain Enough",
        "Log Detection",
        "ended: SUCCEEDED",
        "notified: operators, of the failure",
        "Nothing: it is finished",
    ]
    assert re.search(".*".join(story), after.out, re.DOTALL), after.out
    runs = [(run["kind"], run["status"]) for run in document["executions"]]
    assert runs == [("event", "FAILED"), ("redrive", "FAILED"), ("redrive", "SUCCEEDED")]
    analyze = document["executions"][0]["steps"][1]
    assert (analyze["state"], analyze["problems"][0]["error"]) == ("Analyze Image", "PolicyInvalidError")
    assert document["object"]["key"] == f"cats/{image_id}.jpg"
    assert document["record"]["FileSize"] == 27255
    assert (document["status"], document["commands"]) == ("completed", [])
    assert again.code == 1
    assert "It is completed, and only failed images are redriven." in again.err
    assert application.snapshot() == snapshot
    assert application.petdetect("status").code == 0


def test_an_image_at_work_is_left_alone_and_one_that_was_stopped_is_redriven(application: Application) -> None:
    with application.analysis_taken(DOG):
        image_id = application.put(DOG)
        execution = application.retried(image_id)
        at_work = application.petdetect("explain", image_id)
        refused = application.petdetect("redrive", image_id)
        status = application.petdetect("status", "--json").json
        eventually(lambda: application.attempts(execution)["Analyze Image"] > 1, "its analysis is tried again")
        application.sfn.stop_execution(executionArn=execution)
        application.settled(image_id)

        stopped = application.petdetect("explain", image_id)

    assert "it still runs" in at_work.out
    assert "An execution works on it: wait." in at_work.out
    assert refused.code == 1
    assert "It is processing" in refused.err
    assert status["runningExecutions"] == status["images"]["processing"] == 1
    assert status["oldestUnfinished"]["name"] == image_id
    assert ": failed (ExecutionAborted)" in stopped.out
    assert re.search(r"Analyze Image  \(\d+ attempts\)", stopped.out)
    assert "AnalysisInProgressError: Another execution is asking" in stopped.out
    assert "ended: ABORTED" in stopped.out
    assert "docs/operations.md#executionaborted" in stopped.out
    assert application.petdetect("redrive", image_id).code == 0
    assert application.status(image_id) == "completed"


def test_an_image_that_waits_for_its_turn_is_told_as_such(application: Application) -> None:
    with application.queue(600):
        image_id = application.put_bytes(never_seen(CAT))
        turn = eventually(lambda: application.item(image_id).get("TurnAt", {}).get("S"), "it waits for its turn")
        execution = application.item(image_id)["ExecutionArn"]["S"]
        eventually(lambda: "Wait for Turn" in application.states_entered(execution), "its execution waits")

        waiting = application.petdetect("explain", image_id)
        document = application.petdetect("explain", image_id, "--json").json
        application.sfn.stop_execution(executionArn=execution)
        application.settled(image_id)
        stopped = application.petdetect("explain", image_id)

    until = turn.replace("T", " ").partition(".")[0]
    assert f"Image {image_id}: processing (waits for its turn until {until} UTC)" in waiting.out
    story = ["Claim Upload", "Analyze Image", "Wait for Turn", "it still runs", f"Its turn comes at {until} UTC: wait."]
    assert re.search(".*".join(map(re.escape, story)), waiting.out, re.DOTALL), waiting.out
    assert (document["record"]["TurnAt"], document["commands"]) == (turn, [])
    assert "waits for its turn" not in stopped.out
    assert "docs/operations.md#executionaborted" in stopped.out


def test_an_image_without_a_record_is_explained_by_its_notice(application: Application) -> None:
    image_id = "ab" * 16
    arn = application.start(image_id)
    application.settled(image_id)
    key = {"ImageID": {"S": image_id}}
    application.dynamodb.put_item(TableName=application.table, Item=key | {"Notices": {"SS": [arn]}})

    story = application.petdetect("explain", image_id)

    assert ": unrecorded" in story.out
    assert "ImageNotFoundError" in story.out
    assert application.petdetect("redrive", image_id).code == 1


def test_two_operators_at_once_start_one_execution(application: Application) -> None:
    image_id = application.put_back()

    both = [start_petdetect("redrive", image_id, **application.variables) for _ in range(2)]
    codes = {ended(process).code for process in both}

    assert 0 in codes
    assert codes <= {0, 1}  # 1: it came later, and saw that the image was at work or finished
    assert application.completed(image_id)
    assert len(_redrives(application, image_id)) == 1
    assert application.keys() == [f"cats/{image_id}.jpg"]


def test_an_image_that_was_moved_before_it_failed_is_finished_in_its_folder(application: Application) -> None:
    image_id = application.missing()
    application.s3.put_object(Bucket=application.bucket, Key=f"cats/{image_id}.jpg", Body=CAT.read_bytes())

    assert application.petdetect("redrive", image_id).code == 0

    assert application.status(image_id) == "completed"
    assert application.keys(image_id) == [f"cats/{image_id}.jpg"]
