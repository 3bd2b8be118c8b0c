"""Amazon Rekognition: what is on the picture?"""

from __future__ import annotations

from collections.abc import Iterable

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.models import Label, ReasonCode, Recognition, Rejection

# Cat and Dog come behind their ancestors (Animal, Mammal, Pet), typically as fourth and fifth label.
MAX_LABELS = 50
# In percent; the policy cannot have a lower floor, so that stored labels can be judged again.
MIN_CONFIDENCE = 20.0
# Labels kept in the record: enough to judge again and to explain, small enough for DynamoDB (about 40 bytes each).
LABELS_KEPT = 15
LABEL_NAME_LENGTH = 64


def recognize(bucket: str, key: str, version_id: str) -> Recognition | Rejection:
    """Ask Rekognition for the labels of one version of an object, or learn that it cannot read the picture.

    Raises ThrottledError and ServiceError (worth a retry), AccessDeniedError and ImageNotFoundError (not).
    """
    with translated("rekognition:DetectLabels"):
        try:
            answer = client("rekognition").detect_labels(
                Image={"S3Object": {"Bucket": bucket, "Name": key, "Version": version_id}},
                MaxLabels=MAX_LABELS,
                MinConfidence=MIN_CONFIDENCE,
            )
        except ClientError as error:
            rejection = _REJECTIONS.get(code_of(error))
            if rejection is None:
                raise
            return rejection
    if "Labels" not in answer:  # botocore takes a body that is no JSON for an empty answer
        raise ServiceError("rekognition:DetectLabels: unreadable answer")
    labels = (Label(label["Name"], label["Confidence"]) for label in answer["Labels"])
    return Recognition(tuple(trimmed(labels)), answer.get("LabelModelVersion", "unknown"))


def trimmed(labels: Iterable[Label]) -> list[Label]:
    """The labels worth keeping: Cat and Dog always, then the most confident, LABELS_KEPT in all, names cut short."""
    ordered = sorted(labels, key=lambda label: (label.name not in ("Cat", "Dog"), -label.confidence))
    return [Label(label.name[:LABEL_NAME_LENGTH], round(label.confidence, 2)) for label in ordered[:LABELS_KEPT]]


_REJECTIONS = {
    "InvalidImageFormatException": Rejection(
        ReasonCode.UNSUPPORTED_FORMAT,
        "The file begins as a JPEG or PNG does, but Amazon Rekognition cannot decode it; open the picture in a "
        "program, save it again as JPEG or PNG, and upload that.",
    ),
    "ImageTooLargeException": Rejection(
        ReasonCode.TOO_LARGE, "Amazon Rekognition finds this picture too large; make it smaller and upload it again."
    ),
}
