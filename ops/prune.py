"""`petdetect prune`: deletes versions of the state machine and of the functions that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import boto3
import click
from botocore.exceptions import ClientError

from ops import output, releases
from ops.environment import CLIENT_CONFIG, Deployment
from ops.errors import OperatorError
from pet_detector.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.type_defs import ExecutionListItemTypeDef

# Of each state machine and function: what `petdetect rollback` can go back to.
NEWEST = 5
# Step Functions redrives an execution for so long after its end, with the version that it ran.
REDRIVABLE = timedelta(days=14)
# TimeoutSeconds of the image workflow, and a day: what began before REDRIVABLE and this has ended before REDRIVABLE.
LONGEST = timedelta(days=31)
# How executions end that can be redriven.
_Status = Literal["RUNNING", "FAILED", "TIMED_OUT", "ABORTED"]
_FAILED: tuple[_Status, ...] = ("FAILED", "TIMED_OUT", "ABORTED")
# Deleted meanwhile, or taken by an alias meanwhile.
_GONE, _TAKEN = ("ResourceNotFoundException",), ("ConflictException", "ResourceConflictException")


@dataclass(frozen=True)
class Surplus:
    """A version that nobody needs. `of` is the state machine's or the function's name."""

    kind: str  # "state machine" or "function"
    of: str
    number: int
    arn: str
    published: datetime


@dataclass(frozen=True)
class Plan:
    """What would be deleted, in order, and how many versions stay."""

    surplus: list[Surplus]
    kept_versions: int
    kept_function_versions: int


@dataclass
class _Need:
    """What executions still run, or may be redriven with: versions of the machine, and versions of functions."""

    versions: set[str]
    functions: set[tuple[str, int]]


def plan(deployment: Deployment) -> Plan:
    """Look at versions, aliases and executions. Raises the errors of AWS."""
    machine = deployment.workflow_arn
    need = _needed_by_executions(machine)
    every = list(releases.machine_versions(machine))
    kept = {arn for arn, _ in every[:NEWEST]} | need.versions | set(_aliased(machine))
    surplus = [
        Surplus("state machine", machine.rpartition(":")[2], releases.number_of(arn), arn, published)
        for arn, published in every
        if arn not in kept
    ]
    # The machines themselves too: a person may start them without a version, and reviews and backfills have none.
    machines = [machine, deployment.backfill_arn, deployment.output("ReviewWorkflowArn")]
    definitions = [*machines, *(arn for arn, _ in every if arn in kept)]
    named = need.functions | _needed_by_executions(deployment.backfill_arn).functions
    for arn in definitions:
        named |= set(releases.functions_named_by(arn).items())
    stay = 0
    for name in releases.function_names(deployment).values():
        versions = releases.function_versions(name)
        keep = {version.number for version in versions[:NEWEST]} | set(_aliased_of_function(name))
        going = [v for v in versions if v.number not in keep and (name, v.number) not in named]
        surplus += [Surplus("function", name, v.number, v.arn, v.published) for v in going]
        stay += len(versions) - len(going)
    return Plan(surplus, sum(arn in kept for arn, _ in every), stay)


def _aliased(machine_arn: str) -> Iterator[str]:
    """ARNs of the versions that any alias of a state machine names; it has at most a hundred aliases."""
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    following: Any = {}
    while True:  # boto3 has no paginator for it
        page = states.list_state_machine_aliases(stateMachineArn=machine_arn, **following)
        for alias in page["stateMachineAliases"]:
            yield from releases.machine_shares(alias["stateMachineAliasArn"])
        if "nextToken" not in page:
            return
        following = {"nextToken": page["nextToken"]}


def _aliased_of_function(name: str) -> Iterator[int]:
    pages = boto3.client("lambda", config=CLIENT_CONFIG).get_paginator("list_aliases").paginate(FunctionName=name)
    for page in pages:
        for alias in page["Aliases"]:
            weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
            yield from (int(number) for number in [alias["FunctionVersion"], *weights] if number != "$LATEST")


def _needed_by_executions(machine_arn: str) -> _Need:
    """One that began without a version (by hand, or a backfill) has a definition of its own, and names functions."""
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    need = _Need(set(), set())
    for execution in _unfinished(machine_arn):
        if version := execution.get("stateMachineVersionArn"):
            need.versions.add(version)
        else:
            answer = states.describe_state_machine_for_execution(executionArn=execution["executionArn"])
            need.functions |= set(releases.functions_in(answer["definition"]).items())
    return need


def _unfinished(machine_arn: str) -> Iterator[ExecutionListItemTypeDef]:
    """Executions that run, and those that failed so lately that Step Functions can redrive them."""
    now = datetime.now(UTC)
    listing = boto3.client("stepfunctions", config=CLIENT_CONFIG).get_paginator("list_executions")
    statuses: tuple[_Status, ...] = ("RUNNING", *_FAILED)
    for status in statuses:
        for page in listing.paginate(stateMachineArn=machine_arn, statusFilter=status):
            for execution in page["executions"]:
                if status == "RUNNING" or execution.get("stopDate", now) > now - REDRIVABLE:
                    yield execution
            # The newest come first.
            if page["executions"] and page["executions"][-1]["startDate"] < now - REDRIVABLE - LONGEST:
                break


def carry_out(surplus: Iterable[Surplus]) -> Iterator[tuple[Surplus, bool]]:
    """Delete versions, one after the other -> each, and whether it is gone: not if an alias has taken it meanwhile.

    Raises the errors of AWS; the same command again does the rest.
    """
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    functions = boto3.client("lambda", config=CLIENT_CONFIG)
    for version in surplus:
        try:
            if version.kind == "function":
                functions.delete_function(FunctionName=version.of, Qualifier=str(version.number))
            else:
                states.delete_state_machine_version(stateMachineVersionArn=version.arn)
        except ClientError as error:
            if code_of(error) not in _GONE + _TAKEN:
                raise
            yield version, code_of(error) in _GONE
        else:
            yield version, True


def run(deployment: Deployment, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete what nobody needs."""
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    status = releases.stack_status(deployment)
    if status.endswith("_IN_PROGRESS"):
        raise OperatorError(f"The stack {deployment.stack} is {status}: wait until it is over.")
    found = plan(deployment)
    if not as_json:
        _show(found)
    if dry_run:
        output.say_json({"dryRun": True, **output.to_json(found)}) if as_json else output.say("Nothing was changed.")
        return
    if found.surplus and not yes:
        question = f"Delete {len(found.surplus)} versions in {deployment.environment}? Nothing brings them back."
        click.confirm(question, abort=True, err=True)
    results = list(carry_out(found.surplus))
    deleted = [version for version, is_gone in results if is_gone]
    if as_json:
        document: dict[str, Any] = {"dryRun": False, **output.to_json(found), "deleted": deleted}
        output.say_json(document)
    elif results:
        output.say(f"{len(deleted)} versions deleted.")
        if len(deleted) < len(results):
            output.say(f"{len(results) - len(deleted)} are named by an alias since then, and stay.")


def _show(found: Plan) -> None:
    if found.surplus:
        output.print_table(
            ("surplus version of", "number", "published (UTC)"),
            (
                (each.of, str(each.number), f"{each.published.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
                for each in found.surplus
            ),
        )
    output.say(
        f"{len(found.surplus)} versions are surplus; {found.kept_versions} of the image workflow and "
        f"{found.kept_function_versions} of functions stay: the newest {NEWEST} of each, what an alias names, what "
        f"runs, and what Step Functions can redrive ({REDRIVABLE.days} days)."
    )
