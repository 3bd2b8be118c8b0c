"""`petdetect dismiss`: what it asks, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result

from pet_detector.aws import detection_logs
from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.support.moto_world import IMAGE_ID, Cloud

Petdetect = Callable[..., Result]


def test_it_asks_first(aws: Cloud, petdetect: Petdetect) -> None:
    images.gone(aws)
    before = images.snapshot(aws)

    for answer in ("n\n", ""):
        asked = petdetect("dismiss", IMAGE_ID, typed=answer)
        assert asked.exit_code == 1
        assert f"End the failed image {IMAGE_ID} (ImageNotFoundError) in dev?" in asked.stderr
    assert petdetect("dismiss", IMAGE_ID, "--json").exit_code == 2
    assert images.snapshot(aws) == before

    assert "its record expires on" in petdetect("dismiss", IMAGE_ID, typed="y\n").stdout


def test_only_failed_images_without_an_object_are_dismissed(aws: Cloud, petdetect: Petdetect) -> None:
    there, completed = images.present(aws), images.gone(aws, OTHER_ID, "completed")
    before = images.snapshot(aws)

    for image_id, words in (
        (there, f"Its object is there, at input/{there}.jpg: petdetect redrive {there}"),
        (completed, "It is completed, and only failed images are dismissed."),
        ("0" * 32, "There is no image"),
    ):
        refused = petdetect("dismiss", image_id, "--yes")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert words in refused.stderr

    assert petdetect("dismiss").exit_code == petdetect("dismiss", "cat.jpg").exit_code == 2
    assert images.snapshot(aws) == before


def test_an_image_that_was_started_again_in_the_meantime_is_not_dismissed(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.gone(aws)
    dismiss = detection_logs.dismiss

    def start_before(*arguments: str, **more: object) -> bool:
        images.gone(aws, status="processing", ExecutionArn="another")
        return dismiss(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(detection_logs, "dismiss", start_before)

    refused = petdetect("dismiss", IMAGE_ID, "--yes")

    assert refused.exit_code == 1
    assert "started again in the meantime" in refused.stderr
