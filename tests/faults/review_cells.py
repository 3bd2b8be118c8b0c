"""Cells of the review machine and of ReviewKeeper: a certain cat, of which somebody says that it is a dog."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support.verdicts import Verdicts
from tests.support.waiting import wait_for

from . import stories
from .cells import Case, Cell, Expected, Phase, Upload

Rules = dict[str, dict[str, Any]]
Mocks = dict[str, dict[str, Any]]

JUDGED = Expected("completed", "dogs")
_THROTTLED, _DENIED = "ThrottledError", "AccessDeniedError"
_LOST = "answer lost after the commit"


def _kept(error: str, folder: str = "cats") -> Expected:
    """The verdict is not carried out, and stands. Operators were notified; the image has not failed."""
    return Expected("completed", folder, failures=1, refused=f"the verdict is kept ({error})")


def _filed(case: Case) -> tuple[Verdicts, Upload]:
    """The image, filed by the workflow, about which nobody has decided."""
    upload = case.uploads[0] if case.uploads else case.put()
    if not case.cell.events:
        case.start(upload)
    stories.wait_for_the_end(case, upload)
    verdicts = Verdicts(case.rig)
    verdicts.put_head(upload.image_id)
    return verdicts, upload


def _decide(case: Case, verdicts: Verdicts, upload: Upload, animal: str = "dog") -> str:
    """A verdict, and the execution that is to carry it out, with this cell's mocked answers."""
    sequence = verdicts.decide(upload.image_id, animal, start=False)
    case.at_the_end.append(lambda: _is_closed(case, verdicts, upload))
    return verdicts.start(upload.image_id, sequence, test_case=case.cell.test_case if case.cell.mocks else "")


def _is_closed(case: Case, verdicts: Verdicts, upload: Upload) -> None:
    """Head and record say the same, once everything has ended: nothing is pending, claimed or lies twice."""
    verdicts.ended(upload.image_id)
    head, record = verdicts.head(upload.image_id), verdicts.record(upload.image_id)
    case.require(head["Queue"] == "done", f"the head is {head['Queue']}")
    case.require(head.get("CarriedOut") == head["Sequence"], "the head does not say that it is carried out")
    case.require(record.get("VerdictSequence") == head["Sequence"], "the record is of another verdict")
    case.require(record["DetectedAnimal"] == head["Verdict"], f"the record says {record['DetectedAnimal']}")
    case.require("ReviewClaim" not in record, "the picture is still claimed")


def _ends(case: Case, verdicts: Verdicts, upload: Upload, execution: str, error: str = "") -> None:
    """Wait for the end of the execution; if it failed, let ReviewKeeper do it when the fault is gone."""
    case.require(wait_for(lambda: not case.rig.is_running(execution), 240), "the execution of the verdict never ended")
    if error:
        described = case.rig.sfn.describe_execution(executionArn=execution)
        case.refuse(
            f"the verdict is kept ({described.get('error', described['status'])})",
            lambda: _kept_on(case, verdicts, upload),
        )


def _kept_on(case: Case, verdicts: Verdicts, upload: Upload) -> None:
    """The next run of ReviewKeeper."""
    verdicts.age(upload.image_id)
    answer = verdicts.keep()
    case.require("errorType" not in answer, f"ReviewKeeper answered {answer}")
    case.require(
        wait_for(lambda: verdicts.head(upload.image_id)["Queue"] == "done", 120), "ReviewKeeper did not have it done"
    )


def _cell(call: str, fault: str, act: Callable[[Case], None], error: str = "", **more: Any) -> Cell:
    end = more.pop("end", None) or (_kept(error, more.pop("folder", "cats")) if error else JUDGED)
    more.pop("folder", None)
    return Cell(call, fault, act, end, "judged", **more)


# --- The machine's own calls ------------------------------------------------------------------------------------------


def direct(dynamodb: Mocks, functions: Mocks, thrown: dict[str, str]) -> list[Cell]:
    """Each state x every fault; `thrown` has the errors of those that end the execution."""
    meets = {"meets the transaction of a verdict": {"0": {"Throw": {"Error": "DynamoDB.TransactionConflictException"}}}}
    rows = [
        ("GetItem: read review", "Read Review", dynamodb, "cats"),
        ("UpdateItem: claim picture", "Claim Picture", dynamodb | meets, "cats"),
        ("Invoke: FileManager for a verdict", "Move Picture", functions, "cats"),
        ("UpdateItem: log verdict", "Log Verdict", dynamodb | meets, "dogs"),
        ("UpdateItem: close review", "Close Review", dynamodb | meets, "dogs"),
    ]
    return [
        _cell(call, fault, _start_mocked, thrown.get(fault, ""), folder=folder, mocks={state: attempts}, events=False)
        for call, state, faults, folder in rows
        for fault, attempts in faults.items()
    ]


def _start_mocked(case: Case) -> None:
    verdicts, upload = _filed(case)
    _ends(case, verdicts, upload, _decide(case, verdicts, upload), case.cell.expected.refused)


def invoke_failure_recorder(functions: Mocks) -> list[Cell]:
    """Record Failure x every fault: what it cannot do, the rule on failed executions has done."""

    def act(case: Case) -> None:
        verdicts, upload = _filed(case)
        case.inject("s3", "CopyObject", stories.DENIED)
        _ends(case, verdicts, upload, _decide(case, verdicts, upload), _DENIED)

    call = "Invoke: FailureRecorder for a verdict"
    return [
        _cell(call, fault, act, _DENIED, mocks={"Record Failure": attempts}, events=False)
        for fault, attempts in functions.items()
    ]


# --- FileManager's calls ----------------------------------------------------------------------------------------------


def move(operation: str, rules: Rules, ends: dict[str, str], folder: str = "cats") -> list[Cell]:
    """A call of FileManager for a verdict x every fault; `ends` has the errors of those that end the execution."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            verdicts, upload = _filed(case)
            number = case.inject("s3", operation, rule)
            execution = _decide(case, verdicts, upload)
            case.wait_for_fault(number)
            _ends(case, verdicts, upload, execution, ends.get(fault, ""))

        return _cell(f"{operation} for a verdict", fault, act, ends.get(fault, ""), folder=folder)

    return [cell(fault, rule) for fault, rule in rules.items()]


# --- ReviewKeeper's calls ---------------------------------------------------------------------------------------------


# Whatever ends a run, the next one mends it: of the faults that look alike to ReviewKeeper, one each.
_OF_A_RUN = (
    "throttled twice, then fine",
    "throttled for good",
    "hangs once",
    _LOST,
    "access denied",
)


def keeper(dynamodb: Rules, states: Rules, sns: Rules) -> list[Cell]:
    """A verdict was not carried out, an image is in no queue, and a digest is due: a run that fails is mended by the
    next one. None of these calls names one image alone, so they run alone.
    """
    rows = [
        ("Query: verdicts to carry out", "dynamodb", "Query", dynamodb, "pending"),
        ("BatchGetItem: their records", "dynamodb", "BatchGetItem", dynamodb, "ProcessingStatus"),
        ("StartExecution: ReviewKeeper", "stepfunctions", "StartExecution", states, "sequence"),
        ("GetItem: where it stopped", "dynamodb", "GetItem", dynamodb, '"position"'),
        ("Query: uncertain images", "dynamodb", "Query", dynamodb, "StatusIndex"),
        ("BatchGetItem: heads", "dynamodb", "BatchGetItem", dynamodb, '"Entry"'),
        ("TransactWriteItems: put into the queue", "dynamodb", "TransactWriteItems", dynamodb, "."),
        ("Query: what waits", "dynamodb", "Query", dynamodb, '"COUNT"'),
        ("UpdateItem: reserve digest", "dynamodb", "UpdateItem", dynamodb, "DoneOn = :day"),
        ("Publish: review digest", "sns", "Publish", sns, "ReviewsWaiting"),
    ]
    return [
        _keeper_cell(call, fault, service, operation, rule, payload)
        for call, service, operation, rules, payload in rows
        for fault, rule in rules.items()
        if fault in _OF_A_RUN
    ]


def _keeper_cell(call: str, fault: str, service: str, operation: str, rule: dict[str, Any], payload: str) -> Cell:
    error = {"throttled for good": _THROTTLED, "access denied": _DENIED}.get(fault, "")
    if service in ("sns", "stepfunctions"):  # one attempt of each: what was refused once, the next run does
        once = {"throttled twice, then fine": _THROTTLED, "hangs once": "ServiceError", _LOST: "ServiceError"}
        error = error or once.get(fault, "")
    refused = f"the run fails ({error})" if error else ""
    # A digest whose answer was lost is sent again: twice rather than never.
    digests = 2 if service == "sns" and fault == _LOST else 1

    def act(case: Case) -> None:
        verdicts, upload = _filed(case)
        verdicts.decide(upload.image_id, "dog", start=False, minutes_ago=30)
        unseen = verdicts.in_no_queue()
        case.rig.change_record(
            unseen, ExecutionArn=verdicts.record(upload.image_id)["ExecutionArn"]
        )  # of one that ended
        case.answer_for(unseen, Expected("needs_review", "others", refused=refused))
        verdicts.forget_today()
        before = len(verdicts.digests())
        number = case.inject_everywhere(service, operation, rule, payload)
        answer = verdicts.keep()
        case.wait_for_fault(number)
        case.require(answer.get("errorType", "") == error, f"the run answered {answer}")

        def next_run() -> None:
            again = verdicts.keep()
            case.require("errorType" not in again, f"the next run answered {again}")
            verdicts.settled(upload.image_id)
            _is_closed(case, verdicts, upload)
            case.require(verdicts.head(unseen).get("Queue") in ("uncertain", "sample"), "it is in no queue")
            sent = len(verdicts.digests()) - before
            case.require(sent == digests, f"{sent} digests, not {digests}")

        case.lift()
        next_run()
        case.refused = refused

    return _cell(call, fault, act, end=replace(JUDGED, refused=refused), phase=Phase.ALONE)


# --- Stories ----------------------------------------------------------------------------------------------------------


def _stopped(state: str) -> Callable[[Case], None]:
    """The execution is stopped while this state is retried: its work is not done, or (Close Review) is."""

    def act(case: Case) -> None:
        verdicts, upload = _filed(case)
        execution = _decide(case, verdicts, upload)
        case.wait_for_state(execution, state)
        case.stop(execution)
        _ends(case, verdicts, upload, execution, "ABORTED")

    return act


def _moved_halfway(case: Case) -> None:
    """The execution is stopped while FileManager has copied the picture and not deleted it."""
    verdicts, upload = _filed(case)
    rule = case.inject("s3", "DeleteObjects", stories.HELD)
    execution = _decide(case, verdicts, upload)
    case.wait_for_fault(rule)
    case.stop(execution)
    _ends(case, verdicts, upload, execution, "ABORTED")
    wait_for(lambda: len(case.places(upload)) == 1, 20)  # the call that was held comes through


def _killed(case: Case) -> None:
    verdicts, upload = _filed(case)
    rule = case.inject("s3", "CopyObject", stories.HANGS)
    execution = _decide(case, verdicts, upload)
    case.wait_for_fault(rule)
    for process, name in case.rig.workers():
        if name == "FileManagerFunction":
            os.kill(int(process.name), signal.SIGKILL)
    _ends(case, verdicts, upload, execution)


def _five_verdicts_at_once(case: Case) -> None:
    verdicts, upload = _filed(case)
    executions = [_decide(case, verdicts, upload, animal) for animal in ("other", "cat", "dog", "cat", "dog")]
    for execution in executions:
        _ends(case, verdicts, upload, execution)
    case.require(wait_for(lambda: verdicts.head(upload.image_id)["Queue"] == "done", 60), "it is still pending")


def _another_comes_while_it_moves(case: Case) -> None:
    verdicts, upload = _filed(case)
    rule = case.inject("s3", "CopyObject", stories.HELD)
    first = _decide(case, verdicts, upload, "other")
    case.wait_for_fault(rule)
    _ends(case, verdicts, upload, _decide(case, verdicts, upload, "dog"))
    _ends(case, verdicts, upload, first)


def _undone_and_done(case: Case) -> None:
    verdicts, upload = _filed(case)
    for animal in ("dog", None, "dog"):
        verdicts.decide(upload.image_id, animal)
        verdicts.settled(upload.image_id)
    _is_closed(case, verdicts, upload)


def _late_execution(case: Case) -> None:
    """An execution of an older verdict comes back after its claim was taken over, and a newer one was carried out."""
    verdicts, upload = _filed(case)
    first = _decide(case, verdicts, upload, "other")
    _ends(case, verdicts, upload, first)
    _ends(case, verdicts, upload, _decide(case, verdicts, upload, "dog"))
    _ends(case, verdicts, upload, verdicts.start(upload.image_id, 1, again="late"))


def _retried(state: str, throttle: str) -> Mocks:
    throw = {"Throw": {"Error": throttle, "Cause": "made up"}}
    return {state: {str(attempt): throw for attempt in range(5)}}


_THROTTLE = {"Move Picture": "Lambda.TooManyRequestsException"}
_ABORTED = "ExecutionAborted"
STORIES = [
    *[
        _cell(
            "Verdict",
            f"stopped in {state}",
            _stopped(state),
            _ABORTED,
            folder="cats" if state in ("Read Review", "Claim Picture", "Move Picture") else "dogs",
            mocks=_retried(state, _THROTTLE.get(state, "DynamoDB.AmazonDynamoDBException")),
            events=False,
            phase=Phase.ALONE,
        )
        for state in ("Read Review", "Claim Picture", "Move Picture", "Log Verdict", "Close Review")
    ],
    _cell(
        "Verdict",
        "stopped while the picture is copied and not deleted",
        _moved_halfway,
        _ABORTED,
        folder="dogs",
        phase=Phase.ALONE,
    ),
    _cell("Verdict", "FileManager is killed while it copies", _killed, phase=Phase.ALONE),
    _cell("Verdict", "five of them at once, the last one says dog", _five_verdicts_at_once),
    _cell("Verdict", "another comes while the picture moves", _another_comes_while_it_moves),
    _cell("Verdict", "undone, and given again", _undone_and_done),
    _cell("Verdict", "an execution of an older one comes late", _late_execution),
]
