"""The price of an image as the metric EstimatedCost has it. `petdetect cost` computes the whole bill, line by line."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

PRICES_FILE = Path(__file__).with_name("prices.json")

# States entered for an image that is certain or rejected, which AWS bills as transitions, and what a review and a wait
# for its turn add; tests/cost counts them in image_workflow.asl.yaml.
TRANSITIONS = 6
REVIEW_TRANSITIONS = 1
WAIT_TRANSITIONS = 3


@cache
def prices_document() -> dict[str, str | float]:
    """The price file: US dollars per unit by name, and as text their `date`, `source` and what they are `about`."""
    document: dict[str, str | float] = json.loads(PRICES_FILE.read_text())
    return document


@cache
def prices() -> dict[str, float]:
    """US dollars per unit, by name."""
    return {name: price for name, price in prices_document().items() if not isinstance(price, str)}


def image_cost(*, analysed: bool, uncertain: bool, waited: bool = False, moderated: bool = False) -> float:
    """US dollars for Rekognition and the workflow's state transitions, which are nine tenths of an image's price.

    `waited`: the image waited for its turn (once, as nearly all do that wait). `moderated`: Rekognition was asked, too
    or only, whether it is safe.
    """
    transitions = TRANSITIONS + uncertain * REVIEW_TRANSITIONS + waited * WAIT_TRANSITIONS
    unit = prices()
    return (analysed + moderated) * unit["rekognition_image"] + transitions * unit["states_standard_transition"]
