"""`petdetect destroy` and `petdetect sweep`: what would go and what would stay, when it asks, and what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click

from ops import belongings, destroy, output, sweep
from ops.belongings import Belongings
from ops.destroy import Line
from ops.environment import GUARDED, PULL_REQUEST, STACK_PREFIX, region
from ops.errors import OperatorError

ATTENTION = 3
# Names of a type that are shown when nothing says what is in them.
_NAMES = 3


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's options."""
    for option in (
        click.option("--yes-destroy-prod", is_flag=True, help="The second word, without which prod is refused."),
        click.option("--confirm", metavar="STACK", help="The stack's name, instead of typing it."),
        click.option("--with-data", is_flag=True, help="Pictures and records too. Nothing brings them back."),
        click.option("--dry-run", is_flag=True, help="Show what goes and what stays, and do nothing."),
    ):
        function = option(function)
    return function


def run(
    stack: str,
    environment: str,
    *,
    with_data: bool,
    confirm: str | None,
    yes_destroy_prod: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Destroy the stack of an environment, and what is left of one."""
    if environment in GUARDED and not (yes_destroy_prod or dry_run):
        raise click.UsageError(f"{environment} is destroyed only with --yes-destroy-prod, besides the stack's name.")
    if as_json and not (confirm or dry_run):
        raise click.UsageError("--json cannot prompt; add --confirm STACK (or --dry-run).")
    if confirm is not None:
        _refuse_another_name(confirm, stack)
    found = belongings.find(stack)
    listed = destroy.lines(found, with_data=with_data)
    if not as_json:
        show(found, listed)
    if dry_run:
        if as_json:
            output.say_json(document(stack, dry_run=True, listed=listed, stuck=[]) | {"notRead": found.unread})
        else:
            _show_unread(found.unread)
        return
    destroy.refuse_if_changing(found)
    if any(line.goes for line in listed) or found.description:
        if confirm is None:
            _ask(stack, with_data=with_data)
        stuck = destroy.run(found, with_data=with_data, say=progress)
    else:
        stuck = []
    if as_json:
        output.say_json(document(stack, dry_run=False, listed=listed, stuck=stuck) | {"notRead": found.unread})
    else:
        _show_unread(found.unread)
        _show_end(stack, environment, listed, stuck, with_data=with_data)
    if stuck:
        raise click.exceptions.Exit(ATTENTION)


def progress(text: str) -> None:
    """What happens, for whoever waits."""
    click.echo(text, err=True)


def query(stacks: str) -> str:
    """How leftovers were looked for."""
    return (
        f"Asked: tag:GetResources {belongings.STACK_TAG}={stacks}, the roles' same tag, CloudFormation's events of "
        f"{stacks}, and names that begin with it, in {region()}."
    )


def document(stack: str, *, dry_run: bool, listed: list[Line], stuck: list[Line]) -> dict[str, Any]:
    """What happened, or would happen, to a stack."""
    names = {(line.kind, line.name) for line in stuck}
    return {
        "stack": stack,
        "dryRun": dry_run,
        "removed": [_named(line) for line in listed if line.goes and (line.kind, line.name) not in names],
        "stays": [_named(line) for line in listed if not line.goes],
        "leftovers": len(stuck),
        "stuck": [_named(line) for line in stuck],
        "query": query(stack),
    }


def _named(line: Line) -> dict[str, str]:
    return {"type": line.kind, "name": line.name, "size": line.size, "reason": line.reason}


def show(found: Belongings, listed: list[Line]) -> None:
    """What goes and what stays, by type."""
    status = found.description["StackStatus"] if found.description else "not there"
    output.say(f"Stack {found.stack} in {region()}: {status}.")
    if not listed:
        output.say("Nothing of it is there.")
        return
    for title, goes in (("goes", True), ("stays", False)):
        lines = [line for line in listed if line.goes == goes]
        if lines:
            output.print_table(("type", "number", f"what {title}"), _rows(lines))


def _rows(lines: list[Line]) -> Iterable[tuple[str, str, str]]:
    """A row for each resource of which there is something to say, and one for the others of a type."""
    for kind in sorted({line.kind for line in lines}):
        told = [line for line in lines if line.kind == kind and (line.size or line.reason)]
        for line in told:
            yield kind, "1", "; ".join(filter(None, [line.name, line.size, line.reason]))
        others = [line.name for line in lines if line.kind == kind and line not in told]
        if others:
            more = f" and {len(others) - _NAMES} more" if len(others) > _NAMES else ""
            yield kind, str(len(others)), ", ".join(others[:_NAMES]) + more


def _ask(stack: str, *, with_data: bool) -> None:
    what = "the stack and all its pictures and records; nothing brings them back" if with_data else "the stack"
    typed = click.prompt(
        f"This destroys {what}. Type the stack's name ({stack})", err=True, default="", show_default=False
    )
    _refuse_another_name(typed, stack)


def _refuse_another_name(typed: str, stack: str) -> None:
    if typed.strip() != stack:
        raise OperatorError(f"{typed.strip()!r} is not {stack}: nothing was changed.")


def _show_unread(roles: list[str]) -> None:
    """A right that is missing must not hide what is left."""
    if roles:
        output.say(
            f"Nobody knows whose these roles are, because iam:ListRoleTags was denied: {', '.join(roles)}. By their "
            "names they may belong here: look at their tags, or run this command as somebody who may."
        )


def _show_end(stack: str, environment: str, listed: list[Line], stuck: list[Line], *, with_data: bool) -> None:
    stays = [line for line in listed if not line.goes]
    if stays:
        output.say("What stays, as it was listed:")
        for line in stays:
            output.say(f"  {line.kind} {line.name} ({line.reason})")
        if not with_data:
            output.say(
                f"To remove the data later: petdetect destroy --env {environment} --with-data. It finds what is left "
                'without the stack. To use it again: docs/operations.md, "Removing an environment".'
            )
    for line in stuck:
        output.say(f"  {line.kind} {line.name}: {line.reason or 'still there; run the command again'}")
    output.say(query(stack))
    output.say(f"{len(stuck)} leftovers of {stack}.")


class PullRequests(click.ParamType):
    """Numbers of pull requests, separated by commas or blanks; `none` for none, so that an empty text is a mistake."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[int]:
        """The numbers, or a usage error."""
        words = str(value).replace(",", " ").split()
        if words == ["none"]:
            return frozenset()
        if not words or not all(word.isdecimal() for word in words):
            self.fail(f"{value!r} is no list of pull requests such as 12,15, and not `none`.", param, ctx)
        return frozenset(map(int, words))


def run_sweep(still_open: frozenset[int], *, dry_run: bool, as_json: bool) -> None:
    """Destroy what belongs to pull requests that are not among the open ones."""
    stacks, unread = sweep.closed(still_open)
    if not as_json:
        _show_unread(unread)
    if dry_run:
        if as_json:
            output.say_json({"dryRun": True, "stacks": stacks, "notRead": unread})
        else:
            output.say("\n".join(stacks) or "There is no stack of a closed pull request.")
        return
    results = sweep.sweep(stacks, progress)
    left = [line for result in results for line in result.stuck]
    asked = query(f"{STACK_PREFIX}{PULL_REQUEST}<number>")
    if as_json:
        stacks_swept = [
            document(result.stack, dry_run=False, listed=result.lines, stuck=result.stuck) | {"error": result.error}
            for result in results
        ]
        output.say_json(
            {"dryRun": False, "stacks": stacks_swept, "leftovers": len(left), "notRead": unread, "query": asked}
        )
    else:
        for result in results:
            output.say(
                f"{result.stack}: {len(result.lines)} resources, {len(result.stuck)} left. {result.error}".strip()
            )
            for line in result.stuck:
                output.say(f"  {line.kind} {line.name}: {line.reason or 'still there'}")
        output.say(asked)
        output.say(f"{len(left)} leftovers of pull requests that are closed.")
    if any(result.error for result in results):
        raise click.exceptions.Exit(1)
    if left:
        raise click.exceptions.Exit(ATTENTION)
