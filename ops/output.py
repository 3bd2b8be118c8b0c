"""What a person reads, and the same as JSON for programs. Names and causes come from outside: they are shown as text,
never as markup, and without control characters.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops import next_steps
from ops.errors import sentence
from ops.records import FailedImage
from ops.releases import Live
from ops.restart import Outcome, Plan, Restart, Result
from ops.status import State, Waiting
from ops.story import Run, Story
from pet_detector.aws import detection_logs
from pet_detector.rules.models import SUPERSEDED, ReasonCode, Status
from pet_detector.rules.notices import DIGEST_MINUTES
from pet_detector.rules.text import printable
from pet_detector.use_cases.reconciler import Action, Report

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WIDTH_OF_A_PIPE = 160

_STARTED_BY = {
    "event": "the upload's event",
    "redrive": "petdetect redrive (restart)",
    "release": "petdetect release (past the daily limit)",
    "reconcile": "the reconciler",
    "restart": "a person (restart)",
    "manual": "a person",
    "unreadable": "unknown, with an unreadable input",
}
_ACTIONS = {
    Action.START: "start it",
    Action.TURN: "nothing: it waits for its turn",
    Action.WAIT: "wait: an execution works on it",
    Action.RELEASE: "start it: it was held, and another day has come",
    Action.LEAVE: "leave it: it failed or is held, see petdetect explain",
    Action.ERASED: "erase it again: its erasure was broken off, see petdetect erase",
    Action.REMOVE: "remove {} uploads of an erased image",
    Action.REPORT: "check it: finished, but an object remains under input/",
    Action.CLOSE: "close its record as failed: its execution and its object are gone",
    Action.SUPERSEDE: "remove {} later uploads with the form of a finished image",
}


def say(text: str) -> None:
    """A line for a person."""
    click.echo(text)


def say_json(document: object) -> None:
    """One JSON document, the only thing on standard output."""
    click.echo(json.dumps(document, indent=2, default=_plain))


def to_json(value: DataclassInstance, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A dataclass's fields by their names in JSON: `image_id` is imageId. The keys of mappings stay as they are."""
    names = [found.name for found in dataclasses.fields(value) if found.name not in without]
    return {_camel_case(name): getattr(value, name) for name in names}


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _plain(value: Any) -> Any:
    """What the JSON encoder does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, datetime):
        return detection_logs.format_time(value.astimezone(UTC))
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, BaseException):
        return sentence(value)
    return int(value) if value == int(value) else float(value)  # DynamoDB's decimals


def age(since: datetime) -> str:
    """How long ago, in the two largest units: `3 d 4 h`, `5 min`, `12 s`."""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), 3)
    chosen = parts[first : first + 1] if first >= 2 else parts[first : first + 2]
    return " ".join(f"{number} {unit}" for number, unit in chosen)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; cells are text, whatever they hold."""
    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=number == 0)  # an ID that is cut in two cannot be copied
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_A_PIPE)
    console.print(table)


def show_failed(images: list[FailedImage], more: bool, reason: str | None) -> None:
    """The list of failed images, or of those that failed by the error `reason`."""
    if not images:
        say(f"No image has failed by {printable(reason)}." if reason else "No image has failed.")
        return
    print_table(
        ("image", "reason", "failed", "file name", "where"),
        (
            (image.image_id, image.reason, _ago(image.failed_at), image.file_name, image.object or "gone")
            for image in images
        ),
    )
    say(
        f"{len(images)} failed{'; there are more, see --limit' if more else ''}. The story of one: petdetect explain ID"
    )


def _ago(time: datetime | None) -> str:
    return f"{age(time)} ago" if time else "unknown"


def show_story(story: Story) -> None:
    """The story of one image, top to bottom."""
    record = story.record
    status = story.status.replace("_", " ")
    say(f"Image {record['ImageID']}: {status}{_verdict(story)}")
    for title, value in (
        ("file name", record.get("OriginalFilename")),
        ("uploaded by", record.get("UploadedBy")),
        ("created", record.get("CreatedAt")),
        ("finished", record.get("Timestamp")),
        ("rebuilt", record.get("RebuiltAt")),
    ):
        if value:
            say(f"  {title:<12}{printable(str(value))}")
    if number := record.get("Superseded"):
        say(f"  {'rejected':<12}{number} later uploads with the same form ({SUPERSEDED}): a form is for one picture")
    say(f"  {'object':<12}{printable(_place(*story.place, story.replaces), 3000) if story.place else 'gone'}")
    say("\nWhat happened (UTC)")
    if not story.runs:
        say("  No execution has worked on it.")
    for number, run in enumerate(story.runs, 1):
        _show_run(number, run)
    for notified in story.notified:
        say(f"  notified: {printable(notified)}")
    say(f"\nWhat to do\n  {story.next_steps}")
    for command in story.commands:
        say(f"  {command}")
    if "Error" in record:
        say(f"  runbook: {next_steps.runbook(str(record['Error'].get('Error')))}")
    elif story.status == Status.HELD:
        say(f"  runbook: {next_steps.RUNBOOK_OF_HELD}")
    elif record.get("ReasonCode") == ReasonCode.UNSAFE_CONTENT:
        say(f"  runbook: {next_steps.RUNBOOK_OF_UNSAFE}")


def _place(key: str, version_id: str, replaces: str | None) -> str:
    instead = f", put back instead of version {replaces}, which is gone" if replaces else ""
    return f"{key} (version {version_id}{instead})"


def _verdict(story: Story) -> str:
    record = story.record
    if "Error" in record:
        dismissed = ", dismissed" if detection_logs.is_dismissed(record) else ""
        return f" ({printable(str(record['Error'].get('Error')))}{dismissed})"
    if "ReasonCode" in record:
        return f" ({record['ReasonCode']}: {printable(str(record.get('Reason')))})"
    if "DetectedAnimal" in record:
        reused = ", labels of an earlier analysis of the same bytes" if record.get("AnalysisReused") else ""
        return f" ({record['DetectedAnimal']}, {record['ConfidenceScore']:.1f} %{reused})"
    if turn := next_steps.coming_turn(record):
        return f" (waits for its turn until {turn:%Y-%m-%d %H:%M:%S} UTC)"
    return ""


def _show_run(number: int, run: Run) -> None:
    name = run.arn.rpartition(":")[2]
    if run.started is None:
        say(f"  {number}. execution {name}: Step Functions has deleted it (90 days after its end)")
        return
    version = f"version {run.version}" if run.version else "no published version"
    say(f"  {number}. {run.started:%Y-%m-%d %H:%M:%S}  execution {name}, started by {_STARTED_BY[run.kind]}, {version}")
    for step in run.steps:
        attempts = f"  ({step.attempts} attempts)" if step.attempts > 1 else ""
        say(f"     {_clock(step.time)}  {step.state}{attempts}")
        for problem in step.problems:
            say(f"     {_clock(problem.time)}    {printable(problem.error)}: {printable(problem.cause) or 'no cause'}")
    if run.ended is None:
        say("     it still runs")
    else:
        error = f", {printable(run.error)}: {printable(run.cause)}" if run.error and not _said(run) else ""
        say(f"     {_clock(run.ended)}  ended: {run.status}{error}")


def _said(run: Run) -> bool:
    """Whether the error that ended the execution stands beside one of its states."""
    return any(problem.error == run.error for step in run.steps for problem in step.problems)


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03d}"


def story_document(story: Story) -> dict[str, Any]:
    """The story for programs."""
    place = story.place and {"key": story.place[0], "versionId": story.place[1], "replaces": story.replaces}
    return {
        "imageId": story.record["ImageID"],
        "status": story.status,
        "record": story.record,
        "executions": story.runs,
        "object": place,
        "dismissed": detection_logs.is_dismissed(story.record),
        "notified": story.notified,
        "nextSteps": story.next_steps,
        "commands": story.commands,
    }


def show_plans(kind: Restart, plans: list[Plan]) -> None:
    """What a redrive or a release would do."""
    print_table(
        ("image", "reason", "what would happen"),
        (
            (
                plan.image_id,
                plan.reason,
                plan.refusal or f"{kind.verb} with {_place(plan.key, plan.version_id, plan.replaces)}",
            )
            for plan in plans
        ),
    )
    possible = sum(not plan.refusal for plan in plans)
    say(f"{possible} of {len(plans)} would be {kind.participle}. Nothing was changed.")


def show_results(results: list[Result]) -> None:
    """What became of a redrive or a release."""
    print_table(
        ("image", "outcome", "status", "remark"),
        ((result.image_id, result.outcome, result.status, result.remark) for result in results),
    )
    counted = ((sum(result.outcome is outcome for result in results), outcome) for outcome in Outcome)
    say(", ".join(f"{number} {outcome}" for number, outcome in counted if number) + ".")


def show_report(report: Report, dry_run: bool) -> None:
    """What the reconciler found."""
    if report.waiting:
        say(f"{report.waiting} wait for their turn to be analysed.")
    if not report.findings and report.error is None:
        say("Nothing to reconcile: no upload is overdue.")
        return
    print_table(
        ("image", "object", "what would be done" if dry_run else "what is to be done"),
        (
            (found.image_id, found.key, _ACTIONS[found.action].format(len(found.superseded)))
            for found in report.findings
        ),
    )
    removed = f", {report.superseded} later uploads removed" if report.superseded else ""
    done = "Nothing was changed." if dry_run else f"{report.started} started, {report.closed} closed{removed}."
    say(f"{report.gap} unfinished. {done}")


def report_document(report: Report, dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    return {"dryRun": dry_run, "gap": report.gap, **to_json(report)}


def show_state(environment: str, state: State) -> None:
    """The state of the application."""
    rows = [(status.replace("_", " "), str(number)) for status, number in state.images.items()]
    print_table(("images", "number"), rows)
    queues = [(name, str(depth)) for name, depth in state.dead_letters.items()]
    print_table(("dead letters", "number"), queues)
    say(f"Environment:              {environment}")
    say(f"Release:                  {_release(state.release)}")
    say(f"Running executions:       {state.running_executions}")
    say(f"Oldest being processed:   {_waiting(state.oldest_unfinished)}")  # uploads may well never come
    oldest = f", the oldest {_waiting(state.oldest_object)}" if state.oldest_object else ""
    say(f"Objects under input/:     {state.objects_in_input}{oldest}")
    for lane, queue in state.pace.queues.items():
        turns = f"{lane}: {queue.turns} turns at {state.pace.calls_per_second:g} a second"
        say(f"Waiting for their turn:   {turns}, the last at {queue.ends:%Y-%m-%d %H:%M:%S} UTC")
    limit = state.daily_analysis_limit
    of_limit = f" of {limit} (DailyAnalysisLimit)" if limit else "; there is no daily limit"
    if limit or state.analysed_today:
        say(f"Counted today (UTC):      {state.analysed_today}{of_limit}")
    if state.images["held"]:
        say(f"Held until tomorrow:      {state.images['held']}; to start them today: petdetect release --all")
    if state.withheld_reviews or state.withheld_failures:
        withheld = f"{state.withheld_reviews} reviews, {state.withheld_failures} failures"
        say(f"Withheld notices:         {withheld}; one digest tells of them within {DIGEST_MINUTES} minutes")
    if state.images["failed"]:
        say("Needs attention: failed images; see petdetect failed.")
    if state.stuck_objects:
        say(
            f"Needs attention: unfinished objects of over an hour under input/: {state.stuck_objects}; see "
            "petdetect reconcile --dry-run."
        )
    if any(state.dead_letters.values()):
        say("Needs attention: dead letters; see docs/operations.md#dead-letters.")
    for advice in state.pace.advice:
        say(f"Advice: {advice}")


def _release(release: Live) -> str:
    parts = [f"version {number}, {share} %" for number, share in sorted(release.shares.items(), reverse=True)]
    if release.is_split:
        return (
            f"{' and '.join(parts)} of new executions; `live` is split while a deployment shifts, else mend it: "
            "petdetect rollback --dry-run"
        )
    (number,) = release.shares
    if release.is_newest:
        return f"version {number}"
    return f"version {number}, not the newest, {release.newest}: somebody rolled back, or a deployment went back"


def _waiting(waiting: Waiting | None) -> str:
    return f"{printable(waiting.name)}, {age(waiting.since)} old" if waiting else "none"


def state_document(environment: str, state: State) -> dict[str, Any]:
    """The same for programs."""
    verdict = {"advice": state.pace.advice, "needsAttention": state.needs_attention}
    return {"environment": environment, **to_json(state), **verdict}


def plan_documents(plans: list[Plan]) -> list[dict[str, Any]]:
    """Plans of a redrive or a release for programs."""
    return [to_json(plan, without=("kind", "last_execution")) for plan in plans]
