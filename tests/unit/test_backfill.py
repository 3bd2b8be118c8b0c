"""Registering pictures for a backfill: each once, whoever else does it at the same time, and wherever it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from pet_detector.aws import daily_limit, image_bucket, registrations
from pet_detector.aws.clients import client
from pet_detector.aws.registrations import COPY_SECONDS, Attempt
from pet_detector.rules import backfill as rules
from pet_detector.rules import image_ids
from pet_detector.rules.backfill import Skip, Source
from pet_detector.rules.errors import AccessDeniedError, ServiceError, ThrottledError
from pet_detector.rules.lanes import Lane, lane_of
from pet_detector.use_cases import backfill
from pet_detector.use_cases.backfill import Outcome, Registration
from tests.support.definitions import resources
from tests.support.moto_world import ANALYSES, BUCKET, SOURCE, TABLE, Cloud, breakdown, conditional_copies, refusal
from tests.support.pictures import jpeg

RESOURCES = backfill.Resources(BUCKET, TABLE, ANALYSES, a_day=0, calls_per_second=10)
NAME = "backfill-20261121T093000"
KEY = "2024/my cat+dog.JPEG"
LOST = ReadTimeoutError(endpoint_url="https://s3")


@pytest.fixture
def source(aws: Cloud) -> Iterator[Source]:
    """A picture in a bucket that is not the application's."""
    with conditional_copies(client("s3")):
        yield Source(SOURCE, KEY, aws.put_source(KEY, jpeg()), 100)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass."""
    late = [0.0]
    now = time.time

    def pass_by(seconds: float) -> None:
        late[0] += seconds

    monkeypatch.setattr(time, "time", lambda: now() + late[0])
    return pass_by


def register(source: Source) -> Outcome:
    return backfill.register_object(RESOURCES, source, NAME).outcome


def key_of(source: Source) -> str:
    return f"input/backfill/{source.image_id}.jpg"


def versions(aws: Cloud) -> int:
    """How many object versions ever lay under input/backfill/ and still exist."""
    return len(aws.s3.list_object_versions(Bucket=BUCKET, Prefix="input/backfill/").get("Versions", []))


def claim(aws: Cloud, source: Source) -> None:
    """What the workflow does first."""
    aws.dynamodb.update_item(
        TableName=TABLE,
        Key={"ImageID": {"S": source.image_id}},
        UpdateExpression="SET ProcessingStatus = :processing",
        ExpressionAttributeValues={":processing": {"S": "processing"}},
    )


def take_away(aws: Cloud, source: Source) -> None:
    """What the workflow does at its end: the version is gone from input/."""
    found = aws.s3.head_object(Bucket=BUCKET, Key=key_of(source))
    aws.s3.delete_object(Bucket=BUCKET, Key=key_of(source), VersionId=found["VersionId"])


def announced(source: Source) -> Attempt:
    """An attempt that has announced the picture, and was killed before it copied."""
    attempt = registrations.begin(TABLE, source.image_id, file_name="cat.jpg", backfill=NAME)
    assert isinstance(attempt, Attempt)
    return attempt


def test_a_picture_is_announced_and_copied(aws: Cloud, source: Source) -> None:
    assert register(source) is Outcome.REGISTERED

    item = aws.item(source.image_id)
    assert item["ProcessingStatus"] == {"S": "uploading"}
    assert item["OriginalFilename"] == {"S": "my cat+dog.JPEG"}
    assert (item["UploadedBy"], item["CorrelationId"]) == ({"S": "backfill"}, {"S": NAME})
    assert int(item["ExpiresAt"]["N"]) == pytest.approx(time.time() + 24 * 3600, abs=5)
    copy = aws.s3.get_object(Bucket=BUCKET, Key=key_of(source))
    assert (copy["Body"].read(), copy["ContentType"]) == (jpeg(), "image/jpeg")
    assert copy["Metadata"] == {"correlation-id": NAME}
    assert aws.s3.get_object(Bucket=SOURCE, Key=KEY)["Body"].read() == jpeg()


def test_the_key_of_a_copy_names_the_image_and_the_lane(source: Source) -> None:
    assert image_ids.image_id_of(key_of(source), "v") == source.image_id
    assert lane_of(key_of(source)) is Lane.BACKFILL
    assert lane_of(f"input/{source.image_id}.jpg") is Lane.LIVE


def test_the_same_picture_comes_again_while_it_waits_is_processed_and_is_finished(aws: Cloud, source: Source) -> None:
    register(source)
    assert register(source) is Outcome.KNOWN  # its event is on the way
    claim(aws, source)
    assert register(source) is Outcome.KNOWN
    take_away(aws, source)
    assert register(source) is Outcome.KNOWN
    assert versions(aws) == 0


def test_another_state_of_the_object_is_another_image(aws: Cloud, source: Source) -> None:
    register(source)
    changed = Source(SOURCE, KEY, aws.put_source(KEY, jpeg() + b"2"), 100)
    assert changed.image_id != source.image_id
    assert register(changed) is Outcome.REGISTERED


def test_killed_after_the_announcement_another_attempt_copies_when_the_first_is_over(
    aws: Cloud, source: Source, passes: Callable[[float], None]
) -> None:
    attempt = announced(source)
    assert backfill.register_object(RESOURCES, source, NAME) == Registration(Outcome.BUSY, attempt.ends)
    assert versions(aws) == 0
    passes(COPY_SECONDS + 1)
    assert register(source) is Outcome.REGISTERED
    assert versions(aws) == 1


def test_killed_after_the_copy_nothing_is_left_to_do(aws: Cloud, source: Source) -> None:
    with breakdown(client("s3"), "CopyObject", LOST, done=True), pytest.raises(ServiceError):
        register(source)
    assert register(source) is Outcome.KNOWN
    assert versions(aws) == 1


@pytest.mark.parametrize("when", ["before the look", "after the look"])
def test_a_copy_that_the_workflow_takes_away_while_another_attempt_begins_is_not_made_again(
    aws: Cloud, source: Source, passes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The first attempt copied, and its event comes at the worst moment."""
    register(source)
    passes(COPY_SECONDS + 1)

    def workflow() -> None:
        claim(aws, source)
        take_away(aws, source)

    look = image_bucket.present_version

    def present_version(*arguments: Any) -> str | None:
        if when == "before the look":
            workflow()
        found: str | None = look(*arguments)
        if when == "after the look":
            workflow()
        return found

    monkeypatch.setattr(image_bucket, "present_version", present_version)
    assert register(source) is Outcome.KNOWN
    assert versions(aws) == 0


def test_two_attempts_that_take_over_at_once_copy_once(
    aws: Cloud, source: Source, passes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced(source)
    passes(COPY_SECONDS + 1)
    take, others = registrations.take_over, []

    def take_over(*arguments: Any) -> Any:
        monkeypatch.setattr(registrations, "take_over", take)
        others.append(register(source))  # is quicker
        return take(*arguments)

    monkeypatch.setattr(registrations, "take_over", take_over)
    assert (register(source), others) == (Outcome.BUSY, [Outcome.REGISTERED])
    assert versions(aws) == 1


def test_a_record_that_expires_during_a_take_over_is_tried_again(
    aws: Cloud, source: Source, passes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced(source)
    passes(3 * 24 * 3600)
    take = registrations.take_over

    def take_over(*arguments: Any) -> Any:
        aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": source.image_id}})
        return take(*arguments)

    monkeypatch.setattr(registrations, "take_over", take_over)
    found = backfill.register_object(RESOURCES, source, NAME)
    assert (found.outcome, found.until > time.time()) == (Outcome.BUSY, True)
    assert register(source) is Outcome.REGISTERED


def test_an_attempt_that_slept_too_long_does_not_copy(
    aws: Cloud, source: Source, passes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = registrations.begin

    def begin_and_sleep(*arguments: Any, **more: Any) -> Any:
        found = begin(*arguments, **more)
        passes(COPY_SECONDS)  # a laptop that was closed
        return found

    monkeypatch.setattr(registrations, "begin", begin_and_sleep)
    assert register(source) is Outcome.BUSY
    assert versions(aws) == 0


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
def test_an_attempt_recognises_itself_after_a_lost_answer(
    aws: Cloud, source: Source, passes: Callable[[float], None], operation: str
) -> None:
    if operation == "UpdateItem":
        announced(source)
        passes(COPY_SECONDS + 1)
    with breakdown(client("dynamodb"), operation, LOST, done=True) as fault:
        assert register(source) is Outcome.REGISTERED
    assert fault.happened == 1


def test_a_picture_that_changed_or_went_since_it_was_listed_is_not_copied(aws: Cloud, source: Source) -> None:
    aws.put_source(KEY, jpeg() + b"2")
    assert register(source) is Outcome.CHANGED
    assert register(Source(SOURCE, "2024/gone.jpg", "0" * 32, 100)) is Outcome.MISSING
    assert register(Source("no-such-bucket", KEY, "0" * 32, 100)) is Outcome.MISSING
    assert versions(aws) == 0


def test_a_key_that_somebody_took_by_hand_is_not_replaced(aws: Cloud, source: Source) -> None:
    aws.put(key_of(source), b"by hand")
    assert register(source) is Outcome.KNOWN
    assert aws.get(key_of(source)) == b"by hand"


def test_what_cannot_be_read_is_not_announced(aws: Cloud, source: Source) -> None:
    with refusal(client("s3"), "CopyObject", "AccessDenied"):
        found = backfill.register_object(RESOURCES, source, NAME)
    assert (found.outcome, type(found.error)) == (Outcome.DENIED, AccessDeniedError)
    assert aws.item(source.image_id) == {}
    assert register(source) is Outcome.REGISTERED


def test_an_announcement_is_withdrawn_by_its_own_attempt_only_and_while_it_is_not_claimed(
    aws: Cloud, source: Source
) -> None:
    attempt = announced(source)
    registrations.withdraw(TABLE, source.image_id, "another")
    assert aws.item(source.image_id)
    claim(aws, source)
    registrations.withdraw(TABLE, source.image_id, attempt.claim)
    assert aws.item(source.image_id)


def test_an_announcement_that_expired_is_taken_over(
    aws: Cloud, source: Source, passes: Callable[[float], None]
) -> None:
    """DynamoDB deletes it only days later."""
    announced(source)
    passes(3 * 24 * 3600)
    assert register(source) is Outcome.REGISTERED
    assert int(aws.item(source.image_id)["ExpiresAt"]["N"]) > time.time()


def test_an_item_that_only_remembers_a_notice_is_left_alone(aws: Cloud, source: Source) -> None:
    aws.dynamodb.put_item(TableName=TABLE, Item={"ImageID": {"S": source.image_id}, "NoticeClaim": {"S": "c"}})
    assert register(source) is Outcome.KNOWN


def test_an_attempt_outlives_the_function_that_makes_it() -> None:
    function = resources("AWS::Lambda::Function")["RegisterImagesFunction"]
    assert function["Timeout"] <= COPY_SECONDS / 2


# --- What is taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "size", "storage_class", "reason"),
    [
        ("a/b.jpg", 1, "STANDARD", None),
        ("a/b.JPEG", 15 * 1024**2, "GLACIER_IR", None),
        ("b.Png", 1, "", None),
        ("a/b.gif", 1, "STANDARD", Skip.NOT_A_PICTURE),
        ("a/jpg", 1, "STANDARD", Skip.NOT_A_PICTURE),
        ("a.jpg/", 0, "STANDARD", Skip.NOT_A_PICTURE),
        ("b.jpg", 0, "STANDARD", Skip.EMPTY),
        ("b.jpg", 15 * 1024**2 + 1, "STANDARD", Skip.TOO_LARGE),
        ("b.jpg", 1, "GLACIER", Skip.ARCHIVED),
        ("b.jpg", 1, "DEEP_ARCHIVE", Skip.ARCHIVED),
    ],
)
def test_objects_that_cannot_be_images_are_skipped(
    aws: Cloud, key: str, size: int, storage_class: str, reason: Skip | None
) -> None:
    assert rules.reason_to_skip(key, size, storage_class) is reason
    if reason:
        assert register(Source(SOURCE, key, "0" * 32, size, storage_class)) is Outcome.SKIPPED


@pytest.mark.parametrize("folder", ["input", "cats", "dogs", "others", "rejected", "samples"])
def test_what_the_application_made_is_no_source(aws: Cloud, folder: str) -> None:
    key = f"{folder}/cat.jpg"
    etag = aws.put(key, jpeg())[1].strip('"')
    assert register(Source(BUCKET, key, etag, 100)) is Outcome.SKIPPED
    for prefix in ("", folder[0], folder, f"{folder}/", key):
        assert rules.covers_own(prefix), prefix
    assert not rules.covers_own(f"my-{folder}/")


def test_another_folder_of_the_image_bucket_is_a_source(aws: Cloud) -> None:
    etag = aws.put("old/cat.jpg", jpeg())[1].strip('"')
    assert register(Source(BUCKET, "old/cat.jpg", etag, 100)) is Outcome.REGISTERED


# --- The schedule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "waits"), [(None, False), (-5, False), (590, False), (700, True)])
def test_registering_waits_while_it_is_far_ahead_of_the_schedule(aws: Cloud, ahead: int | None, waits: bool) -> None:
    now = time.time()
    if ahead is not None:
        turn = {"ContentHash": {"S": "turns#backfill"}, "NextTurn": {"N": str(now + ahead)}}
        aws.dynamodb.put_item(TableName=ANALYSES, Item=turn)
    until = backfill.waits_until(RESOURCES)
    assert until == (pytest.approx(now + ahead - 600) if waits and ahead else None)


@pytest.mark.parametrize(("a_day", "waits"), [(0, False), (203, False), (202, True), (3, True)])
def test_registering_waits_while_what_is_registered_uses_up_the_limit_of_the_day(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, a_day: int, waits: bool
) -> None:
    """Two were analysed, and 200 wait for their turns of the next 20 seconds."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(2):
        daily_limit.spend(ANALYSES, 9)
    turn = {"ContentHash": {"S": "turns#backfill"}, "NextTurn": {"N": str(int(now) + 21)}}
    aws.dynamodb.put_item(TableName=ANALYSES, Item=turn)
    monkeypatch.setattr(time, "time", lambda: int(now) + 1.0)
    assert backfill.waits_until(replace(RESOURCES, a_day=a_day)) == (int(now) + 901 if waits else None)


def test_records_of_many_images_are_read_at_once(aws: Cloud, source: Source) -> None:
    register(source)
    assert list(registrations.known(TABLE, [source.image_id, "f" * 32])) == [source.image_id]


def test_records_that_dynamodb_does_not_read_are_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def throttled(RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    monkeypatch.setattr(client("dynamodb"), "batch_get_item", throttled)
    with pytest.raises(ThrottledError):
        registrations.known(TABLE, ["f" * 32])
