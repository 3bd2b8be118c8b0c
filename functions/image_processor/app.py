"""ImageProcessor: the state Analyze Image. Checks the picture, asks the recognizer, applies the policy."""

from __future__ import annotations

import hashlib
from typing import Any, NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector import analyses, image_format, images, policy_parameter, recognizer, settings
from pet_detector.errors import PetDetectorError, ServiceError, ThrottledError
from pet_detector.models import Rejection
from pet_detector.observability import bind, count, logger
from pet_detector.policy import decide
from pet_detector.recognizer import Recognition


class Event(TypedDict):
    """`versionId` may be missing or empty when a person starts an execution: the newest version is meant.

    `overLimit` lets an image pass the daily limit: an operator released it.
    """

    imageId: str
    executionArn: str
    correlationId: str
    key: str
    versionId: NotRequired[str]
    overLimit: NotRequired[bool]


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """Returns what Log Detection writes and Move Image needs; `outcome` is `classified`, `rejected` or `held`.

    Held: today's limit of analyses is reached, and nothing else is in the answer.
    Raises ThrottledError, ServiceError and AnalysisInProgressError (the state machine retries), and AccessDeniedError,
    ImageNotFoundError, PolicyInvalidError (the image fails).
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    stored = images.read(bucket, event["key"], event.get("versionId") or None)
    facts: dict[str, Any] = {"fileSize": stored.size, "etag": stored.etag, "versionId": stored.version_id}
    if stored.data is None:
        return _rejected(facts, image_format.too_large(stored.size))
    facts["contentHash"] = hashlib.sha256(stored.data).hexdigest()
    header = image_format.inspect(stored.data)
    if isinstance(header, Rejection):
        return _rejected(facts, header)
    facts |= {"imageFormat": header.format.value, "extension": header.format.extension}
    recognition = analyses.begin(settings.required("ANALYSES_TABLE_NAME"), facts["contentHash"], event["executionArn"])
    reused = recognition is not None
    if recognition is None:
        answer = ask_rekognition(event, stored.version_id, facts["contentHash"])
        if answer is None:
            return {"outcome": "held"}
        if isinstance(answer, Rejection):
            return _rejected(facts, answer)
        recognition = answer
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
        "reused": reused,
        "policyVersion": policy.version,
        "modelVersion": recognition.model_version,
    }


def ask_rekognition(event: Event, version_id: str, content_hash: str) -> Recognition | Rejection | None:
    """What Rekognition says of an object version, stored for the same bytes; None above the daily limit of analyses.

    Where there is no answer to store, the lease on the bytes ends, so that others may ask. After a ServiceError
    there may be one, lost on its way. Raises what `recognize` raises.
    """
    table, owner = settings.required("ANALYSES_TABLE_NAME"), event["executionArn"]
    limit = 0 if event.get("overLimit") else int(settings.required("DAILY_ANALYSIS_LIMIT"))
    if not analyses.spend(table, limit):
        analyses.give_up(table, content_hash, owner)
        logger.info("Image held: the daily limit of analyses is reached")
        return None
    try:
        answer = recognizer.recognize(settings.required("IMAGE_BUCKET_NAME"), event["key"], version_id)
    except PetDetectorError as error:
        if isinstance(error, ThrottledError):
            analyses.take_back(table, limit)
        if not isinstance(error, ServiceError):  # certainly no answer: nobody needs to wait for it
            analyses.give_up(table, content_hash, owner)
        raise
    if isinstance(answer, Rejection):
        analyses.give_up(table, content_hash, owner)
    else:
        count("RekognitionCall")
        analyses.finish(table, content_hash, answer)
    return answer


def _rejected(facts: dict[str, Any], rejection: Rejection) -> dict[str, Any]:
    logger.info("Image rejected", reason_code=rejection.code)
    # What is not a JPEG or PNG is kept under a name that no browser will try to show.
    defaults = {"contentHash": "", "imageFormat": "unknown", "extension": "bin"}
    return defaults | facts | {"outcome": "rejected", "reasonCode": rejection.code.value, "reason": rejection.reason}
