"""What to do about an image: a sentence and the commands. docs/operations.md has the whole runbooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ops import records
from pet_detector.aws import detection_logs
from pet_detector.rules.models import Record, Status

_RECONCILE = "petdetect reconcile --older-than 0"

_THEN_REDRIVE = "then redrive it"

# One sentence per error that a record can hold; the heading of its runbook is the same name.
BY_ERROR = {
    "ThrottledError": f"An AWS service throttled the calls for minutes: wait until the load is over, {_THEN_REDRIVE}.",
    "ServiceError": f"An AWS service failed or did not answer: see whether it works again, {_THEN_REDRIVE}.",
    "AccessDeniedError": f"A permission is missing or was removed: restore it, {_THEN_REDRIVE}.",
    "ImageNotFoundError": f"The object was deleted or never arrived: put it back under its key, {_THEN_REDRIVE}.",
    "ImageChangedError": f"The object was replaced while it was analysed: nothing to fix, {_THEN_REDRIVE}.",
    "ConversionFailedError": f"The decoder did not start: deploy ConvertImage as it should be, {_THEN_REDRIVE}.",
    "PolicyInvalidError": f"The detection policy parameter is missing or not usable: correct it, {_THEN_REDRIVE}.",
    "AnalysisInProgressError": f"Another execution was analysing the same bytes for minutes: {_THEN_REDRIVE}.",
    "SettingMissingError": f"A function lacks an environment variable: deploy the whole stack again, {_THEN_REDRIVE}.",
    "States.Timeout": f"A step, or the whole execution, took longer than it may: see which step, {_THEN_REDRIVE}.",
    "ExecutionAborted": f"Somebody stopped the execution: ask why, {_THEN_REDRIVE}.",
    "ExecutionLost": f"The execution disappeared: if its object is gone, put it back, {_THEN_REDRIVE}.",
    "States.Runtime": f"The state machine could not evaluate its definition: fix and deploy it, {_THEN_REDRIVE}.",
    "States.DataLimitExceeded": f"A state's data was too large: find out which, fix and deploy, {_THEN_REDRIVE}.",
}
OTHERWISE = f"An unexpected error: read the cause and the functions' logs, fix what they name, {_THEN_REDRIVE}."

HELD = (
    "The daily limit of analysed images was reached. The reconciler starts it after 0:00 UTC; to pay for it today, "
    "release it."
)
RUNBOOK_OF_HELD = "docs/operations.md#daily-limit-reached"
RUNBOOK_OF_UNSAFE = "docs/operations.md#unsafe-content"


def for_error(error: str) -> str:
    """One sentence about what to do, for an image that failed with `error`."""
    if error.startswith("DynamoDB."):
        return BY_ERROR["ServiceError"]
    if error.startswith("Lambda.") or error == "Sandbox.Timedout":
        return f"A function could not be run to its end: look at its logs, {_THEN_REDRIVE}."
    return BY_ERROR.get(error, OTHERWISE)


def runbook(error: str) -> str:
    """Where the runbook of an error is, as a file and a heading's anchor."""
    heading = error if error in BY_ERROR else "any-other-error"
    return f"docs/operations.md#{heading.lower().replace('.', '')}"


def of(record: Record, place: tuple[str, str] | None, *, is_running: bool) -> tuple[str, list[str]]:
    """(what to do, the commands for it). `place` is (key, version) of the image's object, None when it is gone;
    `is_running` says that an execution works on the image.
    """
    image_id, status = record["ImageID"], record.get("ProcessingStatus")
    if status is None:
        return "No record could be written; operators were notified. The Reconciler starts it within 15 minutes.", [
            _RECONCILE
        ]
    if status == Status.UPLOADING:
        if place:
            return "It was uploaded and nothing has started: the event is late or lost.", [_RECONCILE]
        return "It is not uploaded yet. The upload form expires; a day later the record does. Nothing to do.", []
    if status == Status.PROCESSING:
        return (_of_a_running_execution(record), []) if is_running else _of_an_expired_claim(record)
    if status == Status.FAILED:
        return _of_failed(record, place)
    if status == Status.HELD:
        if place is None:
            return "It was held by the daily limit, and its object is gone: a release needs it back.", []
        return HELD, [f"petdetect release {image_id}"]
    if place is None:
        return "It is finished, and its object is gone: deleted, or expired by the bucket's lifecycle.", []
    if status == Status.NEEDS_REVIEW:
        return "A person should look at it and decide.", []
    return "Nothing: it is finished.", []


def coming_turn(record: Record) -> datetime | None:
    """When the turn to be analysed comes of an image that waits for it."""
    turn = records.moment(record.get("TurnAt")) if record.get("ProcessingStatus") == Status.PROCESSING else None
    return turn if turn and turn > datetime.now(UTC) else None


def _of_a_running_execution(record: Record) -> str:
    if turn := coming_turn(record):
        return (
            f"Its turn comes at {turn:%Y-%m-%d %H:%M:%S} UTC: wait. More images come than RekognitionCallsPerSecond "
            "allows."
        )
    return "An execution works on it: wait."


def _of_failed(record: Record, place: tuple[str, str] | None) -> tuple[str, list[str]]:
    image_id = record["ImageID"]
    sentence = for_error(records.error_of(record)[0])
    if place is None:
        if detection_logs.is_dismissed(record):
            return "Nothing: its object is gone, and it was dismissed. Its record expires.", []
        gone = "Its object is gone: a redrive needs it back. When it is gone for good, dismiss it:"
        return f"{sentence} {gone}", [f"petdetect dismiss {image_id}"]
    if records.replaced_version(record, place):
        sentence = "Its own object version is gone, and another one lies under its key: a redrive takes that one."
    return sentence, [f"petdetect redrive {image_id}"]


def _of_an_expired_claim(record: Record) -> tuple[str, list[str]]:
    begins = "Its"
    if claimed := records.moment(detection_logs.claim_counts_from(record)):
        begins = f"From {claimed + timedelta(seconds=detection_logs.CLAIM_SECONDS):%Y-%m-%d %H:%M} UTC on its"
    return f"No execution works on it any more. {begins} claim has expired, and the reconciler starts it.", [_RECONCILE]
