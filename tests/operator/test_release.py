"""`petdetect release` starts held images past the daily limit, once; others it leaves alone."""

from __future__ import annotations

import re

from tests.operator.application import DOG, Application, ended, start_petdetect
from tests.support.deployment import never_seen


def _releases(application: Application, image_id: str) -> list[str]:
    return [name for name in application.executions(image_id) if name.startswith("release-")]


def test_a_held_image_is_explained_and_released(application: Application) -> None:
    image_id = application.held()
    before = application.petdetect("explain", image_id)

    released = application.petdetect("release", image_id)
    after = application.petdetect("explain", image_id)

    assert "Hold Image" in before.out
    assert f"petdetect release {image_id}" in before.out
    assert "docs/operations.md#daily-limit-reached" in before.out
    assert released.code == 0
    assert application.status(image_id) == "completed"
    assert application.keys(image_id) == [f"dogs/{image_id}.jpg"]
    assert len(_releases(application, image_id)) == 1
    assert re.search(r"2\. .* execution release-.*, started by petdetect release", after.out)


def test_it_passes_the_limit_and_a_redrive_does_not(application: Application) -> None:
    failed = application.missing()
    with application.uploads_ignored():
        application.put_bytes(never_seen(DOG), failed)
    with application.daily_limit_reached():
        image_id = application.put_held()

        redriven = application.petdetect("redrive", failed, "--json")
        released = application.petdetect("release", image_id)

    assert redriven.code == 3
    assert [image["outcome"] for image in redriven.json["images"]] == ["held"]
    assert released.code == 0
    assert application.status(image_id) == "completed"
    assert application.status(failed) == "held"


def test_a_dry_run_changes_nothing(application: Application) -> None:
    image_id = application.held()
    before = application.snapshot()

    one = application.petdetect("release", image_id, "--dry-run")
    short = application.petdetect("release", image_id[:8], "--dry-run")
    everything = application.petdetect("release", "--all", "--dry-run", "--json")

    assert "1 of 1 would be released. Nothing was changed." in one.out
    assert short.out == one.out
    assert [(image["imageId"], image["refusal"]) for image in everything.json["images"]] == [(image_id, None)]
    assert application.snapshot() == before


def test_a_second_release_does_nothing(application: Application) -> None:
    image_id = application.held()
    application.petdetect("release", image_id)
    before = application.snapshot()

    again = application.petdetect("release", image_id)

    assert again.code == 1
    assert "It is completed, and only held images are released." in again.err
    assert application.snapshot() == before


def test_two_operators_at_once_start_one_execution(application: Application) -> None:
    image_id = application.held()

    both = [start_petdetect("release", image_id, **application.variables) for _ in range(2)]
    codes = {ended(process).code for process in both}

    assert 0 in codes
    assert codes <= {0, 1}
    assert application.completed(image_id)
    assert len(_releases(application, image_id)) == 1


def test_all_held_images_and_no_failed_one(application: Application) -> None:
    failed, held = application.mended(), application.held()

    asked = application.petdetect("release", "--all", typed="n\n")
    assert asked.code == 1
    assert "Release 1 held images in local?" in asked.err
    assert application.petdetect("release", "--all", "--json").code == 2
    result = application.petdetect("release", "--all", "--yes", "--json")

    assert result.code == 0
    assert {image["imageId"]: image["outcome"] for image in result.json["images"]} == {held: "finished"}
    assert application.status(failed) == "failed"
    assert application.petdetect("release", "--all").out == "There is nothing to release.\n"


def test_neither_command_does_the_others_work(application: Application) -> None:
    failed, held = application.mended(), application.held()

    for arguments, words in (
        (("release", failed), "It is failed, and only held images are released."),
        (("redrive", held), "It is held, and only failed images are redriven."),
    ):
        refused = application.petdetect(*arguments)
        assert refused.code == 1
        assert words in refused.err
    assert application.petdetect("release").code == application.petdetect("release", held, "--all").code == 2


def test_an_image_whose_object_is_gone_is_refused(application: Application) -> None:
    image_id = application.held()
    application.forget_objects()

    assert "Its object is gone" in application.petdetect("release", image_id).err
    assert "its object is gone" in application.petdetect("explain", image_id).out
    assert application.status(image_id) == "held"


def test_status_and_reconcile_tell_of_held_images(application: Application) -> None:
    image_id = application.held(DOG)

    status = application.petdetect("status")
    document = application.petdetect("status", "--json").json
    found = application.petdetect("reconcile", "--older-than", "0", "--dry-run")

    assert status.code == 0  # tomorrow it starts by itself
    assert "petdetect release" in status.out
    assert document["images"]["held"] == 1
    assert (document["analysedToday"], document["dailyAnalysisLimit"]) == (application.analysed_today(), 0)
    assert document["analysedToday"] >= 1
    assert image_id in found.out
    assert "or is held" in found.out
    application.hold_since_yesterday(image_id)
    assert "another day has come" in application.petdetect("reconcile", "--older-than", "0", "--dry-run").out
