"""Every way through the workflow: what each task is answered, and what must come of it.

`python -m tests.workflow.mocks FILE` writes the answers as a mock configuration of AWS Step Functions Local.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from pet_detector.rules.image_ids import hashed_image_id
from tests.support.paths import REPOSITORY

from .answers import (
    ANALYSES,
    CAT_AGAIN,
    CLAIMED,
    CLAIMED_NEWEST,
    CONVERTED,
    CONVERTED_CAT,
    HELD_BACK,
    LARGEST_ANALYSIS,
    LARGEST_CAUSE,
    LARGEST_CLAIM,
    NOTICE_SENT,
    OF_CONVERTED,
    ORIGINAL_LOCATION,
    RECORDED,
    REJECTIONS,
    SAFE_CAT,
    TO_CONVERT,
    UNDECODABLE,
    WAITING,
    WRITTEN,
    Answer,
    called,
    dynamodb,
    function,
    lambda_service,
    moved,
    throws,
)
from .executions import IMAGE_ID, KEY, VERSION_ID, definition, s3_event

CLAIM, ANALYZE, HOLD, MOVE, LOG = "Claim Upload", "Analyze Image", "Hold Image", "Move Image", "Log Detection"
REVIEWERS, RECORD, CONVERT = "Notify Reviewers", "Record Failure", "Convert Image"

CHOICE = "Cat, Dog or Other?"
_MOVED = [MOVE, "Certain Enough?"]
_FAILS = [RECORD, "Processing Failed"]
# What an image enters besides when its turn has not come: before it is analysed again.
WAIT = [ANALYZE, CHOICE, "Wait for Turn"]

CLASSIFIED = [CLAIM, ANALYZE, CHOICE, *_MOVED, LOG]
REVIEWED = [CLAIM, ANALYZE, CHOICE, *_MOVED, REVIEWERS, LOG]
REJECTED = CLASSIFIED
_CONVERTED = [CLAIM, ANALYZE, CHOICE, CONVERT, CHOICE]
CONVERTED_PATH = [*_CONVERTED, *CLASSIFIED[1:]]
HELD = [CLAIM, ANALYZE, CHOICE, HOLD, "Image Held"]

_UNEVALUATED = "States.QueryEvaluationError"

# What a task is answered when a case says nothing else: one attempt, one answer.
_USUAL: dict[str, list[Answer]] = {
    CLAIM: [CLAIMED],
    ANALYZE: [called(ANALYSES["cat"])],
    HOLD: [WRITTEN],
    CONVERT: [CONVERTED],
    MOVE: [moved("cats", "jpg")],
    LOG: [WRITTEN],
    REVIEWERS: [NOTICE_SENT],
    RECORD: [RECORDED],
}


@dataclass(frozen=True)
class Case:
    """One execution and what is expected of it.

    `answers` has one answer for each attempt of a task, and every one of them is used. `error` is None for an execution
    that succeeds. `unevaluated` is a task that cannot make its Arguments, so that it is never tried.
    """

    path: list[str]
    error: str | None = None
    answers: dict[str, list[Answer]] = field(default_factory=lambda: _USUAL)
    input: dict[str, Any] = field(default_factory=s3_event)
    unevaluated: str = ""

    def expected_attempts(self, tasks: set[str]) -> Counter[str]:
        """How often each task of the path is tried."""
        tried = {state: len(self.answers[state]) for state in self.path if state in tasks}
        return Counter(tried | ({self.unevaluated: 0} if self.unevaluated else {}))


def _case(path: list[str], error: str | None = None, **answers: Answer | list[Answer]) -> Case:
    """A case whose tasks get these answers; a task is named by the last word of its state, such as `claim`."""
    tasks = {"claim": CLAIM, "analyze": ANALYZE, "hold": HOLD, "move": MOVE, "log": LOG}
    tasks |= {"reviewers": REVIEWERS, "record": RECORD, "convert": CONVERT}
    given = {tasks[task]: answer if isinstance(answer, list) else [answer] for task, answer in answers.items()}
    return Case(path, error, {**_USUAL, **given})


def _failing_at(state: str, path: list[str] | None = None) -> list[str]:
    """The path to a state, and from there through the failure."""
    path = REVIEWED if path is None else path
    return [*path[: path.index(state) + 1], *_FAILS]


def _waiting(times: int, path: list[str]) -> list[str]:
    """The same path, of an image that waits for its turn so many times."""
    return [CLAIM, *WAIT * times, *path[1:]]


CAT, CATS = called(ANALYSES["cat"]), moved("cats", "jpg")
_UNCERTAIN: dict[str, Any] = {"analyze": called(ANALYSES["uncertain"]), "move": moved("others", "jpg")}
_HELD: dict[str, Any] = {"analyze": HELD_BACK}
# A picture that Rekognition cannot read is analysed twice.
_HEIC_CAT: dict[str, Any] = {"analyze": [TO_CONVERT, called(CONVERTED_CAT)]}
_FAILED_CONVERSION: dict[str, Any] = {"analyze": TO_CONVERT}
_DENIED: dict[str, Any] = {"analyze": function("AccessDeniedError", "s3:GetObject: AccessDenied")}
_DENIED_PATH = _failing_at(ANALYZE)

# Every error that a retrier names, in portions that its attempts allow.
_DYNAMODB_THROTTLES = [
    dynamodb("AmazonDynamoDBException"),
    dynamodb("ProvisionedThroughputExceededException"),
    dynamodb("ThrottlingException"),
    dynamodb("RequestLimitExceeded"),
    dynamodb("RequestLimitExceededException"),
]
_TIMEOUT = throws("States.Timeout", "The state did not end in time.")
_DYNAMODB_FAULTS = [
    dynamodb("InternalServerError"),
    dynamodb("InternalServerErrorException"),
    dynamodb("ServiceUnavailableException"),
    dynamodb("SdkClientException"),
    _TIMEOUT,
]
_THROTTLED = function("ThrottledError", "rekognition:DetectLabels: ProvisionedThroughputExceededException")
_BROKEN = function("ServiceError", "s3:GetObject: InternalError")
_MISSING = function("ImageNotFoundError", "s3:GetObject: NoSuchKey")
_IN_PROGRESS = function("AnalysisInProgressError", "Another execution is asking Rekognition about the same bytes.")
_TOO_MANY = lambda_service("Lambda.TooManyRequestsException")
_THROTTLES = [_THROTTLED, _TOO_MANY]
_LAMBDA_THROTTLES = 200  # retries, for hours
_SERVER_FAULTS = [
    _BROKEN,
    lambda_service("Runtime.ExitError"),
    lambda_service("Lambda.ServiceException"),
    lambda_service("Lambda.AWSLambdaException"),
]
_CALL_FAULTS = [
    lambda_service("Lambda.SdkClientException"),
    lambda_service("Lambda.ClientExecutionTimeoutException"),
    lambda_service("Lambda.Unknown"),
    lambda_service("Sandbox.Timedout"),
]
_LATE = [_TIMEOUT]

_NO_TABLE = throws("DynamoDB.ResourceNotFoundException", "Requested resource not found")
_CONDITION_FAILS = throws("DynamoDB.ConditionalCheckFailedException", "The conditional request failed")
_BUG = function("KeyError", "'imageId'")
_THROTTLE = "DynamoDB.AmazonDynamoDBException"


def _dynamodb_task(
    name: str, task: str, good: Answer, path: list[str], failing: list[str], **given: Any
) -> dict[str, Case]:
    """What can happen to a task that calls DynamoDB."""
    for_good = [dynamodb("AmazonDynamoDBException")] * 6
    return {
        f"{name}Throttled": _case(path, **{**given, task: [*_DYNAMODB_THROTTLES, good]}),
        f"{name}Broken": _case(path, **{**given, task: [*_DYNAMODB_FAULTS, good]}),
        f"{name}MeetsTransaction": _case(path, **{**given, task: [dynamodb("TransactionConflictException"), good]}),
        f"{name}RetriesExhausted": _case(failing, _THROTTLE, **{**given, task: for_good}),
        f"{name}UnknownError": _case(failing, "DynamoDB.ResourceNotFoundException", **{**given, task: _NO_TABLE}),
    }


def _conversion_tasks() -> dict[str, Case]:
    """What can happen to Convert Image. What fails there is analysed only once."""
    failing = _failing_at(CONVERT, CONVERTED_PATH)
    cases = _lambda_task("Convert", "convert", CONVERTED, CONVERTED_PATH, failing, **_HEIC_CAT)
    once = {ANALYZE: [TO_CONVERT]}
    return {
        name: replace(case, answers={**case.answers, **once}) if case.path == failing else case
        for name, case in cases.items()
    }


def _lambda_task(
    name: str, task: str, good: Answer, path: list[str], failing: list[str], error: str | None = None, **given: Any
) -> dict[str, Case]:
    """What can happen to a task that calls a function. `error` is what the execution fails with anyway."""
    throttles = 9 if task == "analyze" else 5
    return {
        f"{name}Throttled": _case(path, error, **{**given, task: [*_THROTTLES, good]}),
        f"{name}ServerError": _case(path, error, **{**given, task: [*_SERVER_FAULTS, good]}),
        f"{name}CallFails": _case(path, error, **{**given, task: [*_CALL_FAULTS, good]}),
        f"{name}TimesOut": _case(path, error, **{**given, task: [*_LATE, good]}),
        f"{name}ThrottlesExhausted": _case(
            failing, error or "ThrottledError", **{**given, task: [_THROTTLED] * (throttles + 1)}
        ),
        f"{name}TooManyRequests": _case(path, error, **{**given, task: [*[_TOO_MANY] * _LAMBDA_THROTTLES, good]}),
        f"{name}TooManyRequestsForHours": _case(
            failing,
            error or "Lambda.TooManyRequestsException",
            **{**given, task: [_TOO_MANY] * (_LAMBDA_THROTTLES + 1)},
        ),
        f"{name}RetriesExhausted": _case(failing, error or "ServiceError", **{**given, task: [_BROKEN] * 5}),
        f"{name}UnknownError": _case(failing, error or "KeyError", **{**given, task: _BUG}),
    }


def unevaluated_claim() -> Answer:
    """What AWS says when the claim's Arguments cannot be made: state and whole expression first, the message last."""
    expression = definition()["States"][CLAIM]["Arguments"].strip()
    cause = (
        f"An error occurred while executing the state '{CLAIM}' (entered at the event id #2). The JSONata expression "
        f"'{expression.removeprefix('{%').removesuffix('%}').strip()}' specified for the field 'Arguments' threw an "
        "error during evaluation. D3137: detail.object.version-id is missing: aws s3api head-object shows it as "
        "VersionId"
    )
    return throws(_UNEVALUATED, cause)


INCOMPLETE = called({"outcome": "classified", "animal": "cat"})

_MOCKED = {
    # What the picture shows.
    "Cat": _case(CLASSIFIED),
    "Dog": _case(CLASSIFIED, analyze=called(ANALYSES["dog"]), move=moved("dogs", "png")),
    "Other": _case(CLASSIFIED, analyze=called(ANALYSES["other"]), move=moved("others", "jpg")),
    "Uncertain": _case(REVIEWED, **_UNCERTAIN),
    **{
        f"Rejected{reason}": _case(REJECTED, analyze=called(ANALYSES[reason]), move=moved("rejected", "bin"))
        for reason in REJECTIONS
    },
    "claimed without a version": _case(CLASSIFIED, claim=CLAIMED_NEWEST),
    "Reused": _case(CLASSIFIED, analyze=CAT_AGAIN),
    "FoundSafe": _case(CLASSIFIED, analyze=SAFE_CAT),
    # A JPEG is made of it first.
    "Converted": _case(CONVERTED_PATH, **_HEIC_CAT),
    "ConvertedAndKept": _case(CONVERTED_PATH, **_HEIC_CAT, move=moved("cats", "jpg", ORIGINAL_LOCATION)),
    "ConvertedAndUncertain": _case(
        [*_CONVERTED, *REVIEWED[1:]],
        analyze=[TO_CONVERT, called({**ANALYSES["uncertain"], **OF_CONVERTED})],
        move=moved("others", "jpg"),
    ),
    "ConvertedThenWaiting": _case(
        [*_CONVERTED, *WAIT, *CLASSIFIED[1:]], analyze=[TO_CONVERT, WAITING, called(CONVERTED_CAT)]
    ),
    "ConvertedThenHeld": _case([*_CONVERTED, *HELD[1:]], analyze=[TO_CONVERT, HELD_BACK]),
    "ConvertedAndRejected": _case(
        CONVERTED_PATH,
        analyze=[TO_CONVERT, called({**ANALYSES["UnsupportedFormat"], **OF_CONVERTED, "extension": "jpg"})],
        move=moved("rejected", "jpg"),
    ),
    "NotConverted": _case(
        [*_CONVERTED, *_MOVED, LOG], analyze=TO_CONVERT, convert=UNDECODABLE, move=moved("rejected", "bin")
    ),
    # Its turn to be analysed has not come.
    "Waiting": _case(_waiting(1, CLASSIFIED), analyze=[WAITING, CAT]),
    "WaitingThreeTimes": _case(_waiting(3, CLASSIFIED), analyze=[WAITING, WAITING, WAITING, CAT]),
    "WaitingAndUncertain": _case(_waiting(1, REVIEWED), **{**_UNCERTAIN, "analyze": [WAITING, _UNCERTAIN["analyze"]]}),
    "WaitingAndRejected": _case(
        _waiting(1, REJECTED), analyze=[WAITING, called(ANALYSES["Empty"])], move=moved("rejected", "bin")
    ),
    "WaitingThenHeld": _case(_waiting(1, HELD), analyze=[WAITING, HELD_BACK]),
    "WaitingThenBroken": _case(_waiting(1, _DENIED_PATH), "ServiceError", analyze=[WAITING, *[_BROKEN] * 5]),
    # The daily limit is reached.
    "Held": _case(HELD, **_HELD),
    # Another execution's image.
    "Duplicate": _case([CLAIM, "Already Claimed"], claim=_CONDITION_FAILS),
    "OwnershipLostAtLogDetection": _case([*CLASSIFIED, "Already Claimed"], log=_CONDITION_FAILS),
    "OwnershipLostAtHold": _case([*HELD[:-1], "Already Claimed"], **_HELD, hold=_CONDITION_FAILS),
    # Errors that pass, errors that stay, known and unknown: at each task.
    **_dynamodb_task("Claim", "claim", CLAIMED, CLASSIFIED, _failing_at(CLAIM)),
    **_lambda_task("Analyze", "analyze", CAT, CLASSIFIED, _failing_at(ANALYZE)),
    **_conversion_tasks(),
    **_dynamodb_task("Hold", "hold", WRITTEN, HELD, _failing_at(HOLD, HELD), **_HELD),
    **_lambda_task("Move", "move", CATS, CLASSIFIED, _failing_at(MOVE)),
    **_dynamodb_task("Log", "log", WRITTEN, CLASSIFIED, _failing_at(LOG, CLASSIFIED)),
    **_lambda_task("NotifyReviewers", "reviewers", NOTICE_SENT, REVIEWED, _failing_at(REVIEWERS), **_UNCERTAIN),
    **_lambda_task("RecordFailure", "record", RECORDED, _DENIED_PATH, _DENIED_PATH, "AccessDeniedError", **_DENIED),
    "AnalyzeThrottledAndBroken": _case(
        CLASSIFIED, analyze=[_THROTTLED, *[_BROKEN] * 4, _THROTTLED, CAT]
    ),  # own attempts
    "AnalysisInProgress": _case(CLASSIFIED, analyze=[_IN_PROGRESS, _IN_PROGRESS, CAT_AGAIN]),
    "AnalysisInProgressExhausted": _case(_DENIED_PATH, "AnalysisInProgressError", analyze=[_IN_PROGRESS] * 13),
    # A 404 for an object that is there: the versioning of a new bucket is not yet effective.
    "AnalyzeMissing": _case(CLASSIFIED, analyze=[_MISSING, _MISSING, CAT]),
    "AnalyzeMissingForGood": _case(_DENIED_PATH, "ImageNotFoundError", analyze=[_MISSING] * 5),
    "ConvertMissing": _case(CONVERTED_PATH, **_HEIC_CAT, convert=[_MISSING, _MISSING, CONVERTED]),
    "ConvertMissingForGood": _case(
        _failing_at(CONVERT, CONVERTED_PATH), "ImageNotFoundError", **_FAILED_CONVERSION, convert=[_MISSING] * 5
    ),
    "ConversionFailed": _case(
        _failing_at(CONVERT, CONVERTED_PATH),
        "ConversionFailedError",
        **_FAILED_CONVERSION,
        convert=function("ConversionFailedError", "The decoder ended with 1: No module named 'pi_heif'"),
    ),
    "MoveMissing": _case(CLASSIFIED, move=[_MISSING, _MISSING, CATS]),
    "MoveMissingForGood": _case(_failing_at(MOVE), "ImageNotFoundError", move=[_MISSING] * 5),
    # Errors that a wait cannot fix.
    "AccessDenied": _case(_DENIED_PATH, "AccessDeniedError", **_DENIED),
    "PolicyInvalid": _case(
        _DENIED_PATH,
        "PolicyInvalidError",
        analyze=function("PolicyInvalidError", "The policy parameter must hold JSON."),
    ),
    "ImageChanged": _case(
        _failing_at(MOVE),
        "ImageChangedError",
        move=function("ImageChangedError", "The object is not the one that was analysed."),
    ),
    "LongCause": _case(_DENIED_PATH, "KeyError", analyze=function("KeyError", "x" * 3000)),
    "LargestAnswers": _case(
        REVIEWED, claim=LARGEST_CLAIM, analyze=called(LARGEST_ANALYSIS), move=moved("others", "jpg")
    ),
    "LargestFailure": _case(
        _failing_at(REVIEWERS),
        "E" * 256,
        claim=LARGEST_CLAIM,
        analyze=called(LARGEST_ANALYSIS),
        reviewers=LARGEST_CAUSE,
    ),
    "ErrorWithoutCause": _case(_DENIED_PATH, "KeyError", analyze=throws("KeyError", None)),
    "UnevaluatedClaim": _case(_failing_at(CLAIM), _UNEVALUATED, claim=unevaluated_claim()),
    # An analysis that lacks something.
    "NotAnAnalysis": Case(
        _failing_at(MOVE),
        _UNEVALUATED,
        {**_USUAL, ANALYZE: [INCOMPLETE]},
        unevaluated=MOVE,
    ),
}


def _fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((REPOSITORY / "events" / f"{name}.json").read_text())
    return document


FOREIGN_KEY = "input/holiday pictures/Mitzi & Rex+1.jpg"


def _from_s3(**more: Any) -> dict[str, Any]:
    """An event without a version, as S3 sends it while the versioning of a new bucket is not yet effective."""
    return {**s3_event(version_id=None, **more), "source": "aws.s3"}


GOOD_INPUTS = {
    "input from S3": _fixture("s3_object_created"),
    "input from the console": _fixture("console_execution"),
    "input of a foreign key": s3_event(key=FOREIGN_KEY),
    "input of a backfill": s3_event(key=f"input/backfill/{IMAGE_ID}.jpg"),
    "input of a foreign key of a backfill": s3_event(key=f"input/backfill/2019/{IMAGE_ID}.jpg"),
    "input without a version": s3_event(version_id=None),
    "input with version null": s3_event(version_id="null"),
    "input with an empty version": s3_event(version_id=""),
    "input with null as version": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": None}}},
    "input from S3 without a version": _from_s3(),
    "input from S3 of a foreign key without a version": _from_s3(key=FOREIGN_KEY),
    "input with an id": {**s3_event(), "imageId": hashed_image_id(KEY, VERSION_ID)},
    "input of a restart": {**s3_event(), "restart": True},
    "input with restart as text": {**s3_event(), "restart": "true"},
    "input of a filed image's own restart": {
        **s3_event(key=f"cats/{IMAGE_ID}.jpg"),
        "imageId": IMAGE_ID,
        "restart": True,
    },
    "input of a release": {**s3_event(), "restart": True, "release": True},
    "input with release as text": {**s3_event(), "release": "true"},
    "input with a time of another zone": {**s3_event(), "time": "2026-11-21T10:30:00.5+01:00"},
    "input with a number as event's id": {**s3_event(), "id": 7},
    # As large as S3 allows.
    "input with the longest key": s3_event(key="input/" + "\x01" * 1018, version_id="v" * 1024),
    "input with the widest key": s3_event(key="input/" + "🐈" * 254, version_id="v" * 1024),
}

BAD_INPUTS: dict[str, Any] = {
    "empty": {},
    "a list": [],
    "detail missing": {"imageId": IMAGE_ID},
    "detail null": {"detail": None},
    "detail text": {"detail": "input/cat.jpg"},
    "object missing": {"detail": {}},
    "key missing": {"detail": {"object": {"version-id": "v1"}}},
    "version missing for a foreign key of a backfill": s3_event(key="input/backfill/x.jpg", version_id=None),
    "key missing with an id": {"imageId": IMAGE_ID, "detail": {"object": {"version-id": "v1"}}},
    "key empty": s3_event(key=""),
    "key a number": {"detail": {"object": {"key": 7, "version-id": "v1"}}},
    "key null": {"detail": {"object": {"key": None, "version-id": "v1"}}},
    "key a list": {"detail": {"object": {"key": [f"input/{IMAGE_ID}.jpg"], "version-id": "v1"}}},
    "key an object": {"detail": {"object": {"key": {"a": 1}, "version-id": "v1"}}},
    "version missing for a foreign key": s3_event(key=FOREIGN_KEY, version_id=None),
    "version null for a foreign key": {"detail": {"object": {"key": FOREIGN_KEY, "version-id": None}}},
    "version empty for a foreign key": s3_event(key=FOREIGN_KEY, version_id=""),
    "version missing from another source": {**s3_event(key=FOREIGN_KEY, version_id=None), "source": "aws.s4"},
    "version a number": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": 3}}},
    "version zero": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": 0}}},
    "version a list": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": ["v1"]}}},
    "id a number": {**s3_event(), "imageId": 5},
    "id null": {**s3_event(), "imageId": None},
    "id empty": {**s3_event(), "imageId": ""},
    "id too long": {**s3_event(), "imageId": "0" * 33},
    "id no hex": {**s3_event(), "imageId": "../../etc"},
    "upload of another id": {**s3_event(), "imageId": "f" * 32},
    "upload of a foreign key under another id": {**s3_event(key=FOREIGN_KEY), "imageId": "f" * 32},
    "upload without a version under another id": {**s3_event(version_id=None), "imageId": "f" * 32},
    "filed image of another id": {**s3_event(key=f"cats/{IMAGE_ID}.jpg"), "imageId": "f" * 32},
    "original of another id": {**s3_event(key=f"originals/{IMAGE_ID}.heic"), "imageId": "f" * 32},
    "filed image without an id": s3_event(key=f"rejected/{IMAGE_ID}.bin"),
    "time no time": {**s3_event(), "time": "yesterday"},
    "time a number": {**s3_event(), "time": 1795253400},
    "time null": {**s3_event(), "time": None},
}

CASES: dict[str, Case] = {
    **_MOCKED,
    "foreign key, claim fails": replace(_MOCKED["ClaimUnknownError"], input=s3_event(key=FOREIGN_KEY)),
    "named id, claim fails": replace(
        _MOCKED["ClaimUnknownError"], input={**s3_event(), "imageId": hashed_image_id(KEY, VERSION_ID)}
    ),
    **{name: Case(CLASSIFIED, input=document) for name, document in GOOD_INPUTS.items()},
    **{
        f"bad input: {name}": Case(_failing_at(CLAIM), _UNEVALUATED, input=document, unevaluated=CLAIM)
        for name, document in BAD_INPUTS.items()
    },
}
