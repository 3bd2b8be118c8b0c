"""The business metrics that follow from a change of a record. They come from nowhere else.

They are derived from the table, not from what functions did: a retry counts nothing twice, and the metrics of a day
agree with the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from pet_detector.rules import prices
from pet_detector.rules.models import BACKFILL, ERASED, Measurement, ReasonCode, Record, Status

_NOT_RECEIVED = (None, Status.UPLOADING)
# From one to the other leads a verdict of a person, or its undo: the image was classified before.
_DECIDED = {Status.COMPLETED, Status.NEEDS_REVIEW}


def measurements(old: Record | None, new: Record | None) -> Iterator[Measurement]:
    """The metrics of a change from `old` to `new`; none when the status is the same, when a person decided, when the
    record expired or was erased, or when one that was lost was rebuilt: it was counted when the image was classified.
    """
    was, status = _status(old), _status(new)
    if new is None or status is None or status == was or {was, status} == _DECIDED or "RebuiltAt" in new:
        return
    if was is None and new.get("UploadedBy") == BACKFILL:
        yield Measurement("ImageRegistered")
    if was in _NOT_RECEIVED and status is not Status.UPLOADING:
        yield Measurement("ImageReceived")
    match status:
        case Status.COMPLETED | Status.NEEDS_REVIEW:
            yield Measurement("ImageClassified", dimension=("Animal", new["DetectedAnimal"]))
            yield Measurement("ConfidenceScore", float(new["ConfidenceScore"]), "Percent")
            if status is Status.NEEDS_REVIEW:
                yield Measurement("ImageUncertain")
            if new.get("AnalysisReused"):
                yield Measurement("AnalysisReused")
            asked = not new.get("AnalysisReused")
            yield from _finished(new, analysed=asked, moderated=asked and "ModerationVersion" in new)
        case Status.REJECTED:
            yield Measurement("ImageRejected", dimension=("ReasonCode", new["ReasonCode"]))
            # The labels of an unsafe picture are not asked for.
            yield from _finished(new, analysed=False, moderated=new["ReasonCode"] == ReasonCode.UNSAFE_CONTENT)
        case Status.FAILED:
            yield Measurement("ImageFailed")
        case Status.HELD:
            yield Measurement("ImageHeld")


def _finished(record: Record, *, analysed: bool, moderated: bool) -> Iterator[Measurement]:
    if "ReceivedAt" in record:
        # An image that has to wait for its turn is not late: how long it waits is a matter of Rekognition's quota.
        begins = [datetime.fromisoformat(record[name]) for name in ("ReceivedAt", "TurnAt") if name in record]
        taken = datetime.fromisoformat(record["UpdatedAt"]) - max(begins)
        yield Measurement("ProcessingTime", max(0.0, taken.total_seconds() * 1000), "Milliseconds")
    waited = "TurnAt" in record
    if waited:
        yield Measurement("ImageWaited")
    uncertain = record["ProcessingStatus"] == Status.NEEDS_REVIEW
    cost = prices.image_cost(analysed=analysed, uncertain=uncertain, waited=waited, moderated=moderated)
    yield Measurement("EstimatedCost", cost, "None")


def _status(record: Record | None) -> Status | None:
    text = record.get("ProcessingStatus") if record else None  # a record that only remembers a notice has none
    return Status(text) if text and text != ERASED else None
