"""AWS WAF's rules, evaluated: what a web ACL of a resolved template does with a request.

It knows the statements that stacks/edge.yaml uses, and raises AssertionError for any other. What AWS's managed groups
find in a request, the request itself says: their rules are AWS's, and change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.stacks import Stack


@dataclass(frozen=True)
class Request:
    """What WAF sees of a request.

    `found`: names of the rules of managed groups that it matches, with the label that each leaves, by the group's name.
    `is_flood`: whether its address made too many.
    """

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_flood: bool = False

    def at(self, stage: str, **headers: str) -> Request:
        """The same as it arrives at a stage of API Gateway, with more headers."""
        return replace(self, path=f"/{stage}{self.path}", headers={**self.headers, **headers})


class Acl:
    """A web ACL, with the rule groups of its stack."""

    def __init__(self, properties: Mapping[str, Any], stack: Stack) -> None:
        self._rules, self._default = properties["Rules"], properties["DefaultAction"]
        self._groups = {
            stack.resolve({"Fn::GetAtt": [name, "Arn"]}): group
            for name, group in stack.of_type("AWS::WAFv2::RuleGroup").items()
        }

    def lets_pass(self, request: Request) -> bool:
        """Whether the request goes on: rules are asked by priority, until one allows or blocks."""
        labels: set[str] = set()
        for rule in sorted(self._rules, key=lambda rule: int(rule["Priority"])):
            action = self._action(rule, request, labels)
            if action in ("Allow", "Block"):
                return action == "Allow"
        ((default, _),) = self._default.items()
        return bool(default == "Allow")

    def _action(self, rule: Mapping[str, Any], request: Request, labels: set[str]) -> str | None:
        ((kind, statement),) = rule["Statement"].items()
        if kind == "ManagedRuleGroupStatement":
            actions = _of_managed_group(statement, request, labels)
        elif kind == "RuleGroupReferenceStatement":
            rules = sorted(self._groups[statement["Arn"]]["Rules"], key=lambda one: int(one["Priority"]))
            actions = [action for one in rules if (action := self._action(one, request, labels))]
        else:
            assert "OverrideAction" not in rule, "only a group has one"
            ((action, _),) = rule["Action"].items()
            return str(action) if matches(rule["Statement"], request, labels) else None
        ((override, _),) = rule["OverrideAction"].items()
        ends = [action for action in actions if action in ("Allow", "Block")]
        return "Count" if override == "Count" else next(iter(ends), None)


def _of_managed_group(statement: Mapping[str, Any], request: Request, labels: set[str]) -> list[str]:
    """Every rule of AWS's groups blocks, unless the web ACL says otherwise. They look before the labels are there."""
    others = {one["Name"]: next(iter(one["ActionToUse"])) for one in statement.get("RuleActionOverrides", [])}
    found = request.found.get(statement["Name"], {})
    labels |= set(found.values())
    return [others.get(name, "Block") for name in found]


def matches(statement: Mapping[str, Any], request: Request, labels: set[str]) -> bool:
    """Whether a request matches a statement."""
    ((kind, body),) = statement.items()
    match kind:
        case "NotStatement":
            return not matches(body["Statement"], request, labels)
        case "AndStatement":
            return all(matches(one, request, labels) for one in body["Statements"])
        case "OrStatement":
            return any(matches(one, request, labels) for one in body["Statements"])
        case "LabelMatchStatement":
            assert body["Scope"] == "LABEL"
            return body["Key"] in labels
        case "RateBasedStatement":
            return request.is_flood
        case "ByteMatchStatement":
            return _bytes_match(body, request)
    raise AssertionError(f"the tests do not know {kind}")


def _bytes_match(body: Mapping[str, Any], request: Request) -> bool:
    assert body["TextTransformations"] == [{"Priority": 0, "Type": "NONE"}]
    ((where, what),) = body["FieldToMatch"].items()
    if where == "SingleHeader":
        value = {name.lower(): value for name, value in request.headers.items()}.get(what["Name"].lower())
    else:
        assert where == "UriPath"
        value = request.path
    if value is None:
        return False  # what is not there matches nothing
    match body["PositionalConstraint"]:
        case "EXACTLY":
            return bool(value == body["SearchString"])
        case "ENDS_WITH":
            return value.endswith(body["SearchString"])
    raise AssertionError(f"the tests do not know {body['PositionalConstraint']}")
