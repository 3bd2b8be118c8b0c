"""The boundary to Amazon Rekognition: what is on the picture?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from pet_detector.aws_errors import code_of, translated
from pet_detector.errors import ServiceError
from pet_detector.models import Label, ReasonCode, Rejection

if TYPE_CHECKING:
    from mypy_boto3_rekognition import RekognitionClient

# Cat and Dog come behind their ancestors (Animal, Mammal, Pet), typically as fourth and fifth label.
MAX_LABELS = 50
# In percent; the policy cannot have a lower floor, so that stored labels can be judged again.
MIN_CONFIDENCE = 20.0
# Labels kept in the record: enough to judge again and to explain, small enough for DynamoDB (about 40 bytes each).
LABELS_KEPT = 15
LABEL_NAME_LENGTH = 64

# One attempt in the SDK: the state machine owns the retries (their budget stands beside them in the ASL).
_CONFIG = Config(connect_timeout=2, read_timeout=12, retries={"mode": "standard", "total_max_attempts": 1})


@cache
def _client() -> RekognitionClient:
    return boto3.client("rekognition", config=_CONFIG)


@dataclass(frozen=True)
class Recognition:
    """The labels worth keeping (`trimmed`), and the version of the model that saw them.

    A decision is made from nothing else, so that a record alone gives the same one again.
    """

    labels: tuple[Label, ...]
    model_version: str


def recognize(bucket: str, key: str, version_id: str) -> Recognition | Rejection:
    """Ask Rekognition for the labels of one version of an object, or learn that it cannot read the picture.

    Raises ThrottledError and ServiceError (worth a retry), AccessDeniedError and ImageNotFoundError (not).
    """
    with translated("rekognition:DetectLabels"):
        try:
            answer = _client().detect_labels(
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
        "Amazon Rekognition cannot read this picture; save it again as JPEG or PNG and upload that.",
    ),
    "ImageTooLargeException": Rejection(
        ReasonCode.TOO_LARGE, "Amazon Rekognition finds this picture too large; make it smaller and upload it again."
    ),
}
