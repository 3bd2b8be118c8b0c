"""`petdetect drill`: what would be restored, when it asks, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from ops import drill, drill_remove, output
from ops.drill import REMOVE, RESTORE, REWIRE, VERIFY, Drill, Plan
from ops.drill_compare import Agreement
from ops.environment import LOCAL, Deployment

ATTENTION = 3
# Names that are shown of a list: of thousands nobody reads more.
_NAMES = 10


class Moment(click.ParamType):
    """A time in RFC 3339; without an offset it is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time, or a usage error."""
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-21T09:30:00Z.", param, ctx)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if found > datetime.now(UTC):
            self.fail(f"{value} has not come yet.", param, ctx)
        return found


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's options."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--clean-up", is_flag=True, help="Only remove what a drill that was killed has left."),
        click.option("--at", type=Moment(), metavar="TIME", help="Restore what was there then, such as before a loss."),
    ):
        function = option(function)
    return function


def run(deployment: Deployment, *, at: datetime | None, clean_up: bool, yes: bool, as_json: bool) -> None:
    """Hold a drill, or remove what is left of one."""
    if at and clean_up:
        raise click.UsageError("--clean-up restores nothing: leave --at out.")
    if as_json and not yes:
        raise click.UsageError("--json cannot prompt; add --yes.")
    prefix = drill_remove.prefix_of(deployment.stack)
    if clean_up:
        _clean_up(deployment, prefix, yes=yes, as_json=as_json)
        return
    planned = drill.plan(deployment, at)
    if not as_json:
        _show_plan(deployment, planned)
        if earlier := drill_remove.find(prefix):
            output.say(f"{len(earlier)} resources of an earlier drill are there: --clean-up removes them.")
    if not yes:
        click.confirm(f"Restore a copy beside {deployment.environment}, and remove it again?", abort=True, err=True)
    found = drill.run(deployment, planned, _progress)
    if as_json:
        output.say_json(document(found))
    else:
        show(found)
    if not found.is_whole:
        raise click.exceptions.Exit(ATTENTION)


def _progress(text: str) -> None:
    click.echo(text, err=True)


def _clean_up(deployment: Deployment, prefix: str, *, yes: bool, as_json: bool) -> None:
    found = drill_remove.find(prefix)
    if not as_json:
        output.say("\n".join(f"{one.kind} {one.name}" for one in found) or "No drill has left anything.")
    if found and not yes:
        question = f"Remove them from {deployment.environment}? A drill that runs now would fail."
        click.confirm(question, abort=True, err=True)
    left = drill_remove.remove(prefix, _progress)
    if as_json:
        output.say_json({"removed": [one for one in found if one not in left], "left": left})
    elif found:
        output.say(f"{len(found) - len(left)} removed, {len(left)} left.")
    if left:
        raise click.exceptions.Exit(ATTENTION)


def _show_plan(deployment: Deployment, planned: Plan) -> None:
    moment = f"as it was at {planned.at:%Y-%m-%d %H:%M:%S} UTC" if planned.at else "as late as possible"
    tables = ", ".join(f"{name} (about {number} items)" for name, number in planned.items.items()) or "gone"
    output.say(f"The original is only read. A copy of {deployment.environment}, {moment}:")
    output.say(f"  tables   {tables}")
    output.say(f"  objects  {planned.number} versions, {planned.megabytes:.1f} MB")
    if deployment.environment != LOCAL:
        output.say("  price    docs/operations.md#a-drill")


def show(found: Drill) -> None:
    """What was restored, compared and closed; then the times."""
    output.say(f"Copy {found.copy}")
    for table, source in found.sources.items():
        how = f"backup {source.backup}" if source.backup else "point-in-time recovery"
        number = found.restored.get(table, "-")
        output.say(f"  {table}: {number} items as of {source.moment:%Y-%m-%d %H:%M:%S} UTC, {how}")
    output.say(f"  objects: {found.restored['objects']} versions")
    _show_list("not copied", found.not_copied)
    wrong = [setting for setting in found.settings if not setting.is_set]
    output.say(f"\nSet again and read back: {len(found.settings) - len(wrong)} of {len(found.settings)} settings")
    shown = [(one.of, one.name, one.found, "" if one.is_set else f"not {one.wanted}") for one in found.settings]
    output.print_table(("of", "setting", "is", ""), shown)
    output.say("\nWhat has happened to the original since")
    for name in found.gone:
        output.say(f"  {name} is gone.")
    for name, changes in found.changes.items():
        lists = {"removed": changes.removed, "changed": changes.changed, "added": changes.added}
        output.say(f"  {name}: " + ", ".join(f"{len(keys)} {word}" for word, keys in lists.items()))
        for word, keys in lists.items():
            _show_list(word, keys)
    output.say(f"\nErased again, by the ledger: {found.erased_again}")
    _show_list("not erased", found.not_erased)
    output.say("\nRecords and objects of the copy")
    _show_agreement(found.first)
    output.say(f"  petdetect rebuild: {len(found.rebuilt)} records")
    told = ", ".join(f"{action} {number}" for action, number in sorted(found.reconciler.items())) or "nothing to do"
    output.say(f"  the Reconciler's rule: {told}")
    output.say(f"  differences: {found.first.differences}, of which {found.open} stay")
    _show_times(found)
    for one in found.left:
        output.say(f"still there: {one.kind} {one.name} (petdetect drill --clean-up)")
    output.say("Everything came back." if found.is_whole else "Not everything came back, or was proven: see above.")


def _show_agreement(one: Agreement) -> None:
    output.say(f"  {one.agree} records have their object with the hash that they name; {one.without_hash} name none")
    if one.expired:
        output.say(f"  {one.expired} have none any more, as the lifecycle of the bucket wants it")
    for text, keys in (
        ("records without their object", one.missing),
        ("records whose object has another hash", one.other_bytes),
        ("filed objects without a record", one.unrecorded),
        ("uploads without a record", one.not_started),
        ("objects that are not what was copied", one.damaged),
    ):
        _show_list(text, keys)


def _show_list(title: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        output.say(f"  {len(names)} {title}: {', '.join(names[:_NAMES])}{more}")


def _show_times(found: Drill) -> None:
    where = "on the local AWS, which says nothing about AWS" if found.environment == LOCAL else "measured now"
    phases = [(phase, found.seconds[phase]) for phase in (RESTORE, REWIRE, VERIFY)]
    phases.append(("together", sum(seconds for _, seconds in phases)))
    output.say(f"\nRTO ({where})")
    output.print_table(("phase", "seconds"), ((phase, f"{seconds:.1f}") for phase, seconds in phases))
    output.say(f"Removed in {found.seconds[REMOVE]:.1f} s, which is no part of it.")
    output.say(f"RPO: {_rpo(found)}")


def _rpo(found: Drill) -> str:
    facts = found.facts
    if facts is None:
        return "not measured here: the local AWS restores a backup, made a moment ago or by hand."
    survived = f"the newest surviving fact is of {facts.survived or 'nothing'}"
    if facts.lost_seconds is None:
        return f"{survived}; there is no original to compare it with."
    return f"{facts.lost_seconds:.0f} s: {survived}, the newest of the original of {facts.newest}."


def document(found: Drill) -> dict[str, Any]:
    """All of it, for programs."""
    rto = {phase: round(seconds, 1) for phase, seconds in found.seconds.items()}
    measured = found.environment != LOCAL
    shown = output.to_json(found, without=("seconds", "facts"))
    return shown | {
        "isWhole": found.is_whole,
        "rtoSeconds": rto,
        "measuredOnAws": measured,
        "rpoSeconds": found.facts.lost_seconds if found.facts else None,
        "rpo": _rpo(found),
    }
