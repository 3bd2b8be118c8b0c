"""How CloudWatch evaluates a metric alarm: statistics, metric math, M of N, missing data.

It reads an alarm's own definition, as CloudFormation or DescribeAlarms writes it, and asks a function for statistics.
The local AWS gives it the data points that it has (`local/ministack_ext/alarms.py`), a test those that it makes up
(`tests/observability`).
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any

# The statistic of a metric (Namespace, MetricName, Dimensions, Stat) over the data that is `start` to `end` (excluded)
# seconds old; None where there is none.
Statistics = Callable[[dict[str, Any], int, int], float | None]

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
}


class UnknownToTheRulesError(Exception):
    """The alarm has something that this module does not know."""


def state(alarm: dict[str, Any], statistics: Statistics, before: str = "INSUFFICIENT_DATA") -> str:
    """ALARM, OK or INSUFFICIENT_DATA of a metric alarm whose state was `before`.

    Raises UnknownToTheRulesError for a statistic, a comparison or a function of metric math that is not used here.
    """
    periods = int(alarm["EvaluationPeriods"])
    compare = _known(_COMPARISONS, alarm["ComparisonOperator"])
    values = [_value(alarm, statistics, index) for index in range(periods)]
    breaching = sum(compare(value, float(alarm["Threshold"])) for value in values if value is not None)
    missing = values.count(None)
    treatment = alarm.get("TreatMissingData", "missing")
    if treatment == "breaching":
        breaching += missing
    elif treatment != "notBreaching" and missing == periods:
        return before if treatment == "ignore" else "INSUFFICIENT_DATA"
    return "ALARM" if breaching >= int(alarm.get("DatapointsToAlarm") or periods) else "OK"


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Each metric that an alarm reads: Namespace, MetricName, Dimensions, Period, Stat, and Id in metric math."""
    if "Metrics" not in alarm:
        stat = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        return [{"Dimensions": [], **_taken(alarm, "Namespace", "MetricName", "Dimensions", "Period"), "Stat": stat}]
    return [
        {"Dimensions": [], **query["MetricStat"]["Metric"], **_taken(query["MetricStat"], "Period", "Stat")}
        | {"Id": query["Id"]}
        for query in alarm["Metrics"]
        if "MetricStat" in query
    ]


def expression_of(alarm: dict[str, Any]) -> str | None:
    """The expression of an alarm in metric math."""
    found = [query["Expression"] for query in alarm.get("Metrics", []) if "Expression" in query]
    return found[0] if found else None


def statistic(stat: str, values: list[float]) -> float | None:
    """A statistic of the values of one period; None when there are none. A percentile is that of the nearest rank."""
    if not values:
        return None
    match stat:
        case "Sum":
            return math.fsum(values)
        case "SampleCount":
            return len(values)
        case "Average":
            return math.fsum(values) / len(values)
        case "Minimum":
            return min(values)
        case "Maximum":
            return max(values)
    if above := re.fullmatch(r"TC\((\d+):\)", stat):  # trimmed count: more than the lower bound
        return sum(value > float(above[1]) for value in values)
    if percentile := re.fullmatch(r"p(\d+(\.\d+)?)", stat):
        return sorted(values)[max(0, math.ceil(len(values) * float(percentile[1]) / 100) - 1)]
    raise UnknownToTheRulesError(f"the statistic {stat}")


def _taken(source: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def _known(table: dict[Any, Any], name: Any) -> Any:
    if name not in table:
        raise UnknownToTheRulesError(str(name))
    return table[name]


def _value(alarm: dict[str, Any], statistics: Statistics, index: int) -> float | None:
    """What the alarm compares in one period; index 0 is the newest."""
    values = {}
    for metric in metrics_of(alarm):
        period = int(metric["Period"])
        values[metric.get("Id", "")] = statistics(metric, index * period, (index + 1) * period)
    expression = expression_of(alarm)
    if expression is None:
        return next(iter(values.values()))
    result: float | None = _math(ast.parse(expression.replace("IF(", "IF_("), mode="eval").body, values)
    return result


def _math(node: ast.expr, values: dict[str, float | None]) -> Any:
    """Metric math on one period; None is a missing data point, which makes its expression's missing."""
    match node:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            return _known(values, name)
        case ast.List(elts=items):
            return [_math(item, values) for item in items]
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _call(function, [_math(argument, values) for argument in arguments])
        case ast.BinOp(left=left, op=kind, right=right):
            return _operate(type(kind), _math(left, values), _math(right, values))
        case ast.Compare(left=left, ops=[kind], comparators=[right]):
            return _operate(type(kind), _math(left, values), _math(right, values))
    raise UnknownToTheRulesError(ast.unparse(node))


def _call(function: str, arguments: list[Any]) -> Any:
    match function, arguments:
        case "FILL", [value, filling]:
            return filling if value is None else value
        case "IF_", [condition, then, otherwise]:
            return None if condition is None else then if condition else otherwise
        case "MAX", [list() as items]:
            return max((item for item in items if item is not None), default=None)
    raise UnknownToTheRulesError(f"the function {function}")


def _operate(kind: type[ast.AST], left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if kind is ast.Div:
        return left / right if right else None  # CloudWatch has no data point there
    result: float = _known(_OPERATORS, kind)(left, right)
    return result
