"""`petdetect policy`: the numbers of the decision, and who set them, when and why."""

from __future__ import annotations

import math

import boto3
import click

from ops import output
from ops.environment import CLIENT_CONFIG, Deployment
from pet_detector.rules.policy import Policy
from pet_detector.rules.policy_changes import Change
from pet_detector.use_cases import policy_changes

because_option = click.option("--because", required=True, metavar="TEXT", help="Why. It is kept with the change.")


class Number(click.ParamType):
    """NAME=PERCENT, such as minimum=75."""

    name = "number"

    def convert(
        self, value: str | tuple[str, float], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """(name, percent), or a usage error; the rules of the policy come later."""
        if isinstance(value, tuple):
            return value
        name, _, text = value.partition("=")
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of the policy: write it like minimum=75.", param, ctx)
        return name, int(number) if number == int(number) else number


def show(deployment: Deployment, *, as_json: bool) -> None:
    """Print the numbers in force, and who set them."""
    newest = policy_changes.history(parameter_of(deployment))[0]
    if as_json:
        output.say_json(_document(newest))
        return
    output.say(numbers(newest.policy))
    output.say(f"Set by {newest.by} at {newest.at}: {newest.because or 'nobody said why'}")


def show_history(deployment: Deployment, *, as_json: bool) -> None:
    """Print every change that is kept, newest first."""
    changes = policy_changes.history(parameter_of(deployment))
    if as_json:
        output.say_json([_document(change) for change in changes])
        return
    output.print_table(
        ("version", "when", "numbers", "by", "because"),
        (
            (str(one.number), one.at[:19].replace("T", " "), numbers(one.policy), one.by, one.because or "-")
            for one in changes
        ),
    )


def change(deployment: Deployment, chosen: dict[str, float], because: str, *, as_json: bool) -> None:
    """Set some of the numbers."""
    policy = policy_changes.change(parameter_of(deployment), chosen, by=_who(), because=because)
    _say_set(policy, as_json=as_json)


def take_back(deployment: Deployment, because: str, *, as_json: bool) -> None:
    """Put back what was in force before the last change."""
    _say_set(policy_changes.take_back(parameter_of(deployment), by=_who(), because=because), as_json=as_json)


def parameter_of(deployment: Deployment) -> str:
    """The name of the parameter."""
    return deployment.output("PolicyParameterName")


def _who() -> str:
    """The caller, as AWS knows them: the end of the ARN, such as `anna` or `Operators/anna@example.com`."""
    arn = str(boto3.client("sts", config=CLIENT_CONFIG).get_caller_identity()["Arn"])
    return arn.rpartition(":")[2].removeprefix("user/").removeprefix("assumed-role/")


def _say_set(policy: Policy, *, as_json: bool) -> None:
    if as_json:
        output.say_json({"policy": policy})
    else:
        output.say(f"Now {numbers(policy)}. The functions see it within a minute.")


def _document(change: Change) -> dict[str, object]:
    return output.to_json(change)


def numbers(policy: Policy | None) -> str:
    """The numbers in words."""
    if policy is None:
        return "not usable (petdetect check says why)"
    return ", ".join(f"{name} {number:g}" for name, number in output.to_json(policy).items())
