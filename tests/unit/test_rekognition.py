"""What Amazon Rekognition is asked, and what its answers mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.aws import rekognition
from pet_detector.aws.rekognition import LABELS_KEPT, moderate, recognize, recognize_bytes, trimmed
from pet_detector.rules import models
from pet_detector.rules.errors import (
    AccessDeniedError,
    ImageNotFoundError,
    PetDetectorError,
    ServiceError,
    ThrottledError,
)
from pet_detector.rules.models import Label, ReasonCode, Rejection
from pet_detector.rules.policy import _KINDS, _PLACES, decide
from tests.support.moto_world import BUCKET, KEY, POLICY

QUESTION = {
    "Image": {"S3Object": {"Bucket": BUCKET, "Name": KEY, "Version": "v1"}},
    "MaxLabels": 50,
    "MinConfidence": 20.0,
}
labels = st.lists(
    st.builds(
        Label,
        st.sampled_from(["Cat", "Dog", "Animal", "Pet", "Nature", "Boat", "x" * 90]) | st.text(max_size=5),
        st.floats(0, 100),
    ),
    max_size=60,
    unique_by=lambda label: label.name,
)


def test_asks_for_one_version_of_the_object(rekognition: Stubber) -> None:
    answer: dict[str, Any] = {
        "Labels": [{"Name": "Pet", "Confidence": 50.5}, {"Name": "Cat", "Confidence": 98.25, "Parents": []}],
        "LabelModelVersion": "3.0",
    }
    rekognition.add_response("detect_labels", answer, QUESTION)
    expected = models.Recognition((Label("Cat", 98.25), Label("Pet", 50.5)), "3.0")
    assert recognize(BUCKET, KEY, "v1") == expected


def test_asks_about_bytes_as_about_an_object(rekognition: Stubber) -> None:
    answer: dict[str, Any] = {"Labels": [{"Name": "Cat", "Confidence": 98.25}], "LabelModelVersion": "3.0"}
    rekognition.add_response("detect_labels", answer, QUESTION | {"Image": {"Bytes": b"picture"}})
    assert recognize_bytes(b"picture") == models.Recognition((Label("Cat", 98.25),), "3.0")


def test_a_picture_of_nothing_has_no_labels(rekognition: Stubber) -> None:
    rekognition.add_response("detect_labels", {"Labels": []}, QUESTION)
    assert recognize(BUCKET, KEY, "v1") == models.Recognition((), "unknown")


def test_an_answer_without_labels_is_a_failure_of_the_service(rekognition: Stubber) -> None:
    rekognition.add_response("detect_labels", {}, QUESTION)
    with pytest.raises(ServiceError, match="unreadable"):
        recognize(BUCKET, KEY, "v1")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("InvalidImageFormatException", ReasonCode.UNSUPPORTED_FORMAT),
        ("ImageTooLargeException", ReasonCode.TOO_LARGE),
    ],
)
def test_a_picture_that_cannot_be_read_is_rejected_with_what_to_do(
    rekognition: Stubber, code: str, reason: ReasonCode
) -> None:
    rekognition.add_client_error("detect_labels", code)
    verdict = recognize(BUCKET, KEY, "v1")
    assert isinstance(verdict, Rejection)
    assert verdict.code is reason
    assert "upload" in verdict.reason


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", ThrottledError),
        ("ProvisionedThroughputExceededException", ThrottledError),
        ("LimitExceededException", ThrottledError),
        ("InternalServerError", ServiceError),
        ("InvalidParameterException", ServiceError),
        ("AccessDeniedException", AccessDeniedError),
        ("InvalidS3ObjectException", ImageNotFoundError),
    ],
)
def test_other_refusals_are_no_fault_of_the_picture(
    rekognition: Stubber, code: str, kind: type[PetDetectorError]
) -> None:
    rekognition.add_client_error("detect_labels", code)
    with pytest.raises(PetDetectorError) as found:
        recognize(BUCKET, KEY, "v1")
    assert type(found.value) is kind


# --- Is it safe? ------------------------------------------------------------------------------------------------------

SAFE_QUESTION = {"Image": QUESTION["Image"], "MinConfidence": 50.0}


def test_the_top_level_categories_of_unsafe_content_are_kept(rekognition: Stubber) -> None:
    labels = [("Graphic Violence", "Violence", 91.5), ("Violence", "", 91.50321), ("Alcohol", "", 60.0)]
    answer: dict[str, Any] = {
        "ModerationLabels": [
            {"Name": name, "ParentName": parent, "Confidence": confidence} for name, parent, confidence in labels
        ],
        "ModerationModelVersion": "7.0",
    }
    rekognition.add_response("detect_moderation_labels", answer, SAFE_QUESTION)
    expected = models.Moderation((Label("Violence", 91.5), Label("Alcohol", 60.0)), "7.0")
    assert moderate(BUCKET, KEY, "v1") == expected


def test_an_answer_without_moderation_labels_is_a_failure_and_no_safe_picture(rekognition: Stubber) -> None:
    rekognition.add_response("detect_moderation_labels", {}, SAFE_QUESTION)
    with pytest.raises(ServiceError, match="DetectModerationLabels: unreadable"):
        moderate(BUCKET, KEY, "v1")


@pytest.mark.parametrize(
    ("code", "kind"), [("ThrottlingException", ThrottledError), ("AccessDeniedException", AccessDeniedError)]
)
def test_moderation_is_refused_as_labels_are(rekognition: Stubber, code: str, kind: type[PetDetectorError]) -> None:
    rekognition.add_client_error("detect_moderation_labels", code)
    with pytest.raises(kind):
        moderate(BUCKET, KEY, "v1")
    rekognition.add_client_error("detect_moderation_labels", "InvalidImageFormatException")
    verdict = moderate(BUCKET, KEY, "v1")
    assert isinstance(verdict, Rejection)
    assert verdict.code is ReasonCode.UNSUPPORTED_FORMAT


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_labels_are_few_enough_for_one_write_unit() -> None:
    """`petdetect cost` reckons with 1 KB for what the table Analyses keeps of a picture."""
    kept = trimmed(Label(f"Label {n:4}", 50 + n / 3) for n in range(50))
    assert len(json.dumps([{"Name": label.name, "Confidence": label.confidence} for label in kept])) < 900


@given(labels)
def test_the_labels_that_are_kept_lead_to_the_decision_of_them_all(found: list[Label]) -> None:
    short = [Label(label.name[: rekognition.LABEL_NAME_LENGTH], round(label.confidence, 2)) for label in found]
    assert decide(trimmed(found), POLICY) == decide(short, POLICY)


def test_what_is_surely_something_else_is_kept_behind_all_that_is_no_evidence() -> None:
    names = _KINDS | _PLACES | {"Cat", "Dog"}
    found = [Label(name, 45.0) for name in names] + [Label("Sheep", 44.0)]
    assert Label("Sheep", 44.0) in trimmed(found)


@given(labels)
def test_the_labels_that_are_kept_are_few_short_and_the_most_confident(found: list[Label]) -> None:
    kept = trimmed(found)
    assert len(kept) == min(len(found), LABELS_KEPT)
    assert all(len(label.name) <= rekognition.LABEL_NAME_LENGTH for label in kept)
    assert all(label.confidence == round(label.confidence, 2) for label in kept)
    others = [label.confidence for label in kept if label.name not in ("Cat", "Dog")]
    assert others == sorted(others, reverse=True)
