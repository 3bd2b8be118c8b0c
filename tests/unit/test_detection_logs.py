"""The records of DetectionLogs: announced once, listed newest first, and the memory of which facts were notified."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pet_detector.aws import detection_logs, listing
from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import (
    announce,
    dismiss,
    expired_claims,
    find,
    is_dismissed,
    record_failure,
    release_notice,
    reserve_notice,
)
from pet_detector.aws.listing import Query, list_images
from pet_detector.rules import image_ids, models
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, RequestError, ServiceError, ThrottledError
from pet_detector.rules.image_ids import shard_of
from pet_detector.rules.models import REVIEW_FACT, Animal, Status
from tests.support.moto_world import (
    CORRELATION,
    EXECUTION,
    IMAGE_ID,
    KEY,
    TABLE,
    Cloud,
    breakdown,
    create_table,
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
    ],
    ids=["announce", "find", "list_images", "reserve_notice", "release_notice", "record_failure", "expired_claims"],
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


# --- Listing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """What of a record the listing looks at."""

    image_id: str
    created: str
    animal: Animal | None
    status: Status

    @property
    def listed_at(self) -> str:
        return f"{self.created}#{self.image_id}"

    def item(self) -> dict[str, Any]:
        shard = shard_of(self.image_id)
        texts = {
            "ImageID": self.image_id,
            "CreatedAt": self.created,
            "ListedAt": self.listed_at,
            "Shard": shard,
            "ProcessingStatus": self.status.value,
            "StatusShard": f"{self.status.value}#{shard}",
        }
        if self.animal:
            texts |= {"DetectedAnimal": self.animal.value, "AnimalShard": f"{self.animal.value}#{shard}"}
        return {name: {"S": text} for name, text in texts.items()} | {"ExpiresAt": {"N": str(2**33)}}

    def matches(self, query: Query) -> bool:
        return (
            query.animal in (None, self.animal)
            and query.status in (None, self.status)
            and (query.since is None or query.since <= self.created)
            and (query.until is None or self.created < query.until)
        )


# Few moments and few words, so that records meet: at the same millisecond, at a border of the filter, in one shard.
moments = st.sampled_from([f"2026-11-21T09:30:00.00{digit}Z" for digit in "01234"])
animals = st.none() | st.sampled_from(list(Animal))
statuses = st.sampled_from([Status.COMPLETED, Status.NEEDS_REVIEW, Status.UPLOADING])
ids = st.integers(0, 2**128 - 1).map("{:032x}".format)
possible = st.builds(Image, ids, moments, animals, statuses).filter(lambda i: not Query(i.animal, i.status).is_empty)
pictures = st.lists(possible, max_size=25, unique_by=lambda i: i.image_id)
queries = st.builds(Query, animals, st.none() | statuses, st.none() | moments, st.none() | moments)
table_numbers = itertools.count()


def filled(aws: Cloud, found: list[Image]) -> str:
    """A new table with these records -> its name."""
    name = f"listing-{next(table_numbers)}"
    create_table(aws.dynamodb, name)
    for image in found:
        aws.dynamodb.put_item(TableName=name, Item=image.item())
    return name


def pages(table: str, query: Query, limit: int) -> list[list[str]]:
    """All pages of a listing, as the ListedAt of their records."""
    found, token = [], None
    while True:
        page = list_images(table, query, limit, token)
        found.append([str(record["ListedAt"]) for record in page.records])
        token = page.next_token
        if token is None:
            return found


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=pictures, query=queries, limit=st.integers(1, 9))
def test_the_pages_of_a_listing_are_the_whole_listing_newest_first(
    aws: Cloud, found: list[Image], query: Query, limit: int
) -> None:
    expected = sorted((image.listed_at for image in found if image.matches(query)), reverse=True)
    listed = pages(filled(aws, found), query, limit)
    assert [listed_at for page in listed for listed_at in page] == expected
    assert all(len(page) == limit for page in listed[:-1])
    assert len(listed[-1]) <= limit
    assert listed[-1] or len(listed) == 1, "the last page is empty"


def many(count: int, *, animal: Animal = Animal.CAT, status: Status = Status.COMPLETED) -> list[Image]:
    return [Image(f"{n:x}".ljust(32, "0"), f"2026-11-21T09:30:00.{n:03}Z", animal, status) for n in range(1, count + 1)]


def test_lists_newest_first_over_all_shards(aws: Cloud) -> None:
    found = many(15)
    table = filled(aws, found)
    assert {shard_of(image.image_id) for image in found} == set("0123")
    assert pages(table, Query(), 15) == [[image.listed_at for image in reversed(found)]]


def test_asks_for_no_more_than_a_page_of_each_shard(aws: Cloud) -> None:
    asked: list[int] = []
    table = filled(aws, many(200))
    client("dynamodb").meta.events.register(
        "before-parameter-build.dynamodb.Query", lambda params, **_: asked.append(params["Limit"])
    )
    assert len(list_images(table, Query(), 3).records) == 3
    assert len(asked) == image_ids.SHARDS
    assert max(asked) <= 5


def test_reads_large_pages_where_dynamodb_filters_them() -> None:
    """DynamoDB filters a page after it has read it: pages of 3 would take hundreds of calls to find a rare record."""
    asked: list[int] = []
    client("dynamodb").meta.events.register(
        "before-parameter-build.dynamodb.Query", lambda params, **_: asked.append(params["Limit"])
    )
    with Stubber(client("dynamodb")) as stubber:
        for _ in range(image_ids.SHARDS):
            stubber.add_response("query", {"Items": []})
        list_images(TABLE, Query(animal=Animal.DOG, status=Status.FAILED), 2)
    assert asked == [1000] * image_ids.SHARDS


def test_records_of_no_interest_do_not_shorten_a_page() -> None:
    # Amazon DynamoDB counts what it looks at and filters then, so a page may be empty; moto filters first.
    dog = Image("0" * 32, "2026-11-21T08:00:00.000Z", Animal.DOG, Status.FAILED)
    with Stubber(client("dynamodb")) as stubber:
        stubber.add_response("query", {"Items": [], "LastEvaluatedKey": {"ImageID": {"S": "f" * 32}}})
        stubber.add_response("query", {"Items": [dog.item()]})
        for _ in range(image_ids.SHARDS - 1):
            stubber.add_response("query", {"Items": []})
        page = list_images(TABLE, Query(animal=Animal.DOG, status=Status.FAILED), 2)
        stubber.assert_no_pending_responses()
    assert [record["ListedAt"] for record in page.records] == [dog.listed_at]


@pytest.mark.parametrize(
    ("animal", "status"),
    [
        *((animal, status) for animal in Animal for status in (Status.UPLOADING, Status.REJECTED)),
        (Animal.CAT, Status.NEEDS_REVIEW),
        (Animal.DOG, Status.NEEDS_REVIEW),
    ],
)
def test_reads_no_index_for_a_combination_that_cannot_be(animal: Animal, status: Status) -> None:
    with refusal(client("dynamodb"), "Query", "ThrottlingException") as fault:
        assert list_images(TABLE, Query(animal=animal, status=status), 20).records == []
    assert fault.happened == 0


def test_new_uploads_between_two_pages_repeat_and_hide_nothing(aws: Cloud) -> None:
    found = many(9)
    table = filled(aws, found)
    first = list_images(table, Query(), 4)
    aws.dynamodb.put_item(
        TableName=table, Item=Image("e" * 32, "2026-11-22T00:00:00.000Z", None, Status.UPLOADING).item()
    )
    second = list_images(table, Query(), 10, first.next_token)
    listed = [record["ListedAt"] for record in first.records + second.records]
    assert listed == [image.listed_at for image in reversed(found)]


@pytest.mark.parametrize("until", ["2026-11-21", "2026-11-22"])
def test_an_upper_bound_that_is_not_above_the_lower_one_finds_nothing_without_a_call(aws: Cloud, until: str) -> None:
    query = Query(since="2026-11-22", until=until)
    # Amazon DynamoDB's answer to an upper bound below the lower one; moto has another.
    with refusal(client("dynamodb"), "Query", "ValidationException") as fault:
        assert list_images(filled(aws, many(3)), query, 5) == listing.Page([], None)
    assert fault.happened == 0


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(), "ListingIndex"),
        (Query(animal=Animal.CAT), "AnimalIndex"),
        (Query(status=Status.FAILED), "StatusIndex"),
        (Query(animal=Animal.CAT, status=Status.COMPLETED), "AnimalIndex"),
        (Query(animal=Animal.OTHER, status=Status.NEEDS_REVIEW), "StatusIndex"),
    ],
)
def test_asks_the_index_with_the_fewest_records_of_no_interest(query: Query, index: str) -> None:
    assert query.spread()[0] == index


def sealed(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


NO_FILTERS: list[str | None] = [None] * 4


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "x",
        "äöü",
        "\x00",
        "bm90IGpzb24",
        "_w",
        sealed(12),
        sealed("ab"),
        sealed({"a": 1, "b": 2}),
        sealed(None),
        sealed([]),
        sealed([DAY]),
        sealed([DAY, NO_FILTERS, 1]),
        sealed([DAY, None]),
        sealed([DAY, [*NO_FILTERS, None]]),
        sealed([None, NO_FILTERS]),
        sealed([5, NO_FILTERS]),
        sealed([[DAY], NO_FILTERS]),
        sealed(["x" * 101, NO_FILTERS]),
        sealed([DAY, ["cat", None, None, None]]),
        base64.urlsafe_b64encode(b"9" * 5000).decode(),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
    ],
)
def test_a_token_that_was_tampered_with_is_refused(aws: Cloud, token: str) -> None:
    with pytest.raises(RequestError, match="send it unchanged") as found:
        list_images(TABLE, Query(), 5, token)
    assert (found.value.status, found.value.code) == (400, "INVALID_TOKEN")


@pytest.mark.parametrize(
    "other",
    [
        Query(animal=Animal.CAT),
        Query(status=Status.COMPLETED),
        Query(since=DAY),
        Query(until=DAY),
        Query(animal=Animal.OTHER, status=Status.COMPLETED),
    ],
)
def test_a_token_belongs_to_its_filters(aws: Cloud, other: Query) -> None:
    table = filled(aws, many(3))
    token = list_images(table, Query(), 1).next_token
    with pytest.raises(RequestError):
        list_images(table, other, 1, token)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 60),
    character=st.characters(exclude_categories=["Cs"]),
    text=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=120),
)
def test_any_token_is_a_page_or_a_request_error(aws: Cloud, at: int, character: str, text: str | None) -> None:
    untouched = sealed([DAY, NO_FILTERS])
    token = untouched[:at] + character + untouched[at + 1 :] if text is None else sealed([text, NO_FILTERS])
    with contextlib.suppress(RequestError):
        assert list_images(TABLE, Query(), 5, token).records == []


# --- Failures ---------------------------------------------------------------------------------------------------------

PROCESSING = {"ProcessingStatus": "processing", "ExecutionArn": EXECUTION, "ClaimedAt": DAY, "ListedAt": DAY}


def failing(execution: str = EXECUTION, cause: str = "It took too long.") -> bool:
    return record_failure(
        TABLE, IMAGE_ID, execution_arn=execution, key=KEY, version_id="v1", error="States.Timeout", cause=cause
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
    assert "ExpiresAt" not in record  # a failure stays until an operator redrives it
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
