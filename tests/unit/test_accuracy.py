"""How often the machine is right: what counts, with what weight, and when it says that it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pet_detector.rules import accuracy, figures
from pet_detector.rules.accuracy import LEAST, Estimate, Review
from pet_detector.rules.models import Animal
from pet_detector.rules.review import Purpose

CAT, DOG, OTHER = Animal.CAT, Animal.DOG, Animal.OTHER
# A certain cat of the sample, decided in its turn; one that waits; and one that somebody passed over.
DRAWN = Review("2026-11-01", "00", Purpose.SAMPLE, 0.02, CAT, True, CAT, 95, 0, "2:80/15/50/55", in_turn=True)
WAITS = replace(DRAWN, order="01", verdict=None, in_turn=False)
PASSED = replace(WAITS, order="02", passed_over=True)
# An uncertain picture that leaned to a cat, and was none.
UNSURE = Review("2026-11-01", "10.00#1", Purpose.UNCERTAIN, 1, OTHER, False, OTHER, 70, 0, "2:80/15/50/55")


def weights(*reviews: Review) -> list[float]:
    return [round(one.weight, 6) for one in accuracy.judgements(reviews)]


def width_of(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_a_picture_stands_for_as_many_as_its_probability_says() -> None:
    assert weights(DRAWN, replace(DRAWN, order="01", probability=0.1), UNSURE) == [50, 10, 1]


def test_what_is_corrected_before_its_turn_waits_for_it() -> None:
    """Three more were drawn: what counts stands for them too."""
    corrected = replace(WAITS, order="70", verdict=DOG)  # somebody saw the mistake before its turn came

    assert weights(corrected, DRAWN, WAITS, replace(WAITS, order="80")) == [200]


def test_an_undone_verdict_is_none() -> None:
    assert weights(WAITS) == []


def test_what_was_passed_over_has_had_its_turn() -> None:
    """It counts as unknown, until somebody says what it is, wherever."""
    found = accuracy.judgements([DRAWN, PASSED, WAITS, replace(PASSED, verdict=DOG)])

    assert [one.truth for one in found] == [CAT, None, DOG]
    assert [one.weight for one in found] == pytest.approx([200 / 3] * 3)


def test_without_a_sample_nothing_is_known() -> None:
    """All uncertain pictures are decided: that says nothing about the certain ones, so neither about recall."""
    found = accuracy.accuracy([replace(UNSURE, verdict=CAT, order=f"{number}") for number in range(99)], [])

    assert (found.recall[CAT].value, found.recall[CAT].missing) == (None, LEAST)


def test_what_is_unknown_is_wrong_at_the_low_end_and_right_at_the_high_end() -> None:
    cats = [replace(DRAWN, order=f"{number:03}", verdict=DOG if number < 10 else CAT) for number in range(100)]
    passed = [replace(PASSED, order=f"9{number:03}") for number in range(20)]
    unsure = [replace(one, certain=False, guess=OTHER) for one in passed]

    plain = accuracy.accuracy(cats, [])
    found = accuracy.accuracy([*cats, *passed, *(replace(one, order=f"8{one.order}") for one in unsure)], [])

    def ends(right: int, wrong: int) -> tuple[float, float]:
        total = accuracy._Total
        return accuracy._share(total(0, 1e6, right + 0.5), total(0, 1e6, wrong + 0.5))

    precision, recall = found.precision[CAT], found.recall[CAT]
    assert (precision.value, precision.judged) == (plain.precision[CAT].value, 100)
    assert precision.low == pytest.approx(ends(90, 30)[0], abs=0.01)
    assert precision.high == pytest.approx(ends(110, 10)[1], abs=0.01)
    assert recall.value == 1
    assert recall.low == pytest.approx(ends(90, 20)[0], abs=0.01)
    assert recall.high == pytest.approx(1, abs=0.01)


def test_many_copies_of_a_picture_say_no_more_than_one() -> None:
    """One lot draws them all: 60 copies are not 60 pictures, and 10 among others make a share more doubtful."""
    copies = [DRAWN] * 60
    others = [replace(DRAWN, order=f"{number:03}", verdict=DOG if number < 100 else CAT) for number in range(200)]

    assert accuracy.accuracy(copies, []).precision[CAT].missing == LEAST - 1
    alone, beside = (accuracy.accuracy(some, []).precision[CAT] for some in (others, [*others, *copies[:10]]))
    assert beside.value == pytest.approx(110 / 210)
    assert width_of(beside) > 1.1 * width_of(alone)


def test_everything_is_known_when_all_were_asked_also_with_copies() -> None:
    everything = [
        replace(DRAWN, order=f"{n // 2:03}", verdict=DOG if n < 20 else CAT, probability=1) for n in range(200)
    ]

    precision = accuracy.accuracy(everything, []).precision[CAT]

    assert (precision.low, precision.value, precision.high) == (0.9, 0.9, 0.9)


def test_a_correction_of_a_picture_that_nobody_drew_counts_nowhere() -> None:
    correction = replace(DRAWN, purpose=Purpose.CORRECTION, probability=0, verdict=DOG)

    assert weights(DRAWN, correction) == [50]
    assert accuracy.accuracy([DRAWN, correction], []).drawn == 1


def test_uncertain_pictures_count_when_all_of_their_day_are_decided() -> None:
    """Else the drawn ones stand for them: the others were judged hardest first."""
    undecided = replace(UNSURE, verdict=None)
    drawn = replace(UNSURE, purpose=Purpose.SAMPLE, probability=0.02, order="01", in_turn=True)

    assert weights(DRAWN, drawn, UNSURE, UNSURE) == [50, 1, 1, 1]
    assert weights(DRAWN, drawn, UNSURE, undecided) == [50, 50]


def test_uncertain_pictures_of_days_without_a_draw_count_nowhere() -> None:
    """With them, what the machine was certain of on these days would be missing."""
    before = [replace(UNSURE, day="2026-10-31", purpose=Purpose.UNMEASURED)] * 3

    assert weights(DRAWN, UNSURE, *before) == [50, 1]


def test_days_of_which_nothing_is_judged_yet_are_represented_by_the_others() -> None:
    waits = replace(WAITS, day="2026-11-02")

    assert weights(DRAWN, waits, waits) == [150]


def test_copies_of_what_was_judged_before_stand_for_no_day_alone() -> None:
    """Nobody has looked at the second day's pictures. Somebody has, or passed one over: then its copies count too."""
    copy, looked, waits, passed = (
        replace(one, day="2026-11-02")
        for one in (replace(DRAWN, carried_over=True), replace(DRAWN, order="05"), WAITS, PASSED)
    )

    assert weights(DRAWN, copy, waits, waits) == [200]
    assert weights(DRAWN, copy, waits, looked) == [50, 75, 75]
    assert weights(DRAWN, copy, waits, passed) == [50, 75, 75]


def test_each_day_has_a_sample_of_its_own() -> None:
    """That the second day has only begun takes nothing away from the first."""
    first = [replace(DRAWN, order=f"{number:02}") for number in range(3)]
    second = [replace(one, day="2026-11-02") for one in (DRAWN, WAITS, WAITS)]

    assert weights(*first, *second) == [50, 50, 50, 150]


def test_precision_and_recall() -> None:
    """100 drawn pictures that it called cats, 10 of them dogs; 20 dogs that it was not sure of; one cat it missed."""
    cats = [replace(DRAWN, order=f"{number:03}", verdict=DOG if number < 10 else CAT) for number in range(100)]
    dogs = [replace(UNSURE, verdict=DOG)] * 20
    missed = replace(DRAWN, order="999", guess=OTHER, cat=10)

    found = accuracy.accuracy([*cats, *dogs, missed], [])

    assert found.precision[CAT].value == pytest.approx(0.9)
    assert found.recall[CAT].value == pytest.approx(90 / 91)
    assert figures.estimate_text(found.precision[CAT]) == "90.0 % (83.0 to 94.8 %)"  # Jeffreys: 83.0 to 94.7
    assert (found.drawn, found.judged) == (101, 101)


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_what_everybody_was_asked_about_is_known_better(probability: float) -> None:
    """All pictures: no doubt. Half of them: less than of a small share."""
    cats = [
        replace(DRAWN, order=f"{n:03}", verdict=DOG if n < 10 else CAT, probability=probability) for n in range(100)
    ]
    small = [replace(one, probability=0.001) for one in cats]

    found, doubtful = (accuracy.accuracy(one, []).precision[CAT] for one in (cats, small))

    width = width_of(found) / width_of(doubtful)
    assert width == pytest.approx((1 - probability) ** 0.5, abs=0.03)


def test_with_too_little_it_says_how_much_is_missing() -> None:
    found = accuracy.accuracy([replace(DRAWN, order=f"{number:02}") for number in range(16)], [(CAT, CAT)] * 20)
    document = figures.accuracy_document(found)

    assert document["classes"]["cat"]["precision"] == {
        "value": None,
        "low": None,
        "high": None,
        "judged": 16,
        "missing": 34,
        "text": "not enough yet: 34 more",
    }
    assert document["classes"]["dog"]["recall"]["text"] == "not enough yet: 50 more"
    assert document["agreement"]["text"] == "not enough yet: 30 more pairs"


def test_a_few_heavy_pictures_are_not_many() -> None:
    """60 uncertain cats that are known say little beside the one that was drawn and stands for 1,000."""
    known = [replace(UNSURE, verdict=CAT)] * 60

    recall = accuracy.accuracy([replace(DRAWN, probability=0.001), *known], []).recall[CAT]

    assert (recall.value, recall.missing) == (None, LEAST - 1)


def test_the_least_is_what_shows_that_at_most_one_in_twenty_is_wrong() -> None:
    def low(number: int) -> float:
        found = accuracy._share(accuracy._Total(0, 1e6, number + 0.5), accuracy._Total(0, 1e6, 0.5))
        return found[0]

    assert low(LEAST) == pytest.approx(0.95, abs=0.005)
    accurate = [replace(DRAWN, order=f"{number:02}", probability=1e-6) for number in range(LEAST)]
    estimate = accuracy.accuracy(accurate, []).precision[CAT]
    assert (estimate.value, estimate.missing) == (1.0, 0)
    assert estimate.high != 1


def test_kappa_of_two_people() -> None:
    """Textbook: 100 pictures, 80 said alike; chance alone would make half of them alike."""
    pairs = [(CAT, CAT)] * 40 + [(DOG, DOG)] * 40 + [(CAT, DOG)] * 10 + [(DOG, CAT)] * 10

    found = accuracy.agreement(pairs)

    assert found.value == pytest.approx(0.6)
    assert found.low == pytest.approx(0.43, abs=0.02)
    assert found.high == pytest.approx(0.74, abs=0.02)


def test_kappa_needs_something_to_disagree_on() -> None:
    assert accuracy.agreement([(CAT, CAT)] * 100).value is None


def test_thresholds() -> None:
    """At 90 % those below become reviews; at 60 % the uncertain ones become cats, which they are not."""
    sure = [replace(DRAWN, order=f"{number:03}") for number in range(60)]
    narrow = [replace(DRAWN, order=f"{number:03}", cat=85, verdict=DOG) for number in range(60, 70)]
    unsure = [UNSURE] * 100

    current, rows = accuracy.thresholds([*sure, *narrow, *unsure], [60, 90])
    by_minimum = {row.minimum: (row.review, row.errors) for row in rows}

    assert current == 80
    assert by_minimum == {60: (0, 600), 80: (100, 500), 90: (600, 0)}
    assert [row.at_most is not None and row.errors is not None and row.at_most > row.errors for row in rows] == [
        True
    ] * 3
    texts = [figures.threshold_text(row) for row in rows]
    assert texts[2].startswith("0, at most ")


def test_a_threshold_of_which_too_little_is_known_has_no_errors() -> None:
    (row,) = (row for row in accuracy.thresholds([DRAWN, UNSURE], [90])[1] if row.minimum == 90)

    assert (row.errors, row.at_most, row.missing) == (None, None, 49)
    assert figures.threshold_text(row) == "not enough yet: 49 more"


def test_what_lies_below_the_floor_no_minimum_changes() -> None:
    """Certain or not: there the evidence decides, which is not kept with the review."""
    nothing = replace(UNSURE, cat=0)
    chair = replace(DRAWN, guess=OTHER, verdict=OTHER, cat=0)

    rows = accuracy.thresholds([nothing, chair], [60, 95])[1]

    assert {(row.pictures, row.review) for row in rows} == {(51, 1)}


def test_no_thresholds_without_judgements() -> None:
    assert accuracy.thresholds([]) == (None, [])
