"""The decision, from labels to cat, dog or other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.models import Animal, Label
from pet_detector.rules.policy import Policy, decide
from tests.support.moto_world import POLICY

percent = st.floats(0, 100, allow_nan=False)


def decide_for(cat: float, dog: float) -> tuple[Animal, bool, float]:
    decision = decide([Label("Cat", cat), Label("Dog", dog)], POLICY)
    return decision.animal, decision.certain, decision.confidence


@pytest.mark.parametrize(
    ("cat", "dog", "expected"),
    [
        (98.5, 0.0, (Animal.CAT, True, 98.5)),
        (0.0, 80.0, (Animal.DOG, True, 80.0)),
        (79.99, 0.0, (Animal.OTHER, False, pytest.approx(20.01))),
        (95.0, 85.0, (Animal.OTHER, False, 5.0)),
        (95.0, 80.0, (Animal.CAT, True, 95.0)),  # just the margin
        (80.0, 65.1, (Animal.OTHER, False, 20.0)),
        (49.9, 10.0, (Animal.OTHER, True, pytest.approx(50.1))),
        (50.0, 0.0, (Animal.OTHER, False, 50.0)),
        (0.0, 0.0, (Animal.OTHER, True, 100.0)),
    ],
)
def test_decides_by_minimum_margin_and_floor(cat: float, dog: float, expected: tuple[Animal, bool, float]) -> None:
    assert decide_for(cat, dog) == expected


@pytest.mark.parametrize(
    ("cat", "dog", "reason"),
    [
        (98.76, 0, "Cat at 98.8 %, at or above the minimum of 80 %."),
        (0, 80, "Dog at 80.0 %, at or above the minimum of 80 %."),
        (
            80,
            70,
            "Cat (80.0 %) and dog (70.0 %) are closer than the margin of 15 points: perhaps the picture shows both.",
        ),
        (79, 0, "Perhaps a cat: 79.0 % lies between the floor of 50 % and the minimum of 80 %."),
        (60, 60, "Perhaps a cat: 60.0 % lies between the floor of 50 % and the minimum of 80 %."),
        (0, 50, "Perhaps a dog: 50.0 % lies between the floor of 50 % and the minimum of 80 %."),
        (49, 12, "Neither cat (49.0 %) nor dog (12.0 %) reaches the floor of 50 %."),
    ],
)
def test_the_reason_says_which_number_decided(cat: float, dog: float, reason: str) -> None:
    assert decide([Label("Cat", cat), Label("Dog", dog)], POLICY).reason == reason


def test_without_a_margin_a_tie_is_a_cat() -> None:
    decision = decide([Label("Cat", 90), Label("Dog", 90)], replace(POLICY, margin=0))
    assert (decision.animal, decision.certain) == (Animal.CAT, True)


@given(percent, percent)
def test_an_uncertain_image_is_always_filed_as_other(cat: float, dog: float) -> None:
    animal, certain, confidence = decide_for(cat, dog)
    assert certain or animal is Animal.OTHER
    assert 0 <= confidence <= 100


@given(percent, percent)
def test_cat_and_dog_are_treated_alike(cat: float, dog: float) -> None:
    swapped = {Animal.CAT: Animal.DOG, Animal.DOG: Animal.CAT, Animal.OTHER: Animal.OTHER}
    animal, certain, confidence = decide_for(cat, dog)
    assert decide_for(dog, cat) == (swapped[animal], certain, confidence)


@given(percent, percent, percent)
def test_more_confidence_in_the_winner_never_makes_it_less_certain(cat: float, dog: float, more: float) -> None:
    if decide_for(cat, dog)[0] is Animal.CAT:
        assert decide_for(max(cat, more), dog)[0] is Animal.CAT


@given(st.lists(st.builds(Label, st.sampled_from(["Cat", "Dog", "Animal", "Kitten", ""]), percent)))
def test_the_order_of_labels_does_not_matter(labels: list[Label]) -> None:
    assert decide(labels, POLICY) == decide(list(reversed(labels)), POLICY)


@pytest.mark.parametrize(
    "numbers",
    [
        {"minimum": 100.5},
        {"floor": 19.9},
        {"margin": 100.5},
        {"floor": 80, "minimum": 80},
        {"margin": -1},
        {"minimum": "80"},
        {"minimum": True},
        {"floor": float("nan")},
    ],
)
def test_refuses_numbers_out_of_range(numbers: dict[str, float]) -> None:
    with pytest.raises(PolicyInvalidError, match="detection policy"):
        replace(POLICY, **numbers)


@pytest.mark.parametrize("numbers", [{"floor": 20}, {"minimum": 100}, {"margin": 0}, {"margin": 100}])
def test_takes_numbers_at_the_ends_of_their_ranges(numbers: dict[str, float]) -> None:
    assert replace(POLICY, **numbers)


def test_version_names_the_numbers() -> None:
    assert Policy(minimum=90, margin=12.5, floor=40).version == "1:90/12.5/40"
