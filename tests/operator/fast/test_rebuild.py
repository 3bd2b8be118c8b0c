"""`petdetect rebuild`: the record of a picture whose row is gone, from the object, the analysis and the reviews."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from click.testing import Result

from ops import rebuild
from pet_detector.aws import analyses, detection_logs, erasures, image_bucket
from pet_detector.rules.business_metrics import measurements
from pet_detector.rules.errors import ImageNotFoundError
from pet_detector.rules.models import Label, Moderation, Recognition, Record
from pet_detector.use_cases.erasure import Resources
from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.support.moto_world import ANALYSES, BUCKET, ERASURES, IMAGE_ID, REVIEWS, TABLE, Cloud
from tests.support.pictures import jpeg

Petdetect = Callable[..., Result]
UPLOAD = b"what was uploaded, before its metadata was stripped"
HASH = hashlib.sha256(UPLOAD).hexdigest()
NUMBERS = {"minimum": 80, "margin": 15, "floor": 50}


@pytest.fixture(autouse=True)
def numbers(aws: Cloud) -> None:
    """The policy's numbers."""
    aws.set_policy(NUMBERS)


def filed(aws: Cloud, folder: str = "cats", image_id: str = IMAGE_ID) -> str:
    """A picture as FileManager files it, and no record of it -> its key."""
    metadata = {"source-version": "v1", "uploaded-bytes": str(len(UPLOAD)), "uploaded-sha256": HASH}
    aws.put(f"{folder}/{image_id}.jpg", jpeg(100, 100), Metadata=metadata)
    return f"{folder}/{image_id}.jpg"


def seen(*labels: tuple[str, float]) -> None:
    """What Rekognition saw in the bytes is still in the cache."""
    analyses.finish(ANALYSES, HASH, Recognition(tuple(Label(*label) for label in labels), "3.0"))


def record() -> Record:
    """The record as it is now."""
    found = detection_logs.find(TABLE, IMAGE_ID)
    assert found is not None
    return found


def test_status_animal_folder_and_times_come_back_and_the_record_says_that_it_was_rebuilt(
    aws: Cloud, petdetect: Petdetect
) -> None:
    key = filed(aws)
    seen(("Cat", 97.3), ("Pet", 90.0))
    stored = aws.s3.head_object(Bucket=BUCKET, Key=key)["LastModified"]

    result = petdetect("rebuild", IMAGE_ID, "--yes")

    found = record()
    assert result.exit_code == 0, result.output
    assert "1 rebuilt, 0 not." in result.stdout
    assert (found["ProcessingStatus"], found["DetectedAnimal"], found["Certain"]) == ("completed", "cat", True)
    assert found["S3Location"] == f"s3://{BUCKET}/{key}"
    assert (found["ContentHash"], int(found["FileSize"]), found["ImageFormat"]) == (HASH, len(UPLOAD), "jpg")
    assert (found["ConfidenceScore"], found["SourceVersion"]) == (Decimal("97.3"), "v1")
    assert found["Labels"][0] == {"Name": "Cat", "Confidence": Decimal("97.3")}
    assert datetime.fromisoformat(found["Timestamp"]) == stored
    assert found["CreatedAt"] == found["Timestamp"]
    assert int(found["ExpiresAt"]) > stored.timestamp() + 300 * 24 * 3600
    assert found["RebuiltAt"] == found["UpdatedAt"]
    assert f"rebuilt     {found['RebuiltAt']}" in petdetect("explain", IMAGE_ID).stdout
    assert list(measurements(None, found)) == []  # it was counted when it was classified


def test_it_asks_first_and_a_dry_run_writes_nothing(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    before = images.snapshot(aws)
    dry, refused = petdetect("rebuild", IMAGE_ID, "--dry-run"), petdetect("rebuild", IMAGE_ID, typed="n\n")
    assert (dry.exit_code, refused.exit_code) == (0, 1)
    assert "1 would be rebuilt, 0 not." in dry.stdout
    assert "Rebuild 1 records in dev?" in refused.stderr
    assert petdetect("rebuild", IMAGE_ID, "--all").exit_code == 2
    assert petdetect("rebuild").exit_code == 2
    assert petdetect("rebuild", IMAGE_ID, "--json").exit_code == 2
    assert images.snapshot(aws) == before


@pytest.mark.parametrize(
    ("folder", "labels", "status", "confidence"),
    [
        ("dogs", [("Dog", 88.0)], "completed", "88"),
        ("others", [("Cat", 20.0), ("Sofa", 99.0)], "completed", "80"),
        ("others", [("Cat", 70.0)], "needs_review", "30"),
        ("others", [], "needs_review", "0"),  # nothing is known: a person decides
        ("cats", [], "completed", "0"),
        ("dogs", [("Cat", 97.0)], "completed", "0"),  # the folder counts: a person had said so, or other numbers
    ],
)
def test_the_folder_decides_and_the_analysis_says_how_surely(
    aws: Cloud, petdetect: Petdetect, folder: str, labels: list[tuple[str, float]], status: str, confidence: str
) -> None:
    filed(aws, folder)
    if labels:
        seen(*labels)
    petdetect("rebuild", IMAGE_ID, "--yes")
    found = record()
    assert (found["ProcessingStatus"], found["ConfidenceScore"]) == (status, Decimal(confidence))
    assert f"{found['DetectedAnimal']}s" == folder
    assert found["StatusShard"].startswith(f"{status}#")
    assert petdetect("explain", IMAGE_ID).exit_code == 0


def test_what_people_decided_counts(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws, "others")
    head: dict[str, Any] = {"ImageID": IMAGE_ID, "Entry": "review", "Guess": "other", "Verdict": "other"}
    head |= {"VerdictSequence": 2, "DecidedBy": "anna", "DecidedAt": "2026-11-21T10:00:00.000Z"}
    aws.put_review(head | {"Scores": {"cat": Decimal(60), "dog": Decimal(1)}, "PolicyVersion": "2:80/15/50/55"})
    petdetect("rebuild", IMAGE_ID, "--yes")
    found = record()
    assert (found["ProcessingStatus"], found["ReviewedBy"], found["VerdictSequence"]) == ("completed", "anna", 2)
    assert (found["ConfidenceScore"], found["PolicyVersion"]) == (Decimal(40), "2:80/15/50/55")


def test_a_rejected_file_gets_the_reason_that_the_checks_give_it_today(aws: Cloud, petdetect: Petdetect) -> None:
    aws.put(f"rejected/{IMAGE_ID}.bin", b"no picture")
    aws.put(f"rejected/{OTHER_ID}.jpg", jpeg(100, 100))
    petdetect("rebuild", IMAGE_ID, OTHER_ID, "--yes")
    found, other = record(), detection_logs.find(TABLE, OTHER_ID)
    assert (found["ProcessingStatus"], found["ReasonCode"], found["ImageFormat"]) == (
        "rejected",
        "NOT_AN_IMAGE",
        "unknown",
    )
    assert other is not None
    assert "ReasonCode" not in other
    assert "the record that said why was lost" in other["Reason"]


@pytest.mark.parametrize(
    ("category", "confidence", "reason"),
    [("Violence", 91.0, "UNSAFE_CONTENT"), ("Violence", 49.0, None), ("Alcohol", 99.0, None)],
)
def test_an_unsafe_picture_is_one_again_as_long_as_it_is_known(
    aws: Cloud, petdetect: Petdetect, category: str, confidence: float, reason: str | None
) -> None:
    """Operators list unsafe pictures by the reason code; there are no labels of one."""
    filed(aws, "rejected")
    analyses.begin(ANALYSES, HASH, IMAGE_ID, moderated=True)
    analyses.keep_moderation(ANALYSES, HASH, IMAGE_ID, Moderation((Label(category, confidence),), "7.0"))
    petdetect("rebuild", IMAGE_ID, "--yes")
    found = record()
    assert (found["ProcessingStatus"], found.get("ReasonCode")) == ("rejected", reason)
    assert (category in found["Reason"]) == (reason is not None)
    assert list(measurements(None, found)) == []


def test_a_record_that_is_there_stays_as_it_is(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    images.write(aws, IMAGE_ID, "needs_review", S3Location="elsewhere")
    before = images.snapshot(aws)
    result = petdetect("rebuild", IMAGE_ID, "--yes")
    assert result.exit_code == 3
    assert "It has a record (needs_review)" in " ".join(result.stdout.split())
    assert images.snapshot(aws) == before


def test_a_record_that_comes_in_the_last_moment_stays_and_notices_stay_too(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    aws.dynamodb.put_item(TableName=TABLE, Item={"ImageID": {"S": IMAGE_ID}, "Notices": {"SS": ["uncertain"]}})
    assert petdetect("rebuild", IMAGE_ID, "--yes").exit_code == 0
    rebuilt = aws.item()
    assert rebuilt["Notices"] == {"SS": ["uncertain"]}
    images.write(aws, IMAGE_ID, "failed")
    before = images.snapshot(aws)
    again: Record = {"ImageID": IMAGE_ID, "ProcessingStatus": "completed", "RebuiltAt": "2026-11-30T00:00:00.000Z"}
    resources = Resources(BUCKET, TABLE, ANALYSES, REVIEWS, ERASURES, (), 365)
    (late,) = rebuild.carry_out(resources, [rebuild.Plan(IMAGE_ID, "cats/x", again)])
    assert late.refusal.startswith("It has got a record in this moment")
    assert images.snapshot(aws) == before


def test_what_was_erased_is_not_brought_back(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    erasures.begin(ERASURES, IMAGE_ID, erasures.Source.OPERATOR)
    result = petdetect("rebuild", IMAGE_ID, "--yes", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["images"][0]["refusal"] == "It was erased: nothing brings it back."
    assert aws.item() == {}


@pytest.mark.parametrize("place", ["nowhere", "input", "two folders", "deleted"])
def test_what_is_not_filed_once_is_refused(aws: Cloud, petdetect: Petdetect, place: str) -> None:
    if place == "input":
        aws.put(f"input/{IMAGE_ID}.jpg", b"waits")
    if place == "two folders":
        filed(aws, "cats")
        filed(aws, "dogs")
    if place == "deleted":
        aws.s3.delete_object(Bucket=BUCKET, Key=filed(aws))
    result = petdetect("rebuild", IMAGE_ID, "--yes", "--json")
    assert result.exit_code == 3
    refusal = json.loads(result.stdout)["images"][0]["refusal"]
    assert ("It lies at cats/" if place == "two folders" else "No picture of it is filed") in refusal
    assert aws.item() == {}


def test_a_record_whose_time_is_over_stays_away(aws: Cloud, petdetect: Petdetect) -> None:
    """Its picture may be kept for longer than it is."""
    filed(aws)
    with mock.patch("time.time", return_value=time.time() + 366 * 24 * 3600):
        result = petdetect("rebuild", IMAGE_ID, "--yes")
    assert "RecordRetentionDays" in result.stdout
    assert detection_logs.find(TABLE, IMAGE_ID) is None


def test_one_picture_that_cannot_be_read_does_not_end_the_run(
    aws: Cloud, petdetect: Petdetect, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed(aws)
    filed(aws, image_id=OTHER_ID)
    read = image_bucket.read

    def moved(bucket: str, key: str, version_id: str) -> Any:
        if OTHER_ID in key:
            raise ImageNotFoundError("a verdict moved it meanwhile")
        return read(bucket, key, version_id)

    monkeypatch.setattr(image_bucket, "read", moved)

    result = petdetect("rebuild", "--all", "--yes")

    assert (result.exit_code, "1 rebuilt, 1 not." in result.stdout) == (3, True), result.output
    assert record()["ProcessingStatus"] == "completed"


def test_all_finds_the_pictures_without_a_record(aws: Cloud, petdetect: Petdetect) -> None:
    lost = [filed(aws, image_id=f"{number:032x}") for number in range(130)]  # more than one batch
    filed(aws, "dogs", OTHER_ID)
    images.write(aws, OTHER_ID, "completed", S3Location="s3://x/dogs/x.jpg")
    aws.put("samples/check/cat.jpg", b"no image of anybody")

    result = petdetect("rebuild", "--all", "--yes")

    assert result.exit_code == 0
    assert f"{len(lost)} rebuilt, 0 not." in result.stdout
    assert petdetect("rebuild", "--all", "--yes").stdout.startswith("Every filed picture has a record.")
    assert petdetect("rebuild", "--all", "--dry-run", "--json").exit_code == 0
