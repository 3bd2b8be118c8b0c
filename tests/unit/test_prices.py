"""The price of an image, as the metric EstimatedCost has it."""

from __future__ import annotations

import pytest

from pet_detector.rules.prices import image_cost, prices


def test_rekognition_is_paid_for_each_image_that_it_analysed() -> None:
    for uncertain in (True, False):
        analysed, reused = (image_cost(analysed=analysed, uncertain=uncertain) for analysed in (True, False))
        assert analysed - reused == pytest.approx(prices()["rekognition_image"])
        assert reused > 0, "the workflow is paid for every image"


def test_a_review_costs_one_more_state_transition() -> None:
    certain, uncertain = (image_cost(analysed=True, uncertain=uncertain) for uncertain in (False, True))
    assert uncertain - certain == pytest.approx(prices()["states_standard_transition"])


def test_a_wait_costs_three_more_state_transitions() -> None:
    at_once, waited = (image_cost(analysed=True, uncertain=False, waited=waited) for waited in (False, True))
    assert waited - at_once == pytest.approx(3 * prices()["states_standard_transition"])
