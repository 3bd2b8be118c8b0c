"""Compares what was uploaded with what was finished, and takes up what lies between. The schedule and the operator's
command `petdetect reconcile` share it.

    object version under input/, older than asked      its record                          what happens
    -------------------------------------------------- ----------------------------------- ---------------------------
    the event was lost                                 none, or uploading                  started
    being worked on                                    processing, claim still valid       nothing
    its execution is dead                              processing, claim too old           started; the claim takes over
    waits for an operator                              failed                              nothing
    was put back: the version of the record is gone    failed, ImageNotFoundError          nothing
    waits for the next day                             held, since today                   nothing
    the next day has come                              held, since yesterday or longer     started
    another upload under a key that was used before    final, of another version           started as another image
    filed, and the source is still there               final, of this version              nothing, but counted

A record that is processing longer than the workflow can run and has no object under input/ is closed as failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pet_detector.aws import detection_logs, image_bucket, image_workflow
from pet_detector.aws.image_bucket import InputVersion
from pet_detector.rules import image_ids
from pet_detector.rules.errors import ImageNotFoundError, PetDetectorError
from pet_detector.rules.execution_input import Subject
from pet_detector.rules.models import Record, Status
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import failures
from pet_detector.use_cases.failures import Failure, Operators

# One run's share: the rest is found by the next run.
MAX_STARTS = 1000


class Action(StrEnum):
    """What is done about one object version or record."""

    START = "start"
    WAIT = "wait"  # an execution works on it
    RELEASE = "release"  # held since yesterday or longer
    LEAVE = "leave"  # failed: an operator decides; or held until tomorrow
    REPORT = "report"  # final, but the object is still there: nothing that this program may delete
    CLOSE = "close"  # the record says processing, nobody works on it, and there is no object to start with


@dataclass(frozen=True)
class Application:
    """The deployed resources that reconciling needs."""

    bucket: str
    table: str
    workflow_arn: str
    topic_arn: str
    stage: str


@dataclass(frozen=True)
class Finding:
    """One thing that is not finished: the object version (key and version are empty for a record alone)."""

    action: Action
    image_id: str
    key: str
    version_id: str
    modified: str


@dataclass
class Report:
    """What a run found and did."""

    findings: list[Finding] = field(default_factory=list)
    started: int = 0
    closed: int = 0
    error: PetDetectorError | None = None  # why not all of it was done: the last of its errors

    @property
    def gap(self) -> int:
        """Uploads minus finished records: everything found but what waits for an operator or for tomorrow."""
        return sum(finding.action not in (Action.LEAVE, Action.RELEASE) for finding in self.findings)


def reconcile(application: Application, older_than: timedelta, *, dry_run: bool = False) -> Report:
    """Find what should be finished and is not, and start or close it (not in a `dry_run`).

    `older_than` is the age from which an upload should be finished. Running it twice at the same time does no harm:
    executions start under one name an hour, and the claim has one winner. What cannot be started or closed does not
    keep the rest from it: see `Report.error`. Raises the errors of AWS when it cannot look.
    """
    now = datetime.now(UTC)
    report = Report()
    for finding in _findings(application, now, older_than):
        report.findings.append(finding)
        if dry_run:
            continue
        try:
            if finding.action in (Action.START, Action.RELEASE) and report.started < MAX_STARTS:
                report.started += _start(application, finding, now)
            elif finding.action is Action.CLOSE:
                report.closed += _close(application, finding, now)
        except PetDetectorError as error:
            logger.exception("Finding not taken up", image_id=finding.image_id, action=finding.action.value)
            report.error = error
    return report


def _findings(application: Application, now: datetime, older_than: timedelta) -> Iterator[Finding]:
    seen: set[str] = set()
    for version in image_bucket.input_versions(application.bucket):
        if version.modified > now - older_than:  # too young to look up, but there
            image_id = image_ids.image_id_of(version.key, version.version_id)
            seen |= {image_id, image_ids.hashed_image_id(version.key, version.version_id)}
            continue
        finding = judge(application.table, version, now)
        seen.add(finding.image_id)
        yield finding
    claimed_before = detection_logs.spelled(now - timedelta(seconds=detection_logs.CLAIM_SECONDS))
    for record in detection_logs.abandoned(application.table, claimed_before):
        if record["ImageID"] not in seen:
            yield Finding(Action.CLOSE, record["ImageID"], record["SourceKey"], "", "")


def judge(table: str, version: InputVersion, now: datetime) -> Finding:
    """What is to be done about an object version that should be finished by now."""
    image_id = image_ids.image_id_of(version.key, version.version_id)
    record = detection_logs.find(table, image_id)
    if record and _is_of_another_version(record, version):
        hashed = image_ids.hashed_image_id(version.key, version.version_id)
        own = detection_logs.find(table, hashed)
        if own or not _is_replaced(record, version):
            image_id, record = hashed, own
    return Finding(
        _action(record, now), image_id, version.key, version.version_id, detection_logs.spelled(version.modified)
    )


def _is_of_another_version(record: Record, version: InputVersion) -> bool:
    """Whether the record is about an upload before this one, under the same key."""
    known = record.get("SourceVersion", image_ids.NEWEST)
    if record["ProcessingStatus"] == Status.UPLOADING or known == image_ids.NEWEST:
        return False
    return bool(known != version.version_id)


def _is_replaced(record: Record, version: InputVersion) -> bool:
    """Whether the record's own version was gone when it was to be read or filed, so that this one is what somebody put
    back: an operator redrives it.
    """
    return (
        record["ProcessingStatus"] == Status.FAILED
        and record.get("Error", {}).get("Error") == ImageNotFoundError.__name__
        and record.get("SourceKey") == version.key
        and not detection_logs.is_dismissed(record)
    )


def _action(record: Record | None, now: datetime) -> Action:
    if record is None or record["ProcessingStatus"] == Status.UPLOADING:
        return Action.START
    if record["ProcessingStatus"] == Status.PROCESSING:
        return Action.START if _is_dead(record, now) else Action.WAIT
    if record["ProcessingStatus"] == Status.HELD:
        return Action.RELEASE if record.get("UpdatedAt", "")[:10] < detection_logs.spelled(now)[:10] else Action.LEAVE
    return Action.LEAVE if record["ProcessingStatus"] == Status.FAILED else Action.REPORT


def _is_dead(record: Record, now: datetime) -> bool:
    """Whether the claim is older than an execution can run."""
    return bool(
        record.get("ClaimedAt", "") < detection_logs.spelled(now - timedelta(seconds=detection_logs.CLAIM_SECONDS))
    )


def _start(application: Application, finding: Finding, now: datetime) -> bool:
    name = f"reconcile-{finding.image_id}-{now:%Y%m%dT%H}"
    started = image_workflow.start(
        application.workflow_arn,
        name,
        finding.key,
        finding.version_id,
        finding.image_id,
        received=finding.modified,
        restart=finding.action is Action.RELEASE,
    )
    logger.info("Image started again", image_id=finding.image_id, execution_name=name, started=started)
    return started


def _close(application: Application, finding: Finding, now: datetime) -> bool:
    record = detection_logs.find(application.table, finding.image_id)
    if record is None or record["ProcessingStatus"] != Status.PROCESSING or not _is_dead(record, now):
        return False  # it was closed, or started again, since the listing
    failure = Failure(
        Subject(finding.image_id, finding.key, record.get("SourceVersion", image_ids.NEWEST)),
        record["ExecutionArn"],
        "ExecutionLost",
        "The execution ended without an event, and the object is not under input/ any more.",
    )
    operators = Operators(application.table, application.topic_arn, application.stage)
    # First the notice: a run that ends in between leaves a record that the next run finds again.
    failures.notify(operators, failure, correlation_id=record["CorrelationId"])
    closed = failures.record(operators, failure).changed
    logger.warning("Record closed", image_id=finding.image_id, execution_id=failure.execution_arn, closed=closed)
    return closed
