"""NotificationService: the states Notify Reviewers and Notify Operators. Tells people, once per fact."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.rules import notices, text
from pet_detector.rules.models import Scores
from pet_detector.rules.notices import Notice
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger
from pet_detector.use_cases import notifier


class ScoresEvent(TypedDict):
    """Confidence for a cat and for a dog, in percent."""

    cat: float
    dog: float


class Event(TypedDict):
    """`kind` uncertain comes with what Log Detection wrote, `kind` failed with the state machine's error output."""

    kind: Literal["uncertain", "failed"]
    imageId: str
    executionArn: str
    correlationId: str
    fileName: NotRequired[str]
    location: NotRequired[str]
    reason: NotRequired[str]
    confidence: NotRequired[float]
    scores: NotRequired[ScoresEvent]
    key: NotRequired[str]
    error: NotRequired[str]
    cause: NotRequired[str]


class Answer(TypedDict):
    """`notice` says what became of it."""

    notice: notifier.Outcome


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Sends the notice unless the record says that it was sent. Raises what `notifier.tell_once` raises."""
    image_id = event["imageId"]
    bind(event)
    table = settings.required("DETECTION_LOGS_TABLE_NAME")
    topic = settings.required("NOTICES_TOPIC_ARN")
    notice = compose(event, settings.required("STAGE"))
    return {"notice": notifier.tell_once(table, topic, image_id, notice)}


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
            correlation_id=event["correlationId"],
            stage=stage,
        )
    return notices.failed_image(
        event["imageId"],
        key=event["key"],
        error=event["error"],
        cause=text.message_of(event["cause"]),
        execution_arn=event["executionArn"],
        correlation_id=event["correlationId"],
        stage=stage,
    )
