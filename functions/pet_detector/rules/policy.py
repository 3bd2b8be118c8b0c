"""The decision: cat, dog or other, and is that certain enough? Pure, versioned, and repeatable from stored labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.models import Animal, Decision, Label, Scores

# Version of the rules in `decide`, not of their numbers. Raise it when the same labels and numbers give another answer.
RULES_VERSION = 1

# Rekognition is not asked for labels below this confidence (percent), so no policy can judge them.
LOWEST_FLOOR = 20.0


@dataclass(frozen=True)
class Policy:
    """The numbers of the decision, all in percent.

    minimum: the winner's least confidence, `floor` < minimum <= 100.
    margin: the least distance between the two scores, 0 to 100.
    floor: when both scores lie below it the picture shows neither, LOWEST_FLOOR <= floor < minimum.
    Raises PolicyInvalidError when a number is out of its range.
    """

    minimum: float
    margin: float
    floor: float

    def __post_init__(self) -> None:
        numbers = (self.minimum, self.margin, self.floor)
        if any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
            raise PolicyInvalidError("minimum, margin and floor of the detection policy must be numbers (percent).")
        if not (LOWEST_FLOOR <= self.floor < self.minimum <= 100 and 0 <= self.margin <= 100):
            raise PolicyInvalidError(
                f"The detection policy needs {LOWEST_FLOOR:g} <= floor < minimum <= 100 and 0 <= margin <= 100; "
                f"it has floor {self.floor:g}, minimum {self.minimum:g}, margin {self.margin:g}."
            )

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The policy that an SSM parameter holds. Raises PolicyInvalidError when it cannot be used."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise PolicyInvalidError(
                'The policy parameter must hold JSON like {"minimum": 80, "margin": 15, "floor": 50}.'
            ) from error

    @property
    def version(self) -> str:
        """Names rules and numbers, for example `1:80/15/50`, so that a record says how it was decided."""
        return f"{RULES_VERSION}:{self.minimum:g}/{self.margin:g}/{self.floor:g}"


def decide(labels: Iterable[Label], policy: Policy) -> Decision:
    """Decide what a picture shows from Amazon Rekognition's labels, in any order.

    Rekognition names every ancestor of what it sees ("Cat" beside "Kitten"), so the two names are enough.
    """
    found: dict[str, float] = {}
    for label in labels:
        found[label.name] = max(label.confidence, found.get(label.name, 0.0))
    scores = Scores(cat=found.get("Cat", 0.0), dog=found.get("Dog", 0.0))
    winner, high = (Animal.DOG, scores.dog) if scores.dog > scores.cat else (Animal.CAT, scores.cat)
    low = min(scores.cat, scores.dog)
    if high >= policy.minimum and high - low >= policy.margin:
        reason = f"{winner.capitalize()} at {high:.1f} %, at or above the minimum of {policy.minimum:g} %."
        return Decision(winner, high, True, reason, scores)
    other = 100.0 - high
    if high < policy.floor:
        reason = (
            f"Neither cat ({scores.cat:.1f} %) nor dog ({scores.dog:.1f} %) reaches the floor of {policy.floor:g} %."
        )
        return Decision(Animal.OTHER, other, True, reason, scores)
    if high >= policy.minimum:
        reason = (
            f"Cat ({scores.cat:.1f} %) and dog ({scores.dog:.1f} %) are closer than the margin of {policy.margin:g} "
            "points: perhaps the picture shows both."
        )
    else:
        reason = (
            f"Perhaps a {winner}: {high:.1f} % lies between the floor of {policy.floor:g} % "
            f"and the minimum of {policy.minimum:g} %."
        )
    return Decision(Animal.OTHER, other, False, reason, scores)
