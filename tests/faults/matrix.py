"""The cells: each call of the application x each fault that it can meet, with the end that it must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from . import api_cells, notice_cells, register_cells, review_cells, stories, turn_cells
from .cells import FILE, READ_TO_FILE, Case, Cell, Expected, Phase, Upload, failed
from .stories import REVIEW

TWICE, ONCE = {"times": 2}, {"times": 1}
# Longer than any timeout of the SDK: the caller hangs up first.
_HANG = {"timeout_ms": 60_000}
LOST = {"response": {"abort_bytes": 0}}

THROTTLED, THROTTLED_FOR_GOOD = "throttled twice, then fine", "throttled for good"
THROTTLED_LONG = "throttled eight times, then fine"
SERVER_ERROR, HANG, RESET = "server error twice, then fine", "hangs once", "connection reset once"
LOST_ANSWER, CORRUPTED = "answer lost after the commit", "answer corrupted once"
DENIED, EXPIRED = "access denied", "expired credentials"

# service -> code and status of throttle, server error, denial, expired credentials
_CODES = {
    "s3": (("SlowDown", 503), ("InternalError", 500), ("AccessDenied", 403), ("ExpiredToken", 400)),
    "sns": (("Throttled", 429), ("InternalError", 500), ("AuthorizationError", 403), ("ExpiredToken", 403)),
}
_JSON_CODES = (
    ("ThrottlingException", 400),
    ("InternalServerError", 500),
    ("AccessDeniedException", 400),
    ("ExpiredTokenException", 400),
)


def faults(service: str, corrupted: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The rules of microburst for each fault of a service; `corrupted` is None for answers that have no body."""
    errors: list[dict[str, Any]] = [
        {"error": {"code": code, "status": status}} for code, status in _CODES.get(service, _JSON_CODES)
    ]
    rules: dict[str, dict[str, Any]] = {
        THROTTLED: {**errors[0], **TWICE},
        THROTTLED_FOR_GOOD: errors[0],
        SERVER_ERROR: {**errors[1], **TWICE},
        HANG: {**_HANG, **ONCE},
        RESET: {"reset": True, **ONCE},
        LOST_ANSWER: {**LOST, **ONCE},
        DENIED: errors[2],
        EXPIRED: errors[3],
    }
    return rules | ({CORRUPTED: {"response": corrupted, **ONCE}} if corrupted else {})


# An answer cut in the middle of its JSON or XML, under a good status.
CUT = {"truncate_frac": 0.5}
# An answer without a body whose head promises one.
UNTRUE = {"set_headers": {"Content-Length": "64"}}


def upload_and_break(service: str, operation: str, fault: dict[str, Any], also: str = "") -> Callable[[Case], None]:
    """Break a call of the Lambda functions, then upload."""

    def act(case: Case) -> None:
        rule = case.inject(service, operation, fault, also=also)
        case.put()
        case.wait_for_fault(rule, service)

    return act


def proxied(
    call: str,
    service: str,
    operation: str,
    *,
    corrupted: dict[str, Any] | None = None,
    picture: str = "cat",
    also: str = "",
    **ends: Expected,
) -> list[Cell]:
    """A row: one call x every fault. `ends` has fine, throttled, denied, expired, reset, hang, lost and corrupted."""
    fine = ends.get("fine", Expected())
    bad = {
        THROTTLED_FOR_GOOD: ends.get("throttled", failed("ThrottledError")),
        DENIED: ends.get("denied", failed("AccessDeniedError")),
        EXPIRED: ends.get("expired", failed("AccessDeniedError")),
        RESET: ends.get("reset", fine),
        HANG: ends.get("hang", fine),
        LOST_ANSWER: ends.get("lost", fine),
        CORRUPTED: ends.get("corrupted", fine),
    }
    return [
        Cell(call, name, upload_and_break(service, operation, fault, also), bad.get(name, fine), picture)
        for name, fault in faults(service, corrupted).items()
    ]


# --- The state machine's own calls: of DynamoDB, and of FailureRecorder ----------------------------------------------


def throws(error: str, times: int = 1, **more: Any) -> dict[str, Any]:
    """A mocked answer: the first `times` attempts fail, later ones are real."""
    return {str(attempt): {"Throw": {"Error": error, "Cause": "made up", **more}} for attempt in range(times)}


ALWAYS = 6  # attempts of every call that is throttled: MaxAttempts 5
# As Step Functions names them: an error that its SDK does not model has the name of the base class, such as the
# throttle of an on-demand table and a denied access.
UNMODELLED, NO_TABLE = "DynamoDB.AmazonDynamoDBException", "DynamoDB.ResourceNotFoundException"
_DYNAMODB = {
    THROTTLED: throws(UNMODELLED, 2),
    THROTTLED_FOR_GOOD: throws(UNMODELLED, ALWAYS),
    "throttled twice (provisioned table), then fine": throws("DynamoDB.ProvisionedThroughputExceededException", 2),
    SERVER_ERROR: throws("DynamoDB.InternalServerErrorException", 2),
    HANG: throws("States.Timeout"),
    RESET: throws("DynamoDB.SdkClientException"),
    LOST_ANSWER: throws("DynamoDB.SdkClientException", AfterCall=True),
    "runs into its timeout after the commit": throws("States.Timeout", AfterCall=True),
    DENIED: throws(UNMODELLED, ALWAYS),
    "table not found": throws(NO_TABLE),
}
_THROWN = {THROTTLED_FOR_GOOD: UNMODELLED, DENIED: UNMODELLED, "table not found": NO_TABLE}
_LAMBDA = {
    THROTTLED: throws("Lambda.TooManyRequestsException", 2),
    # It is retried for hours, far more often than other errors.
    THROTTLED_LONG: throws("Lambda.TooManyRequestsException", 8),
    SERVER_ERROR: throws("Lambda.ServiceException", 2),
    HANG: throws("States.Timeout"),
    RESET: throws("Lambda.SdkClientException"),
    LOST_ANSWER: throws("Lambda.SdkClientException", AfterCall=True),
    "runs into its timeout after the commit": throws("States.Timeout", AfterCall=True),
    DENIED: throws("Lambda.AWSLambdaException", ALWAYS),
    "function not found": throws("Lambda.ResourceNotFoundException"),
}


def start_it(case: Case) -> None:
    """Its object lies in the bucket since before the first cell; deliver the event."""
    case.start(case.put_before)


def start_broken(case: Case) -> None:
    """The same, for an image that nobody may read."""
    case.inject("s3", "GetObject", {"error": {"code": "AccessDenied", "status": 403}})
    case.start(case.put_before)


def direct() -> list[Cell]:
    """Claim Upload, Hold Image and Log Detection x every fault.

    The final record of an uncertain image is written after its notice: the redrive must not send that again.
    """
    cells = []
    for name, attempts in _DYNAMODB.items():
        error = _THROWN.get(name)
        claim = failed(error) if error else Expected()
        cells.append(Cell("UpdateItem: claim", name, start_it, claim, mocks={"Claim Upload": attempts}, events=False))
        hold = failed(error) if error else Expected("held", "input")
        cells.append(
            Cell(
                "UpdateItem: hold",
                name,
                start_it,
                hold,
                mocks={"Hold Image": attempts},
                events=False,
                phase=Phase.LIMITED,
            )
        )
        final = failed(error, "cats") if error else Expected()
        cells.append(
            Cell("UpdateItem: final record", name, start_it, final, mocks={"Log Detection": attempts}, events=False)
        )
        noticed = failed(error, "others", reviews=1) if error else REVIEW
        call = "UpdateItem: final record, reviewers notified"
        cells.append(Cell(call, name, start_it, noticed, "uncertain", mocks={"Log Detection": attempts}, events=False))
    return cells


def invoke(function: str, state: str, folder: str = "input", **more: Any) -> list[Cell]:
    """A state that calls a function x every fault; `folder` is where the image lies before it."""
    errors = {DENIED: "Lambda.AWSLambdaException", "function not found": "Lambda.ResourceNotFoundException"}
    fine = REVIEW if more else Expected()
    ends = {fault: failed(error, folder) for fault, error in errors.items()}
    return [
        Cell(f"Invoke: {function}", name, start_it, ends.get(name, fine), mocks={state: attempts}, events=False, **more)
        for name, attempts in _LAMBDA.items()
    ]


def detects(operation: str) -> list[Cell]:
    """Rekognition's throttles are no failure: the image waits and takes another turn, however often that is."""
    throttle = faults("rekognition", None)[THROTTLED_FOR_GOOD]
    often = {THROTTLED: (THROTTLED, 2), THROTTLED_FOR_GOOD: ("throttled five times, then fine", 5)}
    cells = []
    for cell in proxied(operation, "rekognition", operation, corrupted=CUT):
        fault, times = often.get(cell.fault, (cell.fault, 0))
        act = turn_cells.throttled_in_its_turn(operation, throttle, times) if times else cell.act
        end = Expected() if times else cell.expected
        cells.append(replace(cell, fault=fault, act=act, expected=end))
    return cells


def moderation() -> list[Cell]:
    """The calls that only ContentSafety causes, and that what was seen is not asked for again."""
    keep = proxied("UpdateItem: keep moderation", "dynamodb", "UpdateItem", corrupted=CUT, also="SET Moderation")
    throttle = faults("rekognition", None)[THROTTLED_FOR_GOOD]
    again = Cell(
        "ContentSafety", "DetectLabels is throttled twice", stories.asked_once_whether_safe(throttle), Expected()
    )
    return [replace(cell, phase=Phase.MODERATED) for cell in (*detects("DetectModerationLabels"), *keep, again)]


def invoke_failure_recorder() -> list[Cell]:
    """Record Failure x every fault: what it cannot do, the rule on failed executions has done."""
    end = failed("AccessDeniedError")
    return [
        Cell("Invoke: FailureRecorder", name, start_broken, end, mocks={"Record Failure": attempts}, events=False)
        for name, attempts in _LAMBDA.items()
    ]


# --- Notices, and what FailureRecorder writes ------------------------------------------------------------------------


def reserve_notice() -> list[Cell]:
    """Every reservation of a notice about the image is broken: the reviewers' one, and then the operators' one."""
    # Fails for good: no notice can be sent of the failure either; the alarm on failed executions notifies people.
    ends = {THROTTLED_FOR_GOOD: "ThrottledError", DENIED: "AccessDeniedError", EXPIRED: "AccessDeniedError"}
    # Notify Reviewers, Record Failure and the rule: the attempts of two states and one, three of the SDK each.
    tries = {THROTTLED_FOR_GOOD: 39, DENIED: 3, EXPIRED: 3}

    def cell(name: str, fault: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            rule = case.inject("dynamodb", "UpdateItem", fault, also="SET NoticeClaim")
            case.put()
            case.wait_for_fault(rule, times=tries.get(name, 1))

        end = failed(ends[name], "others", 0) if name in ends else REVIEW
        return Cell("UpdateItem: reserve notice", name, act, end, "uncertain")

    return [cell(name, fault) for name, fault in faults("dynamodb", CUT).items()]


def release_notice() -> list[Cell]:
    """SNS throttles once, and taking back the reservation of the notice meets every fault.

    For good: nobody can tell any more that the notice was not sent. Told at most once; the record and lists show it.
    """
    ends = {
        THROTTLED_FOR_GOOD: replace(REVIEW, reviews=0),  # the next attempt finds the reservation
        DENIED: failed("AccessDeniedError", "others"),
        EXPIRED: failed("AccessDeniedError", "others"),
    }

    def cell(name: str, fault: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            case.inject("sns", "Publish", {"error": {"code": "Throttled", "status": 429}, **ONCE})
            rule = case.inject("dynamodb", "UpdateItem", fault, also="REMOVE NoticeClaim")
            case.put()
            case.wait_for_fault(rule)

        return Cell("UpdateItem: release notice", name, act, ends.get(name, REVIEW), "uncertain")

    return [cell(name, fault) for name, fault in faults("dynamodb", CUT).items()]


def failure_recorder() -> list[Cell]:
    """FailureRecorder's write of the failure meets every fault, for the state machine and for the rule."""
    for_good = (THROTTLED_FOR_GOOD, DENIED, EXPIRED)
    # The attempts of the state and the one of the rule, three of the SDK each.
    tries = {THROTTLED_FOR_GOOD: 21, DENIED: 2, EXPIRED: 2}

    def cell(name: str, fault: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            rule = case.inject("dynamodb", "UpdateItem", fault, also="SET ProcessingStatus = :failed")
            start_broken(case)
            case.wait_for_fault(rule, times=tries.get(name, 1))
            if name in for_good:
                case.refuse("FailureRecorder fails", lambda: _hours_later(case, case.put_before))

        end = failed("AccessDeniedError")
        if name in for_good:
            end = Expected("processing", "input", failures=1, refused="FailureRecorder fails")
        return Cell(
            "UpdateItem: FailureRecorder",
            name,
            act,
            end,
            events=False,
            phase=Phase.ALONE if name in for_good else Phase.TOGETHER,  # as it reconciles
        )

    return [cell(name, fault) for name, fault in faults("dynamodb", CUT).items()]


def _hours_later(case: Case, upload: Upload) -> None:
    stories.age_claim(case, upload)
    case.rig.reconcile()


def reviews() -> list[Cell]:
    """The calls that carry out a verdict, in the order of the review machine, then ReviewKeeper's, then stories."""
    thrown = _THROWN | {DENIED: UNMODELLED}
    lost = {"function not found": "Lambda.ResourceNotFoundException"}
    denied = {THROTTLED_FOR_GOOD: "ThrottledError", DENIED: "AccessDeniedError", EXPIRED: "AccessDeniedError"}
    # Answers to HEAD have no body, so no code.
    headless = {THROTTLED_FOR_GOOD: "ServiceError", DENIED: "AccessDeniedError", EXPIRED: "ServiceError"}
    direct = review_cells.direct(_DYNAMODB, _LAMBDA, thrown | lost)
    return [
        *[replace(cell, expected=_of_function(cell)) for cell in direct],
        *review_cells.move("ListObjectVersions", faults("s3", CUT), denied),
        *review_cells.move("HeadObject", faults("s3", None), headless),
        *review_cells.move("CopyObject", faults("s3", CUT), denied),
        *review_cells.move("DeleteObjects", faults("s3", CUT), denied, folder="cats+dogs"),
        *review_cells.invoke_failure_recorder(_LAMBDA),
        *review_cells.keeper(faults("dynamodb", CUT), faults("stepfunctions", CUT), faults("sns", CUT)),
        *review_cells.STORIES,
    ]


def _of_function(cell: Cell) -> Expected:
    """A denied call of Lambda has another name than one of DynamoDB."""
    if "Invoke" in cell.call and cell.fault == DENIED:
        return replace(cell.expected, refused="the verdict is kept (Lambda.AWSLambdaException)")
    return cell.expected


def conversion() -> list[Cell]:
    """The calls that only a WebP, AVIF or HEIC picture causes: here a HEIC that is named .jpg."""
    headless: dict[str, Any] = {"throttled": failed("ServiceError"), "expired": failed("ServiceError")}
    errors = {DENIED: "Lambda.AWSLambdaException", "function not found": "Lambda.ResourceNotFoundException"}
    return [
        *[
            Cell(
                "Invoke: ConvertImage",
                name,
                start_it,
                failed(errors[name]) if name in errors else Expected(),
                "heic",
                mocks={"Convert Image": attempts},
                events=False,
            )
            for name, attempts in _LAMBDA.items()
        ],
        *proxied("HeadObject: converted before", "s3", "HeadObject", picture="heic", also="converted/", **headless),
        *proxied(
            "GetObject: read to convert",
            "s3",
            READ_TO_FILE,
            corrupted={"corrupt_bytes": 64},
            picture="heic",
            also="input/",
        ),
        *proxied("PutObject: store JPEG", "s3", FILE, corrupted=UNTRUE, picture="heic", also="converted/"),
        *proxied("DeleteObject: original", "s3", "DeleteObject", picture="heic", also="input/"),
    ]


def cells() -> list[Cell]:
    """All of them, in the order of the workflow."""
    untold = replace(REVIEW, reviews=0)
    rows = [
        *api_cells.announce(faults("dynamodb", CUT)),
        *api_cells.store(faults("s3", UNTRUE)),
        *[cell for cell in direct() if "claim" in cell.call],
        *invoke("ImageProcessor", "Analyze Image"),
        *proxied("GetObject", "s3", "GetObject", corrupted={"corrupt_bytes": 64}),
        *api_cells.newest_model(faults("dynamodb", CUT)),
        *proxied("UpdateItem: begin analysis", "dynamodb", "UpdateItem", corrupted=CUT, also="LeaseOwner"),
        *turn_cells.take(faults("dynamodb", CUT)),
        *turn_cells.look_at_live_turns(faults("dynamodb", CUT)),
        *turn_cells.while_waiting("UpdateItem: keep lease while waiting", "SET WaitsUntil", faults("dynamodb", CUT)),
        *turn_cells.while_waiting("UpdateItem: note turn", "SET TurnAt", faults("dynamodb", CUT)),
        *detects("DetectLabels"),
        *moderation(),
        *turn_cells.hold_back(faults("dynamodb", CUT)),
        *proxied("PutItem: finish analysis", "dynamodb", "PutItem", corrupted=CUT),
        *api_cells.policy(faults("ssm", CUT)),
        *conversion(),
        *invoke("FileManager", "Move Image"),
        *proxied(READ_TO_FILE, "s3", READ_TO_FILE, corrupted={"corrupt_bytes": 64}),
        *proxied(FILE, "s3", FILE, corrupted=UNTRUE),
        *proxied(
            "CopyObject",
            "s3",
            "CopyObject",
            corrupted=CUT,
            picture="broken off",
            fine=Expected("rejected", "rejected"),
        ),
        # Answers to HEAD have no body, so no code: S3's 503 for a throttle is a service error like any other.
        *proxied(
            "HeadObject",
            "s3",
            "HeadObject",
            throttled=failed("ServiceError"),
            expired=failed("ServiceError"),
        ),
        *proxied("DeleteObject", "s3", "DeleteObject"),
        *[cell for cell in direct() if "hold" in cell.call],
        *invoke("NotificationService", "Notify Reviewers", "others", picture="uncertain"),
        *reserve_notice(),
        *notice_cells.count(faults("dynamodb", CUT)),
        *notice_cells.withhold(faults("dynamodb", CUT)),
        *proxied(
            "Publish",
            "sns",
            "Publish",
            corrupted=CUT,
            picture="uncertain",
            also="review",
            fine=REVIEW,
            throttled=failed("ThrottledError", "others"),
            denied=failed("AccessDeniedError", "others"),
            expired=failed("AccessDeniedError", "others"),
            # No one knows whether SNS has it: notified at most once, and the record still says needs_review.
            reset=untold,
            hang=untold,
        ),
        *release_notice(),
        *[cell for cell in direct() if cell.call == "UpdateItem: final record"],
        *[cell for cell in direct() if "reviewers" in cell.call],
        *invoke_failure_recorder(),
        *failure_recorder(),
        *api_cells.reconciler(faults("stepfunctions", CUT)),
        *api_cells.superseding(faults("s3", CUT)),
        *turn_cells.STORIES,
        *notice_cells.digest(faults("sns", CUT), faults("dynamodb", CUT)),
        *register_cells.calls(faults("dynamodb", CUT), faults("s3", CUT), faults("s3", None)),
        *register_cells.STORIES,
        *stories.STORIES,
        *reviews(),
    ]
    return [replace(cell, phase=Phase.ALONE) if cell.call in api_cells.ALONE else cell for cell in rows]
