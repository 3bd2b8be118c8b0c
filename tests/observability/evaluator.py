"""CloudWatch's evaluation of alarms in small: statistics, metric math, M of N, missing data, composite rules.

It reads the alarms' own definitions. The local AWS would evaluate one statistic over all data of a metric's name: it
has neither dimensions nor periods, datapoints to alarm, missing data or metric math.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Dimensions = frozenset[tuple[str, str]]

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


@dataclass
class Metrics:
    """Data points by metric, dimensions and age in seconds."""

    points: dict[tuple[str, str, Dimensions], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def put(self, metric: dict[str, Any], age: int, values: Iterable[float]) -> None:
        """Values of a metric (`Namespace`, `MetricName`, `Dimensions`) that are `age` seconds old."""
        self.points[_key(metric)] += [(age, value) for value in values]

    def statistic(self, metric: dict[str, Any], stat: str, start: int, end: int) -> float | None:
        """The statistic of the values that are `start` to `end` (excluded) seconds old; None when there is none."""
        values = sorted(value for age, value in self.points.get(_key(metric), []) if start <= age < end)
        return _statistic(stat, values) if values else None


def state(alarm: dict[str, Any], metrics: Metrics) -> str:
    """ALARM, OK or INSUFFICIENT_DATA: what DescribeAlarms would say of the resolved properties of a metric alarm."""
    periods = int(alarm["EvaluationPeriods"])
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    breaching, missing = 0, 0
    for index in range(periods):
        value = _value(alarm, metrics, index)
        if value is None:
            missing += 1
        elif compare(value, float(alarm["Threshold"])):
            breaching += 1
    if alarm["TreatMissingData"] == "breaching":
        breaching += missing
    elif alarm["TreatMissingData"] != "notBreaching" and missing == periods:
        return "INSUFFICIENT_DATA"
    return "ALARM" if breaching >= int(alarm.get("DatapointsToAlarm", periods)) else "OK"


def composite_state(rule: str, states: dict[str, str]) -> str:
    """The state of a composite alarm's rule, from those of the alarms that it names. KeyError: it names no alarm."""
    words = re.sub(r'ALARM\("([^"]+)"\)', lambda found: str(states[found[1]] == "ALARM"), rule)
    expression = words.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    return "ALARM" if _rule(ast.parse(" ".join(expression.split()), mode="eval").body) else "OK"


def rule_members(rule: str) -> list[str]:
    """Names of the alarms in a composite alarm's rule."""
    return re.findall(r'ALARM\("([^"]+)"\)', rule)


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Each metric that an alarm reads: Namespace, MetricName, Dimensions, Period, Stat, and Id in metric math."""
    if "Metrics" not in alarm:
        stat = alarm.get("Statistic") or alarm["ExtendedStatistic"]
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


def _taken(source: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def _key(metric: dict[str, Any]) -> tuple[str, str, Dimensions]:
    dimensions = frozenset((d["Name"], str(d["Value"])) for d in metric.get("Dimensions", []))
    return metric["Namespace"], metric["MetricName"], dimensions


def _value(alarm: dict[str, Any], metrics: Metrics, index: int) -> float | None:
    values = {}
    for metric in metrics_of(alarm):
        period = int(metric["Period"])
        values[metric.get("Id", "")] = metrics.statistic(metric, metric["Stat"], index * period, (index + 1) * period)
    expression = expression_of(alarm)
    if expression is None:
        return values[""]
    result: float | None = _math(ast.parse(expression.replace("IF(", "IF_("), mode="eval").body, values)
    return result


def _statistic(stat: str, values: list[float]) -> float:
    match stat:
        case "Sum":
            return math.fsum(values)
        case "SampleCount":
            return len(values)
        case "Average":
            return math.fsum(values) / len(values)
        case "Minimum":
            return values[0]
        case "Maximum":
            return values[-1]
    if above := re.fullmatch(r"TC\((\d+):\)", stat):  # trimmed count: more than the lower bound
        return sum(value > float(above[1]) for value in values)
    percentile = re.fullmatch(r"p(\d+(\.\d+)?)", stat)
    assert percentile, f"the evaluator does not know the statistic {stat}"
    return values[max(0, math.ceil(len(values) * float(percentile[1]) / 100) - 1)]


def _math(node: ast.expr, values: dict[str, float | None]) -> Any:
    """Metric math on one period; None is a missing data point, which makes its expression's missing."""
    match node:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            return values[name]
        case ast.List(elts=items):
            return [_math(item, values) for item in items]
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _call(function, [_math(argument, values) for argument in arguments])
        case ast.BinOp(left=left, op=kind, right=right):
            return _operate(type(kind), _math(left, values), _math(right, values))
        case ast.Compare(left=left, ops=[kind], comparators=[right]):
            return _operate(type(kind), _math(left, values), _math(right, values))
    raise AssertionError(f"the evaluator does not know {ast.unparse(node)}")


def _call(function: str, arguments: list[Any]) -> Any:
    match function, arguments:
        case "FILL", [value, filling]:
            return filling if value is None else value
        case "IF_", [condition, then, otherwise]:
            return None if condition is None else then if condition else otherwise
        case "MAX", [list() as items]:
            return max((item for item in items if item is not None), default=None)
    raise AssertionError(f"the evaluator does not know the function {function}")


def _operate(kind: type[ast.AST], left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if kind is ast.Div:
        return left / right if right else None  # CloudWatch has no data point there
    return _OPERATORS[kind](left, right)


def _rule(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=bool() as value):
            return value
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_rule(value) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_rule(value) for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _rule(operand)
    raise AssertionError(f"the evaluator does not know {ast.unparse(node)}")
