"""FailureRecorder: puts every execution that failed, timed out or was stopped on record, and notifies operators.

It is called twice. The state Record Failure calls it for what the state machine can catch. The rule on failed
executions (ExecutionFailed in template.yaml) calls it when the execution has ended, also for what no state can catch: a
timeout of the whole machine, a stop by hand, data too large, an error of the runtime. Both send the same event, and
the second call finds the work done.

Executions of the review workflow come here in the same way: operators are notified, and the image stays as it is.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.rules import text
from pet_detector.rules.errors import ERROR_OF_STATUS
from pet_detector.rules.execution_input import VerdictRef, subject_of, verdict_of
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import failures
from pet_detector.use_cases.failures import Failure, Operators


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
    """`recorded`: the record was changed to failed; `notice`: sent, already_sent, unconfirmed, in_digest
    or none."""

    recorded: bool
    notice: str


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Records the failure of the execution that the event names, unless its input names no image."""
    detail = event["detail"]
    logger.append_keys(execution_id=detail["executionArn"])
    subject = subject_of(detail["input"]) or verdict_of(detail["input"])
    if subject is None:
        logger.error("An execution failed whose input names no image", status=detail["status"])
        return {"recorded": False, "notice": "none"}
    logger.append_keys(image_id=subject.image_id)
    error = detail.get("error") or ERROR_OF_STATUS.get(detail["status"], "States.Runtime")
    cause = text.message_of(detail.get("cause") or f"The execution ended as {detail['status']}.", error)
    operators = Operators(
        settings.required("DETECTION_LOGS_TABLE_NAME"),
        settings.required("NOTICES_TOPIC_ARN"),
        settings.required("STAGE"),
        int(settings.required("NOTICE_BURST")),
        int(settings.required("IMAGE_RETENTION_DAYS")),
    )
    if isinstance(subject, VerdictRef):
        done = failures.record_verdict(operators, subject, detail["executionArn"], error, cause)
    else:
        done = failures.record(operators, Failure(subject, detail["executionArn"], error, cause))
    return {"recorded": done.changed, "notice": done.notice}
