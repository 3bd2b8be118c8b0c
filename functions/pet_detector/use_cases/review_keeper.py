"""Keeps reviews going: what was decided is carried out, what waits for people is in the queue, and people hear of it.

    every run    verdicts that were not carried out for 5 minutes     the review workflow is started again
                 ... on an image that is no more                      closed: there is nothing to move or write
                 uncertain images that no queue has                   put into it: a change that the stream lost, and
                                                                      all images from before there were reviews
    once a day   what waits for people                                a digest to reviewers, if anything does
                 an image that waits for longer than it should        a notice to operators
                 how often the machine is right                       computed from the verdicts (accuracy.py)

What is done once a day is done by the first run of the day (UTC). A notice is reserved by a conditional write before
it is sent: a run that is repeated, or two at once, send it once. What AWS refused is done by the next run, and so is
what too little time is left for: a function that Lambda ends between the reservation and the notice has lost the
notice. Accuracy is noted when it is computed: twice does no harm, and what Lambda ends is computed by the next
run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from pet_detector.aws import detection_logs, notices_topic, review_keeping, review_workflow, reviews
from pet_detector.aws.reviews import Saved
from pet_detector.rules import notices, review
from pet_detector.rules.errors import ServiceError
from pet_detector.rules.image_ids import SHARDS
from pet_detector.rules.models import ERASED, Measurement, Record, Status
from pet_detector.rules.notices import Notice
from pet_detector.rules.review import Head, Queue, filed_since
from pet_detector.runtime.observability import logger, publish
from pet_detector.use_cases import accuracy, review_queue

# Younger verdicts are being carried out: an execution takes seconds.
PENDING_MINUTES = 5
# Tried in one run, with one call each; the next run finds the rest.
MAX_STARTS = 500
# Uncertain images that one run looks at: 100 with one call. The next run goes on behind them.
MAX_LOOKED_AT = 2000
# Seconds that a run must have left to begin with a notice: its reservation, sending it, and taking the reservation back
# may each take as long as their client waits for AWS.
NOTICE_SECONDS = 45
# Seconds that a run must have left to begin with the accuracy, which reads every head of a month: fewer than
# REST_SECONDS, so that a run that has put many images into the queue still begins with it.
ACCURACY_SECONDS = 120
# Seconds that are left for what comes after the first two parts, which may go on for long.
REST_SECONDS = 150

# How many seconds a run has left.
Left = Callable[[], float]


@dataclass(frozen=True)
class Resources:
    """The names of the deployed resources that keeping reviews needs. Shares are in percent.

    `image_days`: how long the bucket keeps a picture.
    """

    table: str
    reviews: str
    workflow_arn: str
    topic_arn: str
    stage: str
    page_address: str
    sample_percent: float
    second_look_percent: float
    overdue_hours: float
    image_days: float


@dataclass
class Report:
    """What a run found and did. `waiting` stops at 1,000 of each queue; `oldest_hours` is 0 when no image waits."""

    pending: int = 0  # verdicts that were not carried out for PENDING_MINUTES
    started: int = 0
    closed: int = 0
    queued: int = 0
    waiting: int = 0
    again: int = 0  # of these: judged, and wait for somebody else
    oldest_hours: float = 0.0
    error: Exception | None = None  # the last one, when something could not be done


def keep(resources: Resources, left: Left) -> Report:
    """One run, which has `left` seconds. What fails does not keep the rest from being done: see `Report.error`."""
    now = datetime.now(UTC)
    report = Report()
    for part in (_carry_out, _fill_queue, _count, _notices, _accuracy):  # the last one may go on for long
        try:
            part(resources, now, report, left)
        except Exception as error:
            logger.exception("Part of the run failed", part=part.__name__)
            report.error = error
    return report


# --- Verdicts that were not carried out -------------------------------------------------------------------------------


def _carry_out(resources: Resources, now: datetime, report: Report, left: Left) -> None:
    before = detection_logs.format_time(now - timedelta(minutes=PENDING_MINUTES))
    found = list(islice(reviews.pending(resources.reviews, before), MAX_STARTS))
    report.pending = len(found)
    publish([Measurement("VerdictsPending", len(found))])
    for first in range(0, len(found), detection_logs.BATCH):
        batch = found[first : first + detection_logs.BATCH]
        records = detection_logs.find_many(resources.table, [head["ImageID"] for head in batch])
        for head in batch:
            if left() < REST_SECONDS:
                logger.warning("The next run goes on with the verdicts", started=report.started)
                return
            try:
                _take_up(resources, head, records.get(head["ImageID"]), now, report)
            except Exception as error:
                logger.exception("Verdict not started again", image_id=head["ImageID"])
                report.error = error


def _take_up(resources: Resources, head: Head, record: Record | None, now: datetime, report: Report) -> None:
    if record is None or record["ProcessingStatus"] == ERASED:
        closed = review_keeping.close(resources.reviews, head)
        report.closed += closed
        logger.warning("Verdict on an image that is no more", image_id=head["ImageID"], closed=closed)
        return
    # The same name for a quarter of an hour: two runs at once start it once.
    suffix = f"{now:%Y%m%dT%H}{now.minute // 15 * 15:02d}"
    started = review_workflow.start(resources.workflow_arn, head["ImageID"], int(head["Sequence"]), again=suffix)
    report.started += started
    logger.info("Verdict started again", image_id=head["ImageID"], since=head["Order"], started=started)


# --- What no queue has ------------------------------------------------------------------------------------------------


def _fill_queue(resources: Resources, now: datetime, report: Report, left: Left) -> None:
    """Looks at MAX_LOOKED_AT uncertain images, and begins again at the first one when it has seen the last."""
    position = review_keeping.position(resources.reviews)
    looked_at, reached = 0, position
    for place, record, is_known in _uncertain(resources, position):
        if looked_at >= MAX_LOOKED_AT or left() < REST_SECONDS:
            break
        if not is_known:
            try:
                report.queued += _put_into_queue(resources, record)
            except Exception as error:
                logger.exception("Not put into the queue", image_id=record["ImageID"])
                report.error = error
        looked_at, reached = looked_at + 1, place
    else:
        reached = ""
    if reached != position:
        review_keeping.move_to(resources.reviews, reached)


def _uncertain(resources: Resources, position: str) -> Iterator[tuple[str, Record, bool]]:
    """Uncertain images behind a position, the oldest of each shard first: the position behind it, and is it known?"""
    begin, _, after = position.partition(" ")
    for shard in range(int(begin or "0"), SHARDS):
        while records := detection_logs.with_status(
            resources.table, Status.NEEDS_REVIEW, shard, after, detection_logs.BATCH
        ):
            known = reviews.heads_of(resources.reviews, {record["ImageID"] for record in records})
            for record in records:
                after = record["ListedAt"]
                yield f"{shard} {after}", record, record["ImageID"] in known
        after = ""


def _put_into_queue(resources: Resources, record: Record) -> bool:
    late = review.is_late(record, datetime.now(UTC))  # people are asked, and it is in no estimate
    known = review_queue.Resources(
        resources.reviews,
        resources.table,
        resources.workflow_arn,
        0 if late else resources.sample_percent,
        resources.second_look_percent,
    )
    return review_queue.enqueue(known, record) is Saved.SAVED


# --- What waits -------------------------------------------------------------------------------------------------------


def _count(resources: Resources, now: datetime, report: Report, left: Left) -> None:
    since = filed_since(resources.image_days, now.timestamp())
    waiting = {queue: reviews.count(resources.reviews, queue, filed_since=since) for queue in review.WAITING}
    again = sum(waiting.pop(queue) for queue in (Queue.SECOND, Queue.DISAGREED))
    # At 0 % there is perhaps no second person, and what was drawn before would wait for ever.
    report.again = again if resources.second_look_percent else 0
    report.waiting = sum(waiting.values()) + report.again
    report.oldest_hours = oldest_hours(resources.table, now, resources.image_days)
    publish(
        [
            Measurement("ReviewsWaiting", report.waiting),
            Measurement("OldestReviewHours", report.oldest_hours, "None"),
        ]
    )


def oldest_hours(table: str, now: datetime, image_days: float) -> float:
    """Hours since the uncertain image came that waits for the longest time; 0 without one.

    Samples and second looks do not count: nobody waits for them, and who has judged an image cannot help. Nor does what
    came more than `image_days` (the parameter ImageRetentionDays) ago: the picture is gone, and nobody can be asked.
    """
    since = detection_logs.format_time(now - timedelta(days=image_days))
    first = [
        record
        for shard in range(SHARDS)
        for record in detection_logs.with_status(table, Status.NEEDS_REVIEW, shard, since, most=1)
    ]
    came = [datetime.fromisoformat(record["ListedAt"].partition("#")[0]) for record in first]
    return max(0.0, (now - min(came)).total_seconds() / 3600) if came else 0.0


# --- Once a day -------------------------------------------------------------------------------------------------------


def _notices(resources: Resources, now: datetime, report: Report, left: Left) -> None:
    def send(notice: Notice) -> Callable[[], object]:
        def task() -> None:
            # Twice rather than never: without SNS's answer nobody knows whether it was sent.
            if not notices_topic.publish(resources.topic_arn, notice):
                raise ServiceError("sns:Publish was not answered")

        return task

    tasks: dict[str, Callable[[], object]] = {}
    if report.waiting:
        tasks["digest"] = send(
            notices.waiting_reviews(
                report.waiting,
                again=report.again,
                oldest_hours=report.oldest_hours,
                page_address=resources.page_address,
                stage=resources.stage,
            )
        )
    if report.oldest_hours > resources.overdue_hours:
        tasks["overdue"] = send(
            notices.overdue_reviews(
                report.waiting,
                oldest_hours=report.oldest_hours,
                overdue_hours=resources.overdue_hours,
                stage=resources.stage,
            )
        )
    for what, task in tasks.items():
        if left() < NOTICE_SECONDS:
            logger.warning("Left to the next run, as too little time is left", what=what)
            return
        if review_keeping.reserve(resources.reviews, what, f"{now:%Y-%m-%d}"):
            try:
                task()
            except Exception as error:  # it was not done: the next run does it
                review_keeping.release(resources.reviews, what)
                logger.exception("Not done today, and tried again", what=what)
                report.error = error


def _accuracy(resources: Resources, now: datetime, report: Report, left: Left) -> None:
    day = f"{now:%Y-%m-%d}"
    if review_keeping.is_done(resources.reviews, "accuracy", day):
        return
    if left() < ACCURACY_SECONDS:
        logger.warning("Left to the next run, as too little time is left", what="accuracy")
        return
    accuracy.daily(resources.reviews)
    review_keeping.reserve(resources.reviews, "accuracy", day)
