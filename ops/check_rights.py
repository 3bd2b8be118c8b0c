"""What the roles of the deployment may do, against what template.yaml gives them: IAM says it, nothing is called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from ops import definitions
from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG, region
from pet_detector.aws.clients import client

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_TABLE, _BUCKET, _QUEUE = "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue"
_FUNCTION, _GROUP = "AWS::Lambda::Function", "AWS::Logs::LogGroup"
# What has policies that are rights: those of a user pool are about passwords.
_WITH_RIGHTS = ("AWS::Serverless::Function", "AWS::Serverless::StateMachine", "AWS::IAM::Role")


@dataclass(frozen=True)
class Need:
    """Actions that a role must be allowed on a resource; `context` (key, value, type): in which case."""

    actions: tuple[str, ...]
    resource: str
    context: tuple[tuple[str, str, str], ...] = ()


def rights(subject: Subject) -> Iterator[Line]:
    """A line for each role that has an own policy in template.yaml."""
    iam = boto3.client("iam", config=CLIENT_CONFIG)
    account = subject.deployment.workflow_arn.split(":")[4]
    for owner, statements in _statements().items():
        name = f"rights of {owner}"
        role = subject.resources.get(owner if owner.endswith("Role") else f"{owner}Role")
        if role is None:
            yield not_checked(name, "The stack has no such role.")
            continue
        arn = iam.get_role(RoleName=role.physical_id)["Role"]["Arn"]
        # The simulation of the local AWS knows no context.
        needs = [one for one in _needs(subject, account, statements) if not (subject.is_local and one.context)]
        if not needs:
            yield not_checked(name, "The simulation of the local AWS knows no conditions, and its rights have one.")
            continue
        denied = [told for need in needs for told in _denied(iam, arn, need)]
        yield (
            not_ok(
                name,
                f"The role {role.physical_id} may not {', '.join(dict.fromkeys(denied))}. Its policy was changed, or a "
                "boundary or a policy of the organization takes it: drift says which; sam deploy with any change of "
                f"{owner} gives it back.",
            )
            if denied
            else ok(name, f"{sum(len(need.actions) for need in needs)} rights")
        )


def _denied(iam: IAMClient, role_arn: str, need: Need) -> Iterator[str]:
    """The actions that IAM would deny, each with its resource."""
    entries: list[Any] = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": kind}
        for key, value, kind in need.context
    ]
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role_arn,
        ActionNames=list(need.actions),
        ResourceArns=[need.resource],
        ContextEntries=entries,
    )
    for found in answer["EvaluationResults"]:
        if found["EvalDecision"] != "allowed":
            yield f"{found['EvalActionName']} on {need.resource}"


def _statements() -> dict[str, list[Mapping[str, Any]]]:
    """Statements of the template's own policies, by the logical id of the function, machine or role that has them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, resource in definitions.document(definitions.TEMPLATE)["Resources"].items():
        properties = resource.get("Properties", {})
        policies = properties.get("Policies", []) if resource["Type"] in _WITH_RIGHTS else []
        own: list[Mapping[str, Any]] = [
            statement
            for policy in policies
            for statement in policy.get("PolicyDocument", policy).get("Statement", [])
            # a list is an !If: a key of the account's own, which has a stack of its own
            if isinstance(statement, dict) and statement["Effect"] == "Allow"
        ]
        if own:
            found[name] = own
    return found


def _needs(subject: Subject, account: str, statements: list[Mapping[str, Any]]) -> Iterator[Need]:
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        context = tuple(
            (key, str(values[0] if isinstance(values, list) else values).replace("*", "check"), _kind(operator))
            for operator, values_of in statement.get("Condition", {}).items()
            for key, values in values_of.items()
        )
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for written in resources:
            if isinstance(written, str) and (resource := _text(subject, account, written)):
                yield Need(tuple(actions), resource if resource == "*" else resource.replace("*", "check"), context)


def _kind(operator: str) -> str:
    return "stringList" if operator.startswith("For") else "string"


def _text(subject: Subject, account: str, written: str) -> str:
    """What the template writes, with the names of the deployment; empty when the stack has not what it names."""
    pseudo = {"AWS::Partition": "aws", "AWS::Region": region(), "AWS::AccountId": account,
              "AWS::StackName": subject.deployment.stack}  # fmt: skip

    def named(reference: str) -> str:
        if reference in pseudo:
            return pseudo[reference]
        name, _, attribute = reference.partition(".")
        return _arn(subject, account, name, attribute)

    if "${" in written:
        parts = [named(reference) for reference in re.findall(r"\$\{([^}]+)\}", written)]
        return "" if "" in parts else re.sub(r"\$\{[^}]+\}", lambda _: parts.pop(0), written)
    known = written.partition(".")[0] in subject.resources or written.partition(".")[0] in _references()
    return named(written) if known else written


def _references() -> Mapping[str, Any]:
    resources: Mapping[str, Any] = definitions.document(definitions.TEMPLATE)["Resources"]
    return resources


def _arn(subject: Subject, account: str, name: str, attribute: str) -> str:
    found = subject.resources.get(name)
    if found is None:
        return str(subject.deployment.parameters.get(name, ""))
    physical, place = found.physical_id, f"{region()}:{account}"
    if attribute == "Name":
        return physical.rpartition(":")[2]
    if attribute == "StreamArn":
        return client("dynamodb").describe_table(TableName=physical)["Table"]["LatestStreamArn"]
    if attribute in ("Version", "Alias"):  # of a function or of a state machine
        whole = f"arn:aws:lambda:{place}:function:{physical}" if found.kind == _FUNCTION else physical
        return f"{whole}:{'1' if attribute == 'Version' else 'live'}"
    if attribute != "Arn":
        return physical
    return {
        _TABLE: f"arn:aws:dynamodb:{place}:table/{physical}",
        _BUCKET: f"arn:aws:s3:::{physical}",
        _QUEUE: f"arn:aws:sqs:{place}:{physical.rpartition('/')[2]}",
        _FUNCTION: f"arn:aws:lambda:{place}:function:{physical}",
        _GROUP: f"arn:aws:logs:{place}:log-group:{physical}:*",
    }.get(found.kind, physical)
