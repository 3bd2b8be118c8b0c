"""ReviewKeeper: runs on a schedule. Has verdicts carried out that were not, fills the queue for review, and once a day
tells reviewers what waits, and operators what is overdue.
"""

from __future__ import annotations

from typing import Any, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import review_keeper


class Answer(TypedDict):
    """`pending`: verdicts that were not carried out in time; `started`, `closed`: what was done about them. `queued`:
    images put into the queue; `waiting`: images that wait for people.
    """

    pending: int
    started: int
    closed: int
    queued: int
    waiting: int


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Answer:
    """The event of the schedule has the page's address, for the digest.

    Raises the errors of AWS, even if only one thing could not be done.
    """
    report = review_keeper.keep(
        review_keeper.Resources(
            table=settings.required("DETECTION_LOGS_TABLE_NAME"),
            reviews=settings.required("REVIEWS_TABLE_NAME"),
            workflow_arn=settings.required("REVIEW_WORKFLOW_ARN"),
            topic_arn=settings.required("NOTICES_TOPIC_ARN"),
            stage=settings.required("STAGE"),
            page_address=event.get("pageAddress", "the stack's output PageUrl"),
            sample_percent=float(settings.required("REVIEW_SAMPLE_PERCENT")),
            second_look_percent=float(settings.required("SECOND_LOOK_PERCENT")),
            overdue_hours=float(settings.required("REVIEW_OVERDUE_HOURS")),
            image_days=float(settings.required("IMAGE_RETENTION_DAYS")),
        ),
        lambda: context.get_remaining_time_in_millis() / 1000,
    )
    logger.info(
        "Reviews kept",
        pending=report.pending,
        started=report.started,
        closed=report.closed,
        queued=report.queued,
        waiting=report.waiting,
        oldest_hours=round(report.oldest_hours, 1),
    )
    if report.error:
        raise report.error
    return {
        "pending": report.pending,
        "started": report.started,
        "closed": report.closed,
        "queued": report.queued,
        "waiting": report.waiting,
    }
