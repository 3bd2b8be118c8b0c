"""Files that are no usable pictures end under rejected/, each with its code and a sentence, and nothing gets stuck."""

from __future__ import annotations

import pytest

from pet_detector.rules.models import ReasonCode

from .application import HttpApplication
from .gallery import Gallery

# What Rekognition refuses: test_content_safety.py.
OF_FILES = [code for code in ReasonCode if code is not ReasonCode.UNSAFE_CONTENT]


@pytest.mark.parametrize("code", OF_FILES)
def test_a_file_that_is_no_usable_picture_is_rejected_with_its_code(
    application: HttpApplication, gallery: Gallery, code: str
) -> None:
    image = gallery[code]

    assert image.record["status"] == "rejected"
    assert image.record["reasonCode"] == code
    assert image.record["reason"].endswith(".")
    assert not {"viewUrl", "animal", "confidence"} & image.record.keys()
    assert image.record["location"] == f"s3://{application.bucket}/rejected/{image.id}.bin"
    assert application.stored(image.record["location"]) == image.content


@pytest.mark.parametrize("code", OF_FILES)
def test_nobody_is_told_of_a_rejected_file_and_it_is_not_tried_again(
    application: HttpApplication, gallery: Gallery, code: str
) -> None:
    image = gallery[code]

    execution = application.item(image.id)["ExecutionArn"]["S"]
    assert application.ended(execution) == "Log Detection"
    assert application.attempts(execution)["Analyze Image"] == 1
    assert application.notices(image.id) == []
