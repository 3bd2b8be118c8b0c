"""Rekognition has answered, and DynamoDB throttles when the answer is to be stored."""

from __future__ import annotations

import time

import pytest

from pet_detector.aws import daily_limit, rekognition, turns
from pet_detector.aws.clients import client
from pet_detector.rules.errors import ThrottledError
from pet_detector.rules.lanes import Lane
from pet_detector.rules.models import Label, Recognition
from pet_detector.use_cases.analyser import Limits, Picture, analyse_once
from tests.support.moto_world import ANALYSES, BUCKET, refusal

pytestmark = pytest.mark.usefixtures("aws")


def test_a_throttle_of_the_table_is_no_throttle_of_rekognition(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Recognition((Label("Cat", 98.0),), "3.0")
    monkeypatch.setattr(rekognition, "recognize", lambda *_: seen)
    picture = Picture(BUCKET, "input/a.jpg", "v", "a" * 64)

    with (
        refusal(client("dynamodb"), "PutItem", "ProvisionedThroughputExceededException"),
        pytest.raises(ThrottledError),  # which the state machine retries
    ):
        analyse_once(ANALYSES, picture, owner="owner", limits=Limits(1000, a_day=10))

    assert daily_limit.spent(ANALYSES) == 1  # AWS bills the call
    assert (turns.next_turn(ANALYSES, Lane.LIVE) or 0) < time.time() + 0.5  # and the others need not wait
