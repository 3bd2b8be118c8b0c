"""RegisterImages: the state Register Images of the backfill. Copies a batch of objects in, each once."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Literal, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs
from pet_detector.rules.backfill import Source
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import backfill
from pet_detector.use_cases.backfill import Outcome


class Item(TypedDict):
    """An object as the Distributed Map lists it. `etag` may have quotes."""

    key: str
    size: int
    etag: str
    storageClass: str


class Event(TypedDict):
    """A batch: objects of one bucket, and the name of the backfill's execution."""

    bucket: str
    backfill: str
    items: list[Item]


class Answer(TypedDict, total=False):
    """`registered`, with how many by outcome; else call again with the same batch at `until` (RFC 3339).

    `wait`: for the schedule; `busy`: another attempt may still be copying.
    """

    outcome: Literal["registered", "wait", "busy"]
    until: str
    counts: dict[str, int]


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Answer:
    """Registers the batch, or says until when to wait for the schedule or for another attempt.

    Raises AccessDeniedError when every picture of the batch is denied, as a right is missing then, and the other errors
    of AWS at once. What was registered stays so.
    """
    logger.append_keys(correlation_id=event["backfill"])
    resources = backfill.Resources(
        bucket=settings.required("IMAGE_BUCKET_NAME"),
        table=settings.required("DETECTION_LOGS_TABLE_NAME"),
        analyses=settings.required("ANALYSES_TABLE_NAME"),
        a_day=int(settings.required("DAILY_ANALYSIS_LIMIT")),
        calls_per_second=float(settings.required("REKOGNITION_CALLS_PER_SECOND")),
    )
    if until := backfill.waits_until(resources):
        return _again("wait", until)
    counts: Counter[str] = Counter()
    busy_until, denied = 0.0, None
    for item in event["items"]:
        source = Source(
            event["bucket"], item["key"], item["etag"].strip('"'), int(item["size"]), item.get("storageClass", "")
        )
        found = backfill.register_object(resources, source, event["backfill"])
        denied = found.error or denied
        counts[found.outcome.value] += 1
        busy_until = max(busy_until, found.until if found.outcome is Outcome.BUSY else 0.0)
    logger.info("Batch registered", counts=counts)
    if denied and not counts.keys() - {Outcome.DENIED.value, Outcome.SKIPPED.value}:
        raise denied
    return _again("busy", busy_until) if busy_until else {"outcome": "registered", "counts": dict(counts)}


def _again(outcome: Literal["wait", "busy"], until: float) -> Answer:
    return {"outcome": outcome, "until": detection_logs.format_time(datetime.fromtimestamp(until, UTC))}
