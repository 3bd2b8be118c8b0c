"""Amazon Rekognition: what is on the picture, and is it safe?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated
from pet_detector.rules.content_safety import LOWEST_CONFIDENCE
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.models import Label, Moderation, ReasonCode, Recognition, Rejection
from pet_detector.rules.policy import LOWEST_FLOOR

if TYPE_CHECKING:
    from mypy_boto3_rekognition.type_defs import ImageTypeDef

# Cat and Dog come behind their ancestors (Animal, Mammal, Pet), typically as fourth and fifth label.
MAX_LABELS = 50
# In percent. No policy has a lower floor, so stored labels can be judged again by any policy.
MIN_CONFIDENCE = LOWEST_FLOOR
# Labels kept in the record: enough to judge again and to explain, small enough for a record of 3 KB.
LABELS_KEPT = 15
LABEL_NAME_LENGTH = 64


def recognize(bucket: str, key: str, version_id: str) -> Recognition | Rejection:
    """Ask Rekognition for the labels of one version of an object, or learn that it cannot read the picture.

    Raises ThrottledError and ServiceError (worth a retry), AccessDeniedError and ImageNotFoundError (not).
    """
    return _recognize({"S3Object": {"Bucket": bucket, "Name": key, "Version": version_id}})


def recognize_bytes(data: bytes) -> Recognition | Rejection:
    """The same for a picture that is in no bucket, of at most 5 MB: `petdetect evaluate` stores nothing."""
    return _recognize({"Bytes": data})


def _recognize(image: ImageTypeDef) -> Recognition | Rejection:
    with translated("rekognition:DetectLabels"):
        try:
            answer = client("rekognition").detect_labels(
                Image=image,
                MaxLabels=MAX_LABELS,
                MinConfidence=MIN_CONFIDENCE,
            )
        except ClientError as error:
            return _rejection(error)
    if "Labels" not in answer:  # botocore takes a body that is no JSON for an empty answer
        raise ServiceError("rekognition:DetectLabels: unreadable answer")
    labels = (Label(label["Name"], label["Confidence"]) for label in answer["Labels"])
    return Recognition(tuple(trimmed(labels)), answer.get("LabelModelVersion", "unknown"))


def moderate(bucket: str, key: str, version_id: str) -> Moderation | Rejection:
    """Ask Rekognition for the unsafe content on one version of an object. Raises as `recognize` does.

    The answer names each kind of content under its top-level category, which has at least its confidence. That is kept.
    """
    with translated("rekognition:DetectModerationLabels"):
        try:
            answer = client("rekognition").detect_moderation_labels(
                Image={"S3Object": {"Bucket": bucket, "Name": key, "Version": version_id}},
                MinConfidence=LOWEST_CONFIDENCE,
            )
        except ClientError as error:
            return _rejection(error)
    if "ModerationLabels" not in answer:  # as above
        raise ServiceError("rekognition:DetectModerationLabels: unreadable answer")
    categories = (
        Label(label["Name"][:LABEL_NAME_LENGTH], round(label["Confidence"], 2))
        for label in answer["ModerationLabels"]
        if not label.get("ParentName")
    )
    return Moderation(tuple(categories), answer.get("ModerationModelVersion", "unknown"))


def _rejection(error: ClientError) -> Rejection:
    """What a refused picture is rejected with. Raises the error again if it is not about the picture."""
    rejection = _REJECTIONS.get(code_of(error))
    if rejection is None:
        raise error
    return rejection


def trimmed(labels: Iterable[Label]) -> list[Label]:
    """The labels worth keeping: Cat and Dog always, then the most confident, LABELS_KEPT in all, names cut short.

    The policy has ten names besides that are no evidence, so that what is most surely something else is always kept.
    """
    short = (Label(label.name[:LABEL_NAME_LENGTH], round(label.confidence, 2)) for label in labels)
    ordered = sorted(short, key=lambda label: (label.name not in ("Cat", "Dog"), -label.confidence, label.name))
    return ordered[:LABELS_KEPT]


_REJECTIONS = {
    "InvalidImageFormatException": Rejection(
        ReasonCode.UNSUPPORTED_FORMAT,
        "The file begins as a JPEG or PNG, but Amazon Rekognition cannot decode it: it is damaged, or of a kind that "
        "Rekognition does not support. Open it in an image editor, save it as a new file and upload that.",
    ),
    "ImageTooLargeException": Rejection(
        ReasonCode.TOO_LARGE, "The picture is too large for Amazon Rekognition; make it smaller and upload it again."
    ),
}
