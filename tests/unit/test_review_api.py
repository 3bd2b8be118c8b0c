"""ReviewApi: what people judge next, their verdicts and undos, and what was said about an image."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from pet_detector.aws import detection_logs, reviews
from pet_detector.aws.clients import client
from pet_detector.rules.review import ROW_LONGER_SECONDS, Queue, head_of_any
from tests.support.moto_world import REVIEW_WORKFLOW, REVIEWS, TABLE, Cloud, breakdown, refusal
from tests.unit.reviewing import (
    ADA,
    BOB,
    EVE,
    call,
    carry_out,
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
LOST = ReadTimeoutError(endpoint_url="https://dynamodb")


def ids(answer: Any) -> list[str]:
    assert answer["status"] == 200, answer
    return [picture["imageId"] for picture in answer["pictures"]]


def refused(answer: Any) -> tuple[int, str]:
    assert answer["message"].endswith(".")
    return answer["status"], answer["code"]


def move_to(aws: Cloud, image: str, queue: str) -> None:
    aws.dynamodb.update_item(
        TableName=REVIEWS,
        Key={"ImageID": {"S": image}, "Entry": {"S": "review"}},
        UpdateExpression="SET #queue = :queue",
        ExpressionAttributeNames={"#queue": "Queue"},
        ExpressionAttributeValues={":queue": {"S": queue}},
    )


def let_lease_end(aws: Cloud, image: str) -> None:
    aws.dynamodb.update_item(
        TableName=REVIEWS,
        Key={"ImageID": {"S": image}, "Entry": {"S": "review"}},
        UpdateExpression="SET LeasedUntil = :past",
        ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 1)}},
    )


# --- The next pictures ------------------------------------------------------------------------------------------------


def test_page_leases_the_nearest_calls_first_and_shows_what_the_machine_saw(aws: Cloud) -> None:
    images = [put(aws, number, Scores={"cat": 50 + number, "dog": 0})[0] for number in (9, 3, 27)]
    answer = page()
    assert ids(answer) == [images[1], images[0], images[2]]
    picture = answer["pictures"][0]
    assert picture["leasedUntil"] == pytest.approx(time.time() + 300, abs=5)
    assert "X-Amz-Signature" in picture.pop("viewUrl")
    del picture["leasedUntil"]
    assert picture == {
        "imageId": images[1],
        "viewUrlExpiresInSeconds": 300,
        "blind": False,
        "sequence": 0,
        "guess": "other",
        "leaning": "cat",
        "scores": {"cat": 53, "dog": 0},
        "reason": "Perhaps a cat.",
        "labels": [{"name": "Cat", "confidence": 60}],
        "fileName": "tom.jpg",
    }
    assert answer["waiting"] == {"uncertain": 3, "sample": 0, "second": 0, "disagreed": 0}
    assert answer["pending"] == 0


def test_of_a_blind_picture_nothing_is_shown_but_the_picture(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    put(aws, 1, status="completed")
    (picture,) = page()["pictures"]
    assert picture["blind"] is True
    assert set(picture) == {"imageId", "viewUrl", "viewUrlExpiresInSeconds", "leasedUntil", "blind", "sequence"}


def test_what_is_leased_is_nobody_elses_until_the_lease_ends(aws: Cloud) -> None:
    images = put(aws, *range(5))
    mine = ids(page(ADA, limit="3"))
    assert ids(page(BOB)) == [image for image in ids(page(BOB)) if image not in mine]
    assert set(ids(page(BOB))) | set(mine) == set(images)
    assert ids(page(EVE)) == []
    assert ids(page(ADA, limit="3")) == mine  # again, with new links
    let_lease_end(aws, mine[0])
    assert ids(page(EVE)) == [mine[0]]


def test_page_leaves_out_what_the_browser_has(aws: Cloud) -> None:
    put(aws, *range(6))
    held = ids(page(ADA, limit="4"))
    more = page(ADA, limit="4", **{"except": ",".join(held)})
    assert len(ids(more)) == 2
    assert not set(ids(more)) & set(held)


def test_every_tenth_place_is_a_second_look_however_few_are_asked_for(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda _: 0)
    put(aws, *range(20))
    samples = [filed(aws, number, "completed") for number in range(20, 24)]
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    put(aws, *range(20, 24), status="completed")
    move_to(aws, samples[0], "second")
    queues = Counter(head(image)["Queue"] for image in ids(page(limit="10")))
    assert queues == {"uncertain": 8, "sample": 1, "second": 1}


def test_what_people_disagree_about_comes_first_for_a_third_person_only(aws: Cloud) -> None:
    _, image = put(aws, 1, 2)
    aws.dynamodb.update_item(
        TableName=REVIEWS,
        Key={"ImageID": {"S": image}, "Entry": {"S": "review"}},
        UpdateExpression="SET #queue = :queue, Deciders = :two",
        ExpressionAttributeNames={"#queue": "Queue"},
        ExpressionAttributeValues={":queue": {"S": "disagreed"}, ":two": {"SS": [ADA, BOB]}},
    )
    assert image not in ids(page(ADA)) + ids(page(BOB))
    answer = page(EVE)
    assert ids(answer)[0] == image
    assert answer["pictures"][0]["blind"] is True
    assert answer["waiting"]["disagreed"] == 1


def test_sheet_is_of_one_leaning_and_never_blind(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cats = put(aws, *range(3))
    dogs = put(aws, *range(3, 5), Scores={"cat": 0, "dog": 60})
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    put(aws, *range(5, 8), status="completed")
    assert set(ids(page(mode="sheet", guess="dog", limit="24"))) == set(dogs)
    answer = page(mode="sheet", guess="cat", limit="24")
    assert set(ids(answer)) == set(cats)
    assert not any(picture["blind"] for picture in answer["pictures"])
    assert ids(page(mode="sheet", guess="other")) == []


def test_the_same_bytes_are_offered_once(aws: Cloud) -> None:
    images = put(aws, 1, 2, 3, ContentHash="f" * 64)
    (mine,) = ids(page(ADA))
    assert mine in images
    assert ids(page(BOB)) == []  # its bytes are before somebody already


def test_images_that_are_gone_are_not_offered(aws: Cloud) -> None:
    here, gone, erased = put(aws, 1, 2, 3)
    aws.dynamodb.delete_item(TableName=TABLE, Key={"ImageID": {"S": gone}})
    aws.write(erased, ProcessingStatus="erased")
    assert ids(page()) == [here]
    assert "LeasedBy" not in head(gone)


@pytest.mark.parametrize("page_size", [200, 2])
def test_pictures_that_have_expired_are_neither_offered_nor_counted(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    """The bucket keeps them for 365 days; their records may stay for longer."""
    monkeypatch.setattr(reviews, "PAGE", page_size)
    ago = {days: detection_logs.format_time(datetime.now(UTC) - timedelta(days=days)) for days in (364, 366)}
    put(aws, 1, 2, 3, Timestamp=ago[366])
    (here,) = put(aws, 4, Timestamp=ago[364])
    answer = page()
    assert ids(answer) == [here]
    assert answer["waiting"]["uncertain"] == 1


def test_everything_that_was_said_is_kept_as_long_as_the_picture_that_it_moved(aws: Cloud) -> None:
    (image,) = put(aws, 1, Timestamp=detection_logs.format_time(datetime.now(UTC) - timedelta(days=300)))
    expires = 2_000_000_000 + 300 * 86400
    say(image, "other", mode="gallery", sequence=0)
    assert head(image)["ExpiresAt"] == 2_000_000_000  # it stays where it lies
    assert review(image).rows[0]["ExpiresAt"] == 2_000_000_000 + ROW_LONGER_SECONDS
    say(image, "dog", mode="gallery", sequence=1)
    now = review(image)
    assert int(now.head["ExpiresAt"]) == pytest.approx(expires, abs=60)
    found = [int(row["ExpiresAt"]) for row in now.rows]
    assert found == [pytest.approx(expires + ROW_LONGER_SECONDS, abs=60)] * 2
    say(image, "cat", mode="gallery", sequence=2)  # a moment later: they are not written again for that
    assert [int(row["ExpiresAt"]) for row in review(image).rows[:2]] == found


def test_no_row_expires_before_its_head(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A review without its first rows could not go on, and people would hear that the service is busy."""
    (image,) = put(aws, 1)
    hours = iter(range(0, 100, 23))

    def later() -> str:
        return detection_logs.format_time(datetime.now(UTC) + timedelta(hours=next(hours)))

    monkeypatch.setattr("pet_detector.use_cases.verdicts.detection_logs.now", later)
    for sequence, animal in enumerate(("dog", "cat", "dog", "cat")):
        say(image, animal, mode="gallery", sequence=sequence)
        now = review(image)
        earliest = int(min(row["ExpiresAt"] for row in now.rows))
        assert earliest - int(now.head["ExpiresAt"]) >= 86400


def test_cost_of_a_page_of_24(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read of each queue, one of the records, a conditional write for each picture, and a count."""
    put(aws, *range(40))
    calls: Counter[str] = Counter()
    client("dynamodb").meta.events.register("before-call.dynamodb", lambda model, **_: calls.update([model.name]))
    assert len(ids(page(limit="24"))) == 24
    assert calls == {"Query": 5, "BatchGetItem": 1, "UpdateItem": 24}
    calls.clear()
    image = ids(page(limit="1"))[0]
    calls.clear()
    assert say(image)["status"] == 200
    assert calls == {"Query": 2, "TransactWriteItems": 1, "BatchGetItem": 1}


@pytest.mark.parametrize(
    "query",
    [
        {"mode": "gallery"},
        {"mode": "sheet"},
        {"mode": "sheet", "guess": "fish"},
        {"limit": "25"},
        {"limit": "0"},
        {"except": "x"},
        {"except": ",".join([image_id(1)] * 151)},
    ],
)
def test_questions_that_cannot_be_answered(aws: Cloud, query: dict[str, str]) -> None:
    assert page(**query)["status"] == 400


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def test_verdict_is_saved_with_all_that_was_shown_and_the_machine_started(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    page()
    key = new_key()
    answer = say(image, "dog", key=key, milliseconds=812, sequence=0)
    assert answer == {"status": 200, "imageId": image, "key": key, "sequence": 1, "animal": "dog"}
    (row,) = review(image).rows
    expected: dict[str, Any] = {
        "Key": key,
        "Person": ADA,
        "PersonName": "ada@pets.example",
        "Kind": "verdict",
        "Animal": "dog",
    }
    expected |= {"Blind": False, "Mode": "single", "Milliseconds": 812, "PolicyVersion": "1:80/15/50"}
    assert expected.items() <= row.items()
    assert aws.started(REVIEW_WORKFLOW) == {f"{image}-1": {"imageId": image, "sequence": 1}}
    now = head(image)
    assert (now["Queue"], now["NextQueue"], now["Verdict"]) == ("pending", "done", "dog")
    assert "LeasedBy" not in now
    assert page()["pending"] == 1


def test_same_key_gets_the_same_answer_and_one_row_whatever_has_happened_since(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    key = new_key()
    first = say(image, "dog", key=key, sequence=0)
    assert say(image, "dog", key=key, sequence=0) == first
    carry_out(aws, image)
    say(image, "cat", EVE, mode="gallery", sequence=1)
    assert say(image, "dog", key=key, sequence=0) == first
    assert [row["Animal"] for row in review(image).rows] == ["dog", "cat"]


def test_key_of_something_else_is_refused(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    key = new_key()
    say(image, "dog", key=key)
    assert refused(say(image, "cat", key=key)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert refused(say(image, "dog", BOB, key=key)) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert refused(undo(image, key, key=key)) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_answer_that_is_lost_leaves_one_row(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    with breakdown(client("dynamodb"), "TransactWriteItems", LOST, done=True) as fault:
        answer = say(image, "dog")
    assert fault.happened == 1
    assert answer["status"] == 200
    assert len(review(image).rows) == 1


def test_verdict_stands_when_the_machine_cannot_be_started(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    with refusal(client("stepfunctions", quick=True), "StartExecution", "InternalServerError", 500) as fault:
        assert say(image, "dog")["status"] == 200
    assert fault.happened
    assert head(image)["Queue"] == "pending"
    assert [found["ImageID"] for found in reviews.pending(REVIEWS, "9")] == [image]
    assert list(reviews.pending(REVIEWS, "2026-01-01")) == []


def test_picture_that_another_person_has_before_them_is_theirs(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    page(BOB)
    assert refused(say(image, "dog", ADA)) == (409, "SOMEBODY_DECIDES")
    assert say(image, "dog", BOB)["status"] == 200
    assert refused(say(image, "cat", ADA)) == (409, "DECIDED_ALREADY")


def test_lease_that_has_ended_does_not_cost_the_verdict(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    page(ADA)
    let_lease_end(aws, image)
    assert say(image, "dog", ADA, sequence=0)["status"] == 200


def test_verdict_about_what_was_shown_before_somebody_decided_is_refused(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    say(image, "dog", ADA)
    carry_out(aws, image)
    assert refused(say(image, "cat", BOB, sequence=0)) == (409, "DECIDED_ALREADY")
    assert refused(say(image, "cat", BOB)) == (409, "DECIDED_ALREADY")
    assert refused(say(image, "cat", BOB, mode="gallery", sequence=0)) == (409, "DECIDED_ALREADY")
    assert say(image, "cat", BOB, mode="gallery", sequence=1)["sequence"] == 2


def test_correction_of_what_somebody_decided_must_say_what_it_saw(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    say(image, "dog", ADA)
    key = new_key()
    answer = say(image, "cat", BOB, mode="gallery", key=key)
    assert refused(answer) == (400, "INVALID_BODY")
    assert "sequence" in answer["message"]
    assert len(review(image).rows) == 1
    first = say(image, "cat", BOB, mode="gallery", key=key, sequence=1)
    assert first["status"] == 200
    assert say(image, "cat", BOB, mode="gallery", key=key) == first  # what was saved is answered however it is asked


def test_gallery_corrects_an_image_that_nobody_asked_about(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    image = filed(aws, 1, "completed")
    assert say(image, "dog", mode="gallery")["status"] == 200
    now = head(image)
    assert (now["Purpose"], float(now["Probability"])) == ("correction", 0)
    assert (now["Guess"], now["Verdict"]) == ("cat", "dog")
    carry_out(aws, image)
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    assert ids(page(BOB)) == []


@pytest.mark.parametrize("status", ["completed", "needs_review"])
@pytest.mark.parametrize("percent", ["0", "100"])
def test_a_correction_before_the_image_is_queued_makes_the_head_that_the_queue_would(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, status: str, percent: str
) -> None:
    """And when the image is queued, the correction stays."""
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", percent)
    monkeypatch.setenv("SECOND_LOOK_PERCENT", percent)
    now = detection_logs.now()
    image = filed(aws, 1, status, Timestamp=now)
    expected = head_of_any(detection_logs.deserialized(aws.item(image)), float(percent), float(percent))
    say(image, "dog", mode="gallery")
    corrected = head(image)
    same = expected.keys() - {"Queue", "Order", "Sequence", "FiledAt", "ExpiresAt"}  # it moves
    assert {name: corrected.get(name) for name in same} == {name: expected.get(name) for name in same}
    assert corrected["NextQueue"] == ("sample" if percent == "100" else "done")
    queue(aws, image)
    assert head(image) == corrected


@pytest.mark.parametrize(("status", "purpose"), [("completed", "correction"), ("needs_review", "unmeasured")])
def test_what_was_not_drawn_when_it_was_filed_is_not_drawn_by_a_correction(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, status: str, purpose: str
) -> None:
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    image = filed(aws, 1, status, Timestamp=detection_logs.format_time(datetime.now(UTC) - timedelta(days=7)))
    say(image, "dog", mode="gallery")
    assert (head(image)["Purpose"], head(image)["NextQueue"]) == (purpose, "done")


def test_what_was_corrected_before_its_turn_is_asked_in_its_turn(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blind, and of whoever corrected it as well. Taking the correction back does not bring its turn forward."""
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    corrected, untouched = put(aws, 1, 2, status="completed")
    key = new_key()
    say(corrected, "dog", mode="gallery", key=key)
    carry_out(aws, corrected)
    assert head(corrected)["Verdict"] == "dog"
    (picture,) = (picture for picture in page()["pictures"] if picture["imageId"] == corrected)
    assert picture["blind"] is True
    let_lease_end(aws, corrected)
    undo(corrected, key)
    assert "LeasedBy" not in head(corrected)
    say(untouched, "cat", blind=True)
    carry_out(aws, untouched)
    assert head(untouched)["Queue"] == "done"


def test_what_is_passed_over_is_noted_of_the_sample(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its turn has come and nobody has decided. That it was stays so, whatever is said later."""
    (uncertain,) = put(aws, 1)
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    passed, decided, undone = put(aws, 2, 3, 4, status="completed")
    key = new_key()
    say(decided, "cat", blind=True)
    say(undone, "dog", key=key, blind=True)
    undo(undone, key)  # shown again, and not carried out yet
    skipped = (uncertain, passed, decided, undone, image_id(99))
    assert page(skipped=",".join(skipped))["status"] == 200
    assert {image for image in skipped[:4] if head(image).get("PassedOver")} == {passed, undone}
    say(passed, "dog", mode="gallery")
    assert head(passed)["PassedOver"] is True
    assert refused(page(skipped="x")) == (400, "INVALID_FILTER")
    assert reviews.head(REVIEWS, image_id(99)) is None


def test_what_somebody_decides_in_this_moment_may_be_passed_over(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    (image,) = put(aws, 1)
    with refusal(client("dynamodb"), "UpdateItem", "TransactionConflictException") as fault:
        assert page(skipped=image)["status"] == 200
    assert fault.happened


def test_blindness_is_believed_only_of_what_is_shown_so(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (uncertain,) = put(aws, 1)
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    sample, other = put(aws, 2, 3, status="completed")
    for image in (uncertain, sample):
        say(image, "dog", blind=True)
    say(other, "dog", blind=True, mode="gallery")
    assert [review(image).rows[0]["Blind"] for image in (uncertain, sample, other)] == [False, True, False]


@pytest.mark.parametrize("more", [{"mode": "single", "blind": False}, {"mode": "sheet", "blind": True}])
def test_a_sampled_picture_that_is_judged_with_the_guess_in_view_is_corrected_and_keeps_its_turn(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """As after a correction in the gallery that is taken back in Review: there the picture is shown with its guess."""
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "100")
    (image,) = put(aws, 1, status="completed")
    key = new_key()
    say(image, "dog", mode="gallery", sequence=0, key=key)
    undo(image, key)
    assert say(image, "dog", sequence=2, **more)["status"] == 200
    carry_out(aws, image)
    row, now = review(image).rows[-1], head(image)
    assert (row["Mode"], row["Blind"]) == ("gallery", False)
    assert (now["Verdict"], now["Queue"], "InTurn" in now, "Deciders" in now) == ("dog", "sample", False, False)
    say(image, "dog", sequence=3, blind=True)
    assert (head(image)["InTurn"], head(image)["NextQueue"]) == (True, "done")


def test_a_second_look_with_the_first_one_in_view_is_a_correction(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_LOOK_PERCENT", "100")
    (image,) = put(aws, 1)
    say(image, "dog", ADA, blind=True)
    carry_out(aws, image)
    say(image, "cat", BOB, sequence=1)
    now = head(image)
    assert (now["Verdict"], now["NextQueue"], now["Deciders"]) == ("cat", "done", {ADA})


@pytest.mark.parametrize("status", ["uploading", "processing", "held", "failed", "rejected"])
def test_only_what_is_filed_can_be_decided(aws: Cloud, status: str) -> None:
    image = filed(aws, 1, status)
    assert refused(say(image, "dog", mode="gallery")) == (409, "NOT_FINISHED")
    assert list(reviews.every_head(REVIEWS)) == []


def test_nothing_is_written_about_an_erased_image(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    aws.write(image, ProcessingStatus="erased")
    assert refused(say(image, "dog")) == (404, "IMAGE_NOT_FOUND")
    reviews.forget(REVIEWS, image)
    assert refused(say(image, "dog", mode="gallery")) == (404, "IMAGE_NOT_FOUND")
    assert list(reviews.every_image(REVIEWS)) == []
    assert refused(say(image_id(99), "dog")) == (404, "IMAGE_NOT_FOUND")


def test_others_who_write_all_the_time_make_it_busy(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    conflict = {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}, {"Code": "None"}]}
    with canceled(conflict) as seen:
        assert refused(say(image, "dog")) == (503, "BUSY")
    assert seen["calls"] == 5
    assert review(image).rows == ()


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        [],
        {"imageId": image_id(1)},
        {"imageId": image_id(1), "animal": "fish"},
        {"imageId": image_id(1), "animal": "cat", "mode": "loud"},
        {"imageId": image_id(1), "animal": "cat", "blind": "no"},
        {"imageId": image_id(1), "animal": "cat", "milliseconds": -1},
        {"imageId": image_id(1), "animal": "cat", "milliseconds": True},
        {"imageId": image_id(1), "animal": "cat", "sequence": "1"},
        {"imageId": image_id(1), "undoes": "short"},
    ],
)
def test_requests_that_say_nothing(aws: Cloud, body: object) -> None:
    put(aws, 1)
    assert call("POST", "/people/reviews", body=body, headers={"Idempotency-Key": new_key()})["status"] == 400
    assert review(image_id(1)).rows == ()


@pytest.mark.parametrize("key", ["", "short", "x" * 65, "key with spaces", "schlüssel-1"])
def test_keys_that_are_none(aws: Cloud, key: str) -> None:
    answer = call("POST", "/people/reviews", body={"imageId": image_id(1)}, headers={"Idempotency-Key": key})
    assert refused(answer) == (400, "INVALID_IDEMPOTENCY_KEY")


# --- Undo -------------------------------------------------------------------------------------------------------------


def test_undo_gives_the_picture_back_to_who_undid_it(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    key = new_key()
    say(image, "dog", key=key)
    answer = undo(image, key)
    assert (answer["status"], answer["sequence"], answer["animal"]) == (200, 2, None)
    assert aws.started(REVIEW_WORKFLOW).keys() == {f"{image}-1", f"{image}-2"}
    assert refused(say(image, "cat", BOB, sequence=2)) == (409, "SOMEBODY_DECIDES")
    assert say(image, "cat", ADA, sequence=2)["sequence"] == 3  # also before the undo is carried out


def test_undo_works_after_the_picture_moved_and_in_another_session(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    say(image, "dog")
    carry_out(aws, image)
    (mine,) = call("GET", "/people/reviews/mine")["verdicts"]
    assert undo(image, mine["key"])["status"] == 200
    carry_out(aws, image)
    assert head(image)["Queue"] == "uncertain"
    assert ids(page(BOB)) == []  # for five minutes it is the first one's
    assert ids(page(ADA)) == [image]


def test_undo_is_unlimited_and_each_of_them_once(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    for round_ in range(4):
        key, undo_key = new_key(), new_key()
        say(image, "dog", key=key)
        first = undo(image, key, key=undo_key)
        assert undo(image, key, key=undo_key) == first
        assert first["sequence"] == 2 * round_ + 2
        assert refused(undo(image, key)) == (409, "NOTHING_TO_UNDO")
    assert head(image)["Sequence"] == 8
    assert "Verdict" not in head(image)


def test_what_is_not_ones_own_or_was_decided_anew_cannot_be_undone(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    key = new_key()
    say(image, "dog", key=key)
    assert refused(undo(image, key, BOB)) == (409, "NOTHING_TO_UNDO")
    assert refused(undo(image, "key-that-nobody-sent")) == (409, "NOTHING_TO_UNDO")
    corrected = new_key()
    say(image, "cat", BOB, mode="gallery", key=corrected, sequence=1)
    assert refused(undo(image, key)) == (409, "NOTHING_TO_UNDO")
    assert undo(image, corrected, BOB)["animal"] == "dog"
    assert undo(image, key)["animal"] is None
    assert refused(undo(image, new_key())) == (409, "NOTHING_TO_UNDO")


def test_who_answers_where_nothing_is_asked_hears_just_that(aws: Cloud) -> None:
    """After the undo of a correction, nobody has decided: saying so would be untrue."""
    image = filed(aws, 1, "completed")
    key = new_key()
    say(image, "dog", mode="gallery", key=key)
    (mine,) = call("GET", "/people/reviews/mine")["verdicts"]
    assert mine["mode"] == "gallery"
    undo(image, key)
    carry_out(aws, image)
    assert refused(say(image, "dog", sequence=2)) == (409, "NOT_WAITING")
    assert refused(say(image, "dog")) == (409, "NOT_WAITING")


# --- Second look ------------------------------------------------------------------------------------------------------


def test_two_people_and_a_third(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECOND_LOOK_PERCENT", "100")
    (image,) = put(aws, 1)
    say(image, "dog", ADA)
    carry_out(aws, image)
    assert head(image)["Queue"] == "second"
    assert ids(page(ADA)) == []
    answer = page(BOB)
    assert ids(answer) == [image]
    assert answer["pictures"][0]["blind"] is True
    assert refused(say(image, "cat", ADA)) == (409, "SOMEBODY_DECIDES")
    say(image, "cat", BOB, blind=True, sequence=1)
    carry_out(aws, image)
    assert aws.item(image)["DetectedAnimal"] == {"S": "dog"}
    assert (ids(page(ADA)), ids(page(BOB)), ids(page(EVE))) == ([], [], [image])
    say(image, "cat", EVE, blind=True, sequence=2)
    carry_out(aws, image)
    assert head(image)["Queue"] == "done"
    assert aws.item(image)["DetectedAnimal"] == {"S": "cat"}


@pytest.mark.parametrize("page_size", [200, 2])
def test_what_one_has_decided_waits_for_others_only(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    monkeypatch.setattr(reviews, "PAGE", page_size)
    monkeypatch.setenv("SECOND_LOOK_PERCENT", "100")
    images = put(aws, *range(5))
    for image in images:
        say(image, "dog", ADA)
        carry_out(aws, image)
    assert page(ADA)["waiting"]["second"] == 0
    assert page(BOB, limit="1")["waiting"]["second"] == 5
    let_lease_end(aws, images[0])
    say(images[0], "cat", BOB, blind=True, sequence=1)
    carry_out(aws, images[0])
    assert (page(ADA)["waiting"]["disagreed"], page(BOB)["waiting"]["disagreed"]) == (0, 0)
    assert page(EVE)["waiting"] == {"uncertain": 0, "sample": 0, "second": 4, "disagreed": 1}


# --- What was said ----------------------------------------------------------------------------------------------------


def test_own_verdicts_newest_first_page_by_page(aws: Cloud) -> None:
    images = put(aws, *range(5))
    keys = [new_key() for _ in images]
    for image, key in zip(images, keys, strict=True):
        say(image, "dog", key=key)
    say(image_id(0), "cat", BOB, mode="gallery", sequence=1)
    undo(images[2], keys[2])
    found: list[Any] = []
    before: str | None = ""
    while before is not None:
        answer = call("GET", "/people/reviews/mine", query={"limit": "2"} | ({"before": before} if before else {}))
        found, before = found + answer["verdicts"], answer["before"]
    assert [verdict["key"] for verdict in found] == keys[::-1]
    assert [verdict["undone"] for verdict in found] == [False, False, True, False, False]
    assert found[0].keys() == {"key", "imageId", "sequence", "animal", "blind", "mode", "undone", "at"}
    assert refused(call("GET", "/people/reviews/mine", query={"before": "x"})) == (400, "INVALID_TOKEN")


def test_history_of_an_image(aws: Cloud) -> None:
    (image,) = put(aws, 1)
    path = f"/people/images/{image}/reviews"
    assert call("GET", path) == {"status": 200, "imageId": image, "reviews": [], "carriedOut": True}
    key = new_key()
    say(image, "dog", key=key)
    undo(image, key)
    answer = call("GET", path, BOB)
    assert answer["carriedOut"] is False
    first, second = answer["reviews"]
    assert (first["kind"], first["animal"], first["by"], first["undone"]) == (
        "verdict",
        "dog",
        "ada@pets.example",
        True,
    )
    assert (second["kind"], second["animal"], second["undone"]) == ("undo", None, False)
    assert first["key"] is None  # it is Ada's
    assert call("GET", path)["reviews"][0]["key"] == key
    assert call("GET", f"/people/images/{image_id(9)}/reviews")["status"] == 404
    assert call("GET", "/people/images/x/reviews")["status"] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/people/reviews"),
        ("POST", "/people/reviews"),
        ("GET", "/people/reviews/mine"),
        ("GET", f"/people/images/{image_id(1)}/reviews"),
    ],
)
def test_reviewers_and_operators_only(aws: Cloud, method: str, path: str) -> None:
    put(aws, 1)
    for groups in ((), ("uploader",)):
        assert refused(call(method, path, groups=groups)) == (403, "NOT_ALLOWED")
    assert call(method, path, groups=("operator",))["status"] != 403


def canceled(response: dict[str, Any]) -> Any:
    """Transactions are cancelled for these reasons."""
    from contextlib import contextmanager
    from types import SimpleNamespace

    @contextmanager
    def fault() -> Any:
        seen = {"calls": 0}

        def refuse(**_: Any) -> Any:
            seen["calls"] += 1
            error = {"Error": {"Code": "TransactionCanceledException", "Message": "cancelled"}, **response}
            return SimpleNamespace(status_code=400), error | {"ResponseMetadata": {"HTTPStatusCode": 400}}

        event = "before-call.dynamodb.TransactWriteItems"
        client("dynamodb").meta.events.register(event, refuse)
        try:
            yield seen
        finally:
            client("dynamodb").meta.events.unregister(event, refuse)

    return fault()


def test_counting_stops(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, *range(7))
    monkeypatch.setattr(reviews, "PAGE", 2)
    assert page(limit="1")["waiting"]["uncertain"] == 7
    monkeypatch.setattr(reviews, "MOST_COUNTED", 5)
    assert page(limit="1")["waiting"]["uncertain"] == 5
    assert [found["ImageID"] for found in reviews.waiting(REVIEWS, Queue.UNCERTAIN, 3)] == [
        found["ImageID"] for found in reviews.waiting(REVIEWS, Queue.UNCERTAIN)
    ][:3]
