"""Versions and aliases of Step Functions and Lambda, and the stack's state, which moto lacks: a few answers in memory.

Lists come in pages of two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
from botocore import xform_name

from tests.support.moto_world import BACKFILL_WORKFLOW, LIVE, REGION, WORKFLOW

FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)
_PAGE = 2


def version_arn(number: int) -> str:
    """Of the image workflow."""
    return f"{WORKFLOW}:{number}"


def function_arn(name: str, number: int) -> str:
    """A version of a function."""
    return f"arn:aws:lambda:{REGION}:123456789012:function:{name}:{number}"


def naming(**functions: int) -> str:
    """A definition that names these versions."""
    return json.dumps({"States": {name: {"Arn": function_arn(name, number)} for name, number in functions.items()}})


@dataclass
class Releases:
    """What is published: change it, then run the command. `calls` are those that change something, in order."""

    definitions: dict[str, str] = field(default_factory=dict)  # of machines, versions and executions, by ARN
    routes: dict[str, dict[int, int]] = field(default_factory=dict)  # share by version, by the alias's ARN
    descriptions: dict[str, str] = field(default_factory=dict)  # of aliases, by machine or function
    functions: dict[str, list[int]] = field(default_factory=dict)  # versions, by the function's name
    aliases: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)  # share by version, by alias
    executions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by the machine's ARN
    stack_status: list[str] = field(default_factory=lambda: ["UPDATE_COMPLETE"])  # one after the other; the last stays
    refused: dict[str, str] = field(default_factory=dict)  # error code, by ARN or name of what cannot be deleted
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def publish(self, number: int, **functions: int) -> None:
        """A version of the workflow, which names versions of functions; the workflow itself is the same then."""
        self.definitions[version_arn(number)] = self.definitions[WORKFLOW] = naming(**functions)
        for name, version in functions.items():
            known = self.functions.setdefault(name, [])
            if version not in known:
                known.append(version)

    def run(self, status: str, name: str, machine: str = WORKFLOW, *, days_ago: float = 0.0, **more: Any) -> None:
        """An execution that began and, unless it runs, ended so many days ago; `version` says which it runs."""
        then = datetime.now(UTC) - timedelta(days=days_ago)
        arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
        found = {"executionArn": arn, "stateMachineArn": machine, "name": name, "status": status, "startDate": then}
        if status != "RUNNING":
            found["stopDate"] = then
        if "version" in more:
            found["stateMachineVersionArn"] = version_arn(more["version"])
        self.definitions[arn] = more.get("definition", naming())
        self.executions.setdefault(machine, []).append(found)

    # --- Answers ------------------------------------------------------------------------------------------------------

    def describe_stacks(self, **_: Any) -> dict[str, Any]:
        status = self.stack_status.pop(0) if len(self.stack_status) > 1 else self.stack_status[0]
        return {"Stacks": [{"StackName": "stack", "StackStatus": status, "CreationTime": FIRST}]}

    def cancel_update_stack(self, **asked: Any) -> dict[str, Any]:
        self.calls.append(("CancelUpdateStack", asked))
        return {}

    def list_stack_resources(self, NextToken: str = "0", **_: Any) -> dict[str, Any]:
        entries = [
            {
                "LogicalResourceId": f"{name}Function",
                "PhysicalResourceId": name,
                "ResourceType": "AWS::Lambda::Function",
            }
            for name in self.functions
        ]
        entries.append({"LogicalResourceId": "Bucket", "PhysicalResourceId": "b", "ResourceType": "AWS::S3::Bucket"})
        return _page(entries, NextToken, "StackResourceSummaries", "NextToken")

    def list_state_machine_versions(self, stateMachineArn: str, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        numbers = [int(arn.rpartition(":")[2]) for arn in self.definitions if arn.startswith(f"{stateMachineArn}:")]
        entries = [
            {"stateMachineVersionArn": version_arn(number), "creationDate": FIRST + timedelta(hours=number)}
            for number in sorted(numbers, reverse=True)
        ]
        return _page(entries, nextToken, "stateMachineVersions", "nextToken")

    def list_state_machine_aliases(self, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        entries = [{"stateMachineAliasArn": arn, "creationDate": FIRST} for arn in self.routes]
        return _page(entries, nextToken, "stateMachineAliases", "nextToken")

    def describe_state_machine_alias(self, stateMachineAliasArn: str) -> dict[str, Any]:
        routes = self.routes[stateMachineAliasArn].items()
        return {
            "description": self.descriptions.get(stateMachineAliasArn, ""),
            "routingConfiguration": [
                {"stateMachineVersionArn": version_arn(number), "weight": weight} for number, weight in routes
            ],
        }

    def update_state_machine_alias(
        self, stateMachineAliasArn: str, routingConfiguration: Any, description: str
    ) -> dict[str, Any]:
        self.descriptions[stateMachineAliasArn] = description
        self.calls.append(("UpdateStateMachineAlias", {"alias": stateMachineAliasArn, "routes": routingConfiguration}))
        self.routes[stateMachineAliasArn] = {
            int(route["stateMachineVersionArn"].rpartition(":")[2]): route["weight"] for route in routingConfiguration
        }
        return {"updateDate": FIRST}

    def delete_state_machine_version(self, stateMachineVersionArn: str) -> dict[str, Any] | str:
        if code := self.refused.get(stateMachineVersionArn):
            return code
        self.calls.append(("DeleteStateMachineVersion", {"arn": stateMachineVersionArn}))
        self.definitions.pop(stateMachineVersionArn, None)
        return {}

    def describe_state_machine(self, stateMachineArn: str, **_: Any) -> dict[str, Any] | None:
        known = self.definitions.get(stateMachineArn)
        return known and {"definition": known, "stateMachineArn": stateMachineArn}  # type: ignore[return-value]

    def describe_state_machine_for_execution(self, executionArn: str, **_: Any) -> dict[str, Any]:
        return {"definition": self.definitions[executionArn]}

    def list_executions(
        self, stateMachineArn: str, statusFilter: str = "", nextToken: str = "0", **_: Any
    ) -> dict[str, Any] | None:
        if stateMachineArn not in self.executions:
            return None
        entries = [each for each in self.executions[stateMachineArn] if each["status"] == statusFilter]
        entries.sort(key=lambda each: each["startDate"], reverse=True)
        return _page(entries, nextToken, "executions", "nextToken")

    def list_versions_by_function(self, FunctionName: str, Marker: str = "0") -> dict[str, Any]:
        last = (FIRST + timedelta(hours=1)).isoformat()
        entries: list[Any] = [{"Version": "$LATEST", "FunctionArn": "x", "LastModified": last}]
        for number in sorted(self.functions[FunctionName]):
            arn = function_arn(FunctionName, number)
            entries.append({"Version": str(number), "FunctionArn": arn, "LastModified": last})
        return _page(entries, Marker, "Versions", "NextMarker")

    def list_aliases(self, FunctionName: str, Marker: str = "0") -> dict[str, Any]:
        names = self.aliases.get(FunctionName, {})
        return _page([self.get_alias(FunctionName, name) for name in names], Marker, "Aliases", "NextMarker")

    def get_alias(self, FunctionName: str, Name: str) -> dict[str, Any]:
        (main, _), *rest = self.aliases[FunctionName][Name].items()
        weights = {str(number): share for number, share in rest}
        said = self.descriptions.get(FunctionName, "")
        return {
            "FunctionVersion": str(main),
            "Description": said,
            "RoutingConfig": {"AdditionalVersionWeights": weights},
        }

    def update_alias(
        self, FunctionName: str, Name: str, FunctionVersion: str, Description: str, **more: Any
    ) -> dict[str, Any]:
        self.descriptions[FunctionName] = Description
        self.calls.append(("UpdateAlias", {"function": FunctionName, "to": FunctionVersion, **more}))
        self.aliases[FunctionName][Name] = {int(FunctionVersion): 1.0}
        return {}

    def delete_function(self, FunctionName: str, Qualifier: str) -> dict[str, Any] | str:
        if code := self.refused.get(f"{FunctionName}:{Qualifier}"):
            return code
        self.calls.append(("DeleteFunction", {"function": FunctionName, "version": Qualifier}))
        self.functions[FunctionName].remove(int(Qualifier))
        return {}


def _page(entries: list[Any], token: str, name: str, following: str) -> dict[str, Any]:
    begin = int(token)
    more = {following: str(begin + _PAGE)} if begin + _PAGE < len(entries) else {}
    return {name: entries[begin : begin + _PAGE], **more}


@contextmanager
def answering(session: boto3.Session, answers: Releases | dict[str, Any], *services: str) -> Iterator[None]:
    """Clients of these services that the session makes inside the block get these answers; other calls go on to moto.

    Answers are methods of Releases, or values by the operation: a document, or an error's code.
    """

    def look(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = dict(params)

    def found(operation: str, asked: dict[str, Any]) -> Any:
        if isinstance(answers, dict):
            return answers.get(operation)
        return getattr(answers, operation)(**asked) if hasattr(answers, operation) else None

    def answer(model: Any, context: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, dict[str, Any]] | None:
        document = found(xform_name(model.name), context["asked"])
        if document is None:
            return None
        status, body = (400, {"Error": {"Code": document}}) if isinstance(document, str) else (200, dict(document))
        metadata = {"HTTPStatusCode": status, "RequestId": "request", "RetryAttempts": 0, "HTTPHeaders": {}}
        return SimpleNamespace(status_code=status), {**body, "ResponseMetadata": metadata}

    handlers: dict[str, Any] = {"before-parameter-build": look, "before-call": answer}
    events = [f"{event}.{service}" for event in handlers for service in services]
    for event in events:
        session.events.register(event, handlers[event.partition(".")[0]])
    try:
        yield
    finally:
        for event in events:
            session.events.unregister(event, handlers[event.partition(".")[0]])


__all__ = ["BACKFILL_WORKFLOW", "LIVE", "Releases", "answering", "function_arn", "naming", "version_arn"]
