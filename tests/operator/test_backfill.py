"""`petdetect backfill` on the deployed application: killed in the middle, every picture is done once."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.backfills import PREFIX, SOURCE, URL, Backfills
from tests.support.waiting import eventually

from .application import Application

PICTURES, REPEATED = 42, 2


@pytest.fixture
def backfills(application: Application) -> Iterator[Backfills]:
    """A source with pictures, and the deployed application without an image."""
    found = Backfills(application)
    found.fill(PICTURES, REPEATED)
    yield found
    found.deployment.s3.delete_objects(
        Bucket=SOURCE,
        Delete={"Objects": [{"Key": source.key} for source in found.sources] + [{"Key": f"{PREFIX}notes.txt"}]},
    )
    found.deployment.s3.delete_bucket(Bucket=SOURCE)


def rekognition_calls(application: Application) -> int:
    answer = application.petdetect("cost", "--actual", "--json").json
    return int(answer["counts"].get("RekognitionCall", 0))


def test_a_backfill_that_is_killed_wherever_it_is_does_every_picture_once(
    application: Application, backfills: Backfills
) -> None:
    calls = rekognition_calls(application)
    expected = application.petdetect("backfill", URL, "--dry-run", "--json").json["preview"]
    assert (expected["toDo"], expected["distinct"]) == (PICTURES, PICTURES - REPEATED)
    assert expected["skipped"] == {"NOT_A_PICTURE": 1}

    # Stopped while its batches wait for the schedule.
    with backfills.far_ahead():
        command = backfills.start("backfill", URL, "--yes")
        execution = eventually(backfills.running, "the backfill runs")
        assert backfills.wait_for_batches_that_wait(execution) == 1
        assert "is running since" in application.petdetect("backfill", URL, "--yes").err
        stopped = application.petdetect("backfill", "--stop")
        assert (stopped.code, "was stopped" in stopped.out) == (0, True)
        command.communicate(timeout=60)
        assert command.returncode == 3
    assert backfills.statuses() == {}

    # The command is killed; its execution goes on, and is stopped in the middle of a batch whose worker is killed.
    command = backfills.start("backfill", URL, "--yes")
    execution = eventually(backfills.running, "the backfill runs")
    command.send_signal(signal.SIGKILL)
    command.communicate()
    eventually(lambda: backfills.statuses().total() >= 5, "some are registered")
    application.sfn.stop_execution(executionArn=execution)
    backfills.kill_workers("RegisterImagesFunction")
    backfills.end_attempts()  # two minutes later

    # What was copied before, and has not been claimed yet, is "perhaps not copied": its attempt is over.
    after = backfills.run("backfill", URL, "--yes", codes=(0, 3), seconds=400)["after"]
    assert after["toDo"] == after["announced"] + after["unsure"]
    backfills.settle()

    assert backfills.problems() == []
    eventually(lambda: rekognition_calls(application) - calls == backfills.distinct, "each was asked about once")
    assert application.petdetect("backfill", "--resume").code == 0
    again = application.petdetect("backfill", URL, "--yes", "--json").json
    assert (again["preview"]["toDo"], again["backfill"]) == (0, None)


def test_a_finished_source_is_moved_when_asked(application: Application, backfills: Backfills) -> None:
    backfills.run("backfill", URL, "--yes", codes=(0, 3))
    backfills.settle()
    assert backfills.run("backfill", URL, "--yes", "--move")["moved"] == PICTURES
    left = application.s3.list_objects_v2(Bucket=SOURCE)["Contents"]
    assert [entry["Key"] for entry in left] == [f"{PREFIX}notes.txt"]
