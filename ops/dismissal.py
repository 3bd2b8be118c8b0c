"""Ends failed images whose objects are gone for good: they count as failed no more, and their records expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ops import records
from ops.environment import Deployment
from ops.errors import OperatorError
from pet_detector.aws import detection_logs
from pet_detector.rules.models import Record, Status


def dismissible(deployment: Deployment, image_id: str) -> Record:
    """The record of an image that may be dismissed. Raises OperatorError when it may not."""
    record = records.read(deployment, image_id)
    status = record.get("ProcessingStatus", "unrecorded")
    if status != Status.FAILED:
        raise OperatorError(f"It is {status}, and only failed images are dismissed.")
    if detection_logs.is_dismissed(record):
        raise OperatorError("It is dismissed already.")
    if place := records.place_of(deployment, record):
        raise OperatorError(
            f"Its object is there, at {place[0]}: petdetect redrive {image_id} starts it again. Only images whose "
            "object is gone are dismissed."
        )
    return record


def dismiss(deployment: Deployment, record: Record) -> datetime:
    """Dismiss it -> when its record expires. Raises OperatorError when it was started again in the meantime."""
    days = int(deployment.parameters["RecordRetentionDays"])  # as long as the workflow keeps one
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    image_id, execution = record["ImageID"], str(record.get("ExecutionArn", ""))
    seconds = int(expires.timestamp())
    if not detection_logs.dismiss(deployment.table, image_id, execution_arn=execution, expires_at=seconds):
        raise OperatorError(f"It was started again in the meantime: look at petdetect explain {image_id}.")
    return expires
