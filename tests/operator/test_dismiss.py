"""`petdetect dismiss`: an image that is gone for good needs no attention any more."""

from __future__ import annotations

import time

import pytest

from pet_detector.aws import detection_logs
from tests.operator.application import Application, eventually


def test_an_image_that_is_gone_is_dismissed_once(application: Application) -> None:
    image_id = application.missing()
    before = application.petdetect("explain", image_id)
    assert application.petdetect("status").code == application.petdetect("redrive", "--all", "--yes").code == 3

    dismissed = application.petdetect("dismiss", image_id, "--yes", "--json")
    again = application.petdetect("dismiss", image_id, "--yes")

    assert f"petdetect dismiss {image_id}" in before.out
    assert dismissed.code == 0
    assert (dismissed.json["imageId"], dismissed.json["reason"]) == (image_id, "ImageNotFoundError")
    assert again.code == 1
    assert "dismissed already" in again.err
    assert application.petdetect("status").code == 0
    assert application.petdetect("failed").out == "No image has failed.\n"
    assert application.petdetect("redrive", "--all", "--yes").out == "There is nothing to redrive.\n"
    story = application.petdetect("explain", image_id)
    assert "failed (ImageNotFoundError, dismissed)" in story.out
    assert "it was dismissed" in story.out
    item = application.item(image_id)
    assert item["ProcessingStatus"]["S"] == "failed"
    year = 365 * 86400
    assert abs(int(item["ExpiresAt"]["N"]) - time.time() - year) < 600


def test_it_asks_first(application: Application) -> None:
    image_id = application.missing()
    before = application.snapshot()

    for answer in ("n\n", ""):
        asked = application.petdetect("dismiss", image_id, typed=answer)
        assert asked.code == 1
        assert f"Dismiss the failed image {image_id} (ImageNotFoundError) in local?" in asked.err
    assert application.petdetect("dismiss", image_id, "--json").code == 2
    assert application.snapshot() == before

    assert "its record expires on" in application.petdetect("dismiss", image_id, typed="y\n").out


def test_only_failed_images_without_an_object_are_dismissed(application: Application) -> None:
    there, completed = application.mended(), application.put()
    application.finished(completed)
    before = application.snapshot()

    for image_id, words in (
        (there, f"Its object is there, at input/{there}.jpg: petdetect redrive {there}"),
        (completed, "It is completed, and only failed images are dismissed."),
        ("0" * 32, "There is no image"),
    ):
        refused = application.petdetect("dismiss", image_id, "--yes")
        assert (refused.code, refused.out) == (1, "")
        assert words in refused.err

    assert application.petdetect("dismiss").code == application.petdetect("dismiss", "cat.jpg").code == 2
    assert application.snapshot() == before


def test_an_image_that_was_started_again_in_the_meantime_is_not_dismissed(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection_logs, "dismiss", lambda *_, **__: False)

    refused = application.petdetect("dismiss", application.missing(), "--yes")

    assert refused.code == 1
    assert "started again in the meantime" in refused.err


def test_what_comes_under_the_key_of_a_dismissed_image_is_another_image(application: Application) -> None:
    image_id = application.missing()
    application.petdetect("dismiss", image_id, "--yes")
    application.come(image_id)

    assert application.petdetect("reconcile", "--older-than", "0", "--json").json["started"] == 1

    def others() -> set[str]:
        return {item["ImageID"]["S"] for item in application.items()} - {image_id}

    (other,) = eventually(others, "another image")
    assert application.finished(other) == "completed"
    assert application.petdetect("status").code == 0
