"""Which resources an upgrade replaces, judged by CloudFormation's own schemas (those that cfn-lint ships)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

REGION = "us-east-1"

# A change of such a resource makes another one, whatever changes: the schema does not say so for what has no update.
_WITHOUT_UPDATE = ("AWS::Lambda::Version", "AWS::StepFunctions::StateMachineVersion")

Resources = dict[str, dict[str, Any]]


def replaced(old: Resources, new: Resources) -> dict[str, set[str]]:
    """Logical ids of resources that are in both templates and get another physical resource -> because of what.

    Values are compared as they are written: one that is written in another way counts as changed. What names a replaced
    resource in a property that cannot be updated is replaced too.
    """
    found: dict[str, set[str]] = {}
    while True:
        more = {
            name: reasons
            for name in old.keys() & new.keys()
            if name not in found and (reasons := set(_reasons(old[name], new[name], set(found))))
        }
        if not more:
            return found
        found |= more


def _reasons(old: dict[str, Any], new: dict[str, Any], gone: set[str]) -> Iterator[str]:
    kind = new["Type"]
    if old["Type"] != kind:
        yield "Type"
        return
    before, after = old.get("Properties", {}), new.get("Properties", {})
    if kind in _WITHOUT_UPDATE and before != after:
        yield "everything"
    if kind == "AWS::CloudFormation::Stack":  # a module of CloudFormation's own: its stack is updated in place
        return
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    fixed = [*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])]
    for pointer in fixed:
        path = pointer.removeprefix("/properties/").split("/")
        was, is_now = _at(before, path), _at(after, path)
        if was != is_now or _named(is_now) & gone:
            yield "/".join(path)


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _named(value: Any) -> set[str]:
    """The resources and parameters that a value names by Ref or Fn::GetAtt; in Fn::Sub, the texts in `${}`."""
    if isinstance(value, list):
        return set().union(*map(_named, value))
    if not isinstance(value, dict):
        return set()
    names = {value["Ref"]} if "Ref" in value else set()
    if "Fn::GetAtt" in value:
        target = value["Fn::GetAtt"]
        names.add(target[0] if isinstance(target, list) else target.split(".")[0])
    if "Fn::Sub" in value:
        names |= {part.split("}")[0].split(".")[0] for part in json.dumps(value["Fn::Sub"]).split("${")[1:]}
    return names.union(*map(_named, value.values()))


def added_indexes(old: Resources, new: Resources) -> dict[str, set[str]]:
    """The indexes that an upgrade adds or removes, by the logical id of their table.

    DynamoDB makes or deletes one index a time, and CloudFormation refuses an update with more than one of them.
    """
    return {
        name: _indexes(old[name]) ^ _indexes(new[name])
        for name in old.keys() & new.keys()
        if new[name]["Type"] == "AWS::DynamoDB::Table"
    }


def moved_names(old: Resources, new: Resources) -> set[str]:
    """Names of alarms and dashboards that another resource has after the upgrade, with the logical ids resolved.

    CloudFormation makes the new one before it deletes the old one, and refuses: the name exists already.
    """
    before, after = _names(old), _names(new)
    return {name for (name, kind) in before.keys() & after.keys() if before[name, kind] != after[name, kind]}


def _names(resources: Resources) -> dict[tuple[str, str], str]:
    return {
        (resource["Properties"][name], resource["Type"]): logical_id
        for logical_id, resource in resources.items()
        for kind, name in (
            ("AWS::CloudWatch::Alarm", "AlarmName"),
            ("AWS::CloudWatch::CompositeAlarm", "AlarmName"),
            ("AWS::CloudWatch::Dashboard", "DashboardName"),
        )
        if resource["Type"] == kind
    }


def _indexes(table: dict[str, Any]) -> set[str]:
    return {index["IndexName"] for index in table["Properties"].get("GlobalSecondaryIndexes", [])}
