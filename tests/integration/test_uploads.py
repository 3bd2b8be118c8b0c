"""Pictures come in through the API: with a form, or inline; and each ends in its folder."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from local.api_client import RefusedError
from pet_detector.rules import metadata
from tests.support.deployment import CERTAIN_CAT

from .application import HttpApplication
from .gallery import Gallery, inline, once
from .pictures import LARGEST, LARGEST_INLINE, TEXT, cat_of

FORM = {"fileName": "cat.jpg", "contentType": "image/jpeg"}


@pytest.mark.parametrize(
    ("name", "animal", "folder", "status"),
    [
        ("cat", "cat", "cats", "completed"),
        ("dog", "dog", "dogs", "completed"),
        ("other", "other", "others", "completed"),
        ("uncertain", "other", "others", "needs_review"),
        ("largest", "cat", "cats", "completed"),
        ("largest inline", "cat", "cats", "completed"),
    ],
)
def test_a_picture_is_filed_under_what_it_shows(
    application: HttpApplication, gallery: Gallery, name: str, animal: str, folder: str, status: str
) -> None:
    image = gallery[name]

    assert (image.record["animal"], image.record["status"]) == (animal, status)
    assert image.record["certain"] is (status == "completed")
    assert image.record["location"] == f"s3://{application.bucket}/{folder}/{image.id}.jpg"
    assert application.stored(image.record["location"]) == metadata.strip(image.content)
    assert [key for key, _ in application.versions(image.id)] == [f"{folder}/{image.id}.jpg"]


def test_a_picture_sent_inline_is_filed_like_any_other(application: HttpApplication, gallery: Gallery) -> None:
    image = gallery["inline"]

    assert image.answer is not None
    assert image.answer.json == {"imageId": image.id, "status": "uploading"}
    assert image.record["imageFormat"] == "png"
    assert image.record["fileName"] == "inline.png"
    assert image.record["location"] == f"s3://{application.bucket}/cats/{image.id}.png"
    assert application.stored(image.record["location"]) == metadata.strip(image.content)


def test_the_record_tells_all_that_a_client_needs(gallery: Gallery) -> None:
    image = gallery["cat"]

    assert image.record["fileName"] == CERTAIN_CAT.name
    assert image.record["fileSize"] == len(image.content)
    assert image.record["imageFormat"] == "jpg"
    assert image.record["confidence"] == image.record["scores"]["cat"] > 80
    assert "minimum of 80 %" in image.record["reason"]
    assert image.record["createdAt"] <= image.record["timestamp"] <= image.record["updatedAt"]


def test_a_form_is_for_one_key_and_five_minutes(application: HttpApplication) -> None:
    answer = application.call("POST", "/upload", FORM)

    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.fullmatch("[0-9a-f]{32}", answer.json["imageId"])
    assert answer.json["status"] == "uploading"
    assert answer.json["expiresInSeconds"] == 300
    assert answer.json["upload"]["fields"]["key"] == f"input/{answer.json['imageId']}.jpg"
    assert application.client.image(answer.json["imageId"])["status"] == "uploading"


@pytest.mark.parametrize(
    ("content", "changed", "code"),
    [
        (cat_of(LARGEST + 1), {}, "EntityTooLarge"),
        (b"", {}, "EntityTooSmall"),
        (TEXT, {"key": "cats/x.jpg"}, "AccessDenied"),
        (TEXT, {"Content-Type": "text/html"}, "AccessDenied"),
    ],
    ids=["over 15 MB", "empty", "another key", "another type"],
)
def test_s3_refuses_what_the_form_does_not_allow(
    application: HttpApplication, content: bytes, changed: dict[str, str], code: str
) -> None:
    ticket = application.call("POST", "/upload", FORM).json

    answer = application.post_form(ticket["upload"]["url"], {**ticket["upload"]["fields"], **changed}, content)

    assert answer.status in (400, 403)
    assert f"<Code>{code}</Code>" in answer.body.decode()
    assert application.versions(ticket["imageId"]) == set()
    assert application.status(ticket["imageId"]) == "uploading"


def test_the_client_says_what_s3_refused(application: HttpApplication) -> None:
    with pytest.raises(RefusedError) as refusal:
        application.client.upload("large.jpg", "image/jpeg", cat_of(LARGEST + 1))

    assert refusal.value.code == "EntityTooLarge"


def test_an_inline_picture_has_at_most_4_mb(application: HttpApplication) -> None:
    answer = application.call("POST", "/upload", inline("c.jpg", "image/jpeg", cat_of(LARGEST_INLINE + 1)))

    assert answer.status == 413
    assert answer.json["code"] == "TOO_LARGE"


def test_the_same_request_again_gets_the_same_form(application: HttpApplication) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, second = (application.call("POST", "/upload", FORM, headers=headers) for _ in range(2))

    assert (first.status, second.status) == (201, 201)
    assert first.json["imageId"] == second.json["imageId"]
    assert first.json["upload"]["fields"]["key"] == second.json["upload"]["fields"]["key"]
    assert application.call("POST", "/upload", FORM).json["imageId"] != first.json["imageId"]


def test_the_same_inline_request_again_changes_nothing(application: HttpApplication, gallery: Gallery) -> None:
    image = gallery["inline"]
    before = application.item(image.id)

    request = inline("inline.png", "image/png", image.content)
    answer = application.call("POST", "/upload", request, headers=once(image.content))

    assert (answer.status, answer.json) == (200, {"imageId": image.id, "status": "completed"})
    assert application.item(image.id) == before
    assert len(application.versions(image.id)) == 1
    assert len(application.executions_of_key(image.id)) == 1


@pytest.mark.parametrize("other", [FORM | {"fileName": "dog.jpg"}, inline("cat.jpg", "image/jpeg", TEXT)])
def test_an_idempotency_key_is_for_one_request(application: HttpApplication, other: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = application.call("POST", "/upload", FORM, headers=headers)

    second = application.call("POST", "/upload", other, headers=headers)

    assert (second.status, second.json["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert application.versions(first.json["imageId"]) == set()
