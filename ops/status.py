"""The state of the whole application, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import boto3

from ops import pace, records, releases
from ops.environment import CLIENT_CONFIG, Deployment
from ops.pace import Pace
from ops.releases import Live
from pet_detector.aws import daily_limit, detection_logs, image_versions, notice_burst
from pet_detector.aws.clients import client
from pet_detector.aws.image_versions import InputVersion
from pet_detector.rules import notices
from pet_detector.rules.models import Status
from pet_detector.use_cases import reconciler
from pet_detector.use_cases.reconciler import Action, Finding, Upload

# The age from which an object under input/ is stuck, unless its image failed, is held or at work: the schedule takes it
# up, and an execution finishes it, in a fraction of that.
_STUCK_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class Waiting:
    """Something unfinished: an image's ID or an object's key, since when, and for how many seconds."""

    name: str
    since: datetime
    age_seconds: int


@dataclass(frozen=True)
class State:
    """Counts; `images` by status, `dead_letters` by queue. The oldest are None when there is nothing.

    `objects_in_input` counts at most VERSIONS_A_KEY versions of a key.
    `stuck_objects` lie under input/ for over an hour, and are neither failed, held nor at work.
    `withheld_reviews` and `withheld_failures` are notices that wait for the next digest.
    `analysed_today` is what counts against `daily_analysis_limit`, and is only counted when there is one (not 0).
    """

    images: dict[str, int]
    dead_letters: dict[str, int]
    running_executions: int
    oldest_unfinished: Waiting | None
    objects_in_input: int
    oldest_object: Waiting | None
    stuck_objects: int
    withheld_reviews: int
    withheld_failures: int
    analysed_today: int
    daily_analysis_limit: int
    pace: Pace
    release: Live

    @property
    def needs_attention(self) -> bool:
        """Failed images, dead letters or stuck objects wait for a person."""
        return bool(self.images[Status.FAILED] or self.stuck_objects or any(self.dead_letters.values()))


def state_of(deployment: Deployment) -> State:
    """Look at everything. The counts come from an index, which lags behind the table by moments."""
    versions = list(image_versions.input_versions(deployment.bucket))
    oldest = min(versions, key=lambda version: version.modified, default=None)
    return State(
        images={status.value: detection_logs.count(deployment.table, status) for status in Status},
        dead_letters=_dead_letters(deployment),
        running_executions=_running(deployment),
        oldest_unfinished=_oldest_unfinished(deployment.table),
        objects_in_input=len(versions),
        oldest_object=_waiting(oldest.key, oldest.modified) if oldest else None,
        stuck_objects=_stuck(deployment, versions),
        withheld_reviews=_withheld(deployment, notices.REVIEW),
        withheld_failures=_withheld(deployment, notices.FAILURE),
        analysed_today=daily_limit.spent(deployment.output("AnalysesTableName")),
        daily_analysis_limit=int(deployment.parameter("DailyAnalysisLimit")),
        pace=pace.pace_of(deployment),
        release=releases.live(deployment),
    )


def _withheld(deployment: Deployment, kind: str) -> int:
    return notice_burst.withheld(deployment.table, kind, deployment.resources.notice_burst).number


def _stuck(deployment: Deployment, versions: list[InputVersion]) -> int:
    now = datetime.now(UTC)
    old = [version for version in versions if version.modified < now - _STUCK_AFTER]

    def judged(uploads: list[Upload]) -> list[Finding]:
        found = reconciler.judge(deployment.table, uploads, now, _STUCK_AFTER)
        return [finding for _, findings in found for finding in findings]

    batches = records.for_each(judged, reconciler.in_batches(old))
    return sum(
        finding.action in (Action.START, Action.REPORT, Action.ERASED) for findings in batches for finding in findings
    )


def _oldest_unfinished(table: str) -> Waiting | None:
    """Of the images that an execution works on; uploads that were only announced may never come."""
    oldest = detection_logs.oldest_at_work(table)
    since = records.moment(oldest[1]) if oldest else None
    return _waiting(oldest[0]["ImageID"], since) if oldest and since else None


def _waiting(name: str, since: datetime) -> Waiting:
    return Waiting(name, since, max(0, round((datetime.now(UTC) - since).total_seconds())))


def _dead_letters(deployment: Deployment) -> dict[str, int]:
    sqs = boto3.client("sqs", config=CLIENT_CONFIG)
    depths = {}
    for name, url in deployment.dead_letter_queues.items():
        attributes = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        )["Attributes"]
        depths[name] = sum(int(depth) for depth in attributes.values())
    return depths


def _running(deployment: Deployment) -> int:
    listing = client("stepfunctions").get_paginator("list_executions")
    pages = listing.paginate(stateMachineArn=deployment.workflow_arn, statusFilter="RUNNING")
    return sum(len(page["executions"]) for page in pages)
