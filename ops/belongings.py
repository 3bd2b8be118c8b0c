"""What belongs to a stack, also when the stack is gone. Nothing here changes anything.

CloudFormation itself says it: by the resources of the stack that is there, and by the events of it and of deleted
stacks of its name, which it keeps for 90 days. After that the tags say it that CloudFormation gave: it never takes them
from what it leaves behind (tag:GetResources, and IAM for roles, which that does not know). What petdetect made beside
the stack is found by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops.environment import CLIENT_CONFIG
from pet_detector.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STACK_TAG, LOGICAL_ID_TAG = "aws:cloudformation:stack-name", "aws:cloudformation:logical-id"
# Stacks of the application's stack, whose names begin with its own.
_NESTED = re.compile(
    r"-(DataKeyStack|ObservabilityStack|GovernanceStack|EdgeStack|OutsideLookStack|ChatStack|RecoveryStack)-"
)
# CloudFormation shortens the stack's name in the names of roles: all begin like this, which is also what rights of ours
# cover (NamePrefix in stacks/access.yaml), and what is left of the stack's name ends where a logical id begins.
ROLE_PREFIX = "serverlessapp-pet-det"
_ROLE = re.compile(r"(.+?)-[A-Z]")
# Logical ids of what `petdetect adopt` gives to another stack.
_TAKEN_OVER = {"ImageBucket", "DetectionLogsTable", "ErasuresTable", "ReviewsTable", "PeoplePool"}
# What a tag query can find of what stays behind: ARN -> type of CloudFormation.
_KINDS = {
    "s3": ("AWS::S3::Bucket", ""),
    "dynamodb": ("AWS::DynamoDB::Table", "table/"),
    "kms": ("AWS::KMS::Key", "key/"),
    "logs": ("AWS::Logs::LogGroup", "log-group:"),
    "cloudtrail": ("AWS::CloudTrail::Trail", "trail/"),
    "guardduty": ("AWS::GuardDuty::Detector", "detector/"),
    "cognito-idp": ("AWS::Cognito::UserPool", "userpool/"),
}


@dataclass(frozen=True)
class Resource:
    """A resource that a stack made: CloudFormation's type of it, its name (the physical id) and its logical id."""

    kind: str
    name: str
    logical_id: str


@dataclass
class Belongings:
    """All that is known of a stack's resources.

    `living`: of the stack that is there. `kept`: what CloudFormation left behind, by its events. `tagged`: what carries
    the stack's tag. `seen`: whatever it made within 90 days, gone or not. `gone`: names that CloudFormation deleted.
    `unread`: roles that may be the stack's by their names, and whose tags the caller may not read.
    """

    stack: str
    description: StackTypeDef | None
    living: list[Resource] = field(default_factory=list)
    kept: list[Resource] = field(default_factory=list)
    tagged: list[Resource] = field(default_factory=list)
    seen: list[Resource] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)

    def all(self) -> list[Resource]:
        """What may be there, each once.

        Of types that this module cannot name, the tag query says the ARN: one of a resource that lives is no other one.
        It also lists for a while what CloudFormation has deleted.
        """
        ends = tuple(f"{mark}{name}" for name in self.gone for mark in "/:")
        alive = {resource.logical_id for resource in self.living}
        tagged = [
            one
            for one in self.tagged
            if one.name not in self.gone
            and not one.name.endswith(ends)
            and not (one.name.startswith("arn:") and one.logical_id in alive)
        ]
        return list(dict.fromkeys([*self.living, *self.kept, *tagged]))

    def names(self, kind: str) -> list[str]:
        """Names of the living resources of a type."""
        return [resource.name for resource in self.living if resource.kind == kind]


def find(stack: str) -> Belongings:
    """What belongs to the stack of this name, whether it is there or not."""
    found = Belongings(stack, describe(stack))
    identifiers = list(_deleted_stacks(stack))
    if found.description:
        identifiers.append(found.description["StackId"])
        found.living = list(_resources(found.description["StackId"]))
    for identifier in identifiers:
        _read_events(identifier, found)
    living = {resource.name for resource in found.living}
    found.kept = [resource for resource in dict.fromkeys(found.kept) if resource.name not in living]
    found.gone -= {resource.name for resource in found.kept} | living
    denied: list[str] = []
    found.tagged = [resource for name, resource in tagged_resources(denied) if is_of(name, stack)]
    for left in (found.kept, found.tagged):
        left[:] = [one for one in left if one.name in living or not _is_anothers(one, stack)]
    told = living | {resource.name for resource in found.seen}
    found.unread = [role for role in denied if role not in told and stack.startswith(stack_in(role))]
    return found


def describe(stack: str) -> StackTypeDef | None:
    """What CloudFormation says about a stack; None when there is none of this name, or id."""
    try:
        return _cloudformation().describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if code_of(error) != "ValidationError":  # CloudFormation's word for a stack that is not there
            raise
        return None


def owner(name: str) -> str | None:
    """The name of the stack that has the resource of this name now; None when no stack does that is there."""
    try:
        resources = _cloudformation().describe_stack_resources(PhysicalResourceId=name)["StackResources"]
    except ClientError as error:
        if code_of(error) != "ValidationError":  # CloudFormation's word for a resource of no stack
            raise
        return None
    for one in resources:
        if one.get("PhysicalResourceId") == name and not one["ResourceStatus"].startswith("DELETE_"):
            stack = describe(one["StackId"])
            if stack and stack["StackStatus"] != "DELETE_COMPLETE":
                return stack["StackName"]
    return None


def _is_anothers(one: Resource, stack: str) -> bool:
    """Whether another stack has taken it over (`petdetect adopt`): events and tags still say this one's name."""
    if one.logical_id not in _TAKEN_OVER:
        return False
    now = owner(one.name)
    return now is not None and not is_of(now, stack)


def is_of(name: str, stack: str) -> bool:
    """Whether a stack of this name is the stack, or one of its nested stacks; pr-1 is not pr-12."""
    return name == stack or (name.startswith(stack) and _NESTED.match(name.removeprefix(stack)) is not None)


def stack_in(role: str) -> str:
    """What the name of a role tells of its stack's name: its beginning, or all of it."""
    match = _ROLE.match(role)
    return match[1] if match else role


def tagged_resources(denied: list[str]) -> Iterator[tuple[str, Resource]]:
    """The name of the stack and the resource, of all in this region that CloudFormation tagged, roles of ours too.

    `denied` gets the names of roles whose tags the caller may not read: by those nobody can say whose they are.
    """
    tagging = boto3.client("resourcegroupstaggingapi", config=CLIENT_CONFIG)
    for page in tagging.get_paginator("get_resources").paginate(TagFilters=[{"Key": STACK_TAG}]):
        for entry in page["ResourceTagMappingList"]:
            tags = {tag["Key"]: tag["Value"] for tag in entry["Tags"]}
            yield tags[STACK_TAG], _of_arn(entry["ResourceARN"], tags.get(LOGICAL_ID_TAG, ""))
    iam = boto3.client("iam", config=CLIENT_CONFIG)
    for page in iam.get_paginator("list_roles").paginate():
        for role in page["Roles"]:
            if role["RoleName"].startswith(ROLE_PREFIX):
                tags = {tag["Key"]: tag["Value"] for tag in _role_tags(iam, role["RoleName"], denied)}
                if STACK_TAG in tags:
                    yield tags[STACK_TAG], Resource("AWS::IAM::Role", role["RoleName"], tags.get(LOGICAL_ID_TAG, ""))


def stack_names(prefix: str) -> set[str]:
    """Names of the stacks that are there and begin like this; nested ones too."""
    stacks = (
        one for page in _cloudformation().get_paginator("list_stacks").paginate() for one in page["StackSummaries"]
    )
    there = (one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE")
    return {name for name in there if name.startswith(prefix)}


def failures(stack_id: str) -> list[str]:
    """Why the newest deletion of a stack failed, by resource."""
    reasons: dict[str, str] = {}
    for event in _events(stack_id):
        if event["ResourceStatus"] == "DELETE_IN_PROGRESS" and event["PhysicalResourceId"] == stack_id:
            break  # the beginning of the newest one; newest first
        if event["ResourceStatus"] == "DELETE_FAILED" and event["PhysicalResourceId"] != stack_id:
            name = f"{event['LogicalResourceId']} ({event['ResourceType']})"
            reasons.setdefault(name, event.get("ResourceStatusReason", "no reason given"))
    return [f"{name}: {reason}" for name, reason in reasons.items()]


def made_beside(found: Belongings) -> list[Resource]:
    """What petdetect and AWS made beside the stack: API keys and their secrets, backups, log groups that came back."""
    others = {name for name in stack_names(f"{found.stack}-") if not is_of(name, found.stack)}
    return [*_api_keys(found, others), *_secrets(found.stack), *_backups(found.stack), *_log_groups(found)]


def names_beside(prefix: str) -> set[str]:
    """Names of API keys, their secrets and log groups in this region that begin with the name of such a stack."""
    logs = boto3.client("logs", config=CLIENT_CONFIG)
    gateway = boto3.client("apigateway", config=CLIENT_CONFIG)
    pages = gateway.get_paginator("get_api_keys").paginate(includeValues=False)
    names = {key.get("name", "") for page in pages for key in page["items"]}
    names |= {group["logGroupName"] for group in logs.describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]}
    secrets = boto3.client("secretsmanager", config=CLIENT_CONFIG)
    return names | {
        one["Name"] for page in secrets.get_paginator("list_secrets").paginate() for one in page["SecretList"]
    }


def _api_keys(found: Belongings, others: set[str]) -> Iterator[Resource]:
    """Keys named `<stack>-<name>` that are no stack's own, and of no other stack whose name begins like this one's."""
    own, prefix = set(found.names("AWS::ApiGateway::ApiKey")), f"{found.stack}-"
    gateway = boto3.client("apigateway", config=CLIENT_CONFIG)
    for page in gateway.get_paginator("get_api_keys").paginate(nameQuery=prefix, includeValues=False):
        for key in page["items"]:
            name = key.get("name", "")
            is_anothers = any(name.startswith(f"{other}-") for other in others)
            if name.startswith(prefix) and key["id"] not in own and not is_anothers:
                yield Resource("API key", key["id"], name)


def _secrets(stack: str) -> Iterator[Resource]:
    secrets = boto3.client("secretsmanager", config=CLIENT_CONFIG)
    prefix = f"{stack}/api-keys/"
    for page in secrets.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [prefix]}]):
        for secret in page["SecretList"]:
            if secret["Name"].startswith(prefix):
                yield Resource("Secret", secret["Name"], "")


def _backups(stack: str) -> Iterator[Resource]:
    """On-demand backups of its tables, also of tables that are gone; those that AWS makes itself cannot be deleted."""
    dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
    for page in dynamodb.get_paginator("list_backups").paginate(BackupType="USER"):
        for backup in page["BackupSummaries"]:
            if re.match(re.escape(stack) + "-(DetectionLogs|Erasures|Reviews|Analyses)Table-", backup["TableName"]):
                yield Resource("DynamoDB backup", backup["BackupArn"], backup["BackupName"])


def _log_groups(found: Belongings) -> Iterator[Resource]:
    """Groups that a function's last log lines made again after CloudFormation had deleted them."""
    names = [one.name for one in found.seen if one.kind == "AWS::Logs::LogGroup" and "-trail-" not in one.name]
    own = set(found.names("AWS::Logs::LogGroup"))
    logs = boto3.client("logs", config=CLIENT_CONFIG)
    for name in dict.fromkeys(names):
        for group in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]:
            if group["logGroupName"] == name and name not in own:
                yield Resource("AWS::Logs::LogGroup", name, "")


def _resources(stack_id: str) -> Iterator[Resource]:
    for page in _cloudformation().get_paginator("list_stack_resources").paginate(StackName=stack_id):
        for entry in page["StackResourceSummaries"]:
            name = entry.get("PhysicalResourceId", "")
            if not name or entry["ResourceStatus"] == "DELETE_COMPLETE":
                continue
            yield Resource(entry["ResourceType"], name, entry["LogicalResourceId"])
            if entry["ResourceType"] == "AWS::CloudFormation::Stack":
                yield from _resources(name)


def _deleted_stacks(stack: str) -> Iterator[str]:
    pages = _cloudformation().get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
    for page in pages:
        yield from (one["StackId"] for one in page["StackSummaries"] if one["StackName"] == stack)


def _events(stack_id: str) -> Iterator[Any]:
    for page in _cloudformation().get_paginator("describe_stack_events").paginate(StackName=stack_id):
        yield from page["StackEvents"]


def _read_events(stack_id: str, found: Belongings) -> None:
    """Newest first: the first word about a resource is the last one."""
    known: set[str] = set()
    for event in _events(stack_id):
        resource = Resource(event["ResourceType"], event.get("PhysicalResourceId", ""), event["LogicalResourceId"])
        if not resource.name or resource.name in known or resource.name == stack_id:
            continue
        known.add(resource.name)
        found.seen.append(resource)
        if event["ResourceStatus"] == "DELETE_SKIPPED":
            found.kept.append(resource)
        elif event["ResourceStatus"] == "DELETE_COMPLETE":
            found.gone.add(resource.name)
        if resource.kind == "AWS::CloudFormation::Stack" and describe(resource.name):
            _read_events(resource.name, found)


def _of_arn(arn: str, logical_id: str) -> Resource:
    service, _, rest = arn.split(":", 2)[2].partition(":")
    resource = rest.split(":", 2)[2]
    kind, prefix = _KINDS.get(service, ("", ""))
    if kind and resource.startswith(prefix):
        return Resource(kind, resource.removeprefix(prefix).removesuffix(":*"), logical_id)
    return Resource(service, arn, logical_id)


def _role_tags(iam: Any, name: str, denied: list[str]) -> list[dict[str, str]]:
    try:
        tags: list[dict[str, str]] = iam.list_role_tags(RoleName=name)["Tags"]
    except ClientError as error:
        if code_of(error) in ("AccessDenied", "AccessDeniedException"):
            denied.append(name)
        elif code_of(error) != "NoSuchEntity":  # deleted since
            raise
        return []
    return tags


def _cloudformation() -> CloudFormationClient:
    return boto3.client("cloudformation", config=CLIENT_CONFIG)
