"""The releases of a deployment. A version of the state machine is one: it names versions of the functions, and the
alias `live` says which version new executions run. Functions with calls of their own have versions and an alias too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import boto3

from ops.environment import CLIENT_CONFIG, Deployment

ALIAS = "live"
# A function's version in a definition, as Lambda names it.
_FUNCTION_VERSION = re.compile(r":function:([\w-]+):(\d+)")


@dataclass(frozen=True)
class Version:
    """A published version. `share` is the percentage of new calls that the alias `live` gives it now.

    `functions` are the versions of functions that a version of the state machine names, by the function's name.
    """

    number: int
    arn: str
    published: datetime
    share: int = 0
    functions: dict[str, int] = field(default_factory=dict)


def number_of(arn: str) -> int:
    """The number of a version, from its ARN."""
    return int(arn.rpartition(":")[2])


def machine_versions(machine_arn: str) -> Iterator[tuple[str, datetime]]:
    """ARN of every published version of a state machine, and when it was published; the newest first."""
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    following: Any = {}
    while True:  # boto3 has no paginator for it
        page = states.list_state_machine_versions(stateMachineArn=machine_arn, **following)
        for version in page["stateMachineVersions"]:
            yield version["stateMachineVersionArn"], version["creationDate"]
        if "nextToken" not in page:
            return
        following = {"nextToken": page["nextToken"]}


def machine_shares(alias_arn: str) -> dict[str, int]:
    """The percentage of new executions that an alias gives to each version, by the version's ARN."""
    routes = alias_of_machine(alias_arn)["routingConfiguration"]
    return {route["stateMachineVersionArn"]: route["weight"] for route in routes if route["weight"]}


def alias_of_machine(alias_arn: str) -> Any:
    """What Step Functions says of an alias."""
    return boto3.client("stepfunctions", config=CLIENT_CONFIG).describe_state_machine_alias(
        stateMachineAliasArn=alias_arn
    )


def functions_named_by(machine_arn: str) -> dict[str, int]:
    """Versions of functions that a state machine, or a version of it, names, by the function's name."""
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    return functions_in(states.describe_state_machine(stateMachineArn=machine_arn)["definition"])


def functions_in(definition: str) -> dict[str, int]:
    """The same of a definition."""
    return {name: int(number) for name, number in _FUNCTION_VERSION.findall(definition)}


def alias_of_function(name: str) -> Any:
    """What Lambda says of the alias `live` of a function."""
    return boto3.client("lambda", config=CLIENT_CONFIG).get_alias(FunctionName=name, Name=ALIAS)


def function_shares(alias: Any) -> dict[int, int]:
    """The percentage of new calls that a function's alias gives to each version, by its number."""
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    shares = {int(number): round(weight * 100) for number, weight in weights.items()}
    return {**shares, int(alias["FunctionVersion"]): 100 - sum(shares.values())}


def function_versions(name: str) -> list[Version]:
    """Every published version of a function, the newest first, without shares."""
    pages = boto3.client("lambda", config=CLIENT_CONFIG).get_paginator("list_versions_by_function")
    found = [
        Version(int(entry["Version"]), entry["FunctionArn"], datetime.fromisoformat(entry["LastModified"]))
        for page in pages.paginate(FunctionName=name)
        for entry in page["Versions"]
        if entry["Version"] != "$LATEST"
    ]
    return sorted(found, key=lambda version: version.number, reverse=True)


def function_names(deployment: Deployment) -> dict[str, str]:
    """Name of each function of the stack by its logical id without `Function`, such as UploadApi."""
    pages = boto3.client("cloudformation", config=CLIENT_CONFIG).get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"].removesuffix("Function"): resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=deployment.stack)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }


def stack_status(deployment: Deployment) -> str:
    """What CloudFormation does with the stack, or did last, such as UPDATE_COMPLETE."""
    cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
    return str(cloudformation.describe_stacks(StackName=deployment.stack)["Stacks"][0]["StackStatus"])


@dataclass(frozen=True)
class Live:
    """What new executions run: the percentage of each version, by its number; and the number of the newest version."""

    shares: dict[int, int]
    newest: int

    @property
    def is_split(self) -> bool:
        """Whether a shift is in progress, or somebody left the alias in the middle."""
        return len(self.shares) > 1

    @property
    def is_newest(self) -> bool:
        """Whether every new execution runs the newest version."""
        return self.shares == {self.newest: 100}


def live(deployment: Deployment) -> Live:
    """What the alias `live` of the image workflow says now."""
    shares = {number_of(arn): share for arn, share in machine_shares(deployment.live_arn).items()}
    newest, _ = next(machine_versions(deployment.workflow_arn))
    return Live(shares, number_of(newest))
