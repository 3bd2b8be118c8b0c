"""Do the intervals hold what they promise? 1,000 review histories whose truth is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from pet_detector.rules import accuracy
from pet_detector.rules.accuracy import Estimate, Review
from tests.support import review_histories
from tests.support.review_histories import OTHER_MINIMUM

HISTORIES = 1000


def _outcomes(seed: int) -> list[tuple[str, str]]:
    """(figure, `held`, `too low`, `too high` or `not enough`) of each figure of a history."""
    history = review_histories.history(seed)
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


def coverage(histories: int) -> dict[str, Counter[str]]:
    """How often each figure held, by figure."""
    found: dict[str, Counter[str]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for outcomes in pool.map(_outcomes, range(histories), chunksize=25):
            for figure, outcome in outcomes:
                found.setdefault(figure, Counter())[outcome] += 1
    return found


def test_an_interval_of_95_percent_holds_in_93_to_97_of_100_histories() -> None:
    """Each figure, whatever the machine is like, and however far people have come. Printed with `pytest -s`."""
    found = coverage(HISTORIES)

    shares = {}
    print(f"\n{'figure':<20}{'enough':>8}{'held':>9}{'too low':>9}{'too high':>10}")
    for figure, counts in found.items():
        enough = HISTORIES - counts["not enough"]
        shares[figure] = counts["held"] / enough
        low, high = counts["too low"] / enough, counts["too high"] / enough
        print(f"{figure:<20}{enough:>8}{shares[figure]:>9.1%}{low:>9.1%}{high:>10.1%}")
        assert enough > HISTORIES / 2, f"{figure}: too few histories say anything"
    assert len(shares) == 8
    assert {figure: share for figure, share in shares.items() if not 0.93 <= share <= 0.97} == {}
