"""The templates of stacks/ as CloudFormation would deploy it: parameters filled in, nested stacks opened."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.paths import REPOSITORY
from tests.support.templates import load

STACK_FILE = REPOSITORY / "stacks" / "observability.yaml"

APPLICATION = "serverlessapp-pet-detector-test"
# Names as the root template hands them in; an alarm with an empty dimension would watch nothing.
NAMES = {
    "Stage": "test",
    "ApplicationName": APPLICATION,
    "ImageWorkflowArn": "arn:aws:states:us-east-1:123456789012:stateMachine:ImageWorkflow",
    "RunbookUrl": "https://example.com/operations.md",
    "AlarmEmail": "operators@example.com",
}
PSEUDO = {
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::StackName": "observability",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/observability/0f9e8d7c-1111-2222-3333-4444",
    "AWS::URLSuffix": "amazonaws.com",
}
_NO_VALUE = object()


@dataclass
class Stack:
    """A template's resources with everything resolved; those of nested stacks are called `<stack>.<resource>`."""

    file: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.template = load(self.file)
        declared = self.template.get("Parameters", {})
        unknown = set(self.parameters) - set(declared)
        assert not unknown, f"{self.file.name} has no parameters {sorted(unknown)}"
        # A name that nobody gave is the parameter's own: FunctionsLogGroupName is called FunctionsLogGroupName.
        self.values = {
            name: self.parameters.get(name, declaration.get("Default", name)) for name, declaration in declared.items()
        }
        conditions = self.template.get("Conditions", {})
        self.conditions: dict[str, bool] = {}
        for name, condition in conditions.items():
            self.conditions[name] = self.resolve(condition)
        kept = {
            name: resource
            for name, resource in self.template["Resources"].items()
            if self.conditions.get(resource.get("Condition"), True)
        }
        self.nested: dict[str, Stack] = {}
        self._written = kept
        for name, resource in kept.items():
            if resource["Type"] == "AWS::CloudFormation::Stack":
                properties = self.resolve(resource["Properties"])
                self.nested[name] = Stack(
                    self.file.parent / properties["TemplateURL"], properties.get("Parameters", {})
                )
        for name, resource in kept.items():
            self.resources[name] = {**resource, "Properties": self.resolve(resource.get("Properties", {}))}
        for name, stack in self.nested.items():
            self.resources |= {f"{name}.{child}": resource for child, resource in stack.resources.items()}

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of the resources of a type, by logical id."""
        return {name: r["Properties"] for name, r in self.resources.items() if r["Type"] == kind}

    def resolve(self, value: Any) -> Any:
        """A value with its intrinsic functions replaced by what they mean here."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            name, argument = next(iter(value.items()))
            if name == "Ref":
                return self._ref(argument)
            if name == "Condition" and argument in self.conditions:
                return self.conditions[argument]
            if name.startswith("Fn::"):
                return self._function(name, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not _NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Fn::Sub":
                text, own = (argument, {}) if isinstance(argument, str) else (argument[0], self.resolve(argument[1]))
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(own.get(found[1]) or self._named(found[1])), text)
            case "Fn::Split":
                separator, text = self.resolve(argument)
                return text.split(separator)
            case "Fn::Select":
                index, items = self.resolve(argument)
                return items[int(index)]
            case "Fn::GetAtt":
                return self._attribute(*argument)
            case "Fn::Cidr":
                whole, count, bits = self.resolve(argument)
                parts = ipaddress.ip_network(whole).subnets(new_prefix=32 - int(bits))
                return [str(part) for part in itertools.islice(parts, int(count))]
            case "Fn::Equals":
                left, right = self.resolve(argument)
                return str(left) == str(right)
            case "Fn::Not":
                return not self.resolve(argument)[0]
            case "Fn::And":
                return all(self.resolve(argument))
            case "Condition":
                return self.conditions[argument]
            case "Fn::If":
                condition, then, otherwise = argument
                return self.resolve(then if self.conditions[condition] else otherwise)
            case "Fn::ToJsonString":
                return json.dumps(self.resolve(argument))
        raise AssertionError(f"{self.file.name} uses {name}, which the tests do not know")

    def _named(self, name: str) -> Any:
        return self._attribute(*name.split(".", 1)) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self.values:
            return self.values[name]
        if name in PSEUDO:
            return PSEUDO[name]
        resource = self._written[name]
        if resource["Type"].startswith("AWS::CloudWatch::"):
            return self.resolve(resource["Properties"]["AlarmName"])
        if resource["Type"] == "AWS::SNS::Topic":
            return f"arn:aws:sns:us-east-1:123456789012:{name}"
        return name

    def _attribute(self, resource: str, attribute: str) -> Any:
        if attribute.startswith("Outputs."):
            stack = self.nested[resource]
            return stack.resolve(stack.template["Outputs"][attribute.removeprefix("Outputs.")]["Value"])
        return resource if attribute == "QueueName" else f"arn:aws:any:us-east-1:123456789012:{resource}"


def governance(**parameters: Any) -> Stack:
    """The governance stack with all that it can make, unless a parameter says otherwise."""
    names = {name: NAMES[name] for name in ("ApplicationName", "RunbookUrl", "AlarmEmail")}
    toggles = {"AuditTrail": "own", "GuardDuty": "detector", "ConfigRules": "recorder"}
    return Stack(REPOSITORY / "stacks" / "governance.yaml", names | toggles | parameters)


def recovery(**parameters: Any) -> Stack:
    """The recovery stack with all that it can make, unless a parameter says otherwise."""
    names = {name: NAMES[name] for name in ("ApplicationName", "RunbookUrl")}
    second_region = {
        "CopyVaultArn": "arn:aws:backup:us-west-2:123456789012:backup-vault:copies",
        "CopyBucketName": "replica",
        "OperatorsTopicArn": "arn:aws:sns:us-east-1:123456789012:alarms",
    }
    return Stack(REPOSITORY / "stacks" / "recovery.yaml", names | second_region | parameters)


def observability(**parameters: Any) -> Stack:
    """The stack under test, with every optional part unless a parameter says otherwise."""
    return Stack(STACK_FILE, NAMES | {"MonthlyBudgetUsd": 100, "CostAnomalyUsd": 10} | parameters)
