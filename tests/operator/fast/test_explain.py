"""`petdetect explain` and `petdetect failed`: where an image is, which image is meant, and text from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result

from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.support.moto_world import IMAGE_ID, KEY, Cloud

Petdetect = Callable[..., Result]


def test_an_upload_whose_event_is_lost_is_told_from_one_that_did_not_come(aws: Cloud, petdetect: Petdetect) -> None:
    aws.write(ProcessingStatus="uploading", ExpiresAt=4_102_444_800)
    announced = petdetect("explain", IMAGE_ID)
    aws.put(KEY, b"picture")

    lost = petdetect("explain", IMAGE_ID).stdout

    assert announced.exit_code == 0
    assert ": uploading" in announced.stdout
    assert "It is not uploaded yet" in announced.stdout
    assert KEY in lost
    assert "petdetect reconcile --older-than 0" in lost


def test_an_image_whose_object_is_gone_says_so(aws: Cloud, petdetect: Petdetect) -> None:
    story = petdetect("explain", images.gone(aws)).stdout

    assert re.search(r"object +gone", story)
    assert "redrive needs it back" in story


def test_an_image_whose_form_was_posted_again_says_so(aws: Cloud, petdetect: Petdetect) -> None:
    image = images.present(aws, status="completed")
    assert "SUPERSEDED" not in petdetect("explain", image).stdout
    images.present(aws, status="completed", Superseded=1199)

    assert "1199 later uploads with the same form (SUPERSEDED)" in petdetect("explain", image).stdout


def test_lists_what_failed_with_reason_age_and_place(aws: Cloud, petdetect: Petdetect) -> None:
    gone, there = images.gone(aws), images.present(aws, OTHER_ID)

    listed = json.loads(petdetect("failed", "--json").stdout)["images"]
    table = petdetect("failed").stdout

    assert {image["imageId"]: image["object"] for image in listed} == {gone: None, there: f"input/{there}.jpg"}
    reasons = {image["imageId"]: image["reason"] for image in listed}
    assert reasons == {gone: "ImageNotFoundError", there: "ServiceError"}
    assert all(text in table for text in (gone, there, "ServiceError", " s ago", "gone", f"input/{there}.jpg"))


def test_lists_by_reason_and_says_when_there_are_more(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws)
    images.gone(aws, OTHER_ID)

    assert petdetect("failed", "--reason", "ThrottledError").stdout == "No image has failed by ThrottledError.\n"
    assert "there are more, see --limit" in petdetect("failed", "--limit", "1").stdout
    listed = json.loads(petdetect("failed", "--reason", "ImageNotFoundError", "--limit", "1", "--json").stdout)
    assert (len(listed["images"]), listed["more"]) == (1, True)


@pytest.mark.parametrize("command", [["failed"], ["explain", IMAGE_ID]], ids=lambda command: command[0])
def test_a_file_name_cannot_draw_on_the_terminal(aws: Cloud, petdetect: Petdetect, command: list[str]) -> None:
    images.gone(aws, OriginalFilename="\x1b[31m[bold]cat[/bold]\u202egpj.exe")

    printed = petdetect(*command).stdout

    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert "[bold]cat[/bold]" in printed


@pytest.mark.parametrize("digits", [8, 31])
def test_the_first_digits_of_an_id_are_enough_for_a_filed_image_and_for_a_failed_one(
    aws: Cloud, petdetect: Petdetect, digits: int
) -> None:
    aws.put(f"cats/{OTHER_ID}.jpg", b"picture")
    images.write(aws, OTHER_ID, "completed", SourceKey=f"input/{OTHER_ID}.jpg")
    images.present(aws, IMAGE_ID)

    for image_id, status in ((OTHER_ID, "completed"), (IMAGE_ID, "failed")):
        assert f"Image {image_id}: {status}" in petdetect("explain", image_id[:digits].upper()).stdout


def test_digits_of_several_images_or_of_none_are_refused(aws: Cloud, petdetect: Petdetect) -> None:
    for end in ("1", "2"):
        aws.put(f"cats/{'ab' * 15}0{end}.jpg", b"a")

    several = petdetect("explain", "abababab")
    none = petdetect("explain", "babababa")

    assert (several.exit_code, none.exit_code) == (1, 1)
    assert "2 images have an ID that begins with abababab: give more digits" in several.stderr
    assert "No stored image in dev has an ID that begins with babababa" in none.stderr
    assert petdetect("explain", "abababa").exit_code == 2


def test_an_image_that_nobody_knows(petdetect: Petdetect) -> None:
    answer = petdetect("explain", IMAGE_ID)

    assert answer.exit_code == 1
    assert f"There is no image {IMAGE_ID} in dev" in answer.stderr
    assert petdetect("explain", "cat.jpg").exit_code == 2


@pytest.mark.parametrize("updated", [None, "yesterday"], ids=["without a time", "with words"])
def test_a_record_that_a_person_wrote_is_shown(aws: Cloud, petdetect: Petdetect, updated: str | None) -> None:
    more = {"UpdatedAt": updated} if updated else {}
    aws.write(ProcessingStatus="failed", ListedAt=f"2026-11-21#{IMAGE_ID}", **more)

    assert "unknown" in petdetect("failed").stdout
    assert json.loads(petdetect("failed", "--json").stdout)["images"][0]["failedAt"] is None
    assert "failed" in petdetect("explain", IMAGE_ID).stdout
    assert petdetect("redrive", "--all", "--dry-run").exit_code == 0
    assert petdetect("status").exit_code == 3
    assert petdetect("dismiss", IMAGE_ID, "--yes").exit_code == 0


def test_an_unsafe_picture_leads_to_its_runbook(aws: Cloud, petdetect: Petdetect) -> None:
    for code, found in (("UNSAFE_CONTENT", True), ("TRUNCATED", False)):
        story = petdetect("explain", images.present(aws, status="rejected", ReasonCode=code, Reason="Why.")).stdout
        assert f"rejected ({code}: Why.)" in story
        assert ("runbook: docs/operations.md#unsafe-content" in story) is found
