"""ImageProcessor: from an object to what Log Detection writes."""

from __future__ import annotations

import hashlib
import json
import re
import time
from datetime import datetime
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.stub import Stubber

from image_processor.app import lambda_handler
from pet_detector.aws import clients, image_bucket, turns
from pet_detector.rules.errors import (
    AnalysisInProgressError,
    ImageNotFoundError,
    PetDetectorError,
    ServiceError,
    SettingMissingError,
)
from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import ImageFormat, Label
from pet_detector.rules.policy import decide
from pet_detector.use_cases.analyser import SLEEP_SECONDS
from tests.support.containers import saved
from tests.support.moto_world import ANALYSES, BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY, POLICY, Cloud
from tests.support.pictures import jpeg, png

pytestmark = pytest.mark.usefixtures("policy")


def event(version_id: str | None = "", key: str = KEY, execution: str = EXECUTION) -> Any:
    sent = {"imageId": IMAGE_ID, "executionArn": execution, "correlationId": CORRELATION, "key": key}
    return sent if version_id is None else sent | {"versionId": version_id}


def asked(capsys: pytest.CaptureFixture[str]) -> float:
    """How many calls of Rekognition were counted since the last time."""
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return sum(sum(document.get("RekognitionCall", [])) for document in documents)


def sees(rekognition: Stubber, version_id: str, **labels: float) -> None:
    """Let Rekognition see these labels on this version of the picture."""
    found: list[Any] = [{"Name": name, "Confidence": confidence} for name, confidence in labels.items()]
    place = {"Bucket": BUCKET, "Name": KEY, "Version": version_id}
    rekognition.add_response(
        "detect_labels",
        {"Labels": found, "LabelModelVersion": "3.0"},
        {"Image": {"S3Object": place}, "MaxLabels": 50, "MinConfidence": 20.0},
    )


def test_a_cat_is_classified_with_all_that_the_record_keeps(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    data = jpeg()
    version, etag = aws.put(KEY, data)
    sees(rekognition, version, Animal=99.123456, Cat=98.765432)
    assert lambda_handler(event(version), context) == {
        "outcome": "classified",
        "animal": "cat",
        "confidence": 98.77,
        "certain": True,
        "reason": "Cat at 98.8 %, at or above the minimum of 80 %.",
        "scores": {"cat": 98.77, "dog": 0.0},
        "labels": [{"name": "Cat", "confidence": 98.77}, {"name": "Animal", "confidence": 99.12}],
        "reused": False,
        "policyVersion": "2:80/15/50/55",
        "modelVersion": "3.0",
        "fileSize": len(data),
        "etag": etag,
        "versionId": version,
        "contentHash": hashlib.sha256(data).hexdigest(),
        "imageFormat": "jpg",
        "extension": "jpg",
    }


@pytest.mark.parametrize(
    ("labels", "animal", "certain"),
    [
        ({"Dog": 80.0}, "dog", True),
        ({"Cat": 79.99}, "other", False),
        ({"Cat": 95.0, "Dog": 85.0}, "other", False),
        ({"Mountain": 99.0}, "other", True),
        ({}, "other", False),
    ],
)
def test_the_policy_decides(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, labels: dict[str, float], animal: str, certain: bool
) -> None:
    version, _ = aws.put(KEY, png())
    sees(rekognition, version, **labels)
    answer = lambda_handler(event(version), context)
    assert (answer["animal"], answer["certain"], answer["extension"]) == (animal, certain, "png")


def test_the_record_alone_gives_the_same_decision(aws: Cloud, rekognition: Stubber, context: LambdaContext) -> None:
    version, _ = aws.put(KEY, jpeg())
    sees(rekognition, version, Cat=79.996, **{f"Label{n}": 90.0 for n in range(40)})
    answer = lambda_handler(event(version), context)
    again = decide([Label(**label) for label in answer["labels"]], POLICY)
    assert (again.animal, again.certain) == (answer["animal"], answer["certain"])
    assert again.confidence == answer["confidence"]


@pytest.mark.parametrize("letter", ["L", '"', "\x01", "🐈"])
def test_an_answer_is_small_enough_for_the_workflow(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, letter: str
) -> None:
    """tests/workflow/test_sizes.py runs the workflow with answers of this size."""
    version, _ = aws.put(KEY, jpeg())
    sees(rekognition, version, **{f"{n}" + letter * 5000: 90.0 for n in range(50)})
    assert len(json.dumps(lambda_handler(event(version), context), ensure_ascii=False).encode()) < 12_000


@pytest.mark.parametrize("version_id", [None, ""])
def test_without_a_version_the_newest_is_meant_and_named(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, version_id: str | None
) -> None:
    aws.put(KEY, b"old")
    newest, _ = aws.put(KEY, jpeg())
    sees(rekognition, newest, Cat=99.0)
    assert lambda_handler(event(version_id), context)["versionId"] == newest


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "EMPTY"),
        (b"a letter", "NOT_AN_IMAGE"),
        (b"GIF89a" + bytes(20), "UNSUPPORTED_FORMAT"),
        (jpeg(79, 79), "TOO_SMALL"),
        (png(10_001, 80), "TOO_MANY_PIXELS"),
        (jpeg()[:-2], "TRUNCATED"),
    ],
)
def test_what_cannot_be_taken_is_rejected_without_asking_rekognition(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, data: bytes, code: str
) -> None:
    version, etag = aws.put(KEY, data)
    answer = lambda_handler(event(version), context)
    reason = answer.pop("reason")
    assert reason.endswith(".")
    assert answer == {
        "outcome": "rejected",
        "reasonCode": code,
        "fileSize": len(data),
        "etag": etag,
        "versionId": version,
        "contentHash": hashlib.sha256(data).hexdigest(),
        "imageFormat": "unknown",
        "extension": "bin",
    }


def test_a_file_of_more_than_15_mb_is_rejected_unread(aws: Cloud, rekognition: Stubber, context: LambdaContext) -> None:
    version, _ = aws.put(KEY, jpeg().ljust(MAX_BYTES + 1, b"\0"))
    answer = lambda_handler(event(version), context)
    assert (answer["outcome"], answer["reasonCode"], answer["contentHash"]) == ("rejected", "TOO_LARGE", "")
    assert answer["fileSize"] == MAX_BYTES + 1


def test_what_rekognition_cannot_read_is_rejected_under_its_own_format(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    version, _ = aws.put(KEY, png())
    rekognition.add_client_error("detect_labels", "InvalidImageFormatException")
    answer = lambda_handler(event(version), context)
    assert (answer["reasonCode"], answer["imageFormat"], answer["extension"]) == ("UNSUPPORTED_FORMAT", "png", "png")


def test_a_missing_object_and_a_broken_rekognition_raise(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    with pytest.raises(ImageNotFoundError):
        lambda_handler(event("v"), context)
    aws.put(KEY, jpeg())
    rekognition.add_client_error("detect_labels", "InternalServerError")
    with pytest.raises(ServiceError):
        lambda_handler(event(), context)


def test_a_function_without_its_settings_says_which(context: LambdaContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_BUCKET_NAME", "")
    with pytest.raises(SettingMissingError, match="IMAGE_BUCKET_NAME"):
        lambda_handler(event(), context)


# --- Pictures that came before ---------------------------------------------------------------------------------------


def test_the_same_bytes_are_not_paid_for_twice(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = aws.put(KEY, jpeg())
    sees(rekognition, first, Cat=98.765)
    answer = lambda_handler(event(first), context)
    assert asked(capsys) == 1
    second, etag = aws.put("input/again.jpg", jpeg())
    again = lambda_handler(event(second, key="input/again.jpg", execution=EXECUTION + "2"), context)
    assert asked(capsys) == 0
    assert again == answer | {"reused": True, "versionId": second, "etag": etag}


def test_a_stored_answer_is_judged_by_the_policy_of_today(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    version, _ = aws.put(KEY, jpeg())
    sees(rekognition, version, Cat=85.0)
    assert lambda_handler(event(version), context)["animal"] == "cat"
    aws.set_policy({"minimum": 90, "margin": 15, "floor": 50})
    clients.forget()  # and so the policy
    again = lambda_handler(event(version), context)
    assert (again["animal"], again["certain"], again["policyVersion"]) == ("other", False, "2:90/15/50/55")


def test_an_image_that_is_started_again_does_not_wait_for_itself(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    version, _ = aws.put(KEY, jpeg())
    rekognition.add_client_error("detect_labels", "InternalServerError")
    with pytest.raises(ServiceError):
        lambda_handler(event(version), context)
    sees(rekognition, version, Dog=99.0)
    assert lambda_handler(event(version, execution=EXECUTION + "2"), context)["reused"] is False


def test_of_two_images_with_the_same_bytes_one_asks_and_the_other_waits(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = aws.put(KEY, jpeg())
    other = event(version, execution=EXECUTION + "2") | {"imageId": "f" * 32}
    rekognition.add_client_error("detect_labels", "InternalServerError")
    with pytest.raises(ServiceError):
        lambda_handler(event(version), context)
    with pytest.raises(AnalysisInProgressError):
        lambda_handler(other, context)
    assert asked(capsys) == 0
    sees(rekognition, version, Dog=99.0)
    assert lambda_handler(event(version), context)["reused"] is False  # the owner's next attempt
    assert lambda_handler(other, context)["reused"] is True
    assert asked(capsys) == 1


def test_what_rekognition_cannot_read_is_no_stored_answer(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = aws.put(KEY, png())
    for execution in ("one", "another"):  # the second need not wait for the first one's lease
        rekognition.add_client_error("detect_labels", "InvalidImageFormatException")
        assert lambda_handler(event(version, execution=execution), context)["outcome"] == "rejected"
    assert asked(capsys) == 0, "AWS bills images that it analysed"


# --- Turns ------------------------------------------------------------------------------------------------------------


def test_an_image_whose_turn_is_far_waits_and_its_record_says_until_when(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = aws.put(KEY, jpeg())
    aws.write(ProcessingStatus="processing", ExecutionArn=EXECUTION)
    turn = time.time() + 100
    turns.take(ANALYSES, Lane.LIVE, 45, earliest=turn - 1 / 45)
    answer = lambda_handler(event(version), context)
    assert answer.keys() == {"outcome", "until"}
    assert answer["outcome"] == "waiting"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["until"]), "what a Wait state takes"
    until = datetime.fromisoformat(answer["until"]).timestamp()
    assert turn - SLEEP_SECONDS - 0.01 <= until < turn + 0.01, "so that it sleeps at most a second for its turn"
    at = datetime.fromisoformat(aws.item()["TurnAt"]["S"]).timestamp()
    assert at == pytest.approx(turn, abs=0.01)
    assert asked(capsys) == 0


def test_the_record_of_another_execution_stays_as_it_is(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    version, _ = aws.put(KEY, jpeg())
    turns.take(ANALYSES, Lane.LIVE, 45, earliest=time.time() + 100)
    for written in ({"ExecutionArn": EXECUTION + "2"}, {"ExecutionArn": EXECUTION, "ProcessingStatus": "completed"}):
        aws.write(**{"ProcessingStatus": "processing"} | written)
        before = aws.item()
        assert lambda_handler(event(version), context)["outcome"] == "waiting"
        assert aws.item() == before


# --- The daily limit --------------------------------------------------------------------------------------------------


def counters(aws: Cloud) -> list[str]:
    """What the items that count a day's analyses say."""
    items = aws.dynamodb.scan(TableName=ANALYSES)["Items"]
    return [item["Images"]["N"] for item in items if item["ContentHash"]["S"].startswith("analysed#")]


def test_the_image_after_the_daily_limit_is_not_analysed_unless_an_operator_released_it(
    aws: Cloud,
    rekognition: Stubber,
    context: LambdaContext,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAILY_ANALYSIS_LIMIT", "1")
    first, _ = aws.put(KEY, jpeg())
    sees(rekognition, first, Cat=99.0)
    lambda_handler(event(first), context)
    second, _ = aws.put(KEY, png())
    for execution in (EXECUTION, EXECUTION + "2"):  # the second need not wait for the first one's lease
        assert lambda_handler(event(second, execution=execution), context) == {"outcome": "held"}
    assert lambda_handler(event(first), context)["reused"] is True, "what costs nothing is not limited"
    assert (asked(capsys), counters(aws)) == (1, ["1"])
    sees(rekognition, second, Dog=99.0)
    assert lambda_handler(event(second) | {"overLimit": True}, context)["animal"] == "dog"
    assert (asked(capsys), counters(aws)) == (1, ["1"])


def test_an_api_key_has_a_daily_limit_of_its_own(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILY_ANALYSIS_LIMIT_PER_KEY", "1")
    first, _ = aws.put(KEY, jpeg())
    sees(rekognition, first, Cat=99.0)
    assert lambda_handler(event(first) | {"uploadedBy": "one"}, context)["outcome"] == "classified"
    second, _ = aws.put(KEY, png())
    assert lambda_handler(event(second) | {"uploadedBy": "one"}, context) == {"outcome": "held"}
    sees(rekognition, second, Dog=99.0)
    assert lambda_handler(event(second) | {"uploadedBy": "one", "overLimit": True}, context)["animal"] == "dog"


def test_a_throttled_call_uses_up_nothing_of_the_limit_and_one_that_may_be_billed_does(
    aws: Cloud, rekognition: Stubber, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILY_ANALYSIS_LIMIT", "9")
    version, _ = aws.put(KEY, jpeg())
    rekognition.add_client_error("detect_labels", "ThrottlingException")
    assert lambda_handler(event(version), context)["outcome"] == "waiting"
    assert counters(aws) == ["0"]
    rekognition.add_client_error("detect_labels", "InternalServerError")
    with pytest.raises(PetDetectorError):
        lambda_handler(event(version), context)
    assert counters(aws) == ["1"]


def test_without_a_limit_nothing_is_counted(aws: Cloud, rekognition: Stubber, context: LambdaContext) -> None:
    version, _ = aws.put(KEY, jpeg())
    sees(rekognition, version, Cat=99.0)
    lambda_handler(event(version), context)
    assert counters(aws) == []


def test_what_rekognition_cannot_read_is_to_be_converted_and_takes_no_turn(aws: Cloud, context: LambdaContext) -> None:
    data = saved("WEBP")
    version, etag = aws.put(KEY, data)
    assert lambda_handler(event(version), context) == {
        "outcome": "convert",
        "fileSize": len(data),
        "etag": etag,
        "versionId": version,
        "contentHash": hashlib.sha256(data).hexdigest(),
        "imageFormat": "webp",
        "extension": "bin",
    }
    assert not aws.dynamodb.scan(TableName=ANALYSES)["Items"]


def test_the_jpeg_of_another_format_is_recorded_as_what_was_uploaded(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    """And the same upload, converted again, is not paid for again."""
    place = f"converted/{IMAGE_ID}.jpg"
    for upload in ("one", "two"):
        aws.put(KEY, saved("WEBP"))
        source = image_bucket.read(BUCKET, KEY, None)
        version = image_bucket.store_converted(BUCKET, place, jpeg() + upload.encode(), source, ImageFormat.WEBP)
        if upload == "one":
            found: Any = {"Image": {"S3Object": {"Bucket": BUCKET, "Name": place, "Version": version}}}
            found |= {"MaxLabels": 50, "MinConfidence": 20.0}
            labels: Any = {"Labels": [{"Name": "Cat", "Confidence": 99.0}], "LabelModelVersion": "3.0"}
            rekognition.add_response("detect_labels", labels, found)
        answer = lambda_handler(event(version, place), context)
        assert (answer["outcome"], answer["reused"]) == ("classified", upload == "two")
        assert (answer["imageFormat"], answer["extension"]) == ("webp", "jpg")
        assert (answer["fileSize"], answer["contentHash"]) == (source.size, source.content_hash)
        assert answer["convertedHash"] == hashlib.sha256(jpeg() + upload.encode()).hexdigest()


def test_an_uploader_cannot_claim_that_a_jpeg_was_converted(
    aws: Cloud, rekognition: Stubber, context: LambdaContext
) -> None:
    claimed = {"uploaded-bytes": "1", "uploaded-sha256": "0" * 64, "uploaded-format": "heic"}
    version, _ = aws.put(KEY, jpeg(), Metadata=claimed)
    sees(rekognition, version, Cat=99.0)
    answer = lambda_handler(event(version), context)
    assert (answer["imageFormat"], "convertedHash" in answer) == ("jpg", False)
    assert answer["contentHash"] == hashlib.sha256(jpeg()).hexdigest()
