"""Every way through the workflow: what is mocked (a test case of `mock_config.json`), and what must come of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .executions import IMAGE_ID, REPOSITORY, Request, s3_event

_CLAIM, _ANALYZE, _MOVE, _LOG = "Claim Image", "Analyze Image", "Move Image", "Log Detection"
_HOLD = "Hold Image"
_REVIEWERS, _RECORD, _OPERATORS = "Notify Reviewers", "Record Failure", "Notify Operators"

_LOGGED = [_CLAIM, _ANALYZE, "Cat, Dog or Other?", _MOVE, _LOG, "Certain Enough?"]
_FAILS = [_RECORD, _OPERATORS, "Processing Failed"]

CLASSIFIED = [*_LOGGED, "Image Classified"]
REVIEWED = [*_LOGGED, _REVIEWERS, "Image Classified"]
REJECTED = [*_LOGGED, "Image Rejected"]
HELD = [_CLAIM, _ANALYZE, "Cat, Dog or Other?", _HOLD, "Image Held"]

REJECTIONS = ("NotAnImage", "UnsupportedFormat", "TooSmall", "TooLarge", "TooManyPixels", "Truncated", "Empty")

_UNEVALUATED = "States.QueryEvaluationError"


@dataclass(frozen=True)
class Case:
    """One execution and what is expected of it.

    `error` is None for an execution that succeeds. `attempts` names the tasks that are tried more than once, or (0)
    that cannot make their Arguments; every other task on the path is tried once.
    """

    request: Request
    path: list[str]
    error: str | None = None
    attempts: dict[str, int] = field(default_factory=dict)

    def expected_attempts(self, tasks: set[str]) -> Counter[str]:
        """How often each task of the path is tried."""
        return Counter({state: self.attempts.get(state, 1) for state in self.path if state in tasks})


def _failing_at(state: str, path: list[str] | None = None) -> list[str]:
    """The path to a state, and from there through the failure."""
    path = REVIEWED if path is None else path
    return [*path[: path.index(state) + 1], *_FAILS]


def _case(mocked: str, path: list[str], error: str | None = None, **attempts: int) -> tuple[str, Case]:
    names = {"claim": _CLAIM, "analyze": _ANALYZE, "move": _MOVE, "log": _LOG, "reviewers": _REVIEWERS}
    names |= {"record": _RECORD, "operators": _OPERATORS, "hold": _HOLD}
    return mocked, Case(Request(mocked), path, error, {names[task]: count for task, count in attempts.items()})


_DENIED = _failing_at(_ANALYZE)
_DYNAMODB_THROTTLE, _DYNAMODB_MISSING = "DynamoDB.ThrottlingException", "DynamoDB.ResourceNotFoundException"

_MOCKED = dict(
    [
        # What the picture shows.
        _case("Cat", CLASSIFIED),
        _case("Dog", CLASSIFIED),
        _case("Other", CLASSIFIED),
        _case("Uncertain", REVIEWED),
        *(_case(f"Rejected{reason}", REJECTED) for reason in REJECTIONS),
        _case("Reused", CLASSIFIED),
        # Enough for today.
        _case("Held", HELD),
        # Somebody else's image.
        _case("Duplicate", [_CLAIM, "Already Claimed"]),
        _case("OwnershipLostAtLogDetection", [*CLASSIFIED[:5], "Already Claimed"]),
        _case("OwnershipLostAtHold", [*HELD[:4], "Already Claimed"]),
        _case("OwnershipLostAtRecordFailure", [_CLAIM, _ANALYZE, _RECORD, "Processing Failed"], "AccessDeniedError"),
        # Errors that pass: each retrier, with every error that it names.
        _case("ClaimThrottled", CLASSIFIED, claim=6),
        _case("ClaimBroken", CLASSIFIED, claim=5),
        _case("AnalyzeThrottled", CLASSIFIED, analyze=3),
        _case("AnalyzeServerError", CLASSIFIED, analyze=5),
        _case("AnalyzeLambdaFails", CLASSIFIED, analyze=5),
        _case("AnalyzeThrottledAndBroken", CLASSIFIED, analyze=7),  # each retrier has attempts of its own
        _case("AnalysisInProgress", CLASSIFIED, analyze=3),
        _case("HoldThrottled", HELD, hold=6),
        _case("HoldBroken", HELD, hold=5),
        _case("MoveThrottled", CLASSIFIED, move=3),
        _case("MoveServerError", CLASSIFIED, move=5),
        _case("MoveLambdaFails", CLASSIFIED, move=5),
        _case("LogThrottled", CLASSIFIED, log=6),
        _case("LogBroken", CLASSIFIED, log=5),
        _case("NotifyReviewersThrottled", REVIEWED, reviewers=3),
        _case("NotifyReviewersServerError", REVIEWED, reviewers=5),
        _case("NotifyReviewersLambdaFails", REVIEWED, reviewers=5),
        _case("RecordThrottled", _DENIED, "AccessDeniedError", record=6),
        _case("RecordBroken", _DENIED, "AccessDeniedError", record=5),
        _case("NotifyOperatorsThrottled", _DENIED, "AccessDeniedError", operators=3),
        _case("NotifyOperatorsServerError", _DENIED, "AccessDeniedError", operators=5),
        _case("NotifyOperatorsLambdaFails", _DENIED, "AccessDeniedError", operators=5),
        # Errors that stay.
        _case("ClaimRetriesExhausted", _failing_at(_CLAIM), _DYNAMODB_THROTTLE, claim=6),
        _case("AnalyzeThrottlesExhausted", _failing_at(_ANALYZE), "ThrottledError", analyze=10),
        _case("AnalyzeRetriesExhausted", _failing_at(_ANALYZE), "ServiceError", analyze=5),
        _case("AnalysisInProgressExhausted", _failing_at(_ANALYZE), "AnalysisInProgressError", analyze=13),
        _case("HoldRetriesExhausted", _failing_at(_HOLD, HELD), _DYNAMODB_THROTTLE, hold=6),
        _case("MoveThrottlesExhausted", _failing_at(_MOVE), "ThrottledError", move=6),
        _case("MoveRetriesExhausted", _failing_at(_MOVE), "ServiceError", move=5),
        _case("LogRetriesExhausted", _failing_at(_LOG), _DYNAMODB_THROTTLE, log=6),
        _case("NotifyReviewersThrottlesExhausted", _failing_at(_REVIEWERS), "ThrottledError", reviewers=6),
        _case("NotifyReviewersRetriesExhausted", _failing_at(_REVIEWERS), "ServiceError", reviewers=5),
        _case("RecordRetriesExhausted", _DENIED, "AccessDeniedError", record=6),
        _case("NotifyOperatorsThrottlesExhausted", _DENIED, "AccessDeniedError", operators=6),
        _case("NotifyOperatorsRetriesExhausted", _DENIED, "AccessDeniedError", operators=5),
        # Errors that trying again cannot mend, known and unknown.
        _case("AccessDenied", _DENIED, "AccessDeniedError"),
        _case("PolicyInvalid", _DENIED, "PolicyInvalidError"),
        _case("ImageNotFound", _DENIED, "ImageNotFoundError"),
        _case("ImageChanged", _failing_at(_MOVE), "ImageChangedError"),
        _case("LongCause", _DENIED, "KeyError"),
        _case("ClaimUnknownError", _failing_at(_CLAIM), _DYNAMODB_MISSING),
        _case("AnalyzeUnknownError", _failing_at(_ANALYZE), "KeyError"),
        _case("HoldUnknownError", _failing_at(_HOLD, HELD), _DYNAMODB_MISSING),
        _case("MoveUnknownError", _failing_at(_MOVE), "KeyError"),
        _case("LogUnknownError", _failing_at(_LOG), _DYNAMODB_MISSING),
        _case("NotifyReviewersUnknownError", _failing_at(_REVIEWERS), "KeyError"),
        _case("RecordUnknownError", _DENIED, "AccessDeniedError"),
        _case("NotifyOperatorsUnknownError", _DENIED, "AccessDeniedError"),
        # An analysis that lacks something.
        _case("NotAnAnalysis", _failing_at(_MOVE), _UNEVALUATED, move=0),
    ]
)


def _fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((REPOSITORY / "events" / f"{name}.json").read_text())
    return document


FOREIGN_KEY = "input/holiday pictures/Mitzi & Rex+1.jpg"

_GOOD_INPUTS = {
    "input from S3": _fixture("s3_object_created"),
    "input from the console": _fixture("console_execution"),
    "input of a foreign key": s3_event(key=FOREIGN_KEY),
    "input without a version": s3_event(version_id=None),
    "input with an id": {**s3_event(), "imageId": "f" * 32},
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
}

_BAD_INPUTS: dict[str, Any] = {
    "empty": {},
    "a list": [],
    "detail missing": {"imageId": IMAGE_ID},
    "detail null": {"detail": None},
    "detail text": {"detail": "input/cat.jpg"},
    "object missing": {"detail": {}},
    "key missing": {"detail": {"object": {"version-id": "v1"}}},
    "key missing with an id": {"imageId": IMAGE_ID, "detail": {"object": {"version-id": "v1"}}},
    "key empty": s3_event(key=""),
    "key a number": {"detail": {"object": {"key": 7, "version-id": "v1"}}},
    "key null": {"detail": {"object": {"key": None, "version-id": "v1"}}},
    "key a list": {"detail": {"object": {"key": [f"input/{IMAGE_ID}.jpg"], "version-id": "v1"}}},
    "key an object": {"detail": {"object": {"key": {"a": 1}, "version-id": "v1"}}},
    "version missing for a foreign key": s3_event(key=FOREIGN_KEY, version_id=None),
    "version null for a foreign key": {"detail": {"object": {"key": FOREIGN_KEY, "version-id": None}}},
    "version null": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": None}}},
    "version a number": {"detail": {"object": {"key": f"input/{IMAGE_ID}.jpg", "version-id": 3}}},
    "id a number": {**s3_event(), "imageId": 5},
    "id null": {**s3_event(), "imageId": None},
    "id empty": {**s3_event(), "imageId": ""},
    "version empty": s3_event(version_id=""),
    "id too long": {**s3_event(), "imageId": "0" * 33},
    "id no hex": {**s3_event(), "imageId": "../../etc"},
    "filed image of another id": {**s3_event(key=f"cats/{IMAGE_ID}.jpg"), "imageId": "f" * 32},
    "filed image without an id": s3_event(key=f"rejected/{IMAGE_ID}.bin"),
    "time no time": {**s3_event(), "time": "yesterday"},
    "time a number": {**s3_event(), "time": 1795253400},
    "time null": {**s3_event(), "time": None},
}

CASES: dict[str, Case] = {
    **_MOCKED,
    "foreign key, claim fails": Case(
        Request("ClaimUnknownError", s3_event(key=FOREIGN_KEY)), _failing_at(_CLAIM), _DYNAMODB_MISSING
    ),
    "named id, claim fails": Case(
        Request("ClaimUnknownError", {**s3_event(), "imageId": "f" * 32}), _failing_at(_CLAIM), _DYNAMODB_MISSING
    ),
    **{name: Case(Request("Cat", document), CLASSIFIED) for name, document in _GOOD_INPUTS.items()},
    **{
        f"bad input: {name}": Case(
            Request("Cat", document), [_CLAIM, "Processing Failed"], _UNEVALUATED, attempts={_CLAIM: 0}
        )
        for name, document in _BAD_INPUTS.items()
    },
}
