"""WebP, AVIF and HEIC: told by their bytes, filed as JPEG; and what would be too large once decoded is not decoded."""

from __future__ import annotations

import hashlib
import io

import pytest
from PIL import Image

from tests.support.containers import CANARY, difference, turned_cat

from .application import HttpApplication
from .gallery import CONVERTED, REFUSED, TURNED, Gallery

CONVERTED_STATES = ["Analyze Image", "Convert Image", "Analyze Image", "Move Image"]


@pytest.mark.parametrize("name", CONVERTED | TURNED)
def test_is_filed_as_the_jpeg_that_was_analysed(application: HttpApplication, gallery: Gallery, name: str) -> None:
    image = gallery[name]

    assert image.record["status"] in ("completed", "needs_review")
    assert image.record["imageFormat"] == (CONVERTED | TURNED)[name][1]
    assert image.record["location"].endswith(f"/{image.id}.jpg")
    with Image.open(io.BytesIO(application.stored(image.record["location"]))) as picture:
        assert picture.format == "JPEG"
        assert picture.getexif() == {}
    item = application.item(image.id)
    assert item["ContentHash"]["S"] == hashlib.sha256(image.content).hexdigest()
    entered = application.states_entered(item["ExecutionArn"]["S"])
    assert [state for state in entered if state in CONVERTED_STATES] == CONVERTED_STATES


def test_pictures_of_other_formats_need_no_converter(application: HttpApplication, gallery: Gallery) -> None:
    entered = application.states_entered(application.item(gallery["cat"].id)["ExecutionArn"]["S"])
    assert "Convert Image" not in entered


@pytest.mark.parametrize("name", TURNED)
def test_is_shown_right_side_up_and_says_nothing_of_its_place(
    application: HttpApplication, gallery: Gallery, name: str
) -> None:
    image = gallery[name]
    assert CANARY in image.content
    answer = application.send("GET", image.record["viewUrl"])
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert not [said for said in (CANARY, b"Exif", b"GPS") if said in answer.body]
    with Image.open(io.BytesIO(answer.body)) as picture:
        assert difference(picture, turned_cat(6)) < 15  # of low quality


@pytest.mark.parametrize("name", REFUSED)
def test_is_rejected_before_it_is_decoded(application: HttpApplication, gallery: Gallery, name: str) -> None:
    image = gallery[name]

    assert (image.record["status"], image.record["reasonCode"]) == ("rejected", REFUSED[name][0])
    assert "viewUrl" not in image.record
    assert "Convert Image" not in application.states_entered(application.item(image.id)["ExecutionArn"]["S"])
