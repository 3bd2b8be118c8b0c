"""The simulations that `make bench` runs, their table, and what must be true of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.table import Table

from tests.benchmarks.measure import Measure
from tests.benchmarks.pace.dynamodb import WRITES_A_SECOND_OF_AN_ITEM
from tests.benchmarks.pace.scenarios import Result, Scenario, simulate

MOST_IMAGES = 100_000  # without being asked for more
MOST = 1.05  # of the floor
MOST_SECONDS_MORE = 2.0  # that a live upload takes in the middle of a backfill
BACKFILL_APART = 1 / 200  # a backfill that starts more executions a second keeps live uploads from starting

OLD, NEW, LIVE_ALONE, BACKFILL = "today's retries", "turns", "live uploads alone", "backfill, live uploads"

SCENARIOS = (
    Scenario(OLD, 2_000, 5, is_old=True),
    Scenario(OLD, 10_000, 5, is_old=True),
    Scenario(OLD, 10_000, 50, is_old=True),
    *(Scenario(NEW, images, quota) for images in (10_000, 100_000) for quota in (5, 50)),
    Scenario(LIVE_ALONE, 1, 5, live=500, live_seconds=1000),
    Scenario(BACKFILL, 10_000, 5, folder="input/backfill", seconds_apart=BACKFILL_APART, live=200),
    Scenario(BACKFILL, 100_000, 50, folder="input/backfill", seconds_apart=BACKFILL_APART, live=1000),
    Scenario("others take half", 10_000, 5, others=0.5),
    Scenario("others take half", 10_000, 50, others=0.5),
    Scenario("30 % copies, 10 % unreadable", 10_000, 50, copies=0.3, unreadable=0.1),
    Scenario("0.1 % woken 0.3 to 2 s late", 10_000, 5, late=0.001),
    Scenario("0.1 % woken 0.3 to 2 s late", 10_000, 50, late=0.001),
    Scenario("Lambda's concurrency is 10", 10_000, 5, concurrency=10),
    Scenario("Lambda's concurrency is 10", 10_000, 50, concurrency=10),
)


def measure(_scratch: Path) -> tuple[list[Table], list[Measure]]:
    """Run the simulations: their table, and what must be true."""
    more = int(os.environ.get("IMAGES") or 0)
    results = _run([*SCENARIOS, *(Scenario(NEW, more, quota) for quota in (5, 50) if more > MOST_IMAGES)])
    return [_table(results)], list(_judged(results))


def _run(scenarios: Sequence[Scenario]) -> list[Result]:
    """The results in the order of the scenarios, of which as many run at once as there are processors."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=_collect_rarely) as pool:
        return list(pool.map(simulate, scenarios))


def _collect_rarely() -> None:
    gc.set_threshold(200_000, 20, 50)  # there are many objects, and few become garbage


def _judged(results: Sequence[Result]) -> Iterator[Measure]:
    """What must be true, as lines of `make bench`."""
    alone = next(result.live for result in results if result.scenario.name == LIVE_ALONE)
    assert alone
    for result in results:
        scenario = result.scenario
        if scenario.is_old or scenario.name == LIVE_ALONE:
            continue
        name = f"simulated: {scenario.name}, {scenario.images:,} images, quota of {scenario.quota:g} a second"
        is_free = not scenario.others and scenario.concurrency > 10  # nothing but the pace holds images up
        yield Measure(
            f"{name}: end",
            f"{result.end:.0f} s, {result.failed} failed",
            f"floor {result.floor:.0f} s",
            result.over_floor,
            f"<= {MOST}, 0 failed" if is_free else "0 failed",
            result.failed == 0 and (not is_free or result.over_floor <= MOST),
        )
        if scenario.name == NEW or result.live:
            is_met = result.busiest <= scenario.quota and not result.throttled
            busiest = f"{result.busiest} calls in the busiest second"
            yield Measure(f"{name}: pace", busiest, target=f"<= {scenario.quota:g}", is_met=is_met)
        if result.live:
            half, more = result.live.half - alone.half, result.live.nearly_all - alone.nearly_all
            yield Measure(
                f"{name}: live uploads later",
                f"half of them {half:.1f} s, 99 % {more:.1f} s",
                target=f"<= {MOST_SECONDS_MORE:g} s each",
                is_met=max(half, more) <= MOST_SECONDS_MORE,
            )


def _table(results: Sequence[Result]) -> Table:
    """One line a scenario."""
    found = Table("scenario", title=_TITLE, caption=_CAPTION)
    for name in _COLUMNS:
        found.add_column(name, justify="right")
    for result in results:
        found.add_row(result.scenario.name, *_cells(result))
    return found


_TITLE = "Images at once, simulated in virtual time"
_COLUMNS = (
    "images",
    "quota /s",
    "failed",
    "end",
    "/ floor",
    "/ quota's",
    "half, 95 %, last image",
    "busiest s",
    "throttled",
    "+ transitions",
    "+ writes",
    "+ $ a million",
    "hottest item /s",
    "at once",
    "live: half, 99 %, last",
)
_CAPTION = (
    "floor: different images / pace (0.9 of the quota); quota's: at the quota itself. Times from the upload to the "
    "final record. busiest s: calls of Rekognition in the busiest second. +: beyond an image that does not wait. "
    f"hottest item: writes in its busiest second, ! where DynamoDB, which takes {WRITES_A_SECOND_OF_AN_ITEM:,}, "
    "throttled (so many). at once: functions that ran (calls that Lambda throttled)."
)


def _cells(result: Result) -> Iterator[str]:
    scenario, times, live = result.scenario, result.times, result.live
    yield f"{scenario.images:,}"
    yield f"{scenario.quota:g}"
    yield f"{result.failed:,} ({result.failed / (scenario.images + scenario.live):.0%})" if result.failed else "0"
    yield _time(result.end)
    yield f"{result.over_floor:.3f}"
    yield f"{result.over_floor / scenario.pace:.3f}"
    yield ", ".join(_time(seconds) for seconds in (times.half, times.most, times.longest))
    yield f"{result.busiest:,}"
    yield f"{result.throttled:,} ({result.throttled / result.calls:.1%})" if result.throttled else "0"
    yield f"{result.transitions:+.2f}"
    yield f"{result.writes:+.2f}"
    yield f"{result.dollars:+.0f}"
    yield f"{result.hottest:,}{f' ! ({result.refused:,})' if result.refused else ''}"
    yield f"{result.functions:,}{f' ({result.no_function:,})' if result.no_function else ''}"
    yield ", ".join(_time(seconds) for seconds in (live.half, live.nearly_all, live.longest)) if live else ""


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 100
        else f"{seconds / 60:.1f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
