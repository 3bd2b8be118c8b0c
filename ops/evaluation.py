"""How right the machine was about pictures of which somebody knows the truth. Pure: figures from judgements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from pet_detector.rules.models import Animal, Decision, Rejection
from pet_detector.rules.review import leaning

# Of the normal distribution: 95 % lie within so many standard deviations.
_Z = 1.959964
# Where the bins of the reliability curve begin, in percent: finer where most decisions are.
BINS = (0, 50, 60, 70, 80, 90, 95, 99)
WORST = 20


class Answer(StrEnum):
    """What the machine did with a picture: filed it as certain, left it to people, or rejected it."""

    CAT = "cat"
    DOG = "dog"
    OTHER = "other"
    PEOPLE = "people"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Judged:
    """A picture, by its path below the folder, what is on it, and what was decided.

    `milliseconds` is how long the recognizer took; None for a picture that it was not asked about.
    """

    name: str
    truth: Animal
    found: Decision | Rejection
    milliseconds: float | None = None

    @property
    def answer(self) -> Answer:
        """The column of the matrix."""
        if isinstance(self.found, Rejection):
            return Answer.REJECTED
        return Answer(self.found.animal) if self.found.certain else Answer.PEOPLE

    @property
    def guess(self) -> Animal | None:
        """What it was filed as, or leaned to; None for a rejected one."""
        if isinstance(self.found, Rejection):
            return None
        scores = {"cat": self.found.scores.cat, "dog": self.found.scores.dog}
        return self.found.animal if self.found.certain else leaning(scores)

    @property
    def said(self) -> float:
        """How sure the recognizer was of the guess, in percent; 0 for a rejected one."""
        if isinstance(self.found, Rejection):
            return 0.0
        scores = self.found.scores
        return {Animal.CAT: scores.cat, Animal.DOG: scores.dog}.get(
            self.guess or Animal.OTHER, 100 - max(scores.cat, scores.dog)
        )

    @property
    def is_right(self) -> bool:
        """Whether the guess is what is on the picture."""
        return self.guess is self.truth


@dataclass(frozen=True)
class Share:
    """`right` of `of`, and the 95 % interval of what that says about more pictures like these, 0 to 1.

    Wilson's interval: it stays within 0 and 1, and is honest with few pictures. Nothing of nothing has no value.
    """

    right: int
    of: int

    @property
    def value(self) -> float | None:
        """The share itself."""
        return self.right / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Its ends; (0, 1) when nothing is known."""
        if not self.of:
            return 0.0, 1.0
        share, part = self.right / self.of, _Z**2 / self.of
        middle = share + part / 2
        half = _Z * math.sqrt(share * (1 - share) / self.of + part / (4 * self.of))
        low, high = ((middle + sign * half) / (1 + part) for sign in (-1, 1))
        # Exactly 0 and 1 at the ends, which rounding misses.
        return (0.0 if self.right == 0 else low), (1.0 if self.right == self.of else high)


@dataclass(frozen=True)
class Bin:
    """Guesses of which the recognizer was `low` to below `high` percent sure; the last bin includes 100.

    `said` is how sure it was of them, on average, in percent; None without any.
    """

    low: float
    high: float
    said: float | None
    right: Share


@dataclass(frozen=True)
class Figures:
    """Figures of some judged pictures. `milliseconds` are the median and the 95th percentile of a call."""

    matrix: dict[Animal, dict[Answer, int]]
    precision: dict[Animal, Share]
    recall: dict[Animal, Share]
    certain: Share
    correct: Share
    curve: list[Bin]
    worst: list[Judged]
    milliseconds: tuple[float, float] | None

    @property
    def pictures(self) -> int:
        """All of them."""
        return sum(sum(row.values()) for row in self.matrix.values())

    def answered(self, answer: Answer) -> int:
        """How many have this answer."""
        return sum(row[answer] for row in self.matrix.values())


def figures(judged: Sequence[Judged]) -> Figures:
    """All figures. `certain` is the share that needs no person, `correct` the share of those that is right.

    Precision of a class: of the pictures that were filed as it with certainty, the share that is. Recall: of the
    pictures of it, the share that was filed as it with certainty; what was left to people or rejected was not found.
    """
    counted = Counter((one.truth, one.answer) for one in judged)
    matrix = {truth: {answer: counted[truth, answer] for answer in Answer} for truth in Animal}
    columns = {animal: sum(matrix[truth][Answer(animal)] for truth in Animal) for animal in Animal}
    right = {animal: matrix[animal][Answer(animal)] for animal in Animal}
    certain = sum(columns.values())
    return Figures(
        matrix=matrix,
        precision={animal: Share(right[animal], columns[animal]) for animal in Animal},
        recall={animal: Share(right[animal], sum(matrix[animal].values())) for animal in Animal},
        certain=Share(certain, len(judged)),
        correct=Share(sum(right.values()), certain),
        curve=_curve([one for one in judged if one.guess]),
        worst=_worst(judged),
        milliseconds=_times(one.milliseconds for one in judged if one.milliseconds is not None),
    )


def _curve(guessed: list[Judged]) -> list[Bin]:
    ends = (*BINS[1:], 100)
    bins = []
    for low, high in zip(BINS, ends, strict=True):
        inside = [one for one in guessed if low <= one.said < high or (one.said == high == 100)]
        said = fmean(one.said for one in inside) if inside else None
        bins.append(Bin(low, high, said, Share(sum(one.is_right for one in inside), len(inside))))
    return bins


def _worst(judged: Iterable[Judged]) -> list[Judged]:
    """Wrong ones that nobody would have looked at, then wrong guesses that people would have seen; the surest first."""
    wrong = [one for one in judged if one.guess and not one.is_right]
    return sorted(wrong, key=lambda one: (one.answer is Answer.PEOPLE, -one.said, one.name))[:WORST]


def _times(milliseconds: Iterable[float]) -> tuple[float, float] | None:
    ordered = sorted(milliseconds)
    return (median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1]) if ordered else None
