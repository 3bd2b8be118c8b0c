"""Logs and metrics, the same in every function: JSON lines with the ids that tie an image's story together, and
CloudWatch metrics in EMF. Tracing is the platform's own (`Tracing: Active`), which costs no import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from pet_detector.rules.models import Measurement

METRICS_NAMESPACE = "PetDetector"

# Service name and level come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_LOG_LEVEL. Never log the event itself: it may
# hold a picture, an API key or a link.
logger = Logger()


def bind(event: Mapping[str, Any]) -> None:
    """Put the ids of a workflow state's event into every log line from here on."""
    logger.append_keys(
        image_id=event["imageId"], execution_id=event["executionArn"], correlation_id=event["correlationId"]
    )


def publish(measurements: Iterable[Measurement]) -> None:
    """Publish measurements as metrics: one EMF document for those that share a dimension.

    A dimension has few values (never an id): each combination is a metric that is paid for.
    """
    groups: dict[tuple[str, str] | None, list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(measurement.dimension, []).append(measurement)
    for dimension, group in groups.items():
        document = EphemeralMetrics(namespace=METRICS_NAMESPACE)
        if dimension:
            document.add_dimension(*dimension)
        for measurement in group:  # Powertools flushes by itself when a document is full
            document.add_metric(measurement.metric, measurement.unit, measurement.value)
        if document.metric_set:
            document.flush_metrics()


def count(metric: str, value: float = 1) -> None:
    """Publish one metric that counts, such as RekognitionCall."""
    publish([Measurement(metric, value)])
