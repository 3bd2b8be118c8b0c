"""Figures as documents, for the page and `--json`: volume and cost; accuracy in percent, also as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pet_detector.rules import prices
from pet_detector.rules.accuracy import Accuracy, Estimate, Threshold
from pet_detector.rules.models import Animal, ReasonCode


def accuracy_document(found: Accuracy) -> dict[str, Any]:
    """Precision and recall of each class, the agreement of two people, and how large the sample was."""
    return {
        "classes": {
            animal.value: {
                "precision": _estimate(found.precision[animal]),
                "recall": _estimate(found.recall[animal]),
            }
            for animal in Animal
        },
        "agreement": _estimate(found.agreement, " pairs"),
        "sample": {"drawn": found.drawn, "judged": found.judged},
    }


def _estimate(found: Estimate, of_what: str = "") -> dict[str, Any]:
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    percent = {name: None if share is None else round(100 * share, 2) for name, share in numbers.items()}
    return {**percent, "judged": found.judged, "missing": found.missing, "text": estimate_text(found, of_what)}


def estimate_text(found: Estimate, of_what: str = "") -> str:
    """Such as `97.1 % (94.0 to 98.8 %)`, or how many judgements are missing."""
    if found.value is None or found.low is None or found.high is None:
        return not_enough(found.missing, of_what)
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f} %)"


def not_enough(missing: int, of_what: str = "") -> str:
    """In place of a number."""
    return f"not enough yet: {missing} more{of_what}"


def thresholds_document(current: float | None, found: list[Threshold]) -> dict[str, Any]:
    """What each threshold would do; `current` is the one in force."""
    return {"current": current, "rows": [_threshold(one) for one in found]}


def _threshold(one: Threshold) -> dict[str, Any]:
    certain = one.pictures - one.review
    return {
        "minimum": one.minimum,
        "review": round(one.review),
        "reviewPercent": _percent(one.review, one.pictures),
        "errors": _rounded(one.errors),
        "errorsAtMost": _rounded(one.at_most),
        "errorPercent": _percent(one.errors, certain),
        "errorPercentAtMost": _percent(one.at_most, certain),
        "missing": one.missing,
        "text": threshold_text(one),
    }


def threshold_text(one: Threshold) -> str:
    """The errors, as a person reads them."""
    if one.errors is None or one.at_most is None:
        return not_enough(one.missing)
    return f"{one.errors:.0f}, at most {one.at_most:.0f} ({_percent(one.at_most, one.pictures - one.review):.1f} %)"


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _percent(part: float | None, whole: float) -> float | None:
    return None if part is None else round(min(100.0, 100 * part / whole), 2) if whole else 0.0


# What is counted by day: (metric, value of its dimension). rules/business_metrics.py says when each is counted.
DAY_METRICS = (
    *(("ImageClassified", animal.value) for animal in Animal),
    *(("ImageRejected", code.value) for code in ReasonCode),
    *((name, "") for name in ("ImageUncertain", "ImageFailed", "AnalysisReused", "ImageWaited")),
)


def volume_document(counts: Mapping[tuple[str, str], Mapping[str, int]], days: Sequence[str]) -> dict[str, Any]:
    """How many images came on each of the days, why some were rejected, and what all of them cost so far.

    `counts` has them by DAY_METRICS and day. What is filed as other includes the uncertain ones.
    """

    def of(metric: str, value: str = "", day: str | None = None) -> int:
        by_day = counts.get((metric, value), {})
        return sum(by_day.values()) if day is None else by_day.get(day, 0)

    by_day = [
        {
            "day": day,
            **{animal.value: of("ImageClassified", animal.value, day) for animal in Animal},
            "uncertain": of("ImageUncertain", day=day),
            "rejected": sum(of("ImageRejected", code.value, day) for code in ReasonCode),
            "failed": of("ImageFailed", day=day),
        }
        for day in days
    ]
    rejected = {code.value: of("ImageRejected", code.value) for code in ReasonCode}
    classified = sum(of("ImageClassified", animal.value) for animal in Animal)
    images = classified + sum(rejected.values())
    transitions = prices.TRANSITIONS * images
    transitions += prices.REVIEW_TRANSITIONS * of("ImageUncertain") + prices.WAIT_TRANSITIONS * of("ImageWaited")
    unit = prices.prices()
    analysed = classified - of("AnalysisReused")
    dollars = analysed * unit["rekognition_image"] + transitions * unit["states_standard_transition"]
    return {
        "days": by_day,
        "rejected": {code: number for code, number in rejected.items() if number},
        "cost": {"usd": round(dollars, 6), "images": images, "since": days[0]},
    }
