"""Pages of a listing of 100,000 records: how many calls of Query, and how long on this machine beside them."""

from __future__ import annotations

import time
from unittest import mock

from pet_detector.aws import listing
from pet_detector.aws.listing import Query
from pet_detector.rules.image_ids import SHARDS
from tests.benchmarks.measure import Measure
from tests.support import indexes

RECORDS, LIMIT = 100_000, 100


def measure() -> list[Measure]:
    """The whole listing, page by page, from a stand-in; the newest 10,000 are uploads that never came."""
    found = indexes.Indexes.of(indexes.mixed(RECORDS))
    images, pages, most, token = 0, 0, 0, None
    with mock.patch.object(listing, "client", return_value=found):
        begin = time.perf_counter()
        while token is not None or not pages:
            before = len(found.read)
            page = listing.list_images("a table", Query(), LIMIT, token)
            images, pages, token = images + len(page.records), pages + 1, page.next_token
            most = max(most, len(found.read) - before)
        seconds = time.perf_counter() - begin
    calls = len(found.read)
    allowed = SHARDS * (RECORDS // LIMIT) + 100
    return [
        Measure(
            f"listing {RECORDS:,} records",
            f"{images:,} images, {pages} pages, {calls:,} calls, {seconds:.1f} s",
            target=f"<= {allowed:,} calls",
            is_met=calls <= allowed,
        ),
        Measure(
            "calls of Query for one page",
            f"{most} at most",
            target=f"<= {listing.MAX_QUERIES}",
            is_met=most <= listing.MAX_QUERIES,
        ),
    ]
