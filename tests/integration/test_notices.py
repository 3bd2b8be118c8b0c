"""People are notified of what the machine was not sure of, once, in words, and of nothing else."""

from __future__ import annotations

import pytest

from tests.support.deployment import UNCERTAIN_CAT

from .application import HttpApplication
from .gallery import Gallery


def test_people_are_told_once_of_an_uncertain_image(application: HttpApplication, gallery: Gallery) -> None:
    image = gallery["uncertain"]

    (notice,) = application.notices(image.id)

    values = {name: attribute["Value"] for name, attribute in notice["MessageAttributes"].items()}
    assert values == {
        "Kind": "ImageUncertain",
        "ImageID": image.id,
        "Stage": "local",
        "LeansTo": "cat",
        "HighestScore": f"{image.record['scores']['cat']:.2f}",
        "CorrelationID": image.record["correlationId"],
    }
    assert notice["MessageAttributes"]["HighestScore"]["Type"] == "Number"
    assert notice["Subject"] == f"[local] Please review image {image.id}"


def test_the_notice_says_what_why_and_what_to_do(application: HttpApplication, gallery: Gallery) -> None:
    image = gallery["uncertain"]

    text = application.notices(image.id)[0]["Message"]

    for part in (
        image.id,
        UNCERTAIN_CAT.name,
        image.record["location"],
        image.record["reason"],
        f"cat {image.record['scores']['cat']:.1f} %",
        f"What to do: look at the image (GET /images/{image.id}",
        "The more likely animal is cat.",
    ):
        assert part in text


@pytest.mark.parametrize("name", ["cat", "dog", "other", "inline", "newline"])
def test_nobody_is_told_of_a_certain_image(application: HttpApplication, gallery: Gallery, name: str) -> None:
    assert application.notices(gallery[name].id) == []
