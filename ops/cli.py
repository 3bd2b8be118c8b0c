"""The command line of `petdetect`."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops import (
    accuracy_command,
    actual_cost,
    adopt_command,
    backfill_command,
    check_command,
    cost,
    cost_output,
    definitions,
    destroy_command,
    drill_command,
    erase_command,
    evaluate_command,
    export,
    key_command,
    keys,
    leftovers,
    monthly_cost,
    output,
    people,
    people_command,
    policy_command,
    prune,
    rebuild_command,
    records,
    replay,
    restart,
    reviews_command,
    rollback,
    status,
    story,
)
from ops import check as checks
from ops.environment import ENVIRONMENTS, LOCAL, OTHER_REGIONS, Deployment, connect, is_environment, reach, settings_of
from ops.errors import KNOWN, OperatorError, sentence
from ops.restart import REDRIVE, RELEASE, Outcome, Plan, Restart
from pet_detector.rules import image_format
from pet_detector.rules.models import Record
from pet_detector.rules.people import Group
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import accuracy, reconciler

ATTENTION = 3


class Environment(click.ParamType):
    """Which stack: one of ENVIRONMENTS, or pr-<number>, that of a pull request."""

    name = "environment"

    def get_metavar(self, param: click.Parameter) -> str:
        """What --help shows."""
        return f"[{'|'.join(ENVIRONMENTS)}|pr-<number>]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or a usage error."""
        if not is_environment(value):
            self.fail(f"{value!r} is not one of {', '.join(ENVIRONMENTS)}, pr-<number>.", param, ctx)
        return value


_ENVIRONMENT = Environment()


class ImageId(click.ParamType):
    """32 hexadecimal digits, as records, notices and the API write them; or at least the first `least` of them."""

    name = "id"

    def __init__(self, least: int = 32) -> None:
        self._least = least

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The digits in lower case, or a usage error."""
        if not re.fullmatch(rf"[0-9a-f]{{{self._least},32}}", value.lower()):
            expected = "32" if self._least == 32 else f"the first {self._least} to 32"
            self.fail(f"{value!r} is not an image ID: expected {expected} hexadecimal digits.", param, ctx)
        return value.lower()


class Number(click.ParamType):
    """A number up to `most`; `unit` may stand behind it."""

    name = "number"

    def __init__(self, unit: str, most: float) -> None:
        self._unit, self._most = unit, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        digits = str(value).removesuffix(self._unit).strip()
        if not re.fullmatch(r"\d*\.?\d+", digits) or float(digits) > self._most:
            self.fail(f"{value!r} is not a number from 0 to {self._most:g} {self._unit}.", param, ctx)
        return float(digits)


def command(name: str, group: click.Group | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function that takes the deployment first: with --env and --json, and errors in sentences."""

    def register(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(environment: str | None, **arguments: Any) -> None:
            function(connect(environment or click.get_current_context().obj), **arguments)

        return command_without_deployment(name, group)(run)

    return register


def command_without_deployment(
    name: str, group: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """The same for a function that takes the environment's name, or None for the one before the command."""

    def register(function: Callable[..., Any]) -> click.Command:
        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            try:
                function(**arguments)
            except KNOWN as error:
                raise click.ClickException(sentence(error)) from error

        environment = click.option("--env", "environment", type=_ENVIRONMENT, help="The same as before the command.")
        json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
        return (group or main).command(name)(environment(json_output(run)))

    return register


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Exit codes:
  0  fine
  1  an error; a sentence on standard error says what to do
  2  a wrong option or argument
  3  something needs attention: `status` found failed images, dead letters or
     stuck objects, an image that was started again did not finish, one could
     not be erased (or its dead letters not looked at), a backfill goes on without the command or left something out,
     `reviews` found a verdict that is not carried out or reviews that are overdue,
     `drill` or `rebuild` could not bring everything back,
     or `check` found something that is not ok

\b
On AWS: the usual credentials (AWS_PROFILE, aws sso login ...), in us-east-1.
Local: the local AWS of `make up` or `make run`; PORT and ENGINE_HOME as there.""",
)
@click.option(
    "--env",
    "environment",
    type=_ENVIRONMENT,
    default=LOCAL,
    show_default=True,
    envvar="PETDETECT_ENV",
    show_envvar=True,
    help="Environment. Nothing in your AWS account is touched unless you name dev, staging, prod or pr-<number>.",
)
@click.pass_context
def main(context: click.Context, environment: str) -> None:
    """Operate Pet Detector: find out what failed and why, and start it again.

    docs/operations.md has a runbook for every failure and every alarm.
    """
    context.obj = environment
    level = logger.log_level
    logger.setLevel("CRITICAL")  # the functions' log lines are for CloudWatch
    context.call_on_close(lambda: logger.setLevel(level))


@command("failed")
@click.option("--reason", metavar="CODE", help="Only those with this error, for example PolicyInvalidError.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most this many.")
def list_failed(deployment: Deployment, reason: str | None, limit: int, as_json: bool) -> None:
    """List failed images: why, since when, where.

    Newest upload first. The object of an image is gone when nothing is left to start again.
    """
    found = list(itertools.islice(records.failed_records(deployment, reason), limit + 1))
    more = len(found) > limit
    images = records.failed_images(deployment, found[:limit])
    if as_json:
        output.say_json({"more": more, "images": images})
    else:
        output.show_failed(images, more, reason)


@command("explain")
@click.argument("image_id", metavar="ID", type=ImageId(least=8))
def explain(deployment: Deployment, image_id: str, as_json: bool) -> None:
    """Show what happened to an image and what to do.

    Every execution, state by state, with errors and retries; who was notified; where the object is. The first 8 digits
    of an ID are enough.
    """
    found = story.tell(deployment, records.whole_id(deployment, image_id))
    if as_json:
        output.say_json(output.story_document(found))
    else:
        output.show_story(found)


def starting_again(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of the commands that start images again."""
    for option in (
        click.option(
            "--timeout",
            type=click.IntRange(1, 86_400),
            default=600,
            show_default=True,
            metavar="SECONDS",
            help="Longest wait for one image.",
        ),
        click.option("--no-wait", is_flag=True, help="Start them all, and do not wait until they end."),
        click.option("--yes", is_flag=True, help="With --all: do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    ):
        function = option(function)
    return click.argument("image_ids", metavar="[ID]...", nargs=-1, type=ImageId(least=8))(function)


@command("redrive")
@click.option("--all", "everything", is_flag=True, help="All failed images.")
@click.option("--reason", metavar="CODE", help="With --all: only those with this error.")
@starting_again
def redrive(
    deployment: Deployment, image_ids: tuple[str, ...], everything: bool, reason: str | None, **options: Any
) -> None:
    """Start failed images again.

    Do it when the cause is fixed. The same failure is redriven once, however often the command runs. Each redrive is a
    new execution; Step Functions' own redrive is not used.
    """
    if reason and not everything:
        raise click.UsageError("--reason chooses among --all.")
    found = records.failed_records(deployment, reason) if everything else None
    _start_again(deployment, REDRIVE, image_ids, found, **options)


@command("release")
@click.option("--all", "everything", is_flag=True, help="All held images.")
@starting_again
def release(deployment: Deployment, image_ids: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Start held images past the daily limit.

    Without it they start by themselves on the next day (UTC). The same hold is released once, however often the command
    runs.
    """
    found = records.records_with(deployment, RELEASE.takes) if everything else None
    _start_again(deployment, RELEASE, image_ids, found, **options)


def _start_again(
    deployment: Deployment,
    kind: Restart,
    image_ids: tuple[str, ...],
    found: Iterator[Record] | None,
    *,
    dry_run: bool,
    yes: bool,
    no_wait: bool,
    timeout: int,
    as_json: bool,
) -> None:
    """Start the images that were named or, if `found` is given, those."""
    if image_ids and found is not None:
        raise click.UsageError(f"Name the images to {kind.verb}, or give --all: not both.")
    if not image_ids and found is None:
        raise click.UsageError(f"Name the images to {kind.verb}, or give --all.")
    asks = found is not None and not (yes or dry_run)
    if asks and as_json:
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    if found is not None:
        image_ids = tuple(record["ImageID"] for record in found)
    else:
        image_ids = tuple(records.whole_id(deployment, digits) for digits in image_ids)
    plans = list(records.for_each(functools.partial(restart.plan, deployment, kind), dict.fromkeys(image_ids)))
    if dry_run:
        if as_json:
            output.say_json({"dryRun": True, "images": output.plan_documents(plans)})
        elif plans:
            output.show_plans(kind, plans)
        else:
            output.say(f"There is nothing to {kind.verb}.")
        return
    if plans and found is None and (refused := [plan for plan in plans if plan.refusal]):
        raise OperatorError("\n".join(f"{plan.image_id}: {plan.refusal}" for plan in refused))
    if plans and asks:
        possible = sum(not plan.refusal for plan in plans)
        question = f"{kind.verb.capitalize()} {possible} {kind.takes} images in {deployment.environment}?"
        click.confirm(question, abort=True, err=True)
    results: list[restart.Result] = []
    try:
        _carry_out(deployment, kind, plans, None if no_wait else timeout, results)
    except KNOWN as error:
        _show_results(kind, results, as_json, error)
        raise
    _show_results(kind, results, as_json)
    if any(result.outcome not in (Outcome.FINISHED, Outcome.STARTED) for result in results):
        raise click.exceptions.Exit(ATTENTION)


def _carry_out(
    deployment: Deployment, kind: Restart, plans: list[Plan], seconds: float | None, results: list[restart.Result]
) -> None:
    """Fill `results`, which keep what is known when AWS fails in the middle."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    is_hidden = not (plans and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), disable=is_hidden) as progress:
        task = progress.add_task(kind.verb, total=len(plans))
        for result in restart.run(deployment, plans, seconds):
            results.append(result)
            progress.advance(task)


def _show_results(
    kind: Restart, results: list[restart.Result], as_json: bool, error: BaseException | None = None
) -> None:
    """What is known so far; `error` is what interrupted it, which the caller raises."""
    if as_json:
        output.say_json({"dryRun": False, "images": results, "error": error})
    elif results:
        output.show_results(results)
    elif error is None:
        output.say(f"There is nothing to {kind.verb}.")


@command("dismiss")
@click.argument("image_id", metavar="ID", type=ImageId())
@click.option("--yes", is_flag=True, help="Do not ask.")
def dismiss(deployment: Deployment, image_id: str, yes: bool, as_json: bool) -> None:
    """Dismiss a failed image whose object is gone.

    It no longer counts as failed, and its record expires after RecordRetentionDays.
    """
    if as_json and not yes:
        raise click.UsageError("--json cannot prompt; add --yes.")
    record = records.dismissible(deployment, image_id)
    reason = records.error_of(record)[0]
    if not yes:
        click.confirm(
            f"Dismiss the failed image {image_id} ({reason}) in {deployment.environment}?", abort=True, err=True
        )
    expires = records.dismiss(deployment, record)
    if as_json:
        output.say_json({"imageId": image_id, "reason": reason, "expiresAt": expires})
    else:
        output.say(f"{image_id} is dismissed: its record expires on {expires:%Y-%m-%d}.")


@command("erase")
@click.argument("image_ids", metavar="[ID]...", nargs=-1, type=ImageId())
@erase_command.options
def erase(deployment: Deployment, image_ids: tuple[str, ...], **options: Any) -> None:
    """Erase images: their objects, record, analysis and dead letters.

    Shows first what would be erased, and asks. The table Erasures keeps the ID and when it was; nothing else is left
    but what AWS keeps for a while (docs/erasure.md). If it is killed, run the same command again.
    """
    erase_command.run(deployment, image_ids, **options)


@command("drill")
@drill_command.options
def drill(deployment: Deployment, **options: Any) -> None:
    """Restore tables and objects beside the original, and prove that everything is there.

    Settings are set again and read back, the ledger of erasures is replayed on the copy, and every record is compared
    with its object. Prints how long it took (RTO) and what would be lost (RPO), and removes the copy. The original is
    only read.
    """
    drill_command.run(deployment, **options)


@command("rebuild")
@click.argument("image_ids", metavar="[ID]...", nargs=-1, type=ImageId())
@rebuild_command.options
def rebuild(deployment: Deployment, image_ids: tuple[str, ...], **options: Any) -> None:
    """Rebuild the record of a filed picture whose row is gone.

    From the object, the cached analysis and the reviews: status, animal, folder and times. Who uploaded it and its file
    name are lost. A record that is there is never overwritten, and an erased image is not brought back.
    """
    rebuild_command.run(deployment, image_ids, **options)


@command("evaluate")
@evaluate_command.options
def evaluate(deployment: Deployment, folder: Path, **options: Any) -> None:
    """Show how right the machine is about your pictures.

    The subfolders of FOLDER say what is on them: cats, dogs and others. Each picture is checked, recognized and decided
    as the environment does it: confusion matrix, precision and recall with 95 % intervals, whether it is as sure as it
    should be, time and price of a picture, and the worst ones. Nothing is uploaded or stored. On AWS it says what
    Amazon Rekognition will cost, and asks; on the local AWS it is free. Ctrl-C shows what was judged so far.
    """
    evaluate_command.run(deployment, folder, **options)


@command("export")
@click.argument("image_id", metavar="ID", type=ImageId())
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save the picture there too.",
)
def export_image(deployment: Deployment, image_id: str, folder: Path | None, as_json: bool) -> None:
    """Print what is held about an image, for the person who asks for it.

    Always one JSON document: the record, what each execution did, where objects are, and whether it was erased.
    """
    del as_json  # it is nothing else
    export.run(deployment, image_id, folder)


@command("reconcile")
@click.option(
    "--older-than",
    type=click.IntRange(0, 525_600),
    metavar="MINUTES",
    help="Age from which an upload should be finished, at most a year; by default OverdueMinutes of the stack.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--delete-filed", is_flag=True, help="Also delete uploads that are filed, as in a second region's copies."
)
@click.option("--yes", is_flag=True, help="Do not ask before that.")
def reconcile(
    deployment: Deployment, older_than: int | None, dry_run: bool, delete_filed: bool, yes: bool, as_json: bool
) -> None:
    """Start uploads that were never processed.

    The reconciler does the same every 15 minutes: an object under input/ whose event was lost or whose execution
    disappeared is started; a record without an execution and without an object is closed as failed.
    """
    if as_json and delete_filed and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    age = deployment.overdue if older_than is None else timedelta(minutes=older_than)
    with contextlib.redirect_stdout(io.StringIO()):  # metrics: only CloudWatch collects them
        report = reconciler.reconcile(deployment.resources, age, dry_run=dry_run)
    if as_json:
        output.say_json(output.report_document(report, dry_run))
    else:
        output.show_report(report, dry_run)
    if delete_filed:
        filed = leftovers.find(deployment, report.findings)
        click.echo(f"{len(filed)} uploads under input/ are filed.", err=True)
        if filed and not dry_run:
            if not yes:
                click.confirm(f"Delete them for good in {deployment.environment}?", abort=True, err=True)
            leftovers.delete(deployment, filed)
    if report.error:
        raise report.error


@command("backfill")
@click.option(
    "--uncertain",
    type=Number("%", 100),
    default="5%",
    show_default=True,
    help="Share of images that a person must review, in percent, for the price.",
)
@backfill_command.options
def backfill(deployment: Deployment, source: str | None, uncertain: float, **options: Any) -> None:
    """Make images of pictures that are stored already.

    SOURCE is s3://bucket/prefix, or a folder of this machine. Shows first what it will cost and how long it takes, and
    asks. Each picture is registered once: if anything is killed, run the same command again. The source is left as it
    is, unless you say --move.
    """
    backfill_command.run(deployment, source, uncertain=uncertain / 100, **options)


@command("status")
def show_status(deployment: Deployment, as_json: bool) -> None:
    """Show counts, and what needs attention.

    Exit code 3 when there are failed images, dead letters, or objects that stay under input/ for over an hour.
    """
    state = status.state_of(deployment)
    if as_json:
        output.say_json(output.state_document(deployment.environment, state))
    else:
        output.show_state(deployment.environment, state)
    if state.needs_attention:
        raise click.exceptions.Exit(ATTENTION)


@command("reviews")
def show_reviews(deployment: Deployment, as_json: bool) -> None:
    """Show what waits for review, and which verdicts are not carried out yet.

    Exit code 3 when a verdict was started again and is still not carried out, or when the oldest uncertain image waits
    for longer than ReviewOverdueHours.
    """
    found = reviews_command.look(deployment)
    reviews_command.say(deployment.environment, found, as_json=as_json)
    if found.needs_attention:
        raise click.exceptions.Exit(ATTENTION)


@command("check")
@click.option(
    "--version",
    type=check_command.Version(),
    metavar="N|live",
    help="Start the pictures on this version of the workflow, before it gets traffic or before a rollback to it.",
)
@click.option(
    "--timeout",
    type=click.IntRange(1, 3600),
    default=180,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for the pictures.",
)
@click.option(
    "--only",
    type=click.Choice(checks.SUBJECTS),
    multiple=True,
    help="Only what is about this; can be given more than once. Exit code 3 also for what is not checked.",
)
def check(deployment: Deployment, version: str | None, timeout: int, only: tuple[str, ...], as_json: bool) -> None:
    """Ask the deployment whether it works, and what to do if not.

    Sends three pictures and removes them again: 3 calls of Rekognition, less than a cent. They count in the business
    metrics and the daily limit, and the uncertain one tells the reviewers. Also asked: settings, rights, alarms and
    who hears them, quotas, the API's errors and preflights, drift (minutes). Exit code 3 when a line is not ok.
    """
    check_command.run(deployment, version, timeout, only, as_json)


@command("rollback")
@rollback.options
def roll_back(deployment: Deployment, **options: Any) -> None:
    """Point `live` back at an earlier version.

    New executions run that version; those that run, or are redriven, end on what they began with. While a deployment is
    in progress, it is cancelled instead, and CloudFormation takes all of it back.
    """
    rollback.run(deployment, **options)


@command("prune")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and do nothing.")
def prune_versions(deployment: Deployment, **options: Any) -> None:
    """Delete old versions of the workflow and its functions.

    The newest five of each stay, and whatever an alias names, an execution still runs, or Step Functions can redrive.
    If it is killed, run it again.
    """
    prune.run(deployment, **options)


_days_option = click.option(
    "--days", type=click.IntRange(1, 365), default=accuracy.DAYS, show_default=True, help="Days until now."
)


@command("accuracy")
@_days_option
def show_accuracy(deployment: Deployment, days: int, as_json: bool) -> None:
    """Show how often the machine is right, by what people said.

    Precision and recall of each class with 95 % intervals, and how far two people agree. A figure for which too little
    was judged says how much is missing. The page shows the same.
    """
    accuracy_command.show_accuracy(deployment, days, as_json=as_json)


@command("thresholds")
@_days_option
def show_thresholds(deployment: Deployment, days: int, as_json: bool) -> None:
    """Show what each minimum would do: pictures to review, and errors of the rest.

    Estimated from the scores and verdicts of the pictures that people judged.
    """
    accuracy_command.show_thresholds(deployment, days, as_json=as_json)


@command("replay")
@replay.options
def replay_records(deployment: Deployment, limit: int, as_json: bool, **numbers: float | None) -> None:
    """Show what other numbers would have decided, paying nothing.

    Every record is decided again from its labels; what is not given is as the policy has it now. Nothing is changed.
    """
    replay.run(deployment, numbers, limit, as_json=as_json)


@main.group("policy")
def policy_group() -> None:
    """Show and change the numbers of the decision.

    They are kept with who changed them, when and why.
    """


@command("show", policy_group)
def show_policy(deployment: Deployment, as_json: bool) -> None:
    """Show the numbers, and who set them."""
    policy_command.show(deployment, as_json=as_json)


@command("set", policy_group)
@click.argument("numbers", metavar="NAME=PERCENT...", nargs=-1, required=True, type=policy_command.Number())
@policy_command.because_option
def set_policy(deployment: Deployment, numbers: tuple[tuple[str, float], ...], because: str, as_json: bool) -> None:
    """Change some of the numbers, such as minimum=75."""
    policy_command.change(deployment, dict(numbers), because, as_json=as_json)


@command("history", policy_group)
def show_policy_history(deployment: Deployment, as_json: bool) -> None:
    """Show every change that is kept (the last 99), newest first."""
    policy_command.show_history(deployment, as_json=as_json)


@command("take-back", policy_group)
@policy_command.because_option
def take_policy_back(deployment: Deployment, because: str, as_json: bool) -> None:
    """Put back the numbers from before the last change.

    That is a change of its own: taking it back too puts the other numbers in force again.
    """
    policy_command.take_back(deployment, because, as_json=as_json)


@main.group("key")
def key_group() -> None:
    """Make, list, rotate and revoke API keys.

    A key sees what it uploaded; a key of an operator sees every image. docs/operations.md#a-leaked-api-key says what to
    do about one that leaked.
    """


@command("create", key_group)
@click.argument("name", metavar="NAME", type=key_command.Name())
@click.option("--operator", is_flag=True, help="A key that sees and lists every image, whoever uploaded it.")
@key_command.show_option
def create_key(deployment: Deployment, name: str, operator: bool, show: bool, as_json: bool) -> None:
    """Make an API key for a new client.

    Its value is kept in AWS Secrets Manager. If the command is interrupted, run it again.
    """
    key_command.say_made(deployment, keys.create(deployment, name, operator=operator), show=show, as_json=as_json)


@command("list", key_group)
def list_keys(deployment: Deployment, as_json: bool) -> None:
    """List the API keys: whose, how old, and which are to be rotated or revoked."""
    key_command.say_keys(keys.all_keys(deployment), as_json=as_json)


@command("rotate", key_group)
@click.argument("name", metavar="NAME", type=key_command.Name())
@click.option(
    "--overlap-days",
    type=click.IntRange(0, 365),
    default=7,
    show_default=True,
    help="Days in which the client changes over. The old key works until somebody revokes it.",
)
@key_command.show_option
def rotate_key(deployment: Deployment, name: str, overlap_days: int, show: bool, as_json: bool) -> None:
    """Make another API key for the same client.

    It sees what the old one uploaded. Both work until the old one is revoked. After a key was revoked, it gives the
    client a new one.
    """
    key_command.say_made(deployment, keys.rotate(deployment, name, overlap_days), show=show, as_json=as_json)


@command("index-old", key_group)
@click.option("--dry-run", is_flag=True, help="Count them, and change nothing.")
def index_old(deployment: Deployment, dry_run: bool, as_json: bool) -> None:
    """Put images from before keys had owners into the lists of their clients.

    Reads the whole table, and works while it is used. It can be stopped, and run again.
    """
    count = keys.index_old(deployment, dry_run=dry_run)
    if as_json:
        output.say_json({"would_change" if dry_run else "changed": count})
    else:
        output.say(f"{count} records would be changed." if dry_run else f"{count} records were changed.")


@command("revoke", key_group)
@click.argument("name_or_id", metavar="NAME|KEY-ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def revoke_key(deployment: Deployment, name_or_id: str, yes: bool, as_json: bool) -> None:
    """Revoke an API key, or all keys of a client, from the next request on."""
    if as_json and not yes:
        raise click.UsageError("--json cannot prompt; add --yes.")
    found = keys.revocable(deployment, name_or_id)
    if not yes:
        named = ", ".join(f"{key.key_id} ({key.name})" for key in found)
        click.confirm(f"Revoke {named} in {deployment.environment}?", abort=True, err=True)
    keys.revoke(deployment, found)
    key_command.say_revoked(found, as_json=as_json)


@main.group("person")
def person_group() -> None:
    """Say who may sign in on the page, and what they may do there.

    An uploader sends pictures and sees their own; a reviewer sees and judges all of them; an operator may do
    everything.
    """


@command("add", person_group)
@click.argument("email", metavar="EMAIL", type=people_command.Email())
@click.option("--group", required=True, type=people_command.group_choice, help="What they may do. Groups add up.")
def add_person(deployment: Deployment, email: str, group: str, as_json: bool) -> None:
    """Put somebody into a group; who is new gets an invitation by e-mail.

    If the command is interrupted, run it again.
    """
    added = people.add(deployment, email, Group(group))
    people_command.say_added(deployment, added, as_json=as_json)


@command("list", person_group)
def list_people(deployment: Deployment, as_json: bool) -> None:
    """List everybody who may sign in, and their groups."""
    people_command.say_everybody(people.everybody(deployment), as_json=as_json)


@command("remove", person_group)
@click.argument("email", metavar="EMAIL", type=people_command.Email(or_id=True))
@click.option("--group", "groups", multiple=True, type=people_command.group_choice, help="Only from this group.")
@click.option("--forget", is_flag=True, help="Take their e-mail address out of their verdicts, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_person(
    deployment: Deployment, email: str, groups: tuple[str, ...], forget: bool, yes: bool, as_json: bool
) -> None:
    """Take somebody out of a group, or out altogether.

    Their pictures and verdicts stay. With --forget, EMAIL may be the id of somebody who is out already.
    """
    people_command.remove(deployment, email, groups, forget=forget, yes=yes, as_json=as_json)


@command("export", person_group)
@click.argument("email", metavar="EMAIL", type=people_command.Email())
def export_person(deployment: Deployment, email: str, as_json: bool) -> None:
    """Print what is held about somebody who signs in, for them: one JSON document.

    It has all that they said about images. What they uploaded: petdetect export, for each image.
    """
    del as_json  # it is nothing else
    people_command.export(deployment, email)


@command_without_deployment("adopt")
@adopt_command.options
def adopt(environment: str | None, **options: Any) -> None:
    """Let a new stack take over data that outlived another.

    Before the stack's first deployment: bucket and tables that a destroyed stack of this environment left behind, or
    those that --use names, such as a restored table. Shows them first, and asks. Nothing of them is changed; the
    deployment after it makes the application around them. What another stack owns is refused.
    """
    chosen = environment or click.get_current_context().obj
    adopt_command.run(reach(chosen), chosen, **options)


@command_without_deployment("destroy")
@destroy_command.options
def destroy(environment: str | None, **options: Any) -> None:
    """Destroy an environment, and what `sam delete` leaves of it.

    Lists first what goes and what stays, and asks for the stack's name. Pictures and records stay, unless you say
    --with-data; later it finds them without the stack. If it is killed, run the same command again.
    """
    chosen = environment or click.get_current_context().obj
    destroy_command.run(reach(chosen), chosen, **options)


@command_without_deployment("sweep")
@click.option(
    "--open",
    "still_open",
    required=True,
    type=destroy_command.PullRequests(),
    metavar="NUMBERS",
    help="Pull requests that are open, such as 12,15; or `none`.",
)
@click.option("--dry-run", is_flag=True, help="Show whose stacks would be destroyed, and do nothing.")
def sweep(environment: str | None, still_open: frozenset[int], dry_run: bool, as_json: bool) -> None:
    """Destroy the stacks of closed pull requests, with their data.

    What is left of such a stack counts too. Those of the local AWS, unless --env names an environment on AWS.
    """
    reach(environment or click.get_current_context().obj)
    destroy_command.run_sweep(still_open, dry_run=dry_run, as_json=as_json)


@command_without_deployment("cost")
@click.option("--images", type=click.IntRange(0, 10**12), default=100_000, show_default=True, help="Images a month.")
@click.option(
    "--size",
    type=Number("MB", image_format.MAX_BYTES / 1024**2),
    default="2MB",
    show_default=True,
    help="Of an image, in MB.",
)
@click.option(
    "--uncertain",
    type=Number("%", 100),
    default="5%",
    show_default=True,
    help="Share of images that a person must review, in percent.",
)
@click.option(
    "--waiting",
    type=Number("%", 100),
    default="0%",
    show_default=True,
    help="Share of images that wait for their turn, because more come than RekognitionCallsPerSecond, in percent.",
)
@click.option(
    "--converted",
    type=Number("%", 100),
    default="0%",
    show_default=True,
    help="Share of images that are WebP, AVIF or HEIC, of which a JPEG is made first, in percent.",
)
@click.option("--markdown", is_flag=True, help="Print the table of docs/cost.md.")
@click.option("--actual", is_flag=True, help="Price what really ran, by the metrics of a deployment.")
@click.option("--days", type=click.IntRange(1, 400), default=1, show_default=True, help="With --actual: how many days.")
def show_cost(
    environment: str | None,
    images: int,
    size: float,
    uncertain: float,
    waiting: float,
    converted: float,
    markdown: bool,
    actual: bool,
    days: int,
    as_json: bool,
) -> None:
    """Show what an image and a month cost.

    The estimate is computed from the workflow, the template, samconfig.toml and prices.json, and needs no deployment.
    It uses the parameters of prod unless --env names another environment on AWS. --actual prices what really ran, by
    the metrics of a deployment.
    """
    context = click.get_current_context()
    chosen = environment or context.obj
    _refuse_what_does_not_apply(context, actual=actual, markdown=markdown)
    if actual:
        found = actual_cost.actual(connect(chosen), days, size)
        if as_json:
            output.say_json(cost_output.actual_document(found))
        else:
            cost_output.show_actual(found)
        return
    chosen = "prod" if chosen == LOCAL else settings_of(chosen)
    shares = {"uncertain": uncertain / 100, "waiting": waiting / 100, "converted": converted / 100}
    load = cost.Load(images=images, megabytes=size, **shares)
    lines = cost.bill(load, definitions.parameters(chosen))
    # `recovery` costs what prod costs, in its place.
    monthly = {name: monthly_cost.fixed(name) for name in definitions.environments() if name not in OTHER_REGIONS}
    if as_json:
        output.say_json(cost_output.estimate_document(chosen, load, lines, monthly))
    elif markdown:
        output.say(cost_output.markdown(chosen, load, lines, monthly))
    else:
        cost_output.show_estimate(chosen, load, lines, monthly)


def _refuse_what_does_not_apply(context: click.Context, *, actual: bool, markdown: bool) -> None:
    """Refuse every option of `cost` that would have no effect."""
    useless = {"--days": "needs --actual"}
    if actual:
        useless = dict.fromkeys(
            ("--images", "--uncertain", "--waiting", "--converted", "--markdown"), "has no effect with --actual"
        )
    elif markdown:
        useless["--json"] = "has no effect with --markdown"
    for option in context.command.params:
        name = option.opts[0]
        if name in useless and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{name} {useless[name]}.")
