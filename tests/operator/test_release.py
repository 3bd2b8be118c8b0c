"""`petdetect release` starts held images past the daily limit; a redrive does not pass it."""

from __future__ import annotations

import re

from tests.operator.application import DOG, Application
from tests.support.deployment import never_seen


def test_a_release_passes_the_limit_and_a_redrive_does_not(application: Application) -> None:
    failed = application.missing()
    with application.uploads_ignored():
        application.put_bytes(never_seen(DOG), failed)
    with application.daily_limit_reached():
        image_id = application.put_held()
        before = application.petdetect("explain", image_id)

        redriven = application.petdetect("redrive", failed, "--json")
        released = application.petdetect("release", image_id)

    after = application.petdetect("explain", image_id)
    again = application.petdetect("release", image_id)
    status = application.petdetect("status")
    document = application.petdetect("status", "--json").json
    assert "Hold Image" in before.out
    assert f"petdetect release {image_id}" in before.out
    assert "docs/operations.md#dailylimitreached--held-images" in before.out
    assert redriven.code == 3
    assert [image["outcome"] for image in redriven.json["images"]] == ["held"]
    assert application.status(failed) == "held"
    assert released.code == 0
    assert application.status(image_id) == "completed"
    assert application.keys(image_id) == [f"dogs/{image_id}.jpg"]
    assert re.search(r"2\. .* execution release-.*, started by petdetect release", after.out)
    assert again.code == 1
    assert "It is completed, and only held images are released." in again.err
    assert status.code == 0  # tomorrow the held one starts by itself
    assert "petdetect release" in status.out
    assert document["images"]["held"] == 1
    assert (document["analysedToday"], document["dailyAnalysisLimit"]) == (application.analysed_today(), 0)
    assert document["analysedToday"] >= 1
