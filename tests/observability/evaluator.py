"""Made-up metrics, evaluated by the rules by which the local AWS evaluates its own, and composite rules."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from local import alarm_rules
from local.alarm_rules import expression_of, metrics_of

__all__ = ["Metrics", "composite_state", "expression_of", "metrics_of", "rule_members", "state"]

Dimensions = frozenset[tuple[str, str]]


@dataclass
class Metrics:
    """Data points by metric, dimensions and age in seconds."""

    points: dict[tuple[str, str, Dimensions], list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def put(self, metric: dict[str, Any], age: int, values: Iterable[float]) -> None:
        """Values of a metric (`Namespace`, `MetricName`, `Dimensions`) that are `age` seconds old."""
        self.points[_key(metric)] += [(age, value) for value in values]

    def statistic(self, metric: dict[str, Any], start: int, end: int) -> float | None:
        """The metric's statistic over the values that are `start` to `end` (excluded) seconds old; None without any."""
        values = [value for age, value in self.points.get(_key(metric), []) if start <= age < end]
        return alarm_rules.statistic(metric["Stat"], values)


def state(alarm: dict[str, Any], metrics: Metrics, before: str = "INSUFFICIENT_DATA") -> str:
    """ALARM, OK or INSUFFICIENT_DATA: what DescribeAlarms would say of the resolved properties of a metric alarm, whose
    state was `before`.
    """
    return alarm_rules.state(alarm, metrics.statistic, before)


def composite_state(rule: str, states: dict[str, str]) -> str:
    """The state of a composite alarm's rule, from those of the alarms that it names. KeyError: it names no alarm."""
    words = re.sub(r'ALARM\("([^"]+)"\)', lambda found: str(states[found[1]] == "ALARM"), rule)
    expression = words.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    return "ALARM" if _rule(ast.parse(" ".join(expression.split()), mode="eval").body) else "OK"


def rule_members(rule: str) -> list[str]:
    """Names of the alarms in a composite alarm's rule."""
    return re.findall(r'ALARM\("([^"]+)"\)', rule)


def _key(metric: dict[str, Any]) -> tuple[str, str, Dimensions]:
    dimensions = frozenset((d["Name"], str(d["Value"])) for d in metric.get("Dimensions", []))
    return metric["Namespace"], metric["MetricName"], dimensions


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
