"""FailureRecorder: hears of every execution that failed, timed out or was stopped, and sees that it is on record.

The state machine records most failures itself (Record Failure, Notify Operators). What it cannot catch, a timeout of
the whole machine, a stop by hand, data too large, an error of the runtime, ends here.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs
from pet_detector.rules import notices, text
from pet_detector.rules.errors import ERROR_OF_STATUS
from pet_detector.rules.execution_input import subject_of
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import notifier


class Detail(TypedDict):
    """Of EventBridge's "Step Functions Execution Status Change". `input` is null when it has more than 248 KiB."""

    executionArn: str
    status: str
    input: str | None
    error: NotRequired[str | None]
    cause: NotRequired[str | None]


class Event(TypedDict):
    """The event's envelope."""

    detail: Detail


class Answer(TypedDict):
    """`recorded`: the record was changed to failed; `notice`: sent, already_sent, unconfirmed or none."""

    recorded: bool
    notice: str


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Marks the record failed if this execution left it unfinished, and tells operators unless they know."""
    detail = event["detail"]
    execution = detail["executionArn"]
    logger.append_keys(execution_id=execution)
    subject = subject_of(detail["input"])
    if subject is None:
        logger.error("An execution failed whose input names no image", status=detail["status"])
        return {"recorded": False, "notice": "none"}
    image_id, key = subject.image_id, subject.key
    logger.append_keys(image_id=image_id)
    table = settings.required("DETECTION_LOGS_TABLE_NAME")
    error = detail.get("error") or ERROR_OF_STATUS.get(detail["status"], "States.Runtime")
    cause = text.message_of(detail.get("cause") or f"The execution ended as {detail['status']}.")
    recorded = detection_logs.record_failure(
        table, image_id, execution_arn=execution, key=key, version_id=subject.version_id, error=error, cause=cause
    )
    record = detection_logs.find(table, image_id)
    if record is None or record["ProcessingStatus"] != "failed" or record["ExecutionArn"] != execution:
        logger.info("Not this execution's image, or finished", recorded=recorded)
        return {"recorded": recorded, "notice": "none"}
    correlation = record["CorrelationId"]
    logger.append_keys(correlation_id=correlation)
    notice = notices.failed_image(
        image_id,
        key=key,
        error=error,
        cause=cause,
        execution_arn=execution,
        correlation_id=correlation,
        stage=settings.required("STAGE"),
    )
    outcome = notifier.tell_once(table, settings.required("NOTICES_TOPIC_ARN"), image_id, notice)
    logger.warning("Failure is on record", error=error, recorded=recorded)
    return {"recorded": recorded, "notice": outcome}
