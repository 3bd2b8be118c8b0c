"""Alarms about a table watch it by its name, and know nothing of its copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import boto3

from ops.drill_restore import Copy
from ops.environment import CLIENT_CONFIG

# What an alarm is, of what describe-alarms says.
_ALARM = (
    *("AlarmDescription", "MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit"),
    *("EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData", "Metrics"),
)


def restore(names: Mapping[str, str], copy: Copy) -> Iterator[tuple[str, bool]]:
    """Give every alarm about a table one about its copy, which tells nobody -> its name, and whether it is the same.

    `names`: the copy of each table. The stacks of today have no alarm about a table, but an owner may.
    """
    cloudwatch = boto3.client("cloudwatch", config=CLIENT_CONFIG)
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"])
    every: list[Any] = [alarm for page in pages for alarm in page["MetricAlarms"]]
    for alarm in [alarm for alarm in every if _renamed(alarm, names) != alarm]:
        name = f"{copy.name}-{alarm['AlarmName']}"[:255]  # CloudWatch takes no more
        same = {field: _renamed(alarm[field], names) for field in _ALARM if alarm.get(field) not in (None, [])}
        cloudwatch.put_metric_alarm(AlarmName=name, ActionsEnabled=False, **same)
        found: list[Any] = list(cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"])
        yield alarm["AlarmName"], bool(found) and all(found[0].get(field) == value for field, value in same.items())


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same with the copies' names as values of the dimension TableName."""
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("Name") == "TableName" and value.get("Value") in names:
        return value | {"Value": names[value["Value"]]}
    return {key: _renamed(one, names) for key, one in value.items()}
