"""Notifies of a fact once: reserves it in the image's record, then publishes a notice of its own, or counts it for a
digest when too many come at once (aws/notice_burst.py).
"""

from __future__ import annotations

from typing import Literal

from pet_detector.aws import detection_logs, notice_burst, notices_topic
from pet_detector.aws.notice_burst import Turn
from pet_detector.rules import notices
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.notices import Notice
from pet_detector.runtime.observability import count, logger

# unconfirmed: sent, but SNS's answer was lost. in_digest: people get one notice of many.
Outcome = Literal["sent", "already_sent", "unconfirmed", "in_digest"]


def notify_once(table: str, topic_arn: str, image_id: str, notice: Notice, *, burst: int) -> Outcome:
    """Send a notice, or leave it to the digest after `burst` of its kind, unless the same fact was notified before.

    Raises the errors of `notices_topic.publish`: then nothing was sent. A crash between reserving and publishing (or
    counting) loses the notice (the record still says needs_review or failed); the other order could send it twice.
    """
    kind = str(notice.attributes["Kind"])
    if not detection_logs.reserve_notice(table, image_id, notice.fact):
        logger.info("Notice was sent before", kind=kind)
        return "already_sent"
    turn = _turn(table, kind, burst)
    if turn is Turn.DIGEST:
        logger.info("Notice left to the digest", kind=kind)
        return "in_digest"
    try:
        confirmed = notices_topic.publish(
            topic_arn, notices.last_before_digest(notice) if turn is Turn.LAST else notice
        )
    except PetDetectorError:
        detection_logs.release_notice(table, image_id, notice.fact)
        raise
    if confirmed:
        logger.info("Notice sent", kind=kind)
    else:
        logger.warning("Notice sent, but SNS's answer was lost", kind=kind)
    count("NoticeSent")
    return "sent" if confirmed else "unconfirmed"


def _turn(table: str, kind: str, burst: int) -> Turn:
    try:
        return notice_burst.take_turn(table, kind, burst)
    except PetDetectorError as error:  # rather a notice too many than one that nobody gets
        logger.warning("Notice not counted, so it is sent", kind=kind, reason=str(error))
        return Turn.SEND


def send_digest(table: str, topic_arn: str, stage: str, *, burst: int) -> int:
    """Send one notice of all that were withheld since the last one -> how many these are; with none there is no notice.

    Raises the errors of AWS. The count is taken off last: what fails in between, or an answer of SNS that is lost,
    sends the same numbers again with the next digest, rather than never.
    """
    review, failure = (notice_burst.withheld(table, kind, burst) for kind in (notices.REVIEW, notices.FAILURE))
    if total := review.number + failure.number:
        since = min(found.since for found in (review, failure) if found.number)
        notice = notices.digest(reviews=review.number, failures=failure.number, since=since, stage=stage)
        if not notices_topic.publish(topic_arn, notice):
            logger.warning("Digest sent, but SNS's answer was lost: the next run repeats it", notices=total)
            return total
        logger.info("Digest sent", reviews=review.number, failures=failure.number)
        count("NoticeSent")
    for told in (review, failure):
        notice_burst.settle(table, told)
    return total
