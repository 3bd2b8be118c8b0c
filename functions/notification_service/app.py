"""NotificationService: the states Notify Reviewers and Notify Operators. Tells people, once per fact."""

from __future__ import annotations

import json
import re
from typing import Literal, NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector import catalogue, notices, settings
from pet_detector.errors import PetDetectorError
from pet_detector.models import Scores
from pet_detector.notices import Notice
from pet_detector.observability import count, logger

_ERROR_MESSAGE = re.compile(r'"errorMessage"\s*:\s*("(?:[^"\\]|\\.)*")')


class ScoresEvent(TypedDict):
    """Confidence for a cat and for a dog, in percent."""

    cat: float
    dog: float


class Event(TypedDict):
    """`kind` uncertain comes with what Log Detection wrote, `kind` failed with the state machine's error output."""

    kind: Literal["uncertain", "failed"]
    imageId: str
    executionArn: str
    fileName: NotRequired[str]
    location: NotRequired[str]
    reason: NotRequired[str]
    confidence: NotRequired[float]
    scores: NotRequired[ScoresEvent]
    key: NotRequired[str]
    error: NotRequired[str]
    cause: NotRequired[str]


class Answer(TypedDict):
    """`notice` is sent, already_sent, or unconfirmed (sent, but SNS's answer was lost on its way)."""

    notice: Literal["sent", "already_sent", "unconfirmed"]


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Sends the notice unless the record says that it was sent. Raises what `notices.publish` raises."""
    image_id = event["imageId"]
    logger.append_keys(image_id=image_id, execution_id=event["executionArn"])
    table = settings.required("DETECTION_LOGS_TABLE_NAME")
    topic = settings.required("NOTICES_TOPIC_ARN")
    notice = compose(event, settings.required("STAGE"))
    # Reserve, then send: a crash between the two costs a notice (the record still says needs_review or failed), the
    # other order would tell people twice.
    if not catalogue.claim_notice(table, image_id, notice.attribute, notice.fact):
        logger.info("Notice was sent before", kind=event["kind"])
        return {"notice": "already_sent"}
    try:
        confirmed = notices.publish(topic, notice)
    except PetDetectorError:
        catalogue.release_notice(table, image_id, notice.attribute, notice.fact)
        raise
    if confirmed:
        logger.info("Notice sent", kind=event["kind"])
    else:
        logger.warning("Notice sent, but SNS's answer was lost", kind=event["kind"])
    count("NoticeSent", Kind=event["kind"])
    return {"notice": "sent" if confirmed else "unconfirmed"}


def compose(event: Event, stage: str) -> Notice:
    """The notice for an event of the state machine."""
    if event["kind"] == "uncertain":
        return notices.uncertain_image(
            event["imageId"],
            file_name=event["fileName"],
            location=event["location"],
            reason=event["reason"],
            confidence=event["confidence"],
            scores=Scores(**event["scores"]),
            stage=stage,
        )
    return notices.failed_image(
        event["imageId"],
        key=event["key"],
        error=event["error"],
        cause=message_of(event["cause"]),
        execution_arn=event["executionArn"],
        stage=stage,
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
