"""`petdetect cost --actual` says of a run what the table says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.operator.application import CAT, Application, eventually
from tests.support.deployment import never_seen

TRANSITION = 0.000025


def _actual(application: Application) -> Any:
    result = application.petdetect("cost", "--actual", "--json")
    assert result.code == 0, result.err
    return result.json


def test_counts_and_dollars_are_those_of_the_images(application: Application) -> None:
    before = _actual(application)
    cat = application.put_bytes(never_seen(CAT))
    letter = application.put_bytes(b"A letter, and no picture.")
    assert [application.settled(cat), application.settled(letter)] == ["completed", "rejected"]

    def added(document: Any) -> dict[str, int]:
        names = set(before["counts"]) | set(document["counts"])
        changes = {name: document["counts"].get(name, 0) - before["counts"].get(name, 0) for name in names}
        return {name: change for name, change in changes.items() if change}

    def seen() -> Any:
        document = _actual(application)
        return document if document["imagesFinished"] - before["imagesFinished"] == 2 else None

    after = eventually(seen, "both images are measured")

    assert added(after) == {
        "ImageReceived": 2,
        "ImageClassified cat": 1,
        "ImageRejected NOT_AN_IMAGE": 1,
        "RekognitionCall": 1,
    }
    dollars = {line["name"]: line["dollars"] for line in after["lines"]}
    earlier = {line["name"]: line["dollars"] for line in before["lines"]}
    assert dollars["Rekognition"] - earlier["Rekognition"] == pytest.approx(0.001)
    assert dollars["Step Functions"] - earlier["Step Functions"] == pytest.approx(12 * TRANSITION)
    assert after["estimatedCost"] - before["estimatedCost"] == pytest.approx(0.001 + 12 * TRANSITION)
    assert after["total"] == pytest.approx(sum(dollars.values()))
    assert after["perImage"] == pytest.approx(after["total"] / after["imagesFinished"])
    printed = application.petdetect("cost", "--actual", "--days", "2").out
    assert "ImageClassified cat" in printed
    assert "measured" in printed


def test_held_images_and_duplicates_are_paid_too(application: Application) -> None:
    before = _actual(application)
    image_id = application.held()
    again = application.start(image_id)
    eventually(lambda: application.sfn.describe_execution(executionArn=again)["status"] == "SUCCEEDED", "it ends")

    def seen() -> Any:
        counts = _actual(application)["counts"]
        names = ("ImageHeld", "DuplicateIgnored")
        return all(counts.get(name, 0) > before["counts"].get(name, 0) for name in names)

    eventually(seen, "the hold and the duplicate are measured")
    (after, earlier) = (
        next(line["dollars"] for line in document["lines"] if line["name"] == "Step Functions")
        for document in (_actual(application), before)
    )
    # At most: other metrics of earlier tests may come late.
    assert after - earlier >= (4 + 2) * TRANSITION - 1e-9
