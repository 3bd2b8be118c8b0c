"""`petdetect reconcile`: what it says of images that wait, and of what it could not start."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from pet_detector.aws import image_workflow
from pet_detector.rules.errors import AccessDeniedError
from tests.operator.fast import images
from tests.support.moto_world import BUCKET, IMAGE_ID, KEY, Cloud

Petdetect = Callable[..., Result]


def test_a_failed_image_is_left_to_the_operator(aws: Cloud, petdetect: Petdetect) -> None:
    images.present(aws)
    before = images.snapshot(aws)

    found = json.loads(petdetect("reconcile", "--older-than", "0", "--json").stdout)

    assert [(one["action"], one["imageId"]) for one in found["findings"]] == [("leave", IMAGE_ID)]
    assert found["gap"] == 0
    assert images.snapshot(aws) == before


def test_a_held_image_is_left_until_another_day(aws: Cloud, petdetect: Petdetect) -> None:
    images.present(aws, status="held")
    today = petdetect("reconcile", "--older-than", "0", "--dry-run").stdout
    images.present(aws, status="held", UpdatedAt="2026-01-01T00:00:00.000Z")

    assert IMAGE_ID in today
    assert "or is held" in today
    assert "another day has come" in petdetect("reconcile", "--older-than", "0", "--dry-run").stdout


def test_what_waits_for_its_turn_is_counted_and_left_alone(aws: Cloud, petdetect: Petdetect) -> None:
    turn = {"TurnAt": "2100-01-01T00:00:00.000Z", "ClaimedAt": "2026-01-01T00:00:00.000Z"}
    images.present(aws, status="processing", **turn)
    before = images.snapshot(aws)

    found = json.loads(petdetect("reconcile", "--older-than", "0", "--json").stdout)

    assert (found["waiting"], found["gap"], found["findings"]) == (1, 0, [])
    said = petdetect("reconcile", "--older-than", "0").stdout
    assert said == "1 wait for their turn to be analysed.\nNothing to reconcile: no upload is overdue.\n"
    assert images.snapshot(aws) == before


def test_later_uploads_with_a_form_are_removed_and_counted(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws, status="completed")
    aws.put(KEY, b"again")
    aws.put(KEY, b"and again")
    before = images.snapshot(aws)

    dry = petdetect("reconcile", "--older-than", "0", "--dry-run").stdout

    assert "remove 2 later uploads" in dry
    assert "0 unfinished. Nothing was changed." in dry
    assert images.snapshot(aws) == before
    said = petdetect("reconcile", "--older-than", "0").stdout
    assert "0 unfinished. 0 started, 0 closed, 2 later uploads removed." in said
    assert aws.keys() == []
    assert aws.item()["Superseded"] == {"N": "2"}


def test_uploads_that_are_filed_are_deleted_on_demand_and_no_last_copy_is(aws: Cloud, petdetect: Petdetect) -> None:
    """As in the bucket of a second region: S3 replicates no deletion of a version."""
    for image_id, status, is_filed in (
        ("a" * 32, "completed", True),
        ("b" * 32, "rejected", True),
        ("c" * 32, "completed", False),  # somebody deleted what was filed: this is the last copy
        ("d" * 32, "failed", False),
        ("e" * 32, "held", False),
    ):
        images.present(aws, image_id, status, S3Location=f"s3://of-the-first-region/cats/{image_id}.jpg")
        if is_filed:
            aws.put(f"cats/{image_id}.jpg", b"filed")
    before = images.snapshot(aws)
    more = ("reconcile", "--older-than", "0", "--delete-filed")

    dry, refused = petdetect(*more, "--dry-run"), petdetect(*more, typed="n\n")
    assert (dry.exit_code, refused.exit_code, petdetect(*more, "--json").exit_code) == (0, 1, 2)
    assert "2 uploads under input/ are filed." in dry.stderr
    assert images.snapshot(aws) == before

    assert petdetect(*more, "--yes").exit_code == 0
    left = [f"input/{name * 32}.jpg" for name in "cde"]
    versions = aws.s3.list_object_versions(Bucket=BUCKET, Prefix="input/")
    assert [one["Key"] for one in versions["Versions"]] == left
    assert "DeleteMarkers" not in versions
    there = aws.keys()
    assert [key for key in there if key.startswith("cats/")] == [f"cats/{name * 32}.jpg" for name in "ab"]


def test_what_could_not_be_started_is_named(aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.put(KEY, b"picture")

    def refuse(*_: object, **__: object) -> bool:
        raise AccessDeniedError("states:StartExecution: AccessDenied")

    monkeypatch.setattr(image_workflow, "start", refuse)
    answer = petdetect("reconcile", "--older-than", "0", "--json")
    document = json.loads(answer.stdout)
    table = petdetect("reconcile", "--older-than", "0")

    assert answer.exit_code == table.exit_code == 1
    assert (document["gap"], document["started"]) == (1, 0)
    assert document["error"] == "states:StartExecution: AccessDenied"
    assert IMAGE_ID in table.stdout
    assert "states:StartExecution: AccessDenied" in table.stderr


def test_an_age_that_is_no_age_is_refused(petdetect: Petdetect) -> None:
    for minutes in ("-1", "525601", "99999999999", "ten"):
        assert petdetect("reconcile", "--dry-run", "--older-than", minutes).exit_code == 2
    assert petdetect("reconcile", "--dry-run", "--older-than", "525600").exit_code == 0
