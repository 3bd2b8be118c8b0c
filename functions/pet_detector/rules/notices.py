"""The texts of the notices: what happened, why, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from pet_detector.rules.models import REVIEW_FACT, Scores
from pet_detector.rules.text import printable


@dataclass(frozen=True)
class Notice:
    """A message for reviewers or operators. `attributes` are for the subscribers' filter policies.

    `fact` names what the notice is about. A fact is notified once: the record keeps it in Notices.
    """

    subject: str
    message: str
    attributes: dict[str, str | float]
    fact: str


def uncertain_image(
    image_id: str,
    *,
    file_name: str,
    location: str,
    reason: str,
    confidence: float,
    scores: Scores,
    correlation_id: str,
    stage: str,
) -> Notice:
    """The notice that asks reviewers to decide on an uncertain image. One per image."""
    lean = "cat" if scores.cat >= scores.dog else "dog"
    return Notice(
        subject=f"[{stage}] Please review image {image_id}",
        message=(
            f"The pet detector was not sure about an image, and filed it under others/.\n\n"
            f"Image:      {image_id}\n"
            f"File name:  {printable(file_name)}\n"
            f"Location:   {location}\n"
            f"Why:        {reason}\n"
            f"Confidence: cat {scores.cat:.1f} %, dog {scores.dog:.1f} %; that it is neither: {confidence:.1f} %\n\n"
            f"What to do: look at the image (GET /images/{image_id} gives a link) and decide whether it shows a cat, "
            f"a dog, or neither. The more likely animal is {lean}.\n"
        ),
        attributes={
            "Kind": "ImageUncertain",
            "ImageID": image_id,
            "Stage": stage,
            "LeansTo": lean,
            "HighestScore": max(scores.cat, scores.dog),
            "CorrelationID": correlation_id,
        },
        fact=REVIEW_FACT,
    )


def failed_image(
    image_id: str, *, key: str, error: str, cause: str, execution_arn: str, correlation_id: str, stage: str
) -> Notice:
    """The notice for operators: an image could not be processed. One per execution that failed."""
    return Notice(
        subject=f"[{stage}] Processing failed for image {image_id}",
        message=(
            f"The pet detector could not process an image. Nothing is lost: the image is still stored.\n\n"
            f"Image:     {image_id}\n"
            f"Object:    {printable(key)}\n"
            f"Why:       {error}: {printable(cause)}\n"
            f"Execution: {execution_arn}\n\n"
            f"What to do: petdetect explain {image_id} shows every step. Fix the cause (docs/operations.md "
            f"has it by error name), then petdetect redrive {image_id}.\n"
        ),
        attributes={
            "Kind": "ImageProcessingFailed",
            "ImageID": image_id,
            "Stage": stage,
            "Error": error,
            "CorrelationID": correlation_id,
        },
        fact=execution_arn,
    )
