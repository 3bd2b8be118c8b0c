"""The whole story of one image: every execution that worked on it, state by state, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ops import next_steps, records, releases
from ops.environment import Deployment
from pet_detector.aws.clients import client
from pet_detector.rules import text
from pet_detector.rules.execution_input import kind_of
from pet_detector.rules.models import REVIEW_FACT, Record


@dataclass(frozen=True)
class Problem:
    """An attempt of a state that went wrong."""

    time: datetime
    error: str
    cause: str


@dataclass
class Step:
    """A state that an execution entered. `attempts` counts the calls of its task; 0 for a state without one."""

    time: datetime
    state: str
    attempts: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass
class Run:
    """An execution. `status` is AWS's word, or GONE when Step Functions has deleted it (after 90 days).

    `version` is that of the workflow which it runs; None if it began on the state machine itself, without the alias.
    """

    arn: str
    status: str
    started: datetime | None = None
    ended: datetime | None = None
    kind: str = ""
    error: str = ""
    cause: str = ""
    version: int | None = None
    steps: list[Step] = field(default_factory=list)


@dataclass
class Story:
    """An image's record, its executions in order, where it lies (key, version), who was notified, what to do next."""

    record: Record
    runs: list[Run]
    place: tuple[str, str] | None
    notified: list[str]
    next_steps: str
    commands: list[str]

    @property
    def replaces(self) -> str | None:
        """The image's own version, if it is gone and another one was put back instead."""
        return records.replaced_version(self.record, self.place) if self.place else None

    @property
    def status(self) -> str:
        """The record's, or `unrecorded` when the table knows only of notices."""
        return str(self.record.get("ProcessingStatus", "unrecorded"))


def tell(deployment: Deployment, image_id: str) -> Story:
    """Collect the story of an image. Raises OperatorError when there is no trace of it."""
    record = records.read(deployment, image_id)
    runs = runs_of(record)
    place = records.place_of(deployment, record)
    is_running = any(run.status == "RUNNING" for run in runs)
    return Story(record, runs, place, _notified(record), *next_steps.of(record, place, is_running=is_running))


def runs_of(record: Record) -> list[Run]:
    """The executions of an image, in order."""
    runs = [_run(arn) for arn in records.executions_of(record)]
    return sorted(runs, key=lambda run: run.started or datetime.min.replace(tzinfo=UTC))


def _notified(record: Record) -> list[str]:
    facts = record.get("Notices", set())
    failures = [
        f"operators, of the failure of execution {fact.rpartition(':')[2]}" for fact in sorted(facts - {REVIEW_FACT})
    ]
    return failures + ["reviewers, that the decision is uncertain"] * (REVIEW_FACT in facts)


def _run(arn: str) -> Run:
    description = records.execution(arn)
    if description is None:
        return Run(arn, "GONE")
    pages = client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
    return Run(
        arn,
        description["status"],
        description["startDate"].astimezone(UTC),
        description["stopDate"].astimezone(UTC) if "stopDate" in description else None,
        kind_of(arn.rpartition(":")[2], description.get("input")),
        description.get("error", ""),
        text.message_of(description.get("cause", ""), description.get("error", "")),
        releases.number_of(description["stateMachineVersionArn"]) if "stateMachineVersionArn" in description else None,
        steps_of(event for page in pages for event in page["events"]),
    )


def steps_of(history: Iterable[Any]) -> list[Step]:
    """The states of an execution, from the events of its history in order."""
    steps: list[Step] = []
    for event in history:
        kind, time = event["type"], event["timestamp"].astimezone(UTC)
        if "stateEnteredEventDetails" in event:
            steps.append(Step(time, event["stateEnteredEventDetails"]["name"]))
        elif steps and not kind.startswith("Execution"):
            steps[-1].attempts += kind in ("TaskScheduled", "LambdaFunctionScheduled")
            if kind.endswith(("Failed", "TimedOut")):
                steps[-1].problems.append(_problem(event, kind, time))
    return steps


def _problem(event: Any, kind: str, time: datetime) -> Problem:
    details: dict[str, str] = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
    error = details.get("error") or ("States.Timeout" if kind.endswith("TimedOut") else kind)
    return Problem(time, error, text.message_of(details.get("cause") or "", error))
