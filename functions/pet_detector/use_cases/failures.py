"""Marks an image's record as failed and notifies operators, once per execution.

Nothing else does either. The state Record Failure and the rule on failed executions both end in `record`, so the
second of the two finds the work done, or does what the first could not.

A verdict that could not be carried out ends here too (`record_verdict`). Its image has not failed, and stays as it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from pet_detector.aws import detection_logs
from pet_detector.rules import notices
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.execution_input import ImageRef, VerdictRef
from pet_detector.rules.models import Record, Status
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import notifier

# An object under input/ expires after ImageRetentionDays, and its noncurrent version after as many days again (the rule
# ExpireUnfinished of template.yaml). S3 deletes at midnights, and may be days late: a record that expired before its
# object would let the Reconciler start it as a new upload.
_LATE_DAYS = 7


@dataclass(frozen=True)
class Operators:
    """Who is notified, and where the records are: names of deployed resources.

    `notice_burst` is how many notices of a kind they get within 5 minutes, before a digest. `image_retention_days` is
    the parameter ImageRetentionDays.
    """

    table: str
    topic_arn: str
    stage: str
    notice_burst: int
    image_retention_days: int

    @property
    def record_expires_at(self) -> int:
        """When a record that fails now expires (seconds since 1970): after its object, never before."""
        return int(time.time()) + (2 * self.image_retention_days + _LATE_DAYS) * 24 * 60 * 60


@dataclass(frozen=True)
class Failure:
    """An execution that could not process its image. `cause` is a sentence for people."""

    subject: ImageRef
    execution_arn: str
    error: str
    cause: str


@dataclass(frozen=True)
class Recorded:
    """`changed`: the record was changed to failed. `notice`: what became of the notice; none when there was no need."""

    changed: bool
    notice: notifier.Outcome | Literal["none"]


def record(operators: Operators, failure: Failure) -> Recorded:
    """Mark the record as failed if this execution left it unfinished, and notify operators unless they were.

    A record that is finished, or another execution's, stays as it is, and no notice is sent. Raises the errors of
    AWS; run again, it does what is still to be done. When the record cannot be written operators are notified all
    the same, unless it is another execution's.
    """
    subject, execution = failure.subject, failure.execution_arn
    try:
        changed = detection_logs.record_failure(
            operators.table,
            subject.image_id,
            execution_arn=execution,
            key=subject.key,
            version_id=subject.version_id,
            error=failure.error,
            cause=failure.cause,
            expires_at=operators.record_expires_at,
        )
    except PetDetectorError:
        found = detection_logs.find(operators.table, subject.image_id)
        if found is None or _is_unfinished(found, execution):
            correlation = found["CorrelationId"] if found else execution.rpartition(":")[2]
            notify(operators, failure, correlation_id=correlation)
        raise
    found = detection_logs.find(operators.table, subject.image_id)
    if found is None or (found["ProcessingStatus"], found.get("ExecutionArn")) != (Status.FAILED, execution):
        logger.info("Not this execution's image, or finished", recorded=changed)
        return Recorded(changed, "none")
    outcome = notify(operators, failure, correlation_id=found["CorrelationId"])
    logger.warning("Failure is on record", error=failure.error, recorded=changed)
    return Recorded(changed, outcome)


def record_verdict(operators: Operators, verdict: VerdictRef, execution_arn: str, error: str, cause: str) -> Recorded:
    """Notify operators that a verdict was not carried out, once per verdict. The record stays as it is.

    ReviewKeeper starts the verdict again, whose next failure is no news. Of an image that is gone nobody is told.
    Raises the errors of AWS; run again, it does what is still to be done.
    """
    found = detection_logs.find(operators.table, verdict.image_id)
    if found is None:
        logger.info("The image is no more", sequence=verdict.sequence)
        return Recorded(changed=False, notice="none")
    notice = notices.failed_verdict(
        verdict.image_id,
        sequence=verdict.sequence,
        error=error,
        cause=cause,
        execution_arn=execution_arn,
        correlation_id=found["CorrelationId"],
        stage=operators.stage,
    )
    burst = operators.notice_burst
    outcome = notifier.notify_once(operators.table, operators.topic_arn, verdict.image_id, notice, burst=burst)
    logger.warning("Verdict not carried out", error=error, sequence=verdict.sequence)
    return Recorded(changed=False, notice=outcome)


def _is_unfinished(record: Record, execution: str) -> bool:
    """Whether this execution claimed the image, or the claim of an announced upload is what failed."""
    if record["ProcessingStatus"] == Status.UPLOADING:
        return True
    return record["ProcessingStatus"] == Status.PROCESSING and record.get("ExecutionArn") == execution


def notify(operators: Operators, failure: Failure, *, correlation_id: str) -> notifier.Outcome:
    """Notify operators of a failure, once. Raises what `notifier.notify_once` raises."""
    logger.append_keys(correlation_id=correlation_id)
    notice = notices.failed_image(
        failure.subject.image_id,
        key=failure.subject.key,
        error=failure.error,
        cause=failure.cause,
        execution_arn=failure.execution_arn,
        correlation_id=correlation_id,
        stage=operators.stage,
    )
    return notifier.notify_once(
        operators.table, operators.topic_arn, failure.subject.image_id, notice, burst=operators.notice_burst
    )
