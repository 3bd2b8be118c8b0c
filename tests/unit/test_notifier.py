"""A fact is notified once; a notice that SNS rejected is left to the next attempt."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from pet_detector.aws import notice_burst, notices_topic
from pet_detector.aws.clients import client, counting_client
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.notices import DIGEST, FAILURE, REVIEW, Notice
from pet_detector.use_cases import notifier
from tests.support.moto_world import IMAGE_ID, TABLE, TOPIC, Cloud, breakdown, refusal

pytestmark = pytest.mark.usefixtures("people")

LOST = ReadTimeoutError(endpoint_url="https://aws")


def notify(fact: str = "a fact", image_id: str = IMAGE_ID, burst: int = 20) -> notifier.Outcome:
    return notifier.notify_once(TABLE, TOPIC, image_id, Notice("subject", "message", {"Kind": "A"}, fact), burst=burst)


def counted(capsys: pytest.CaptureFixture[str]) -> int:
    """How many notices the metrics counted since the last call."""
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return sum(document["NoticeSent"] == [1] for document in documents)


def test_a_fact_is_notified_and_counted_once_for_each_image(aws: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert [notify(), notify(), notify()] == ["sent", "already_sent", "already_sent"]
    assert (len(aws.notices()), counted(capsys)) == (1, 1)
    assert [notify("another fact"), notify(image_id="f" * 32), notify()] == ["sent", "sent", "already_sent"]
    assert (len(aws.notices()), counted(capsys)) == (2, 2)


def test_two_who_tell_at_the_same_moment_notify_once(aws: Cloud) -> None:
    others: list[str] = []

    def meanwhile(**_: object) -> None:
        if not others:
            others.append("")
            others[0] = notify()

    client("sns").meta.events.register("before-call.sns.Publish", meanwhile)
    assert notify() == "sent"
    assert others == ["already_sent"]
    assert len(aws.notices()) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [("Throttled", ThrottledError), ("InternalError", ServiceError), ("AuthorizationError", AccessDeniedError)],
)
def test_a_refusal_takes_the_reservation_back(
    aws: Cloud, code: str, kind: type[PetDetectorError], capsys: pytest.CaptureFixture[str]
) -> None:
    with refusal(client("sns"), "Publish", code), pytest.raises(kind):
        notify()
    assert "Notices" not in aws.item()
    assert (aws.notices(), counted(capsys)) == ([], 0)
    assert notify() == "sent"


def test_a_topic_that_was_never_reached_takes_the_reservation_back(aws: Cloud) -> None:
    never = ConnectTimeoutError(endpoint_url="https://sns")
    with breakdown(client("sns"), "Publish", never, done=False), pytest.raises(ServiceError):
        notify()
    assert notify() == "sent"
    assert len(aws.notices()) == 1


def test_a_lost_answer_of_sns_is_unconfirmed_counted_and_not_sent_again(
    aws: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    with breakdown(client("sns"), "Publish", LOST, done=True):
        assert notify() == "unconfirmed"
    assert notify() == "already_sent"
    assert (len(aws.notices()), counted(capsys)) == (1, 1)


def test_a_crash_between_reserving_and_sending_costs_the_notice_rather_than_sending_two(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(notices_topic, "publish", crash)
        with pytest.raises(KeyboardInterrupt):
            notify()
    assert notify() == "already_sent"
    assert aws.notices() == []


def test_nothing_is_sent_that_could_not_be_reserved(aws: Cloud) -> None:
    with refusal(client("dynamodb"), "UpdateItem", "AccessDeniedException"), pytest.raises(AccessDeniedError):
        notify()
    assert aws.notices() == []


# --- Too many at once -------------------------------------------------------------------------------------------------


def test_beyond_the_burst_the_fact_is_reserved_and_nobody_gets_a_notice_of_its_own(
    aws: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"{number:032x}" for number in range(5)]
    assert [notify(image_id=i, burst=3) for i in ids] == ["sent", "sent", "sent", "in_digest", "in_digest"]
    assert [notify(image_id=i, burst=3) for i in ids] == ["already_sent"] * 5
    assert (len(aws.notices()), counted(capsys)) == (3, 3)
    assert all(aws.item(i)["Notices"] == {"SS": ["a fact"]} for i in ids)


def test_the_last_notice_before_the_digest_says_so(aws: Cloud) -> None:
    for number in range(3):
        notify(image_id=f"{number:032x}", burst=2)
    first, last = (notice["Message"] for notice in aws.notices())
    assert first == "message"
    assert last.startswith("message\n")
    assert "one digest" in last


def test_a_notice_that_cannot_be_counted_is_sent(aws: Cloud) -> None:
    for number, code in enumerate(("ThrottlingException", "AccessDeniedException", "InternalServerError")):
        with refusal(counting_client(), "UpdateItem", code):
            assert notify(image_id=f"{number:032x}", burst=1) == "sent"
    with breakdown(counting_client(), "UpdateItem", LOST, done=True):
        assert notify(burst=1) == "sent"
    assert len(aws.notices()) == 4


def test_a_count_whose_answer_was_cut_off_lets_the_notice_pass(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore makes an answer without contents of it."""
    made = counting_client()
    monkeypatch.setattr(made, "update_item", lambda **_: {"ResponseMetadata": {}})
    assert [notify(burst=1), notify(image_id="e" * 32, burst=1)] == ["sent", "sent"]


def test_a_notice_that_cannot_be_withheld_is_sent(aws: Cloud) -> None:
    """It was found to be one too many, and then the digest could not be told of it."""
    notify(image_id="e" * 32, burst=1)
    calls = []

    def fail_the_second(**_: object) -> None:
        calls.append("")
        if len(calls) == 2:
            raise LOST

    counting_client().meta.events.register_first("before-send", fail_the_second)
    assert notify(burst=1) == "sent"
    assert len(aws.notices()) == 2


def test_a_crash_after_the_count_costs_the_notice_and_not_the_fact(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(notice_burst, "take_turn", crash)
        with pytest.raises(KeyboardInterrupt):
            notify()
    assert notify() == "already_sent"
    assert aws.item()["Notices"] == {"SS": ["a fact"]}


def test_what_sns_refused_is_withheld_at_its_next_attempt_or_sent(aws: Cloud) -> None:
    """The attempts count. In a storm that costs notices of their own, and no place in the digest."""
    with refusal(client("sns"), "Publish", "Throttled"), pytest.raises(ThrottledError):
        notify(burst=1)
    assert notify(burst=1) == "in_digest"


# --- The digest -------------------------------------------------------------------------------------------------------


def send_digest() -> int:
    return notifier.send_digest(TABLE, TOPIC, "prod", burst=20)


def test_without_anything_withheld_there_is_no_digest(aws: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert send_digest() == 0
    assert (aws.notices(), counted(capsys)) == ([], 0)


def test_one_digest_tells_of_all_kinds_once(aws: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    aws.withhold(REVIEW, 437, WithheldSince="2026-11-21T09:30:00.000Z")
    aws.withhold(FAILURE, 12, WithheldSince="2026-11-21T09:20:00.000Z")
    assert [send_digest(), send_digest()] == [449, 0]
    (notice,) = aws.notices()
    assert notice["Subject"] == "[prod] 437 images need review, 12 failed"
    assert "2026-11-21T09:20:00.000Z" in notice["Message"]
    assert notice["MessageAttributes"] == {
        "Kind": {"Type": "String.Array", "Value": json.dumps([DIGEST, REVIEW, FAILURE])},
        "Stage": {"Type": "String", "Value": "prod"},
        "Reviews": {"Type": "Number", "Value": "437.00"},
        "Failures": {"Type": "Number", "Value": "12.00"},
    }
    assert counted(capsys) == 1


def test_a_digest_that_sns_refused_comes_with_the_next_run(aws: Cloud) -> None:
    aws.withhold(REVIEW, 7)
    with refusal(client("sns"), "Publish", "Throttled"), pytest.raises(ThrottledError):
        send_digest()
    assert send_digest() == 7
    assert len(aws.notices()) == 1


def test_a_digest_whose_answer_is_lost_comes_again_rather_than_never(aws: Cloud) -> None:
    aws.withhold(REVIEW, 7)
    with breakdown(client("sns"), "Publish", LOST, done=True):
        assert send_digest() == 7
    assert [send_digest(), send_digest()] == [7, 0]
    assert len(aws.notices()) == 2


def test_a_crash_after_the_digest_sends_it_again_rather_than_never(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    aws.withhold(REVIEW, 7)
    with monkeypatch.context() as patched:
        patched.setattr(notice_burst, "settle", crash)
        with pytest.raises(KeyboardInterrupt):
            send_digest()
    assert [send_digest(), send_digest()] == [7, 0]


@pytest.mark.parametrize(("wanted", "number"), [([REVIEW], 1), ([DIGEST], 2), ([FAILURE], 0), ([FAILURE, DIGEST], 2)])
def test_who_wants_one_kind_gets_the_digests_of_that_kind(aws: Cloud, wanted: list[str], number: int) -> None:
    """Amazon SNS matches any element of a String.Array. The second digest is about nothing but another kind."""
    queue = aws.sqs.create_queue(QueueName="filtered")["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"FilterPolicy": json.dumps({"Kind": wanted})}
    aws.sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=arn, Attributes=policy)
    for kind in (REVIEW, "of another version"):
        notices_topic.publish(TOPIC, Notice("s", "m", {"Kind": [DIGEST, kind]}, "f"))
    assert len(aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])) == number
