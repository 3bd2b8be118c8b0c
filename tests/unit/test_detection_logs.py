"""The records of DetectionLogs: announced once, listed newest first, and the memory of which facts were notified."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import ANY, Stubber

from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import (
    announce,
    dismiss,
    expired_claims,
    find,
    find_many,
    is_dismissed,
    record_failure,
    release_notice,
    reserve_notice,
)
from pet_detector.aws.listing import Query, list_images
from pet_detector.rules import models
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.image_ids import shard_of
from pet_detector.rules.models import REVIEW_FACT, Status
from tests.support.moto_world import (
    CORRELATION,
    EXECUTION,
    IMAGE_ID,
    KEY,
    TABLE,
    Cloud,
    breakdown,
    refusal,
)

LOST = ReadTimeoutError(endpoint_url="https://dynamodb")
DAY = "2026-11-21T09:30:00.000Z"


def announced(file_name: str = "tom.jpg", fingerprint: str = "f", image_id: str = IMAGE_ID) -> models.Record:
    return announce(
        TABLE,
        image_id,
        file_name=file_name,
        uploaded_by="key-id",
        fingerprint=fingerprint,
        correlation_id=CORRELATION,
    )


# --- Announcing and finding -------------------------------------------------------------------------------------------


def test_announces_an_upload_that_the_listing_finds(aws: Cloud) -> None:
    record = announced()
    assert find(TABLE, IMAGE_ID) == record
    assert record["ProcessingStatus"] == "uploading"
    assert record["CreatedAt"] == record["UpdatedAt"]
    assert record["ListedAt"] == f"{record['CreatedAt']}#{IMAGE_ID}"
    assert record["StatusShard"] == f"uploading#{record['Shard']}"
    assert list_images(TABLE, Query(), 10).records == [record]
    assert list_images(TABLE, Query(status=Status.UPLOADING), 10).records == [record]


def test_an_upload_that_never_comes_is_forgotten_after_a_day(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pet_detector.aws.detection_logs.time.time", lambda: 1_000_000.9)
    assert announced()["ExpiresAt"] == 1_000_000 + 24 * 60 * 60


def test_an_upload_that_never_came_ends_when_it_expires_and_nothing_else_does(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = announced()
    end = float(record["ExpiresAt"])
    for status in Status:
        aws.write(**record | {"ProcessingStatus": status.value})
        for time, is_there in ((end, True), (end + 1, status is not Status.UPLOADING)):
            monkeypatch.setattr("pet_detector.aws.detection_logs.time.time", lambda time=time: time)
            assert (find(TABLE, IMAGE_ID) is not None) is is_there
            assert bool(list_images(TABLE, Query(), 10).records) is is_there


def test_announcing_again_finds_the_first_record_and_changes_nothing(aws: Cloud) -> None:
    first = announced()
    assert announced(file_name="other.jpg", fingerprint="g") == first
    assert find(TABLE, IMAGE_ID) == first


def test_announcing_again_tells_how_far_the_image_has_come(aws: Cloud) -> None:
    announced()
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": IMAGE_ID}},
        UpdateExpression="SET ProcessingStatus = :s",
        ExpressionAttributeValues={":s": {"S": "completed"}},
    )
    assert announced()["ProcessingStatus"] == "completed"


def test_a_lost_answer_to_an_announcement_is_asked_for_again(aws: Cloud) -> None:
    with breakdown(client("dynamodb"), "PutItem", LOST, done=True) as fault:
        record = announced()
    assert fault.happened == 1
    assert find(TABLE, IMAGE_ID) == record


def test_finds_what_was_just_written(aws: Cloud) -> None:
    """Who reads a record decides on it: a read that may be older than the last write would decide wrongly."""
    asked: list[bool] = []
    client("dynamodb").meta.events.register(
        "before-parameter-build.dynamodb.GetItem", lambda params, **_: asked.append(params.get("ConsistentRead", False))
    )
    find(TABLE, IMAGE_ID)
    assert asked == [True]


def test_finds_nothing_where_nothing_is(aws: Cloud) -> None:
    assert find(TABLE, IMAGE_ID) is None


def test_the_memory_of_a_notice_alone_is_no_record(aws: Cloud) -> None:
    reserve_notice(TABLE, IMAGE_ID, EXECUTION)
    assert find(TABLE, IMAGE_ID) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ProvisionedThroughputExceededException", ThrottledError),
        ("ThrottlingException", ThrottledError),
        ("AccessDeniedException", AccessDeniedError),
        ("ResourceNotFoundException", ServiceError),
    ],
)
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("PutItem", announced),
        ("GetItem", lambda: find(TABLE, IMAGE_ID)),
        ("Query", lambda: list_images(TABLE, Query(), 1)),
        ("UpdateItem", lambda: reserve_notice(TABLE, IMAGE_ID, "x")),
        ("UpdateItem", lambda: release_notice(TABLE, IMAGE_ID, "x")),
        ("UpdateItem", lambda: failing()),
        ("Query", lambda: list(expired_claims(TABLE, DAY))),
        ("BatchGetItem", lambda: find_many(TABLE, [IMAGE_ID])),
    ],
    ids=[
        *("announce", "find", "list_images", "reserve_notice", "release_notice", "record_failure", "expired_claims"),
        "find_many",
    ],
)
def test_every_call_raises_the_domains_errors(
    aws: Cloud, operation: str, call: Callable[[], object], code: str, kind: type[PetDetectorError]
) -> None:
    with refusal(client("dynamodb"), operation, code), pytest.raises(PetDetectorError) as found:
        call()
    assert type(found.value) is kind


def test_the_time_is_written_as_step_functions_writes_it() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", detection_logs.now())


def test_shards_are_spread_by_the_first_digit_of_the_id() -> None:
    shards = [shard_of(digit + "f" * 31) for digit in "0123456789abcdef"]
    assert shards == list("0123" * 4)


# --- Failures ---------------------------------------------------------------------------------------------------------

PROCESSING = {"ProcessingStatus": "processing", "ExecutionArn": EXECUTION, "ClaimedAt": DAY, "ListedAt": DAY}


def failing(execution: str = EXECUTION, cause: str = "It took too long.") -> bool:
    return record_failure(
        TABLE,
        IMAGE_ID,
        execution_arn=execution,
        key=KEY,
        version_id="v1",
        error="States.Timeout",
        cause=cause,
        expires_at=4_000_000_000,
    )


def test_a_failure_before_the_claim_makes_a_record_that_the_listing_finds(aws: Cloud) -> None:
    assert failing() is True
    (record,) = list_images(TABLE, Query(status=Status.FAILED), 10).records
    assert record == find(TABLE, IMAGE_ID)
    assert record["Error"] == {"Error": "States.Timeout", "Cause": "It took too long."}
    assert (record["ExecutionArn"], record["SourceKey"], record["CorrelationId"]) == (EXECUTION, KEY, "one")
    assert record["ListedAt"] == f"{record['CreatedAt']}#{IMAGE_ID}"
    assert list_images(TABLE, Query(), 10).records == [record]


def test_a_failure_leaves_what_the_upload_wrote(aws: Cloud) -> None:
    announcement = announced()
    assert failing() is True
    record = find(TABLE, IMAGE_ID)
    assert record is not None
    assert record["ExpiresAt"] == 4_000_000_000
    changed = {"ProcessingStatus", "StatusShard", "UpdatedAt", "ExpiresAt"}
    assert {name: value for name, value in announcement.items() if name not in changed}.items() <= record.items()
    assert (record["ProcessingStatus"], record["StatusShard"]) == ("failed", f"failed#{record['Shard']}")


def test_a_dismissed_image_says_failed_and_is_listed_among_the_failed_no_more(aws: Cloud) -> None:
    failing()
    before = find(TABLE, IMAGE_ID)
    assert before is not None
    assert not is_dismissed(before)
    assert dismiss(TABLE, IMAGE_ID, execution_arn=EXECUTION, expires_at=4_000_000_000) is True
    record = find(TABLE, IMAGE_ID)
    assert record is not None
    assert is_dismissed(record)
    assert (record["ProcessingStatus"], record["ExpiresAt"]) == ("failed", 4_000_000_000)
    changed = {"StatusShard", "UpdatedAt", "ExpiresAt"}
    assert {name for name, value in record.items() if value != before.get(name)} <= changed
    assert list_images(TABLE, Query(status=Status.FAILED), 10).records == []
    assert list_images(TABLE, Query(), 10).records == [record]


@pytest.mark.parametrize(
    "attributes", [{"ExecutionArn": EXECUTION + "2"}, {"ProcessingStatus": "processing"}, {"ProcessingStatus": "held"}]
)
def test_only_the_failure_that_an_operator_saw_is_dismissed(aws: Cloud, attributes: dict[str, Any]) -> None:
    aws.write(**{"ProcessingStatus": "failed", "ExecutionArn": EXECUTION} | attributes)
    before = aws.item()
    assert dismiss(TABLE, IMAGE_ID, execution_arn=EXECUTION, expires_at=4_000_000_000) is False
    assert aws.item() == before
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(AccessDeniedError):
        dismiss(TABLE, IMAGE_ID, execution_arn=EXECUTION, expires_at=4_000_000_000)


@pytest.mark.parametrize("notices", [{}, {"Notices": {REVIEW_FACT}}], ids=["", "reviewers were notified"])
def test_what_this_execution_left_unfinished_failed(aws: Cloud, notices: dict[str, Any]) -> None:
    aws.write(**PROCESSING, **notices)
    assert failing(EXECUTION + "2") is False
    assert aws.item()["ProcessingStatus"]["S"] == "processing"
    assert failing() is True
    assert aws.item()["ProcessingStatus"]["S"] == "failed"


def test_a_failure_leaves_the_version_that_the_claim_wrote(aws: Cloud) -> None:
    aws.write(**PROCESSING | {"SourceVersion": "v0"})
    assert failing() is True
    assert aws.item()["SourceVersion"] == {"S": "v0"}


@pytest.mark.parametrize(
    "attributes",
    [{**PROCESSING, "ProcessingStatus": s} for s in ("completed", "needs_review", "rejected", "held", "failed")],
    ids=lambda attributes: attributes["ProcessingStatus"],
)
@pytest.mark.parametrize("execution", [EXECUTION, EXECUTION + "2"])
def test_what_is_finished_is_not_touched(aws: Cloud, attributes: dict[str, Any], execution: str) -> None:
    aws.write(**attributes)
    before = aws.item()
    assert failing(execution) is False
    assert aws.item() == before


def test_only_the_beginning_of_a_cause_is_kept(aws: Cloud) -> None:
    failing(cause="x" * 5000)
    assert len(aws.item()["Error"]["M"]["Cause"]["S"]) == detection_logs.CAUSE_LENGTH == 1000


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_a_failure_does_not_hide_it(aws: Cloud, done: bool) -> None:
    aws.write(**PROCESSING)
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=done) as fault:
        assert failing() is True
    assert fault.happened == 1
    assert aws.item()["ProcessingStatus"]["S"] == "failed"


def test_finds_in_all_shards_what_is_processing_since_before_a_time(aws: Cloud) -> None:
    for digit in "0123456789":
        aws.write(digit * 32, **PROCESSING)
    aws.write("a" * 32, **PROCESSING | {"ClaimedAt": "2026-11-21T09:30:00.001Z"})
    aws.write("b" * 32, **PROCESSING | {"ProcessingStatus": "completed"})
    found = [record["ImageID"][0] for record in expired_claims(TABLE, "2026-11-21T09:30:00.001Z")]
    assert sorted(found) == list("0123456789")
    assert list(expired_claims(TABLE, DAY)) == []


def test_a_claim_of_an_image_that_waits_expires_after_its_turn(aws: Cloud) -> None:
    for digit, turn in (("0", "2026-11-21T09:29:59.999Z"), ("1", DAY), ("2", "2026-11-22T00:00:00.000Z")):
        aws.write(digit * 32, **PROCESSING | {"ClaimedAt": "2026-11-20T00:00:00.000Z", "TurnAt": turn})
    assert [record["ImageID"][0] for record in expired_claims(TABLE, DAY)] == ["0"]


# --- Many at once -----------------------------------------------------------------------------------------------------


def test_many_records_are_those_that_are_found_one_by_one(aws: Cloud) -> None:
    error = {"Error": "ThrottledError", "Cause": "x"}
    aws.write("1" * 32, **PROCESSING | {"TurnAt": DAY, "Error": error, "Labels": ["x" * 1000]})
    aws.write("2" * 32, ProcessingStatus="uploading", ExpiresAt=1)  # it never came
    aws.dynamodb.put_item(TableName=TABLE, Item={"ImageID": {"S": "3" * 32}, "Notices": {"SS": [EXECUTION]}})
    ids = [digit * 32 for digit in "12345"]
    found = find_many(TABLE, ids + ids)  # two versions of a key have one id
    assert found.keys() == {image_id for image_id in ids if find(TABLE, image_id)} == {"1" * 32}
    shown = {"ImageID", "ProcessingStatus", "StatusShard", "ExecutionArn", "ClaimedAt", "TurnAt", "Error"}
    assert found["1" * 32] == {name: value for name, value in (find(TABLE, "1" * 32) or {}).items() if name in shown}
    assert find_many(TABLE, []) == {}


def test_many_records_are_read_consistently() -> None:
    with Stubber(client("dynamodb")) as stubber:
        expected = {"Keys": [{"ImageID": {"S": IMAGE_ID}}], "ConsistentRead": True}
        asked = {"RequestItems": {TABLE: expected | {"ProjectionExpression": ANY, "ExpressionAttributeNames": ANY}}}
        stubber.add_response("batch_get_item", {"Responses": {}}, asked)
        assert find_many(TABLE, [IMAGE_ID]) == {}


def test_records_that_dynamodb_left_out_are_read_by_the_next_call() -> None:
    def item(digit: str) -> dict[str, Any]:
        return {"ImageID": {"S": digit * 32}, "ProcessingStatus": {"S": "failed"}}

    def left(*digits: str) -> dict[str, Any]:
        return {TABLE: {"Keys": [{"ImageID": {"S": digit * 32}} for digit in digits]}} if digits else {}

    with Stubber(client("dynamodb")) as stubber:
        for read, rest in (("1", "23"), ("3", "2"), ("2", "")):
            answer = {"Responses": {TABLE: [item(digit) for digit in read]}, "UnprocessedKeys": left(*rest)}
            stubber.add_response("batch_get_item", answer)
        assert sorted(find_many(TABLE, [digit * 32 for digit in "123"])) == ["1" * 32, "2" * 32, "3" * 32]
        stubber.assert_no_pending_responses()
    with Stubber(client("dynamodb")) as stubber:
        stubber.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": left("1", "2")})
        with pytest.raises(ThrottledError):
            find_many(TABLE, ["1" * 32, "2" * 32])


# --- Notices ----------------------------------------------------------------------------------------------------------


def test_a_notice_can_be_reserved_once_for_each_fact(aws: Cloud) -> None:
    assert reserve_notice(TABLE, IMAGE_ID, "first execution") is True
    assert reserve_notice(TABLE, IMAGE_ID, "first execution") is False
    assert reserve_notice(TABLE, IMAGE_ID, "uncertain") is True
    assert reserve_notice(TABLE, IMAGE_ID, "second execution") is True
    assert reserve_notice(TABLE, "f" * 32, "second execution") is True


def test_a_claim_that_was_released_can_be_made_again(aws: Cloud) -> None:
    reserve_notice(TABLE, IMAGE_ID, "x")
    release_notice(TABLE, IMAGE_ID, "x")
    assert aws.item().keys() <= {"ImageID"}
    assert reserve_notice(TABLE, IMAGE_ID, "x") is True


def test_releasing_takes_back_nothing_but_the_same_fact(aws: Cloud) -> None:
    release_notice(TABLE, IMAGE_ID, "x")
    reserve_notice(TABLE, IMAGE_ID, "newer")
    reserve_notice(TABLE, IMAGE_ID, "uncertain")
    release_notice(TABLE, IMAGE_ID, "x")
    assert reserve_notice(TABLE, IMAGE_ID, "newer") is False
    assert reserve_notice(TABLE, IMAGE_ID, "uncertain") is False


@pytest.mark.parametrize("done", [True, False])
def test_a_lost_answer_to_a_reservation_does_not_lose_the_notice(aws: Cloud, done: bool) -> None:
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=done) as fault:
        assert reserve_notice(TABLE, IMAGE_ID, "x") is True
    assert fault.happened == 1
    assert reserve_notice(TABLE, IMAGE_ID, "x") is False


def test_a_lost_answer_to_a_release_is_a_release(aws: Cloud) -> None:
    reserve_notice(TABLE, IMAGE_ID, "x")
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True):
        release_notice(TABLE, IMAGE_ID, "x")
    assert reserve_notice(TABLE, IMAGE_ID, "x") is True


def test_a_claim_leaves_the_record_as_it_is(aws: Cloud) -> None:
    record = announced()
    reserve_notice(TABLE, IMAGE_ID, "uncertain")
    found = find(TABLE, IMAGE_ID)
    assert found is not None
    assert record.items() <= found.items()


def test_the_sdk_asks_three_times_and_then_gives_up(aws: Cloud) -> None:
    with breakdown(client("dynamodb"), "GetItem", LOST, done=False, times=9) as fault, pytest.raises(ServiceError):
        find(TABLE, IMAGE_ID)
    assert fault.happened == 3
