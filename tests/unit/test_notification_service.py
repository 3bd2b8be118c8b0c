"""NotificationService: people are notified once, whatever goes wrong and however often the state runs."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from notification_service.app import lambda_handler
from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from pet_detector.use_cases import notifier
from tests.support.moto_world import CORRELATION, EXECUTION, IMAGE_ID, TABLE, TOPIC, Cloud, breakdown, refusal

pytestmark = pytest.mark.usefixtures("people")

LOST = ReadTimeoutError(endpoint_url="https://aws")


def uncertain() -> Any:
    return {
        "imageId": IMAGE_ID,
        "executionArn": EXECUTION,
        "correlationId": CORRELATION,
        "fileName": "tom.jpg",
        "location": f"s3://bucket/others/{IMAGE_ID}.jpg",
        "reason": "Perhaps a cat.",
        "confidence": 40.0,
        "scores": {"cat": 60.0, "dog": 10},
    }


def test_tells_people_once_however_often_the_state_runs(aws: Cloud, context: LambdaContext) -> None:
    answers = [lambda_handler(uncertain(), context)["notice"] for _ in range(3)]
    assert answers == ["sent", "already_sent", "already_sent"]
    (notice,) = aws.notices()
    assert IMAGE_ID in notice["Subject"]
    assert notice["Subject"].startswith("[dev] ")


def test_another_execution_does_not_ask_again(aws: Cloud, context: LambdaContext) -> None:
    assert lambda_handler(uncertain(), context) == {"notice": "sent"}
    assert lambda_handler(uncertain() | {"executionArn": "second"}, context) == {"notice": "already_sent"}
    assert len(aws.notices()) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [("Throttled", ThrottledError), ("InternalError", ServiceError), ("AuthorizationError", AccessDeniedError)],
)
def test_a_refusal_of_sns_leaves_the_notice_to_the_next_attempt(
    aws: Cloud, context: LambdaContext, code: str, kind: type[PetDetectorError]
) -> None:
    with refusal(client("sns"), "Publish", code) as fault, pytest.raises(kind):
        lambda_handler(uncertain(), context)
    assert fault.happened == 1
    assert aws.item().keys() <= {"ImageID"}, "the reservation was not released"
    assert lambda_handler(uncertain(), context) == {"notice": "sent"}
    assert len(aws.notices()) == 1


def test_an_sns_that_was_never_reached_leaves_the_notice_to_the_next_attempt(
    aws: Cloud, context: LambdaContext
) -> None:
    never = ConnectTimeoutError(endpoint_url="https://sns")
    with breakdown(client("sns"), "Publish", never, done=False), pytest.raises(ServiceError):
        lambda_handler(uncertain(), context)
    assert lambda_handler(uncertain(), context) == {"notice": "sent"}
    assert len(aws.notices()) == 1


def test_a_lost_answer_of_sns_is_unconfirmed_and_not_sent_twice(aws: Cloud, context: LambdaContext) -> None:
    with breakdown(client("sns"), "Publish", LOST, done=True):
        assert lambda_handler(uncertain(), context) == {"notice": "unconfirmed"}
    assert lambda_handler(uncertain(), context) == {"notice": "already_sent"}
    assert len(aws.notices()) == 1


def test_a_lost_answer_of_dynamodb_neither_hides_nor_doubles_the_notice(aws: Cloud, context: LambdaContext) -> None:
    with breakdown(client("dynamodb"), "UpdateItem", LOST, done=True):
        assert lambda_handler(uncertain(), context) == {"notice": "sent"}
    assert lambda_handler(uncertain(), context) == {"notice": "already_sent"}
    assert len(aws.notices()) == 1


def test_nothing_is_sent_that_could_not_be_reserved(aws: Cloud, context: LambdaContext) -> None:
    with refusal(client("dynamodb"), "UpdateItem", "ThrottlingException"), pytest.raises(ThrottledError):
        lambda_handler(uncertain(), context)
    assert aws.notices() == []


def test_the_reservation_stands_before_the_notice_is_sent(aws: Cloud, context: LambdaContext) -> None:
    reserved: list[bool] = []
    client("sns").meta.events.register(
        "before-call.sns.Publish", lambda **_: reserved.append(aws.item().get("Notices") == {"SS": ["uncertain"]})
    )
    lambda_handler(uncertain(), context)
    assert reserved == [True]


def test_300_at_once_are_20_notices_and_a_digest_of_280_and_every_record_knows(
    aws: Cloud, context: LambdaContext
) -> None:
    ids = [f"{number:032x}" for number in range(300)]
    answers = [lambda_handler(uncertain() | {"imageId": image_id}, context)["notice"] for image_id in ids]
    assert answers == ["sent"] * 20 + ["in_digest"] * 280
    assert len(aws.notices()) == 20
    assert notifier.send_digest(TABLE, TOPIC, "dev", burst=20) == 280
    (digest,) = aws.notices()
    assert digest["Subject"] == "[dev] 280 images need review"
    assert all(aws.item(image_id)["Notices"] == {"SS": ["uncertain"]} for image_id in ids)


def test_the_record_stays_as_it_is(aws: Cloud, context: LambdaContext) -> None:
    record = detection_logs.announce(
        TABLE, IMAGE_ID, file_name="tom.jpg", uploaded_by="someone", fingerprint="f", correlation_id=CORRELATION
    )
    lambda_handler(uncertain(), context)
    found = detection_logs.find(TABLE, IMAGE_ID)
    assert found is not None
    assert record.items() <= found.items()
