"""`petdetect evaluate`: what it does in which order, and when it asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ops import evaluate, evaluate_output, output
from ops.backfill_output import progress
from ops.environment import LOCAL, Deployment
from ops.errors import KNOWN, OperatorError
from ops.evaluate import Evaluation
from ops.evaluate_page import page
from ops.evaluation import figures
from pet_detector.rules.text import printable

ATTENTION = 3


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's arguments and options."""
    html = click.Path(dir_okay=False, writable=True, path_type=Path)
    for option in (
        click.option("--html", metavar="FILE", type=html, help="Write the report there too, as one HTML file."),
        click.option("--yes", is_flag=True, help="Do not ask before Amazon Rekognition is paid."),
    ):
        function = option(function)
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.argument("folder", metavar="FOLDER", type=folder)(function)


def run(deployment: Deployment, folder: Path, *, html: Path | None, yes: bool, as_json: bool) -> None:
    """Judge the pictures of a folder, and show how right that was."""
    asks = deployment.environment != LOCAL and not yes
    if asks and as_json:
        raise click.UsageError("--json cannot prompt; add --yes.")
    folder = folder.resolve()
    policy = evaluate.policy_of(deployment)
    pace = evaluate.calls_per_second(deployment)
    with progress("look") as bar:
        found = evaluate.survey(folder, bar.advance)
    if html and not os.access(html if html.exists() else html.parent, os.W_OK):  # known before anything is paid
        raise OperatorError(f"{html} cannot be written: name a file in a folder that is there, and that is yours.")
    if deployment.environment != LOCAL and found.to_ask:
        if not as_json:
            evaluate_output.show_price(found.to_ask, pace, evaluate.seconds_for(found.to_ask, pace))
        if asks:
            click.confirm(f"Ask Amazon Rekognition about {found.to_ask:,} pictures?", abort=True, err=True)
    evaluation = Evaluation(deployment.environment, str(folder), policy.version)
    error: BaseException | None = None
    try:
        with progress("judge", len(found.pictures)) as bar:
            evaluate.run(found, evaluation, policy, pace, bar.advance)
    except (KeyboardInterrupt, *KNOWN) as stop:  # what was paid for is shown
        evaluation.stopped, error = True, stop
    _show(evaluation, folder, html, as_json=as_json)
    if isinstance(error, KeyboardInterrupt):
        raise click.exceptions.Exit(ATTENTION) from None
    if error:
        raise error


def _show(evaluation: Evaluation, folder: Path, html: Path | None, *, as_json: bool) -> None:
    found = figures(evaluation.judged)
    if html:
        _write(html, page(evaluation, found, folder))
    if as_json:
        output.say_json(evaluate_output.document(evaluation, found))
        return
    evaluate_output.show(evaluation, found)
    if html:
        output.say(f"The report with pictures: {printable(str(html))}")


def _write(file: Path, text: str) -> None:
    try:
        # What a file system calls a file need not be Unicode, and is shown as text without such characters.
        file.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise OperatorError(f"{file} cannot be written: {error.strerror}.") from error
