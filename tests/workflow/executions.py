"""Runs of the deployed state machine, with its tasks answered by the mock configuration of `mocks.py`.

The definition runs twice for each request. First as it is deployed: its path and its end are what the tests judge. Then
as a recording, which differs in its outputs only: each task, and each of its catchers, outputs the Arguments that
were sent, and each rule of a Choice says that it was taken. (AWS shows the first in its history, other engines do not;
nobody shows the second. The workflow hands on variables, never outputs, so no state sees the difference.) Nothing but
the Step Functions API is used, so any engine will do.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.paths import REPOSITORY
from tests.support.templates import load

DEFINITION = REPOSITORY / "statemachine" / "image_workflow.asl.yaml"

MACHINE = "ImageWorkflow"  # the name that the mock configuration knows it by
ROLE = "arn:aws:iam::000000000000:role/ImageWorkflow"

IMAGE_ID = "7123456789abcdef0123456789abcdef"
SHARD = "3"  # 7 modulo 4
VERSION_ID = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"
CORRELATION_ID = "17793124-05d4-b198-2fde-7ededc63b103"  # in the mocked answers to Claim Upload
UPLOADER = "a1b2c3d4e5"  # there too
KEY = f"input/{IMAGE_ID}.jpg"
RETENTION_DAYS = 400

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:"
TABLE = "DetectionLogs"
SUBSTITUTIONS = {"DetectionLogsTable": TABLE, "RecordRetentionDays": str(RETENTION_DAYS)}


def s3_event(key: str = KEY, version_id: str | None = VERSION_ID) -> dict[str, Any]:
    """What of an "Object Created" event the workflow reads."""
    found = {"key": key} if version_id is None else {"key": key, "version-id": version_id}
    return {"detail": {"object": found}}


@dataclass(frozen=True)
class Request:
    """One execution to start: a test case of the mock configuration, and the execution's input."""

    case: str
    input: dict[str, Any] = field(default_factory=s3_event)


@dataclass(frozen=True)
class Run:
    """How an execution of the deployed definition went, and what its recording sent.

    `output` is the JSON text that an execution which succeeded ends with, and that its event on EventBridge carries.
    `path` names the states entered; `attempts` counts a task's, without those that could not make their Arguments.
    `arguments` is what each task was last called with; a task that could not make them is missing. `caught` is the
    index of the catcher that a failed task left by, `chosen` those of the rules that a Choice left by (None: Default),
    each time that it was entered.
    `recording` is the ARN of the execution that recorded these.
    """

    path: list[str]
    status: str
    error: str | None
    cause: str | None
    output: str | None
    attempts: Counter[str]
    arguments: dict[str, Any]
    caught: dict[str, int]
    chosen: dict[str, list[int | None]]
    recording: str

    @property
    def transitions(self) -> int:
        """What AWS bills: every state that was entered, and every further attempt."""
        return len(self.path) + sum(count - self.path.count(state) for state, count in self.attempts.items())


def definition() -> dict[str, Any]:
    """The deployed state machine with its substitutions filled in."""
    text = json.dumps(load(DEFINITION))
    filled: dict[str, Any] = json.loads(re.sub(r"\$\{(\w+)}", lambda match: _substitution(match[1]), text))
    return filled


def _substitution(name: str) -> str:
    if name.endswith("Function"):
        return FUNCTION + name.removesuffix("Function")
    return SUBSTITUTIONS.get(name, name)


def recorded(deployed: dict[str, Any]) -> dict[str, Any]:
    """The same state machine, whose tasks, catchers and Choice rules output what they did."""
    recording = copy.deepcopy(deployed)
    for name, state in recording["States"].items():
        if state["Type"] == "Choice":
            for index, rule in enumerate(state["Choices"]):
                rule["Output"] = {"chosen": {name: index}}
        elif state["Type"] == "Task":
            state["Output"] = {"sent": state["Arguments"]}
            state["Catch"] = list(_recorded_catchers(state))
    return recording


def _recorded_catchers(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The catchers in their order. One that also catches the failure to make Arguments is split: those cannot be sent
    again.
    """
    for index, catcher in enumerate(state.get("Catch", [])):
        errors = catcher["ErrorEquals"]
        if {"States.QueryEvaluationError", "States.ALL"} & set(errors):
            yield {**catcher, "ErrorEquals": ["States.QueryEvaluationError"], "Output": {"caught": index}}
        if errors != ["States.QueryEvaluationError"]:
            yield {**catcher, "Output": {"sent": state["Arguments"], "caught": index}}


class Engine:
    """A Step Functions engine that was started with the mock configuration."""

    def __init__(self, client: Any, patience_seconds: float, *, waits: bool) -> None:
        """`waits`: it waits between retries, so that those which go on for hours are shortened to a second each."""
        self._client = client
        self._patience_seconds = patience_seconds
        self._deployed = _without_hours(definition()) if waits else definition()
        self._recording = recorded(self._deployed)
        self._machine = self._create()

    def _create(self) -> str:
        machines = self._client.list_state_machines()["stateMachines"]
        for machine in machines:  # of an earlier run against the same endpoint
            if machine["name"] == MACHINE:
                return str(machine["stateMachineArn"])
        created = self._client.create_state_machine(name=MACHINE, definition=json.dumps(self._deployed), roleArn=ROLE)
        return str(created["stateMachineArn"])

    def run(self, requests: Iterable[Request]) -> list[Run]:
        """Run all of them side by side, and return when every one has ended. AssertionError when one does not."""
        todo = list(requests)
        plain = self._execute(self._deployed, todo)
        recordings = self._execute(self._recording, todo)
        return [self._run(*pair) for pair in zip(plain, recordings, strict=True)]

    def _execute(self, definition: dict[str, Any], requests: list[Request]) -> list[str]:
        self._client.update_state_machine(stateMachineArn=self._machine, definition=json.dumps(definition))
        started = [
            self._client.start_execution(
                stateMachineArn=f"{self._machine}#{request.case}", input=json.dumps(request.input)
            )["executionArn"]
            for request in requests
        ]
        deadline = time.monotonic() + self._patience_seconds
        for execution, request in zip(started, requests, strict=True):
            while self._describe(execution)["status"] == "RUNNING":
                if time.monotonic() > deadline:
                    raise AssertionError(f"{request.case} did not end in {self._patience_seconds} s")
                time.sleep(0.02)
        return started

    def _describe(self, execution: str) -> dict[str, Any]:
        description: dict[str, Any] = self._client.describe_execution(executionArn=execution)
        return description

    def _events(self, execution: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("get_execution_history").paginate(executionArn=execution)
        return [event for page in pages for event in page["events"]]

    def _run(self, plain: str, recording: str) -> Run:
        end = self._describe(plain)
        path, attempts = _walk(self._events(plain))
        events = self._events(recording)
        if _walk(events)[0] != path:
            raise AssertionError(f"The recording went another way: {_walk(events)[0]}, not {path}")
        return Run(
            path=path,
            status=end["status"],
            error=end.get("error"),
            cause=end.get("cause"),
            output=end.get("output"),
            attempts=attempts,
            arguments=_recorded(events, "sent"),
            caught=_recorded(events, "caught"),
            chosen={state: list(_chosen(events, state)) for state in self._choices(path)},
            recording=recording,
        )

    def _choices(self, path: list[str]) -> list[str]:
        return [state for state in path if self._deployed["States"][state]["Type"] == "Choice"]


def _without_hours(definition: dict[str, Any]) -> dict[str, Any]:
    for state in definition["States"].values():
        for retrier in state.get("Retry", []):
            if retrier["MaxDelaySeconds"] > 60:
                retrier |= {"IntervalSeconds": 1, "MaxDelaySeconds": 1}
    return definition


def _walk(events: list[dict[str, Any]]) -> tuple[list[str], Counter[str]]:
    """The states that were entered, and how often each task was tried."""
    path: list[str] = []
    attempts: Counter[str] = Counter()
    for event in events:
        if event["type"].endswith("StateEntered"):
            path.append(event["stateEnteredEventDetails"]["name"])
        elif event["type"] == "TaskScheduled":
            attempts[path[-1]] += 1
    return path, attempts


def _recorded(events: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """What each state, when it was left last, says of itself under this name."""
    return {state: output[what] for state, output in _outputs(events) if isinstance(output, dict) and what in output}


def _chosen(events: list[dict[str, Any]], choice: str) -> Iterator[int | None]:
    """The rules that a Choice left by, in order. Default outputs what came in, which another Choice may have said."""
    for state, output in _outputs(events):
        if state == choice:
            yield output.get("chosen", {}).get(choice) if isinstance(output, dict) else None


def _outputs(events: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The states that were left, in order, each with its output."""
    for event in events:
        if details := event.get("stateExitedEventDetails"):
            yield details["name"], json.loads(details["output"])
