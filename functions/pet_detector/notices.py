"""The boundary to Amazon SNS: what people are told, in words that say what happened, why, and what to do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from pet_detector.aws_errors import translate
from pet_detector.models import REVIEW_FACT, Scores

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

_ERROR_MESSAGE = re.compile(r'"errorMessage"\s*:\s*("(?:[^"\\]|\\.)*")')

SUBJECT_LENGTH = 100  # SNS refuses longer ones, and anything but printable ASCII

# One attempt: a retry inside the SDK, after an answer that was lost on its way, would send the notice a second time.
_CONFIG = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 1})


@cache
def _client() -> SNSClient:
    return boto3.client("sns", config=_CONFIG)


@dataclass(frozen=True)
class Notice:
    """A message for people. `attributes` are for subscribers' filter policies; numbers are compared as numbers.

    `fact` names what is announced, once: the record remembers it in Notices.
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
    """The notice for the people who review: the machine was not sure. One per image."""
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
            f"a dog, or neither. The machine leaned to {lean}.\n"
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
            f"What to do: petdetect explain {image_id} tells the whole story. Remove the cause (docs/operations.md "
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


def message_of(cause: str) -> str:
    """The sentence in a Lambda function's error output, which Step Functions hands on as JSON; else the text itself.

    The state machine cuts the text, mostly in the stack trace, so it is no whole document.
    """
    found = _ERROR_MESSAGE.search(cause)
    try:
        return str(json.loads(found[1])) if found else cause
    except ValueError:
        return cause


def printable(text: str, length: int = 300) -> str:
    """`text` without control and direction characters, cut to `length`: file names and causes come from outside."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def publish(topic_arn: str, notice: Notice) -> bool:
    """Send a notice, at most once. True when SNS confirmed it, False when its answer was lost on the way.

    Raises ThrottledError, ServiceError or AccessDeniedError when the notice was certainly not sent.
    """
    attributes: dict[str, MessageAttributeValueTypeDef] = {
        name: {"DataType": "String", "StringValue": value}
        if isinstance(value, str)
        else {"DataType": "Number", "StringValue": f"{value:.2f}"}
        for name, value in notice.attributes.items()
    }
    subject = printable(notice.subject).encode("ascii", "replace").decode()[:SUBJECT_LENGTH]
    try:
        _client().publish(TopicArn=topic_arn, Subject=subject, Message=notice.message, MessageAttributes=attributes)
    except (HTTPClientError, ResponseParserError):  # timed out, hung up, or unreadable: SNS may well have sent it
        return False
    except (ClientError, BotoCoreError) as error:  # SNS said no, or was never reached
        raise translate(error, "sns:Publish") from error
    return True
