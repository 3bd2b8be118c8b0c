"""The decision: cat, dog or other, and is that certain enough? Pure, versioned, and repeatable from stored labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.models import Animal, Decision, Label, Scores

# Version of the rules in `decide`, not of their numbers. Raise it when the same labels and numbers give another answer.
RULES_VERSION = 2

# Rekognition is not asked for labels below this confidence (percent), so no policy can judge them.
LOWEST_FLOOR = 20.0

# The evidence of a parameter that was written before rules version 2. How it was chosen: docs/accuracy.md.
DEFAULT_EVIDENCE = 55.0

# Names that are no evidence of something else than a cat or a dog. A cat is an animal too: whoever sees only that there
# is an animal has not seen which. And a place says where the picture was taken, not what is on it.
_KINDS = frozenset({"Animal", "Mammal", "Canine", "Feline", "Carnivore", "Pet", "Wildlife"})
_PLACES = frozenset({"Outdoors", "Indoors", "Nature"})
_NO_EVIDENCE = _KINDS | _PLACES | {"Cat", "Dog"}


@dataclass(frozen=True)
class Policy:
    """The numbers of the decision, all in percent.

    minimum: the winner's least confidence, `floor` < minimum <= 100.
    margin: the least distance between the two scores, 0 to 100.
    floor: when both scores lie below it the picture shows neither, LOWEST_FLOOR <= floor < minimum.
    evidence: the least confidence of something else in a picture that certainly shows neither, 0 to 100; 0 asks for
    none, as version 1 of the rules did.
    Raises PolicyInvalidError when a number is out of its range.
    """

    minimum: float
    margin: float
    floor: float
    evidence: float = DEFAULT_EVIDENCE

    def __post_init__(self) -> None:
        numbers = (self.minimum, self.margin, self.floor, self.evidence)
        # Not a number (NaN) and infinity, which Python reads from JSON too, lie outside.
        if any(isinstance(n, bool) or not isinstance(n, int | float) or not 0 <= n <= 100 for n in numbers):
            raise PolicyInvalidError(
                "minimum, margin, floor and evidence of the detection policy must be numbers from 0 to 100 (percent)."
            )
        if not LOWEST_FLOOR <= self.floor < self.minimum:
            raise PolicyInvalidError(
                f"The detection policy needs {LOWEST_FLOOR:g} <= floor < minimum; it has floor {self.floor:g}, "
                f"minimum {self.minimum:g}."
            )

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The policy that an SSM parameter holds, of any release: `evidence` may be missing.

        Raises PolicyInvalidError when it cannot be used.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise PolicyInvalidError(
                'The policy parameter must hold JSON like {"minimum": 80, "margin": 15, "floor": 50, "evidence": 55}.'
            ) from error

    @classmethod
    def from_version(cls, version: str) -> Policy:
        """The policy that a record's PolicyVersion names, so that it can be decided again as it was.

        `1:80/15/50` of version 1 becomes one that asks for no evidence: `decide` then answers what version 1 did.
        Raises PolicyInvalidError for a text that no version of the rules wrote.
        """
        rules, _, numbers = version.partition(":")
        try:
            minimum, margin, floor, *rest = map(float, numbers.split("/"))
            (evidence,) = {"1": [0.0, *rest], "2": rest}[rules]
        except (KeyError, ValueError) as error:
            raise PolicyInvalidError(f"{version!r} names no detection policy: expected 2:80/15/50/55.") from error
        return cls(minimum, margin, floor, evidence)

    @property
    def version(self) -> str:
        """Names rules and numbers, for example `2:80/15/50/55`, so that a record says how it was decided."""
        return f"{RULES_VERSION}:{self.minimum:g}/{self.margin:g}/{self.floor:g}/{self.evidence:g}"


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
        is_seen, reason = _something_else(found, policy, scores)
        return Decision(Animal.OTHER, other, is_seen, reason, scores)
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


def _something_else(found: dict[str, float], policy: Policy, scores: Scores) -> tuple[bool, str]:
    """Whether enough of something else was seen in a picture that shows neither cat nor dog, and why (not)."""
    neither = f"Neither cat ({scores.cat:.1f} %) nor dog ({scores.dog:.1f} %)"
    below_floor = f"{neither} reaches the floor of {policy.floor:g} %"
    if not policy.evidence:
        return True, f"{below_floor}."
    surest = _surest(found, found.keys() - _NO_EVIDENCE)
    if surest and surest.confidence >= policy.evidence:
        return True, f"{below_floor}, and something else was seen: {surest.name} at {surest.confidence:.1f} %."
    kind = _surest(found, _KINDS & found.keys())
    if kind and (surest is None or kind.confidence > surest.confidence):
        what = f"surely either: {kind.name} at {kind.confidence:.1f} %, which cats and dogs are too"
    elif surest:
        seen = f"{surest.name} at {surest.confidence:.1f} %"
        what = f"surely either: {seen} lies below the evidence of {policy.evidence:g} %"
    else:
        what = "either: the picture may be dark or blurred, or what it shows may be small"
    return False, f"{neither}, but nothing else was seen {what}."


def _surest(found: dict[str, float], names: Iterable[str]) -> Label | None:
    """The most confident label of these names, the first by name of equal ones; None without any."""
    return max((Label(name, found[name]) for name in sorted(names)), key=lambda label: label.confidence, default=None)
