"""CloudWatch: metrics that functions write into their logs."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import cloudwatch, lambda_svc


def install() -> None:
    """Apply this module's patch."""
    _embedded_metrics_become_metrics()


def _embedded_metrics_become_metrics() -> None:
    """A log line in the embedded metric format (EMF) is also a data point.

    AWS: CloudWatch Logs extracts it. MiniStack: stores the line, and no metric appears.
    """
    emit_logs = lambda_svc._emit_lambda_logs

    def emit_logs_and_metrics(func: Any, request_id: str, log: str, *args: Any, **options: Any) -> None:
        emit_logs(func, request_id, log, *args, **options)
        for line in (log or "").splitlines():
            if '"_aws"' in line:
                _put_embedded_metrics(line)

    lambda_svc._emit_lambda_logs = emit_logs_and_metrics


def _put_embedded_metrics(line: str) -> None:
    """Store the metrics of one log line; a line that is no EMF document holds none."""
    try:
        document = json.loads(line)
        directives = document["_aws"]["CloudWatchMetrics"]
    except (ValueError, TypeError, KeyError):
        return
    for directive in directives:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = [{"Name": name, "Value": str(document[name])} for name in names if name in document]
            data = [
                {"MetricName": metric["Name"], "Unit": metric.get("Unit", "None"), "Value": float(value)}
                for metric in directive["Metrics"]
                for value in _values(document.get(metric["Name"]))
            ]
            request = {
                "Namespace": directive["Namespace"],
                "MetricData": [{**datum, "Dimensions": dimensions} for datum in data],
            }
            cloudwatch._put_metric_data({}, request, is_cbor=False, is_json=True)


def _values(value: Any) -> list[Any]:
    """The values of a metric: EMF writes one as a number, several as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
