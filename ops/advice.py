"""What to do about a failed image, by the name of its error. Pure words; docs/operations.md has the whole runbooks."""

from __future__ import annotations

_THEN_REDRIVE = "then redrive it"

# One sentence per error that a record can hold; the heading of its runbook is the same name.
BY_ERROR = {
    "ThrottledError": f"An AWS service throttled the calls for minutes: wait until the load is over, {_THEN_REDRIVE}.",
    "ServiceError": f"An AWS service failed or did not answer: see whether it works again, {_THEN_REDRIVE}.",
    "AccessDeniedError": f"A permission is missing or was removed: restore it, {_THEN_REDRIVE}.",
    "ImageNotFoundError": f"The object was deleted or never arrived: put it back under its key, {_THEN_REDRIVE}.",
    "ImageChangedError": f"The object was replaced while it was analysed: nothing to fix, {_THEN_REDRIVE}.",
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
RUNBOOK_OF_HELD = "docs/operations.md#dailylimitreached--held-images"


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
