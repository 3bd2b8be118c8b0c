"""Review histories with a known truth: what a machine decided in three weeks, and what people have said so far.

Everything passes through the rules themselves: the policy decides, `new_head` draws the sample and orders the queues,
and people work through them in that order. What varies is chance: how good the machine is, how much is drawn, how far
people have come, and what they do out of turn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from pet_detector.rules import review
from pet_detector.rules.models import Animal, Decision, Label
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.review import Head, Queue

POLICY = Policy(80, 15, 50)
# Another threshold, of which the errors are known too.
OTHER_MINIMUM = 90.0
DAYS = 20
ANIMALS = tuple(Animal)


@dataclass(frozen=True)
class History:
    """What people were asked about; and the truth about every picture, also those that nobody was asked about.

    `precision` and `recall` are shares of the pictures that came; `errors` those of OTHER_MINIMUM; `kappa` what two
    people who err as these do would reach.
    """

    heads: list[Head]
    pairs: list[tuple[Animal, Animal]]
    precision: dict[Animal, float]
    recall: dict[Animal, float]
    errors: int
    kappa: float


@cache
def _decisions() -> dict[Animal | None, list[tuple[Decision, bool]]]:
    """Pictures by what the policy is certain that they are (None: uncertain), and whether OTHER_MINIMUM is too."""
    source = random.Random(7)
    found: dict[Animal | None, list[tuple[Decision, bool]]] = {one: [] for one in (*ANIMALS, None)}
    while min(map(len, found.values())) < 300:
        name, score = source.choice(("Cat", "Dog")), source.uniform(20, 100)
        labels = [Label(name, score), Label("Chair", source.uniform(40, 100))]
        decision = decide(labels, POLICY)
        other = decide(labels, Policy(OTHER_MINIMUM, POLICY.margin, POLICY.floor))
        found[decision.animal if decision.certain else None].append((decision, other.certain))
    return found


def history(seed: int) -> History:
    """One history; the same seed makes the same one."""
    source = random.Random(seed)
    percent = source.choice((10, 20, 30))
    images = source.choice((300, 500, 800)) * 100 // percent
    shares = [source.uniform(0.2, 0.5), source.uniform(0.2, 0.4), source.uniform(0.2, 0.4), source.uniform(0.03, 0.15)]
    right = {animal: source.uniform(0.85, 0.995) for animal in ANIMALS}
    called = source.choices((*ANIMALS, None), shares, k=images)
    heads, counts, errors = [], dict.fromkeys(((a, b) for a in (*ANIMALS, None) for b in ANIMALS), 0), 0
    truths: dict[str, Animal] = {}
    for number, animal in enumerate(called):
        decision, certain_then = source.choice(_decisions()[animal])
        truth = _truth(source, animal, decision, right)
        counts[animal, truth] += 1
        errors += certain_then and decision.animal is not truth
        image_id = f"{seed:08x}{number:024x}"
        if animal is None or review.sampled(image_id, percent):
            head = review.new_head(_record(source, image_id, decision), percent, 0)
            assert head is not None
            heads.append(head)
            truths[image_id] = truth
    _work(source, heads, truths)
    precision = {one: counts[one, one] / sum(counts[one, truth] for truth in ANIMALS) for one in ANIMALS}
    recall = {one: counts[one, one] / sum(counts[called, one] for called in (*ANIMALS, None)) for one in ANIMALS}
    pairs, kappa = _second_looks(source)
    return History(heads, pairs, precision, recall, errors, kappa)


def _truth(source: random.Random, called: Animal | None, decision: Decision, right: dict[Animal, float]) -> Animal:
    """What the picture is. Narrow decisions are wrong more often, and hard uncertain pictures more often neither."""
    high = max(decision.scores.cat, decision.scores.dog)
    if called is None:
        return Animal.OTHER if high < 65 and source.random() < 0.5 else source.choice(ANIMALS)
    narrow = called is not Animal.OTHER and high < 90
    if source.random() < (1 - right[called]) * (1.3 if narrow else 0.7):
        return source.choice([animal for animal in ANIMALS if animal is not called])
    return called


def _record(source: random.Random, image_id: str, decision: Decision) -> Any:
    filed = f"2026-11-{source.randrange(DAYS) + 1:02}T09:30:00.000Z"
    return {
        "ImageID": image_id,
        "ProcessingStatus": "completed" if decision.certain else "needs_review",
        "DetectedAnimal": decision.animal.value,
        "ConfidenceScore": Decimal(str(round(decision.confidence, 2))),
        "Scores": {"cat": Decimal(str(decision.scores.cat)), "dog": Decimal(str(decision.scores.dog))},
        "PolicyVersion": POLICY.version,
        "ContentHash": image_id,
        "Timestamp": filed,
        "UpdatedAt": filed,
    }


def _work(source: random.Random, heads: list[Head], truths: dict[str, Animal]) -> None:
    """People decide, in the order of the queues; in half of the histories they have not come to the end.

    Then some mistakes are corrected out of turn, in the gallery. And a few verdicts were undone.
    """
    is_behind = source.random() < 0.5
    for queue, least in ((Queue.SAMPLE, 0.2), (Queue.UNCERTAIN, 0.2)):
        waiting = sorted((head for head in heads if head["Queue"] == queue), key=lambda head: head["Order"])
        left = []
        for head in waiting:
            mistaken = head["Certain"] and head["Guess"] != truths[head["ImageID"]]
            if is_behind and mistaken and source.random() < 0.5:
                head["Verdict"] = truths[head["ImageID"]].value
            else:
                left.append(head)
        come_to = int(len(left) * source.uniform(least, 1)) if is_behind else len(left)
        for head in left[:come_to]:
            if source.random() > 0.002:
                head["Verdict"] = truths[head["ImageID"]].value


def _second_looks(source: random.Random) -> tuple[list[tuple[Animal, Animal]], float]:
    """-> what two people said of pictures, and the kappa of these two people."""
    certainly, mix = source.uniform(0.8, 0.99), [0.4, 0.3, 0.3]
    pairs = []
    for first in source.choices(ANIMALS, mix, k=source.choice((80, 150, 300))):
        others = [animal for animal in ANIMALS if animal is not first]
        pairs.append((first, first if source.random() < certainly else source.choice(others)))
    second = [share * certainly + (1 - share) * (1 - certainly) / 2 for share in mix]
    chance = sum(one * other for one, other in zip(mix, second, strict=True))
    return pairs, (certainly - chance) / (1 - chance)
