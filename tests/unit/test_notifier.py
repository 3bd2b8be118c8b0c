"""A fact is notified once; a notice that SNS rejected is left to the next attempt."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from pet_detector.aws import notices_topic
from pet_detector.aws.clients import client
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.notices import Notice
from pet_detector.use_cases import notifier
from tests.support.moto_world import IMAGE_ID, TABLE, TOPIC, Cloud, breakdown, refusal

pytestmark = pytest.mark.usefixtures("people")

LOST = ReadTimeoutError(endpoint_url="https://aws")


def notify(fact: str = "a fact", image_id: str = IMAGE_ID) -> notifier.Outcome:
    return notifier.notify_once(TABLE, TOPIC, image_id, Notice("subject", "message", {"Kind": "A"}, fact), burst=20)


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
