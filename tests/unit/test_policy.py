"""The decision, from labels to cat, dog or other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.models import Animal, Decision, Label, Scores
from pet_detector.rules.policy import DEFAULT_EVIDENCE, Policy, decide
from tests.support.moto_world import POLICY

percent = st.floats(0, 100, allow_nan=False)


def decide_for(cat: float, dog: float) -> tuple[Animal, bool, float]:
    """Of a picture that surely has something else on it, too."""
    decision = decide([Label("Cat", cat), Label("Dog", dog), Label("Fire Hydrant", 97.12)], POLICY)
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
        (
            49,
            12,
            "Neither cat (49.0 %) nor dog (12.0 %) reaches the floor of 50 %, and something else was seen: "
            "Fire Hydrant at 97.1 %.",
        ),
    ],
)
def test_the_reason_says_which_number_decided(cat: float, dog: float, reason: str) -> None:
    labels = [Label("Cat", cat), Label("Dog", dog), Label("Fire Hydrant", 97.12)]
    assert decide(labels, POLICY).reason == reason


NEITHER = "Neither cat (0.0 %) nor dog (0.0 %)"
NOTHING = f"{NEITHER}, but nothing else was seen"


@pytest.mark.parametrize(
    ("labels", "certain", "reason"),
    [
        ({}, False, f"{NOTHING} either: the picture may be dark or blurred, or what it shows may be small."),
        (
            {"Outdoors": 99.9, "Nature": 99, "Indoors": 98},
            False,
            f"{NOTHING} either: the picture may be dark or blurred, or what it shows may be small.",
        ),
        (
            {"Weapon": 54.99, "Missile": 36},
            False,
            f"{NOTHING} surely either: Weapon at 55.0 % lies below the evidence of 55 %.",
        ),
        (
            {"Weapon": 55, "Missile": 36},
            True,
            f"{NEITHER} reaches the floor of 50 %, and something else was seen: Weapon at 55.0 %.",
        ),
        # An animal, and nobody can say which: it may well be a cat or a dog.
        (
            {"Animal": 99.2, "Mammal": 98, "Canine": 90, "Pet": 88, "Wildlife": 80, "Wolf": 44},
            False,
            f"{NOTHING} surely either: Animal at 99.2 %, which cats and dogs are too.",
        ),
        (
            {"Animal": 99.2, "Mammal": 98, "Sheep": 94.4},
            True,
            f"{NEITHER} reaches the floor of 50 %, and something else was seen: Sheep at 94.4 %.",
        ),
        (
            {"Boat": 30, "Animal": 25},
            False,
            f"{NOTHING} surely either: Boat at 30.0 % lies below the evidence of 55 %.",
        ),
    ],
)
def test_a_certain_other_needs_something_else_that_was_seen(
    labels: dict[str, float], certain: bool, reason: str
) -> None:
    decision = decide([Label(name, confidence) for name, confidence in labels.items()], POLICY)
    assert (decision.animal, decision.confidence) == (Animal.OTHER, 100)
    assert (decision.certain, decision.reason) == (certain, reason)


@pytest.mark.parametrize(("cat", "dog"), [(98, 0), (0, 81), (60, 0), (95, 85)])
def test_evidence_changes_nothing_about_what_may_be_a_cat_or_a_dog(cat: float, dog: float) -> None:
    labels = [Label("Cat", cat), Label("Dog", dog)]
    assert decide(labels, POLICY) == decide(labels, replace(POLICY, evidence=100))


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


@given(st.lists(st.builds(Label, st.sampled_from(["Cat", "Dog", "Animal", "Pet", "Boat", "Kitten", ""]), percent)))
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
        {"evidence": -0.1},
        {"evidence": 100.5},
        {"evidence": "55"},
        {"evidence": None},
        {"evidence": float("nan")},
    ],
)
def test_refuses_numbers_out_of_range(numbers: dict[str, float]) -> None:
    with pytest.raises(PolicyInvalidError, match="detection policy"):
        replace(POLICY, **numbers)


@pytest.mark.parametrize(
    "numbers", [{"floor": 20}, {"minimum": 100}, {"margin": 0}, {"margin": 100}, {"evidence": 0}, {"evidence": 100}]
)
def test_takes_numbers_at_the_ends_of_their_ranges(numbers: dict[str, float]) -> None:
    assert replace(POLICY, **numbers)


def test_version_names_the_numbers() -> None:
    assert Policy(minimum=90, margin=12.5, floor=40, evidence=66).version == "2:90/12.5/40/66"


# --- Records and parameters of version 1 ------------------------------------------------------------------------------


def version_1(found: dict[str, float]) -> Decision:
    """What `decide` of version 1 made of the default numbers, kept as it was."""
    cat, dog = found.get("Cat", 0.0), found.get("Dog", 0.0)
    winner, high = (Animal.DOG, dog) if dog > cat else (Animal.CAT, cat)
    low, scores = min(cat, dog), Scores(cat, dog)
    if high >= 80 and high - low >= 15:
        reason = f"{winner.capitalize()} at {high:.1f} %, at or above the minimum of 80 %."
        return Decision(winner, high, True, reason, scores)
    if high < 50:
        reason = f"Neither cat ({cat:.1f} %) nor dog ({dog:.1f} %) reaches the floor of 50 %."
        return Decision(Animal.OTHER, 100 - high, True, reason, scores)
    if high >= 80:
        reason = (
            f"Cat ({cat:.1f} %) and dog ({dog:.1f} %) are closer than the margin of 15 points: "
            "perhaps the picture shows both."
        )
    else:
        reason = f"Perhaps a {winner}: {high:.1f} % lies between the floor of 50 % and the minimum of 80 %."
    return Decision(Animal.OTHER, 100 - high, False, reason, scores)


@given(st.dictionaries(st.sampled_from(["Cat", "Dog", "Animal", "Pet", "Boat"]), percent))
def test_a_record_of_version_1_is_decided_again_as_it_was(found: dict[str, float]) -> None:
    labels = [Label(name, confidence) for name, confidence in found.items()]
    assert decide(labels, Policy.from_version("1:80/15/50")) == version_1(found)


@given(
    st.builds(
        Policy,
        minimum=st.integers(51, 100),
        margin=st.integers(0, 100),
        floor=st.integers(20, 50),
        evidence=st.integers(0, 100),
    )
)
def test_a_version_tells_the_policy(policy: Policy) -> None:
    assert Policy.from_version(policy.version) == policy


@pytest.mark.parametrize(
    "text",
    ["", "unknown", "1", "1:", "1:80/15", "1:80/15/50/55", "2:80/15/50", "3:80/15/50/55", "1:x/15/50", "1:80/15/nan"],
)
def test_a_text_that_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(PolicyInvalidError):
        Policy.from_version(text)


def test_a_parameter_of_an_earlier_release_gets_the_default_evidence() -> None:
    assert Policy.from_json('{"minimum": 80, "margin": 15, "floor": 50}') == Policy(80, 15, 50, DEFAULT_EVIDENCE)
    assert Policy.from_json('{"minimum": 80, "margin": 15, "floor": 50, "evidence": 70}') == Policy(80, 15, 50, 70)
