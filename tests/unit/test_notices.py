"""The texts of the notices, and how Amazon SNS sends them: at most once."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.aws import notices_topic
from pet_detector.aws.clients import client
from pet_detector.rules import notices
from pet_detector.rules.errors import AccessDeniedError, PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.models import REVIEW_FACT, Scores
from pet_detector.rules.notices import Notice
from pet_detector.rules.text import message_of, printable, quoted
from tests.support.moto_world import CORRELATION, EXECUTION, IMAGE_ID, KEY, TOPIC, Cloud, breakdown, refusal
from tests.support.petdetect import petdetect


def uncertain(*, file_name: str = "tom.jpg", scores: Scores = Scores(60.0, 10.0)) -> Notice:  # noqa: B008  # immutable
    return notices.uncertain_image(
        IMAGE_ID,
        file_name=file_name,
        location=f"s3://bucket/others/{IMAGE_ID}.jpg",
        reason="Perhaps a cat.",
        confidence=40.0,
        scores=scores,
        correlation_id=CORRELATION,
        stage="dev",
    )


def failed(*, key: str = KEY, cause: str = "s3:GetObject: AccessDenied", execution: str = EXECUTION) -> Notice:
    return notices.failed_image(
        IMAGE_ID,
        key=key,
        error="AccessDeniedError",
        cause=cause,
        execution_arn=execution,
        correlation_id=CORRELATION,
        stage="dev",
    )


def test_reviewers_learn_what_was_seen_why_it_is_uncertain_and_what_to_do() -> None:
    notice = uncertain()
    assert notice.subject == f"[dev] Please review image {IMAGE_ID}"
    for part in (IMAGE_ID, "tom.jpg", "s3://bucket/others/", "Perhaps a cat.", "cat 60.0 %, dog 10.0 %", "40.0 %"):
        assert part in notice.message
    assert f"GET /images/{IMAGE_ID}" in notice.message


def test_operators_learn_what_failed_why_and_what_to_do() -> None:
    notice = failed()
    assert notice.subject == f"[dev] Processing failed for image {IMAGE_ID}"
    for part in (
        KEY,
        "AccessDeniedError: s3:GetObject: AccessDenied",
        EXECUTION,
        f"petdetect redrive {IMAGE_ID}",
        "Nothing is lost",
    ):
        assert part in notice.message


@pytest.mark.parametrize(
    ("reviews", "failures", "subject"),
    [
        (437, 12, "437 images need review, 12 failed"),
        (1, 1, "1 image needs review, 1 failed"),
        (2, 0, "2 images need review"),
        (0, 1, "1 image failed"),
        (0, 2, "2 images failed"),
    ],
)
def test_a_digest_counts_and_says_how_to_list_them(reviews: int, failures: int, subject: str) -> None:
    notice = notices.digest(reviews=reviews, failures=failures, since="2026-11-21T09:30:00.000Z", stage="prod")
    assert notice.subject == f"[prod] {subject}"
    assert f"To review: {reviews}\n" in notice.message
    assert f"Failed:    {failures}\n" in notice.message
    assert "Nothing is lost" in notice.message
    assert ("GET /images?status=needs_review" in notice.message) is (reviews > 0)
    assert ("petdetect --env prod failed" in notice.message) is (failures > 0)
    kinds = notice.attributes["Kind"]
    assert kinds == ["NoticeDigest"] + ["ImageUncertain"] * (reviews > 0) + ["ImageProcessingFailed"] * (failures > 0)


def test_commands_of_a_digest_exist() -> None:
    text = notices.digest(reviews=1, failures=1, since="now", stage="prod").message
    commands = re.findall(r"petdetect (--env prod [a-z]+(?: --all)?)", text)
    assert len(commands) == 3
    for command in commands:
        assert petdetect(*command.split(), "--help").exit_code == 0


def test_a_fact_is_one_review_of_an_image_and_one_failure_of_an_execution() -> None:
    assert uncertain().fact == REVIEW_FACT == "uncertain"
    assert failed().fact == EXECUTION
    assert failed(execution=EXECUTION + "2").fact != failed().fact


@pytest.mark.parametrize(
    ("scores", "lean"), [(Scores(60, 59), "cat"), (Scores(59, 60), "dog"), (Scores(50, 50), "cat")]
)
def test_subscribers_can_filter_by_what_the_machine_leaned_to(scores: Scores, lean: str) -> None:
    attributes = uncertain(scores=scores).attributes
    assert attributes["LeansTo"] == lean
    assert attributes["HighestScore"] == max(scores.cat, scores.dog)


@pytest.mark.usefixtures("people")
def test_sns_delivers_the_notice_with_attributes_that_compare_as_numbers(aws: Cloud) -> None:
    assert notices_topic.publish(TOPIC, uncertain()) is True
    (delivered,) = aws.notices()
    assert delivered["Subject"] == uncertain().subject
    assert delivered["Message"] == uncertain().message
    assert delivered["MessageAttributes"]["HighestScore"] == {"Type": "Number", "Value": "60.00"}
    assert delivered["MessageAttributes"]["CorrelationID"] == {"Type": "String", "Value": CORRELATION}
    assert delivered["MessageAttributes"]["Kind"] == {"Type": "String", "Value": "ImageUncertain"}


def by_protocol(notice: Notice) -> dict[str, Any]:
    """What SNS is given for its subscribers, by their protocol."""
    requests: list[dict[str, Any]] = []

    def look(params: dict[str, Any], **_: Any) -> None:
        requests.append(params)

    events = client("sns").meta.events
    events.register("provide-client-params.sns.Publish", look)
    try:
        notices_topic.publish(TOPIC, notice)
    finally:
        events.unregister("provide-client-params.sns.Publish", look)
    (request,) = requests
    assert request["MessageStructure"] == "json"
    found: dict[str, Any] = json.loads(request["Message"])
    assert found["default"] == notice.message, "what people read by e-mail"
    return found


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    "notice",
    [
        notices.digest(reviews=3, failures=2, since="now", stage="prod"),
        notices.waiting_reviews(3, again=0, oldest_hours=4.0, page_address="https://pets.example.com", stage="prod"),
        notices.overdue_reviews(3, oldest_hours=80.0, overdue_hours=72.0, stage="prod"),
    ],
    ids=lambda notice: str(notice.fact),
)
def test_a_digest_has_the_form_that_chat_takes(notice: Notice) -> None:
    """ "Event schema" of custom notifications, administrator guide of Amazon Q Developer in chat applications."""
    document = json.loads(by_protocol(notice)["https"])
    assert (document["version"], document["source"]) == ("1.0", "custom")
    assert document["content"] == {
        "textType": "client-markdown",
        "title": notice.subject,
        "description": notice.message,
    }


@pytest.mark.usefixtures("people")
def test_no_channel_hears_of_single_images() -> None:
    """Their notices hold names that uploaders gave, which a chat would render."""
    for notice in (uncertain(), failed()):
        assert by_protocol(notice).keys() == {"default"}


@pytest.mark.parametrize("subject", ["x" * 300, "two\r\nBcc: lines", "\u202egnp.\U0001f408 ünï", "\x00\x1b[31m"])
@pytest.mark.usefixtures("people")
def test_a_subject_is_what_sns_takes(aws: Cloud, subject: str) -> None:
    notices_topic.publish(TOPIC, Notice(subject, "m", {}, "a fact"))
    (delivered,) = aws.notices()
    assert 1 <= len(delivered["Subject"]) <= 100
    assert all(" " <= character <= "~" for character in delivered["Subject"])


def test_names_from_outside_cannot_forge_a_line_of_the_message() -> None:
    forged = "tom.jpg\nLocation:   s3://evil\u2028\u202e"
    for notice, honest in ((uncertain(file_name=forged), uncertain()), (failed(key=forged), failed())):
        assert len(notice.message.splitlines()) == len(honest.message.splitlines())
        assert "\u202e" not in notice.message
    assert len(failed(cause=forged).message.splitlines()) == len(failed().message.splitlines())


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_short_and_holds_no_control_or_direction_character(text: str, length: int) -> None:
    clean = printable(text, length)
    assert len(clean) == min(len(text), length)
    assert not {unicodedata.category(character) for character in clean} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_leaves_plain_text_alone(text: str) -> None:
    assert printable(text, 10_000) == text


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("Throttled", ThrottledError),
        ("ThrottlingException", ThrottledError),
        ("KMSThrottling", ThrottledError),
        ("AuthorizationError", AccessDeniedError),
        ("KMSAccessDenied", AccessDeniedError),
        ("InternalError", ServiceError),
        ("NotFound", ServiceError),
        ("InvalidParameter", ServiceError),
    ],
)
@pytest.mark.usefixtures("people")
def test_a_no_of_sns_means_that_nothing_was_sent(aws: Cloud, code: str, kind: type[PetDetectorError]) -> None:
    with refusal(client("sns"), "Publish", code) as fault, pytest.raises(kind):
        notices_topic.publish(TOPIC, uncertain())
    assert fault.happened == 1
    assert aws.notices() == []


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://sns"),
        ConnectionClosedError(endpoint_url="https://sns"),
        ResponseParserError("unreadable"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.usefixtures("people")
def test_a_lost_answer_is_no_failure_and_no_second_notice(aws: Cloud, error: Exception) -> None:
    with breakdown(client("sns"), "Publish", error, done=True, times=9) as fault:
        assert notices_topic.publish(TOPIC, uncertain()) is False
    assert fault.happened == 1, "the SDK sent it again"
    assert len(aws.notices()) == 1


@pytest.mark.parametrize(
    "error",
    [EndpointConnectionError(endpoint_url="https://sns"), ConnectTimeoutError(endpoint_url="https://sns")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.usefixtures("people")
def test_a_service_that_was_never_reached_has_sent_nothing(aws: Cloud, error: Exception) -> None:
    with breakdown(client("sns"), "Publish", error, done=False), pytest.raises(ServiceError):
        notices_topic.publish(TOPIC, uncertain())
    assert aws.notices() == []


def test_missing_credentials_are_an_error_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(client("sns"), "publish", fail)
    with pytest.raises(AccessDeniedError):
        notices_topic.publish(TOPIC, uncertain())


CAUSE = json.dumps(
    {"errorMessage": 'a "quoted" sentence \\ ünï', "errorType": "ServiceError", "stackTrace": ["x" * 2000]}
)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (CAUSE, 'a "quoted" sentence \\ ünï'),
        (CAUSE[:1000], 'a "quoted" sentence \\ ünï'),  # the state machine cuts it
        (CAUSE[:20], CAUSE[:20]),  # even in the message
        ("The state timed out.", "The state timed out."),
        ('"errorMessage": "\\x"', '"errorMessage": "\\x"'),
        ("", ""),
    ],
)
def test_operators_read_the_sentence_and_not_the_stack_trace(cause: str, message: str) -> None:
    assert message_of(cause) == message


def test_a_hostile_cause_is_read_once() -> None:
    cause = '"errorMessage":"' + "\\\\" * 50_000
    assert message_of(cause) == cause


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("tom.jpg", '"tom.jpg"'),
        ("Tom.PNG", '"Tom.PNG"'),
        (KEY, f'"{KEY}"'),
        ("https://evil.com/login?next=1", '"https[:]//evil[.]com/login?next=1"'),
        ("www.evil.com", '"www[.]evil[.]com"'),
        ("tom.jpg.evil.com", '"tom[.]jpg[.]evil[.]com"'),
        ("anna@evil.com", '"anna@evil[.]com"'),
        ("evil。com", '"evil[。]com"'),
        ("mailto:anna.jpg", '"mailto[:]anna.jpg"'),
        ("tom.jpg\n", '"tom[.]jpg\N{REPLACEMENT CHARACTER}"'),
        ("x" * 81, '"' + "x" * 79 + '…"'),
    ],
)
def test_a_file_name_in_a_mail_is_quoted_short_and_no_link(name: str, shown: str) -> None:
    assert f"File name:  {shown}\n" in uncertain(file_name=name).message
    assert f"Object:    {shown}\n" in failed(key=name).message


@given(st.text(max_size=200))
def test_no_file_name_makes_a_link(name: str) -> None:
    text = quoted(name)
    assert not re.search(r"[a-z]://|www\.|\w\.(?!(?:jpe?g|png)\"$)\w", text, re.IGNORECASE)
    assert len(printable(name, 80)) <= 80
