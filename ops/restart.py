"""Starts images again: failed ones, once per failure, and held ones past the daily limit, once per hold. The
execution's name says which execution it answers.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ops import records
from ops.environment import Deployment
from ops.errors import KNOWN, OperatorError
from pet_detector.aws import detection_logs, image_workflow
from pet_detector.rules.errors import ERROR_OF_STATUS
from pet_detector.rules.models import Status

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

# Executions for the same failure that could not claim the image, before an operator should look.
MAX_ATTEMPTS = 20
# Executions of one image. Its record names them all, twice if they failed, and the workflow carries the record.
MAX_EXECUTIONS = 50
# Executions at a time: enough to be quick, few enough to leave Rekognition's quota (5 a second at least) to uploads.
IN_FLIGHT = 10
# DescribeExecution is throttled at 15 a second.
_LOOKS_A_SECOND = 10
_SHORTEST_PAUSE = 0.2  # seconds


@dataclass(frozen=True)
class Restart:
    """A way to start images again: those that have the status `takes`. Its `verb` is the command's name."""

    verb: str
    participle: str
    takes: Status
    past_limit: bool


REDRIVE = Restart("redrive", "redriven", Status.FAILED, past_limit=False)
RELEASE = Restart("release", "released", Status.HELD, past_limit=True)


class Outcome(StrEnum):
    """What became of an image that was to be started again."""

    FINISHED = "finished"
    FAILED = "failed"  # again
    RUNNING = "running"  # still, when the time was over
    STARTED = "started"  # and not waited for
    REFUSED = "refused"
    HELD = "held"  # by the daily limit


@dataclass(frozen=True)
class Plan:
    """What would be done about one image: start at this object version; or why nothing is done (`refusal`).

    `last_execution` is the one that failed or held it; `replaces` the version that is gone, if what lies there was put
    back instead of it.
    """

    kind: Restart
    image_id: str
    status: str
    reason: str = ""
    last_execution: str = ""
    key: str = ""
    version_id: str = ""
    replaces: str | None = None
    refusal: str | None = None

    def execution_name(self, attempt: int) -> str:
        """The same for the same failure or hold, so that Step Functions starts it once."""
        digest = hashlib.sha256(self.last_execution.encode()).hexdigest()[:16]
        suffix = f"-{attempt}" if attempt > 1 else ""
        return f"{self.kind.verb}-{self.image_id}-{digest}{suffix}"


@dataclass(frozen=True)
class Result:
    """What became of one image; `status` is its record's, `remark` a sentence or an error."""

    image_id: str
    outcome: Outcome
    status: str
    remark: str = ""
    execution_arn: str = ""


def plan(deployment: Deployment, kind: Restart, image_id: str) -> Plan:
    """Decide about one image, by its record as of now. Raises OperatorError when there is no such image."""
    record = records.read(deployment, image_id)
    status = record.get("ProcessingStatus", "unrecorded")
    if status != kind.takes:
        refusal = f"It is {status}, and only {kind.takes} images are {kind.participle}."
        return Plan(kind, image_id, status, refusal=refusal)
    reason = records.error_of(record)[0] if status == Status.FAILED else "daily limit"
    place = records.place_of(deployment, record)
    if place is None:
        refusal = "Its object is gone: restore it first (docs/operations.md says how)."
        if status == Status.FAILED:
            refusal += f" When it is gone for good: petdetect dismiss {image_id}."
        return Plan(kind, image_id, status, reason, refusal=refusal)
    if len(records.executions_of(record)) >= MAX_EXECUTIONS:
        refusal = (
            f"{MAX_EXECUTIONS} executions have worked on it, and its record takes no more: upload the picture again, "
            f"which makes a new image, and delete version {place[1]} of {place[0]}."
        )
        if status == Status.FAILED:
            refusal += f" Then petdetect dismiss {image_id}."
        return Plan(kind, image_id, status, reason, refusal=refusal)
    last, replaces = record.get("ExecutionArn", ""), records.replaced_version(record, place)
    return Plan(kind, image_id, status, reason, last, *place, replaces)


def start(deployment: Deployment, chosen: Plan) -> Result:
    """Start the execution that answers this failure or hold, or find that it was started before.

    An earlier one that has ended and left the record as it was could not claim the image: then, and only then,
    another one is started. Raises the errors of AWS.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        name = chosen.execution_name(attempt)
        arn = deployment.execution_arn(name)
        result = Result(chosen.image_id, Outcome.STARTED, chosen.status, execution_arn=arn)
        if image_workflow.start(
            deployment.live_arn,
            name,
            chosen.key,
            chosen.version_id,
            chosen.image_id,
            restart=True,
            release=chosen.kind.past_limit,
        ):
            return result
        if _describe(arn)["status"] == "RUNNING":
            return result
        record = detection_logs.find(deployment.table, chosen.image_id)
        if record is None or record.get("ExecutionArn", "") != chosen.last_execution:
            return result  # it did its work; who waits for it sees how it ended
    remark = (
        f"{MAX_ATTEMPTS} executions could not claim it: look at the first state of those whose names begin with "
        f"{chosen.execution_name(1)}."
    )
    return Result(chosen.image_id, Outcome.FAILED, chosen.status, remark)


def run(deployment: Deployment, plans: Sequence[Plan], seconds: float | None) -> Iterator[Result]:
    """Carry plans out and yield each result as it is known: IN_FLIGHT at a time, or all at once and waiting for none.

    `seconds` is the longest that one image is waited for, None for not at all. Raises the errors of AWS, after it has
    yielded what it knows of those that it waited for.
    """
    waiting, running = deque(plans), deque[tuple[Result, float]]()
    try:
        while waiting or running:
            while waiting and len(running) < IN_FLIGHT:
                chosen = waiting.popleft()
                result = start(deployment, chosen) if not chosen.refusal else _refused(chosen)
                if seconds is None or result.outcome is not Outcome.STARTED:
                    yield result
                else:
                    running.append((result, time.monotonic() + seconds))
            for _ in range(len(running)):
                started, deadline = running[0]
                ended = _end(deployment, started, is_late=time.monotonic() > deadline)
                running.popleft()
                if ended:
                    yield ended
                else:
                    running.append((started, deadline))
            if running:
                time.sleep(max(_SHORTEST_PAUSE, len(running) / _LOOKS_A_SECOND))
    except KNOWN:
        yield from (started for started, _ in running)
        raise


def _refused(chosen: Plan) -> Result:
    return Result(chosen.image_id, Outcome.REFUSED, chosen.status, chosen.refusal or "")


def _end(deployment: Deployment, started: Result, *, is_late: bool) -> Result | None:
    """How a started execution ended; None while it runs and is not late."""
    image_id, arn = started.image_id, started.execution_arn
    description = _describe(arn)
    if description["status"] == "RUNNING":
        return Result(image_id, Outcome.RUNNING, Status.PROCESSING, "It still runs.", arn) if is_late else None
    record = detection_logs.find(deployment.table, image_id)
    status = str(record["ProcessingStatus"]) if record else "unrecorded"
    if description["status"] != "SUCCEEDED":
        error = description.get("error") or ERROR_OF_STATUS.get(description["status"], description["status"])
        return Result(image_id, Outcome.FAILED, status, error, arn)
    if status == started.status:
        return Result(image_id, Outcome.FAILED, status, "It was not claimed; run the command again.", arn)
    if status == Status.HELD:
        return Result(image_id, Outcome.HELD, status, "The daily limit is reached: petdetect release passes it.", arn)
    if status == Status.PROCESSING:
        return Result(image_id, Outcome.RUNNING, status, "Another execution works on it.", arn)
    return Result(image_id, Outcome.FINISHED, status, execution_arn=arn)


def _describe(arn: str) -> DescribeExecutionOutputTypeDef:
    found = records.execution(arn)
    if found is None:
        raise OperatorError(f"The execution {arn} is not there, although it was started: try again.")
    return found
