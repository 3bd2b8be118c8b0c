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
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops import actual_cost, cost, cost_output, dismissal, fixed_cost, output, records, redrive, shipped, status, story
from ops.environment import ENVIRONMENTS, LOCAL, Deployment, connect
from ops.errors import KNOWN, OperatorError, sentence
from ops.redrive import REDRIVE, RELEASE, Errand, Outcome, Plan
from pet_detector.rules import image_format
from pet_detector.rules.image_ids import IMAGE_ID
from pet_detector.rules.models import Record
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import reconciler

ATTENTION = 3

_ENVIRONMENT = click.Choice(ENVIRONMENTS)


class ImageId(click.ParamType):
    """32 hexadecimal digits, as records, notices and the API write them."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The ID in lower case, or a usage error."""
        if not IMAGE_ID.fullmatch(value.lower()):
            self.fail(f"{value!r} is no image ID: it has 32 digits, 0 to 9 and a to f.", param, ctx)
        return value.lower()


class BeginningOfImageId(click.ParamType):
    """The same, or its first digits: 8 at least, as the table of `make run` shows them."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The digits in lower case, or a usage error."""
        if not re.fullmatch(r"[0-9a-f]{8,32}", value.lower()):
            self.fail(f"{value!r} is no image ID: give its first 8 to 32 digits, 0 to 9 and a to f.", param, ctx)
        return value.lower()


class Percent(click.ParamType):
    """A share: `5%`, or 5."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share between 0 and 1, or a usage error."""
        if isinstance(value, float):  # a default, converted before
            return value
        number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", value)
        if number is None or float(number[1]) > 100:
            self.fail(f"{value!r} is no percentage from 0% to 100%.", param, ctx)
        return float(number[1]) / 100


class Megabytes(click.ParamType):
    """The size of a picture: above 0, and no more than the application takes."""

    name = "megabytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        if isinstance(value, float):  # a default, converted before
            return value
        most = image_format.MAX_BYTES / 1024**2
        if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", value) or not 0 < float(value) <= most:
            self.fail(f"{value!r} is no size: give megabytes, above 0 and at most {most:g}.", param, ctx)
        return float(value)


def command(function: Callable[..., Any]) -> click.Command:
    """Make a command of a function that takes the deployment first: with --env and --json, and errors in sentences.

    Its name is the first word of the function's.
    """

    @functools.wraps(function)
    def run(environment: str | None, **arguments: Any) -> None:
        context = click.get_current_context()
        with _in_sentences():
            function(connect(environment or context.obj), **arguments)

    return _added(run, function.__name__)


@contextlib.contextmanager
def _in_sentences() -> Iterator[None]:
    try:
        yield
    except (OperatorError, *KNOWN) as error:
        raise click.ClickException(sentence(error)) from error


def _added(run: Callable[..., Any], name: str) -> click.Command:
    run = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")(run)
    run = click.option("--env", "environment", type=_ENVIRONMENT, help="The same as before the command.")(run)
    return main.command(name.partition("_")[0])(run)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Exit codes:
  0  fine
  1  an error; a sentence on standard error says what to do
  2  a wrong option or argument
  3  something needs attention: `status` found failed images, dead letters or
     stuck objects, or an image that was started again did not finish

\b
On AWS: the usual credentials (AWS_PROFILE, aws sso login ...), in us-east-1.
Local: the embedded AWS of `make up` or `make run`; PORT and ENGINE_HOME as there.""",
)
@click.option(
    "--env",
    "environment",
    type=_ENVIRONMENT,
    default=LOCAL,
    show_default=True,
    envvar="PETDETECT_ENV",
    show_envvar=True,
    help="Environment. AWS is never touched unless it is named.",
)
@click.pass_context
def main(context: click.Context, environment: str) -> None:
    """Operate the pet detector: find out what failed and why, and start it again.

    docs/operations.md has what to do for every failure.
    """
    context.obj = environment
    logger.setLevel("CRITICAL")  # the functions' log lines are for CloudWatch


@command
@click.option("--reason", metavar="CODE", help="Only those with this error, for example PolicyInvalidError.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="List at most so many.")
def failed(deployment: Deployment, reason: str | None, limit: int, as_json: bool) -> None:
    """List the failed images: why, since when, and where their objects are."""
    found = list(itertools.islice(records.failed_records(deployment, reason), limit + 1))
    more = len(found) > limit
    images = records.failed_images(deployment, found[:limit])
    if as_json:
        output.say_json(output.failed_document(images, more))
    else:
        output.show_failed(images, more)


@command
@click.argument("image_id", metavar="ID", type=BeginningOfImageId())
def explain(deployment: Deployment, image_id: str, as_json: bool) -> None:
    """Tell the whole story of an image, in order, and what to do next. ID may be its first 8 digits."""
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
            help="The longest to wait for one image.",
        ),
        click.option("--no-wait", is_flag=True, help="Start them all, and do not wait for their ends."),
        click.option("--yes", is_flag=True, help="With --all: do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    ):
        function = option(function)
    return click.argument("image_ids", metavar="[ID]...", nargs=-1, type=ImageId())(function)


@command
@click.option("--all", "everything", is_flag=True, help="All failed images.")
@click.option("--reason", metavar="CODE", help="With --all: only those with this error.")
@starting_again
def redrive_images(
    deployment: Deployment, image_ids: tuple[str, ...], everything: bool, reason: str | None, **options: Any
) -> None:
    """Start failed images again, once the cause is removed. Doing it twice does no harm."""
    if reason and not everything:
        raise click.UsageError("--reason chooses among --all.")
    found = records.failed_records(deployment, reason) if everything else None
    _start_again(deployment, REDRIVE, image_ids, found, **options)


@command
@click.option("--all", "everything", is_flag=True, help="All held images.")
@starting_again
def release_images(deployment: Deployment, image_ids: tuple[str, ...], everything: bool, **options: Any) -> None:
    """Start held images today, past the daily limit. Doing it twice does no harm."""
    found = records.records_with(deployment, RELEASE.takes) if everything else None
    _start_again(deployment, RELEASE, image_ids, found, **options)


def _start_again(
    deployment: Deployment,
    errand: Errand,
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
        raise click.UsageError(f"Name the images to {errand.verb}, or give --all: not both.")
    if not image_ids and found is None:
        raise click.UsageError(f"Name the images to {errand.verb}, or give --all.")
    asks = found is not None and not (yes or dry_run)
    if asks and as_json:
        raise click.UsageError("A program cannot be asked: give --yes (or --dry-run) with --all --json.")
    if found is not None:
        image_ids = tuple(record["ImageID"] for record in found)
    plans = list(records.for_each(functools.partial(redrive.plan, deployment, errand), dict.fromkeys(image_ids)))
    if dry_run:
        if as_json:
            output.say_json({"dryRun": True, "images": output.plan_documents(plans)})
        elif plans:
            output.show_plans(plans)
        else:
            output.say(f"There is nothing to {errand.verb}.")
        return
    if plans and found is None and (refused := [plan for plan in plans if plan.refusal]):
        raise OperatorError("\n".join(f"{plan.image_id}: {plan.refusal}" for plan in refused))
    if plans and asks:
        possible = sum(not plan.refusal for plan in plans)
        question = f"Restart {possible} {errand.takes} images in {deployment.environment}?"
        click.confirm(question, abort=True, err=True)
    results: list[redrive.Result] = []
    try:
        _carry_out(deployment, errand, plans, None if no_wait else timeout, results)
    except (OperatorError, *KNOWN) as error:
        _show_results(errand, results, as_json, error)
        raise
    _show_results(errand, results, as_json)
    if any(result.outcome not in (Outcome.FINISHED, Outcome.STARTED) for result in results):
        raise click.exceptions.Exit(ATTENTION)


def _carry_out(
    deployment: Deployment, errand: Errand, plans: list[Plan], seconds: float | None, results: list[redrive.Result]
) -> None:
    """Fill `results`, which keep what is known when AWS fails in the middle."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    is_hidden = not (plans and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), disable=is_hidden) as progress:
        task = progress.add_task(errand.verb, total=len(plans))
        for result in redrive.run(deployment, plans, seconds):
            results.append(result)
            progress.advance(task)


def _show_results(
    errand: Errand, results: list[redrive.Result], as_json: bool, error: BaseException | None = None
) -> None:
    """What is known; `error` is what came in between, which the caller raises."""
    if as_json:
        known = output.result_documents(results)
        output.say_json({"dryRun": False, "images": known, "error": sentence(error) if error else None})
    elif results:
        output.show_results(results)
    elif error is None:
        output.say(f"There is nothing to {errand.verb}.")


@command
@click.argument("image_id", metavar="ID", type=ImageId())
@click.option("--yes", is_flag=True, help="Do not ask.")
def dismiss(deployment: Deployment, image_id: str, yes: bool, as_json: bool) -> None:
    """End a failed image whose object is gone for good: it counts as failed no more, and its record expires."""
    if as_json and not yes:
        raise click.UsageError("A program cannot be asked: give --yes with --json.")
    record = dismissal.dismissible(deployment, image_id)
    reason = records.error_of(record)[0]
    if not yes:
        click.confirm(f"End the failed image {image_id} ({reason}) in {deployment.environment}?", abort=True, err=True)
    expires = dismissal.dismiss(deployment, record)
    if as_json:
        output.say_json({"imageId": image_id, "reason": reason, "expiresAt": expires})
    else:
        output.say(f"{image_id} is dismissed: its record expires on {expires:%Y-%m-%d}.")


@command
@click.option(
    "--older-than",
    type=click.IntRange(0, 525_600),
    metavar="MINUTES",
    help="The age from which an upload should be finished, at most a year; by default what the schedule takes "
    "(OverdueMinutes).",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def reconcile(deployment: Deployment, older_than: int | None, dry_run: bool, as_json: bool) -> None:
    """Take up what was uploaded and never finished, as the schedule does every 15 minutes."""
    age = deployment.overdue if older_than is None else timedelta(minutes=older_than)
    with contextlib.redirect_stdout(io.StringIO()):  # metrics, which nobody would collect here
        report = reconciler.reconcile(deployment.application, age, dry_run=dry_run)
    if as_json:
        output.say_json(output.report_document(report, dry_run))
    else:
        output.show_report(report, dry_run)
    if report.error:
        raise report.error


@command
def status_of_all(deployment: Deployment, as_json: bool) -> None:
    """Show how many images are in which state, and whether anything needs attention (exit code 3)."""
    state = status.state_of(deployment)
    if as_json:
        output.say_json({"environment": deployment.environment, **output.state_document(state)})
    else:
        output.show_state(deployment.environment, state)
    if state.needs_attention:
        raise click.exceptions.Exit(ATTENTION)


def cost_of_images(
    environment: str | None,
    images: int,
    size: float,
    uncertain: float,
    kind: str,
    markdown: bool,
    actual: bool,
    days: int,
    as_json: bool,
) -> None:
    """Show what an image and a month cost, line by line.

    The estimate comes from the workflow, the template, samconfig.toml and functions/pet_detector/rules/prices.json, and
    needs no deployment; it is about prod unless another environment on AWS is named. --actual asks the metrics of a
    deployment what really ran.
    """
    context = click.get_current_context()
    chosen = environment or context.obj
    _refuse_what_does_not_apply(context, actual=actual, markdown=markdown)
    if actual:
        with _in_sentences():
            found = actual_cost.actual(connect(chosen), days, size)
        if as_json:
            output.say_json(cost_output.actual_document(found))
        else:
            cost_output.show_actual(found)
        return
    chosen = "prod" if chosen == LOCAL else chosen
    load = cost.Load(images=images, megabytes=size, uncertain=uncertain, kind=cost.Kind(kind))
    lines = cost.bill(load, shipped.parameters(chosen))
    monthly = {name: fixed_cost.fixed(name) for name in shipped.environments()}
    if as_json:
        output.say_json(cost_output.estimate_document(chosen, load, lines, monthly))
    elif markdown:
        output.say(cost_output.markdown(chosen, load, lines, monthly))
    else:
        cost_output.show_estimate(chosen, load, lines, monthly)


def _refuse_what_does_not_apply(context: click.Context, *, actual: bool, markdown: bool) -> None:
    """No option of `cost` is without effect in silence."""
    useless = {"--days": "needs --actual"}
    if actual:
        useless = dict.fromkeys(("--images", "--uncertain", "--type", "--markdown"), "has no effect with --actual")
    elif markdown:
        useless["--json"] = "has no effect with --markdown"
    for option in context.command.params:
        name = option.opts[0]
        if name in useless and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{name} {useless[name]}.")


_LOAD = cost.Load()
for _option in (
    click.option("--days", type=click.IntRange(1, 400), default=1, show_default=True, help="With --actual: look back."),
    click.option("--actual", is_flag=True, help="What really ran, by the metrics of a deployment."),
    click.option("--markdown", is_flag=True, help="Print the table of docs/cost.md."),
    click.option(
        "--type",
        "kind",
        type=click.Choice([kind.value for kind in cost.Kind], case_sensitive=False),
        default=_LOAD.kind.value,
        show_default=True,
        help="Type of the state machine.",
    ),
    click.option("--uncertain", type=Percent(), default="5%", show_default=True, help="Share that people review."),
    click.option(
        "--size",
        type=Megabytes(),
        default=_LOAD.megabytes,
        show_default=True,
        metavar="MB",
        help="Of an image.",
    ),
    click.option(
        "--images", type=click.IntRange(0, 10**12), default=_LOAD.images, show_default=True, help="Images a month."
    ),
):
    cost_of_images = _option(cost_of_images)
_added(cost_of_images, "cost")
