"""Amazon CloudWatch: how many images of each kind came on each day, by the business metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.figures import DAY_METRICS
from pet_detector.runtime.observability import METRICS_NAMESPACE

_DAY = 24 * 60 * 60


def counts(service: str, since: datetime, days: int) -> dict[tuple[str, str], dict[str, int]]:
    """-> by (metric, value of its dimension), the counts by day such as 2026-11-30 (UTC), without days of none.

    `service` is the metrics' dimension: the stack's name. `since` must be a midnight. The last minutes of today may be
    missing.
    """
    queries: list[Any] = [_query(number, service, *metric) for number, metric in enumerate(DAY_METRICS)]
    found: dict[tuple[str, str], dict[str, int]] = {metric: {} for metric in DAY_METRICS}
    pages = client("cloudwatch").get_paginator("get_metric_data")
    until = since + timedelta(days=days)  # whole days: the last one ends later than now
    with translated("cloudwatch:GetMetricData"):
        for page in pages.paginate(MetricDataQueries=queries, StartTime=since, EndTime=until):
            for result in page["MetricDataResults"]:
                by_day = found[DAY_METRICS[int(result["Id"].removeprefix("m"))]]
                for time, number in zip(result["Timestamps"], result["Values"], strict=True):
                    day = f"{time.astimezone(UTC):%Y-%m-%d}"
                    by_day[day] = by_day.get(day, 0) + round(number)
    return found


def _query(number: int, service: str, metric: str, value: str) -> dict[str, Any]:
    dimensions = [{"Name": "service", "Value": service}]
    if value:
        dimensions.append({"Name": "Animal" if metric == "ImageClassified" else "ReasonCode", "Value": value})
    named = {"Namespace": METRICS_NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": f"m{number}", "MetricStat": {"Metric": named, "Period": _DAY, "Stat": "Sum"}}
