"""NotificationService: the state Notify Reviewers. Notifies the reviewers of an uncertain image, once."""

from __future__ import annotations

from typing import TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.rules import notices
from pet_detector.rules.models import Scores
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger
from pet_detector.use_cases import notifier


class ScoresEvent(TypedDict):
    """Confidence for a cat and for a dog, in percent."""

    cat: float
    dog: float


class Event(TypedDict):
    """What Log Detection wrote of an uncertain image. `confidence` is in percent."""

    imageId: str
    executionArn: str
    correlationId: str
    fileName: str
    location: str
    reason: str
    confidence: float
    scores: ScoresEvent


class Answer(TypedDict):
    """`notice` says what became of it."""

    notice: notifier.Outcome


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Sends the notice unless the record says that it was sent. Raises what `notifier.notify_once` raises."""
    bind(event)
    notice = notices.uncertain_image(
        event["imageId"],
        file_name=event["fileName"],
        location=event["location"],
        reason=event["reason"],
        confidence=event["confidence"],
        scores=Scores(**event["scores"]),
        correlation_id=event["correlationId"],
        stage=settings.required("STAGE"),
    )
    table, topic = settings.required("DETECTION_LOGS_TABLE_NAME"), settings.required("NOTICES_TOPIC_ARN")
    burst = int(settings.required("NOTICE_BURST"))
    return {"notice": notifier.notify_once(table, topic, event["imageId"], notice, burst=burst)}
