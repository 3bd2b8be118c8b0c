"""CloudWatch: metrics that functions write into their logs; those of Lambda, Step Functions, API Gateway and SQS."""

from __future__ import annotations

import json
import time
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import apigateway_v1, cloudwatch, lambda_svc, sqs, stepfunctions

_EXECUTION_METRICS = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}


def install() -> None:
    """Apply this module's patches."""
    _embedded_metrics_become_metrics()
    _every_invocation_is_counted()
    _executions_are_counted()
    _requests_are_counted()
    _no_data_point_is_lost()


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


def _every_invocation_is_counted() -> None:
    """Each run of a function counts in AWS/Lambda: Invocations, Errors, Duration, or Throttles instead.

    AWS: whoever invokes it. MiniStack: counts calls of Invoke alone, not those of Step Functions, API Gateway,
    EventBridge or a stream.
    """
    dispatch = lambda_svc._execute_function_dispatch
    emit = lambda_svc._emit_lambda_metrics

    def dispatch_and_count(func: Any, config: Any, event: Any, request_id: str, started: float) -> Any:
        result = dispatch(func, config, event, request_id, started)
        emit(config["FunctionName"], (time.time() - started) * 1000, bool(result.get("error")), throttle=False)
        return result

    def emit_throttles(name: str, duration_ms: float, error: bool, throttle: bool) -> None:
        # Invoke reports each call a second time, with its duration; and an event, which has not run yet, without one.
        if throttle and not duration_ms:
            dimensions = {"FunctionName": name}
            cloudwatch.record_metric("AWS/Lambda", "Throttles", 1, "Count", dimensions)

    lambda_svc._execute_function_dispatch = dispatch_and_count
    lambda_svc._emit_lambda_metrics = emit_throttles


def _executions_are_counted() -> None:
    """Each execution counts in AWS/States, under its state machine, when it starts and when it ends.

    AWS: so. MiniStack: has no metric of Step Functions.
    """
    emit = stepfunctions._emit_execution_status_event

    def emit_and_count(execution: Any) -> None:
        emit(execution)
        redriven = execution["status"] == "RUNNING" and execution.get("redriveCount")
        metric = "RedrivenExecutions" if redriven else _EXECUTION_METRICS[execution["status"]]
        # Whoever started it through a version or an alias: it counts under the machine's own ARN.
        machine = ":".join(execution["stateMachineArn"].split(":")[:7])
        cloudwatch.record_metric("AWS/States", metric, 1, "Count", {"StateMachineArn": machine})

    stepfunctions._emit_execution_status_event = emit_and_count


def _requests_are_counted() -> None:
    """Each request to a REST API counts in AWS/ApiGateway, under the API's name and stage.

    AWS: Count, 4XXError and 5XXError (0 or 1 each), Latency. MiniStack: has no metric of API Gateway.
    """
    handle = apigateway_v1._handle_execute_in_scope

    async def handle_and_count(api_id: str, stage: str, *request: Any, **more: Any) -> Any:
        started = time.time()
        answer = await handle(api_id, stage, *request, **more)
        name = (apigateway_v1._rest_apis.get(api_id) or {}).get("name")
        if name:
            dimensions = {"ApiName": name, "Stage": stage}
            for metric, value in (
                ("Count", 1),
                ("4XXError", 400 <= answer[0] < 500),
                ("5XXError", answer[0] >= 500),
                ("Latency", (time.time() - started) * 1000),
            ):
                unit = "Milliseconds" if metric == "Latency" else "Count"
                cloudwatch.record_metric("AWS/ApiGateway", metric, float(value), unit, dimensions)
        return answer

    apigateway_v1._handle_execute_in_scope = handle_and_count


def _no_data_point_is_lost() -> None:
    """A data point that is counted while somebody calls CloudWatch stays.

    AWS: so. MiniStack: at each call it makes every metric's list anew, without data older than two weeks, and so
    without what another thread adds meanwhile. Here old data stays: a local AWS does not live that long.
    """
    cloudwatch._evict_old_metrics = lambda: None


def measure_queues() -> None:
    """Put how many messages each queue holds, and how old the oldest is, into AWS/SQS. The clock calls it.

    AWS: does so every minute, unless a queue was idle for six hours. MiniStack: has no metric of SQS.
    """
    now = time.time()
    for (account, region, _), queue in sqs._queues.all_items():
        messages = list(queue["messages"])
        visible = sum(message["visible_at"] <= now for message in messages)
        age = max((now - message["sent_at"] for message in messages), default=0.0)
        dimensions = {"QueueName": queue["name"]}
        with request_scope(account, region):
            cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", visible, "Count", dimensions)
            cloudwatch.record_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", age, "Seconds", dimensions)
