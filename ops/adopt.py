"""Let a stack that is not there yet take over data that outlived another one: a change set of the type IMPORT.

CloudFormation takes the resources over as they are, by a template that has nothing else in it. The deployment after it
sets what the application wants of them. It compares with that template and not with the resource: so the template says
of a table what the table has, or a stream, a time to live or a recovery that a restore lost would stay lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops import belongings, definitions, destroy
from ops.belongings import Resource
from ops.destroy import BUCKET, POOL, TABLE
from ops.environment import CLIENT_CONFIG, region
from ops.errors import OperatorError
from pet_detector.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

# By the logical ids of template.yaml. The key of the data is handed over by a parameter instead (DataKeyArn).
ADOPTABLE = {
    "ImageBucket": BUCKET,
    "DetectionLogsTable": TABLE,
    "ErasuresTable": TABLE,
    "ReviewsTable": TABLE,
    "PeoplePool": POOL,
}
POLICY, POLICY_TYPE = "ImageBucketPolicy", "AWS::S3::BucketPolicy"
GROUPS, GROUP_TYPE = ("UploaderGroup", "ReviewerGroup", "OperatorGroup"), "AWS::Cognito::UserPoolGroup"
# What CloudFormation finds a resource by: the primary identifier of its schema.
_IDENTIFIERS = {
    BUCKET: ("BucketName",),
    TABLE: ("TableName",),
    POOL: ("UserPoolId",),
    POLICY_TYPE: ("Bucket",),
    GROUP_TYPE: ("UserPoolId", "GroupName"),
}
# Of the table: they cannot be lost in a restore, and a table that has others is refused.
_SAME_IN_EVERY_COPY = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
# Of the pool: what the template writes out; the deployment sets the rest again.
POOL_PROPERTIES = (
    "UserPoolTags",
    "UserPoolTier",
    "AdminCreateUserConfig",
    "UsernameAttributes",
    "UsernameConfiguration",
    "AutoVerifiedAttributes",
    "UserAttributeUpdateSettings",
    "AccountRecoverySetting",
    "Policies",
)

CHANGE_SET = "adopt"
_IN_WORK = ("CREATE_PENDING", "CREATE_IN_PROGRESS")
_POLL_SECONDS = 2.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """A resource to take over: by its logical id, with the properties that it has. `size`: what is in it, in words."""

    logical_id: str
    kind: str
    name: str
    properties: Mapping[str, Any]
    size: str = ""

    @property
    def identifier(self) -> dict[str, str]:
        """What CloudFormation finds it by."""
        return {part: self.properties.get(part, self.name) for part in _IDENTIFIERS[self.kind]}


@dataclass
class Plan:
    """What a stack would take over.

    `absent`: logical ids of which nothing was found; the deployment makes them, empty. `others`: what was found, and
    belongs to another stack by now, with its name. `key`: ARN of the account's own key that encrypts some of it, or "".
    """

    stack: str
    pieces: list[Piece] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    others: list[tuple[Resource, str]] = field(default_factory=list)
    key: str = ""

    def template(self) -> str:
        """The template of the import, as CloudFormation takes it.

        Not RetainExceptOnCreate, which the deployment sets: AWS does not say whether an import that is rolled back
        counts as what created the resource, and that would delete it.
        """
        body = {
            piece.logical_id: {
                "Type": piece.kind,
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": piece.properties,
            }
            for piece in self.pieces
        }
        return json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": body})


def plan(stack: str, named: Mapping[str, str]) -> Plan:
    """What the stack would take over: what `named` says by logical id, and else what is left of a stack of its name.

    Raises OperatorError when the stack is there, when it is not clear what is meant, and when a resource is not fit.
    """
    _refuse_a_stack_that_is_there(stack)
    found = Plan(stack)
    left = _left(stack, found)
    for logical_id, kind in ADOPTABLE.items():
        if logical_id in named:
            one = Resource(kind, named[logical_id], logical_id)
            if owner := belongings.owner(one.name):
                raise OperatorError(f"{one.name} belongs to the stack {owner}, which is there: nothing was changed.")
        else:
            candidates = [one for one in left if (one.logical_id, one.kind) == (logical_id, kind)]
            if len(candidates) > 1:
                names = " or ".join(one.name for one in candidates)
                raise OperatorError(f"{logical_id} is {names}: say which with --use {logical_id}=NAME.")
            if not candidates:
                found.absent.append(logical_id)
                continue
            (one,) = candidates
        found.pieces += _pieces(one, found)
    if not found.pieces:
        raise OperatorError(
            f"Nothing is left of a stack {stack}: deploy it, or say what to take over with --use LOGICAL_ID=NAME."
        )
    return found


def run(found: Plan, say: Say) -> None:
    """Make the stack, with these resources in it and nothing else.

    Raises OperatorError with CloudFormation's reason; then there is no stack, and every resource is as it was.
    """
    cloudformation = _cloudformation()
    made = cloudformation.create_change_set(
        StackName=found.stack,
        ChangeSetName=f"{CHANGE_SET}-{int(time.time())}",
        ChangeSetType="IMPORT",
        TemplateBody=found.template(),
        ResourcesToImport=[
            {
                "ResourceType": piece.kind,
                "LogicalResourceId": piece.logical_id,
                "ResourceIdentifier": piece.identifier,
            }
            for piece in found.pieces
        ],
    )
    while (change_set := cloudformation.describe_change_set(ChangeSetName=made["Id"]))["Status"] in _IN_WORK:
        time.sleep(_POLL_SECONDS)
    if change_set["ExecutionStatus"] != "AVAILABLE":
        cloudformation.delete_stack(StackName=found.stack)  # it was only a name
        raise OperatorError(f"CloudFormation does not take them over: {change_set.get('StatusReason', '')}")
    say("Taking over ...")
    cloudformation.execute_change_set(StackName=found.stack, ChangeSetName=made["Id"])
    while (status := _status(found.stack)).endswith("_IN_PROGRESS"):
        time.sleep(_POLL_SECONDS)
    if status != "IMPORT_COMPLETE":
        raise OperatorError(
            f"CloudFormation did not take them over ({status}): aws cloudformation describe-stack-events --stack-name "
            f"{found.stack} says why. Delete the stack before you try again; what it names stays."
        )


def _status(stack: str) -> str:
    description = belongings.describe(stack)
    return description["StackStatus"] if description else "gone"


def _refuse_a_stack_that_is_there(stack: str) -> None:
    description = belongings.describe(stack)
    if description is None or description["StackStatus"] == "REVIEW_IN_PROGRESS":  # of an attempt that was broken off
        return
    status = description["StackStatus"]
    if status == "IMPORT_COMPLETE":
        raise OperatorError(
            f"The stack {stack} has taken over its data already: deploy it. Is something of it missing? Then delete "
            "the stack, which leaves all of it, and try again."
        )
    if status == "IMPORT_IN_PROGRESS":
        raise OperatorError(f"The stack {stack} is taking over its data: wait a minute, and deploy it.")
    if status.startswith("IMPORT_ROLLBACK"):
        raise OperatorError(
            f"The stack {stack} could not take over its data ({status}): delete the stack, which leaves all of it, and "
            "try again."
        )
    raise OperatorError(
        f"The stack {stack} is there ({status}). Data is taken over before a stack's first "
        "deployment: its own bucket and tables cannot be exchanged."
    )


def _left(stack: str, found: Plan) -> list[Resource]:
    """What is there of what a deleted stack of this name left behind, and no other stack owns by now."""
    left = []
    for one in belongings.find(stack).all():
        if ADOPTABLE.get(one.logical_id) == one.kind and destroy.size_of(one) is not None:
            owner = belongings.owner(one.name)
            if owner is None:
                left.append(one)
            else:
                found.others.append((one, owner))
    return left


# --- What a resource has ----------------------------------------------------------------------------------------------


def _pieces(one: Resource, found: Plan) -> Iterable[Piece]:
    """The resource, with a bucket's policy or a pool's groups. Raises OperatorError when it is not there or not fit."""
    size = destroy.size_of(one)
    if size is None:
        raise OperatorError(f"There is no {one.kind} {one.name} in {region()}.")
    if one.kind == TABLE:
        yield Piece(one.logical_id, TABLE, one.name, _table(one, found), size)
    elif one.kind == POOL:
        template = _template_of(one.logical_id)
        yield Piece(one.logical_id, POOL, one.name, {name: template[name] for name in POOL_PROPERTIES}, size)
        yield from _groups(one.name)
    else:
        _refuse_a_bucket_of_another_region(one.name)
        _note_key(found, _bucket_key(one.name))
        # Without properties: the deployment sets each of them again, and setting one twice changes nothing.
        yield Piece(one.logical_id, BUCKET, one.name, {}, size)
        if policy := _bucket_policy(one.name):
            yield Piece(POLICY, POLICY_TYPE, one.name, {"Bucket": one.name, "PolicyDocument": policy})


def _table(one: Resource, found: Plan) -> dict[str, Any]:
    """The properties that the table has, in the template's words where it has what the template wants."""
    dynamodb = boto3.client("dynamodb", config=CLIENT_CONFIG)
    table = dynamodb.describe_table(TableName=one.name)["Table"]
    template = _template_of(one.logical_id)
    if table["TableStatus"] != "ACTIVE":
        raise OperatorError(f"The table {one.name} is {table['TableStatus']}: wait until it is ACTIVE.")
    if _keys(table) != _keys(template):
        raise OperatorError(f"The table {one.name} has other keys or indexes than {one.logical_id}: it is not one.")
    properties = {name: template[name] for name in _SAME_IN_EVERY_COPY if name in template}
    properties["BillingMode"] = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if properties["BillingMode"] == "PROVISIONED":
        raise OperatorError(f"The table {one.name} has provisioned throughput: set it to PAY_PER_REQUEST first.")
    properties["DeletionProtectionEnabled"] = table.get("DeletionProtectionEnabled", False)
    stream = table.get("StreamSpecification", {})
    if stream.get("StreamEnabled"):
        properties["StreamSpecification"] = {"StreamViewType": stream["StreamViewType"]}
    expiry = dynamodb.describe_time_to_live(TableName=one.name)["TimeToLiveDescription"]
    if expiry["TimeToLiveStatus"] in ("ENABLED", "ENABLING"):
        properties["TimeToLiveSpecification"] = {"AttributeName": expiry["AttributeName"], "Enabled": True}
    backups = dynamodb.describe_continuous_backups(TableName=one.name)["ContinuousBackupsDescription"]
    if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED":
        properties["PointInTimeRecoverySpecification"] = {"PointInTimeRecoveryEnabled": True}
    encryption = table.get("SSEDescription", {})
    if encryption.get("Status") in ("ENABLED", "UPDATING"):
        key = _own_key(encryption.get("KMSMasterKeyArn", ""))
        _note_key(found, key)
        own = {"SSEType": "KMS", "KMSMasterKeyId": key} if key else {}
        properties["SSESpecification"] = {"SSEEnabled": True, **own}
    return properties


def _groups(pool: str) -> Iterator[Piece]:
    """The groups that the pool has: the deployment makes the others."""
    pages = boto3.client("cognito-idp", config=CLIENT_CONFIG).get_paginator("list_groups").paginate(UserPoolId=pool)
    there = {group["GroupName"] for page in pages for group in page["Groups"]}
    for logical_id in GROUPS:
        properties = {**_template_of(logical_id), "UserPoolId": pool}
        if properties["GroupName"] in there:
            yield Piece(logical_id, GROUP_TYPE, properties["GroupName"], properties)


def _keys(table: Mapping[str, Any]) -> tuple[Any, ...]:
    """Keys and indexes of a table, as DynamoDB or as a template describes it, to be compared."""
    names = {entry["AttributeName"]: entry["AttributeType"] for entry in table["AttributeDefinitions"]}
    indexes = table.get("GlobalSecondaryIndexes") or []
    of_index = {index["IndexName"]: (_key(index), index["Projection"]["ProjectionType"]) for index in indexes}
    return _key(table), of_index, names


def _key(of: Mapping[str, Any]) -> dict[str, str]:
    return {entry["AttributeName"]: entry["KeyType"] for entry in of["KeySchema"]}


def _template_of(logical_id: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions.document(definitions.TEMPLATE)["Resources"][logical_id]["Properties"]
    return found


def _refuse_a_bucket_of_another_region(name: str) -> None:
    place = boto3.client("s3", config=CLIENT_CONFIG).head_bucket(Bucket=name).get("BucketRegion", region())
    if place != region():
        raise OperatorError(f"The bucket {name} is in {place}, and the stack would be in {region()}.")


def _bucket_policy(name: str) -> dict[str, Any] | None:
    try:
        policy = boto3.client("s3", config=CLIENT_CONFIG).get_bucket_policy(Bucket=name)["Policy"]
    except ClientError as error:
        if code_of(error) != "NoSuchBucketPolicy":
            raise
        return None
    document: dict[str, Any] = json.loads(policy)
    return document


def _bucket_key(name: str) -> str:
    try:
        encryption = boto3.client("s3", config=CLIENT_CONFIG).get_bucket_encryption(Bucket=name)
    except ClientError as error:
        if code_of(error) != "ServerSideEncryptionConfigurationNotFoundError":  # said of buckets from before 2023
            raise
        return ""
    (rule, *_) = encryption["ServerSideEncryptionConfiguration"]["Rules"]
    return _own_key(rule["ApplyServerSideEncryptionByDefault"].get("KMSMasterKeyID", ""))


def _own_key(arn: str) -> str:
    """The ARN of a key of the account; empty for one of AWS's, and for none."""
    if not arn:
        return ""
    key = boto3.client("kms", config=CLIENT_CONFIG).describe_key(KeyId=arn)["KeyMetadata"]
    return key["Arn"] if key.get("KeyManager") == "CUSTOMER" else ""


def _note_key(found: Plan, arn: str) -> None:
    if arn and found.key and arn != found.key:
        raise OperatorError(f"Two keys encrypt the data: {found.key} and {arn}. A stack has one.")
    found.key = arn or found.key


def _cloudformation() -> CloudFormationClient:
    return boto3.client("cloudformation", config=CLIENT_CONFIG)
