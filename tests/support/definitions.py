"""What is deployed: the template, as written and as SAM translates it, and the state machines that it names."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml

with warnings.catch_warnings():  # of the tools themselves, which these tests do not judge
    warnings.simplefilter("ignore")
    from samtranslator.parser.parser import Parser
    from samtranslator.sdk.parameter import SamParameterValues
    from samtranslator.translator.translator import Translator

from tests.support.paths import REPOSITORY
from tests.support.templates import load

TEMPLATE = REPOSITORY / "template.yaml"
STACKS = REPOSITORY / "stacks"
ROOT = TEMPLATE.stem  # among templates()
FUNCTIONS = REPOSITORY / "functions"
EVENTS = REPOSITORY / "events"

# What takes messages and holds those that found no way.
TWO_WEEKS = 14 * 24 * 60 * 60  # in seconds; SQS keeps nothing longer

# What SAM asks of AWS to translate a template: the managed policies that it attaches by name.
MANAGED_POLICIES = {
    name: f"arn:aws:iam::aws:policy/{path}{name}"
    for name, path in {
        "AWSLambdaBasicExecutionRole": "service-role/",
        "AWSLambdaVPCAccessExecutionRole": "service-role/",
        "AWSXrayWriteOnlyAccess": "",
    }.items()
}

NO_VALUE = {"Ref": "AWS::NoValue"}

_ALIAS_OR_VERSION = re.compile(r"(?:(?<=Function)|(?<=Workflow))(?:\.?(Alias|Version)|Aliaslive|Version[0-9a-f]{10})$")
_REFERENCE = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")

# What policies of AWS allowed on every resource when somebody looked at them last: AWS may change them at any time.
ALLOWED_BY_AWS = {
    "AWSLambdaBasicExecutionRole": {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"},
    "AWSLambdaVPCAccessExecutionRole": {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    },
    "AWSXrayWriteOnlyAccess": {
        "xray:GetSamplingRules",
        "xray:GetSamplingStatisticSummaries",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    },
    "AmazonAPIGatewayPushToCloudWatchLogs": {
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogGroups",
        "logs:DescribeLogStreams",
        "logs:FilterLogEvents",
        "logs:GetLogEvents",
        "logs:PutLogEvents",
    },
}


@cache
def _source() -> dict[str, Any]:
    return load(TEMPLATE)


def source() -> dict[str, Any]:
    """template.yaml as it is written, without comments."""
    return copy.deepcopy(_source())


def translate(template: dict[str, Any] | None = None) -> dict[str, Any]:
    """template.yaml, or this one, translated by SAM anew, with the parameters' Refs left in place."""
    template = source() if template is None else template
    template.setdefault("Globals", {}).setdefault("Function", {})  # `sam package` uploads the code
    template["Globals"]["Function"]["CodeUri"] = "s3://artifacts/code.zip"
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        # In a zip of its own, without a folder: named as tests import it, from the root of the repository.
        if "CodeUri" in properties and properties["Handler"].startswith("app."):
            properties["Handler"] = properties["CodeUri"].replace("/", ".") + properties["Handler"]
        for name in {"CodeUri", "DefinitionUri"} & properties.keys():
            properties[name] = "s3://artifacts/file"
    session = boto3.session.Session(region_name="us-east-1")
    parameters = SamParameterValues({})
    parameters.add_default_parameter_values(template)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: dict[str, Any] = Translator(MANAGED_POLICIES, Parser(), boto_session=session).translate(
            template, parameter_values={}
        )
    return result


_translated = cache(translate)


_mutant: dict[str, dict[str, Any]] = {}


@contextlib.contextmanager
def instead(of: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Let `translated`, `templates` and `resources` speak of these templates, whose readers must not change them."""
    _mutant.update(of)
    try:
        yield
    finally:
        _mutant.clear()


def translated() -> dict[str, Any]:
    """template.yaml as CloudFormation sees it, with the parameters' Refs left in place."""
    return _mutant[ROOT] if _mutant else copy.deepcopy(_translated())


@cache
def _stacks() -> dict[str, dict[str, Any]]:
    found = {file.stem: load(file) for file in sorted(STACKS.glob("*.yaml"))}
    return {name: translate(stack) if "Transform" in stack else stack for name, stack in found.items()}


def templates() -> dict[str, dict[str, Any]]:
    """All that CloudFormation sees, by the file's name: template.yaml (`template`), and every file of stacks/."""
    return dict(_mutant) if _mutant else {ROOT: translated()} | copy.deepcopy(_stacks())


def resources(*types: str, data_key: str = "aws") -> dict[str, dict[str, Any]]:
    """Properties by logical id of the translated resources of these types, with this value of the parameter DataKey."""
    found = {
        name: item.get("Properties", {}) for name, item in translated()["Resources"].items() if item["Type"] in types
    }
    return {name: decided(properties, "HasDataKey", data_key == "customer") for name, properties in found.items()}


def decided(value: Any, condition: str, holds: bool) -> Any:
    """A value of the template as it is when a condition holds or does not; what is `AWS::NoValue` then is left out."""

    def chosen(item: Any) -> Any:
        if isinstance(item, dict) and item.get("Fn::If", [None])[0] == condition:
            return chosen(item["Fn::If"][1 if holds else 2])
        return item

    def left_out(item: Any) -> bool:
        return bool(item != NO_VALUE and chosen(item) == NO_VALUE)

    value = chosen(value)
    if isinstance(value, list):
        return [decided(item, condition, holds) for item in value if not left_out(item)]
    if isinstance(value, dict):
        return {key: decided(item, condition, holds) for key, item in value.items() if not left_out(item)}
    return value


def references(value: Any) -> set[str]:
    """The logical ids (and parameters) that a value of the template names by Ref, GetAtt or Sub.

    Who names an alias or a version of a function or state machine, as SAM calls them, names that.
    """
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            return {_ALIAS_OR_VERSION.sub("", value["Ref"])}
        if set(value) == {"Fn::GetAtt"}:
            target = value["Fn::GetAtt"]
            return {target.partition(".")[0] if isinstance(target, str) else target[0]}
        if set(value) == {"Fn::Sub"}:
            text = value["Fn::Sub"]
            return {name.partition(".")[0] for name in _REFERENCE.findall(text)} if isinstance(text, str) else set()
        return set().union(*map(references, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(references, value)) if value else set()
    return set()


def words(value: str | list[str]) -> list[str]:
    """Where CloudFormation takes one string or a list of them: the list."""
    return [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Machine:
    """A state machine of the template."""

    name: str  # its logical id
    file: Path
    substitutions: dict[str, Any]

    @property
    def text(self) -> str:
        """Its definition as it is written."""
        return self.file.read_text()

    @property
    def definition(self) -> dict[str, Any]:
        """Its definition, parsed; substitutions stand as they are written."""
        return load(self.file)

    def graphs(self) -> list[dict[str, Any]]:
        """Everything with States and a StartAt: the machine itself, and what its Maps and Parallels run."""
        found = [self.definition]
        for graph in found:
            for state in graph["States"].values():
                found += [*state.get("Branches", []), *filter(None, [state.get("ItemProcessor")])]
        return found

    def states(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and body of every state."""
        for graph in self.graphs():
            yield from graph["States"].items()

    def tasks(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and body of every task."""
        return ((name, state) for name, state in self.states() if state["Type"] == "Task")

    def budget_comments(self) -> dict[str, int]:
        """Seconds that the comment `# Budget: 121 s` beside a state's Retry promises, by the state's name."""
        lines = self.text.splitlines()
        found: dict[str, int] = {}
        waiting = [("", yaml.compose(self.text))]
        while waiting:
            name, node = waiting.pop()
            if isinstance(node, yaml.SequenceNode):
                waiting += [(name, child) for child in node.value]
            if isinstance(node, yaml.MappingNode):
                for key, child in node.value:
                    comment = re.search(r"# Budget: (\d+) s", lines[key.start_mark.line])
                    if key.value == "Retry" and comment:
                        found[name] = int(comment[1])
                    waiting.append((key.value, child))
        return found


def machines() -> list[Machine]:
    """The state machines of the template."""
    return [
        Machine(
            name,
            REPOSITORY / resource["Properties"]["DefinitionUri"],
            resource["Properties"].get("DefinitionSubstitutions", {}),
        )
        for name, resource in source()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::StateMachine"
    ]


def invoked_function(task: dict[str, Any]) -> str | None:
    """The logical id of the function that a task runs, or None when it does something else."""
    arguments = task.get("Arguments", {})
    name = arguments.get("FunctionName", "") if isinstance(arguments, dict) else ""
    found = re.fullmatch(r"\$\{(\w+)\}", name)
    return found[1] if found else None


def passed_on(rule: str, happened: dict[str, Any]) -> dict[str, Any]:
    """What the target of a rule of this stack gets for an event: its input transformer, as EventBridge fills it in.

    A placeholder in the place of a value becomes that value's JSON, or an empty text when the event has none.
    """
    ((transformer,),) = [[target["InputTransformer"] for target in resources("AWS::Events::Rule")[rule]["Targets"]]]
    values = {}
    for name, path in transformer["InputPathsMap"].items():
        value: Any = happened
        for part in path.removeprefix("$.").split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        values[name] = json.dumps(value)
    filled = re.sub(r"<(\w+)>", lambda found: values[found[1]], transformer["InputTemplate"])
    document: dict[str, Any] = json.loads(filled)
    return document
