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
    waits for the next day                             held, since today                   nothing
    the next day has come                              held, since yesterday or longer     started
    filed, and the source is still there               final, of this version              nothing, but counted
    brought back, or sent with a form that is valid    erased                              removed
    its erasure has begun, and not come to its end     erased, without the mark            nothing, but counted

A key that contains an ImageID (the API made it, or a backfill) is one image, however often its form is posted. The
first version that is claimed is the image; what happens to the others depends on the record of the key:

    the record                                         another version under its key
    -------------------------------------------------- ------------------------------------------------------------
    none, or uploading                                 one of all is started; the record will say which it was
    names no version (NEWEST): started by hand         stays: it may be the one that is worked on
    processing                                         stays: what comes of the image is not known yet
    held                                               stays until the image is final
    failed (also dismissed)                            stays: if the image's own version is gone, `petdetect redrive`
                                                       takes this one instead
    final (completed, needs_review, rejected)          superseded: counted in the record, then removed
    being erased                                       stays: an operator, or the client, erases the image again
    erased (the mark)                                  removed, all of them
    any, and the version has a record of its own       judged by that one: a person started it, or a release of before

A final record never changes its version, and nothing claims its image again: so a version that is removed is never one
that a record claims. "null" is a version like any other; a record of "null" keeps the object that S3 calls so. Versions
under other keys came straight into S3, and each is an image of its own.

A record with an expired claim and no object under input/ is closed as failed. A claim expires CLAIM_SECONDS after the
image was claimed or, if that is later, after its turn: until then its execution waits, and an image is not late.

A burst leaves 100,000 objects under input/ for hours, and a run has 300 s: records are read a hundred at a time, what
waits for its turn is only counted, and one run starts, releases and closes no more than it has time for. Of a key with
very many versions it looks at the newest VERSIONS_A_KEY, and goes on to the next key. A run whose time is over says
where it stopped (`Report.stopped_at`), and the next one begins there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby, islice, zip_longest

from pet_detector.aws import detection_logs, erased_records, image_versions, image_workflow, reconciling
from pet_detector.aws.image_versions import VERSIONS_A_KEY, InputVersion, StoredVersion
from pet_detector.rules import image_ids
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.execution_input import ImageRef
from pet_detector.rules.models import ERASED, Record, Status
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import failures
from pet_detector.use_cases.failures import Failure, Operators

# Tried in one run, with one call (start, release) and with five calls (close) each; the next run finds the rest.
# Releases count apart from starts: held images of one uploader must not keep back what was lost of another. They come
# last, by turns of their owners, and take the time that is left for closing: 1,000 calls are less than a minute.
MAX_STARTS = 1000
MAX_RELEASES = 1000
MAX_CLOSES = 200

_FINAL = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.REJECTED)


class Action(StrEnum):
    """What is done about one object version or record."""

    START = "start"
    TURN = "turn"  # waits for its turn to be analysed, or has just had it: not late
    WAIT = "wait"  # an execution works on it
    RELEASE = "release"  # held since yesterday or longer
    LEAVE = "leave"  # failed: an operator decides; or held until tomorrow
    ERASED = "erased"  # its erasure has not come to its end: it is to be erased again
    REMOVE = "remove"  # the image was erased, and this came later: nothing of it stays
    REPORT = "report"  # final, but the object is still under input/: only a person may delete it
    CLOSE = "close"  # the claim has expired, and there is no object to start the workflow with
    SUPERSEDE = "supersede"  # later uploads with the form of a finished image: counted and removed


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that reconciling needs."""

    bucket: str
    table: str
    live_arn: str
    topic_arn: str
    stage: str
    notice_burst: int
    image_retention_days: int


@dataclass(frozen=True)
class Finding:
    """One object version that is not finished. Without an object, `version_id` and `modified` are empty.

    `modified` is when the object was stored (RFC 3339). `claimed_by` is the execution whose claim has expired, if any.
    `superseded` are the versions to remove, all under `key`; for SUPERSEDE the record must name `final_version`.
    """

    action: Action
    image_id: str
    key: str
    version_id: str
    modified: str
    claimed_by: str = ""
    superseded: tuple[str, ...] = ()
    final_version: str = ""
    owner: str = field(default="", compare=False)  # of a record that is there


@dataclass(frozen=True)
class Upload:
    """The versions under one key that contains an ImageID, newest first; or one version under another key.

    `is_cut`: there may be older versions, which were not listed.
    """

    versions: tuple[InputVersion, ...]
    is_cut: bool = False

    @property
    def key(self) -> str:
        """The key of all of them."""
        return self.versions[0].key


@dataclass
class Report:
    """What a run found and did."""

    findings: list[Finding] = field(default_factory=list)  # but those that wait for their turn
    waiting: int = 0  # for their turn
    started: int = 0
    closed: int = 0
    superseded: int = 0  # versions that were removed
    stopped_at: str = ""  # the last key that was looked at, when the time was over before the end
    error: PetDetectorError | None = None  # the last one, when something could not be started, closed or removed

    @property
    def gap(self) -> int:
        """Uploads that should be finished: all findings except those that wait for an operator or for tomorrow, and
        what is no image.
        """
        no_gap = (Action.LEAVE, Action.RELEASE, Action.SUPERSEDE, Action.REMOVE)
        return sum(finding.action not in no_gap for finding in self.findings)


def reconcile(
    resources: Resources,
    older_than: timedelta,
    *,
    dry_run: bool = False,
    begin_after: str = "",
    seconds: float = math.inf,
) -> Report:
    """Find what should be finished and is not, and start or close it (not in a `dry_run`).

    `older_than` is the age from which an upload should be finished. Looks at keys after `begin_after`, for about so
    many `seconds`. Two runs at the same time do no harm: an image's executions have the same name for an hour, and the
    claim has one winner. An image that cannot be started or closed does not stop the others: see `Report.error`.
    Raises the errors of AWS when it cannot list or read.
    """
    now = datetime.now(UTC)
    report = Report()
    left = {Action.START: MAX_STARTS, Action.CLOSE: MAX_CLOSES}
    releases: list[Finding] = []
    for finding in _findings(resources, now, older_than, report, begin_after, time.monotonic() + seconds):
        if finding.action is Action.TURN:
            report.waiting += 1
            continue
        report.findings.append(finding)
        if dry_run:
            continue
        if finding.action is Action.RELEASE:
            releases.append(finding)
        elif finding.action in (Action.SUPERSEDE, Action.REMOVE):
            _take_up(resources, finding, now, report)
        elif left.get(finding.action, 0) > 0:
            left[finding.action] -= 1
            _take_up(resources, finding, now, report)
    for finding in islice(_by_turns(releases), MAX_RELEASES):
        _take_up(resources, finding, now, report)
    return report


def _by_turns(releases: list[Finding]) -> Iterator[Finding]:
    """One of each owner, then the next one of each: many of one owner keep back no other's."""
    of_owners: dict[str, list[Finding]] = {}
    for finding in releases:
        of_owners.setdefault(finding.owner, []).append(finding)
    return (finding for turn in zip_longest(*of_owners.values()) for finding in turn if finding)


def _take_up(resources: Resources, finding: Finding, now: datetime, report: Report) -> None:
    try:
        if finding.action in (Action.SUPERSEDE, Action.REMOVE):
            report.superseded += _remove(resources, finding)
        elif finding.action is Action.CLOSE:
            report.closed += _close(resources, finding, now)
        else:
            report.started += _start(resources, finding, now)
    except PetDetectorError as error:
        logger.exception("Finding not taken up", image_id=finding.image_id, action=finding.action.value)
        report.error = error


def _findings(
    resources: Resources, now: datetime, older_than: timedelta, report: Report, begin_after: str, ends: float
) -> Iterator[Finding]:
    """`ends` is when to stop, by the monotonic clock: at a key that `report` gets."""
    seen: set[str] = set()
    uploads = in_batches(_old_versions(resources.bucket, now - older_than, seen, begin_after))
    for batch in uploads:
        for upload, findings in judge(resources.table, batch, now, older_than):
            seen |= {finding.image_id for finding in findings}
            yield from findings
            if time.monotonic() > ends:
                report.stopped_at = upload.key
                break
        if report.stopped_at:
            break
    for record in detection_logs.expired_claims(resources.table, _expired_before(now)):
        # Where this run did not look there may be an object.
        is_listed = begin_after < record["SourceKey"] <= (report.stopped_at or record["SourceKey"])
        if is_listed and record["ImageID"] not in seen:
            yield Finding(Action.CLOSE, record["ImageID"], record["SourceKey"], "", "")


def _old_versions(bucket: str, before: datetime, seen: set[str], begin_after: str) -> Iterator[InputVersion]:
    for version in image_versions.input_versions(bucket, begin_after):
        if version.modified <= before:
            yield version
        else:  # not old enough, but its record must not be closed
            image_id = image_ids.image_id_of(version.key, version.version_id)
            seen |= {image_id, image_ids.hashed_image_id(version.key, version.version_id)}


def in_batches(versions: Iterable[InputVersion]) -> Iterator[list[Upload]]:
    """As many uploads at a time as `judge` takes, of versions that are sorted by key."""
    rest = _uploads(versions)
    return iter(lambda: list(islice(rest, detection_logs.BATCH)), [])


def _uploads(versions: Iterable[InputVersion]) -> Iterator[Upload]:
    for key, group in groupby(versions, key=lambda version: version.key):
        if image_ids.image_id_in(key):
            of_key = tuple(group)
            yield Upload(of_key, is_cut=len(of_key) >= VERSIONS_A_KEY)
        else:
            yield from (Upload((version,)) for version in group)


def judge(
    table: str, uploads: list[Upload], now: datetime, older_than: timedelta
) -> Iterator[tuple[Upload, list[Finding]]]:
    """What to do about uploads (at most BATCH) that should be finished by now: one call, and more for a key that was
    used again.

    An image that had to wait should be finished `older_than` after its turn.
    """
    ids = [image_ids.image_id_of(upload.key, upload.versions[0].version_id) for upload in uploads]
    records = detection_logs.find_many(table, ids)
    for upload, image_id in zip(uploads, ids, strict=True):
        record = records.get(image_id)
        if record is not None and erased_records.is_mark(record) and image_ids.image_id_in(upload.key):
            yield upload, list(_of_erased(table, upload, image_id, now, older_than))
        elif record is None or not _names_a_version(record):
            yield upload, [_finding(record, image_id, upload.versions[0], now, older_than)]
        else:
            yield upload, list(_of_claimed(table, upload, record, now, older_than))


def _names_a_version(record: Record) -> bool:
    is_claimed = record["ProcessingStatus"] not in (Status.UPLOADING, ERASED)
    return is_claimed and record.get("SourceVersion", image_ids.NEWEST) != image_ids.NEWEST


def _of_erased(table: str, upload: Upload, image_id: str, now: datetime, older_than: timedelta) -> Iterator[Finding]:
    """What to do about a key whose image was erased: what came since is removed, but for an image of its own."""
    own_records = _records_of_their_own(table, list(upload.versions))
    for version, own in own_records.items():
        yield _finding(own, own["ImageID"], version, now, older_than)
    if rest := [version for version in upload.versions if version not in own_records]:
        versions = tuple(version.version_id for version in rest)
        modified = detection_logs.format_time(rest[0].modified)
        yield Finding(Action.REMOVE, image_id, upload.key, versions[0], modified, "", versions)


def _of_claimed(table: str, upload: Upload, record: Record, now: datetime, older_than: timedelta) -> Iterator[Finding]:
    """What to do about a key whose image is one of its versions: see the second table of this module."""
    image_id, status, claimed = record["ImageID"], record["ProcessingStatus"], record["SourceVersion"]
    others = [version for version in upload.versions if version.version_id != claimed]
    is_there = len(others) < len(upload.versions)
    own_records = _records_of_their_own(table, others)
    for version in upload.versions:
        if version.version_id == claimed:
            yield _finding(record, image_id, version, now, older_than)
        elif version in own_records:
            own = own_records[version]
            yield _finding(own, own["ImageID"], version, now, older_than)
    rest = [version for version in others if version not in own_records]
    if rest and status in _FINAL:
        versions = tuple(version.version_id for version in rest)
        modified = detection_logs.format_time(rest[0].modified)
        yield Finding(Action.SUPERSEDE, image_id, upload.key, versions[0], modified, "", versions, claimed)
    elif rest and status == Status.FAILED and not is_there:
        yield _finding(record, image_id, rest[0], now, older_than)
    elif upload.is_cut and not is_there:  # its version is not among the newest ones: the record says what to start
        finding = _finding(record, image_id, upload.versions[0], now, older_than)
        if finding.action in (Action.START, Action.RELEASE):
            yield Finding(finding.action, image_id, upload.key, claimed, "", finding.claimed_by, owner=finding.owner)


def _records_of_their_own(table: str, versions: list[InputVersion]) -> dict[InputVersion, Record]:
    ids = {version: image_ids.hashed_image_id(version.key, version.version_id) for version in versions}
    found: dict[str, Record] = {}
    rest = iter(ids.values())
    while batch := list(islice(rest, detection_logs.BATCH)):
        found |= detection_logs.find_many(table, batch)
    return {version: found[image_id] for version, image_id in ids.items() if image_id in found}


def _finding(
    record: Record | None, image_id: str, version: InputVersion, now: datetime, older_than: timedelta
) -> Finding:
    modified = detection_logs.format_time(version.modified)
    claimed_by = record.get("ExecutionArn", "") if record and _is_expired(record, now) else ""
    owner = (record or {}).get("UploadedBy", "")
    action = _action(record, now, older_than)
    return Finding(action, image_id, version.key, version.version_id, modified, claimed_by, owner=owner)


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
        resources.live_arn,
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


def _remove(resources: Resources, finding: Finding) -> int:
    """Count, then remove: what is removed without a word would be a lost upload."""
    number = len(finding.superseded)
    is_counted = finding.action is Action.SUPERSEDE  # of an erased image nothing is kept to count in
    if is_counted and not reconciling.count_superseded(
        resources.table, finding.image_id, finding.final_version, number
    ):
        return 0  # erased or expired since it was read
    versions = [StoredVersion(finding.key, version_id) for version_id in finding.superseded]
    image_versions.delete_versions(resources.bucket, versions)
    told = "Later uploads with the same form removed" if is_counted else "Uploads of an erased image removed"
    logger.warning(told, image_id=finding.image_id, superseded=number)
    return number
