"""`petdetect backfill`: what it does in which order, and when it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from ops import backfill, backfill_output, output, sources
from ops.backfill import Backfill, Preview
from ops.environment import Deployment
from ops.errors import OperatorError
from ops.sources import Candidate, Finished, Folder, Place, Prefix, Survey
from pet_detector.aws import turns
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Status
from pet_detector.use_cases.backfill import Outcome

ATTENTION = 3


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's arguments and options."""
    for option in (
        click.option("--move", is_flag=True, help="Delete each source when its image is finished and filed."),
        click.option("--stop", is_flag=True, help="Stop the backfill that runs. What is registered finishes."),
        click.option(
            "--resume",
            is_flag=True,
            help="Show the backfill that runs; go on with one that was stopped or ended early.",
        ),
        click.option("--dry-run", is_flag=True, help="Show the preview, and do nothing."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    ):
        function = option(function)
    return click.argument("source", metavar="[SOURCE]", required=False)(function)


def run(
    deployment: Deployment,
    source: str | None,
    *,
    uncertain: float,
    yes: bool,
    dry_run: bool,
    resume: bool,
    stop: bool,
    move: bool,
    as_json: bool,
) -> None:
    """Make images of stored pictures."""
    if stop and (resume or source):
        raise click.UsageError("--stop stops the backfill that runs: it takes no SOURCE and no --resume.")
    if dry_run and (resume or stop):
        raise click.UsageError("--dry-run shows the preview of a SOURCE: it takes neither --resume nor --stop.")
    if as_json and not (yes or dry_run or stop or (resume and not move)):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    if stop:
        _stop(deployment, as_json)
        return
    place = sources.place_of(deployment, source) if source else None
    if resume and not isinstance(place, Folder):  # of a folder everything is done by running it again
        found = _last(deployment, place)
        if found.status in ("RUNNING", "SUCCEEDED"):
            _show_again(deployment, found, move, as_json, yes=yes)
            return
        if as_json and not yes:
            raise click.UsageError("--json cannot prompt; add --yes.")
        if not as_json:
            backfill_output.show_ended(found)
        place = found.prefix
    if place is None:
        raise click.UsageError("Name a SOURCE: s3://bucket/prefix, or a folder.")
    to_do: list[Candidate] = []
    survey = _survey(deployment, place, to_do.append if isinstance(place, Folder) else lambda _: None)
    expected = backfill.preview(deployment, place, survey, uncertain)
    if not as_json:
        backfill_output.show_preview(deployment.environment, place, expected)
    if dry_run:
        if as_json:
            output.say_json({"dryRun": True, "preview": backfill_output.preview_document(place, expected)})
        return
    _agree(deployment, place, expected, yes=yes, move=move)
    if not survey.to_do:
        _finish(deployment, place, move, as_json, expected, None, None)
        return
    if isinstance(place, Folder):
        counts = _register(deployment, to_do)
        _finish(deployment, place, move, as_json, expected, None, counts)
        return
    _follow(deployment, place, backfill.start(deployment, place), move, as_json, expected)


def _survey(
    deployment: Deployment,
    place: Place,
    to_do: Callable[[Candidate], None] = lambda _: None,
    finished: Callable[[list[Finished]], None] = lambda _: None,
) -> Survey:
    with backfill_output.progress("look") as bar:
        return sources.survey(deployment, place, bar.advance, to_do, finished)


def _agree(deployment: Deployment, place: Place, expected: Preview, *, yes: bool, move: bool) -> None:
    """Ask, unless there is nothing to do. Raises OperatorError for more than one run can take."""
    count = expected.survey.to_do
    if isinstance(place, Prefix) and expected.survey.objects > backfill.MAX_OBJECTS:
        raise OperatorError(
            f"One backfill takes up to {backfill.MAX_OBJECTS:,} objects: name longer prefixes, one after the other."
        )
    if yes or not (count or move):
        return
    question = f"Register {count:,} images in {deployment.environment} for about ${expected.dollars:,.2f}?"
    if move:
        question = f"{question[:-1]}, and delete each source when its image is finished?"
    click.confirm(question, abort=True, err=True)


def _stop(deployment: Deployment, as_json: bool) -> None:
    found = backfill.running(deployment)
    if found is None:
        raise OperatorError("No backfill is running.")
    found = backfill.stop(found)
    if as_json:
        output.say_json({"backfill": found})
        return
    backfill_output.show_ended(found)
    output.say("What is registered finishes by itself. `petdetect backfill --resume` registers the rest.")


def _last(deployment: Deployment, place: Place | None) -> Backfill:
    """The backfill that runs, else the last one. Raises OperatorError when there is none, or it is another one's."""
    found = backfill.running(deployment) or backfill.latest(deployment)
    if found is None:
        raise OperatorError("No backfill has run: start one with `petdetect backfill SOURCE`.")
    if isinstance(place, Prefix) and place != found.prefix:
        raise OperatorError(f"The last backfill was one of {found.prefix.name}: leave SOURCE out, or --resume.")
    return found


def _show_again(deployment: Deployment, found: Backfill, move: bool, as_json: bool, *, yes: bool) -> None:
    if move and not yes:
        question = f"Delete each source under {found.prefix.name} when its image is finished?"
        click.confirm(question, abort=True, err=True)
    _follow(deployment, found.prefix, found, move, as_json, None)


def _follow(
    deployment: Deployment, place: Place, found: Backfill, move: bool, as_json: bool, expected: Preview | None
) -> None:
    """Show how far it is until it ends; Ctrl-C ends this command and not the backfill."""
    try:
        with backfill_output.progress("register") as bar:
            for latest in backfill.follow(found):
                found = latest
                bar.show(found)
    except KeyboardInterrupt:
        backfill_output.show_running(found)
        raise click.exceptions.Exit(ATTENTION) from None
    _finish(deployment, place, move, as_json, expected, found, None)


def _register(deployment: Deployment, to_do: list[Candidate]) -> Counter[Outcome]:
    """Register a folder's files; Ctrl-C leaves the rest for another run."""
    try:
        with backfill_output.progress("register", len(to_do)) as bar:
            return backfill.register_folder(deployment, to_do, bar.advance)
    except KeyboardInterrupt:
        output.say("Stopped. Run the same command again: it registers the rest.")
        raise click.exceptions.Exit(ATTENTION) from None


def _finish(
    deployment: Deployment,
    place: Place,
    move: bool,
    as_json: bool,
    expected: Preview | None,
    ended: Backfill | None,
    counts: Counter[Outcome] | None,
) -> None:
    """Say what became of it all, and move what may be moved."""
    removed = 0

    def remove(finished: list[Finished]) -> None:
        nonlocal removed
        removed += sources.move(deployment, place, finished)

    now = _survey(deployment, place, finished=remove if move else lambda _: None)
    turn = now.last_turn or _last_turn(deployment)
    if as_json:
        document: dict[str, Any] = {
            "dryRun": False,
            "preview": expected and backfill_output.preview_document(place, expected),
            "backfill": ended,
            "files": counts,
            "after": backfill_output.survey_document(now),
            "lastTurn": turn,
            "moved": removed,
        }
        output.say_json(document)
    else:
        if ended:
            backfill_output.show_ended(ended)
        if counts:
            backfill_output.show_outcomes(Counter({outcome.value: count for outcome, count in counts.items()}))
            if counts[Outcome.BUSY]:
                output.say("Busy ones are not registered yet: run the same command again in a quarter of an hour.")
        backfill_output.show_survey(place, now, turn)
        if move:
            unfinished_statuses = (Status.PROCESSING, Status.HELD, Status.FAILED)
            rest = now.to_do + now.repeated + sum(now.statuses[status] for status in unfinished_statuses)
            more = " The others stay: run the same command again when their images are finished." if rest else ""
            output.say(f"{removed:,} sources were deleted.{more}")
    unfinished = ended is not None and (ended.status != "SUCCEEDED" or ended.items["failed"] > 0)
    if unfinished or (counts and counts[Outcome.BUSY]) or now.to_do > now.announced or now.statuses[Status.FAILED]:
        raise click.exceptions.Exit(ATTENTION)


def _last_turn(deployment: Deployment) -> datetime | None:
    turn = turns.next_turn(deployment.output("AnalysesTableName"), Lane.BACKFILL)
    found = datetime.fromtimestamp(turn, UTC) if turn else None
    return found if found and found > datetime.now(UTC) else None
