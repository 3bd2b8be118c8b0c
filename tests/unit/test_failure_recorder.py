"""FailureRecorder: every execution that failed is on record, operators are notified once, finished records stay."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

from failure_recorder.app import lambda_handler
from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.rules import image_ids
from pet_detector.rules.errors import AccessDeniedError, ThrottledError
from pet_detector.rules.execution_input import ImageRef, subject_of
from pet_detector.rules.models import REVIEW_FACT
from pet_detector.use_cases import notifier
from tests.support.moto_world import CORRELATION, EXECUTION, IMAGE_ID, KEY, TABLE, TOPIC, Cloud, breakdown, refusal

pytestmark = pytest.mark.usefixtures("people")

UNEVALUATED = "States.QueryEvaluationError"
LOST = ReadTimeoutError(endpoint_url="https://aws")
OTHER = EXECUTION + "2"
CLAIMED = {"ExecutionArn": EXECUTION, "CorrelationId": CORRELATION, "SourceKey": KEY, "ClaimedAt": "2026-11-21"}
ON_RECORD = {"recorded": True, "notice": "sent"}
NOTHING = {"recorded": False, "notice": "none"}


def started_with(key: object = KEY, version: object = "v1", **more: object) -> str:
    """The input of an execution."""
    return json.dumps({"detail": {"object": {"key": key, "version-id": version}}} | more)


def ended(status: str = "TIMED_OUT", sent: str | None = started_with(), **detail: Any) -> Any:
    """EventBridge's event of an execution that ended."""
    return {"detail": {"executionArn": EXECUTION, "status": status, "input": sent} | detail}


# --- What is recorded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "error", "cause"),
    [
        (ended("TIMED_OUT"), "States.Timeout", "The execution ended as TIMED_OUT."),
        (ended("ABORTED"), "ExecutionAborted", "The execution ended as ABORTED."),
        (ended("ABORTED", error=None, cause=None), "ExecutionAborted", "The execution ended as ABORTED."),
        (ended("ABORTED", error="Mine", cause="Stopped by hand."), "Mine", "Stopped by hand."),
        (ended("FAILED", error="States.DataLimitExceeded", cause="Large"), "States.DataLimitExceeded", "Large"),
        (ended("FAILED"), "States.Runtime", "The execution ended as FAILED."),
        (ended("FAILED", error="E", cause=json.dumps({"errorMessage": "Why.", "stackTrace": ["x"]})), "E", "Why."),
        (ended("FAILED", error="E", cause=""), "E", "The execution ended as FAILED."),
        # AWS puts the whole expression first: what is wrong stands at the end.
        (ended("FAILED", error=UNEVALUATED, cause="x" * 3000 + "D3137: Why."), UNEVALUATED, f"…{'x' * 288}D3137: Why."),
        (ended("FAILED", error=UNEVALUATED, cause="D3137: Why."), UNEVALUATED, "D3137: Why."),
    ],
)
def test_an_execution_that_failed_leaves_a_failed_record_and_people_know(
    aws: Cloud, context: LambdaContext, event: Any, error: str, cause: str
) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    assert lambda_handler(event, context) == ON_RECORD
    record = detection_logs.find(TABLE, IMAGE_ID)
    assert record is not None
    assert (record["ProcessingStatus"], record["Error"]) == ("failed", {"Error": error, "Cause": cause})
    (notice,) = aws.notices()
    assert f"{error}: {cause}" in notice["Message"]
    assert EXECUTION in notice["Message"]
    assert notice["MessageAttributes"]["CorrelationID"]["Value"] == CORRELATION


@pytest.mark.parametrize("announced", [True, False])
def test_an_execution_that_never_claimed_its_image_is_on_record_too(
    aws: Cloud, context: LambdaContext, announced: bool
) -> None:
    if announced:
        detection_logs.announce(
            TABLE, IMAGE_ID, file_name="tom.jpg", uploaded_by="k", fingerprint="f", correlation_id=CORRELATION
        )
    assert lambda_handler(ended(), context) == ON_RECORD
    record = detection_logs.find(TABLE, IMAGE_ID)
    assert record is not None
    assert (record["ProcessingStatus"], record["ExecutionArn"]) == ("failed", EXECUTION)
    assert record["CorrelationId"] == (CORRELATION if announced else "one")


def test_a_record_keeps_the_version_that_was_claimed(aws: Cloud, context: LambdaContext) -> None:
    """The redrive must mean that one, though the execution was started without a version."""
    aws.write(ProcessingStatus="processing", SourceVersion="claimed", **CLAIMED)
    assert lambda_handler(ended(sent=started_with(version=None)), context) == ON_RECORD
    assert aws.item()["SourceVersion"] == {"S": "claimed"}


def test_the_record_is_the_one_that_the_execution_was_started_for(aws: Cloud, context: LambdaContext) -> None:
    another, hashed = "e" * 32, image_ids.hashed_image_id("input/tom.jpg", "v1")
    aws.write(another, ProcessingStatus="processing", **CLAIMED)
    lambda_handler(ended(sent=started_with(f"cats/{another}.jpg", imageId=another, restart=True)), context)
    lambda_handler(ended(sent=started_with("input/tom.jpg"), executionArn=OTHER), context)
    assert aws.item(another)["ProcessingStatus"]["S"] == "failed"
    assert aws.item(hashed)["ExecutionArn"]["S"] == OTHER
    assert aws.item(hashed)["SourceVersion"]["S"] == "v1"
    assert len(aws.notices()) == 2


# --- What is left alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        *({"ProcessingStatus": status, **CLAIMED} for status in ("completed", "rejected", "held")),
        {"ProcessingStatus": "needs_review", "Notices": {REVIEW_FACT}, **CLAIMED},
        *(
            {"ProcessingStatus": status, **CLAIMED, "ExecutionArn": OTHER}
            for status in ("processing", "completed", "needs_review", "rejected", "held", "failed")
        ),
    ],
    ids=lambda attributes: f"{attributes['ProcessingStatus']} of {attributes['ExecutionArn'].rpartition(':')[2]}",
)
def test_a_finished_record_and_one_of_another_execution_stay_as_they_are_and_nobody_is_told(
    aws: Cloud, context: LambdaContext, attributes: dict[str, Any]
) -> None:
    aws.write(**attributes)
    before = aws.item()
    assert lambda_handler(ended(), context) == NOTHING
    assert aws.item() == before
    assert aws.notices() == []


def test_what_the_state_machine_recorded_and_told_is_not_told_again(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="failed", Notices={EXECUTION}, Error={"Error": "E", "Cause": "c"}, **CLAIMED)
    before = aws.item()
    event = ended("FAILED", error="E", cause="c")
    assert lambda_handler(event, context) == {"recorded": False, "notice": "already_sent"}
    assert aws.item() == before
    assert aws.notices() == []


def test_what_the_state_machine_recorded_and_could_not_tell_is_told(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="failed", Error={"Error": "E", "Cause": "c"}, **CLAIMED)
    event = ended("FAILED", error="E", cause="c")
    assert lambda_handler(event, context) == {"recorded": False, "notice": "sent"}
    assert len(aws.notices()) == 1


# --- Events that come twice, and attempts that fail -------------------------------------------------------------------


def test_an_event_that_comes_twice_is_told_once(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    assert lambda_handler(ended(), context) == ON_RECORD
    before = aws.item()
    assert lambda_handler(ended(), context) == {"recorded": False, "notice": "already_sent"}
    assert aws.item() == before
    assert len(aws.notices()) == 1


def test_a_notice_that_sns_refused_is_sent_by_the_next_attempt(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    with refusal(client("sns"), "Publish", "Throttled"), pytest.raises(ThrottledError):
        lambda_handler(ended(), context)
    assert aws.item()["ProcessingStatus"]["S"] == "failed"
    assert lambda_handler(ended(), context) == {"recorded": False, "notice": "sent"}
    assert len(aws.notices()) == 1


@contextmanager
def records_refused() -> Iterator[None]:
    """DynamoDB refuses the record of a failure; the reservation of a notice passes."""

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if "ProcessingStatus = :failed" in str(params):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "UpdateItem")

    dynamodb = client("dynamodb")
    dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", refuse)
    try:
        yield
    finally:
        dynamodb.meta.events.unregister("before-call.dynamodb.UpdateItem", refuse)


@pytest.mark.parametrize("before", ["nothing", "uploading", "processing"])
def test_a_failure_that_cannot_be_recorded_fails_the_attempt_and_operators_are_notified_once(
    aws: Cloud, context: LambdaContext, before: str
) -> None:
    if before == "uploading":
        detection_logs.announce(
            TABLE, IMAGE_ID, file_name="tom.jpg", uploaded_by="k", fingerprint="f", correlation_id=CORRELATION
        )
    elif before == "processing":
        aws.write(ProcessingStatus="processing", **CLAIMED)
    for _ in range(2):
        with records_refused(), pytest.raises(AccessDeniedError):
            lambda_handler(ended(), context)
    (notice,) = aws.notices()
    assert notice["MessageAttributes"]["CorrelationID"]["Value"] == ("one" if before == "nothing" else CORRELATION)
    assert lambda_handler(ended(), context) == {"recorded": True, "notice": "already_sent"}
    assert aws.notices() == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"ProcessingStatus": "completed", **CLAIMED},
        {"ProcessingStatus": "processing", **CLAIMED, "ExecutionArn": OTHER},
    ],
    ids=["finished", "another's"],
)
def test_nobody_is_notified_of_what_cannot_be_recorded_and_is_finished_or_anothers(
    aws: Cloud, context: LambdaContext, attributes: dict[str, Any]
) -> None:
    aws.write(**attributes)
    with records_refused(), pytest.raises(AccessDeniedError):
        lambda_handler(ended(), context)
    assert aws.notices() == []


def test_a_table_that_refuses_everything_fails_the_attempt(aws: Cloud, context: LambdaContext) -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(AccessDeniedError):
        lambda_handler(ended(), context)
    assert aws.notices() == []


def test_a_lost_answer_of_dynamodb_neither_hides_nor_doubles_the_failure(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True) as fault:
        assert lambda_handler(ended(), context) == ON_RECORD
    assert fault.happened == 1
    assert len(aws.notices()) == 1


# --- Inputs -----------------------------------------------------------------------------------------------------------

HASHED = image_ids.hashed_image_id("input/tom.jpg", "v1")
WITHOUT_VERSION = image_ids.hashed_image_id("input/tom.jpg", "null")
INPUTS: list[tuple[str | None, tuple[str, str, str] | None]] = [
    (started_with(), (IMAGE_ID, KEY, "v1")),
    (started_with(version=None), (IMAGE_ID, KEY, "newest")),
    (json.dumps({"detail": {"object": {"key": KEY}}}), (IMAGE_ID, KEY, "newest")),
    (started_with("input/tom.jpg"), (HASHED, "input/tom.jpg", "v1")),
    (started_with(f"cats/{'e' * 32}.jpg", imageId="e" * 32), ("e" * 32, f"cats/{'e' * 32}.jpg", "v1")),
    (started_with(imageId=None), None),
    (started_with("input/tom.jpg", version=None), None),
    # Of S3 itself: versioning is not yet effective in a new bucket, and the version is null.
    (started_with("input/tom.jpg", version=None, source="aws.s3"), (WITHOUT_VERSION, "input/tom.jpg", "null")),
    (started_with("input/tom.jpg", version="", source="aws.s3"), (WITHOUT_VERSION, "input/tom.jpg", "null")),
    (started_with(version=None, source="aws.s3"), (IMAGE_ID, KEY, "null")),
    (started_with("input/tom.jpg", version=None, source="aws.s4"), None),
    (started_with(version=5), None),
    (started_with("input/tom.jpg", version=""), None),
    (started_with(""), None),
    (started_with(None), None),
    (started_with(5), None),
    (started_with([KEY]), None),
    (started_with(5, imageId="e" * 32), None),
    (started_with(imageId="x"), None),
    (started_with(imageId="E" * 32), None),
    (started_with(imageId="e" * 32 + "\n"), None),
    (started_with(imageId=["e" * 32]), None),
    (started_with(imageId=7), None),
    (None, None),  # more than 248 KiB
    ("", None),
    ("no JSON", None),
    ("{}", None),
    ("[]", None),
    ("5", None),
    ("null", None),
    ('"detail"', None),
    ('{"detail": null}', None),
    ('{"detail": {"object": "key"}}', None),
    ('{"detail": {"object": []}}', None),
]


@pytest.mark.parametrize(("sent", "subject"), INPUTS, ids=range(len(INPUTS)))
def test_an_input_names_an_image_or_it_is_none_of_ours(
    aws: Cloud, context: LambdaContext, logs: io.StringIO, sent: str | None, subject: tuple[str, str, str] | None
) -> None:
    assert subject_of(sent) == (subject and ImageRef(*subject))
    assert lambda_handler(ended(sent=sent), context) == (ON_RECORD if subject else NOTHING)
    assert len(aws.records()) == (1 if subject else 0)
    assert ("names no image" in logs.getvalue()) is (subject is None)


ANOTHER = "f" * 32


@pytest.mark.parametrize(
    "sent",
    [
        started_with(f"cats/{ANOTHER}.jpg", imageId=IMAGE_ID),
        started_with(f"rejected/{ANOTHER}.bin", imageId=IMAGE_ID, restart=True),
        started_with(f"others/{ANOTHER}.jpg", "v1", imageId=IMAGE_ID, source="aws.s3"),
        started_with(f"input/{ANOTHER}.jpg", imageId=IMAGE_ID),
        started_with("input/nothing.jpg", "x", imageId=IMAGE_ID),
        started_with("input/nothing.jpg", imageId=IMAGE_ID),
        started_with(f"input/backfill/{ANOTHER}.jpg", imageId=IMAGE_ID, restart=True),
        started_with("samples/cat.jpg", imageId=IMAGE_ID),
        started_with(version=1.5),
        started_with(version=["v1"]),
        started_with(version=False),
        started_with(imageId=None),
        started_with(imageId=""),
        started_with(imageId=[IMAGE_ID]),
        started_with(f"input/{ANOTHER}.jpg", imageId={IMAGE_ID: IMAGE_ID}),
        started_with(time=7),
        started_with(time=None),
        json.dumps({"detail": {"object": {"key": KEY, "version-id": {}}}}),
        json.dumps({"detail": {"object": [KEY]}, "imageId": IMAGE_ID}),
        json.dumps([[KEY]]),
        "[" * 100_000,
    ],
)
def test_an_input_that_the_machine_does_not_claim_changes_nothing_of_anybody(
    aws: Cloud, context: LambdaContext, sent: str
) -> None:
    """Who may start an execution names a filed picture, or nonsense, and the id of another's pending upload."""
    detection_logs.announce(
        TABLE, IMAGE_ID, file_name="tom.jpg", uploaded_by="k", fingerprint="f", correlation_id=CORRELATION
    )
    before = aws.item()
    assert lambda_handler(ended("FAILED", sent=sent), context) == NOTHING
    assert (aws.item(), aws.notices(), len(aws.records())) == (before, [], 1)


# --- Too many at once -------------------------------------------------------------------------------------------------


def test_beyond_the_burst_a_failure_is_on_record_and_in_the_digest(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTICE_BURST", "1")
    answers = []
    for digit in "abc":
        aws.write(digit * 32, ProcessingStatus="processing", **CLAIMED)
        answers.append(lambda_handler(ended(sent=started_with(f"input/{digit * 32}.jpg")), context)["notice"])
        assert aws.item(digit * 32)["ProcessingStatus"]["S"] == "failed"
    assert answers == ["sent", "in_digest", "in_digest"]
    assert len(aws.notices()) == 1
    assert notifier.send_digest(TABLE, TOPIC, "dev", burst=1) == 2
    (digest,) = aws.notices()
    assert digest["Subject"] == "[dev] 2 images failed"


def test_log_lines_hold_the_ids_of_the_image_the_execution_and_the_story(
    aws: Cloud, context: LambdaContext, logs: io.StringIO
) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    lambda_handler(ended(), context)
    line = json.loads(logs.getvalue().splitlines()[-1])
    assert (line["image_id"], line["execution_id"], line["correlation_id"]) == (IMAGE_ID, EXECUTION, CORRELATION)


# --- Verdicts ---------------------------------------------------------------------------------------------------------

VERDICT = json.dumps({"imageId": IMAGE_ID, "sequence": 3})


def filed(aws: Cloud) -> dict[str, Any]:
    """An image about which somebody decided."""
    return aws.write(ProcessingStatus="needs_review", CorrelationId=CORRELATION, ReviewClaim=EXECUTION)


def test_a_verdict_that_was_not_carried_out_is_told_once_and_the_image_stays_as_it_is(
    aws: Cloud, context: LambdaContext
) -> None:
    """However often it is started again, and from whichever road it comes."""
    filed(aws)
    before = aws.item()
    failed = ended("FAILED", VERDICT, error="AccessDeniedError", cause="s3:CopyObject: AccessDenied")
    assert lambda_handler(failed, context) == {"recorded": False, "notice": "sent"}
    for execution in (EXECUTION, OTHER):
        assert lambda_handler(ended("FAILED", VERDICT, executionArn=execution), context)["notice"] == "already_sent"
    (notice,) = aws.notices()
    assert "number 3" in notice["Message"]
    assert "AccessDeniedError: s3:CopyObject: AccessDenied" in notice["Message"]
    assert "petdetect --env dev reviews" in notice["Message"]
    changed = aws.item()
    assert {name: changed[name] for name in before} == before
    assert changed.keys() - before.keys() == {"Notices", "NoticeClaim"}


def test_another_verdict_on_the_same_image_is_told_again(aws: Cloud, context: LambdaContext) -> None:
    filed(aws)
    for sequence in (3, 4):
        lambda_handler(ended("FAILED", json.dumps({"imageId": IMAGE_ID, "sequence": sequence})), context)
    assert len(aws.notices()) == 2


@pytest.mark.parametrize("status", ["erased", None])
def test_of_a_verdict_on_an_image_that_is_no_more_nobody_is_told(
    aws: Cloud, context: LambdaContext, status: str | None
) -> None:
    if status:
        aws.write(ProcessingStatus=status)
    assert lambda_handler(ended("FAILED", VERDICT), context) == NOTHING
    assert aws.notices() == []


@pytest.mark.parametrize("sequence", ["3", None, True, 3.5])
def test_a_verdict_without_a_number_is_none_of_ours(aws: Cloud, context: LambdaContext, sequence: object) -> None:
    filed(aws)
    sent = json.dumps({"imageId": IMAGE_ID, "sequence": sequence})
    assert lambda_handler(ended("FAILED", sent), context) == NOTHING


def test_an_image_whose_input_also_has_a_number_is_on_record(aws: Cloud, context: LambdaContext) -> None:
    aws.write(ProcessingStatus="processing", **CLAIMED)
    assert lambda_handler(ended(sent=started_with(imageId=IMAGE_ID, sequence=3)), context) == ON_RECORD
