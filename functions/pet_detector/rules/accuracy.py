"""How often the machine is right, from what people said of a sample: precision and recall with 95 % intervals, the
agreement of two people, and what another threshold would do. Pure.

People judge two kinds of pictures. The *sample* is drawn by a hash of the picture's bytes from everything, certain or
not, with a known probability, and is judged in the order of another such hash. The other *uncertain* pictures are
judged smallest margin first. Of these judgements count:

- of the sample of each day, the pictures whose turn has come: decided in turn, or passed over by somebody. When that is
  depends on the hash, and on when the picture came. What was only corrected out of turn (somebody saw a mistake in the
  gallery) waits for its turn like the others: mistakes are seen first. A day of which nothing was looked at but copies
  of other days' pictures is not judged yet;
- the uncertain pictures of a day on which every one is decided. The decided part of the others is no random sample of
  them: the hardest come first. Such a day is represented by those of its uncertain pictures that were drawn.

Two kinds count nowhere: a correction of a picture that nobody drew, and an uncertain picture of a time at which nothing
was drawn, as before the release that brought reviews: of what the machine was certain then, nothing tells.

Each picture that counts has a weight, the inverse of its probability to be here: it stands for so many pictures. What
was passed over and not decided counts as unknown: at one end of an interval it is taken for right, at the other one for
wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from pet_detector.rules.models import Animal, Label
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.review import Head, Purpose, is_carried_over

# The fewest judged pictures for a figure: with 50, all of them right, the interval reaches down to 95 %.
LEAST = 50
# Draws of an interval's simulation: they put its ends within half a percentile or so of where they belong.
DRAWS = 1000
_SEED = 20261130
# A weight so large that what was seen is as nothing beside it.
_MANY = 1e6
# Values of `minimum` in the table of thresholds, beside the one in force.
MINIMUMS = (55, 60, 65, 70, 75, 80, 85, 90, 95, 98)


@dataclass(frozen=True)
class Review:
    """A picture that people were asked about, as its row for review tells it.

    `order` is where the sample's order puts it, the same for the same bytes; `probability` the chance that it was asked
    about; `verdict` what people say it is, None while nobody has said it or it was undone. `in_turn`: somebody said so
    when its turn came; `passed_over`: somebody said nothing then; `carried_over`: it was said about another picture of
    the same bytes. Scores are in percent.
    """

    day: str  # of the decision, such as 2026-11-30
    order: str
    purpose: str
    probability: float
    guess: Animal
    certain: bool
    verdict: Animal | None
    cat: float
    dog: float
    policy_version: str
    in_turn: bool = False
    passed_over: bool = False
    carried_over: bool = False

    @classmethod
    def of_head(cls, head: Head) -> Review:
        """The same, from the head of a review."""
        scores = head.get("Scores", {})
        return cls(
            day=head["GuessedAt"][:10],
            order=head["HomeOrder"],
            purpose=head["Purpose"],
            probability=float(head["Probability"]),
            guess=Animal(head["Guess"]),
            certain=head["Certain"],
            verdict=Animal(head["Verdict"]) if "Verdict" in head else None,
            cat=float(scores.get("cat", 0)),
            dog=float(scores.get("dog", 0)),
            policy_version=head["PolicyVersion"],
            in_turn=head.get("InTurn", False),
            passed_over=head.get("PassedOver", False),
            carried_over=is_carried_over(head),
        )


@dataclass(frozen=True)
class Judged:
    """A picture that counts, what it is (None: unknown), and for how many pictures it stands."""

    review: Review
    truth: Animal | None
    weight: float

    @property
    def called(self) -> Animal | None:
        """What the machine was certain that it is."""
        return self.review.guess if self.review.certain else None


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, from 0 to 1 (kappa: from -1); None while `missing` more judgements are needed."""

    value: float | None
    low: float | None
    high: float | None
    judged: int
    missing: int = 0


@dataclass(frozen=True)
class Threshold:
    """What `minimum` would do to the pictures of the period: how many people would review, and the errors of the rest.

    `at_most` is the upper bound that holds in 95 % of such periods. Errors are None while `missing` more are needed.
    """

    minimum: float
    pictures: float
    review: float
    errors: float | None
    at_most: float | None
    missing: int = 0


@dataclass(frozen=True)
class Accuracy:
    """The figures of a period. `drawn` is the size of its sample, `judged` what counts of it."""

    precision: dict[Animal, Estimate]
    recall: dict[Animal, Estimate]
    agreement: Estimate
    drawn: int
    judged: int


def accuracy(reviews: Iterable[Review], second_looks: Sequence[tuple[Animal, Animal]]) -> Accuracy:
    """The figures of the period that these reviews are of; `second_looks` are what two people said of a picture.

    Precision of a class: of the pictures that the machine was certain are of it, the share that is. Recall: of the
    pictures that are of it, the share that the machine was certain of. What it left to people it has not found.
    """
    every = list(reviews)
    counted = judgements(every)
    most = max((one.weight for one in counted), default=1.0)
    precision, recall = {}, {}
    for animal in Animal:
        called = [one for one in counted if one.called is animal]
        others = [one for one in counted if one.called is not animal]
        right = [one for one in called if one.truth is animal]
        wrong = [one for one in called if one.truth not in (animal, None)]
        missed = [one for one in others if one.truth is animal]
        unknown, perhaps_missed = ([one for one in some if one.truth is None] for some in (called, others))
        precision[animal] = _estimate(right, wrong, unknown, unknown, most)
        recall[animal] = _estimate(right, missed, unknown, perhaps_missed, most)
    drawn = [one for one in every if one.purpose == Purpose.SAMPLE]
    used = sum(one.review.purpose == Purpose.SAMPLE for one in counted)
    return Accuracy(precision, recall, agreement(second_looks), len(drawn), used)


def judgements(reviews: Iterable[Review]) -> list[Judged]:
    """What counts, with its weight. Nothing without a sample: of what the machine was certain, only that tells."""
    days = [_Day(list(of_day)) for _, of_day in groupby(sorted(reviews, key=_by_day), key=_by_day)]
    # A day of which nothing is judged yet is represented by the others.
    begun = sum(len(day.sample) for day in days if day.asked)
    unjudged = sum(len(day.sample) for day in days) / begun if begun else 1.0
    return [one for day in days for one in day.judged(unjudged)] if begun else []


class _Day:
    """The reviews of one day: its sample, what counts of it, and its uncertain pictures if all are decided."""

    def __init__(self, reviews: list[Review]) -> None:
        uncertain = [one for one in reviews if not one.certain and one.purpose in (Purpose.SAMPLE, Purpose.UNCERTAIN)]
        whole = all(one.verdict for one in uncertain)
        self.decided = uncertain if whole else []
        drawn = [one for one in reviews if one.purpose == Purpose.SAMPLE and one.probability > 0]
        self.sample = [one for one in drawn if one.certain or not whole]
        asked = [one for one in self.sample if one.in_turn or one.passed_over]
        # Copies of what was judged before count as soon as they come. Alone they stand for no day: somebody must have
        # looked at a picture of its own.
        self.asked = asked if any(one.passed_over or not one.carried_over for one in asked) else []

    def judged(self, unjudged: float) -> list[Judged]:
        each = len(self.sample) * unjudged / len(self.asked) if self.asked else 0.0
        asked = [Judged(one, one.verdict, each / one.probability) for one in self.asked]
        return [*asked, *(Judged(one, one.verdict, 1.0) for one in self.decided)]


def _by_day(review: Review) -> str:
    return review.day


def thresholds(reviews: Iterable[Review], minimums: Iterable[float] = MINIMUMS) -> tuple[float | None, list[Threshold]]:
    """-> the newest `minimum` in force, and what each of `minimums` (and that one) would do, the lowest first.

    Decided again from the scores of cat and dog. What lies below the floor stays as it is: `minimum` is of no effect
    there.
    """
    counted = judgements(reviews)
    if not counted:
        return None, []
    newest = max(counted, key=lambda one: one.review.day).review.policy_version
    policy = Policy.from_version(newest)
    allowed = sorted({policy.minimum, *(float(m) for m in minimums if m > policy.floor)})
    return policy.minimum, [_threshold(counted, replace(policy, minimum=minimum)) for minimum in allowed]


def _threshold(counted: list[Judged], policy: Policy) -> Threshold:
    certain = [(one, called) for one in counted if (called := _called(one, policy))]
    known = [one for one, _ in certain if one.truth]
    wrong = [one for one, called in certain if one.truth not in (called, None)]
    unknown = [one for one, _ in certain if one.truth is None]
    pictures = _weight(counted)
    review = pictures - _weight(one for one, _ in certain)
    missing = LEAST - math.floor(_effective(known))
    if missing > 0:
        return Threshold(policy.minimum, pictures, review, None, None, missing)
    scale = _scale([*known, *unknown], max(one.weight for one in counted))
    (at_most,) = _quantiles(_Total.of([*wrong, *unknown], scale).draws(_SEED), 0.95)
    errors = _weight(wrong) * (1 + _weight(unknown) / _weight(known))  # the unknown ones: wrong as often as the others
    return Threshold(policy.minimum, pictures, review, errors, at_most)


def _called(one: Judged, policy: Policy) -> Animal | None:
    """What the machine would have been certain of."""
    review = one.review
    if max(review.cat, review.dog) < policy.floor:
        return one.called
    decision = decide([Label("Cat", review.cat), Label("Dog", review.dog)], policy)
    return decision.animal if decision.certain else None


def agreement(pairs: Sequence[tuple[Animal, Animal]]) -> Estimate:
    """Cohen's kappa of what two people said of the same pictures: 1 is full agreement, 0 that of chance.

    The interval is that of the share on which they agree; how often chance would make them agree counts as known.
    """
    number = len(pairs)
    if number < LEAST:
        return Estimate(None, None, None, number, LEAST - number)
    agreed = sum(first is second for first, second in pairs)
    firsts, seconds = zip(*pairs, strict=True)
    chance = sum(firsts.count(animal) * seconds.count(animal) for animal in Animal) / number**2
    if chance == 1:  # both said the same of every picture: there was nothing to disagree on
        return Estimate(None, None, None, number, 1)

    def kappa(share: float) -> float:
        return (share - chance) / (1 - chance)

    low, high = _share(_Total(0, _MANY, agreed + 0.5), _Total(0, _MANY, number - agreed + 0.5))
    return Estimate(kappa(agreed / number), kappa(low), kappa(high), number)


def _estimate(
    inside: list[Judged],
    outside: list[Judged],
    perhaps_inside: list[Judged],
    perhaps_outside: list[Judged],
    most: float,
) -> Estimate:
    """The share of the weight that lies inside. `most` is the weight of pictures of which none was seen.

    Its low end is that of the case that all of `perhaps_outside` lies outside, its high end that of the case that all
    of `perhaps_inside` lies inside.
    """
    known = [*inside, *outside]
    missing = LEAST - math.floor(_effective(known))
    if missing > 0:
        return Estimate(None, None, None, len(known), missing)
    scale = _scale(known, most)
    low, _ = _share(_Total.of(inside, scale), _Total.of([*outside, *perhaps_outside], scale))
    _, high = _share(_Total.of([*inside, *perhaps_inside], scale), _Total.of(outside, scale))
    return Estimate(_weight(inside) / _weight(known), low, high, len(known))


def _weight(judged: Iterable[Judged]) -> float:
    return sum(one.weight for one in judged)


def _lots(judged: Iterable[Judged]) -> list[tuple[float, int]]:
    """Weight and number of the pictures of each bytes: they were drawn by one lot, so they say no more than one."""
    lots: dict[str, tuple[float, int]] = {}
    for one in judged:
        weight, number = lots.get(one.review.order, (0.0, 0))
        lots[one.review.order] = weight + one.weight, number + 1
    return list(lots.values())


def _effective(judged: Iterable[Judged]) -> float:
    """How many pictures of equal weight say as much as these (Kish)."""
    weights = [weight for weight, _ in _lots(judged)]
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def _scale(judged: Iterable[Judged], most: float) -> float:
    """The weight of a lot of those that were drawn, such that the variance is that of the sum of all."""
    lots = _lots(judged)
    rest = sum(weight - number for weight, number in lots)
    return sum(weight * (weight - number) for weight, number in lots) / rest if rest > 1e-9 else most


@dataclass(frozen=True)
class _Total:
    """What is known of a number of pictures: `seen` of them, and of the others a gamma distribution, in whole pictures.

    The number seen of a kind is a Poisson variable, nearly, because each lot is drawn by itself. With Jeffreys' prior
    that leaves a gamma distribution. The variance of the estimate is the sum of w (w - n) over the lots of n pictures
    with the weight w, and so is that of the distribution. With equal weights of single pictures two of them make the
    interval of Jeffreys for a share; with weights of 1 all is seen.
    """

    seen: int
    scale: float
    shape: float

    @classmethod
    def of(cls, judged: Sequence[Judged], scale: float) -> _Total:
        rest = _weight(judged) - len(judged)
        return cls(len(judged), scale, rest / scale + 0.5 * (1 - 1 / scale))

    @lru_cache(maxsize=64)  # noqa: B019 - of values, and few: what is found right is drawn for precision and for recall
    def draws(self, seed: int) -> Sequence[float]:
        """Numbers that it may be, the same every time."""
        if self.shape <= 0:
            return [self.seen] * DRAWS
        draw = random.Random(f"{seed} {self}").gammavariate  # noqa: S311 - no figure shares its luck with another
        return [self.seen + round(self.scale * draw(self.shape, 1)) for _ in range(DRAWS)]


def _share(inside: _Total, outside: _Total) -> tuple[float, float]:
    """The 95 % interval of the share that lies inside."""
    pairs = zip(inside.draws(_SEED), outside.draws(_SEED + 1), strict=True)
    low, high = _quantiles([one / (one + other) for one, other in pairs], 0.025, 0.975)
    return low, high


def _quantiles(values: Sequence[float], *shares: float) -> list[float]:
    """The values below which these shares of all lie, on the safe side."""
    ordered = sorted(values)
    ends = [
        math.floor(share * len(ordered)) - 1 if share < 0.5 else math.ceil(share * len(ordered)) for share in shares
    ]
    return [ordered[end] for end in ends]
