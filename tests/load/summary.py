"""The one table: a column for each scenario, and below it what was wrong and what bounds the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from rich import box
from rich.table import Table

from tests.load.ledger import Request
from tests.load.stages import FINISHED, Environments, Look

UNKNOWN = "not known here"
SHOWN = 5  # ids of images, or kinds of errors
FATES = ("failed", "lost", "stuck", "waiting")
GOOD = ("finished", "waiting")
# In the order of an image's way; others, which are refused, follow in the order of the alphabet.
ENDPOINTS = ("POST /upload, inline", "POST /upload, form", "POST to S3", "GET /images/{id}", "GET /images")


@dataclass(frozen=True)
class Result:
    """What a scenario did. What is None could not be known."""

    scenario: str
    seconds: float  # of the load, without the wait for the last images
    requests: Sequence[Request]
    looks: dict[str, Look]  # of every accepted image, the last one
    notices: Counter[str] | None = None
    calls: Sequence[tuple[float, str]] | None = None
    environments: Environments | None = None
    errors: Counter[str] = field(init=False)
    fates: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        errors = Counter(f"{request.name}: {request.error}" for request in self.requests if request.error)
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "fates", Counter(look.fate for look in self.looks.values()))

    @property
    def is_good(self) -> bool:
        """No unexpected answer, and every accepted image has finished, or waits for a turn that is known."""
        return not self.errors and not self.fates.keys() - set(GOOD) and bool(self.requests)

    def of(self, name: str) -> list[Request]:
        """The requests of this name."""
        return [request for request in self.requests if request.name == name]


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many percent of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def busiest_second(times: Sequence[float]) -> int:
    """The most calls within any one second, wherever it begins."""
    ordered, first, most = sorted(times), 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def average_a_second(times: Sequence[float]) -> float:
    """Calls a second from the first to the last; 0 for fewer than two."""
    span = max(times) - min(times) if times else 0.0
    return (len(times) - 1) / span if span else 0.0


def rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """What, measure, and a cell for each result; what no result has is left out. A new subject has a first cell."""
    names = {request.name for result in results for request in result.requests}
    others = sorted(names.difference(ENDPOINTS))
    for name in [*(endpoint for endpoint in ENDPOINTS if endpoint in names), *others]:
        yield name, "requests / errors / 429", *(_counts(result.of(name)) for result in results)
        if name in ENDPOINTS:
            yield "", "p50 / p95 / p99 ms", *(_times(result.of(name)) for result in results)
    yield "images", "accepted", *(str(len(result.looks)) for result in results)
    for status in ("finished", *FINISHED):
        counts = [_count(result, status) for result in results]
        if status == "finished" or any(counts):
            yield "", f"{'- ' * (status != 'finished')}{status.replace('_', ' ')}", *map(str, counts)
    for fate in FATES:
        yield "", fate.replace("waiting", "waiting for a turn"), *(str(result.fates[fate]) for result in results)
    yield "", "p50 / p95 / p99 s to the end", *(_ages(result) for result in results)
    yield "notices", "by kind", *(_kinds(result.notices) for result in results)
    yield "Rekognition", "calls / throttled", *(_calls(result) for result in results)
    yield "", "a second: average / busiest", *(_rate(result) for result in results)
    yield "Lambda", "environments / MB at most", *(_environments(result.environments) for result in results)
    yield "load", "p95 ms, first / last third", *(_drift(result.requests) for result in results)
    yield "", "seconds", *(f"{result.seconds:.0f}" for result in results)


def _count(result: Result, status: str) -> int:
    if status == "finished":
        return result.fates["finished"]
    return sum(look.status == status for look in result.looks.values())


def _counts(requests: Sequence[Request]) -> str:
    if not requests:
        return "-"
    throttled, errors = (sum(map(bool, map(attrgetter(name), requests))) for name in ("throttled", "error"))
    return f"{len(requests) - throttled} / {errors} / {throttled}"


def _times(requests: Sequence[Request]) -> str:
    times = [request.milliseconds for request in requests if not request.throttled]
    return " / ".join(f"{percentile(times, percent):.0f}" for percent in (50, 95, 99)) if times else "-"


def _ages(result: Result) -> str:
    ages = [look.seconds for look in result.looks.values() if look.fate == "finished"]
    return " / ".join(f"{percentile(ages, percent):.1f}" for percent in (50, 95, 99)) if ages else "-"


def _drift(requests: Sequence[Request]) -> str:
    """The endpoints at the beginning and at the end of the load: what slows down shows here."""
    ours = [request for request in requests if request.name in ENDPOINTS and not request.throttled]
    if not ours:
        return "-"
    first, last = min(request.at for request in ours), max(request.at for request in ours)
    third = (last - first) / 3
    thirds = [[r for r in ours if r.at <= first + third], [r for r in ours if r.at >= last - third]]
    return " / ".join(f"{percentile((r.milliseconds for r in part), 95):.0f}" for part in thirds)


def _kinds(notices: Counter[str] | None) -> str:
    if notices is None:
        return UNKNOWN
    return ", ".join(f"{number} {kind}" for kind, number in sorted(notices.items())) or "0"


def _calls(result: Result) -> str:
    if result.calls is None:
        return UNKNOWN
    throttled = sum(answer.startswith(("Throttling", "Provisioned")) for _, answer in result.calls)
    return f"{len(result.calls)} / {throttled}"


def _rate(result: Result) -> str:
    if result.calls is None:
        return UNKNOWN
    times = [at for at, _ in result.calls]
    return f"{average_a_second(times):.1f} / {busiest_second(times)}"


def _environments(seen: Environments | None) -> str:
    return UNKNOWN if seen is None else f"{seen.number} / {seen.megabytes}"


def table(results: Sequence[Result], title: str) -> Table:
    """The table for a terminal."""
    shown = Table("", "", title=title, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for result in results:
        shown.add_column(result.scenario, justify="right")
    for row in rows(results):
        shown.add_row(*row)
    return shown


def markdown(results: Sequence[Result], title: str, notes: Sequence[str]) -> str:
    """The table and its notes as a document."""
    head = [
        "| | |" + "|".join(f" {result.scenario} " for result in results) + "|",
        "|---|---|" + "---:|" * len(results),
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows(results)]
    return "\n".join([f"# {title}", "", *head, *lines, "", *(f"- {note}" for note in notes), ""])


def problems(results: Sequence[Result]) -> list[str]:
    """A line for everything that makes the load a failure."""
    found = []
    for result in results:
        if not result.requests:
            found.append(f"{result.scenario}: no request was made")
        for error, number in result.errors.most_common(SHOWN):
            found.append(f"{result.scenario}: {number} x {error}")
        if len(result.errors) > SHOWN:
            found.append(f"{result.scenario}: and {len(result.errors) - SHOWN} more kinds of errors")
        for fate in result.fates.keys() - set(GOOD):
            ids = [image_id for image_id, look in result.looks.items() if look.fate == fate]
            more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            found.append(f"{result.scenario}: {fate}: {', '.join(ids[:SHOWN])}{more}")
    return found
