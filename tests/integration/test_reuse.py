"""The same bytes are analysed once, and a day has as many analyses as the operator allows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deployment import CERTAIN_CAT
from tests.support.waiting import eventually

from .application import HttpApplication
from .gallery import HOSTILE_KEYS, Gallery
from .pictures import new_cat


def test_the_same_bytes_at_the_same_time_are_analysed_once(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    same = [quiet_gallery[name] for name in ("cat", *HOSTILE_KEYS)]
    assert {image.content for image in same} == {CERTAIN_CAT.read_bytes()}

    assert sorted(image.record["analysisReused"] for image in same) == [False, *[True] * (len(same) - 1)]
    for told in ("animal", "confidence", "scores", "reason"):
        assert len({str(image.record[told]) for image in same}) == 1
    assert len({application.item(image.id)["ModelVersion"]["S"] for image in same}) == 1


def test_other_bytes_are_another_picture(gallery: Gallery) -> None:
    fresh = [gallery[name].record["analysisReused"] for name in ("dog", "other", "uncertain", "largest", "inline")]
    assert fresh == [False] * 5


@pytest.fixture(scope="module")
def limited_to_one(application: HttpApplication, gallery: Gallery) -> Iterator[None]:
    """One analysis is allowed today, and it is used up."""
    gallery.settle()
    with application.configured("ImageProcessorFunction", DAILY_ANALYSIS_LIMIT="1"):
        first = application.client.upload("first.jpg", "image/jpeg", new_cat())
        assert application.finished_image(first)["status"] == "completed"
        yield


def held(application: HttpApplication, content: bytes) -> str:
    """Send a picture that is held, and return its id."""
    image_id = application.client.upload("late.jpg", "image/jpeg", content)
    eventually(lambda: application.status(image_id) == "held", f"image {image_id} is held")
    execution = application.item(image_id)["ExecutionArn"]["S"]
    assert application.ended(execution) == "Image Held"
    assert application.attempts(execution)["Analyze Image"] == 1
    assert [key for key, _ in application.versions(image_id)] == [f"input/{image_id}.jpg"]
    return image_id


@pytest.mark.usefixtures("limited_to_one")
def test_what_is_over_the_daily_limit_is_held_until_it_is_released(application: HttpApplication) -> None:
    image_id = held(application, new_cat())
    assert application.client.image(image_id)["status"] == "held"
    assert image_id in [image["imageId"] for image in application.listing(status="held", limit=100)["images"]]
    known = application.finished_image(application.upload(CERTAIN_CAT))
    assert (known["status"], known["analysisReused"]) == ("completed", True)  # costs nothing, so no limit applies

    again = application.input_of(application.item(image_id)["ExecutionArn"]["S"]) | {"restart": True}
    held_again = application.start_execution(again)
    assert application.ended(held_again) == "Image Held"
    released = application.start_execution(again | {"release": True})
    assert application.ended(released) == "Log Detection"
    # Nobody waits for an analysis that was never asked for.
    assert [application.attempts(execution)["Analyze Image"] for execution in (held_again, released)] == [1, 1]

    assert application.client.image(image_id)["status"] == "completed"
    assert [key for key, _ in application.versions(image_id)] == [f"cats/{image_id}.jpg"]
    assert application.notices(image_id) == []


@pytest.mark.usefixtures("limited_to_one")
def test_a_held_image_goes_on_by_itself_the_next_day(application: HttpApplication) -> None:
    image_id = held(application, new_cat())
    assert application.reconciled() == {"gap": 0, "started": 0, "closed": 0}  # not today
    assert application.status(image_id) == "held"

    application.configure("ImageProcessorFunction", DAILY_ANALYSIS_LIMIT="0")  # a new day
    application.change_record(image_id, UpdatedAt="2026-01-01T00:00:00.000Z")
    assert application.reconciled() == {"gap": 0, "started": 1, "closed": 0}

    assert application.finished_image(image_id)["status"] == "completed"
