"""Erasing an image: what goes, in which order, what is refused, and what nothing brings back."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ReadTimeoutError

from erasure_api.app import lambda_handler
from pet_detector.aws import analyses, dead_letters, detection_logs, erasures
from pet_detector.aws.clients import client
from pet_detector.aws.erasures import Source
from pet_detector.rules import image_ids
from pet_detector.rules.business_metrics import measurements
from pet_detector.rules.errors import PetDetectorError, ServiceError
from pet_detector.rules.execution_input import ImageRef
from pet_detector.rules.models import Status
from pet_detector.use_cases import erasure, failures
from pet_detector.use_cases.erasure import Outcome, Resources
from tests.support.api_events import API_KEY_ID, REQUEST_ID, body_of, refused, request
from tests.support.moto_world import (
    ANALYSES,
    BUCKET,
    ERASURES,
    EVENTS_QUEUE,
    EXECUTION,
    IMAGE_ID,
    KEY,
    REPORTS_QUEUE,
    REVIEWS,
    TABLE,
    TOPIC,
    WORKFLOW,
    Cloud,
    breakdown,
    refusal,
)

RESOURCES = Resources(BUCKET, TABLE, ANALYSES, REVIEWS, ERASURES, (EVENTS_QUEUE, REPORTS_QUEUE), 365)
LONG_AGO = "2026-01-01T00:00:00.000Z"
OTHER = "f" * 32
HASH = "e" * 64
NAME = "anna.jpg"
LOST = ReadTimeoutError(endpoint_url="https://aws")


@pytest.fixture(autouse=True)
def _queues(aws: Cloud) -> None:
    aws.make_queues()


def ago(**parts: float) -> str:
    return detection_logs.format_time(datetime.now(UTC) - timedelta(**parts))


def image(aws: Cloud, status: str = "completed", image_id: str = IMAGE_ID, **more: Any) -> dict[str, Any]:
    """A record as the workflow leaves it, long ago."""
    known: dict[str, Any] = {
        "UploadedBy": API_KEY_ID,
        "OriginalFilename": NAME,
        "CreatedAt": LONG_AGO,
        "UpdatedAt": LONG_AGO,
    }
    known |= {"ListedAt": f"{LONG_AGO}#{image_id}", "SourceKey": f"input/{image_id}.jpg", "SourceVersion": "v" * 32}
    known |= {"Executions": {EXECUTION}, "ExecutionArn": EXECUTION, "AnimalShard": "cat#1", "OwnerShard": "key-id#1"}
    return aws.write(image_id, ProcessingStatus=status, **(known | more))


def erase(image_id: str = IMAGE_ID, source: Source = Source.OPERATOR) -> Outcome:
    (outcome,) = erasure.erase(RESOURCES, [image_id], source)
    return outcome


def analysed(aws: Cloud, content_hash: str, **more: Any) -> None:
    aws.dynamodb.put_item(TableName=ANALYSES, Item={"ContentHash": {"S": content_hash}, **more})


def hashes(aws: Cloud) -> set[str]:
    return {item["ContentHash"]["S"] for item in aws.dynamodb.scan(TableName=ANALYSES)["Items"]}


def versions(aws: Cloud) -> list[tuple[str, str]]:
    """(key, version) of everything in the bucket, delete markers included."""
    found = aws.s3.list_object_versions(Bucket=BUCKET)
    return [(e["Key"], e["VersionId"]) for e in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]]


def parked(aws: Cloud, url: str) -> list[str]:
    """What lies in a queue; it stays there."""
    answer = aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [message["Body"] for message in answer.get("Messages", [])]


def is_mark_alone(aws: Cloud) -> None:
    item = aws.item()
    assert item.keys() == {"ImageID", "ProcessingStatus", "ErasedAt", "ExpiresAt"}
    assert item["ProcessingStatus"] == {"S": "erased"}


# --- What goes --------------------------------------------------------------------------------------------------------


def test_every_version_copy_and_delete_marker_goes_and_nobody_elses(aws: Cloud) -> None:
    image(aws, ContentHash=HASH)
    for folder in ("input", "input/backfill", *image_ids.FOLDERS):
        for extension in ("jpg", "png", "bin"):
            aws.put(f"{folder}/{IMAGE_ID}.{extension}", b"one")
        aws.put(f"{folder}/{IMAGE_ID}.jpg", b"two")
        aws.s3.delete_object(Bucket=BUCKET, Key=f"{folder}/{IMAGE_ID}.png")
    others = [f"cats/{OTHER}.jpg", f"input/{NAME}", f"input/{IMAGE_ID}0.jpg", "samples/cat.jpg"]
    for key in others:
        aws.put(key, b"another's")

    outcome = erase()

    assert outcome == Outcome(IMAGE_ID, objects=30, is_done=True, analyses=1)
    assert sorted(key for key, _ in versions(aws)) == sorted(others)


def test_of_a_key_that_its_uploader_chose_only_the_images_own_version_goes(aws: Cloud) -> None:
    """Other versions under it are other images, perhaps of other people."""
    key = f"input/{NAME}"
    before, _ = aws.put(key, b"another's")
    own, _ = aws.put(key, b"mine")
    after, _ = aws.put(key, b"another's, too")
    image(aws, "failed", SourceKey=key, SourceVersion=own)

    assert erase().objects == 1

    assert sorted(versions(aws)) == sorted([(key, before), (key, after)])


def test_the_version_at_the_images_own_key_is_not_asked_for_again(aws: Cloud) -> None:
    """It was listed; and once it is filed, S3 says 403 for it to whoever may not list, and the erasure never ends."""
    aws.put(f"cats/{IMAGE_ID}.jpg", b"a cat")
    image(aws, ContentHash=HASH)
    with breakdown(client("s3"), "HeadObject", LOST, done=False) as fault:
        assert erase().objects == 1
    assert not fault.happened


def test_more_versions_than_one_call_deletes(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pet_detector.aws.image_versions._DELETED_AT_ONCE", 2)
    image(aws)
    for number in range(5):
        aws.put(KEY, str(number).encode())
    assert erase().objects == 5
    assert versions(aws) == []


def test_the_record_leaves_a_mark_without_anything_of_the_image(aws: Cloud) -> None:
    image(aws)
    erase()
    is_mark_alone(aws)
    ends = int(aws.item()["ExpiresAt"]["N"])
    assert abs(ends - datetime.now(UTC).timestamp() - 365 * 86_400) < 60
    assert detection_logs.find(TABLE, IMAGE_ID) is None
    assert detection_logs.count(TABLE, Status.COMPLETED) == 0


def test_the_analysis_goes_unless_another_image_asks_for_it(aws: Cloud) -> None:
    soon = {"N": str(int(datetime.now(UTC).timestamp()) + 60)}
    for owner, ends, stays in ((OTHER, soon, True), (IMAGE_ID, soon, False), (OTHER, {"N": "1"}, False)):
        image(aws, ContentHash=HASH)
        analysed(aws, HASH, LeaseOwner={"S": owner}, LeaseEnds=ends)
        analysed(aws, "newest-model")
        assert erase().analyses == (not stays)
        assert hashes(aws) == {"newest-model"} | ({HASH} if stays else set())
    analysed(aws, HASH, ModelVersion={"S": "3.0"})
    assert analyses.forget(ANALYSES, HASH, IMAGE_ID) is True


@pytest.mark.parametrize("status", ["failed", "held"])
def test_of_an_image_that_was_not_finished_the_bytes_tell_the_hash(aws: Cloud, status: str) -> None:
    version, _ = aws.put(KEY, b"bytes" * 1_000_000)  # more than one chunk
    content_hash = hashlib.sha256(b"bytes" * 1_000_000).hexdigest()
    analysed(aws, content_hash)
    image(aws, status, SourceVersion=version)
    erase()
    assert hashes(aws) == set()


def test_of_what_was_filed_without_its_metadata_the_object_tells_the_hash(aws: Cloud) -> None:
    aws.put(f"cats/{IMAGE_ID}.jpg", b"other bytes", Metadata={"uploaded-sha256": HASH})
    analysed(aws, HASH)
    image(aws, "failed")
    erase()
    assert hashes(aws) == set()


@pytest.mark.parametrize("named", [IMAGE_ID, "v" * 32, EXECUTION])
def test_dead_letters_that_name_it_go_and_the_others_stay(aws: Cloud, named: str) -> None:
    image(aws)
    for url in (EVENTS_QUEUE, REPORTS_QUEUE):
        for number in range(12):  # more than one call receives
            aws.sqs.send_message(QueueUrl=url, MessageBody=f'{{"object": "another {number}"}}')
            aws.sqs.send_message(QueueUrl=url, MessageBody=f'{{"object": "{named}", "name": "{NAME}"}}')
    assert erase().messages == 24
    for url in (EVENTS_QUEUE, REPORTS_QUEUE):
        attributes = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["ApproximateNumberOfMessages"] == "12"  # and none is hidden
        assert all("another" in body for body in parked(aws, url))


def test_a_version_that_names_nobody_deletes_no_message(aws: Cloud) -> None:
    image(aws, SourceVersion="newest")
    aws.sqs.send_message(QueueUrl=EVENTS_QUEUE, MessageBody="the newest of all")
    assert erase().messages == 0


def test_what_somebody_else_has_received_leaves_the_erasure_begun(aws: Cloud) -> None:
    image(aws)
    aws.sqs.send_message(QueueUrl=EVENTS_QUEUE, MessageBody=IMAGE_ID)
    handle = aws.sqs.receive_message(QueueUrl=EVENTS_QUEUE)["Messages"][0]["ReceiptHandle"]

    assert erase().is_done is False
    assert [row.stage for row in erasures.every(ERASURES)] == ["begun"]
    assert list(erasure.came_back(RESOURCES)) == [IMAGE_ID]

    aws.sqs.change_message_visibility(QueueUrl=EVENTS_QUEUE, ReceiptHandle=handle, VisibilityTimeout=0)
    again = erase()
    assert (again.messages, again.is_done) == (1, True)
    assert list(erasure.came_back(RESOURCES)) == []


@pytest.mark.parametrize(("patience", "is_done", "waited"), [(0, False, 0), (12, True, 10), (7, False, 5)])
def test_an_operator_waits_until_sqs_counts_again_what_a_pass_before_had_received(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, patience: float, is_done: bool, waited: float
) -> None:
    """The first queue counts two looks late. The API does not wait: its caller does."""
    image(aws)
    clock = [1_000.0]
    late = iter([True, True])
    slept = SimpleNamespace(monotonic=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(dead_letters, "time", slept)
    monkeypatch.setattr(dead_letters, "_is_in_other_hands", lambda _: next(late, False))
    (outcome,) = erasure.erase(RESOURCES, [IMAGE_ID], Source.OPERATOR, patience=patience)
    assert (outcome.is_done, clock[0] - 1_000) == (is_done, waited)


def test_a_queue_that_is_too_long_leaves_the_erasure_begun(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pet_detector.aws.dead_letters.MOST_MESSAGES", 10)
    image(aws)
    for number in range(11):
        aws.sqs.send_message(QueueUrl=REPORTS_QUEUE, MessageBody=str(number))
    assert erase().is_done is False


# --- The ledger -------------------------------------------------------------------------------------------------------


def test_the_ledger_says_when_who_asked_and_how_much_and_nothing_about_the_image(aws: Cloud) -> None:
    image(aws, ContentHash=HASH)
    analysed(aws, HASH)
    aws.put(f"cats/{IMAGE_ID}.jpg", b"a cat")
    erase(source=Source.API)
    (item,) = aws.dynamodb.scan(TableName=ERASURES)["Items"]
    times = {item.pop(name)["S"][:10] for name in ("BegunAt", "ErasedAt")}
    assert times == {f"{datetime.now(UTC):%Y-%m-%d}"}
    assert item == {
        "ImageID": {"S": IMAGE_ID},
        "Stage": {"S": "done"},
        "RequestedBy": {"S": "api"},
        "Versions": {"N": "1"},
        "Analyses": {"N": "1"},
        "Messages": {"N": "0"},
        "Reviews": {"N": "0"},
    }


CALLS = [
    ("s3", "ListObjectVersions"),
    ("s3", "GetObject"),
    ("s3", "DeleteObjects"),
    ("dynamodb", "DeleteItem"),
    ("dynamodb", "PutItem"),
    ("dynamodb", "Query"),
    ("sqs", "ReceiveMessage"),
    ("sqs", "ChangeMessageVisibilityBatch"),
    ("sqs", "DeleteMessageBatch"),
]


@pytest.mark.parametrize(("service", "operation"), CALLS)
@pytest.mark.parametrize("done", [False, True])
def test_after_a_crash_at_any_call_the_same_again_does_the_rest(
    aws: Cloud, service: Any, operation: str, done: bool
) -> None:
    """`done`: AWS did it, and its answer was lost."""
    version, _ = aws.put(KEY, b"bytes")
    content_hash = hashlib.sha256(b"bytes").hexdigest()
    analysed(aws, content_hash)
    image(aws, "failed", SourceVersion=version)
    for body in (IMAGE_ID, "another"):
        aws.sqs.send_message(QueueUrl=EVENTS_QUEUE, MessageBody=body)
    with breakdown(client(service), operation, LOST, done=done, times=9) as fault, pytest.raises(PetDetectorError):
        erase()
    assert fault.happened
    assert detection_logs.find(TABLE, IMAGE_ID) is None  # nobody sees it any more, and no index lists it
    assert not aws.item().keys() & {"Shard", "StatusShard", "AnimalShard", "OwnerShard"}
    assert [row.stage for row in erasures.every(ERASURES)] == ["begun"]
    assert list(erasure.came_back(RESOURCES)) == [IMAGE_ID]

    for url in (EVENTS_QUEUE, REPORTS_QUEUE):  # a minute later
        aws.sqs.purge_queue(QueueUrl=url) if done and operation == "ReceiveMessage" else None
    erase()

    is_mark_alone(aws)
    assert versions(aws) == []
    assert hashes(aws) == set()


def test_before_the_ledger_says_so_nothing_is_touched(aws: Cloud) -> None:
    before = image(aws)
    aws.put(KEY, b"bytes")
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(PetDetectorError):
        erase()
    assert aws.item() == {name: detection_logs.serialized(value) for name, value in before.items()}
    assert aws.keys() == [KEY]


def test_what_s3_does_not_delete_although_it_answers_is_an_error(aws: Cloud) -> None:
    image(aws)
    aws.put(KEY, b"bytes")
    answer = {"Errors": [{"Key": KEY, "Code": "InternalError"}], "ResponseMetadata": {"RetryAttempts": 0}}

    def refuse(**_: object) -> tuple[SimpleNamespace, Any]:
        return SimpleNamespace(status_code=200), answer

    events: Any = client("s3").meta.events
    events.register("before-call.s3.DeleteObjects", refuse)
    with pytest.raises(ServiceError):
        erase()
    events.unregister("before-call.s3.DeleteObjects", refuse)
    assert [row.stage for row in erasures.every(ERASURES)] == ["begun"]


def test_a_lost_answer_to_hiding_is_no_refusal(aws: Cloud) -> None:
    image(aws)
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True, times=2) as fault:
        outcome = erase()
    assert (fault.happened, outcome.refusal) == (2, "")


def test_several_images_are_erased_together(aws: Cloud) -> None:
    image(aws)
    image(aws, "processing", OTHER, ClaimedAt=ago(minutes=1))
    aws.deploy_workflow()
    first, second = erasure.erase(RESOURCES, [IMAGE_ID, OTHER], Source.OPERATOR)
    assert (first.is_done, second.refusal[:24]) == (True, "It is being processed: t")
    assert [row.image_id for row in erasures.every(ERASURES)] == [IMAGE_ID]


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("processing", {"ClaimedAt": lambda: LONG_AGO}),
        ("uploading", {"CreatedAt": lambda: ago(seconds=300 + 30)}),
        ("uploading", {"CopyEnds": lambda: 4_000_000_000}),
        ("failed", {"UpdatedAt": lambda: ago(seconds=30)}),
    ],
)
def test_what_may_still_arrive_or_move_is_not_erased(
    aws: Cloud, context: LambdaContext, status: str, more: dict[str, Callable[[], Any]]
) -> None:
    image(aws, status, **{name: value() for name, value in more.items()})
    before = aws.item()
    answer = lambda_handler(request("DELETE", f"/images/{IMAGE_ID}"), context)
    assert refused(answer) == (409, "IMAGE_NOT_FINISHED")
    assert "try again" in body_of(answer)["message"]
    assert aws.item() == before
    assert list(erasures.every(ERASURES)) == []


@pytest.mark.parametrize(
    ("status", "more"),
    [
        *[(status, {}) for status in ("completed", "needs_review", "rejected", "held", "failed")],
        ("uploading", {"CreatedAt": ago(seconds=361)}),
        ("uploading", {"CopyEnds": 1, "ExpiresAt": 1}),
    ],
)
def test_everything_else_is_erased(aws: Cloud, context: LambdaContext, status: str, more: dict[str, Any]) -> None:
    image(aws, status, **more)
    answer = lambda_handler(request("DELETE", f"/images/{IMAGE_ID}"), context)
    assert (answer["statusCode"], body_of(answer)) == (200, {"imageId": IMAGE_ID, "status": "erased"})
    is_mark_alone(aws)


def test_an_operator_may_erase_what_a_lost_execution_left(aws: Cloud) -> None:
    aws.deploy_workflow()
    started = aws.states.start_execution(stateMachineArn=WORKFLOW, name="runs-on", input="{}")["executionArn"]
    for execution, refusal_begins in ((started, "It is being processed"), (EXECUTION, "")):
        image(aws, "processing", ExecutionArn=execution, ClaimedAt=ago(hours=3))
        outcome = erase()
        assert outcome.refusal.startswith(refusal_begins)
        assert bool(outcome.refusal) is bool(refusal_begins)
        assert not refusal_begins or execution in outcome.refusal


def test_an_execution_that_claims_it_at_this_moment_wins(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    image(aws, "held")
    begin = erasures.begin

    def claim_after(*arguments: Any) -> None:
        begin(*arguments)
        image(aws, "processing", UpdatedAt=ago(seconds=0))

    monkeypatch.setattr(erasures, "begin", claim_after)
    aws.put(KEY, b"bytes")
    assert "try again" in erase().refusal
    assert aws.keys() == [KEY]
    assert [row.stage for row in erasures.every(ERASURES)] == ["refused"]
    assert list(erasure.came_back(RESOURCES)) == []


# --- Whose image ------------------------------------------------------------------------------------------------------


def test_anothers_an_unknown_and_an_erased_image_get_the_same_answer(aws: Cloud, context: LambdaContext) -> None:
    image(aws, UploadedBy="another")
    image(aws, "processing", "2" * 32, UploadedBy="another")
    image(aws, "completed", OTHER)
    erase(OTHER)
    paths = [f"/images/{name}" for name in (IMAGE_ID, "2" * 32, OTHER, "0" * 32, "x")]
    answers = [lambda_handler(request("DELETE", path), context) for path in paths]
    assert refused(answers[0]) == (404, "IMAGE_NOT_FOUND")
    assert all(answer == answers[0] for answer in answers)
    assert aws.item()["ProcessingStatus"] == {"S": "completed"}


def test_every_request_leaves_one_line_with_image_key_and_request(
    aws: Cloud, context: LambdaContext, logs: io.StringIO
) -> None:
    image(aws)
    image(aws, image_id=OTHER, UploadedBy="another")
    for name in (IMAGE_ID, IMAGE_ID, OTHER, "0" * 32, "no-id"):
        lambda_handler(request("DELETE", f"/images/{name}"), context)
    found = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert {(line["api_key_id"], line["correlation_id"]) for line in found} == {(API_KEY_ID, REQUEST_ID)}
    assert [(line["message"], line.get("image_id"), line.get("denied")) for line in found] == [
        ("Image erased", IMAGE_ID, None),
        ("Image not erased", IMAGE_ID, False),
        ("Image not erased", OTHER, True),
        ("Image not erased", "0" * 32, False),
        ("Image not erased", None, False),
    ]


def test_whoever_sees_all_may_erase_all(aws: Cloud, context: LambdaContext) -> None:
    image(aws, UploadedBy="another")
    item: Any = {"ImageID": {"S": f"key#{API_KEY_ID}"}, "SeesAll": {"BOOL": True}}
    aws.dynamodb.put_item(TableName=TABLE, Item=item)
    assert lambda_handler(request("DELETE", f"/images/{IMAGE_ID}"), context)["statusCode"] == 200


def test_dead_letters_in_other_hands_are_said(aws: Cloud, context: LambdaContext) -> None:
    image(aws)
    aws.sqs.send_message(QueueUrl=EVENTS_QUEUE, MessageBody="another")
    aws.sqs.receive_message(QueueUrl=EVENTS_QUEUE)
    answer = lambda_handler(request("DELETE", f"/images/{IMAGE_ID}"), context)
    assert (answer["statusCode"], body_of(answer)["status"]) == (202, "erasing")


# --- What nothing brings back -----------------------------------------------------------------------------------------

OPERATORS = failures.Operators(TABLE, TOPIC, "dev", 20, 365)


def fails(aws: Cloud) -> object:
    subject = ImageRef(IMAGE_ID, KEY, "v" * 32)
    return failures.record(OPERATORS, failures.Failure(subject, EXECUTION, "E", "cause")).notice


LATE: dict[str, tuple[Callable[[Cloud], object], object]] = {
    "a failure": (fails, "none"),
    "a notice": (lambda _: detection_logs.reserve_notice(TABLE, IMAGE_ID, "uncertain"), False),
    "a turn": (lambda _: detection_logs.expect_turn(TABLE, IMAGE_ID, execution_arn=EXECUTION, at=4e9), None),
    "the same request": (
        lambda _: detection_logs.announce(
            TABLE, IMAGE_ID, file_name=NAME, uploaded_by="k", fingerprint="f", correlation_id="c"
        ).get("RequestFingerprint"),
        None,
    ),
}


@pytest.mark.parametrize(("late", "expected"), LATE.values(), ids=LATE)
def test_what_comes_late_meets_the_mark(
    aws: Cloud, people: None, late: Callable[[Cloud], object], expected: object
) -> None:
    image(aws)
    erase()
    before = aws.item()
    assert late(aws) == expected
    assert aws.item() == before
    assert aws.notices() == []


def test_no_metric_tells_of_an_erasure(aws: Cloud) -> None:
    """Neither the hiding, nor the mark, nor its end."""
    old = detection_logs.deserialized({name: detection_logs.serialized(v) for name, v in image(aws, "failed").items()})
    for was in (old, {**old, "ProcessingStatus": "uploading"}):
        hidden = {**was, "ProcessingStatus": "erased"}
        for change in ((was, hidden), (hidden, {"ProcessingStatus": "erased"}), (hidden, None), (None, hidden)):
            assert list(measurements(*change)) == []


# --- What people said about it ----------------------------------------------------------------------------------------


def reviewed(aws: Cloud, image_id: str = IMAGE_ID) -> None:
    """A head and two rows, as reviews are stored."""
    for entry in ("review", "verdict#000001", "verdict#000002"):
        item = {"ImageID": {"S": image_id}, "Entry": {"S": entry}, "Person": {"S": "ada"}, "PersonName": {"S": NAME}}
        aws.dynamodb.put_item(TableName=REVIEWS, Item=item)


def test_what_people_said_about_it_goes_with_it_and_is_counted(aws: Cloud) -> None:
    image(aws, "completed")
    reviewed(aws)
    reviewed(aws, OTHER)
    assert erase().reviews == 3
    assert {item["ImageID"]["S"] for item in aws.dynamodb.scan(TableName=REVIEWS)["Items"]} == {OTHER}
    (row,) = erasures.every(ERASURES)
    assert row.reviews == 3


def test_a_picture_that_is_being_moved_to_where_a_person_put_it_is_left_until_it_is_there(aws: Cloud) -> None:
    image(aws, "completed", ReviewClaim=EXECUTION, ReviewClaimedAt=detection_logs.now())
    assert "may still be arriving or moving: try again in" in erase().refusal
    image(aws, "completed", ReviewClaim=EXECUTION, ReviewClaimedAt="2026-01-01T00:00:00.000Z")
    assert erase().is_done


def test_a_review_that_a_restore_brings_back_is_found_by_the_ledger(aws: Cloud) -> None:
    image(aws, "completed")
    erase()
    assert list(erasure.came_back(RESOURCES)) == []
    reviewed(aws)
    reviewed(aws, OTHER)
    assert list(erasure.came_back(RESOURCES)) == [IMAGE_ID]
    assert not erasure.look(RESOURCES, IMAGE_ID, Source.OPERATOR).is_nothing
    erase()
    assert list(erasure.came_back(RESOURCES)) == []


# --- A restore --------------------------------------------------------------------------------------------------------


def test_what_a_restore_brings_back_is_found_by_the_ledger(aws: Cloud) -> None:
    """A record, an object of its folder, an object under its own name, or nothing."""
    strange = f"input/{NAME}"
    version, _ = aws.put(strange, b"mine")
    hashed = image_ids.hashed_image_id(strange, version)
    ids = ["1" * 32, "2" * 32, "3" * 32, hashed]
    for image_id in ids:
        image(aws, "completed", image_id, SourceKey="input/x.jpg", SourceVersion="null")
    image(aws, "completed", OTHER)
    erasure.erase(RESOURCES, ids, Source.API)
    assert set(erasure.came_back(RESOURCES)) == {hashed}  # its record did not lead there

    image(aws, "completed", ids[0])
    aws.put(f"others/{ids[1]}.png", b"restored")
    image(aws, "completed", hashed, SourceKey=strange, SourceVersion=version)
    found = list(erasure.came_back(RESOURCES))
    assert found == sorted([ids[0], ids[1], hashed])

    erasure.erase(RESOURCES, found, Source.OPERATOR)
    assert list(erasure.came_back(RESOURCES)) == []
    assert versions(aws) == []
    assert detection_logs.find(TABLE, ids[0]) is None
    assert detection_logs.find(TABLE, OTHER) is not None
    rows = {row.image_id: row for row in erasures.every(ERASURES)}
    assert (rows[ids[1]].objects, rows[ids[1]].stage) == (1, "done")


def test_an_image_whose_verdict_is_being_carried_out_is_erased_when_that_is_over(aws: Cloud) -> None:
    """Else its picture could be copied behind the erasure's back."""
    image(aws, ReviewClaim=EXECUTION, ReviewClaimedAt=ago(seconds=detection_logs.REVIEW_CLAIM_SECONDS - 60))
    assert "try again in" in erase().refusal
    image(aws, ReviewClaim=EXECUTION, ReviewClaimedAt=ago(seconds=detection_logs.REVIEW_CLAIM_SECONDS + 60))
    assert erase().refusal == ""
