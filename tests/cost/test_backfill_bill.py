"""The price of a backfilled image: where it differs from one that a client uploads, by hand, in dollars a million."""

from __future__ import annotations

import pytest

from ops import cost, definitions
from ops.cost import REGISTRATION, Load, bill

MILLION = 1_000_000
pytestmark = pytest.mark.usefixtures("pinned_prices")

PARAMETERS = definitions.defaults()


def _dollars(**changed: float) -> dict[str, float]:
    load = Load(**{"uncertain": 0.0, "retried": 0.0, **changed})  # type: ignore[arg-type]
    return {line.name: line.per_image * MILLION for line in bill(load, PARAMETERS)}


def test_nobody_calls_the_api_for_a_registered_image() -> None:
    live, registered = _dollars(), _dollars(registered=1.0)
    assert registered["API Gateway"] == 0
    assert registered["X-Ray"] == pytest.approx(0.1 * 5)  # the execution's
    assert registered["Lambda (API, metrics)"] == pytest.approx(0.15 * 0.53333, rel=0.001)
    assert live["DynamoDB requests"] - registered["DynamoDB requests"] == pytest.approx((2 + 3 * 0.5) * 0.125)
    assert live["S3 requests"] - registered["S3 requests"] == pytest.approx(0.4)  # nobody views it
    same = {"Rekognition", "Step Functions", "Lambda (workflow)", "EventBridge", "S3 storage", "CloudWatch Logs"}
    assert {name: registered[name] for name in same} == {name: live[name] for name in same}


def test_the_map_is_paid_for_by_the_batch() -> None:
    assert REGISTRATION not in _dollars(registered=1.0)  # petdetect registers a folder itself
    # The start of a child and its three states; 4 s of 256 MB; for 50 images.
    by_hand = (4 * 25 + 0.2 + 4 * 0.25 * 13.3334) / 50
    assert _dollars(registered=1.0, mapped=1.0)[REGISTRATION] == pytest.approx(by_hand, rel=0.001)


def test_a_batch_waits_like_its_images() -> None:
    by_hand = (3 * 25 + 0.2 + 0.08 * 0.25 * 13.3334) / 50
    none, waiting = _dollars(registered=1.0, mapped=1.0), _dollars(registered=1.0, mapped=1.0, waiting=1.0)
    assert waiting[REGISTRATION] - none[REGISTRATION] == pytest.approx(by_hand, rel=0.001)


def test_registration_is_a_small_part() -> None:
    lines = bill(Load(registered=1.0, mapped=1.0, waiting=1.0), PARAMETERS)
    assert cost.line(lines, REGISTRATION) < 0.01 * cost.line(lines, cost.REKOGNITION)
