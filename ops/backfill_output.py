"""What a person reads of a backfill, and the same as JSON for programs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ops import cost
from ops.backfill import Backfill, Preview
from ops.output import print_table, say
from ops.sources import Place, Survey
from pet_detector.rules.models import Status
from pet_detector.rules.prices import prices_document

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def size(number: float) -> str:
    """Bytes in a unit that a person can read: `1.9 GB`."""
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:,.0f} {_UNITS[unit]}" if unit == 0 else f"{number:,.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """`40 seconds`, `12 minutes`, `5.6 hours`, `4 days`."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} days"


# --- The preview ------------------------------------------------------------------------------------------------------


def show_preview(environment: str, place: Place, found: Preview) -> None:
    """What lies there, what is left to do, what it costs, how long it takes, and what live uploads notice of it."""
    looked = found.survey
    say(f"{place.name} -> {environment}")
    rows = [("found", f"{looked.objects:,}", size(looked.size)), ("images already", f"{looked.known:,}", "")]
    rows += [("the same bytes again", f"{looked.repeated:,}", "")] if looked.repeated else []
    rows += [(f"skipped: {reason.value}", f"{count:,}", "") for reason, count in looked.skipped.most_common()]
    rows.append(("to do", f"{looked.to_do:,}", size(looked.to_do_bytes)))
    print_table(("", "number", "size"), rows)
    if not looked.to_do:
        return
    images = looked.to_do
    lines = [(line.name, f"{line.per_image:.8f}", f"{line.per_image * images:,.4f}", line.how) for line in found.lines]
    lines.append(("Total", f"{cost.total(found.lines):.8f}", f"{found.dollars:,.4f}", "at most: what was seen is free"))
    print_table(("line", "$ an image", "$", "how"), lines)
    say(f"{looked.distinct:,} different pictures, {found.load.uncertain:.0%} uncertain. {_source()}")
    ends = datetime.now(UTC) + timedelta(seconds=found.seconds)
    reason = f"at {found.pace:g} calls of Rekognition a second (RekognitionCallsPerSecond)"
    if found.days_by_limit:
        reason = f"at {found.a_day:,} images a day (DailyAnalysisLimit)"
    say(
        f"It takes {duration(found.seconds)} {reason}: until {ends:%Y-%m-%d %H:%M} UTC, "
        "later by what live uploads take."
    )
    say("Live uploads go first: each is at most about a second slower meanwhile.")


def _source() -> str:
    document = prices_document()
    return f"Prices of {document['date']}, {document['source']}."


def preview_document(place: Place, found: Preview) -> dict[str, Any]:
    """The same for programs, in US dollars, bytes and seconds."""
    return {
        "source": place.name,
        **survey_document(found.survey),
        "callsPerSecond": found.pace,
        "dailyLimit": found.a_day,
        "seconds": found.seconds,
        "lines": found.lines,
        "perImage": cost.total(found.lines),
        "total": found.dollars,
    }


def survey_document(found: Survey) -> dict[str, Any]:
    """What lies at a place and what became of it."""
    return {
        "objects": found.objects,
        "bytes": found.size,
        "known": found.known,
        "images": found.statuses,
        "repeated": found.repeated,
        "skipped": {reason.name: count for reason, count in found.skipped.items()},
        "toDo": found.to_do,
        "announced": found.announced,
        "unsure": found.unsure,
        "toDoBytes": found.to_do_bytes,
        "distinct": found.distinct,
    }


# --- While it runs ----------------------------------------------------------------------------------------------------


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """Empty before anything is done."""
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Bar]:
    """A bar on standard error, if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as shown:
        yield Bar(shown, description, total)


class Bar:
    """A line of progress."""

    def __init__(self, shown: Progress, description: str, total: float | None) -> None:
        self._shown, self._description = shown, description
        self._task = shown.add_task(description, total=total)

    def advance(self, number: int, waiting: str = "") -> None:
        """So many more are done; `waiting` is a word on what it waits for."""
        text = f"{self._description} ({waiting})" if waiting else self._description
        self._shown.update(self._task, advance=number, description=text)

    def show(self, found: Backfill) -> None:
        """How far the state machine is."""
        self._shown.update(self._task, total=found.total or None, completed=found.done)


# --- At the end -------------------------------------------------------------------------------------------------------


def show_running(found: Backfill) -> None:
    """That it goes on without this command."""
    say(
        f"The backfill {found.name} goes on: {found.done:,} of {found.total:,} objects. "
        "`petdetect backfill --resume` shows it again, `petdetect backfill --stop` stops it."
    )


def show_ended(found: Backfill) -> None:
    """How the execution ended."""
    failed = found.items["failed"]
    ended = {"SUCCEEDED": "has registered its objects", "ABORTED": "was stopped"}.get(found.status, "ended early")
    error = f" ({found.error})" if found.error else ""
    say(f"The backfill {found.name} {ended}{error}: {found.done:,} of {found.total:,} objects.")
    if found.denied:
        say(
            f"{found.denied:,} objects cannot be read: their bucket or key refuses it, or they are archived. They are "
            "not registered, and hold no others back."
        )
    if failed:
        say(
            f"{failed:,} objects are in batches that failed; most of them may be registered all the same. Why: open "
            f"the execution in the Step Functions console. Then run `petdetect backfill {found.prefix.name}` again: it "
            "registers the rest."
        )


def show_outcomes(counts: Counter[str]) -> None:
    """What became of the files of a folder."""
    say(", ".join(f"{count:,} {name}" for name, count in counts.items()) + ".")


def show_survey(place: Place, found: Survey, turn: datetime | None) -> None:
    """What became of the pictures so far; `turn` is when the last one of those that wait has its turn, if known."""
    rows = [(status, f"{count:,}") for status, count in sorted(found.statuses.items())]
    rows += [("on the way", f"{found.announced:,}")] if found.announced else []
    rows += [("announced, perhaps not copied", f"{found.unsure:,}")] if found.unsure else []
    missing = found.to_do - found.announced - found.unsure
    rows += [("not registered", f"{missing:,}")] if missing else []
    print_table(("images", "number"), rows)
    if found.statuses[Status.FAILED]:
        say("Why they failed, and how to start them again: petdetect failed")
    if found.statuses[Status.PROCESSING] + found.announced:
        until = f" until about {turn.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if turn else ""
        say(f"Some still wait for their turn{until}; they finish by themselves.")
    if missing or found.unsure:
        say(f"Run `petdetect backfill {place.name}` again: it registers what is missing.")
