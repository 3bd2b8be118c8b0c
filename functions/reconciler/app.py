"""Reconciler: runs on a schedule. Starts again what was uploaded and not finished, and publishes how much that is.

It also sends the digest of the notices that were withheld because too many came at once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import reconciling
from pet_detector.runtime import settings
from pet_detector.runtime.observability import count, logger
from pet_detector.use_cases import notifier, reconciler

# Of the function's Timeout (300 s), the time to list and start: the rest is for what is closed then.
RUN_SECONDS = 200.0


class Answer(TypedDict):
    """`gap`: uploads that should be finished and are not. `started` and `closed`: how many of them this run handled."""

    gap: int
    started: int
    closed: int


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Answer:
    """Ignores the event. Raises the errors of AWS, even if only one image could not be started or closed."""
    resources = reconciler.Resources(
        bucket=settings.required("IMAGE_BUCKET_NAME"),
        table=settings.required("DETECTION_LOGS_TABLE_NAME"),
        live_arn=settings.required("LIVE_ALIAS_ARN"),
        topic_arn=settings.required("NOTICES_TOPIC_ARN"),
        stage=settings.required("STAGE"),
        notice_burst=int(settings.required("NOTICE_BURST")),
        image_retention_days=int(settings.required("IMAGE_RETENTION_DAYS")),
    )
    try:
        notifier.send_digest(resources.table, resources.topic_arn, resources.stage, burst=resources.notice_burst)
    finally:  # what is lost is taken up even if people cannot be notified
        report = _reconcile(resources)
    return {"gap": report.gap, "started": report.started, "closed": report.closed}


def _reconcile(resources: reconciler.Resources) -> reconciler.Report:
    overdue = timedelta(minutes=int(settings.required("OVERDUE_MINUTES")))
    position = reconciling.position(resources.table)
    report = reconciler.reconcile(resources, overdue, begin_after=position, seconds=RUN_SECONDS)
    if report.stopped_at != position:
        reconciling.move_to(resources.table, report.stopped_at)
    count("ReconcileGap", report.gap)
    logger.info(
        "Reconciled",
        gap=report.gap,
        started=report.started,
        closed=report.closed,
        waiting=report.waiting,
        superseded=report.superseded,
        whole=not position and not report.stopped_at,
    )
    if report.error:
        raise report.error
    return report
