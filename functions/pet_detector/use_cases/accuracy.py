"""Compute how often the machine is right, keep it for the page, and publish it: once a day, and when a person asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pet_detector.aws import review_figures
from pet_detector.aws.detection_logs import format_time
from pet_detector.rules import accuracy as rules
from pet_detector.rules import figures
from pet_detector.rules.models import Measurement
from pet_detector.runtime.observability import logger, publish

DAYS = 30


@dataclass(frozen=True)
class Figures:
    """The figures of a period, and the same as the documents that the page reads."""

    accuracy: rules.Accuracy
    accuracy_document: dict[str, Any]
    thresholds_document: dict[str, Any]


def compute(table: str, days: int = DAYS) -> Figures:
    """Read what people were asked about of the last `days`, and estimate. Changes nothing. Raises AWS's errors."""
    now = datetime.now(UTC)
    found = list(review_figures.asked(table, format_time(now - timedelta(days=days))))
    looked_at_twice = [image_id for image_id, twice, review in found if twice and review.verdict]
    reviews = [review for _, _, review in found]
    estimated = rules.accuracy(reviews, review_figures.second_looks(table, looked_at_twice))
    head = {"computedAt": format_time(now), "days": days, "least": rules.LEAST}
    return Figures(
        estimated,
        head | figures.accuracy_document(estimated),
        head | figures.thresholds_document(*rules.thresholds(reviews)),
    )


def keep(table: str, found: Figures) -> None:
    """Store the figures where the page finds them."""
    review_figures.store(table, review_figures.ACCURACY, found.accuracy_document)
    review_figures.store(table, review_figures.THRESHOLDS, found.thresholds_document)


def daily(table: str) -> None:
    """Compute the figures of the last 30 days, keep them, and publish the precision of each class that has enough."""
    found = compute(table)
    keep(table, found)
    publish(measurements(found.accuracy))
    logger.info("Accuracy computed", drawn=found.accuracy.drawn, judged=found.accuracy.judged)


def measurements(found: rules.Accuracy) -> list[Measurement]:
    """Metrics, in percent: Precision of each class with enough judged pictures, and their lowest upper bound."""
    precision = [
        Measurement("Precision", 100 * one.value, "Percent", dimension=("Animal", animal.value))
        for animal, one in found.precision.items()
        if one.value is not None
    ]
    bounds = [100 * one.high for one in found.precision.values() if one.high is not None]
    return [*precision, Measurement("PrecisionBound", min(bounds), "Percent")] if bounds else []
