"""Cells that are more than one broken call: events repeated and out of order, images overwritten, repeated or deleted
while they are processed, executions stopped after each state, workers killed, and everything stopped at once.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.waiting import wait_for

from .cells import FILE, READ_TO_FILE, Case, Cell, Expected, Phase, Upload, failed, picture

REVIEW = Expected("needs_review", "others", reviews=1)
DENIED = {"error": {"code": "AccessDenied", "status": 403}}
# Long enough to do something meanwhile on a busy machine.
HELD = {"latency": 3000, "times": 1}
HANGS = {"timeout_ms": 60_000, "times": 1}


def finished(case: Case, executions: list[str]) -> list[str]:
    """Wait for executions; their statuses."""

    def statuses() -> list[str]:
        return [str(case.rig.sfn.describe_execution(executionArn=arn)["status"]) for arn in executions]

    wait_for(lambda: "RUNNING" not in statuses(), 120)
    return statuses()


def wait_for_the_end(case: Case, upload: Upload) -> None:
    """Until the image is no longer being processed."""
    case.require(
        wait_for(lambda: case.rig.status(upload.image_id) not in ("", "processing"), 120), "the image never ended"
    )


# --- Events ----------------------------------------------------------------------------------------------------------


def five_at_once(case: Case) -> None:
    case.require(set(finished(case, case.start(case.put_before, 5))) == {"SUCCEEDED"}, "a repeated event failed")


def four_more_later(case: Case) -> None:
    upload = case.put()
    wait_for_the_end(case, upload)
    case.require(set(finished(case, case.start(upload, 4))) == {"SUCCEEDED"}, "a repeated event failed")


def newer_event_first(key: Callable[[Case], str]) -> Callable[[Case], None]:
    """Version 2's event arrives before version 1's."""

    def act(case: Case) -> None:
        with case.rig.uploads_ignored():
            first = case.put(key(case))
            second = case.put(key(case), picture("cat", uuid.uuid4().hex))
        finished(case, case.start(second))
        case.require(finished(case, case.start(first)) == ["SUCCEEDED"], "the older event failed")
        if first.image_id == second.image_id:  # the key names one image, and that is version 2
            case.rig.reconcile()
            case.superseded(first, second)

    return act


def overwritten(case: Case) -> None:
    rule = case.inject("s3", "GetObject", HELD)
    first = case.put()
    case.wait_for_fault(rule)
    second = case.put(data=picture("cat", uuid.uuid4().hex))
    wait_for_the_end(case, first)
    version = case.rig.record(first.image_id)["SourceVersion"]["S"]
    case.require(version == first.version, "the record is about the other version")
    case.rig.reconcile()
    case.superseded(second, first)


def overwritten_in_place(case: Case) -> None:
    """Versioning is suspended, so nothing but the condition of the read tells the new bytes from those analysed."""
    with case.rig.versioning_suspended():
        rule = case.inject("s3", READ_TO_FILE, HELD)
        upload = case.put()
        case.wait_for_fault(rule)
        upload.picture = "uncertain"
        data = picture(upload.picture, uuid.uuid4().hex)
        case.rig.s3.put_object(Bucket=case.rig.bucket, Key=upload.key, Body=data)
        wait_for_the_end(case, upload)


def overwritten_before_redrive(case: Case) -> None:
    """The claim fails for good, the key is written again, and the redrive must still mean the first version."""
    key = f"input/holiday {case.image_id}.jpg"
    with case.rig.uploads_ignored():
        first = case.put(key)
        second = case.put(key, picture("cat", uuid.uuid4().hex))
    finished(case, case.start(first))
    second.expected = Expected()
    case.rig.reconcile()


# --- A new bucket, whose versioning is not yet effective --------------------------------------------------------------


def event_without_version(case: Case) -> None:
    """The object has version null, and its event names none. The Reconciler knows it by the same ImageID."""
    with case.rig.versioning_suspended(), case.rig.uploads_ignored():
        upload = case.put(f"input/holiday {case.image_id}.jpg")
    document = {"source": "aws.s3", "detail": {"object": {"key": upload.key}}}
    finished(case, [case.rig.start_execution(document)])
    case.rig.reconcile()


def not_yet_visible(operation: str) -> Callable[[Case], None]:
    """S3 answers twice that there is no such object."""

    def act(case: Case) -> None:
        missing = {"error": {"code": "NoSuchKey", "status": 404}, "times": 2}
        rule = case.inject("s3", operation, missing)
        case.put()
        case.wait_for_fault(rule, times=2)

    return act


# --- The same bytes --------------------------------------------------------------------------------------------------


def _twice(case: Case, *, at_once: bool) -> None:
    other = uuid.uuid4().hex
    case.name_also(other)
    calls = case.inject("rekognition", "DetectLabels", {})  # breaks nothing: it counts
    first = case.put()
    if not at_once:
        wait_for_the_end(case, first)
    second = case.put(f"input/{other}.jpg")
    wait_for_the_end(case, first)
    wait_for_the_end(case, second)
    made = case.rig.rekognition.fired(calls)
    case.require(made == 1, f"Rekognition was asked {made} times")
    reused = [case.rig.record(u.image_id).get("AnalysisReused", {}).get("BOOL") for u in (first, second)]
    case.require(sorted(map(str, reused)) == ["False", "True"], f"AnalysisReused is {reused}")


def asked_once_whether_safe(throttle: dict[str, Any]) -> Callable[[Case], None]:
    """The second of the two calls in a turn is throttled twice: the first one is not paid for again."""

    def act(case: Case) -> None:
        calls = case.inject("rekognition", "DetectModerationLabels", {})  # breaks nothing: it counts
        case.inject("rekognition", "DetectLabels", {**throttle, "times": 2})
        wait_for_the_end(case, case.put())
        made = case.rig.rekognition.fired(calls)
        case.require(made == 1, f"Rekognition was asked {made} times whether the picture is safe")

    return act


# --- Deleted while it is processed -----------------------------------------------------------------------------------


def deleted(operation: str, *, marker: bool) -> Callable[[Case], None]:
    """The object (or, with `marker`, only its key) is deleted while a call about it waits."""

    def act(case: Case) -> None:
        rule = case.inject("s3", operation, HELD)
        upload = case.put()
        case.wait_for_fault(rule)
        version = {} if marker else {"VersionId": upload.version}
        case.rig.s3.delete_object(Bucket=case.rig.bucket, Key=upload.key, **version)

    return act


# --- Stopped ---------------------------------------------------------------------------------------------------------


def stopped_in_call(service: str, operation: str, *, also: str = "", broken: bool = False) -> Callable[[Case], None]:
    """The execution is stopped while a function waits for an answer; with `broken` nobody may read the image."""

    def act(case: Case) -> None:
        if broken:
            case.inject("s3", "GetObject", DENIED)
        rule = case.inject(service, operation, HELD, also=also)
        upload = case.put()
        case.wait_for_fault(rule, service)
        case.stop(case.execution_of(upload))

    return act


def stopped_in_state(state: str, *, broken: bool = False) -> Callable[[Case], None]:
    """The execution is stopped while a direct integration is being retried."""

    def act(case: Case) -> None:
        if broken:
            case.inject("s3", "GetObject", DENIED)
        (execution,) = case.start(case.put_before)
        case.wait_for_state(execution, state)
        case.stop(execution)

    return act


def stopped_after(state: str, *, broken: bool = False) -> Callable[[Case], None]:
    """The execution is stopped when the state has done its work and does not know it: its answer was lost."""

    def is_done(case: Case) -> bool:
        if state in ("Notify Reviewers", "Record Failure"):
            return bool(case.rig.sent(case.image_id))
        return case.rig.status(case.image_id) in ("completed", "held")

    def act(case: Case) -> None:
        if broken:
            case.inject("s3", "GetObject", DENIED)
        (execution,) = case.start(case.put_before)
        case.require(wait_for(lambda: is_done(case), 60, 0.02), f"{state} was never done")
        case.stop(execution)

    return act


def _done_and_retried(state: str) -> dict[str, dict[str, Any]]:
    throw = {"Error": _throttle_of(state), "Cause": "made up"}
    later = {str(attempt): {"Throw": throw} for attempt in range(1, 5)}
    return {state: {"0": {"Throw": {**throw, "AfterCall": True}}, **later}}


def _retried(state: str) -> dict[str, dict[str, Any]]:
    throw = {"Throw": {"Error": _throttle_of(state), "Cause": "made up"}}
    return {state: {str(attempt): throw for attempt in range(5)}}


def _throttle_of(state: str) -> str:
    """How the call that a state makes is throttled: by Lambda, or by DynamoDB's on-demand table."""
    calls_lambda = state.startswith("Notify") or state == "Record Failure"
    return "Lambda.TooManyRequestsException" if calls_lambda else "DynamoDB.AmazonDynamoDBException"


# --- Killed ----------------------------------------------------------------------------------------------------------


def worker_killed(function: str, service: str, operation: str) -> Callable[[Case], None]:
    """The process that runs the function dies in the middle of a call."""

    def act(case: Case) -> None:
        rule = case.inject(service, operation, HANGS)
        case.put()
        case.wait_for_fault(rule)
        for process, name in case.rig.workers():
            if name == function:
                os.kill(int(process.name), signal.SIGKILL)

    return act


def failures_unheard(case: Case) -> AbstractContextManager[None]:
    """No execution that fails is reported inside the block."""
    return case.rig.rules_disabled(case.rig.function_arn("FailureRecorderFunction") + ":live")


def _die_in(case: Case, service: str, operation: str) -> Upload:
    rule = case.inject(service, operation, HELD)
    upload = case.put()
    case.wait_for_fault(rule)
    case.stop(case.execution_of(upload))
    case.lift()
    return upload


def age_claim(case: Case, upload: Upload) -> None:
    """Let the claim be older than the workflow can run."""
    then = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    case.rig.change_record(upload.image_id, ClaimedAt=then)


def everything_stops(operation: str) -> Callable[[Case], None]:
    """All that a lost engine takes along: the execution, the event of its end, and the image's own event."""

    def act(case: Case) -> None:
        with failures_unheard(case):
            upload = _die_in(case, "s3", operation)
        case.rig.reconcile()
        case.require(case.rig.status(upload.image_id) == "processing", "a claim that is still valid was taken over")
        wait_for(lambda: False, 4.0)  # the call that was held comes through
        age_claim(case, upload)
        case.rig.reconcile()

    return act


def nothing_left(case: Case) -> None:
    with failures_unheard(case):
        upload = _die_in(case, "s3", "GetObject")
    case.rig.s3.delete_object(Bucket=case.rig.bucket, Key=upload.key, VersionId=upload.version)
    age_claim(case, upload)
    case.rig.reconcile()


def taken_over_by_another_version(case: Case) -> None:
    """The dead claim is about version 1 of the key; version 2's event comes before the Reconciler."""
    with failures_unheard(case):
        first = _die_in(case, "s3", "GetObject")
    with case.rig.uploads_ignored():
        second = case.put(data=picture("cat", uuid.uuid4().hex))
    age_claim(case, first)
    case.require(finished(case, case.start(second)) == ["SUCCEEDED"], "the other version's execution failed")
    case.require(case.rig.status(first.image_id) == "processing", "the other version took the claim over")
    case.rig.reconcile()
    present = (second.key, second.version) in case.rig.objects(second.key)
    case.require(present, "it was removed before the image was final")
    wait_for_the_end(case, first)
    case.rig.reconcile()
    case.superseded(second, first)


def failure_unheard(case: Case) -> None:
    with failures_unheard(case):
        case.inject("s3", "GetObject", DENIED)
        case.start(case.put_before)
        wait_for_the_end(case, case.put_before)


def event_lost_then_late(case: Case) -> None:
    with case.rig.uploads_ignored():
        upload = case.put()
    case.rig.reconcile()
    case.rig.reconcile()
    finished(case, case.start(upload))


# --- The table -------------------------------------------------------------------------------------------------------

_GONE = failed("ImageNotFoundError", gone=True, folder="cats")
_ABORTED = failed("ExecutionAborted")
_ABORTED_LATE = failed("ExecutionAborted", "others", reviews=1)
_CELLS = [
    Cell("event", "five times at once", five_at_once, REVIEW, "uncertain", events=False),
    Cell("event", "four times more, later", four_more_later, REVIEW, "uncertain"),
    Cell("event", "lost, reconciled twice, then late", event_lost_then_late, REVIEW, "uncertain"),
    # The state machine's own catchers, without the rule on failed executions behind them.
    Cell("event", "of the failure is lost", failure_unheard, failed("AccessDeniedError"), events=False),
    Cell("event", "of version 2 before version 1 (API's key)", newer_event_first(lambda c: c.key), Expected()),
    Cell(
        "event",
        "of version 2 before version 1 (any key)",
        newer_event_first(lambda c: f"input/my cat+{c.image_id}.jpg"),
        Expected(),
    ),
    Cell("event", "without a version, from S3 (a new bucket)", event_without_version, Expected()),
    Cell("image", "not yet visible (404) twice when it is read", not_yet_visible("GetObject"), Expected()),
    Cell("image", "not yet visible (404) twice when it is moved", not_yet_visible(READ_TO_FILE), Expected()),
    Cell("image", "overwritten while processing", overwritten, Expected()),
    Cell(
        "image",
        "overwritten before its redrive",
        overwritten_before_redrive,
        failed("DynamoDB.AmazonDynamoDBException"),
        mocks={"Claim Upload": {**_retried("")[""], "5": _retried("")[""]["0"]}},
    ),
    Cell(
        "image",
        "overwritten before it is moved, no versions",
        overwritten_in_place,
        failed("ImageChangedError"),
    ),
    Cell("image", "same bytes under two keys at once", lambda c: _twice(c, at_once=True), Expected()),
    Cell("image", "same bytes again later", lambda c: _twice(c, at_once=False), Expected()),
    Cell("image", "deleted before it is read", deleted("GetObject", marker=False), _GONE),
    Cell("image", "deleted before it is moved", deleted(READ_TO_FILE, marker=False), _GONE),
    Cell("image", "key deleted (marker) while processing", deleted("GetObject", marker=True), Expected()),
    Cell(
        "stop",
        "in Claim Upload",
        stopped_in_state("Claim Upload"),
        _ABORTED,
        mocks=_retried("Claim Upload"),
        events=False,
    ),
    Cell("stop", "after Claim Upload", stopped_in_call("s3", "GetObject"), _ABORTED),
    Cell("stop", "in Analyze Image", stopped_in_call("rekognition", "DetectLabels"), _ABORTED),
    Cell("stop", "after Cat, Dog or Other?", stopped_in_call("s3", READ_TO_FILE), replace(_ABORTED, folder="input")),
    Cell("stop", "in Move Image, filed", stopped_in_call("s3", "DeleteObject"), _ABORTED),
    Cell(
        "stop",
        "after Move Image",
        stopped_in_state("Log Detection"),
        replace(_ABORTED, folder="cats"),
        mocks=_retried("Log Detection"),
        events=False,
    ),
    Cell(
        "stop",
        "after Certain Enough?",
        stopped_in_call("dynamodb", "UpdateItem", also="NoticeClaim"),
        _ABORTED_LATE,
        "uncertain",
    ),
    Cell(
        "stop",
        "in Hold Image",
        stopped_in_state("Hold Image"),
        _ABORTED,
        mocks=_retried("Hold Image"),
        events=False,
        phase=Phase.LIMITED,
    ),
    Cell(
        "stop",
        "after Hold Image",
        stopped_after("Hold Image"),
        Expected("held", "input"),
        mocks=_done_and_retried("Hold Image"),
        events=False,
        phase=Phase.LIMITED,
    ),
    Cell(
        "stop",
        "after Log Detection",
        stopped_after("Log Detection"),
        Expected(),
        mocks=_done_and_retried("Log Detection"),
        events=False,
    ),
    # Reviewers are notified, and the record is not final yet: the redrive must not notify them again.
    Cell("stop", "in Notify Reviewers", stopped_in_call("sns", "Publish"), _ABORTED_LATE, "uncertain"),
    Cell(
        "stop",
        "after Notify Reviewers",
        stopped_after("Notify Reviewers"),
        _ABORTED_LATE,
        "uncertain",
        mocks=_done_and_retried("Notify Reviewers"),
        events=False,
    ),
    Cell(
        "stop",
        "in Record Failure",
        stopped_in_state("Record Failure", broken=True),
        _ABORTED,
        mocks=_retried("Record Failure"),
        events=False,
    ),
    Cell(
        "stop",
        "in Record Failure, recorded",
        stopped_in_call("dynamodb", "UpdateItem", also="NoticeClaim", broken=True),
        failed("AccessDeniedError"),
    ),
    Cell(
        "stop",
        "in Record Failure, notifying",
        stopped_in_call("sns", "Publish", broken=True),
        failed("AccessDeniedError"),
    ),
    Cell(
        "stop",
        "after Record Failure",
        stopped_after("Record Failure", broken=True),
        failed("AccessDeniedError"),
        mocks=_done_and_retried("Record Failure"),
        events=False,
    ),
    Cell(
        "kill",
        "ImageProcessor while it reads",
        worker_killed("ImageProcessorFunction", "s3", "GetObject"),
        Expected(),
    ),
    Cell(
        "kill",
        "FileManager while it files",
        worker_killed("FileManagerFunction", "s3", FILE),
        Expected(),
    ),
    Cell(
        "kill",
        "NotificationService while it publishes",
        worker_killed("NotificationServiceFunction", "sns", "Publish"),
        replace(REVIEW, reviews=0),
        "uncertain",
    ),
    Cell("everything stops", "in Analyze Image, then reconciled", everything_stops("GetObject"), Expected()),
    Cell(
        "everything stops",
        "in Move Image, then reconciled",
        everything_stops("DeleteObject"),
        failed("ExecutionLost", "cats"),
    ),
    Cell("everything stops", "and the key is written again", taken_over_by_another_version, Expected()),
    Cell("everything stops", "and the object is gone", nothing_left, failed("ExecutionLost", "cats", gone=True)),
]


def _is_alone(cell: Cell) -> bool:
    """Whether a cell stops events or workers, reconciles, or must be quick: a busy machine is late for a stop."""
    if cell.phase is Phase.LIMITED:
        return False
    return cell.call in ("stop", "kill", "everything stops") or any(
        word in cell.fault for word in ("overwritten", "version 2", "lost", "same bytes", "without a version")
    )


STORIES = [replace(cell, phase=Phase.ALONE) if _is_alone(cell) else cell for cell in _CELLS]
