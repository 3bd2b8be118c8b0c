"""What the table says, and when a load has failed."""

from __future__ import annotations

import io
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.load import ledger, stages, summary
from tests.load.ledger import Image, Ledger, Request
from tests.load.stages import Environments, Look
from tests.load.summary import Result


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, 0),
        ([7], 50, 7),
        ([7], 99, 7),
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(1, 11), 95, 10),
        ([3, 1, 2], 50, 2),
    ],
)
def test_percentile_is_a_value_that_occurred(values: Any, percent: float, expected: float) -> None:
    assert summary.percentile(values, percent) == expected


def test_busiest_second_may_begin_anywhere() -> None:
    assert summary.busiest_second([]) == 0
    assert summary.busiest_second([0.9, 0.0, 1.1, 1.8, 5.0]) == 3  # 0.9 to 1.9; no calendar second has three
    assert summary.busiest_second([0.0, 1.0, 2.0]) == 1


def test_average_is_taken_from_the_first_to_the_last() -> None:
    assert summary.average_a_second([10, 11, 12, 14]) == 0.75
    assert summary.average_a_second([10]) == 0
    assert summary.average_a_second([]) == 0


def request(milliseconds: float = 10, error: str = "", *, throttled: bool = False) -> Request:
    return Request("GET /images", 0, milliseconds, error, throttled)


def result(*requests: Request, looks: dict[str, Look] | None = None, **known: Any) -> Result:
    return Result("steady", 60, requests or (request(),), looks or {"a": Look("completed", seconds=2)}, **known)


def row(of: Result, what: str, measure: str) -> str:
    """The cell of a measure, below the row that names what it is of."""
    subject = ""
    for first, second, cell in summary.rows([of]):
        subject = first or subject
        if (subject, second) == (what, measure):
            return cell
    raise AssertionError(f"no row {what}, {measure}")


def test_throttled_requests_are_counted_apart_and_have_no_part_in_the_times() -> None:
    loaded = result(request(10), request(20), request(9000, throttled=True), request(30, "500 instead of 200"))

    assert row(loaded, "GET /images", "requests / errors / 429") == "3 / 1 / 1"
    assert row(loaded, "GET /images", "p50 / p95 / p99 ms") == "20 / 30 / 30"


def test_what_slows_down_shows_between_the_first_and_the_last_third() -> None:
    times = {0: 10, 10: 30, 40: 500, 59: 500, 70: 80, 90: 90}
    loaded = result(*(Request("GET /images", at, milliseconds) for at, milliseconds in times.items()))

    assert row(loaded, "load", "p95 ms, first / last third") == "30 / 90"


@pytest.mark.parametrize(
    ("look", "fate", "good"),
    [
        (Look("completed"), "finished", True),
        (Look("needs_review"), "finished", True),
        (Look("rejected"), "finished", True),
        (Look("held"), "finished", True),
        (Look("failed"), "failed", False),
        (Look("uploading"), "lost", False),
        (Look(""), "lost", False),
        (Look("processing"), "stuck", False),
        (Look("processing", turn_at=time.time() + 3600), "waiting", True),
        (Look("processing", turn_at=time.time() - 3600), "stuck", False),
    ],
)
def test_only_images_that_finish_or_wait_for_a_turn_are_good(look: Look, fate: str, good: bool) -> None:
    loaded = result(looks={"good": Look("completed"), "this": look})

    assert look.fate == fate
    assert loaded.is_good is good
    assert bool(summary.problems([loaded])) is not good


def test_an_unexpected_answer_makes_the_load_a_failure_and_a_throttled_one_does_not() -> None:
    assert result(request(throttled=True), request()).is_good
    failed = result(request(error="500 instead of 200"), request(error="500 instead of 200"))
    assert not failed.is_good
    assert summary.problems([failed]) == ["steady: 2 x GET /images: 500 instead of 200"]


def test_a_load_without_requests_is_a_failure() -> None:
    assert not Result("steady", 60, [], {}).is_good
    assert summary.problems([Result("steady", 60, [], {})]) == ["steady: no request was made"]


def test_what_is_not_known_is_said_and_not_invented() -> None:
    unknown = result()
    for what, measure in (
        ("notices", "by kind"),
        ("Rekognition", "calls / throttled"),
        ("Rekognition", "a second: average / busiest"),
        ("Lambda", "environments / MB at most"),
    ):
        assert row(unknown, what, measure) == summary.UNKNOWN


def test_what_is_known_of_the_local_aws_is_told() -> None:
    calls = [(10.0, "ok"), (10.5, "ProvisionedThroughputExceededException"), (12.0, "ok")]
    known = result(notices=Counter(ImageUncertain=2), calls=calls, environments=Environments(7, 350))

    assert row(known, "notices", "by kind") == "2 ImageUncertain"
    assert row(known, "Rekognition", "calls / throttled") == "3 / 1"
    assert row(known, "Rekognition", "a second: average / busiest") == "1.0 / 2"
    assert row(known, "Lambda", "environments / MB at most") == "7 / 350"
    assert row(result(notices=Counter()), "notices", "by kind") == "0"


def test_a_digest_is_counted_by_its_own_kind() -> None:
    notice = {"MessageAttributes": {"Kind": {"Type": "String", "Value": "ImageUncertain"}}}
    digest = {"MessageAttributes": {"Kind": {"Type": "String.Array", "Value": '["Digest", "ImageUncertain"]'}}}

    assert [stages.kind_of(notice), stages.kind_of(digest)] == ["ImageUncertain", "Digest"]


def test_terminal_and_document_have_the_same_table_a_column_for_each_scenario() -> None:
    results = [result(), Result("burst", 5, [request(40)], {})]
    output = io.StringIO()
    Console(file=output, width=120).print(summary.table(results, "Load"))
    document = summary.markdown(results, "Load", ["a note"])

    for cells in summary.rows(results):
        assert all(cell in output.getvalue() for cell in cells)
        assert "| " + " | ".join(cells) + " |" in document
    assert "| | | steady | burst |" in document
    assert document.endswith("- a note\n")


def test_ledger_holds_what_was_added(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text("of an earlier run\n")
    written = Ledger(file)
    written.add(request(error="500 instead of 202"))
    written.add(Image("a", 12.5))

    assert ledger.read(file) == ([request(error="500 instead of 202")], [Image("a", 12.5)])


class Images:
    """Answers each look at an image with its next status; the last one stays."""

    def __init__(self, **statuses: list[Look]) -> None:
        self.statuses = statuses
        self.looks: Counter[str] = Counter()

    def look(self, image_id: str) -> Look:
        self.looks[image_id] += 1
        known = self.statuses[image_id]
        return known.pop(0) if len(known) > 1 else known[0]


def test_images_are_followed_until_they_end_and_those_that_ended_are_left_alone() -> None:
    images = Images(a=[Look("completed")], b=[Look("uploading"), Look("processing"), Look("failed")])

    assert stages.follow(["a", "b"], images.look, pause=0) == {"a": Look("completed"), "b": Look("failed")}
    assert images.looks == {"a": 1, "b": 3}


def test_what_does_not_end_is_given_up_after_a_time() -> None:
    images = Images(a=[Look("processing")])

    assert stages.follow(["a"], images.look, seconds=0, pause=0)["a"].fate == "stuck"


def test_a_turn_that_is_far_away_is_not_waited_for_and_a_near_one_is() -> None:
    later, soon = Look("processing", time.time() + 3600), Look("processing", time.time())
    images = Images(a=[later], b=[soon, Look("completed")])

    assert stages.follow(["a", "b"], images.look, seconds=5, pause=0) == {"a": later, "b": Look("completed")}
    assert images.looks == {"a": 1, "b": 2}


def test_look_reads_what_the_api_shows() -> None:
    record = {
        "status": "processing",
        "createdAt": "2026-11-21T10:00:00.500000Z",
        "turnAt": "2026-11-21T10:01:00Z",
    }
    waiting = Look.of(record)
    ended = Look.of({**record, "status": "completed", "timestamp": "2026-11-21T10:00:03.000000Z"})

    assert (waiting.status, waiting.seconds) == ("processing", 0)
    assert waiting.turn_at == 1795255260
    assert ended.seconds == 2.5
