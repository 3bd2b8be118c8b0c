"""ImageProcessor: the state Analyze Image. Checks the picture, asks Rekognition, applies the policy."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs, image_bucket, policy_parameter
from pet_detector.rules import image_format
from pet_detector.rules.models import Rejection
from pet_detector.rules.policy import decide
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger
from pet_detector.use_cases.analyser import Limits, Picture, Waiting, analyse_once


class Event(TypedDict):
    """Without `versionId`, or with an empty one, the newest version is meant: an execution was started by hand.

    `overLimit` lets an image that an operator released pass the daily limits. `uploadedBy` is the record's.
    """

    imageId: str
    executionArn: str
    correlationId: str
    key: str
    versionId: NotRequired[str]
    overLimit: NotRequired[bool]
    uploadedBy: NotRequired[str]


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Returns what Log Detection writes and Move Image needs; `outcome` is classified, rejected, or as follows.

    Convert: Rekognition cannot read its format; a JPEG is to be made of it, and that analysed. Waiting: the image has
    to be analysed again at the time in `until`, when its turn to ask Rekognition comes. Held: a limit of today's
    analyses is reached; the answer has nothing else then.
    Raises ThrottledError, ServiceError and AnalysisInProgressError (the state machine retries), and AccessDeniedError,
    ImageNotFoundError, PolicyInvalidError (the image fails).
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    stored = image_bucket.read(bucket, event["key"], event.get("versionId") or None)
    facts: dict[str, Any] = {"fileSize": stored.size, "etag": stored.etag, "versionId": stored.version_id}
    if stored.data is None:
        return _rejected(facts, image_format.too_large(stored.size))
    facts["contentHash"] = stored.content_hash
    header = image_format.inspect(stored.data)
    if isinstance(header, Rejection):
        return _rejected(facts, header)
    if header.format.is_converted:
        return facts | {"outcome": "convert", "imageFormat": header.format.value, "extension": "bin"}
    facts |= {"imageFormat": header.format.value, "extension": header.format.value}
    if stored.converted_from:
        facts |= {"imageFormat": stored.converted_from, "convertedHash": hashlib.sha256(stored.data).hexdigest()}
    picture = Picture(bucket, event["key"], stored.version_id, facts["contentHash"])
    is_released = bool(event.get("overLimit"))
    limits = Limits(
        calls_per_second=float(settings.required("REKOGNITION_CALLS_PER_SECOND")),
        a_day=0 if is_released else int(settings.required("DAILY_ANALYSIS_LIMIT")),
        a_day_per_key=0 if is_released else int(settings.required("DAILY_ANALYSIS_LIMIT_PER_KEY")),
    )
    table = settings.required("ANALYSES_TABLE_NAME")
    rejects_unsafe = settings.required("CONTENT_SAFETY") == "reject"
    analysis = analyse_once(
        table,
        picture,
        owner=event["imageId"],
        limits=limits,
        uploaded_by=event.get("uploadedBy", ""),
        unsafe_from=float(settings.required("CONTENT_SAFETY_CONFIDENCE")) if rejects_unsafe else None,
    )
    if analysis is None:
        return {"outcome": "held"}
    if isinstance(analysis, Waiting):
        return _waiting(event, analysis)
    if isinstance(analysis, Rejection):
        return _rejected(facts, analysis)
    recognition = analysis.recognition
    if rejects_unsafe and recognition.moderation:
        facts["moderationVersion"] = recognition.moderation.model_version
    policy = policy_parameter.current(settings.required("POLICY_PARAMETER_NAME"))
    decision = decide(recognition.labels, policy)
    logger.info("Image classified", animal=decision.animal, confidence=decision.confidence, certain=decision.certain)
    return facts | {
        "outcome": "classified",
        "animal": decision.animal.value,
        "confidence": round(decision.confidence, 2),
        "certain": decision.certain,
        "reason": decision.reason,
        "scores": {"cat": round(decision.scores.cat, 2), "dog": round(decision.scores.dog, 2)},
        "labels": [{"name": label.name, "confidence": label.confidence} for label in recognition.labels],
        "reused": analysis.reused,
        "policyVersion": policy.version,
        "modelVersion": recognition.model_version,
    }


def _waiting(event: Event, waiting: Waiting) -> dict[str, Any]:
    table = settings.required("DETECTION_LOGS_TABLE_NAME")
    detection_logs.expect_turn(table, event["imageId"], execution_arn=event["executionArn"], at=waiting.until)
    until = datetime.fromtimestamp(waiting.wake_up, UTC)
    logger.info("Image waits for its turn", until=until.isoformat())
    return {"outcome": "waiting", "until": until.isoformat().replace("+00:00", "Z")}


def _rejected(facts: dict[str, Any], rejection: Rejection) -> dict[str, Any]:
    logger.info("Image rejected", reason_code=rejection.code)
    # What is not a picture gets a name that no browser tries to show.
    defaults = {"contentHash": "", "imageFormat": "unknown", "extension": "bin"}
    return defaults | facts | {"outcome": "rejected", "reasonCode": rejection.code.value, "reason": rejection.reason}
