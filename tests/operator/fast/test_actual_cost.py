"""`petdetect cost --actual`: which metrics count, since when, and what follows from how executions ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from click.testing import Result

from ops import definitions
from pet_detector.runtime.observability import METRICS_NAMESPACE
from tests.support.moto_world import Cloud

STACK = "serverlessapp-pet-detector-dev"


def _publish(hours_ago: float, **values: float) -> None:
    """Metrics as the functions publish them; `ImageClassified_Animal_cat` has a dimension more."""
    data: list[Any] = []
    for text, value in values.items():
        name, *dimension = text.split("_")
        dimensions = [{"Name": "service", "Value": STACK}]
        dimensions += [{"Name": dimension[0], "Value": dimension[1]}] if dimension else []
        time = datetime.now(UTC) - timedelta(hours=hours_ago)
        data.append({"MetricName": name, "Dimensions": dimensions, "Value": value, "Timestamp": time})
    boto3.client("cloudwatch").put_metric_data(Namespace=METRICS_NAMESPACE, MetricData=data)


@pytest.fixture
def actual(aws: Cloud, petdetect: Callable[..., Result]) -> Callable[..., Any]:
    """What --actual finds, as a document."""
    return lambda *options: json.loads(petdetect("cost", "--actual", "--json", *options).stdout)


def test_metrics_that_are_no_counts_are_not_summed(actual: Callable[..., Any]) -> None:
    _publish(0.1, ImageReceived=3, ReconcileGap=7, ConfidenceScore=99, ProcessingTime=2500, EstimatedCost=0.25)

    found = actual()

    assert found["counts"] == {"ImageReceived": 3}
    assert found["estimatedCost"] == 0.25


def test_days_are_days(actual: Callable[..., Any]) -> None:
    _publish(0.1, ImageReceived=1)
    _publish(30, ImageReceived=10)
    _publish(80, ImageReceived=100)

    assert [actual("--days", days)["counts"]["ImageReceived"] for days in ("1", "2", "4")] == [1, 11, 111]


def test_transitions_follow_from_how_executions_ended(actual: Callable[..., Any]) -> None:
    _publish(
        0.1, ImageClassified_Animal_cat=5, ImageClassified_Animal_other=4, ImageUncertain=3,
        ImageRejected_ReasonCode_EMPTY=2, ImageFailed=6, ImageHeld=7, DuplicateIgnored=8, ImageWaited=9,
    )  # fmt: skip
    routes = [
        (definitions.CERTAIN, 5 + 4 - 3),
        (definitions.UNCERTAIN, 3),
        (definitions.REJECTED, 2),
        (definitions.FAILED, 6),
        (definitions.HELD, 7),
        (definitions.DUPLICATE, 8),
    ]

    found = actual()

    (workflow,) = (line for line in found["lines"] if line["name"] == "Step Functions")
    transitions = sum(count * definitions.transitions(route) for route, count in routes) + 9 * 3
    assert workflow["how"] == f"{transitions} transitions, without retries and second waits"
    assert found["imagesFinished"] == 5 + 4 + 2


def test_more_calls_than_images_do_not_analyse_an_image_more_than_once(actual: Callable[..., Any]) -> None:
    """Calls whose images failed later are paid, and write no more than one analysis an image."""

    def writes() -> str:
        (line,) = (line for line in actual()["lines"] if line["name"] == "DynamoDB requests")
        return str(line["how"])

    _publish(0.1, ImageClassified_Animal_cat=2, RekognitionCall=2)
    before = writes()
    _publish(0.1, RekognitionCall=8)

    assert writes() == before
    (rekognition,) = (line for line in actual()["lines"] if line["name"] == "Rekognition")
    assert (rekognition["how"], rekognition["measured"]) == ("10 calls", True)
