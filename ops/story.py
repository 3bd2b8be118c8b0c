"""The whole story of one image: every execution that worked on it, state by state, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops import advice, records
from ops.environment import CLIENT_CONFIG, Deployment
from pet_detector.aws import detection_logs
from pet_detector.aws.errors import code_of
from pet_detector.rules import text
from pet_detector.rules.execution_input import kind_of
from pet_detector.rules.models import REVIEW_FACT, Record, Status

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient


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
    """An execution. `status` is AWS's word, or GONE when Step Functions has forgotten it (after 90 days)."""

    arn: str
    status: str
    started: datetime | None = None
    ended: datetime | None = None
    kind: str = ""
    error: str = ""
    cause: str = ""
    steps: list[Step] = field(default_factory=list)


@dataclass
class Story:
    """An image's record, its executions in order, where it lies (key, version), what was told, what to do next."""

    record: Record
    runs: list[Run]
    place: tuple[str, str] | None
    told: list[str]
    advice: str
    commands: list[str]

    @property
    def replaced(self) -> str:
        """The image's own version, if it is gone and another one was put back instead."""
        return records.replaced_version(self.record, self.place) if self.place else ""

    @property
    def status(self) -> str:
        """The record's, or `unrecorded` when the table knows only of notices."""
        return str(self.record.get("ProcessingStatus", "unrecorded"))


def tell(deployment: Deployment, image_id: str) -> Story:
    """Collect the story of an image. Raises OperatorError when nobody has heard of it."""
    record = records.read(deployment, image_id)
    sfn = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    runs = [_run(sfn, arn) for arn in records.executions_of(record)]
    runs.sort(key=lambda run: run.started or datetime.min.replace(tzinfo=UTC))
    place = records.place_of(deployment, record)
    told = _told(record)
    return Story(record, runs, place, told, *_next(record, runs, place))


def _told(record: Record) -> list[str]:
    facts = record.get("Notices", set())
    told = [
        f"operators, of the failure of execution {fact.rpartition(':')[2]}" for fact in sorted(facts - {REVIEW_FACT})
    ]
    return told + ["reviewers, that the machine was not sure"] * (REVIEW_FACT in facts)


def _run(sfn: SFNClient, arn: str) -> Run:
    try:
        description = sfn.describe_execution(executionArn=arn)
    except ClientError as error:
        if code_of(error) != "ExecutionDoesNotExist":
            raise
        return Run(arn, "GONE")
    run = Run(
        arn,
        description["status"],
        description["startDate"].astimezone(UTC),
        description["stopDate"].astimezone(UTC) if "stopDate" in description else None,
        kind_of(arn.rpartition(":")[2], description.get("input")),
        description.get("error", ""),
        text.message_of(description.get("cause", "")),
    )
    for page in sfn.get_paginator("get_execution_history").paginate(executionArn=arn):
        for event in page["events"]:
            _add(run, event)
    return run


def _add(run: Run, event: Any) -> None:
    """Take one event of the history into the execution's steps."""
    kind, time = event["type"], event["timestamp"].astimezone(UTC)
    if "stateEnteredEventDetails" in event:
        run.steps.append(Step(time, event["stateEnteredEventDetails"]["name"]))
        return
    if kind.startswith("Execution") or not run.steps:
        return
    step = run.steps[-1]
    step.attempts += kind in ("TaskScheduled", "LambdaFunctionScheduled")
    if kind.endswith(("Failed", "TimedOut")):
        details: dict[str, str] = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
        error = details.get("error") or ("States.Timeout" if kind.endswith("TimedOut") else kind)
        step.problems.append(Problem(time, error, text.message_of(details.get("cause") or "")))


def _next(record: Record, runs: list[Run], place: tuple[str, str] | None) -> tuple[str, list[str]]:
    """(what to do, the commands for it)."""
    image_id, status = record["ImageID"], record.get("ProcessingStatus")
    reconcile = "petdetect reconcile --older-than 0"
    if status is None:
        return "No record could be written, people were told all the same. The reconciler takes it up.", [reconcile]
    if status == Status.UPLOADING:
        if place:
            return "It was uploaded and nothing has started: the event is late or lost.", [reconcile]
        return "Nobody has uploaded it yet. The promise ends a day after it was given; nothing to do.", []
    if status == Status.PROCESSING:
        return _next_of_processing(record, runs, reconcile)
    if status == Status.FAILED:
        return _next_of_failed(record, place)
    if status == Status.HELD:
        if place is None:
            return "It was held by the daily limit, and its object is gone: a release needs it back.", []
        return advice.HELD, [f"petdetect release {image_id}"]
    if place is None:
        return "It is finished, and its object is gone: deleted, or expired by the bucket's lifecycle.", []
    if status == Status.NEEDS_REVIEW:
        return "A person should look at it and decide.", []
    return "Nothing: it is finished.", []


def _next_of_failed(record: Record, place: tuple[str, str] | None) -> tuple[str, list[str]]:
    image_id = record["ImageID"]
    told = advice.for_error(records.error_of(record)[0])
    if place is None:
        if detection_logs.is_dismissed(record):
            return "Nothing: its object is gone, and an operator ended it. Its record expires.", []
        gone = "Its object is gone: a redrive needs it back. When it is gone for good, end it:"
        return f"{told} {gone}", [f"petdetect dismiss {image_id}"]
    if records.replaced_version(record, place):
        told = "Its own object version is gone, and another one lies under its key: a redrive takes that one."
    return told, [f"petdetect redrive {image_id}"]


def _next_of_processing(record: Record, runs: list[Run], reconcile: str) -> tuple[str, list[str]]:
    if any(run.status == "RUNNING" for run in runs):
        return "An execution works on it: wait.", []
    begins = "Its"
    if claimed := records.moment(record.get("ClaimedAt")):
        begins = f"From {claimed + timedelta(seconds=detection_logs.CLAIM_SECONDS):%Y-%m-%d %H:%M} UTC on its"
    return (
        f"No execution works on it any more. {begins} claim has expired, and the reconciler takes it up.",
        [reconcile],
    )
