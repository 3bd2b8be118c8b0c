"""Content safety: what is unsafe, what is asked in a turn, what is paid once, and what becomes of an unsafe picture."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.stub import Stubber

from image_processor.app import lambda_handler
from pet_detector.aws import turns
from pet_detector.aws.analyses import Lease, begin, finish, keep_moderation
from pet_detector.rules.content_safety import violation
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Label, Moderation, ReasonCode, Recognition
from tests.support.moto_world import ANALYSES, BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY, Cloud
from tests.support.pictures import jpeg

pytestmark = pytest.mark.usefixtures("policy")

HASH = "a" * 64
SEEN = Recognition((Label("Cat", 98.5),), "3.0")
SAFE = Moderation((Label("Alcohol", 99.0),), "7.0")
VIOLENT = Moderation((Label("Violence", 79.9),), "7.0")

# --- What is unsafe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("categories", "minimum", "named"),
    [
        ([("Violence", 80.0)], 80, "Violence"),
        ([("Violence", 79.99)], 80, ""),
        ([("Explicit", 99.0), ("Alcohol", 99.0), ("Hate Symbols", 51.0)], 50, "Explicit, Hate Symbols"),
        ([("Swimwear or Underwear", 100.0), ("Drugs & Tobacco", 100.0), ("Gambling", 100.0)], 50, ""),
        ([("What a later model calls it", 90.0)], 80, "What a later model calls it"),
        ([], 50, ""),
    ],
)
def test_a_category_that_is_not_tolerated_makes_a_picture_unsafe(
    categories: list[tuple[str, float]], minimum: float, named: str
) -> None:
    found = violation(Moderation(tuple(Label(*category) for category in categories), "7.0"), minimum)
    assert (found is not None) == bool(named)
    if found:
        assert found.code is ReasonCode.UNSAFE_CONTENT
        assert f": {named}." in found.reason


# --- What is stored ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("aws")
def test_an_analysis_of_before_is_asked_for_its_moderation_and_keeps_its_labels() -> None:
    begin(ANALYSES, HASH, "first")
    finish(ANALYSES, HASH, SEEN)
    assert begin(ANALYSES, HASH, "second") == SEEN, "who does not ask for safety needs none"
    assert begin(ANALYSES, HASH, "second", moderated=True) == Lease(None, 0, recognition=SEEN)
    assert begin(ANALYSES, HASH, "third") == SEEN, "nor waits for it"
    whole = Recognition(SEEN.labels, SEEN.model_version, SAFE)
    finish(ANALYSES, HASH, whole)
    assert begin(ANALYSES, HASH, "third", moderated=True) == whole


@pytest.mark.usefixtures("aws")
def test_the_first_half_of_an_analysis_outlives_its_lease() -> None:
    begin(ANALYSES, HASH, "first", moderated=True)
    keep_moderation(ANALYSES, HASH, "another", VIOLENT)
    assert begin(ANALYSES, HASH, "first", moderated=True) == Lease(None, 0), "who has no lease stores nothing"
    keep_moderation(ANALYSES, HASH, "first", SAFE)
    assert begin(ANALYSES, HASH, "first", moderated=True) == Lease(None, 0, moderation=SAFE)


# --- What is asked ----------------------------------------------------------------------------------------------------


@pytest.fixture
def safety(monkeypatch: pytest.MonkeyPatch) -> None:
    """ContentSafety=reject."""
    monkeypatch.setenv("CONTENT_SAFETY", "reject")


def event(version_id: str, image_id: str = IMAGE_ID) -> Any:
    sent = {"imageId": image_id, "executionArn": EXECUTION, "correlationId": CORRELATION, "key": KEY}
    return sent | {"versionId": version_id}


def is_asked_whether_safe(rekognition: Stubber, version_id: str, **categories: float) -> None:
    """Rekognition's next call must be this one."""
    answer: dict[str, Any] = {
        "ModerationLabels": [
            {"Name": name, "ParentName": "", "Confidence": value} for name, value in categories.items()
        ],
        "ModerationModelVersion": "7.0",
    }
    place = {"S3Object": {"Bucket": BUCKET, "Name": KEY, "Version": version_id}}
    rekognition.add_response("detect_moderation_labels", answer, {"Image": place, "MinConfidence": 50.0})


def is_asked_for_labels(rekognition: Stubber) -> None:
    labels: list[Any] = [{"Name": "Cat", "Confidence": 98.5}]
    rekognition.add_response("detect_labels", {"Labels": labels, "LabelModelVersion": "3.0"})


def calls(capsys: pytest.CaptureFixture[str]) -> float:
    """How many calls of Rekognition were counted since the last time: those that AWS bills."""
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return sum(sum(document.get("RekognitionCall", [])) for document in documents)


@pytest.mark.usefixtures("safety")
def test_a_safe_picture_is_asked_about_twice_in_one_turn_and_its_record_says_so(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = aws.put(KEY, jpeg())
    is_asked_whether_safe(rekognition, version, Alcohol=99.0)
    is_asked_for_labels(rekognition)
    before = time.time()
    answer = lambda_handler(event(version), context)
    assert (answer["animal"], answer["moderationVersion"], answer["reused"]) == ("cat", "7.0", False)
    assert calls(capsys) == 2
    next_turn = turns.next_turn(ANALYSES, Lane.LIVE)
    assert next_turn is not None
    assert next_turn < before + 1.5 / 45 + (time.time() - before), "one turn was taken"
    again = lambda_handler(event(version, "f" * 32), context)
    assert (again["moderationVersion"], again["reused"], calls(capsys)) == ("7.0", True, 0)


@pytest.mark.usefixtures("safety")
def test_an_unsafe_picture_is_rejected_under_its_own_format_and_nobody_pays_for_its_labels(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = aws.put(KEY, jpeg())
    is_asked_whether_safe(rekognition, version, Violence=95.0)
    for image_id in (IMAGE_ID, IMAGE_ID, "f" * 32):  # the second time, and a copy, cost nothing
        answer = lambda_handler(event(version, image_id), context)
        assert (answer["outcome"], answer["reasonCode"]) == ("rejected", "UNSAFE_CONTENT")
        assert (answer["extension"], "labels" in answer) == ("jpg", False)
    assert calls(capsys) == 1


@pytest.mark.usefixtures("safety")
def test_the_confidence_of_today_judges_what_is_stored(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, _ = aws.put(KEY, jpeg())
    is_asked_whether_safe(rekognition, version, Violence=75.0)
    is_asked_for_labels(rekognition)
    assert lambda_handler(event(version), context)["outcome"] == "classified"
    monkeypatch.setenv("CONTENT_SAFETY_CONFIDENCE", "70")
    assert lambda_handler(event(version), context)["reasonCode"] == "UNSAFE_CONTENT"
    monkeypatch.setenv("CONTENT_SAFETY", "none")
    answer = lambda_handler(event(version), context)
    assert (answer["outcome"], "moderationVersion" in answer) == ("classified", False)


@pytest.mark.usefixtures("safety")
@pytest.mark.parametrize("error", ["ThrottlingException", "InternalServerError"])
def test_a_second_call_that_fails_does_not_repeat_the_first(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str], error: str
) -> None:
    version, _ = aws.put(KEY, jpeg())
    is_asked_whether_safe(rekognition, version)
    rekognition.add_client_error("detect_labels", error)
    if error == "ThrottlingException":
        assert lambda_handler(event(version), context)["outcome"] == "waiting"
    else:
        with pytest.raises(ServiceError):
            lambda_handler(event(version), context)
    is_asked_for_labels(rekognition)
    assert lambda_handler(event(version), context)["animal"] == "cat"
    assert calls(capsys) == 2


@pytest.mark.usefixtures("safety")
def test_a_first_call_that_is_throttled_waits_for_another_turn_and_uses_up_nothing_of_the_day(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILY_ANALYSIS_LIMIT", "9")
    version, _ = aws.put(KEY, jpeg())
    rekognition.add_client_error("detect_moderation_labels", "ThrottlingException")
    assert lambda_handler(event(version), context)["outcome"] == "waiting"
    items = aws.dynamodb.scan(TableName=ANALYSES)["Items"]
    assert [item["Images"]["N"] for item in items if item["ContentHash"]["S"].startswith("analysed#")] == ["0"]
