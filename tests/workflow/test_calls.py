"""What the workflow sends to its functions, held against what their handlers say they take."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

from pet_detector.rules.models import ReasonCode

from .cases import CASES, FOREIGN_KEY, REJECTIONS
from .executions import CORRELATION_ID, FUNCTION, IMAGE_ID, KEY, MOCK_CONFIG, VERSION_ID, Run, definition

STATES = definition()["States"]
LAMBDA_TASKS = {n for n, s in STATES.items() if s.get("Resource", "").endswith(":lambda:invoke")}
MOCKS = json.loads(MOCK_CONFIG.read_text())


def handler_of(state: str) -> Any:
    """The module of the function that a state invokes: ImageProcessor lies in image_processor/app.py."""
    name = STATES[state]["Arguments"]["FunctionName"].removeprefix(FUNCTION)
    return importlib.import_module(re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() + ".app")


def payload(run: Run, state: str) -> dict[str, Any]:
    sent: dict[str, Any] = run.arguments[state]["Payload"]
    return sent


@pytest.mark.parametrize("case", CASES)
def test_functions_are_sent_the_events_that_they_take(runs: dict[str, Run], case: str) -> None:
    for state in LAMBDA_TASKS & runs[case].arguments.keys():
        hints = get_type_hints(handler_of(state).Event, include_extras=True)
        required = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
        sent = payload(runs[case], state)
        assert required <= sent.keys() <= hints.keys(), state
        assert None not in sent.values(), state


@pytest.mark.parametrize("state", sorted(LAMBDA_TASKS))
def test_mocked_answers_have_the_fields_that_the_function_answers_with(state: str) -> None:
    answer = inspect.signature(handler_of(state).lambda_handler, eval_str=True).return_annotation
    fields = get_type_hints(answer).keys() if isinstance(answer, type) and hasattr(answer, "__total__") else None
    for answers in answers_to(state):
        assert fields is None or answers["Payload"].keys() == fields
        assert answers["StatusCode"] == 200  # AWS Step Functions Local holds answers against the API's shape


def answers_to(state: str) -> list[dict[str, Any]]:
    cases = MOCKS["StateMachines"]["ImageWorkflow"]["TestCases"].values()
    names = {case[state] for case in cases if state in case}
    attempts = [attempt for name in sorted(names) for attempt in MOCKS["MockedResponses"][name].values()]
    return [attempt["Return"] for attempt in attempts if "Return" in attempt]


def test_every_reason_to_reject_has_a_case() -> None:
    reasons = {answer["Payload"].get("reasonCode") for answer in answers_to("Analyze Image")} - {None}

    assert reasons == {str(code) for code in ReasonCode}


def test_processor_is_asked_about_the_claimed_object(runs: dict[str, Run]) -> None:
    assert payload(runs["Cat"], "Analyze Image") == {
        "imageId": IMAGE_ID,
        "executionArn": runs["Cat"].recording,
        "correlationId": CORRELATION_ID,
        "key": KEY,
        "versionId": VERSION_ID,
        "overLimit": False,
    }


@pytest.mark.parametrize(
    ("case", "over"),
    [("input of a restart", False), ("input with release as text", False), ("input of a release", True)],
)
def test_only_a_release_passes_the_daily_limit(runs: dict[str, Run], case: str, over: bool) -> None:
    assert payload(runs[case], "Analyze Image")["overLimit"] is over


@pytest.mark.parametrize("case", CASES)
def test_functions_are_sent_the_correlation_id_of_the_claim(runs: dict[str, Run], case: str) -> None:
    """A claim that failed has not learnt the record's: then it is the execution's name."""
    names = {runs[case].recording.rpartition(":")[2]} if "Analyze Image" not in runs[case].path else {CORRELATION_ID}
    sent = {payload(runs[case], state)["correlationId"] for state in LAMBDA_TASKS & runs[case].arguments.keys()}

    assert sent <= names


def test_processor_is_asked_about_the_newest_version_when_the_input_names_none(runs: dict[str, Run]) -> None:
    assert payload(runs["input without a version"], "Analyze Image")["versionId"] == ""


@pytest.mark.parametrize(
    ("case", "folder", "extension"),
    [
        ("Cat", "cats", "jpg"),
        ("Dog", "dogs", "png"),
        ("Other", "others", "jpg"),
        ("Uncertain", "others", "jpg"),
        *((f"Rejected{reason}", "rejected", "bin") for reason in REJECTIONS),
    ],
)
def test_the_version_that_was_analysed_is_moved_to_its_folder(
    runs: dict[str, Run], case: str, folder: str, extension: str
) -> None:
    assert payload(runs[case], "Move Image") == {
        "imageId": IMAGE_ID,
        "executionArn": runs[case].recording,
        "correlationId": CORRELATION_ID,
        "key": KEY,
        "versionId": VERSION_ID,
        "etag": "9b2cf535f27731c974343645a3985328",
        "folder": folder,
        "extension": extension,
    }


def test_reviewers_hear_what_the_machine_leaned_to(runs: dict[str, Run]) -> None:
    assert payload(runs["Uncertain"], "Notify Reviewers") == {
        "kind": "uncertain",
        "imageId": IMAGE_ID,
        "executionArn": runs["Uncertain"].recording,
        "correlationId": CORRELATION_ID,
        "fileName": "Whiskers.jpg",
        "location": f"s3://images/others/{IMAGE_ID}.jpg",
        "reason": "Cat 72.4 % is below 80 %, but above 50 %.",
        "confidence": 27.6,
        "scores": {"cat": 72.4, "dog": 55.12},
    }


def test_operators_hear_what_failed_on_which_image(runs: dict[str, Run]) -> None:
    run = runs["ImageChanged"]

    assert payload(run, "Notify Operators") == {
        "kind": "failed",
        "imageId": IMAGE_ID,
        "executionArn": run.recording,
        "correlationId": CORRELATION_ID,
        "key": KEY,
        "error": "ImageChangedError",
        "cause": run.cause,
    }
    assert "not the one that was analysed" in (run.cause or "")


@pytest.mark.parametrize("case", ["RecordUnknownError", "RecordRetriesExhausted"])
def test_operators_hear_the_first_failure_though_it_could_not_be_recorded(runs: dict[str, Run], case: str) -> None:
    assert payload(runs[case], "Notify Operators")["error"] == "AccessDeniedError"


def test_operators_hear_of_an_image_that_could_not_be_claimed(runs: dict[str, Run]) -> None:
    sent = payload(runs["foreign key, claim fails"], "Notify Operators")

    assert sent["key"] == FOREIGN_KEY
    assert sent["error"] == "DynamoDB.ResourceNotFoundException"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("version missing for a foreign key", "detail.object.version-id is missing"),
        ("version null", "detail.object.version-id must be"),
        ("empty", "detail.object.key must be"),
        ("key a number", "detail.object.key must be"),
        ("id no hex", "imageId must be 32 characters"),
        ("filed image of another id", "can only be started again under its own imageId"),
        ("time no time", "yesterday"),
    ],
)
def test_bad_input_is_answered_with_what_to_change(runs: dict[str, Run], case: str, words: str) -> None:
    assert words in (runs[f"bad input: {case}"].cause or "")
