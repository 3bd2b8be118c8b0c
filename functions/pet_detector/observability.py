"""Logs and metrics, the same in every function: JSON lines with the ids that tie an image's story together, and
CloudWatch metrics in EMF. Tracing is the platform's own (`Tracing: Active`), which costs no import.
"""

from __future__ import annotations

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric

METRICS_NAMESPACE = "PetDetector"

# Service name and level come from POWERTOOLS_SERVICE_NAME and POWERTOOLS_LOG_LEVEL. Never log the event itself: it may
# hold a picture, an API key or a link.
logger = Logger()


def count(metric: str, value: float = 1, unit: MetricUnit = MetricUnit.Count, **dimensions: str) -> None:
    """Publish `value` for `metric` (a past-tense fact such as ImageClassified), in an EMF document of its own.

    `dimensions` are few and have few values (never an id): each combination is a metric that is paid for.
    """
    with single_metric(metric, unit, value, namespace=METRICS_NAMESPACE) as document:
        for name, word in dimensions.items():
            document.add_dimension(name, word)
