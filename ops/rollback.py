"""`petdetect rollback`: points the alias `live` at an earlier version of the workflow, or of one function."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Protocol

import boto3
import click
from botocore.exceptions import WaiterError

from ops import output, releases
from ops.environment import CLIENT_CONFIG, Deployment
from ops.errors import OperatorError
from ops.releases import ALIAS, Version

# Functions that are called through an alias of their own. The others run as the version that the state machine names.
FUNCTIONS = (
    "UploadApi",
    "ImagesApi",
    "ErasureApi",
    "PageApi",
    "ReviewApi",
    "FiguresApi",
    "FailureRecorder",
    "MetricsPublisher",
    "ReviewQueue",
    "Reconciler",
    "ReviewKeeper",
)
# Of these CodeDeploy shifts the alias, where ReleaseShift is gradual: it refuses an alias that somebody has moved.
_SHIFTED_BY_CODEDEPLOY = ("UploadApi", "ImagesApi", "ErasureApi")
# The newest versions that are shown, besides those with traffic.
_ROWS = 10
# The alias's own description remembers which versions somebody took back: none of them is the one to go back to.
_TAKEN_BACK = "Taken back: "
_REMEMBERED = 20  # versions; a description has 256 characters
# Seconds between two looks at a stack that goes back, and how many.
_PAUSE, _LOOKS = 2, 1800

_SHIFTING = "UPDATE_IN_PROGRESS"
_BUSY = ("CREATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS")

NOT_UNDONE = (
    "Not undone: the numbers of the policy (SSM parameter), records and pictures, roles and other resources, and the "
    "functions with calls of their own (the API's, the stream's, the schedule's, failure events'; see --function)."
)
NEXT_DEPLOYMENT = (
    "The next deployment that changes the workflow or its functions shifts from what is live now to its new version; "
    "one that changes neither leaves it."
)


class Target(Protocol):
    """An alias `live`, and the versions that it can point at."""

    title: str
    option: str  # of the command, to name it again

    def versions(self) -> list[Version]:
        """Every published version, the newest first, with its share."""

    def taken_back(self) -> set[int]:
        """Numbers of the versions that were rolled back by this command."""

    def point(self, version: Version, taken_back: set[int]) -> None:
        """Give one version all new calls, and remember those that are taken back now."""

    def warning(self, before: int) -> str:
        """What else there is to know when it goes back from this version."""


class Workflow:
    """The alias of the image workflow."""

    title, option = "the image workflow", ""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def versions(self) -> list[Version]:
        """With the versions of functions that each names, of those that are shown."""
        shares = releases.machine_shares(self._deployment.live_arn)
        found = []
        for place, (arn, published) in enumerate(releases.machine_versions(self._deployment.workflow_arn)):
            shown = place < _ROWS or arn in shares
            functions = releases.functions_named_by(arn) if shown else {}
            found.append(Version(releases.number_of(arn), arn, published, shares.get(arn, 0), functions))
        return found

    def taken_back(self) -> set[int]:
        """From the alias's description."""
        return _remembered(releases.alias_of_machine(self._deployment.live_arn).get("description", ""))

    def point(self, version: Version, taken_back: set[int]) -> None:
        """One call, whatever the alias said before."""
        boto3.client("stepfunctions", config=CLIENT_CONFIG).update_state_machine_alias(
            stateMachineAliasArn=self._deployment.live_arn,
            description=_description(taken_back),
            routingConfiguration=[{"stateMachineVersionArn": version.arn, "weight": 100}],
        )

    def warning(self, before: int) -> str:
        """Of what a version does not hold."""
        return f"{NOT_UNDONE} {NEXT_DEPLOYMENT}"


class Function:
    """The alias of a function that has calls of its own. Raises OperatorError for another one."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.title, self.option = name, f" --function {name}"
        names = releases.function_names(deployment)
        if name not in names:
            raise OperatorError(f"The stack {deployment.stack} has no function {name}: deploy this version of it.")
        self._name, self._id = names[name], name

    def taken_back(self) -> set[int]:
        """From the alias's description."""
        return _remembered(releases.alias_of_function(self._name).get("Description", ""))

    def versions(self) -> list[Version]:
        """Newest first."""
        shares = releases.function_shares(releases.alias_of_function(self._name))
        return [
            replace(version, share=shares.get(version.number, 0)) for version in releases.function_versions(self._name)
        ]

    def point(self, version: Version, taken_back: set[int]) -> None:
        """One call, and no weights any more."""
        boto3.client("lambda", config=CLIENT_CONFIG).update_alias(
            FunctionName=self._name,
            Name=ALIAS,
            FunctionVersion=str(version.number),
            Description=_description(taken_back),
            RoutingConfig={"AdditionalVersionWeights": {}},
        )

    def warning(self, before: int) -> str:
        """What CodeDeploy asks of the next deployment."""
        if self._id not in _SHIFTED_BY_CODEDEPLOY:
            return "The next deployment that changes it points its alias at the new version."
        return (
            f"Where ReleaseShift is gradual, CodeDeploy refuses the next deployment that changes {self._id} unless its "
            f"alias is where the last deployment left it. Before that: petdetect rollback{self.option} --to {before}."
        )


def _remembered(description: str) -> set[int]:
    """Of an alias's description, as `_description` wrote it; of any other one: none."""
    return set(map(int, re.findall(r"\d+", description))) if description.startswith(_TAKEN_BACK) else set()


def _description(taken_back: set[int]) -> str:
    return _TAKEN_BACK + (", ".join(map(str, sorted(taken_back)[-_REMEMBERED:])) or "none")


@dataclass(frozen=True)
class Plan:
    """From which version `live` goes back to which, and the versions that are taken back then."""

    versions: list[Version]
    before: Version
    after: Version
    taken_back: set[int]


def plan(target: Target, to: int | None) -> Plan:
    """Where the alias would point: at version `to`, else at the newest one before that with most of the traffic which
    nobody has taken back.

    Raises OperatorError when there is no such version, or nothing would change.
    """
    versions = target.versions()
    before, known_bad = max(versions, key=lambda version: version.share), target.taken_back()
    if to is not None:
        chosen = [version for version in versions if version.number == to]
        if not chosen:
            known = ", ".join(str(version.number) for version in versions[:_ROWS])
            raise OperatorError(f"There is no version {to} of {target.title}: there are {known}.")
        if chosen[0].share == 100:
            raise OperatorError(f"Version {to} of {target.title} is live already, wholly.")
    else:
        older = [version for version in versions if version.number < before.number]
        chosen = [version for version in older if version.number not in known_bad]
        if not chosen:
            why = (
                f"those before version {before.number} of {target.title} were taken back (--to names one all the same)."
                if older
                else f"version {before.number} is the oldest one of {target.title}."
            )
            raise OperatorError(f"There is nothing to go back to: {why} Deploy the commit before instead.")
    after = chosen[0]
    left = {before.number} if after.number < before.number else set()
    return Plan(versions, before, after, (known_bad | left) - {after.number})


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's options."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show the versions and what would be done, and do nothing."),
        click.option(
            "--function",
            type=click.Choice(FUNCTIONS),
            help="Not the workflow's alias but that of this function, which has calls of its own.",
        ),
        click.option(
            "--to",
            type=click.IntRange(1),
            metavar="VERSION",
            help="This version; by default the newest one, not yet taken back, before that with most of the traffic.",
        ),
    ):
        function = option(function)
    return function


def run(
    deployment: Deployment, *, to: int | None, function: str | None, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Roll back, or cancel the deployment that is in progress."""
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    state = releases.stack_status(deployment)
    if state == _SHIFTING:
        _cancel(deployment, one=to is not None or function is not None, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if state in _BUSY:
        raise OperatorError(f"The stack {deployment.stack} is {state}: wait until it is over, then look again.")
    target: Target = Function(deployment, function) if function else Workflow(deployment)
    found = plan(target, to)
    document = {"dryRun": dry_run, "of": function or "ImageWorkflow", "versions": found.versions}
    document |= {"from": found.before.number, "to": found.after.number, "takenBack": sorted(found.taken_back)}
    warning = target.warning(found.before.number)
    if not as_json:
        _show(target, found.versions)
        output.say(f"`{ALIAS}` of {target.title} goes from version {found.before.number} to {found.after.number}.")
        output.say(warning)
    if dry_run:
        output.say_json(document) if as_json else output.say("Nothing was changed.")
        return
    if not yes:
        question = f"Give version {found.after.number} everything new in {deployment.environment}?"
        click.confirm(question, abort=True, err=True)
    began = time.monotonic()
    target.point(found.after, found.taken_back)
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        output.say_json(document | {"seconds": seconds})
    else:
        output.say(
            f"Version {found.after.number} is live, after {seconds} s. What runs ends as it began; some new calls may "
            "still come to the old version for seconds."
        )


def _cancel(deployment: Deployment, *, one: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    """While CloudFormation deploys and shifts, only CloudFormation can go back: it undoes the whole deployment."""
    if one:
        raise OperatorError("A deployment is in progress: go back without --to and --function first, which cancels it.")
    command = f"aws cloudformation cancel-update-stack --stack-name {deployment.stack}"
    document: dict[str, Any] = {"dryRun": dry_run, "cancels": deployment.stack}
    if not as_json:
        output.say(
            f"A deployment of {deployment.stack} is in progress. Cancelling it takes all of it back, the shares of "
            f"`{ALIAS}` too:\n  {command}"
        )
    if dry_run:
        output.say_json(document) if as_json else output.say("Nothing was changed.")
        return
    if not yes:
        click.confirm(f"Cancel the deployment in {deployment.environment}?", abort=True, err=True)
    cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
    began = time.monotonic()
    cloudformation.cancel_update_stack(StackName=deployment.stack)
    try:
        cloudformation.get_waiter("stack_rollback_complete").wait(
            StackName=deployment.stack, WaiterConfig={"Delay": _PAUSE, "MaxAttempts": _LOOKS}
        )
    except WaiterError as error:
        raise OperatorError(
            f"The stack {deployment.stack} did not go back: it is {releases.stack_status(deployment)}. Its events say "
            f"why: aws cloudformation describe-stack-events --stack-name {deployment.stack}"
        ) from error
    seconds = round(time.monotonic() - began, 2)
    if as_json:
        output.say_json(document | {"seconds": seconds})
    else:
        output.say(f"The deployment is taken back, after {seconds} s.")


def _show(target: Target, versions: Sequence[Version]) -> None:
    shown = [version for place, version in enumerate(versions) if place < _ROWS or version.share]
    output.print_table(
        ("version", "published (UTC)", f"share of `{ALIAS}`", "functions' versions"),
        (
            (
                str(version.number),
                f"{version.published.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
                f"{version.share} %" if version.share else "",
                ", ".join(f"{name} {number}" for name, number in sorted(version.functions.items())) or "-",
            )
            for version in shown
        ),
    )
