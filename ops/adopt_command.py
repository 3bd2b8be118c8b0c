"""`petdetect adopt`: what a stack would take over, when it asks, and what comes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ops import adopt, output
from ops.adopt import Plan
from ops.environment import ENVIRONMENTS, LOCAL, region, settings_of


class Named(click.ParamType):
    """A logical id of template.yaml and the name of what it shall be, such as ImageBucket=my-bucket."""

    name = "logical id and name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Both, or a usage error."""
        if isinstance(value, tuple):  # click converts a default again
            return value
        logical_id, _, name = str(value).partition("=")
        if logical_id not in adopt.ADOPTABLE or not name:
            self.fail(f"{value!r} is not one of {', '.join(adopt.ADOPTABLE)}, then = and a name.", param, ctx)
        return logical_id, name


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's options."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be taken over, and do nothing."),
        click.option(
            "--use",
            "named",
            multiple=True,
            metavar="LOGICAL_ID=NAME",
            type=Named(),
            help="Take this one: a table that was restored, a bucket of the second region. Once for each.",
        ),
    ):
        function = option(function)
    return function


def run(
    stack: str, environment: str, *, named: tuple[tuple[str, str], ...], dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Take over what is left of a stack, or what is named."""
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    found = adopt.plan(stack, dict(named))
    if not as_json:
        _show(found)
    if not dry_run:
        if not yes:
            click.confirm(f"Make the stack {stack} of them in {region()}?", abort=True, err=True)
        adopt.run(found, _progress)
    if as_json:
        output.say_json(_document(found, environment, dry_run=dry_run))
    elif dry_run:
        output.say("Nothing was changed.")
    else:
        output.say(f"The stack {stack} has them, and nothing else yet. Now: {_deployment(found, environment)}")
        output.say("Then, if one of them was restored or copied: petdetect erase --replay, before anybody looks.")


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _show(found: Plan) -> None:
    rows = [(piece.logical_id, piece.name, piece.size) for piece in found.pieces]
    output.print_table(("takes over", "name", "what is in it"), rows)
    for one, owner in found.others:
        output.say(f"{one.logical_id} {one.name} belongs to the stack {owner} by now: it is left alone.")
    if found.absent:
        output.say(f"Not found: {', '.join(found.absent)}. The deployment makes them new, and empty.")


def _deployment(found: Plan, environment: str) -> str:
    """The command that makes the rest of the application around the data."""
    if environment == LOCAL:
        return "make up"
    named = "" if environment in ENVIRONMENTS else f" --stack-name {found.stack}"
    command = f"sam build && sam deploy --config-env {settings_of(environment)}{named}"
    if found.key:
        command += f" (add DataKey=customer and DataKeyArn={found.key} to parameter_overrides: it encrypts the data)"
    return command


def _document(found: Plan, environment: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "stack": found.stack,
        "dryRun": dry_run,
        "takesOver": [
            {"logicalId": piece.logical_id, "type": piece.kind, "name": piece.name, "size": piece.size}
            for piece in found.pieces
        ],
        "notFound": found.absent,
        "ofOtherStacks": [{"name": one.name, "stack": owner} for one, owner in found.others],
        "keyArn": found.key,
        "next": _deployment(found, environment),
    }
