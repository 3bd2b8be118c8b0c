"""Tells people of a fact once: reserves it in the image's record, then publishes."""

from __future__ import annotations

from typing import Literal

from pet_detector import catalogue, notices
from pet_detector.errors import PetDetectorError
from pet_detector.notices import Notice
from pet_detector.observability import count, logger

# unconfirmed: sent, but SNS's answer was lost on its way.
Outcome = Literal["sent", "already_sent", "unconfirmed"]


def tell_once(table: str, topic_arn: str, image_id: str, notice: Notice) -> Outcome:
    """Send a notice unless its fact was announced before. Raises what `notices.publish` raises; then nobody was told.

    A crash between reserving and publishing costs the notice (the record still says needs_review or failed); the
    other order would tell people twice.
    """
    kind = str(notice.attributes["Kind"])
    if not catalogue.claim_notice(table, image_id, notice.fact):
        logger.info("Notice was sent before", kind=kind)
        return "already_sent"
    try:
        confirmed = notices.publish(topic_arn, notice)
    except PetDetectorError:
        catalogue.release_notice(table, image_id, notice.fact)
        raise
    if confirmed:
        logger.info("Notice sent", kind=kind)
    else:
        logger.warning("Notice sent, but SNS's answer was lost", kind=kind)
    count("NoticeSent")
    return "sent" if confirmed else "unconfirmed"
