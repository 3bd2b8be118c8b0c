"""What must be true when all else is done. `conftest.py` puts these last."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pet_detector.rules import prices
from tests.support.deployment import FINISHED
from tests.support.waiting import eventually

from .application import HttpApplication
from .gallery import Gallery


def test_nothing_is_left_in_input(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    assert [key for key, _ in application.versions("") if key.startswith("input/")] == []


def _came(application: HttpApplication) -> list[dict[str, Any]]:
    """Records of images that came: no forms that nobody used, and no items that count notices."""
    not_an_image = (None, {"S": "uploading"})
    return [item for item in application.items() if item.get("ProcessingStatus") not in not_an_image]


def test_every_image_that_came_has_a_final_record_and_its_object(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    came = _came(application)

    assert {item["ProcessingStatus"]["S"] for item in came} <= set(FINISHED)
    locations = sorted(item["S3Location"]["S"] for item in came)
    assert locations == sorted(f"s3://{application.bucket}/{key}" for key, _ in application.versions(""))


def test_no_execution_is_still_running(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    assert [execution for execution in application.execution_arns() if application.is_running(execution)] == []


def test_every_name_in_the_bucket_is_our_own(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    strange = [
        key
        for key, _ in application.versions("")
        if not re.fullmatch(r"(cats|dogs|others|rejected)/[0-9a-f]{32}\.(jpg|png|bin)", key)
    ]

    assert strange == []


# --- Memory: what the functions needed at most, hostile pictures included ---------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of processes as Linux tells it")
def test_no_function_ever_needed_more_memory_than_it_has(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    peaks = application.memory_peaks()

    assert {"ImageProcessorFunction", "FileManagerFunction", "UploadApiFunction"} <= {peak.function for peak in peaks}
    assert [peak for peak in peaks if peak.megabytes >= min(peak.limit, 512)] == []


# --- Metrics: a day's numbers equal what the records say --------------------------------------------------------------


def _ends(application: HttpApplication) -> Counter[str]:
    """How many executions ended in which state."""
    return Counter(map(application.ended, application.execution_arns()))


def _expected(application: HttpApplication) -> dict[tuple[str, ...], float]:
    """The metrics that count, as records, executions and notices have them."""
    came = _came(application)
    status = Counter(item["ProcessingStatus"]["S"] for item in came)
    animals = Counter(item["DetectedAnimal"]["S"] for item in came if "DetectedAnimal" in item)
    reasons = Counter(item["ReasonCode"]["S"] for item in came if "ReasonCode" in item)
    failures = [fact for item in came for fact in item.get("Notices", {}).get("SS", []) if fact != "uncertain"]
    ends = _ends(application)
    return {
        ("ImageReceived",): len(came),
        **{("ImageClassified", animal): count for animal, count in animals.items()},
        **{("ImageRejected", reason): count for reason, count in reasons.items()},
        ("ImageUncertain",): status["needs_review"],
        ("ImageFailed",): len(failures),
        ("ImageHeld",): ends["Image Held"],
        ("DuplicateIgnored",): ends["Already Claimed"],
        ("ImageWaited",): sum("TurnAt" in item and item["ProcessingStatus"]["S"] in FINISHED for item in came),
        ("AnalysisReused",): sum(item.get("AnalysisReused") == {"BOOL": True} for item in came),
        ("NoticeSent",): len(application.notices()),
    }


def test_metrics_equal_the_records(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery
    expected = _expected(application)

    def published() -> dict[tuple[str, ...], float]:
        return {name: total for name, (total, _) in application.metrics().items() if name in expected}

    wanted = {name: count for name, count in expected.items() if count}
    assert {"ImageClassified", "ImageRejected", "DuplicateIgnored"} <= {name for name, *_ in wanted}
    try:  # the stream is read a little later
        eventually(lambda: published() == wanted, "the metrics equal the records", 15)
    except AssertionError:
        assert published() == wanted


def test_cost_and_time_are_measured_once_an_image(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery
    ended = _came(application)
    cost = sum(
        prices.image_cost(
            analysed=item.get("AnalysisReused") == {"BOOL": False},
            uncertain=item["ProcessingStatus"]["S"] == "needs_review",
            waited="TurnAt" in item,
            moderated="ModerationVersion" in item or item.get("ReasonCode") == {"S": "UNSAFE_CONTENT"},
        )
        for item in ended
    )
    metrics: dict[Any, Any] = dict(application.metrics())

    assert metrics["EstimatedCost",] == (pytest.approx(cost), len(ended))
    assert metrics["ProcessingTime",][1] == len(ended)
    confidences = [float(item["ConfidenceScore"]["N"]) for item in ended if "ConfidenceScore" in item]
    assert metrics["ConfidenceScore",] == (pytest.approx(sum(confidences)), len(confidences))
