"""What `make run` says about the pictures, and the same as JSON. File names are shown without control characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from local.sender import IMAGE_SECONDS, Outcome
from pet_detector.rules.text import printable

ID_DIGITS = 8  # `petdetect explain` takes them for the whole id
SHOWN_NOTICES = 5
SHOWN_REASONS = 20


def table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each picture. 80 columns hold the names of photos/; what is longer is cut."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("id", no_wrap=True)
    shown.add_column("file", min_width=20)  # the one that gives way
    shown.add_column("animal", no_wrap=True)
    shown.add_column("conf.", justify="right", no_wrap=True)
    shown.add_column("status", no_wrap=True)
    shown.add_column("s", justify="right", no_wrap=True)
    for outcome in outcomes:
        confidence = outcome.record.get("confidence")
        shown.add_row(
            outcome.image_id[:ID_DIGITS] or "-",
            Text(printable(outcome.name), no_wrap=True, overflow="ellipsis"),
            outcome.record.get("animal") or "-",
            "-" if confidence is None else f"{float(confidence):.1f}",
            outcome.status,
            _seconds(outcome.milliseconds),
        )
    return shown


def reasons(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each picture that was rejected, failed or is stuck; many are not all listed."""
    lines = [
        f"  {outcome.image_id[:ID_DIGITS] or '-'} {printable(outcome.name)}: "
        f"{outcome.status}, {printable(outcome.reason)}"
        for outcome in outcomes
        if outcome.reason
    ]
    more = [f"  and {len(lines) - SHOWN_REASONS} more"] if len(lines) > SHOWN_REASONS else []
    return lines[:SHOWN_REASONS] + more


def _seconds(milliseconds: int) -> str:
    """Three characters at most: a table of 80 columns has no more room."""
    seconds = milliseconds / 1000
    return f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:.0f}"


def totals(outcomes: Sequence[Outcome], seconds: float) -> str:
    """How many pictures show which animal, and how many have ended how."""
    counted = Counter(outcome.status for outcome in outcomes)
    animals = Counter(outcome.record["animal"] for outcome in outcomes if outcome.record.get("animal"))
    found = ", ".join(f"{animals[animal]} {animal}" for animal in ("cat", "dog", "other") if animals[animal])
    ended = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in sorted(counted.items()))
    return f"{pictures(len(outcomes))} in {seconds:.1f} s: {'; '.join(filter(None, [found, ended]))}."


def pictures(number: int) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} picture{'' if number == 1 else 's'}"


def skipped(kinds: Counter[str]) -> str:
    """A line about the entries of the folder that are no pictures; empty when there are none."""
    if not kinds:
        return ""
    number = kinds.total()
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"Skipped {number} {'entry' if number == 1 else 'entries'} of the folder: {listed}."


def notices(sent: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]) -> list[str]:
    """Lines about the messages that went to people, as the topic delivers them; many are not all listed."""
    names = {outcome.image_id: printable(outcome.name) for outcome in outcomes if outcome.image_id}
    lines = [f"Notices sent to people: {len(sent)}"]
    for notice in sent[:SHOWN_NOTICES]:
        image_id = notice.get("MessageAttributes", {}).get("ImageID", {}).get("Value", "")
        lines.append(
            f"  {names.get(image_id, 'another picture')}: {printable(notice.get('Subject') or '(no subject)')}"
        )
    if len(sent) > SHOWN_NOTICES:
        lines.append(f"  and {len(sent) - SHOWN_NOTICES} more")
    missing = sum(outcome.status in ("needs_review", "failed") for outcome in outcomes) - len(sent)
    if missing > 0:
        lines.append(f"  {missing} more come as one digest (NoticeBurst), or have not come yet: see petdetect status")
    return lines


def held(outcomes: Sequence[Outcome]) -> str:
    """What to do about pictures above the daily limit; empty when there are none."""
    number = sum(outcome.status == "held" for outcome in outcomes)
    if not number:
        return ""
    return (
        f"{pictures(number)} held: the daily limit (DailyAnalysisLimit) is reached. The analysis follows after 0:00 "
        "UTC, or today with `.venv/bin/petdetect release --all`."
    )


def errors(outcomes: Sequence[Outcome], denials: Sequence[str] = ()) -> str:
    """What a person must know about pictures that are stuck or failed, and rights that are missing; often nothing."""
    stuck = [outcome for outcome in outcomes if outcome.status == "stuck"]
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    found = []
    if stuck:
        names = "".join(f"\n  {printable(outcome.name)}: {outcome.remark}" for outcome in stuck)
        found.append(
            f"{len(stuck)} of {pictures(len(outcomes))} did not finish within {IMAGE_SECONDS:.0f} s:{names}\n"
            "The logs of the local AWS say why; look there, then `make down` and try again."
        )
    if failed:
        names = ", ".join(printable(outcome.name) for outcome in failed)
        found.append(f"{len(failed)} of {pictures(len(outcomes))} failed: {names}.")
    if denials:
        found.append("".join(["A right is missing in template.yaml:", *(f"\n  {denial}" for denial in denials)]))
    return "\n".join(f"Error: {text}" for text in found)


def document(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The table and what it leaves out, for programs. Confidence is in percent."""
    return {
        "seconds": round(seconds, 1),
        "pictures": [
            {
                "file": outcome.name,
                "imageId": outcome.image_id or None,
                "status": outcome.status,
                "reason": outcome.reason or None,
                "animal": outcome.record.get("animal"),
                "confidence": outcome.record.get("confidence"),
                "certain": outcome.record.get("certain"),
                "folder": outcome.folder,
                "milliseconds": outcome.milliseconds,
            }
            for outcome in outcomes
        ],
    }
