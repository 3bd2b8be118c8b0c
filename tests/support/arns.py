"""Values of a template as the ARNs and names that they would have in an account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.support.definitions import ROOT, references, templates

REGION, ACCOUNT = "us-east-1", "123456789012"
PSEUDO = {
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/pets/11111111-2222-3333-4444-555555555555",
    "AWS::StackName": "pets",
    "AWS::URLSuffix": "amazonaws.com",
}
# By type: what Ref gives, then what GetAtt gives; {n} is the name.
_OF_ACCOUNT = f"{REGION}:{ACCOUNT}"
_SHAPES: dict[str, tuple[str, dict[str, str]]] = {
    "AWS::S3::Bucket": ("{n}", {"Arn": "arn:aws:s3:::{n}"}),
    "AWS::DynamoDB::Table": (
        "{n}",
        {
            "Arn": f"arn:aws:dynamodb:{_OF_ACCOUNT}:table/{{n}}",
            "StreamArn": f"arn:aws:dynamodb:{_OF_ACCOUNT}:table/{{n}}/stream/latest",
        },
    ),
    "AWS::SQS::Queue": (
        f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{{n}}",
        {"Arn": f"arn:aws:sqs:{_OF_ACCOUNT}:{{n}}"},
    ),
    "AWS::SNS::Topic": (f"arn:aws:sns:{_OF_ACCOUNT}:{{n}}", {"TopicArn": f"arn:aws:sns:{_OF_ACCOUNT}:{{n}}"}),
    "AWS::Lambda::Function": ("{n}", {"Arn": f"arn:aws:lambda:{_OF_ACCOUNT}:function:{{n}}"}),
    "AWS::StepFunctions::StateMachine": (
        f"arn:aws:states:{_OF_ACCOUNT}:stateMachine:{{n}}",
        {"Arn": f"arn:aws:states:{_OF_ACCOUNT}:stateMachine:{{n}}"},
    ),
    "AWS::Lambda::Alias": (f"arn:aws:lambda:{_OF_ACCOUNT}:function:{{n}}:live", {}),
    "AWS::Lambda::Version": (f"arn:aws:lambda:{_OF_ACCOUNT}:function:{{n}}:1", {}),
    "AWS::StepFunctions::StateMachineAlias": (f"arn:aws:states:{_OF_ACCOUNT}:stateMachine:{{n}}:live", {}),
    "AWS::StepFunctions::StateMachineVersion": (f"arn:aws:states:{_OF_ACCOUNT}:stateMachine:{{n}}:1", {}),
    "AWS::SecretsManager::Secret": (f"arn:aws:secretsmanager:{_OF_ACCOUNT}:secret:{{n}}-a1b2c3", {}),
    "AWS::Logs::LogGroup": ("{n}", {"Arn": f"arn:aws:logs:{_OF_ACCOUNT}:log-group:{{n}}:*"}),
    "AWS::IAM::Role": ("{n}", {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{{n}}"}),
    "AWS::IAM::ManagedPolicy": (f"arn:aws:iam::{ACCOUNT}:policy/{{n}}", {}),
    "AWS::KMS::Key": (
        "11111111-2222-3333-4444-555555555555",
        {"Arn": f"arn:aws:kms:{_OF_ACCOUNT}:key/11111111-2222-3333-4444-555555555555"},
    ),
    "AWS::Events::Rule": ("{n}", {"Arn": f"arn:aws:events:{_OF_ACCOUNT}:rule/{{n}}"}),
    "AWS::CloudTrail::Trail": ("{n}", {"Arn": f"arn:aws:cloudtrail:{_OF_ACCOUNT}:trail/{{n}}"}),
}
_NO_VALUE = object()


class Arns:
    """Resolves the values of a template (a name of `templates()`).

    `names` gives resources and parameters of template.yaml their names; every other one is called as its logical id.
    What a stack gets as a parameter comes from the template that deploys it, else from an output of template.yaml.
    """

    def __init__(
        self, template: str = ROOT, names: Mapping[str, str] | None = None, of: dict[str, dict[str, Any]] | None = None
    ) -> None:
        self._templates = templates() if of is None else of
        self._name, self._names = template, names or {}
        self._template = self._templates[template]

    def resolve(self, value: Any) -> Any:
        """A value without intrinsic functions; of Fn::If what stands there if it stands there at all."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((kind, argument),) = value.items()
            if kind == "Ref":
                return self._ref(argument)
            if kind.startswith("Fn::"):
                return self._function(kind, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not _NO_VALUE}

    def _function(self, kind: str, argument: Any) -> Any:
        match kind:
            case "Fn::If":
                _, then, otherwise = argument
                first = self.resolve(then)
                return self.resolve(otherwise) if first is _NO_VALUE else first
            case "Fn::GetAtt":
                name, _, attribute = (argument if isinstance(argument, str) else ".".join(argument)).partition(".")
                return self._attribute(name, attribute)
            case "Fn::Sub":
                text, own = (argument, {}) if isinstance(argument, str) else (argument[0], self.resolve(argument[1]))
                return re.sub(r"\$\{([^!}]+)\}", lambda found: str(own.get(found[1]) or self._named(found[1])), text)
            case "Fn::Join":
                return argument[0].join(map(str, self.resolve(argument[1])))
            case "Fn::Split":
                return str(self.resolve(argument[1])).split(argument[0])
            case "Fn::Select":
                items = self.resolve(argument[1])
                return items[int(argument[0])] if int(argument[0]) < len(items) else "selected"
        raise AssertionError(f"say in arns.py what {kind} gives")

    def _named(self, name: str) -> Any:
        resource, _, attribute = name.partition(".")
        return self._attribute(resource, attribute) if attribute else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._template["Resources"]:
            shape, _ = _SHAPES.get(self._template["Resources"][name]["Type"], ("{n}", {}))
            (owner,) = references({"Ref": name})
            return shape.format(n=self._physical(owner))
        return self._parameter(name)

    def _parameter(self, name: str) -> Any:
        for parent, template in self._templates.items():
            for resource in template["Resources"].values():
                given = resource.get("Properties", {})
                deploys = str(given.get("TemplateURL", "")).rpartition("/")[2] == f"{self._name}.yaml"
                if deploys and name in given.get("Parameters", {}):
                    return Arns(parent, self._names, self._templates).resolve(given["Parameters"][name])
        if self._name == ROOT:
            return self._names.get(name, name)
        outputs = self._templates[ROOT].get("Outputs", {})  # which people hand to a stack that nothing deploys
        if name in outputs:
            return Arns(ROOT, self._names, self._templates).resolve(outputs[name]["Value"])
        return self._template["Parameters"][name].get("Default") or name

    def _attribute(self, name: str, attribute: str) -> Any:
        resource = self._template["Resources"][name]
        if attribute.startswith("Outputs."):
            child = str(resource["Properties"]["TemplateURL"]).rpartition("/")[2].removesuffix(".yaml")
            output = self._templates[child]["Outputs"][attribute.removeprefix("Outputs.")]["Value"]
            return Arns(child, self._names, self._templates).resolve(output)
        _, attributes = _SHAPES.get(resource["Type"], ("", {}))
        if attribute in attributes:
            return attributes[attribute].format(n=self._physical(name))
        return f"arn:aws:any:{_OF_ACCOUNT}:{name}" if attribute.endswith("Arn") else self._physical(name)

    def _physical(self, name: str) -> str:
        known = self._names if self._name == ROOT else {}
        properties = self._template["Resources"][name].get("Properties", {})
        named = next((properties[key] for key in ("StateMachineName", "LogGroupName") if key in properties), None)
        if named is not None and name not in known:
            return str(self.resolve(named))
        return known.get(name, name.lower() if "Bucket" in name else name)
