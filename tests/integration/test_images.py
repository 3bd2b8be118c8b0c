"""What clients read: one image with a link to look at it, and the listing."""

from __future__ import annotations

import hashlib
import io
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from pet_detector.rules import metadata

from .application import HttpApplication
from .gallery import Gallery
from .pictures import SECRET

Record = dict[str, Any]


@pytest.mark.parametrize(("name", "content_type"), [("cat", "image/jpeg"), ("inline", "image/png")])
def test_the_view_link_shows_the_picture_to_whoever_holds_it(
    application: HttpApplication, gallery: Gallery, name: str, content_type: str
) -> None:
    image = gallery[name]

    answer = application.send("GET", image.record["viewUrl"])

    assert answer.status == 200
    assert answer.body == metadata.strip(image.content)
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Content-Disposition"] == "inline"
    assert image.record["viewUrlExpiresInSeconds"] == 300


def test_what_is_shown_tells_nothing_but_the_picture(application: HttpApplication, gallery: Gallery) -> None:
    image = gallery["telling"]

    shown = application.send("GET", image.record["viewUrl"]).body

    assert SECRET in image.content
    assert SECRET not in shown
    with Image.open(io.BytesIO(shown)) as picture, Image.open(io.BytesIO(image.content)) as uploaded:
        assert dict(picture.getexif()) == {0x0112: 6}
        assert picture.tobytes() == uploaded.tobytes()
    assert image.record["fileSize"] == len(image.content) > len(shown)
    assert application.item(image.id)["ContentHash"]["S"] == hashlib.sha256(image.content).hexdigest()


def test_a_view_link_that_was_changed_shows_nothing(application: HttpApplication, gallery: Gallery) -> None:
    link = urllib.parse.urlsplit(gallery["cat"].record["viewUrl"])
    expired = {**dict(urllib.parse.parse_qsl(link.query)), "X-Amz-Date": "20200101T000000Z"}

    answer = application.send("GET", link._replace(query=urllib.parse.urlencode(expired)).geturl())

    assert answer.status == 403


@pytest.mark.parametrize("image_id", ["0" * 32, "nonsense", "%2e%2e", "A" * 32, "x" * 2000])
def test_an_image_that_is_not_there_is_404_with_a_sentence(application: HttpApplication, image_id: str) -> None:
    answer = application.call("GET", f"/images/{image_id}")

    assert answer.status == 404
    assert answer.json["code"] == "IMAGE_NOT_FOUND"
    assert answer.json["message"].endswith(".")
    assert answer.json["requestId"]


@pytest.fixture
def everything(application: HttpApplication, quiet_gallery: Gallery) -> list[Record]:
    """All images, newest first, in one page."""
    assert quiet_gallery
    page = application.listing(limit=100)
    assert page["nextToken"] is None
    images: list[Record] = page["images"]
    return images


def test_the_listing_has_every_image_once_and_newest_first(
    application: HttpApplication, everything: list[Record]
) -> None:
    ids = {record["ImageID"]["S"] for record in application.records()}

    assert len(everything) == len(ids) > 20
    assert {image["imageId"] for image in everything} == ids
    ordered = sorted(everything, key=lambda image: (image["createdAt"], image["imageId"]), reverse=True)
    assert everything == ordered


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({"animal": "cat"}, lambda image: image.get("animal") == "cat"),
        ({"animal": "dog"}, lambda image: image.get("animal") == "dog"),
        ({"animal": "other"}, lambda image: image.get("animal") == "other"),
        ({"status": "rejected"}, lambda image: image["status"] == "rejected"),
        ({"status": "needs_review"}, lambda image: image["status"] == "needs_review"),
        (
            {"animal": "other", "status": "completed"},
            lambda image: image.get("animal") == "other" and image["status"] == "completed",
        ),
        ({"animal": "other", "status": "needs_review"}, lambda image: image["status"] == "needs_review"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_listing_can_be_filtered(
    application: HttpApplication, everything: list[Record], filters: dict[str, str], matches: Callable[[Record], bool]
) -> None:
    expected = [image for image in everything if matches(image)]

    assert expected
    assert application.listing(limit=100, **filters)["images"] == expected


def test_the_listing_can_be_limited_to_a_time(application: HttpApplication, everything: list[Record]) -> None:
    newest, oldest = everything[2]["createdAt"], everything[-3]["createdAt"]

    between = application.listing(since=oldest, to=newest, limit=100)["images"]
    cats = application.listing(since=oldest, to=newest, animal="cat", limit=100)["images"]

    expected = [image for image in everything if oldest <= image["createdAt"] < newest]
    assert 2 < len(expected) < len(everything)
    assert between == expected
    assert cats == [image for image in expected if image.get("animal") == "cat"]
    assert application.listing(to="2020-01-01")["images"] == []
    assert len(application.listing(since="2020-01-01", limit=100)["images"]) == len(everything)


@pytest.mark.parametrize(("limit", "filters"), [(7, {}), (1, {"animal": "other"}), (4, {"animal": "cat"})], ids=str)
def test_pages_follow_each_other_without_gap_or_overlap(
    application: HttpApplication, everything: list[Record], limit: int, filters: dict[str, str]
) -> None:
    pages: list[list[Record]] = []
    token: dict[str, str] = {}
    for _ in everything:  # never more pages than images
        page = application.listing(limit=limit, **filters, **token)
        pages.append(page["images"])
        if page["nextToken"] is None:
            break
        token = {"nextToken": page["nextToken"]}

    assert page["nextToken"] is None
    expected = [image for image in everything if filters.items() <= image.items()]
    assert [image for images in pages for image in images] == expected
    assert {len(images) for images in pages[:-1]} == {limit}
    assert 1 <= len(pages[-1]) <= limit


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("animal=mouse", "INVALID_FILTER"),
        ("status=done", "INVALID_FILTER"),
        ("animal=cat&animal=dog", "INVALID_FILTER"),
        ("from=yesterday", "INVALID_FILTER"),
        ("from=2026-02-02&to=2026-02-01", "INVALID_FILTER"),
        ("limit=0", "INVALID_LIMIT"),
        ("limit=101", "INVALID_LIMIT"),
        ("nextToken=abc", "INVALID_TOKEN"),
    ],
)
def test_a_wrong_question_gets_a_sentence(application: HttpApplication, query: str, code: str) -> None:
    answer = application.call("GET", f"/images?{query}")

    assert (answer.status, answer.json["code"]) == (400, code)


def test_a_token_is_for_its_own_listing(application: HttpApplication, everything: list[Record]) -> None:
    assert len(everything) > 2
    token = application.listing(limit=2)["nextToken"]

    answer = application.call("GET", f"/images?limit=2&animal=cat&nextToken={token}")

    assert (answer.status, answer.json["code"]) == (400, "INVALID_TOKEN")
