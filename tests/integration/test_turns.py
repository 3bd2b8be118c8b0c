"""An image whose turn to ask Rekognition has not come waits in the state machine, and says until when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.waiting import eventually

from .application import HttpApplication
from .gallery import Gallery
from .pictures import new_cat

CLAIM, ANALYSIS = "Claim Upload", ["Analyze Image", "Cat, Dog or Other?"]
END = ["Move Image", "Certain Enough?", "Log Detection"]
# Long enough that all uploads of a test come before the first turn, also on a busy machine.
QUEUE_SECONDS = 10


def calls(application: HttpApplication) -> float:
    """Calls of Rekognition that were answered."""
    return application.metrics().get(("RekognitionCall",), (0, 0))[0]


def test_an_image_says_when_its_turn_comes_and_is_analysed_then(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    before = calls(application)
    with application.queue(QUEUE_SECONDS) as ends:
        image_id = application.client.upload("waits.jpg", "image/jpeg", new_cat())
        eventually(lambda: "turnAt" in application.client.image(image_id), "the API says when its turn comes")
        waiting = application.client.image(image_id)
        moved_on = application.next_turn()
    finished = application.finished_image(image_id)

    turn = datetime.fromtimestamp(ends, UTC)
    assert waiting["status"] == "processing"
    assert datetime.fromisoformat(waiting["turnAt"]) == pytest.approx(turn, abs=timedelta(milliseconds=1))
    assert 0 < moved_on - ends < 0.5  # one interval at the pace that is deployed
    assert (finished["status"], "turnAt" in finished) == ("completed", False)
    item = application.item(image_id)
    assert item["TurnAt"]["S"] == waiting["turnAt"] < item["Timestamp"]["S"]
    execution = item["ExecutionArn"]["S"]
    assert application.states_entered(execution) == [CLAIM, *ANALYSIS, "Wait for Turn", *ANALYSIS, *END]
    assert application.attempts(execution)["Analyze Image"] == 2
    eventually(lambda: calls(application) == before + 1, "the call is counted")


def test_the_same_bytes_five_times_wait_for_one_turn_and_one_call(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    before, content = calls(application), new_cat()
    with application.queue(QUEUE_SECONDS) as ends:
        with ThreadPoolExecutor(5) as pool:
            images = list(pool.map(lambda _: application.client.upload("same.jpg", "image/jpeg", content), range(5)))
        for image_id in images:
            eventually(lambda found=image_id: "TurnAt" in application.item(found), "it waits")  # type: ignore[misc]
        records = [application.finished_image(image_id) for image_id in images]
        moved_on = application.next_turn()

    assert {record["status"] for record in records} == {"completed"}
    assert sorted(record["analysisReused"] for record in records) == [False, *[True] * 4]
    assert 0 < moved_on - ends < 0.5, "others took a turn too"
    eventually(lambda: calls(application) == before + 1, "the call is counted")
    turns = [datetime.fromisoformat(application.item(image_id)["TurnAt"]["S"]).timestamp() for image_id in images]
    (first,) = [turn for turn in turns if turn < ends + 0.5]
    assert first == min(turns)
