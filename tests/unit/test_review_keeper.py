"""Keeping reviews: every row of the module's table, each once, whatever AWS refuses."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.types import TypeSerializer

from pet_detector.aws import review_keeping
from pet_detector.aws.clients import client
from pet_detector.rules.errors import ServiceError, ThrottledError
from pet_detector.use_cases import review_keeper
from review_keeper.app import lambda_handler
from tests.support.handler_runs import Context
from tests.support.moto_world import REVIEW_WORKFLOW, REVIEWS, Cloud, breakdown, refusal
from tests.support.stories import LOST

pytestmark = pytest.mark.usefixtures("people", "workflow", "at_noon")

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
ADA, BEN, CLEO = ("a" * 32, "b" * 32, "c" * 32)
serialize = TypeSerializer().serialize


def text(time: datetime) -> str:
    """A time as records have it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at(monkeypatch: pytest.MonkeyPatch, time: datetime) -> None:
    monkeypatch.setattr(
        review_keeper, "datetime", SimpleNamespace(now=lambda _: time, fromisoformat=datetime.fromisoformat)
    )


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noon, long after everything that the tests store."""
    at(monkeypatch, NOON)


def uncertain(aws: Cloud, image_id: str, *, hours: float = 1, **more: Any) -> None:
    """An image that waits for people since so many hours."""
    came = text(NOON - timedelta(hours=hours))
    facts: dict[str, Any] = {"ProcessingStatus": "needs_review", "ContentHash": image_id * 2, "DetectedAnimal": "other"}
    facts |= {"Scores": {"cat": Decimal(70), "dog": Decimal(2)}, "ConfidenceScore": Decimal(30), "UpdatedAt": came}
    facts |= {"Timestamp": came, "ListedAt": f"{came}#{image_id}", "CorrelationId": "c"}
    aws.write(image_id, **facts | more)


def decided(aws: Cloud, image_id: str, *, minutes: float) -> None:
    """A verdict that waits to be carried out since so many minutes."""
    since = text(NOON - timedelta(minutes=minutes))
    head: dict[str, Any] = {
        "ImageID": image_id,
        "Entry": "review",
        "Queue": "pending",
        "Order": f"{since}#{image_id}",
        "Sequence": 3,
    }
    head |= {"NextQueue": "done", "NextOrder": since, "PendingSince": since, "Verdict": "cat"}
    aws.dynamodb.put_item(TableName=REVIEWS, Item={name: serialize(value) for name, value in head.items()})


def head(aws: Cloud, image_id: str) -> dict[str, Any]:
    key = {"ImageID": {"S": image_id}, "Entry": {"S": "review"}}
    return dict(aws.dynamodb.get_item(TableName=REVIEWS, Key=key).get("Item", {}))


def started(aws: Cloud) -> dict[str, dict[str, Any]]:
    return aws.started(REVIEW_WORKFLOW)


# --- Verdicts that were not carried out -------------------------------------------------------------------------------


def test_a_verdict_that_waits_for_longer_than_it_should_is_started_again(aws: Cloud, context: LambdaContext) -> None:
    for image_id, minutes in ((ADA, 6), (BEN, 4)):
        uncertain(aws, image_id)
        decided(aws, image_id, minutes=minutes)
    assert lambda_handler({}, context)["started"] == 1
    assert started(aws) == {f"{ADA}-3-20261130T1200": {"imageId": ADA, "sequence": 3}}


def test_two_runs_at_once_start_it_once_and_a_later_one_again(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    uncertain(aws, ADA)
    decided(aws, ADA, minutes=6)
    lambda_handler({}, context)
    lambda_handler({}, context)
    assert len(started(aws)) == 1
    at(monkeypatch, NOON + timedelta(minutes=15))
    lambda_handler({}, context)
    assert len(started(aws)) == 2


@pytest.mark.parametrize("status", ["erased", None])
def test_a_verdict_on_an_image_that_is_no_more_is_closed(
    aws: Cloud, context: LambdaContext, status: str | None
) -> None:
    if status:
        uncertain(aws, ADA, ProcessingStatus=status)
    decided(aws, ADA, minutes=6)
    answer = lambda_handler({}, context)
    assert (answer["closed"], answer["started"]) == (1, 0)
    assert head(aws, ADA)["Queue"] == {"S": "done"}
    assert lambda_handler({}, context)["pending"] == 0


def test_what_cannot_be_started_does_not_stop_the_others(aws: Cloud, context: LambdaContext) -> None:
    for image_id in (ADA, BEN):
        uncertain(aws, image_id)
        decided(aws, image_id, minutes=6)
    refused = refusal(client("stepfunctions", quick=True), "StartExecution", "ThrottlingException")
    with refused as fault, pytest.raises(ThrottledError):
        lambda_handler({}, context)
    assert fault.happened >= 2
    assert lambda_handler({}, context)["started"] == 2


# --- What no queue has ------------------------------------------------------------------------------------------------


def test_uncertain_images_of_a_table_from_before_are_put_into_the_queue_once(
    aws: Cloud, context: LambdaContext
) -> None:
    for image_id in (ADA, BEN, CLEO):
        uncertain(aws, image_id)
    assert lambda_handler({}, context)["queued"] == 3
    assert head(aws, ADA)["Queue"] in ({"S": "uncertain"}, {"S": "sample"})
    before = [head(aws, image_id) for image_id in (ADA, BEN, CLEO)]
    assert lambda_handler({}, context)["queued"] == 0
    assert [head(aws, image_id) for image_id in (ADA, BEN, CLEO)] == before


@pytest.mark.parametrize(("minutes", "purpose"), [(59, "sample"), (61, "unmeasured")])
def test_what_is_put_into_the_queue_late_is_asked_and_not_measured(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch, minutes: float, purpose: str
) -> None:
    """Of the certain images of that time nothing was drawn."""
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    uncertain(aws, ADA, hours=minutes / 60)
    lambda_handler({}, context)
    assert head(aws, ADA)["Purpose"] == {"S": purpose}
    assert head(aws, ADA)["Queue"] == {"S": purpose.replace("unmeasured", "uncertain")}


def test_what_was_decided_or_waits_stays_as_it_is(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA)
    decided(aws, ADA, minutes=1)
    before = head(aws, ADA)
    assert lambda_handler({}, context)["queued"] == 0
    assert head(aws, ADA) == before


def test_a_run_goes_on_where_the_last_one_stopped(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_keeper, "MAX_LOOKED_AT", 1)
    monkeypatch.setattr("pet_detector.aws.detection_logs.BATCH", 1)
    ids = [f"{number:x}" * 32 for number in range(6)]  # in all shards
    for image_id in ids:
        uncertain(aws, image_id)
    queued = [lambda_handler({}, context)["queued"] for _ in range(8)]
    assert sum(queued) == 6
    assert all(head(aws, image_id) for image_id in ids)


def test_time_is_looked_at_for_each_image_that_is_put_and_the_next_run_goes_on(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each one takes a search for its bytes and a transaction: a hundred of them may take longer than a run has."""
    images = [digit * 32 for digit in "048"]  # one shard
    for image_id in images:
        uncertain(aws, image_id)
    put = review_keeper._put_into_queue
    queued: list[str] = []

    class Short(Context):
        def get_remaining_time_in_millis(self) -> int:
            return int(review_keeper.REST_SECONDS + 1 - 2 * len(queued)) * 1000

    def slow(resources: review_keeper.Resources, record: Any) -> bool:
        queued.append(record["ImageID"])
        return put(resources, record)

    monkeypatch.setattr(review_keeper, "_put_into_queue", slow)
    assert lambda_handler({}, cast(LambdaContext, Short()))["queued"] == 1
    assert lambda_handler({}, context)["queued"] == 2
    assert sorted(queued) == images


# --- Once a day -------------------------------------------------------------------------------------------------------


def kinds(aws: Cloud) -> list[str]:
    """The first kind of every notice since the last call, in order of the alphabet."""
    return sorted(json.loads(notice["MessageAttributes"]["Kind"]["Value"])[0] for notice in aws.notices())


def test_reviewers_get_one_digest_a_day(aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch) -> None:
    uncertain(aws, ADA)
    for _ in range(3):
        lambda_handler({"pageAddress": "https://pets.example.com/dev/app/"}, context)
    (notice,) = aws.notices()
    assert notice["Subject"] == "[dev] 1 image waits for review"
    assert "https://pets.example.com/dev/app/" in notice["Message"]
    assert json.loads(notice["MessageAttributes"]["Kind"]["Value"]) == ["ReviewsWaiting", "ImageUncertain"]
    at(monkeypatch, NOON + timedelta(days=1))
    lambda_handler({}, context)
    assert kinds(aws) == ["ReviewsWaiting"]


def test_nothing_waits_and_nobody_hears_of_it(aws: Cloud, context: LambdaContext) -> None:
    lambda_handler({}, context)
    assert aws.notices() == []


def test_operators_hear_of_what_waits_for_too_long(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA, hours=73)
    for _ in range(2):
        lambda_handler({}, context)
    assert kinds(aws) == ["ReviewsOverdue", "ReviewsWaiting"]


def judged(aws: Cloud, image_id: str, queue: str) -> None:
    """A completed image that was judged, and of which another person is asked the same."""
    uncertain(aws, image_id, hours=500, ProcessingStatus="completed")
    decided(aws, image_id, minutes=1)
    aws.dynamodb.update_item(
        TableName=REVIEWS,
        Key={"ImageID": {"S": image_id}, "Entry": {"S": "review"}},
        UpdateExpression="SET #queue = :queue",
        ExpressionAttributeNames={"#queue": "Queue"},
        ExpressionAttributeValues={":queue": {"S": queue}},
    )


def test_second_looks_are_told_apart_and_are_never_overdue(aws: Cloud, context: LambdaContext) -> None:
    judged(aws, ADA, "second")
    judged(aws, BEN, "disagreed")
    uncertain(aws, CLEO)
    lambda_handler({}, context)
    (notice,) = aws.notices()
    assert notice["Subject"] == "[dev] 3 images wait for review"
    assert "To review: 3\nAgain:     2, by another person than who judged them" in notice["Message"]
    assert "needs a third person, or correct it in the gallery" in notice["Message"]


def test_a_team_of_one_hears_of_no_second_looks(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECOND_LOOK_PERCENT", "0")
    judged(aws, ADA, "second")
    judged(aws, BEN, "disagreed")
    assert lambda_handler({}, context)["waiting"] == 0
    assert aws.notices() == []


def test_nobody_hears_of_pictures_that_have_expired(aws: Cloud, context: LambdaContext) -> None:
    """They stay uncertain until their records expire, and nobody can be asked any more."""
    uncertain(aws, ADA, hours=366 * 24)
    answer = lambda_handler({}, context)
    assert head(aws, ADA)
    assert answer["waiting"] == 0
    assert aws.notices() == []
    uncertain(aws, BEN, hours=2)
    lambda_handler({}, context)
    (notice,) = aws.notices()
    assert "Oldest:    2 hours" in notice["Message"]


def with_seconds(seconds: float) -> LambdaContext:
    """A function that has so many seconds left."""
    return cast(LambdaContext, Context(seconds_left=seconds))


def test_without_time_for_a_notice_the_next_run_sends_it(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA)
    lambda_handler({}, with_seconds(review_keeper.NOTICE_SECONDS - 1))
    assert aws.notices() == []
    lambda_handler({}, context)
    assert kinds(aws) == ["ReviewsWaiting"]


def test_verdicts_and_the_queue_leave_time_for_the_rest(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA)
    for image_id in (BEN, CLEO):
        uncertain(aws, image_id)
        decided(aws, image_id, minutes=6)
    lambda_handler({}, context)
    at_most = with_seconds(review_keeper.REST_SECONDS - 1)
    assert len(started(aws)) == 2
    decided(aws, ADA, minutes=6)
    answer = lambda_handler({}, at_most)
    assert (answer["pending"], answer["started"]) == (3, 0)


def test_a_digest_that_was_refused_is_sent_by_the_next_run(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA)
    with refusal(client("sns"), "Publish", "Throttled"), pytest.raises(ThrottledError):
        lambda_handler({}, context)
    lambda_handler({}, context)
    assert kinds(aws) == ["ReviewsWaiting"]


@pytest.mark.parametrize("done", [False, True], ids=["not sent", "sent"])
def test_a_digest_whose_answer_was_lost_is_sent_twice_rather_than_never(
    aws: Cloud, context: LambdaContext, done: bool
) -> None:
    uncertain(aws, ADA)
    with breakdown(client("sns"), "Publish", LOST, done=done) as fault, pytest.raises(ServiceError):
        lambda_handler({}, context)
    lambda_handler({}, context)
    lambda_handler({}, context)
    assert fault.happened == 1
    assert kinds(aws) == ["ReviewsWaiting"] * (1 + done)


def test_a_mark_whose_answer_was_lost_is_recognised(aws: Cloud) -> None:
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True) as fault:
        assert review_keeping.reserve(REVIEWS, "digest", "2026-11-30")
    assert fault.happened == 1
    assert not review_keeping.reserve(REVIEWS, "digest", "2026-11-30")


def test_accuracy_is_computed_once_a_day(aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    monkeypatch.setattr("pet_detector.use_cases.accuracy.daily", computed.append)
    for _ in range(2):
        lambda_handler({}, context)
    assert computed == [REVIEWS]


def test_accuracy_that_lambda_ended_is_computed_by_the_next_run(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        """Lambda ends a function at its timeout: nothing of it runs any more."""

    def end(table: str) -> None:
        raise Ended

    monkeypatch.setattr("pet_detector.use_cases.accuracy.daily", end)
    with pytest.raises(Ended):
        lambda_handler({}, context)
    computed: list[str] = []
    monkeypatch.setattr("pet_detector.use_cases.accuracy.daily", computed.append)
    lambda_handler({}, with_seconds(review_keeper.ACCURACY_SECONDS - 1))
    assert computed == []
    lambda_handler({}, context)
    lambda_handler({}, context)
    assert computed == [REVIEWS]


# --- What it says -----------------------------------------------------------------------------------------------------


def test_it_publishes_what_waits(
    aws: Cloud, context: LambdaContext, capsys: pytest.CaptureFixture[str], logs: io.StringIO
) -> None:
    uncertain(aws, ADA, hours=30)
    uncertain(aws, BEN)
    decided(aws, BEN, minutes=10)
    capsys.readouterr()
    lambda_handler({}, context)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    published = {name: value for document in documents for name, value in document.items()}
    assert published["VerdictsPending"] == [1.0]
    assert published["ReviewsWaiting"] == [1.0]
    assert published["OldestReviewHours"] == [30.0]
    assert '"pending":1' in logs.getvalue().replace(" ", "")


def test_a_part_that_fails_does_not_keep_the_rest_from_being_done(aws: Cloud, context: LambdaContext) -> None:
    uncertain(aws, ADA)
    uncertain(aws, BEN)
    decided(aws, BEN, minutes=10)
    with refusal(client("dynamodb"), "BatchGetItem", "ThrottlingException"), pytest.raises(ThrottledError):
        lambda_handler({}, context)
    answer = lambda_handler({}, context)
    assert (answer["started"], answer["queued"], answer["waiting"]) == (1, 1, 1)
