"""What the workflow sends to its functions, held against what their handlers say they take."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from typing import Any, NotRequired, get_origin, get_type_hints

import pytest

from pet_detector.aws.detection_logs import CAUSE_LENGTH
from pet_detector.rules.execution_input import subject_of
from pet_detector.rules.image_ids import shard_of
from pet_detector.rules.models import ReasonCode
from pet_detector.rules.text import message_of

from .answers import ANALYSES, CONVERTED_KEY, CONVERTED_VERSION, REJECTIONS
from .cases import BAD_INPUTS, CASES, GOOD_INPUTS, INCOMPLETE
from .executions import CORRELATION_ID, FUNCTION, IMAGE_ID, KEY, UPLOADER, VERSION_ID, Run, definition

STATES = definition()["States"]
LAMBDA_TASKS = {n for n, s in STATES.items() if s.get("Resource", "").endswith(":lambda:invoke")}


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
    answers = [answer for case in CASES.values() for answer in case.answers[state]]
    return [answer["Return"] for answer in answers if "Return" in answer and answer is not INCOMPLETE]


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
        "uploadedBy": UPLOADER,
    }


@pytest.mark.parametrize("name", GOOD_INPUTS)
def test_failure_recorder_names_the_image_that_is_claimed(runs: dict[str, Run], name: str) -> None:
    claim, subject = runs[name].arguments["Claim Upload"], subject_of(json.dumps(GOOD_INPUTS[name]))

    values = claim["ExpressionAttributeValues"]
    assert subject is not None
    found = (claim["Key"]["ImageID"]["S"], values[":key"]["S"], values[":version"]["S"])
    assert found == (subject.image_id, subject.key, subject.version_id)


@pytest.mark.parametrize("name", sorted(BAD_INPUTS.keys() - {"time no time"}))
def test_failure_recorder_names_no_image_where_none_is_claimed(runs: dict[str, Run], name: str) -> None:
    """Else an input that claims nothing could mark another's image as failed."""
    assert "Claim Upload" not in runs[f"bad input: {name}"].arguments
    assert subject_of(json.dumps(BAD_INPUTS[name])) is None


def test_processor_is_asked_the_same_again_when_the_images_turn_has_come(runs: dict[str, Run]) -> None:
    """What it needs to know of the turn is in its own table."""
    waited = payload(runs["WaitingThreeTimes"], "Analyze Image")

    assert waited == payload(runs["Cat"], "Analyze Image") | {"executionArn": runs["WaitingThreeTimes"].recording}


@pytest.mark.parametrize(
    ("case", "over"),
    [("input of a restart", False), ("input with release as text", False), ("input of a release", True)],
)
def test_only_a_release_passes_the_daily_limit(runs: dict[str, Run], case: str, over: bool) -> None:
    assert payload(runs[case], "Analyze Image")["overLimit"] is over


@pytest.mark.parametrize("case", CASES)
def test_functions_are_sent_the_correlation_id_of_the_claim(runs: dict[str, Run], case: str) -> None:
    """FailureRecorder is sent none: it reads the record, which may be another execution's."""
    for state in (LAMBDA_TASKS - {"Record Failure"}) & runs[case].arguments.keys():
        assert payload(runs[case], state)["correlationId"] == CORRELATION_ID


@pytest.mark.parametrize(("case", "version"), [("Cat", VERSION_ID), ("claimed without a version", "")])
def test_processor_is_asked_about_the_claimed_version_or_the_newest(
    runs: dict[str, Run], case: str, version: str
) -> None:
    assert payload(runs[case], "Analyze Image")["versionId"] == version


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
        "imageFormat": ANALYSES.get(case.removeprefix("Rejected"), ANALYSES.get(case.lower(), {}))["imageFormat"],
        "original": {},
    }


ORIGINAL = {"key": KEY, "versionId": VERSION_ID, "etag": "9b2cf535f27731c974343645a3985328"}


def test_the_converter_gets_the_version_that_was_judged(runs: dict[str, Run]) -> None:
    assert payload(runs["Converted"], "Convert Image") == {
        "imageId": IMAGE_ID,
        "executionArn": runs["Converted"].recording,
        "correlationId": CORRELATION_ID,
        **ORIGINAL,
    }


@pytest.mark.parametrize(
    ("case", "folder"), [("Converted", "cats"), ("ConvertedThenWaiting", "cats"), ("ConvertedAndRejected", "rejected")]
)
def test_what_is_analysed_and_moved_is_the_jpeg_and_the_upload_goes_with_it(
    runs: dict[str, Run], case: str, folder: str
) -> None:
    analyzed = payload(runs[case], "Analyze Image")
    assert (analyzed["key"], analyzed["versionId"]) == (CONVERTED_KEY, CONVERTED_VERSION)
    move = payload(runs[case], "Move Image")
    assert (move["key"], move["versionId"], move["etag"]) == (CONVERTED_KEY, CONVERTED_VERSION, '"c"')
    assert (move["folder"], move["extension"], move["imageFormat"]) == (folder, "jpg", "heic")
    assert move["original"] == ORIGINAL


def test_what_cannot_be_decoded_is_moved_as_it_was_uploaded(runs: dict[str, Run]) -> None:
    move = payload(runs["NotConverted"], "Move Image")
    assert {name: move[name] for name in ORIGINAL} == ORIGINAL
    assert (move["folder"], move["extension"], move["original"]) == ("rejected", "bin", {})


def test_reviewers_are_told_what_the_machine_leaned_to(runs: dict[str, Run]) -> None:
    assert payload(runs["Uncertain"], "Notify Reviewers") == {
        "imageId": IMAGE_ID,
        "executionArn": runs["Uncertain"].recording,
        "correlationId": CORRELATION_ID,
        "fileName": "Whiskers.jpg",
        "location": f"s3://images/others/{IMAGE_ID}.jpg",
        "reason": "Cat 72.4 % is below 80 %, but above 50 %.",
        "confidence": 27.6,
        "scores": {"cat": 72.4, "dog": 55.12},
    }


def test_a_failure_is_recorded_as_the_rule_on_failed_executions_would_have_it(runs: dict[str, Run]) -> None:
    run = runs["ImageChanged"]

    sent = payload(run, "Record Failure")["detail"]

    assert json.loads(sent["input"]) == CASES["ImageChanged"].input
    assert sent == {
        "input": sent["input"],
        "executionArn": run.recording,
        "status": "FAILED",
        "error": "ImageChangedError",
        "cause": run.cause,
    }
    assert "not the one that was analysed" in (run.cause or "")


FAILING = [name for name, case in CASES.items() if "Record Failure" in case.path]


@pytest.mark.parametrize("case", FAILING)
def test_every_failure_is_recorded_for_the_image_of_the_executions_input(runs: dict[str, Run], case: str) -> None:
    """The claim's own error, too: nothing that the claim assigns is needed."""
    sent = payload(runs[case], "Record Failure")["detail"]["input"]

    assert subject_of(sent) == subject_of(json.dumps(CASES[case].input))
    if "Claim Upload" in runs[case].arguments:  # else the input names no image, or it is refused
        claim = runs[case].arguments["Claim Upload"]
        found = subject_of(sent)
        assert found is not None
        assert claim["Key"] == {"ImageID": {"S": found.image_id}}
        assert claim["ExpressionAttributeValues"][":key"] == {"S": found.key}
        assert claim["ExpressionAttributeValues"][":version"] == {"S": found.version_id}
        assert claim["ExpressionAttributeValues"][":shard"] == {"S": shard_of(found.image_id)}


@pytest.mark.parametrize("case", ["RecordFailureUnknownError", "RecordFailureRetriesExhausted"])
def test_an_execution_fails_with_its_first_error_though_it_could_not_be_recorded(
    runs: dict[str, Run], case: str
) -> None:
    assert runs[case].error == payload(runs[case], "Record Failure")["detail"]["error"] == "AccessDeniedError"


def test_a_failed_execution_has_at_most_1000_characters_of_its_cause(runs: dict[str, Run]) -> None:
    sent = payload(runs["LongCause"], "Record Failure")["detail"]["cause"]

    assert len(sent) > CAUSE_LENGTH
    assert runs["LongCause"].cause == sent[:CAUSE_LENGTH]


def test_a_failed_execution_has_the_end_of_what_could_not_be_evaluated(runs: dict[str, Run]) -> None:
    """AWS puts the name of the state and the whole expression first."""
    run = runs["UnevaluatedClaim"]
    sent = payload(run, "Record Failure")["detail"]["cause"]

    assert len(sent) > 3 * CAUSE_LENGTH
    assert run.cause is not None
    assert run.cause == sent[-CAUSE_LENGTH:]
    assert "version-id is missing: aws s3api head-object shows it as VersionId" in (run.cause or "")
    assert "version-id is missing: aws s3api head-object" in message_of(sent, "States.QueryEvaluationError")


def test_an_error_without_a_cause_is_recorded_with_none(runs: dict[str, Run]) -> None:
    run = runs["ErrorWithoutCause"]

    assert (run.error, run.cause or "") == ("KeyError", "")
    assert payload(run, "Record Failure")["detail"]["cause"] == ""


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("version missing for a foreign key", "detail.object.version-id is missing"),
        ("version a number", "detail.object.version-id must be"),
        ("time null", "time must be a time in RFC 3339"),
        ("empty", "detail.object.key must be"),
        ("key a number", "detail.object.key must be"),
        ("id no hex", "imageId must be 32 characters"),
        ("upload of another id", "can only be started under its own imageId"),
        ("filed image of another id", "can only be started again under its own imageId"),
        ("time no time", "yesterday"),
    ],
)
def test_bad_input_is_answered_with_what_to_change(runs: dict[str, Run], case: str, words: str) -> None:
    assert words in (runs[f"bad input: {case}"].cause or "")
