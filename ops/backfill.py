"""The backfill: its price and its time, and the registration of what is not yet known.

A prefix of a bucket is registered by the state machine BackfillWorkflow, which goes on when this command ends; a folder
by this command. Both register each picture once (`pet_detector.use_cases.backfill`): whatever is killed, run it again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from ops import cost, definitions, pace
from ops.cost import Line, Load
from ops.environment import CLIENT_CONFIG, Deployment
from ops.errors import OperatorError
from ops.records import for_each
from ops.sources import Candidate, Folder, Prefix, Survey
from pet_detector.aws import image_bucket, turns
from pet_detector.rules import backfill
from pet_detector.rules.errors import ServiceError, ThrottledError
from pet_detector.rules.lanes import Lane
from pet_detector.use_cases.analyser import SLEEP_SECONDS
from pet_detector.use_cases.backfill import (
    Outcome,
    Registration,
    Resources,
    register,
    waits_until,
)

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# The results of more batches than this one's would not fit into a state's output (statemachine/backfill.asl.yaml).
MAX_OBJECTS = 4_000_000
# Batches that are registered at once: at most, and when it is not known how much of Lambda the account has.
MOST_BATCHES, FEW_BATCHES = 10, 2
POLL_SECONDS = 2.0
# How long an attempt to send a file lasts: a slow line may need minutes for 15 MB.
SEND_SECONDS = 900
_PAUSE_SECONDS = 5.0
_MB = 1024**2


# --- The preview ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """What a backfill would do.

    `dollars` are of all images together; `pace` is calls of Rekognition a second, `a_day` the most a day (0: no limit),
    `queue_seconds` how long those take that wait for their turn already.
    """

    survey: Survey
    load: Load
    lines: list[Line]
    pace: float
    a_day: int
    queue_seconds: float

    @property
    def dollars(self) -> float:
        """US dollars, storage included."""
        return cost.total(self.lines) * self.survey.to_do

    @property
    def seconds(self) -> float:
        """How long Rekognition's turns take, when no further live upload takes any and today none was taken."""
        return max(self.queue_seconds + self.survey.distinct / self.pace, self.days_by_limit * 24 * 3600)

    @property
    def days_by_limit(self) -> int:
        """Days that the limit of the day makes it wait, after the first one."""
        return (max(1, self.survey.distinct) - 1) // self.a_day if self.a_day else 0


def preview(deployment: Deployment, place: Prefix | Folder, found: Survey, uncertain: float) -> Preview:
    """The price by the model of `petdetect cost`, and the time. `uncertain` is a share, 0 to 1."""
    calls = pace_of(deployment)
    count = max(1, found.to_do)
    load = Load(
        images=found.to_do,
        megabytes=found.to_do_bytes / count / _MB,
        uncertain=uncertain,
        analysed=found.distinct / count,
        # The first pictures' turns are so near that they do not wait.
        waiting=max(0.0, found.distinct - calls * SLEEP_SECONDS) / count,
        converted=found.to_convert / count,
        registered=1.0,
        mapped=0.0 if place.is_folder else 1.0,
    )
    lines = cost.bill(load, definitions.defaults() | deployment.parameters)
    analyses, now = deployment.output("AnalysesTableName"), time.time()
    queue = max(0.0, *((turns.next_turn(analyses, lane) or now) - now for lane in Lane))
    return Preview(found, load, lines, calls, int(deployment.parameter("DailyAnalysisLimit")), queue)


def pace_of(deployment: Deployment) -> float:
    """Rekognition's calls a second."""
    name = "RekognitionCallsPerSecond"
    return float(deployment.parameters.get(name) or definitions.defaults().get(name) or 45)


# --- A prefix: the state machine --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backfill:
    """An execution of BackfillWorkflow. `items` counts objects by what became of them, such as `succeeded`.

    `denied` is how many cannot be read, known when it has succeeded.
    """

    arn: str
    status: str
    started: datetime
    prefix: Prefix
    items: Counter[str]
    error: str
    denied: int = 0

    @property
    def name(self) -> str:
        """The execution's."""
        return self.arn.rpartition(":")[2]

    @property
    def total(self) -> int:
        """Objects that its map has listed; 0 before that."""
        return self.items["total"]

    @property
    def done(self) -> int:
        """Objects whose batch has ended."""
        return self.items["succeeded"] + self.items["failed"]


def running(deployment: Deployment) -> Backfill | None:
    """The backfill that runs now, if one does."""
    return _newest(deployment, statusFilter="RUNNING")


def latest(deployment: Deployment) -> Backfill | None:
    """The backfill that was started last, running or not."""
    return _newest(deployment)


def _newest(deployment: Deployment, **options: Any) -> Backfill | None:
    arn = deployment.backfill_arn
    found = _states().list_executions(stateMachineArn=arn, maxResults=1, **options)["executions"]
    return look(found[0]["executionArn"]) if found else None


def look(arn: str) -> Backfill:
    """How far a backfill is."""
    described = _states().describe_execution(executionArn=arn)
    document = json.loads(described["input"])
    items: Counter[str] = Counter()
    runs = _states().list_map_runs(executionArn=arn)["mapRuns"]
    if runs:  # the newest; another one is the same listing, again
        newest = max(runs, key=lambda run: run["startDate"])
        counts = _states().describe_map_run(mapRunArn=newest["mapRunArn"])["itemCounts"]
        items = Counter({name: number for name, number in counts.items() if isinstance(number, int)})
    prefix = Prefix(document.get("bucket", ""), document.get("prefix", ""))
    denied = int(json.loads(described.get("output", "{}")).get("denied", 0))
    return Backfill(arn, described["status"], described["startDate"], prefix, items, described.get("error", ""), denied)


def start(deployment: Deployment, place: Prefix) -> Backfill:
    """Start it. Raises OperatorError when another one runs."""
    if other := running(deployment):
        raise OperatorError(
            f"A backfill of {other.prefix.name} is running since {other.started.astimezone(UTC):%Y-%m-%d %H:%M} UTC: "
            "`petdetect backfill --resume` shows it, `--stop` stops it."
        )
    digest = hashlib.sha256(place.name.encode()).hexdigest()[:8]
    name = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest}"
    text = json.dumps({"bucket": place.bucket, "prefix": place.prefix, "concurrency": _batches_at_once(deployment)})
    started = _states().start_execution(stateMachineArn=deployment.backfill_arn, name=name, input=text)
    return look(started["executionArn"])


def _batches_at_once(deployment: Deployment) -> int:
    """A tenth of Lambda's concurrency, so that live uploads find the rest."""
    concurrency = pace.concurrency_of(deployment)
    return FEW_BATCHES if concurrency is None else max(1, min(MOST_BATCHES, concurrency // 10))


def stop(found: Backfill) -> Backfill:
    """Stop it; images that are registered finish by themselves."""
    _states().stop_execution(executionArn=found.arn, cause="petdetect backfill --stop")
    return look(found.arn)


def follow(found: Backfill) -> Iterator[Backfill]:
    """How far it is, again and again, until it has ended."""
    while found.status == "RUNNING":
        yield found
        time.sleep(POLL_SECONDS)
        found = look(found.arn)
    yield found


def _states() -> SFNClient:
    return boto3.client("stepfunctions", config=CLIENT_CONFIG)


# --- A folder: this command -------------------------------------------------------------------------------------------


def register_folder(
    deployment: Deployment, candidates: list[Candidate], advance: Callable[[int, str], None]
) -> Counter[Outcome]:
    """Register files, a few at once, not far ahead of the schedule.

    Calls `advance` with how many more are done, and with a word on what it waits for. A file that AWS fails stays
    BUSY: run the command again.
    """
    a_day, calls = int(deployment.parameter("DailyAnalysisLimit")), pace_of(deployment)
    resources = Resources(deployment.bucket, deployment.table, deployment.output("AnalysesTableName"), a_day, calls)
    name = f"backfill-{datetime.now(UTC):%Y%m%dT%H%M%S}-folder"
    counts: Counter[Outcome] = Counter()
    batch_size = definitions.batches()[1]
    waiting = candidates
    for last in (False, True):  # what another attempt may still be sending, once more when that is over
        busy: list[tuple[Candidate, float]] = []
        for first in range(0, len(waiting), batch_size):
            _wait(lambda: waits_until(resources), advance, "waits for the schedule")
            batch = waiting[first : first + batch_size]
            done = for_each(functools.partial(_register_file, resources, name), batch)
            for candidate, found in zip(batch, done, strict=True):
                if found.outcome is Outcome.BUSY and not last:
                    busy.append((candidate, found.until))
                    continue
                counts[found.outcome] += 1
                advance(1, "")
        until = max((end for _, end in busy), default=0.0)
        _wait(lambda end=until: end if end > time.time() else None, advance, "waits for another attempt")  # type: ignore[misc]
        waiting = [candidate for candidate, _ in busy]
    return counts


def _wait(until: Callable[[], float | None], advance: Callable[[int, str], None], reason: str) -> None:
    while (end := until()) is not None:
        advance(0, f"{reason} until {datetime.fromtimestamp(end):%H:%M:%S}")
        time.sleep(min(_PAUSE_SECONDS, max(0.1, end - time.time())))


def _register_file(resources: Resources, name: str, candidate: Candidate) -> Registration:
    file = Path(candidate.name)
    try:
        data = file.read_bytes()
    except OSError:  # gone, or not to be read any more
        return Registration(Outcome.MISSING)
    kind = backfill.format_of(file.name)
    if kind is None or hashlib.sha256(data).hexdigest() != candidate.content:
        return Registration(Outcome.CHANGED)
    key = backfill.destination(candidate.image_id, kind)

    def store() -> None:
        image_bucket.store(resources.bucket, key, data, kind.content_type, name)

    try:
        # A name of Linux is bytes; what is no UTF-8 in it would be no text for DynamoDB.
        shown = os.fsencode(file.name).decode(errors="replace")
        found = register(resources, candidate.image_id, key, shown, name, store, SEND_SECONDS)
    except (ServiceError, ThrottledError):
        return Registration(Outcome.BUSY)
    if found.error:  # not of this file: the caller may not write
        raise found.error
    return found
