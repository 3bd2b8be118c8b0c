"""CloudWatch alarms: evaluated as they are written, by a clock, and made by CloudFormation with all that they say."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from ministack.core.responses import request_scope
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from local import alarm_rules
from local.ministack_ext.cloudwatch import measure_queues

logger = logging.getLogger(__name__)

# How long the minute of an alarm's period is here, in seconds: a test of an alarm on five minutes need not last five.
# Gradual deployments take the same minute.
CLOCK_MINUTE_SECONDS = float(os.environ.get("CLOCK_MINUTE_SECONDS", "60"))

# Between two evaluations: 2 s, as in a minute of full length 30 times.
_TICK_SECONDS = max(0.1, min(2.0, CLOCK_MINUTE_SECONDS / 30))

# What an alarm on an expression has not, and MiniStack stores for every alarm.
_OF_ONE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit")

# The clock and a deployment may evaluate the same alarm at once; its actions run outside of the lock.
_changing = threading.Lock()


def install() -> None:
    """Apply this module's patches, and start the clock."""
    _alarms_are_evaluated_as_written()
    _alarms_may_be_on_an_expression()
    _composite_alarms_are_in_templates()
    threading.Thread(target=_clock, name="alarms", daemon=True).start()


def ringing(names: Sequence[str]) -> list[str]:
    """Those of the metric alarms of the current account and region that are in ALARM, evaluated now.

    A name that no alarm has, or that a composite alarm has, counts as OK: so do deployments on AWS, which describe
    alarms without asking for composite ones.
    """
    found = []
    for name in names:
        alarm = cloudwatch._alarms.get(name)
        if alarm:
            _evaluate(alarm)
            found += [name] if alarm["StateValue"] == "ALARM" else []
    return found


def _alarms_are_evaluated_as_written() -> None:
    """An alarm regards its dimensions, periods, datapoints and missing data, and ends when its cause is over.

    AWS: so, and every minute. MiniStack: takes one statistic over all data of the metric's name, only when somebody
    calls PutMetricData, and leaves the state as it is when there is none.
    """
    cloudwatch._evaluate_alarm = _evaluate
    # PutMetricData evaluates nothing: the clock does.
    cloudwatch._evaluate_all_alarms = lambda: None


def _clock() -> None:
    measured = 0.0
    while True:
        time.sleep(_TICK_SECONDS)
        if time.monotonic() - measured >= CLOCK_MINUTE_SECONDS / 2:
            measured = time.monotonic()
            measure_queues()
        for (account, region, _), alarm in cloudwatch._alarms.all_items():
            with request_scope(account, region):
                _evaluate(alarm)


def _evaluate(alarm: dict[str, Any]) -> None:
    """Give a metric alarm the state that its data says, and run what it does on a change."""
    if not alarm.get("MetricName") and not alarm.get("Metrics"):
        return
    try:
        new = alarm_rules.state(alarm, _statistics(time.time()), alarm["StateValue"])
    except Exception:  # an alarm that cannot be evaluated keeps its state, and must not stop the clock
        logger.exception("The alarm %s cannot be evaluated", alarm.get("AlarmName"))
        return
    with _changing:
        old = alarm["StateValue"]
        if new == old:
            return
        periods, comparison = alarm["EvaluationPeriods"], alarm["ComparisonOperator"]
        reason = f"Threshold Crossed: {new} by the data of {periods} periods ({comparison} {alarm['Threshold']})"
        alarm.update(StateValue=new, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], old, new, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, new, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def _statistics(now: float) -> alarm_rules.Statistics:
    """Statistics of the stored data points; an age is counted in the clock's minutes."""

    def statistics(metric: dict[str, Any], start: int, end: int) -> float | None:
        dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(metric["Dimensions"] or []))
        points = cloudwatch._metrics.get((metric["Namespace"], metric["MetricName"], dimensions)) or []
        newest, oldest = (now - age * CLOCK_MINUTE_SECONDS / 60 for age in (start, end))
        inside = [point for point in list(points) if oldest < point["Timestamp"] <= newest]
        totals = cloudwatch._calc_stats(inside)
        if metric["Stat"] in totals:
            return float(totals[metric["Stat"]])
        values = [point["Value"] for point in inside for _ in range(int(point.get("Count", 1)))]
        return alarm_rules.statistic(metric["Stat"], values)

    return statistics


def _alarms_may_be_on_an_expression() -> None:
    """An alarm has `Metrics`: metric math. The functions that it knows are those of `local/alarm_rules.py`.

    AWS: evaluates it. MiniStack: PutMetricAlarm drops it, and CloudFormation refuses the template.
    """
    put, record = cloudwatch._put_metric_alarm, provisioners._cw_metric_alarm_record

    def put_with_expression(parameters: Any, data: Any, *protocol: Any, **more: Any) -> Any:
        answer = put(parameters, data, *protocol, **more)
        if answer[0] == 200 and (data or {}).get("Metrics"):
            alarm = cloudwatch._alarms[data["AlarmName"]]
            _make_expression(alarm, data["Metrics"])
            _evaluate(alarm)
        return answer

    def record_with_expression(name: str, properties: dict[str, Any]) -> dict[str, Any]:
        if not properties.get("Metrics"):
            return dict(record(name, properties))
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = dict(record(name, {**rest, "MetricName": "-", "Namespace": "-"}))
        _make_expression(alarm, properties["Metrics"])
        return alarm

    cloudwatch._put_metric_alarm = put_with_expression
    provisioners._cw_metric_alarm_record = record_with_expression


def _make_expression(alarm: dict[str, Any], metrics: list[dict[str, Any]]) -> None:
    """Store metric math in an alarm; a template's numbers and booleans may have become text."""
    for field in _OF_ONE_METRIC:
        alarm.pop(field, None)
    alarm["Metrics"] = copy.deepcopy(metrics)
    for query in alarm["Metrics"]:
        query["ReturnData"] = str(query.get("ReturnData", True)).lower() == "true"
        if "MetricStat" in query:
            query["MetricStat"]["Period"] = int(query["MetricStat"]["Period"])


def _composite_alarms_are_in_templates() -> None:
    """CloudFormation makes composite alarms (AWS::CloudWatch::CompositeAlarm).

    AWS: so. MiniStack: has PutCompositeAlarm, and refuses a template with the type.
    """

    def put(name: str, properties: dict[str, Any]) -> tuple[str, dict[str, str]]:
        request = {key: value for key, value in properties.items() if key != "Tags"}
        request |= {"AlarmName": name, "ActionsEnabled": str(properties.get("ActionsEnabled", True)).lower() == "true"}
        status, _, body = cloudwatch._put_composite_alarm({}, request, is_cbor=False, is_json=True)
        if status >= 400:
            raise ValueError(body.decode() if isinstance(body, bytes) else str(body))
        return name, {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        return put(properties.get("AlarmName") or f"{stack}-{logical_id}", properties)

    def update(name: str, _old: Any, properties: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        return put(properties.get("AlarmName") or name, properties)

    def delete(name: str, _properties: Any) -> None:
        cloudwatch._delete_alarms({}, {"AlarmNames": [name]}, is_cbor=False, is_json=True)

    provisioners._RESOURCE_HANDLERS["AWS::CloudWatch::CompositeAlarm"] = {
        "create": create,
        "update": update,
        "delete": delete,
    }
