"""`petdetect dismiss`: an image that is gone for good needs no attention any more."""

from __future__ import annotations

import time

from tests.operator.application import Application


def test_an_image_that_is_gone_is_dismissed_once_and_nothing_takes_its_key_by_itself(application: Application) -> None:
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

    # What comes under its key waits for a person, who may still take it for the image.
    application.put_again(image_id)

    assert application.petdetect("reconcile", "--older-than", "0", "--json").json["started"] == 0
    assert {record["ImageID"]["S"] for record in application.records()} == {image_id}
    assert application.petdetect("redrive", image_id).code == 0
    assert application.completed(image_id)
    assert application.petdetect("status").code == 0
