"""Objects put straight into the bucket under names that mean harm: each is one image like any other."""

from __future__ import annotations

import pytest

from pet_detector.rules import metadata
from pet_detector.rules.text import printable

from .application import HttpApplication
from .gallery import HOSTILE_KEYS, Gallery


@pytest.mark.parametrize("name", HOSTILE_KEYS)
def test_a_hostile_key_is_a_name_and_never_a_path(application: HttpApplication, gallery: Gallery, name: str) -> None:
    image, key = gallery[name], HOSTILE_KEYS[name]

    assert image.record["status"] == "completed"
    assert image.record["animal"] == "cat"
    assert image.record["fileName"] == printable(key.removeprefix("input/"), 1024)
    assert image.record["location"] == f"s3://{application.bucket}/cats/{image.id}.jpg"
    assert application.stored(image.record["location"]) == metadata.strip(image.content)
    item = application.item(image.id)
    assert item["SourceKey"]["S"] == key
    assert item["UploadedBy"]["S"] == "s3"
    assert (key, item["SourceVersion"]["S"]) not in application.objects(key)
