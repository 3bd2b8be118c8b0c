"""Do the intervals hold what they promise? 1,000 review histories whose truth is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

from pet_detector.rules import accuracy
from pet_detector.rules.accuracy import Estimate, Review
from tests.support import review_histories
from tests.support.review_histories import OTHER_MINIMUM, Stratum

HISTORIES = 1000
# Each history is of one of these, in turn.
STRATA = [
    Stratum(percent, drawn_a_day, days, corrected)
    for percent, drawn_a_day, days in ((5, 3, 160), (2, 5, 80), (10, 20, 30))
    for corrected in (0, 0.5, 1)
] + [Stratum(10, 20, 30, corrected=0.5, days_before=15, days_off=4)]
PASSED_OVER = [Stratum(5, 5, 80, corrected=0.5, hard=0.05), Stratum(10, 20, 30, hard=0.1)]


def _outcomes(seed: int, strata: list[Stratum]) -> list[tuple[str, str]]:
    """(figure, `held`, `too low`, `too high` or `not enough`) of each figure of a history."""
    history = review_histories.history(seed, strata[seed % len(strata)])
    reviews = [Review.of_head(head) for head in history.heads]
    found = accuracy.accuracy(reviews, history.pairs)
    return [*_of_accuracy(history, found), ("errors at 90 %", _of_threshold(history, reviews))]


def _of_accuracy(history: review_histories.History, found: accuracy.Accuracy) -> Iterator[tuple[str, str]]:
    for name, estimates, truths in (
        ("precision", found.precision, history.precision),
        ("recall", found.recall, history.recall),
    ):
        for animal, estimate in estimates.items():
            yield f"{name} of {animal.value}", _held(estimate, truths[animal])
    yield "kappa", _held(found.agreement, history.kappa)


def _held(estimate: Estimate, truth: float) -> str:
    if estimate.low is None or estimate.high is None:
        return "not enough"
    if truth < estimate.low:
        return "too high"
    return "too low" if truth > estimate.high else "held"


def _of_threshold(history: review_histories.History, reviews: list[Review]) -> str:
    _, rows = accuracy.thresholds(reviews, [OTHER_MINIMUM])
    at_most = next(row.at_most for row in rows if row.minimum == OTHER_MINIMUM)
    if at_most is None:
        return "not enough"
    return "held" if history.errors <= at_most else "too low"


def coverage(histories: int, strata: list[Stratum]) -> dict[str, Counter[str]]:
    """How often each figure held, by figure, and all of them together, by stratum."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        every = pool.map(_outcomes, range(histories), repeat(strata), chunksize=25)
        for seed, outcomes in enumerate(every):
            for figure, outcome in outcomes:
                found[figure][outcome] += 1
                if figure != "kappa":
                    found[str(strata[seed % len(strata)])][outcome] += 1
    print(f"\n{'':<60}{'enough':>8}{'held':>9}{'too low':>9}{'too high':>10}")
    for figure, counts in found.items():
        enough = _enough(counts)
        shares = (counts[outcome] / enough for outcome in ("held", "too low", "too high"))
        print(f"{figure:<60}{enough:>8}{next(shares):>9.1%}{next(shares):>9.1%}{next(shares):>10.1%}")
    return found


def _enough(counts: Counter[str]) -> int:
    return counts.total() - counts["not enough"]


def test_an_interval_of_95_percent_holds_in_93_to_97_of_100_histories() -> None:
    """Each figure, whatever the machine is like, and however far people have come. Printed with `pytest -s`.

    Of single strata there are too few histories for that; but in none of them do the figures fail.
    """
    found = coverage(HISTORIES, STRATA)

    figures = {figure: counts for figure, counts in found.items() if not figure.startswith("Stratum")}
    held = {figure: counts["held"] / _enough(counts) for figure, counts in found.items()}
    assert (len(figures), len(found)) == (8, 8 + len(STRATA))
    assert {figure: counts for figure, counts in figures.items() if _enough(counts) < HISTORIES / 2} == {}
    assert {figure: held[figure] for figure in figures if not 0.93 <= held[figure] <= 0.97} == {}
    assert {figure: share for figure, share in held.items() if not 0.92 <= share <= 0.98} == {}


def test_what_people_pass_over_makes_intervals_wider_and_not_wrong() -> None:
    """Half of it are mistakes."""
    found = coverage(HISTORIES // 5, PASSED_OVER)

    held = {figure: counts["held"] / _enough(counts) for figure, counts in found.items()}
    assert {figure: share for figure, share in held.items() if figure != "kappa" and share < 0.93} == {}
