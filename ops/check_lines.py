"""What `petdetect check` finds: lines, and what the checks know of the deployed stack."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

import boto3

from ops.environment import CLIENT_CONFIG, LOCAL, Deployment
from ops.errors import OperatorError

NESTED = "AWS::CloudFormation::Stack"


class Verdict(StrEnum):
    """What a line comes to."""

    OK = "ok"
    NOT_OK = "not ok"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: `says` is what was seen, what to do, or why it was not looked at.

    `by_chance`: it is seen now and then only, so that nobody who asks for it may expect to.
    """

    name: str
    verdict: Verdict
    says: str = ""
    by_chance: bool = False


def ok(name: str, says: str = "") -> Line:
    """It is as it should be."""
    return Line(name, Verdict.OK, says)


def not_ok(name: str, says: str) -> Line:
    """It is not; the sentence says what to do."""
    return Line(name, Verdict.NOT_OK, says)


def not_checked(name: str, says: str, *, by_chance: bool = False) -> Line:
    """Nobody knows; the sentence says why, and who can."""
    return Line(name, Verdict.NOT_CHECKED, says, by_chance)


@dataclass(frozen=True)
class Resource:
    """A deployed resource: its type, and what AWS calls it."""

    kind: str
    physical_id: str


@dataclass(frozen=True)
class Subject:
    """What is checked: a deployment, or one version of its workflow (`version`: a number, or `live`)."""

    deployment: Deployment
    version: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether this is the local AWS: its own environment, or a stage that is rehearsed there."""
        return self.deployment.environment == LOCAL or "//127.0.0.1:" in os.environ.get("AWS_ENDPOINT_URL", "")

    @property
    def machine_arn(self) -> str:
        """What the pictures' executions are started on: the version's own ARN, or the alias."""
        if self.version is None or self.version == "live":
            return self.deployment.live_arn
        return f"{self.deployment.workflow_arn}:{self.version}"

    @property
    def api_url(self) -> str:
        """Where this machine reaches the API."""
        url = self.deployment.output("ApiUrl")
        if not self.is_local:
            return url
        api, stage = re.fullmatch(r"https://([^.]+)\.execute-api[^/]+/(.+)", url).groups()  # type: ignore[union-attr]
        return f"{os.environ['AWS_ENDPOINT_URL']}/_aws/execute-api/{api}/{stage}"

    @cached_property
    def created(self) -> datetime:
        """When the root stack was made."""
        cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
        (found,) = cloudformation.describe_stacks(StackName=self.deployment.stack)["Stacks"]
        return found["CreationTime"]

    @cached_property
    def resources(self) -> dict[str, Resource]:
        """Resources of the root stack by their logical ids."""
        return resources_of(self.deployment.stack)

    @cached_property
    def nested(self) -> dict[str, dict[str, Resource]]:
        """Resources of the nested stacks, by the nested stack's logical id and their own."""
        stacks = {name: found for name, found in self.resources.items() if found.kind == NESTED}
        return {name: resources_of(stack.physical_id) for name, stack in stacks.items()}

    def named(self, logical_id: str) -> str:
        """What AWS calls a resource of the root stack. Raises OperatorError when the stack has none of this name."""
        if logical_id not in self.resources:
            raise OperatorError(
                f"The stack {self.deployment.stack} has no {logical_id}: deploy this version of the application."
            )
        return self.resources[logical_id].physical_id

    def of_type(self, kind: str) -> dict[str, str]:
        """What AWS calls the resources of a type in the root stack, by logical id."""
        return {name: found.physical_id for name, found in self.resources.items() if found.kind == kind}


def resources_of(stack: str) -> dict[str, Resource]:
    """Resources of a stack (its name or its ARN) by their logical ids."""
    return {name: Resource(kind, physical) for name, kind, physical in _summaries(stack)}


def _summaries(stack: str) -> Iterator[tuple[str, str, str]]:
    pages = boto3.client("cloudformation", config=CLIENT_CONFIG).get_paginator("list_stack_resources")
    for page in pages.paginate(StackName=stack):
        for found in page["StackResourceSummaries"]:
            if found["ResourceStatus"] != "DELETE_COMPLETE":
                yield found["LogicalResourceId"], found["ResourceType"], found.get("PhysicalResourceId", "")
