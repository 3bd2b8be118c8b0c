"""Figures of an evaluation: what is counted where, the intervals, the curve, the worst."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.evaluation import WORST, Answer, Judged, Share, figures
from pet_detector.rules.models import Animal, Label, ReasonCode, Rejection
from pet_detector.rules.policy import decide
from tests.support.moto_world import POLICY

CAT, DOG, OTHER = Animal.CAT, Animal.DOG, Animal.OTHER


def judged(truth: Animal, name: str = "x", **labels: float) -> Judged:
    """A picture with these labels."""
    seen = [Label(label, confidence) for label, confidence in labels.items()]
    return Judged(name, truth, decide(seen, POLICY), 100.0)


def rejected(truth: Animal) -> Judged:
    return Judged("broken", truth, Rejection(ReasonCode.TRUNCATED, "It breaks off."))


def test_every_picture_is_in_one_cell() -> None:
    found = figures(
        [
            judged(CAT, Cat=98),
            judged(CAT, Dog=98),
            judged(CAT, Cat=60),
            judged(CAT),
            judged(DOG, Boat=90),
            rejected(DOG),
            judged(OTHER, Boat=90),
        ]
    )

    def row(cat: int, dog: int, other: int, people: int, rejected: int) -> dict[Answer, int]:
        return dict(zip(Answer, (cat, dog, other, people, rejected), strict=True))

    assert found.matrix == {CAT: row(1, 1, 0, 2, 0), DOG: row(0, 0, 1, 0, 1), OTHER: row(0, 0, 1, 0, 0)}
    assert found.pictures == 7
    assert found.precision == {CAT: Share(1, 1), DOG: Share(0, 1), OTHER: Share(1, 2)}
    assert found.recall == {CAT: Share(1, 4), DOG: Share(0, 2), OTHER: Share(1, 1)}
    assert (found.certain, found.correct) == (Share(4, 7), Share(2, 4))


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    # Newcombe 1998, table I, and R's prop.test(correct = FALSE).
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.883, 1),
    ],
)
def test_wilsons_interval(right: int, of: int, low: float, high: float) -> None:
    assert Share(right, of).interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 2000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_an_interval_holds_its_share_and_stays_within_0_and_1(counts: tuple[int, int]) -> None:
    found = Share(*counts)
    low, high = found.interval
    assert 0 <= low <= (found.value if found.value is not None else 0.5) <= high <= 1
    assert low < high


def test_the_curve_counts_every_guess_once_also_of_uncertain_pictures() -> None:
    pictures = [
        judged(CAT, Cat=100),
        judged(DOG, Cat=99.5),
        judged(CAT, Cat=60),  # uncertain, and right
        judged(DOG, Cat=62),
        judged(OTHER),  # nothing was seen, so it is surely neither: 100 %
        rejected(CAT),
    ]
    curve = {one.low: one for one in figures(pictures).curve}
    assert curve[99].right == Share(2, 3)
    assert curve[99].said == pytest.approx((100 + 99.5 + 100) / 3)
    assert (curve[60].right, curve[60].said) == (Share(1, 2), 61)
    assert sum(one.right.of for one in curve.values()) == 5
    assert curve[70].said is None


def test_the_worst_are_wrong_ones_that_nobody_looks_at_first_and_the_surest_first() -> None:
    pictures = [
        judged(CAT, "right", Cat=99),
        judged(CAT, "left to people, and wrong", Dog=97, Cat=90),
        judged(CAT, "wrong", Dog=85),
        judged(CAT, "left to people, and right", Cat=70),
        judged(DOG, "surely wrong", Cat=99),
        rejected(CAT),
    ]
    assert [one.name for one in figures(pictures).worst] == ["surely wrong", "wrong", "left to people, and wrong"]


def test_the_worst_are_few() -> None:
    assert len(figures([judged(CAT, f"{number}", Dog=90) for number in range(50)]).worst) == WORST == 20


def test_times_are_of_calls_alone() -> None:
    pictures = [Judged("x", CAT, judged(CAT, Cat=99).found, float(ms)) for ms in range(1, 101)]
    assert figures([*pictures, rejected(CAT)]).milliseconds == (50.5, 95)


def test_of_nothing_nothing_is_said() -> None:
    found = figures([])
    assert (found.pictures, found.milliseconds, found.worst) == (0, None, [])
    assert found.certain.value is None
    assert found.precision[CAT].interval == (0, 1)
