"""Notifies of a fact once: reserves it in the image's record, then publishes the notice."""

from __future__ import annotations

from typing import Literal

from pet_detector.aws import detection_logs, notices_topic
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.notices import Notice
from pet_detector.runtime.observability import count, logger

# unconfirmed: sent, but SNS's answer was lost.
Outcome = Literal["sent", "already_sent", "unconfirmed"]


def notify_once(table: str, topic_arn: str, image_id: str, notice: Notice) -> Outcome:
    """Send a notice unless the same fact was notified before.

    Raises the errors of `notices_topic.publish`: then nothing was sent. A crash between reserving and publishing
    loses the notice (the record still says needs_review or failed); the other order could send it twice.
    """
    kind = str(notice.attributes["Kind"])
    if not detection_logs.reserve_notice(table, image_id, notice.fact):
        logger.info("Notice was sent before", kind=kind)
        return "already_sent"
    try:
        confirmed = notices_topic.publish(topic_arn, notice)
    except PetDetectorError:
        detection_logs.release_notice(table, image_id, notice.fact)
        raise
    if confirmed:
        logger.info("Notice sent", kind=kind)
    else:
        logger.warning("Notice sent, but SNS's answer was lost", kind=kind)
    count("NoticeSent")
    return "sent" if confirmed else "unconfirmed"
