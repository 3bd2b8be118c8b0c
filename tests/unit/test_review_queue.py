"""ReviewQueue: what the stream says puts images into the queue for review, once, and carries verdicts over."""

from __future__ import annotations

import io
from typing import Any

import pytest

import review_queue.app
from pet_detector.aws import reviews
from pet_detector.aws.clients import client
from tests.support.handler_runs import CONTEXT
from tests.support.moto_world import REVIEW_WORKFLOW, REVIEWS, Cloud, refusal
from tests.unit.reviewing import (
    ADA,
    BOB,
    carry_out,
    change,
    filed,
    head,
    image_id,
    new_key,
    page,
    put,
    queue,
    review,
    say,
    undo,
)

pytestmark = pytest.mark.usefixtures("workflow", "nobody_is_drawn")
SAME = "f" * 64


def handle(*changes: dict[str, Any]) -> Any:
    return review_queue.app.lambda_handler({"Records": list(changes)}, CONTEXT)


def heads() -> set[str]:
    return {found["ImageID"] for found in reviews.every_head(REVIEWS)}


def recorded(aws: Cloud, image: str, old: dict[str, Any]) -> Any:
    """Call ReviewQueue with what the review machine has just written."""
    return handle(change(aws, image, old))


def test_uncertain_images_are_queued_once(aws: Cloud) -> None:
    image = filed(aws)
    assert queue(aws, image) == {"batchItemFailures": []}
    say(image, "dog")
    queue(aws, image)
    assert heads() == {image}
    assert head(image)["Sequence"] == 1


def test_of_certain_images_the_sample_is_queued(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "2")
    images = [filed(aws, number, "completed") for number in range(3)]
    second = aws.item(images[1])["ContentHash"]["S"]
    monkeypatch.setattr(
        "pet_detector.rules.review.sampled", lambda content, percent: content == second and percent == 2
    )
    queue(aws, *images)
    assert heads() == {images[1]}


def test_what_is_no_end_of_the_workflow_queues_nothing(aws: Cloud) -> None:
    items = [aws.item(filed(aws, number, status)) for number, status in enumerate(("processing", "rejected", "failed"))]
    for item in items:
        handle({"dynamodb": {"NewImage": item, "SequenceNumber": "1"}})
        handle({"dynamodb": {"OldImage": item, "SequenceNumber": "1"}})
    image = filed(aws, 9)
    handle(change(aws, image, old=aws.item(image)))  # the same status: a later upload was counted
    notice = {"ImageID": {"S": "notice-burst#ImageUncertain"}, "Withheld": {"N": "7"}}
    handle({"dynamodb": {"NewImage": notice, "SequenceNumber": "1"}})
    assert heads() == set()


def test_an_image_that_was_erased_in_the_meantime_is_not_queued(aws: Cloud) -> None:
    late = change(aws, filed(aws))
    aws.write(image_id(0), ProcessingStatus="erased")
    assert handle(late) == {"batchItemFailures": []}
    assert heads() == set()


def test_a_change_that_cannot_be_understood_does_not_stop_the_others(aws: Cloud, logs: io.StringIO) -> None:
    good = change(aws, filed(aws, 1))
    poison = change(aws, filed(aws, 2))
    del poison["dynamodb"]["NewImage"]["ContentHash"]
    assert handle(poison, good, {"dynamodb": {"NewImage": {"ProcessingStatus": {"S": "completed"}}}}) == {
        "batchItemFailures": []
    }
    assert heads() == {image_id(1)}
    assert logs.getvalue().count("Change left out") == 2


def test_what_aws_refuses_is_given_again_from_there(aws: Cloud) -> None:
    changes = [change(aws, filed(aws, number), number=str(number)) for number in (1, 2)]
    with refusal(client("dynamodb"), "TransactWriteItems", "InternalServerError", 500) as fault:
        assert handle(*changes) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert fault.happened
    assert handle(*changes) == {"batchItemFailures": []}
    assert heads() == {image_id(1), image_id(2)}


# --- The same bytes ---------------------------------------------------------------------------------------------------


def test_a_verdict_is_carried_over_to_what_waits_and_undone_with_it(aws: Cloud) -> None:
    images = put(aws, 1, 2, 3, ContentHash=SAME)
    (first,) = [picture["imageId"] for picture in page()["pictures"]]
    others = [image for image in images if image != first]
    key = new_key()
    say(first, "dog", key=key)
    for image in others:
        (row,) = review(image).rows
        assert (row["Animal"], row["SameAs"], row["Person"]) == ("dog", first, ADA)
        assert head(image)["Verdict"] == "dog"
    assert aws.started(REVIEW_WORKFLOW).keys() == {f"{image}-1" for image in images}
    say(first, "dog", key=key)  # again: nothing new
    assert {len(review(image).rows) for image in others} == {1}
    undo(first, key)
    for image in images:
        carry_out(aws, image)
        assert head(image)["Queue"] == "uncertain"
        assert "Verdict" not in head(image)


def test_a_new_image_whose_bytes_were_decided_gets_the_verdict_at_once(aws: Cloud) -> None:
    (first,) = put(aws, 1, ContentHash=SAME)
    say(first, "dog")
    second, third = put(aws, 2, ContentHash=SAME), put(aws, 3, status="completed", ContentHash=SAME)
    for image in (*second, *third):  # the third was certain, and wrong: nobody has to find that again
        (row,) = review(image).rows
        assert (row["SameAs"], row["Animal"]) == (first, "dog")
        assert f"{image}-1" in aws.started(REVIEW_WORKFLOW)
    assert head(third[0])["Purpose"] == "correction"
    put(aws, 4, status="completed", ContentHash=SAME, DetectedAnimal="dog")
    assert image_id(4) not in heads()  # the machine says the same: nothing to do


def test_a_verdict_taken_back_is_no_verdict_for_new_images(aws: Cloud) -> None:
    (first,) = put(aws, 1, ContentHash=SAME)
    key = new_key()
    say(first, "dog", key=key)
    undo(first, key)
    (second,) = put(aws, 2, ContentHash=SAME)
    assert review(second).rows == ()


def test_what_the_api_could_not_carry_over_is_done_when_the_verdict_is_carried_out(aws: Cloud) -> None:
    first, second = put(aws, 1, 2, ContentHash=SAME)
    with refusal(client("dynamodb"), "BatchGetItem", "InternalServerError", 500):
        assert say(first, "dog", sequence=0)["status"] == 200
    assert review(second).rows == ()
    old = aws.item(first)
    carry_out(aws, first)
    recorded(aws, first, old)
    assert [row["Animal"] for row in review(second).rows] == ["dog"]
    recorded(aws, first, aws.item(first))  # another change of the record
    assert len(review(second).rows) == 1


def test_many_copies_are_decided_in_turn(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pet_detector.use_cases.review_queue.MOST_AT_ONCE", 2)
    images = put(aws, *range(6), ContentHash=SAME)
    say(images[0], "dog")
    assert sum("Verdict" in found for found in reviews.every_head(REVIEWS)) == 3
    for image in [found["ImageID"] for found in reviews.every_head(REVIEWS) if "Verdict" in found]:
        old = aws.item(image)
        carry_out(aws, image)
        recorded(aws, image, old)
    assert all("Verdict" in found for found in reviews.every_head(REVIEWS))


def test_a_new_copy_and_a_request_look_at_some_copies_only(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ten thousand undecided copies, each new one would look at all of them, and run out of time."""
    monkeypatch.setattr(reviews, "BATCH", 1)
    for place in ("review_queue", "verdicts"):
        monkeypatch.setattr(f"pet_detector.use_cases.{place}.MOST_LOOKED_AT", 2)
    images = put(aws, *range(6), ContentHash=SAME)
    pages: list[str] = []

    def note(params: Any, **_: Any) -> None:
        if "ContentIndex" in str(params["body"]):
            pages.append("looked")

    client("dynamodb").meta.events.register("before-call.dynamodb.Query", note)
    queue(aws, filed(aws, 9, ContentHash=SAME))
    assert len(pages) == 2
    say(images[0], "dog")
    assert len(pages) == 4
    client("dynamodb").meta.events.unregister("before-call.dynamodb.Query", note)
    old = aws.item(images[0])
    carry_out(aws, images[0])
    recorded(aws, images[0], old)
    assert all("Verdict" in found for found in reviews.every_head(REVIEWS))


def test_what_the_review_machine_writes_queues_nothing_new(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = put(aws, 1)
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    say(image, "dog")
    old = aws.item(image)
    carry_out(aws, image)  # needs_review -> completed
    recorded(aws, image, old)
    assert heads() == {image}
    assert head(image)["Purpose"] == "unmeasured"  # nothing was drawn when it was filed
    assert head(image)["Queue"] == "done"


# --- Two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["single", "gallery"])
def test_of_two_who_decide_in_the_same_moment_exactly_one_wins(aws: Cloud, mode: str) -> None:
    """The second one decides between the first one's reading and writing."""
    (image,) = put(aws, 1)
    answers: list[Any] = []

    def decide_in_between(**_: Any) -> None:
        client("dynamodb").meta.events.unregister(event, decide_in_between)
        answers.append(say(image, "cat", BOB, mode=mode, sequence=0))

    event = "before-call.dynamodb.TransactWriteItems"
    client("dynamodb").meta.events.register(event, decide_in_between)
    answers.append(say(image, "dog", ADA, mode=mode, sequence=0))
    assert [answer["status"] for answer in answers] == [200, 409]
    assert answers[1]["code"] == "DECIDED_ALREADY"
    (row,) = review(image).rows
    assert (row["Person"], head(image)["DecidedBy"], head(image)["Verdict"]) == (BOB, BOB, "cat")


def test_of_two_pages_at_the_same_moment_each_picture_is_on_one(aws: Cloud) -> None:
    """The second one leases between the first one's reading and leasing."""
    images = put(aws, 1, 2)
    pages: list[Any] = []

    def lease_in_between(**_: Any) -> None:
        client("dynamodb").meta.events.unregister(event, lease_in_between)
        pages.append(page(BOB, limit="1"))

    event = "before-call.dynamodb.UpdateItem"
    client("dynamodb").meta.events.register(event, lease_in_between)
    pages.append(page(ADA, limit="1"))
    (one,), (other,) = ([picture["imageId"] for picture in answer["pictures"]] for answer in pages)
    assert {one, other} == set(images)
    assert {head(image)["LeasedBy"] for image in images} == {ADA, BOB}
