"""Listing: every filter pages completely, nothing twice, newest first, with a few calls, whatever the table holds."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pet_detector.aws import listing
from pet_detector.aws.clients import client
from pet_detector.aws.listing import Page, Query, list_images
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import SHARDS, shard_of
from pet_detector.rules.models import Animal, Status
from tests.support import indexes
from tests.support.indexes import Indexes, Item
from tests.support.moto_world import TABLE, Cloud, create_table, refusal

DAY = "2026-11-21T09:30:00.000Z"

# --- What is listed, on moto ------------------------------------------------------------------------------------------


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
        (Query(owner="key-of-a"), "OwnerIndex"),
        (Query(animal=Animal.CAT, status=Status.COMPLETED, owner="key-of-a"), "OwnerIndex"),
    ],
)
def test_asks_the_index_with_the_fewest_records_of_no_interest(query: Query, index: str) -> None:
    assert query.spread()[0] == index


def sealed(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


NO_FILTERS: list[str | None] = [None] * 5


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
        sealed([DAY, ["cat", None, None, None, None]]),
        sealed([DAY, [None, None, None, None, "key-of-a"]]),
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
        Query(owner="key-of-a"),
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


# --- At scale, on a stand-in ------------------------------------------------------------------------------------------

EVERY_FILTER = [
    Query(animal, status)
    for animal in (None, *Animal)
    for status in (None, *Status)
    if not Query(animal, status).is_empty
]
EVERY_FILTER += [replace(query, owner="key-of-b") for query in EVERY_FILTER]


def ask(monkeypatch: pytest.MonkeyPatch, found: Indexes) -> Indexes:
    """Let the listing ask a stand-in."""
    monkeypatch.setattr(listing, "client", lambda _: found)
    return found


def answers(found: Indexes, query: Query, limit: int) -> Iterator[tuple[Page, list[int]]]:
    """All pages of a listing, and the bytes that each call for them has read."""
    token = None
    while True:
        found.read.clear()
        page = list_images(TABLE, query, limit, token)
        yield page, list(found.read)
        assert page.next_token != token or token is None, "a page goes on from where it began"
        token = page.next_token
        if token is None:
            return


def is_listed(item: Item, query: Query) -> bool:
    """Whether a record belongs into the listing, said once more and in another way."""
    status, animal = item["ProcessingStatus"]["S"], item.get("DetectedAnimal", {}).get("S")
    if status == "uploading" and int(item["ExpiresAt"]["N"]) < 1_000_000_000:
        return False
    return (
        query.status in (None, status)
        and query.animal in (None, animal)
        and query.owner in (None, item["OwnerShard"]["S"].partition("#")[0])
        and (query.since or "0") <= item["CreatedAt"]["S"] < (query.until or "9")
    )


def listed(items: list[Item], query: Query) -> list[str]:
    """What a listing must give, in order."""
    return sorted((item["ListedAt"]["S"] for item in items if is_listed(item, query)), reverse=True)


@pytest.fixture(scope="module")
def a_hundred_thousand() -> tuple[list[Item], Indexes]:
    """Records of every kind; the newest 10,000 are uploads that never came."""
    items = list(indexes.mixed(100_000))
    return items, Indexes.of(items)


@pytest.mark.parametrize("query", EVERY_FILTER, ids=str)
def test_every_filter_pages_completely_through_100_000_records(
    monkeypatch: pytest.MonkeyPatch, a_hundred_thousand: tuple[list[Item], Indexes], query: Query
) -> None:
    items, found = a_hundred_thousand
    ask(monkeypatch, found)
    expected = listed(items, query)
    pages, calls, position = 0, 0, 0
    for page, read in answers(found, query, 100):
        assert len(read) <= listing.MAX_QUERIES
        names = [record["ListedAt"] for record in page.records]
        assert names == expected[position : position + len(names)]
        position += len(names)
        pages, calls = pages + 1, calls + len(read)
    assert position == len(expected)
    # Forgotten uploads are 10,000 in a row; what a filter skips costs a call for each thousand.
    assert pages <= len(expected) / 100 + 20
    # Of one owner every filter skips: there is no index by owner and animal, so a page may take a second round.
    rounds = 1 if query.owner is None else 2
    assert calls <= SHARDS * rounds * (len(expected) / 100 + 1) + 100


@pytest.fixture(scope="module")
def two_thousand() -> tuple[list[Item], Indexes]:
    items = list(indexes.mixed(2_000))
    return items, Indexes.of(items)


@pytest.mark.parametrize("limit", [1, 20])
@pytest.mark.parametrize("query", EVERY_FILTER, ids=str)
def test_every_limit_pages_completely(
    monkeypatch: pytest.MonkeyPatch, two_thousand: tuple[list[Item], Indexes], query: Query, limit: int
) -> None:
    items, found = two_thousand
    ask(monkeypatch, found)
    monkeypatch.setattr(listing, "LARGE_PAGE", 20)  # as if there were fifty times as many
    names: list[str] = []
    for page, read in answers(found, query, limit):
        assert len(read) <= listing.MAX_QUERIES
        assert len(page.records) <= limit
        names += [record["ListedAt"] for record in page.records]
    assert names == listed(items, query)


# Few digits and moments: whole tables in one shard, forgotten uploads in a row, records at a border of the filter.
kinds = st.sampled_from(
    [
        (Status.UPLOADING, None, True),
        (Status.UPLOADING, None, False),
        (Status.COMPLETED, Animal.CAT, False),
        (Status.FAILED, Animal.CAT, False),
    ]
)
rows = st.lists(st.tuples(kinds, st.sampled_from("0001237"), st.integers(0, 9)), max_size=40)
borders = st.none() | st.integers(0, 10).map(lambda n: f"2026-01-01T00:00:00.{n:03}Z")
filters = st.builds(
    Query,
    st.none() | st.just(Animal.CAT),
    st.none() | st.sampled_from([Status.UPLOADING, Status.FAILED]),
    borders,
    borders,
    st.none() | st.sampled_from(indexes.OWNERS),
)


@settings(max_examples=300, deadline=None)
@given(rows=rows, query=filters, limit=st.integers(1, 4), size=st.integers(1, 3), more=st.integers(0, 5))
def test_however_little_a_request_may_read_the_pages_are_the_whole_listing(
    rows: list[tuple[tuple[Status, Animal | None, bool], str, int]], query: Query, limit: int, size: int, more: int
) -> None:
    items = [
        indexes.record(moment, status, animal, forgotten=forgotten, image_id=f"{digit}{number:031x}")
        for number, ((status, animal, forgotten), digit, moment) in enumerate(rows)
    ]
    with pytest.MonkeyPatch.context() as patched:
        found = ask(patched, Indexes.of(items))
        patched.setattr(listing, "LARGE_PAGE", size)
        patched.setattr(listing, "MAX_QUERIES", SHARDS + more)
        pages = list(answers(found, query, limit))
    assert [record["ListedAt"] for page, _ in pages for record in page.records] == listed(items, query)
    assert all(len(read) <= SHARDS + more and len(page.records) <= limit for page, read in pages)


@pytest.mark.parametrize(
    "query",
    [Query(Animal.CAT), Query(status=Status.FAILED), Query(until=DAY), Query(Animal.CAT, owner="key-of-b")],
    ids=str,
)
def test_the_stand_in_answers_as_moto_does(aws: Cloud, monkeypatch: pytest.MonkeyPatch, query: Query) -> None:
    create_table(aws.dynamodb, "both")
    items = list(indexes.mixed(200))
    for item in items:
        aws.dynamodb.put_item(TableName="both", Item=item)
    found = Indexes.of(items)

    def ask_both(**arguments: Any) -> Any:
        answer, same = aws.dynamodb.query(**arguments), found.query(**arguments)
        if "FilterExpression" not in arguments:  # moto filters before it counts
            assert answer["Items"] == same["Items"]
        return answer

    monkeypatch.setattr(listing, "client", lambda _: SimpleNamespace(query=ask_both))
    assert [name for page in pages("both", query, 7) for name in page] == listed(items, query)


def test_10_000_forgotten_uploads_are_passed_in_two_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were 335 calls for a thousand."""
    lost = (
        indexes.record(n, Status.UPLOADING, forgotten=True, image_id=f"{n * 7919 % 16:x}{n:031x}")
        for n in range(10_000)
    )
    picture = indexes.record(0, Status.COMPLETED, Animal.CAT, image_id="f" * 32)
    older = picture | {"ListedAt": {"S": f"2025-12-31T00:00:00.000Z#{'f' * 32}"}}
    found = ask(monkeypatch, Indexes.of([older, *lost], size=600))
    first, last = answers(found, Query(), 20)
    assert (first[0].records, [record["ImageID"] for record in last[0].records]) == ([], ["f" * 32])
    assert max(len(first[1]), len(last[1])) <= listing.MAX_QUERIES == 12


def test_a_full_page_costs_one_small_call_of_each_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [indexes.record(n, Status.COMPLETED, Animal.CAT, image_id=f"{n % 16:x}{n:031x}") for n in range(500)]
    found = ask(monkeypatch, Indexes.of(pictures, size=3_000))
    for query in (Query(), Query(Animal.CAT), Query(status=Status.COMPLETED), Query(Animal.CAT, Status.COMPLETED)):
        pages = list(answers(found, query, 20))
        assert len(pages) == 25
        assert all(len(read) == SHARDS and max(read) <= 22 * 3_000 for _, read in pages)


def test_a_shard_without_a_record_of_interest_costs_no_large_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read on only if the page could not be filled otherwise."""
    some = [
        indexes.record(
            n,
            Status.COMPLETED if n % SHARDS else Status.UPLOADING,
            forgotten=not n % SHARDS,
            image_id=f"{n % SHARDS}{n:031x}",
        )
        for n in range(500)
    ]
    found = ask(monkeypatch, Indexes.of(some))
    page, read = next(answers(found, Query(), 20))
    assert (len(page.records), len(read)) == (20, SHARDS)
