"""A drill: can the records and the pictures be brought back, how long does it take, and what would be lost?

    restore   tables and objects beside the original, which is only read
    rewire    what a restored table does not have is set again, and read back
    verify    the copy is compared with the original, and every record with its object, and the other way round; what
              people had erased is erased again on the copy; records of pictures without one are rebuilt there, and the
              Reconciler's rule says what it would do about the rest
    remove    everything that the drill made, whatever happened

Nothing is started on the copy: its bucket sends no events, and no function reads its stream. What an owner does with a
copy after a real loss, and how long that takes, is no part of the times (docs/reliability.md).
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ops import drill_compare, drill_remove, drill_restore, drill_rewire, erase_command, policy_command, rebuild
from ops.drill_compare import Agreement, Changes, Row, Stored
from ops.drill_remove import Made
from ops.drill_restore import LEDGER, RECORDS, REVIEWS, Copy, Source, Version
from ops.drill_rewire import Setting
from ops.environment import LOCAL, Deployment
from pet_detector.aws import api_clients, detection_logs, image_versions
from pet_detector.aws.erasures import Source as Asked
from pet_detector.aws.image_versions import InputVersion
from pet_detector.rules.image_ids import IMAGE_ID, INPUT_FOLDER
from pet_detector.use_cases import erasure, reconciler
from pet_detector.use_cases.erasure import Resources
from pet_detector.use_cases.reconciler import Action

RESTORE, REWIRE, VERIFY, REMOVE = "restore", "rewire", "verify", "remove"
# Images that are erased together, as petdetect erase does it.
_TOGETHER = 500

Say = Callable[[str], None]


@dataclass(frozen=True)
class Facts:
    """RPO: when the newest fact of the copy happened, and the newest of the original (RFC 3339 UTC; None: unknown)."""

    survived: str | None
    newest: str | None

    @property
    def lost_seconds(self) -> float | None:
        """What would be lost, in seconds; None when nobody can say."""
        if not (self.survived and self.newest):
            return None
        lost = datetime.fromisoformat(self.newest) - datetime.fromisoformat(self.survived)
        return max(0.0, lost.total_seconds())


@dataclass
class Drill:
    """What a drill did and found. `seconds` by phase; `facts` is None where the engine would make them up."""

    copy: str
    environment: str
    sources: dict[str, Source] = field(default_factory=dict)
    objects_at: datetime | None = None
    restored: dict[str, int] = field(default_factory=dict)  # items by table, and object versions
    not_copied: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    changes: dict[str, Changes] = field(default_factory=dict)  # by table, and of objects; of what is there alone
    gone: list[str] = field(default_factory=list)  # original tables that are not there
    erased_again: int = 0
    not_erased: list[str] = field(default_factory=list)
    first: Agreement = field(default_factory=Agreement)
    rebuilt: list[str] = field(default_factory=list)
    reconciler: Counter[str] = field(default_factory=Counter)  # what it would do, by Action
    last: Agreement = field(default_factory=Agreement)
    open: int = 0  # differences that neither of them closes
    facts: Facts | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    left: list[Made] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether everything came back, is set, and was removed again."""
        are_set = all(setting.is_set for setting in self.settings)
        return are_set and not (self.open or self.not_copied or self.not_erased or self.left)


@dataclass(frozen=True)
class Plan:
    """What a drill would restore: each table's source is chosen when it begins."""

    at: datetime | None
    objects: list[list[Version]]
    items: dict[str, int]  # about, by table that is there

    @property
    def number(self) -> int:
        """Object versions."""
        return sum(map(len, self.objects))

    @property
    def megabytes(self) -> float:
        """Of objects."""
        return sum(version.size for group in self.objects for version in group) / 1024**2


def plan(deployment: Deployment, at: datetime | None) -> Plan:
    """Look at what there is. Reads the name of every object version."""
    tables = {logical_id: drill_restore.original(deployment, logical_id) for logical_id in drill_restore.TABLES}
    described = {logical_id: drill_restore.describe(table) for logical_id, table in tables.items()}
    items = {logical_id: int(table.get("ItemCount", 0)) for logical_id, table in described.items() if table}
    return Plan(at, list(drill_restore.versions_at(deployment.bucket, at)), items)


def run(deployment: Deployment, planned: Plan, say: Say) -> Drill:
    """Restore, rewire, verify, and remove it all. Raises OperatorError when there is nothing to restore from, and AWS's
    errors; what was made is removed all the same.
    """
    copy = Copy(f"{drill_remove.prefix_of(deployment.stack)}{uuid.uuid4().hex[:12]}")
    found = Drill(copy.name, deployment.environment, objects_at=planned.at)
    try:
        with _timed(found, RESTORE, say):
            tags = drill_rewire.tags_of(deployment)
            objects = _restore(deployment, copy, planned, tags, found)
        with _timed(found, REWIRE, say):
            found.settings = drill_rewire.rewire(deployment, copy, tags)
        with _timed(found, VERIFY, say):
            _verify(deployment, copy, planned, objects, found)
    finally:
        with _timed(found, REMOVE, say):
            found.left = drill_remove.remove(copy.name, say)
    return found


@contextmanager
def _timed(found: Drill, phase: str, say: Say) -> Iterator[None]:
    say(f"{phase} ...")
    began = time.monotonic()
    try:
        yield
    finally:
        found.seconds[phase] = time.monotonic() - began


def _restore(deployment: Deployment, copy: Copy, planned: Plan, tags: Mapping[str, str], found: Drill) -> list[Stored]:
    found.sources = drill_restore.sources(deployment, copy, planned.at)
    drill_restore.begin(copy, found.sources)
    drill_restore.make_bucket(copy, deployment.bucket, tags)
    objects, found.not_copied = drill_restore.copy_objects(deployment.bucket, planned.objects, copy)
    drill_restore.wait(copy, found.sources)
    found.restored["objects"] = len(objects)
    return objects


# --- Verify -----------------------------------------------------------------------------------------------------------


def _verify(deployment: Deployment, copy: Copy, planned: Plan, objects: list[Stored], found: Drill) -> None:
    rows = _compare_with_original(deployment, copy, planned, found)
    resources = replace(
        erase_command.resources_of(deployment),
        bucket=copy.bucket,
        table=copy.table(RECORDS),
        reviews=copy.table(REVIEWS),
        ledger=copy.table(LEDGER),
        analyses=drill_restore.make_cache(copy),
        dead_letter_queues=(),  # those of the original are not looked at
    )
    if LEDGER not in found.gone:
        drill_restore.bring_up_to_date(drill_restore.original(deployment, LEDGER), copy)
    if _erase_again(resources, found):
        rows = _images(resources.table)
        there = {(one.key, one.version_id) for one in image_versions.all_versions(copy.bucket)}
        objects = [one for one in objects if (one.key, one.copied_as) in there]
    days = int(deployment.parameter("ImageRetentionDays"))
    now = datetime.now(UTC)
    found.first = drill_compare.agreement(rows, objects, now, days)
    # The cache of the original is only read.
    found.rebuilt = _rebuild(deployment, replace(resources, analyses=deployment.output("AnalysesTableName")), found)
    found.last = found.first
    if found.rebuilt:
        found.last = drill_compare.agreement(_images(resources.table), objects, now, days)
    starts = _reconcile(resources.table, objects, now, found)
    found.open = found.last.differences - len(starts & set(found.last.not_started))


def _compare_with_original(deployment: Deployment, copy: Copy, planned: Plan, found: Drill) -> dict[str, Row]:
    """Count what has changed since, and find out what would be lost -> the copy's records, by ImageID."""
    rows: dict[str, Row] = {}
    for logical_id, key_of, kept in (
        (RECORDS, lambda item: item["ImageID"]["S"], _is_kept),
        (REVIEWS, lambda item: f"{item['ImageID']['S']} {item['Entry']['S']}", lambda _: True),
    ):
        restored = {key_of(item): drill_compare.row_of(item) for item in drill_restore.items(copy.table(logical_id))}
        found.restored[logical_id] = len(restored)
        restored = {key: row for key, row in restored.items() if kept(key)}
        table = drill_restore.original(deployment, logical_id)
        there = drill_restore.describe(table) is not None
        now = {key_of(item): drill_compare.row_of(item) for item in drill_restore.items(table)} if there else {}
        now = {key: row for key, row in now.items() if kept(key)}
        if there:
            found.changes[logical_id] = drill_compare.changes(_digests(restored), _digests(now))
        else:
            found.gone.append(logical_id)
        if logical_id == RECORDS:
            rows = {key: row for key, row in restored.items() if IMAGE_ID.fullmatch(key)}
        if deployment.environment != LOCAL:
            survived, newest = drill_compare.newest_fact(restored), drill_compare.newest_fact(now)
            facts = Facts(survived and survived[0], newest and newest[0])
            if found.facts is None or (facts.lost_seconds or 0) > (found.facts.lost_seconds or 0):
                found.facts = facts  # of the table that would lose more
    if drill_restore.describe(drill_restore.original(deployment, LEDGER)) is None:
        found.gone.append(LEDGER)
    if planned.at is not None:
        before = {group[-1].key: group[-1].version_id for group in planned.objects}
        today = {group[-1].key: group[-1].version_id for group in drill_restore.versions_at(deployment.bucket, None)}
        found.changes["objects"] = drill_compare.changes(before, today)
    return rows


def _is_kept(key: str) -> bool:
    """Images and API keys: the other items of the table are counters and positions, which always change."""
    return IMAGE_ID.fullmatch(key) is not None or key.startswith(api_clients.KEY_PREFIX)


def _digests(rows: Mapping[str, Row]) -> dict[str, str]:
    return {key: row.digest for key, row in rows.items()}


def _images(table: str) -> dict[str, Row]:
    rows = ((item["ImageID"]["S"], drill_compare.row_of(item)) for item in drill_restore.items(table))
    return {key: row for key, row in rows if IMAGE_ID.fullmatch(key)}


def _erase_again(resources: Resources, found: Drill) -> bool:
    """Replay the ledger on the copy -> whether anything was erased."""
    rest = erasure.came_back(resources)
    while batch := list(itertools.islice(rest, _TOGETHER)):
        outcomes = erasure.erase(resources, batch, Asked.OPERATOR)
        found.erased_again += sum(not outcome.refusal for outcome in outcomes)
    found.not_erased = list(erasure.came_back(resources))
    return found.erased_again > 0


def _rebuild(deployment: Deployment, resources: Resources, found: Drill) -> list[str]:
    """Rebuild on the copy the records of filed pictures that have none."""
    ids = dict.fromkeys(key.rpartition("/")[2].partition(".")[0] for key in found.first.unrecorded)
    parameter = policy_command.parameter_of(deployment)
    plans = rebuild.plans_of(resources, parameter, ids) if ids else iter(())
    return [one.image_id for one in rebuild.carry_out(resources, plans) if not one.refusal]


def _reconcile(table: str, objects: list[Stored], now: datetime, found: Drill) -> set[str]:
    """What the Reconciler would do with the copy, by its own rule -> the keys that it would start."""
    uploads = sorted((one for one in objects if one.folder == INPUT_FOLDER), key=lambda one: one.modified, reverse=True)
    versions = [InputVersion(one.key, one.version_id, one.modified) for one in sorted(uploads, key=lambda one: one.key)]
    starts: set[str] = set()
    seen: set[str] = set()
    for batch in reconciler.in_batches(versions):
        for _, findings in reconciler.judge(table, batch, now, timedelta(0)):
            for finding in findings:
                found.reconciler[finding.action.value] += 1
                seen.add(finding.image_id)
                if finding.action is Action.START:
                    starts.add(finding.key)
    expired = detection_logs.format_time(now - timedelta(seconds=detection_logs.CLAIM_SECONDS))
    lost = sum(record["ImageID"] not in seen for record in detection_logs.expired_claims(table, expired))
    if lost:
        found.reconciler[Action.CLOSE.value] += lost
    return starts
