"""`petdetect rebuild`: which images, what would be written, and when it asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ops import erase_command, output, policy_command, rebuild
from ops.environment import Deployment
from ops.rebuild import Plan

ATTENTION = 3
# Rows that are shown: of thousands nobody reads more.
_ROWS = 50


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's options, but for the ids."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be written, and do nothing."),
        click.option("--all", "everything", is_flag=True, help="Every filed picture without a record."),
    ):
        function = option(function)
    return function


def run(
    deployment: Deployment, image_ids: tuple[str, ...], *, everything: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Rebuild records."""
    if bool(image_ids) == everything:
        raise click.UsageError("Name images to rebuild, or give --all: one of them.")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    resources = erase_command.resources_of(deployment)
    chosen = rebuild.without_record(resources) if everything else dict.fromkeys(image_ids)
    plans = list(rebuild.plans_of(resources, policy_command.parameter_of(deployment), chosen))
    possible = sum(not plan.refusal for plan in plans)
    if not as_json:
        _show(plans)
    if possible and not (dry_run or yes):
        click.confirm(f"Rebuild {possible} records in {deployment.environment}?", abort=True, err=True)
    if not dry_run:
        plans = rebuild.carry_out(resources, plans)
    refused = sum(bool(plan.refusal) for plan in plans)
    if as_json:
        output.say_json({"dryRun": dry_run, "images": plans})
    else:
        done = "would be rebuilt" if dry_run else "rebuilt"
        output.say(f"{len(plans) - refused} {done}, {refused} not.")
    if refused and not dry_run:
        raise click.exceptions.Exit(ATTENTION)


def _show(plans: list[Plan]) -> None:
    if not plans:
        output.say("Every filed picture has a record.")
        return
    output.print_table(
        ("image", "lies at", "status", "animal", "filed", "not, because"),
        (
            (
                plan.image_id,
                plan.key or "-",
                str((plan.record or {}).get("ProcessingStatus", "-")),
                str((plan.record or {}).get("DetectedAnimal", "-")),
                str((plan.record or {}).get("Timestamp", "-")),
                plan.refusal or "-",
            )
            for plan in plans[:_ROWS]
        ),
    )
    if len(plans) > _ROWS:
        output.say(f"The first {_ROWS} of {len(plans)} are shown.")
