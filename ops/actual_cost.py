"""What really ran, by the metrics of a deployment, and what it cost.

Rekognition's answers are counted: that line is measured. Transitions follow from how executions ended, and from how
many images waited for their turn. What the application does not count (functions, requests, storage) is computed for
the images that came, as `cost` does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

from ops import cost, definitions
from ops.environment import CLIENT_CONFIG, Deployment
from ops.monthly_cost import METRICS, METRICS_BY_DIMENSION
from pet_detector.rules.prices import prices
from pet_detector.runtime.observability import METRICS_NAMESPACE

_HOUR = 3600  # the finest that CloudWatch keeps for over two months
_DIMENSION = {"ImageClassified": "Animal", "ImageRejected": "ReasonCode"}

# Percentages, durations, and what says nothing about costs.
_NO_SUMS = {"ConfidenceScore", "ProcessingTime", "ReconcileGap", "PrecisionBound"}

# How executions ended, by the metric that counts them.
_ENDS = {
    "ImageUncertain": definitions.UNCERTAIN,
    "ImageRejected": definitions.REJECTED,
    "ImageFailed": definitions.FAILED,
    "ImageHeld": definitions.HELD,
    "DuplicateIgnored": definitions.DUPLICATE,
}


@dataclass(frozen=True)
class Spent:
    """A line of the bill in US dollars; `measured`, or computed for the images that came."""

    name: str
    dollars: float
    how: str
    measured: bool


@dataclass(frozen=True)
class Actual:
    """A period of a deployment. `counts` are sums of metrics, such as `ImageClassified cat`.

    `images_finished` were classified or rejected. `estimated_cost` is the sum of the metric EstimatedCost
    (Rekognition and transitions of finished images), in US dollars.
    """

    environment: str
    since: datetime
    until: datetime
    counts: Mapping[str, int]
    images_finished: int
    estimated_cost: float
    lines: list[Spent]

    @property
    def total(self) -> float:
        """US dollars."""
        return sum(line.dollars for line in self.lines)


def actual(deployment: Deployment, days: int, megabytes: float) -> Actual:
    """Ask CloudWatch about the last `days`; `megabytes` is the size of an image. Raises AWS's errors."""
    until = datetime.now(UTC)
    since = (until - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)  # CloudWatch's hours
    sums = _sums(boto3.client("cloudwatch", config=CLIENT_CONFIG), deployment.stack, since, until)
    counts = {name: round(value) for name, value in sums.items() if name != "EstimatedCost" and value}
    classified = sum(count for name, count in counts.items() if name.startswith("ImageClassified "))
    rejected = sum(count for name, count in counts.items() if name.startswith("ImageRejected "))
    parameters = definitions.defaults() | deployment.parameters
    lines = list(_lines(counts, classified, rejected, megabytes, parameters))
    images = classified + rejected
    return Actual(deployment.environment, since, until, counts, images, sums["EstimatedCost"], lines)


def _sums(client: Any, stack: str, since: datetime, until: datetime) -> dict[str, float]:
    """Sum of each metric, by its name and the value of its dimension."""
    names = [(name, "") for name in METRICS if name not in _NO_SUMS]
    names += [
        (name, value.value) for name, values in METRICS_BY_DIMENSION.items() if name in _DIMENSION for value in values
    ]
    queries = [_query(f"m{number}", stack, *name) for number, name in enumerate(names)]
    sums = dict.fromkeys(names, 0.0)
    pages = client.get_paginator("get_metric_data").paginate(MetricDataQueries=queries, StartTime=since, EndTime=until)
    for page in pages:
        for result in page["MetricDataResults"]:
            sums[names[int(result["Id"].removeprefix("m"))]] += sum(result["Values"])
    return {f"{name} {value}".rstrip(): number for (name, value), number in sums.items()}


def _query(key: str, stack: str, metric: str, value: str) -> dict[str, Any]:
    dimensions = [{"Name": "service", "Value": stack}]
    if value:
        dimensions.append({"Name": _DIMENSION[metric], "Value": value})
    named = {"Namespace": METRICS_NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": key, "MetricStat": {"Metric": named, "Period": _HOUR, "Stat": "Sum"}}


def _lines(
    counts: Mapping[str, int], classified: int, rejected: int, megabytes: float, parameters: Mapping[str, str]
) -> Iterator[Spent]:
    unit, images = prices(), classified + rejected
    calls = counts.get("RekognitionCall", 0)
    yield Spent(cost.REKOGNITION, calls * unit["rekognition_image"], f"{calls} calls", measured=True)
    ends = {name: counts.get(name, 0) for name in _ENDS} | {"ImageRejected": rejected}
    certain = classified - ends["ImageUncertain"]
    transitions = certain * definitions.transitions(definitions.CERTAIN)
    transitions += sum(number * definitions.transitions(_ENDS[name]) for name, number in ends.items())
    waited = counts.get("ImageWaited", 0)
    transitions += waited * len(definitions.states_of_a_wait())
    price = transitions * unit["states_standard_transition"]
    yield Spent(cost.WORKFLOW, price, f"{transitions} transitions, without retries and second waits", measured=False)
    if not images:
        return
    calls_an_image = 2 if cost.is_moderated(parameters) else 1
    uncertain, analysed = ends["ImageUncertain"] / images, min(1.0, calls / calls_an_image / images)
    registered = min(1.0, counts.get("ImageRegistered", 0) / images)
    load = cost.Load(
        images,
        megabytes,
        uncertain=uncertain,
        analysed=analysed,
        waiting=min(1.0, waited / images),
        registered=registered,
        mapped=registered,
    )
    for line in cost.bill(load, parameters):
        if line.name not in (cost.REKOGNITION, cost.CONTENT_SAFETY, cost.WORKFLOW):  # calls of both are counted
            yield Spent(line.name, line.per_image * images, line.how, measured=False)
