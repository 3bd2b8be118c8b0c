"""Compares what was uploaded with what was finished, and starts or closes the rest. Used by the schedule and by the
operator's command `petdetect reconcile`.

    object version under input/, old enough            its record                          what happens
    -------------------------------------------------- ----------------------------------- ---------------------------
    the event was lost                                 none, or uploading                  started
    waits for its turn                                 processing, TurnAt not long ago     nothing
    an execution works on it                           processing, claim valid             nothing, but counted
    its execution has ended                            processing, claim expired           started; takes the claim over
    its execution runs on: Lambda throttles it         processing, claim expired           nothing, but counted
    waits for an operator                              failed                              nothing
    uploaded again: the record's version is gone       failed, ImageNotFoundError          nothing
    waits for the next day                             held, since today                   nothing
    the next day has come                              held, since yesterday or longer     started
    another upload under a key that was used before    final, of another version           started as another image
    filed, and the source is still there               final, of this version              nothing, but counted
    brought back, or sent with an old form             erased                              nothing, but counted

A record with an expired claim and no object under input/ is closed as failed. A claim expires CLAIM_SECONDS after the
image was claimed or, if that is later, after its turn: until then its execution waits, and an image is not late.

A burst leaves 100,000 objects under input/ for hours, and a run has 300 s: records are read a hundred at a time, what
waits for its turn is only counted, and one run starts and closes no more than it has time for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice

from pet_detector.aws import detection_logs, image_bucket, image_workflow
from pet_detector.aws.image_bucket import InputVersion
from pet_detector.rules import image_ids
from pet_detector.rules.errors import ImageNotFoundError, PetDetectorError
from pet_detector.rules.execution_input import ImageRef
from pet_detector.rules.models import ERASED, Record, Status
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import failures
from pet_detector.use_cases.failures import Failure, Operators

# Tried in one run, with one call and with five calls each; the next run finds the rest.
MAX_STARTS = 1000
MAX_CLOSES = 200


class Action(StrEnum):
    """What is done about one object version or record."""

    START = "start"
    TURN = "turn"  # waits for its turn to be analysed, or has just had it: not late
    WAIT = "wait"  # an execution works on it
    RELEASE = "release"  # held since yesterday or longer
    LEAVE = "leave"  # failed: an operator decides; or held until tomorrow
    ERASED = "erased"  # the image was erased, and this came later: an operator erases it again
    REPORT = "report"  # final, but the object is still under input/: only a person may delete it
    CLOSE = "close"  # the claim has expired, and there is no object to start the workflow with


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that reconciling needs."""

    bucket: str
    table: str
    workflow_arn: str
    topic_arn: str
    stage: str
    notice_burst: int
    image_retention_days: int


@dataclass(frozen=True)
class Finding:
    """One object version that is not finished. Without an object, `version_id` and `modified` are empty.

    `modified` is when the object was stored (RFC 3339). `claimed_by` is the execution whose claim has expired, if any.
    """

    action: Action
    image_id: str
    key: str
    version_id: str
    modified: str
    claimed_by: str = ""


@dataclass
class Report:
    """What a run found and did."""

    findings: list[Finding] = field(default_factory=list)  # but those that wait for their turn
    waiting: int = 0  # for their turn
    started: int = 0
    closed: int = 0
    error: PetDetectorError | None = None  # the last one, when something could not be started or closed

    @property
    def gap(self) -> int:
        """Uploads that should be finished: all findings except those that wait for an operator or for tomorrow."""
        return sum(finding.action not in (Action.LEAVE, Action.RELEASE) for finding in self.findings)


def reconcile(resources: Resources, older_than: timedelta, *, dry_run: bool = False) -> Report:
    """Find what should be finished and is not, and start or close it (not in a `dry_run`).

    `older_than` is the age from which an upload should be finished. Two runs at the same time do no harm: an image's
    executions have the same name for an hour, and the claim has one winner. An image that cannot be started or closed
    does not stop the others: see `Report.error`. Raises the errors of AWS when it cannot list or read.
    """
    now = datetime.now(UTC)
    report = Report()
    starts = closes = 0
    for finding in _findings(resources, now, older_than):
        if finding.action is Action.TURN:
            report.waiting += 1
            continue
        report.findings.append(finding)
        if dry_run:
            continue
        try:
            if finding.action in (Action.START, Action.RELEASE) and starts < MAX_STARTS:
                starts += 1
                report.started += _start(resources, finding, now)
            elif finding.action is Action.CLOSE and closes < MAX_CLOSES:
                closes += 1
                report.closed += _close(resources, finding, now)
        except PetDetectorError as error:
            logger.exception("Finding not taken up", image_id=finding.image_id, action=finding.action.value)
            report.error = error
    return report


def _findings(resources: Resources, now: datetime, older_than: timedelta) -> Iterator[Finding]:
    seen: set[str] = set()
    for versions in in_batches(_old_versions(resources.bucket, now - older_than, seen)):
        for finding in judge(resources.table, versions, now, older_than):
            seen.add(finding.image_id)
            yield finding
    for record in detection_logs.expired_claims(resources.table, _expired_before(now)):
        if record["ImageID"] not in seen:
            yield Finding(Action.CLOSE, record["ImageID"], record["SourceKey"], "", "")


def _old_versions(bucket: str, before: datetime, seen: set[str]) -> Iterator[InputVersion]:
    for version in image_bucket.input_versions(bucket):
        if version.modified <= before:
            yield version
        else:  # not old enough, but its record must not be closed
            image_id = image_ids.image_id_of(version.key, version.version_id)
            seen |= {image_id, image_ids.hashed_image_id(version.key, version.version_id)}


def in_batches(versions: Iterable[InputVersion]) -> Iterator[list[InputVersion]]:
    """As many at a time as `judge` takes."""
    rest = iter(versions)
    return iter(lambda: list(islice(rest, detection_logs.BATCH)), [])


def judge(table: str, versions: list[InputVersion], now: datetime, older_than: timedelta) -> list[Finding]:
    """What to do about object versions (at most BATCH) that should be finished by now: one or two calls.

    An image that had to wait should be finished `older_than` after its turn.
    """
    ids = [image_ids.image_id_of(version.key, version.version_id) for version in versions]
    records = detection_logs.find_many(table, ids)
    hashed = {
        version: image_ids.hashed_image_id(version.key, version.version_id)
        for version, image_id in zip(versions, ids, strict=True)
        if image_id in records and _is_of_another_version(records[image_id], version)
    }
    own_records = detection_logs.find_many(table, hashed.values())
    findings = []
    for version, image_id in zip(versions, ids, strict=True):
        record = records.get(image_id)
        if record and version in hashed:
            own = own_records.get(hashed[version])
            if own or not _is_replaced(record, version):
                image_id, record = hashed[version], own
        modified = detection_logs.format_time(version.modified)
        action = _action(record, now, older_than)
        claimed_by = record.get("ExecutionArn", "") if record and _is_expired(record, now) else ""
        findings.append(Finding(action, image_id, version.key, version.version_id, modified, claimed_by))
    return findings


def _is_of_another_version(record: Record, version: InputVersion) -> bool:
    """Whether the record is about an upload before this one, under the same key."""
    known = record.get("SourceVersion", image_ids.NEWEST)
    if record["ProcessingStatus"] in (Status.UPLOADING, ERASED) or known == image_ids.NEWEST:
        return False
    return bool(known != version.version_id)


def _is_replaced(record: Record, version: InputVersion) -> bool:
    """Whether the record failed because its own version was gone, so that this version replaces it.

    An operator redrives such an image.
    """
    return (
        record["ProcessingStatus"] == Status.FAILED
        and record.get("Error", {}).get("Error") == ImageNotFoundError.__name__
        and record.get("SourceKey") == version.key
        and not detection_logs.is_dismissed(record)
    )


def _action(record: Record | None, now: datetime, older_than: timedelta) -> Action:
    if record is None or record["ProcessingStatus"] == Status.UPLOADING:
        return Action.START
    if record["ProcessingStatus"] == Status.PROCESSING:
        if _is_expired(record, now):
            return Action.START
        is_early = record.get("TurnAt", "") > detection_logs.format_time(now - older_than)
        return Action.TURN if is_early else Action.WAIT
    if record["ProcessingStatus"] == Status.HELD:
        return (
            Action.RELEASE if record.get("UpdatedAt", "")[:10] < detection_logs.format_time(now)[:10] else Action.LEAVE
        )
    if record["ProcessingStatus"] == ERASED:
        return Action.ERASED
    return Action.LEAVE if record["ProcessingStatus"] == Status.FAILED else Action.REPORT


def _is_expired(record: Record, now: datetime) -> bool:
    """Whether an execution claimed the image and should have ended since."""
    if record["ProcessingStatus"] != Status.PROCESSING:
        return False
    return detection_logs.claim_counts_from(record) < _expired_before(now)


def _expired_before(now: datetime) -> str:
    return detection_logs.format_time(now - timedelta(seconds=detection_logs.CLAIM_SECONDS))


def _start(resources: Resources, finding: Finding, now: datetime) -> bool:
    if finding.claimed_by and image_workflow.is_running(finding.claimed_by):
        logger.info("Execution still runs", image_id=finding.image_id, execution_id=finding.claimed_by)
        return False
    name = f"reconcile-{finding.image_id}-{now:%Y%m%dT%H}"
    started = image_workflow.start(
        resources.workflow_arn,
        name,
        finding.key,
        finding.version_id,
        finding.image_id,
        received=finding.modified,
        restart=finding.action is Action.RELEASE,
    )
    logger.info("Image started again", image_id=finding.image_id, execution_name=name, started=started)
    return started


def _close(resources: Resources, finding: Finding, now: datetime) -> bool:
    record = detection_logs.find(resources.table, finding.image_id)
    if record is None or not _is_expired(record, now):
        return False  # closed or started again since it was listed
    if image_workflow.is_running(record["ExecutionArn"]):
        return False
    failure = Failure(
        ImageRef(finding.image_id, finding.key, record.get("SourceVersion", image_ids.NEWEST)),
        record["ExecutionArn"],
        "ExecutionLost",
        "The execution ended without an event, and the object is no longer under input/.",
    )
    operators = Operators(
        resources.table,
        resources.topic_arn,
        resources.stage,
        resources.notice_burst,
        resources.image_retention_days,
    )
    # The notice comes first: if this run crashes in between, the next run finds the record again.
    failures.notify(operators, failure, correlation_id=record["CorrelationId"])
    closed = failures.record(operators, failure).changed
    logger.warning("Record closed", image_id=finding.image_id, execution_id=failure.execution_arn, closed=closed)
    return closed
