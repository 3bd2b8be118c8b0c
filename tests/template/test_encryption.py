"""Encryption: whose key encrypts what, who may use the key, and that nothing goes over the network in the clear.

The local AWS stores what is said of keys and asks no key policy when a service uses one. So the policies are evaluated
here: each call that tests/template/test_least_privilege.py knows of needs its part of the key, allowed by the role and
by the key's policy, and each message that a service keeps needs it by the key's policy alone.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pet_detector.aws import image_bucket
from tests.support.definitions import decided, references, resources, translated, words
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, PSEUDO, Stack
from tests.support.templates import load

from .test_hops import HOPS
from .test_least_privilege import uses
from .test_permissions import statements

Statement = Mapping[str, Any]

STACKS = sorted((REPOSITORY / "stacks").glob("*.yaml"))
KEY = {"Fn::GetAtt": ["DataKeyStack", "Outputs.KeyArn"]}
DATA_KEY = Stack(REPOSITORY / "stacks" / "data_key.yaml", {"ApplicationName": APPLICATION})
ACCOUNT, REGION = PSEUDO["AWS::AccountId"], PSEUDO["AWS::Region"]
ROOT = f"arn:aws:iam::{ACCOUNT}:root"  # in a key's policy: whoever the account's IAM allows it besides

# --- Whose key --------------------------------------------------------------------------------------------------------

# What holds data, the property that encrypts it, and its value for each value of DataKey.
ENCRYPTED: dict[tuple[str, str], tuple[Any, Any]] = {
    ("AWS::S3::Bucket", "BucketEncryption"): (
        {"ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]},
        {
            "ServerSideEncryptionConfiguration": [
                {
                    "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY},
                    "BucketKeyEnabled": True,
                }
            ]
        },
    ),
    ("AWS::DynamoDB::Table", "SSESpecification"): (
        {"SSEEnabled": True},
        {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY},
    ),
    ("AWS::SNS::Topic", "KmsMasterKeyId"): ("alias/aws/sns", KEY),
    ("AWS::SQS::Queue", "KmsMasterKeyId"): (None, KEY),
    ("AWS::SQS::Queue", "SqsManagedSseEnabled"): (True, None),
    ("AWS::Logs::LogGroup", "KmsKeyId"): (None, KEY),
}


@pytest.mark.parametrize(("kind", "name"), ENCRYPTED)
@pytest.mark.parametrize("data_key", ["aws", "customer"])
def test_all_that_holds_data_is_encrypted_with_the_key_that_was_chosen(kind: str, name: str, data_key: str) -> None:
    found = resources(kind, data_key=data_key)
    assert found
    for logical_id, properties in found.items():
        assert properties.get(name) == ENCRYPTED[kind, name][data_key == "customer"], logical_id


def test_nothing_asks_for_a_key_of_the_account_unless_it_was_chosen() -> None:
    found = translated()
    kept = {name: r for name, r in found["Resources"].items() if r.get("Condition") != "HasDataKey"}
    assert found["Resources"].keys() - kept.keys() == {"DataKeyStack"}
    text = json.dumps(decided(kept, "HasDataKey", False))
    assert "kms:" not in text
    assert "DataKeyStack" not in text


def test_the_key_rotates_and_outlives_the_stacks() -> None:
    """What it has encrypted, old versions and backups too, is lost without it."""
    (key,) = DATA_KEY.resources.values()
    assert key["DeletionPolicy"] == "RetainExceptOnCreate"
    assert key["UpdateReplacePolicy"] == "Retain"
    assert key["Properties"]["EnableKeyRotation"] is True
    assert key["Properties"]["PendingWindowInDays"] == 30


def test_a_key_that_outlived_its_stack_is_used_and_none_is_made() -> None:
    arn = "arn:aws:kms:us-east-1:123456789012:key/0f9e"
    stack = Stack(REPOSITORY / "stacks" / "data_key.yaml", {"ApplicationName": APPLICATION, "ExistingKeyArn": arn})
    assert not stack.resources
    assert stack.resolve(stack.template["Outputs"]["KeyArn"]["Value"]) == arn
    handed_over = translated()["Resources"]["DataKeyStack"]["Properties"]["Parameters"]
    assert handed_over["ExistingKeyArn"] == {"Ref": "DataKeyArn"}


# --- Who may use the key ----------------------------------------------------------------------------------------------

READ, READ_AND_WRITE = {"kms:Decrypt"}, {"kms:Decrypt", "kms:GenerateDataKey"}
# What an action asks of the key of the data that it touches: "Required permissions" of the user guides of Amazon S3 and
# DynamoDB, "Encryption at rest" of Amazon SNS and SQS. DynamoDB decrypts the key of the table for reads and writes.
NEEDS: dict[str, set[str]] = {
    "dynamodb:BatchGetItem": READ,
    "dynamodb:ConditionCheckItem": READ,
    "dynamodb:DeleteItem": READ,
    "dynamodb:GetItem": READ,
    "dynamodb:GetRecords": READ,
    "dynamodb:PutItem": READ,
    "dynamodb:Query": READ,
    "dynamodb:Scan": READ,
    "dynamodb:TransactWriteItems": READ,
    "dynamodb:UpdateItem": READ,
    "s3:GetObject": READ,
    "s3:GetObjectVersion": READ,
    "s3:PutObject": {"kms:GenerateDataKey"},
    "sns:Publish": READ_AND_WRITE,
    "sqs:ReceiveMessage": READ,
    "sqs:SendMessage": READ_AND_WRITE,
    # They touch no data.
    "dynamodb:DescribeStream": set(),
    "dynamodb:DescribeTable": set(),
    "dynamodb:GetShardIterator": set(),
    "dynamodb:ListStreams": set(),
    "s3:DeleteObject": set(),
    "s3:DeleteObjectVersion": set(),
    "s3:ListBucket": set(),
    "s3:ListBucketVersions": set(),
    "sqs:ChangeMessageVisibility": set(),
    "sqs:DeleteMessage": set(),
    "sqs:GetQueueAttributes": set(),
}
SERVICES_WITH_DATA = {"dynamodb", "s3", "sns", "sqs"}


def key_uses() -> Iterator[tuple[str, str, str]]:
    """(role, action on the key, service that makes the call for the role), for all of the template."""
    for role, (action, resource) in uses():
        service = action.partition(":")[0]
        if service in SERVICES_WITH_DATA and "BackfillBucket" not in resource:  # whose key is its owner's affair
            assert action in NEEDS, f"say here what {action} needs of the key"
            yield from ((role, needed, service) for needed in NEEDS[action])


def allowed_by_role(role: str) -> set[str]:
    """What a role may do with the key; nothing else of KMS, and no other key."""
    policies = resources("AWS::IAM::Role", data_key="customer")[role].get("Policies", [])
    found: set[str] = set()
    for statement in (s for policy in policies for s in statements(policy["PolicyDocument"])):
        if actions := [action for action in words(statement["Action"]) if action.startswith("kms:")]:
            assert statement == {
                "Sid": statement["Sid"],
                "Effect": "Allow",
                "Action": statement["Action"],
                "Resource": KEY,
            }
            found |= set(actions)
    return found


def meets(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether a request fulfils a statement's condition; what a request does not say fulfils none without IfExists."""

    def one(operator: str, key: str, wanted: list[str]) -> bool:
        if key not in context:
            return operator.endswith("IfExists")
        match operator.removesuffix("IfExists"):
            case "StringEquals" | "Bool" | "ArnEquals":
                return context[key] in wanted
            case "ArnLike":
                return any(fnmatch.fnmatchcase(context[key], pattern) for pattern in wanted)
        raise AssertionError(f"the tests do not know {operator}")

    return all(one(operator, key, words(value)) for operator, keys in condition.items() for key, value in keys.items())


def allowed_by_key(action: str, principal: tuple[str, str], **context: str) -> bool:
    """Whether the key's policy allows an action: to `("AWS", ARN)` or `("Service", name)`, and denies it nowhere.

    `context` has the condition keys of the request, with "__" for ":" (`kms__ViaService`).
    """
    request = {name.replace("__", ":"): value for name, value in context.items()}

    def applies(statement: Statement) -> bool:
        kind, name = principal
        who = {"AWS": "*", "Service": "*"} if statement["Principal"] == "*" else statement["Principal"]
        return (
            any(fnmatch.fnmatchcase(action, pattern) for pattern in words(statement["Action"]))
            and bool({name, "*"} & set(words(who.get(kind, []))))
            and meets(statement.get("Condition", {}), request)
        )

    (key,) = DATA_KEY.of_type("AWS::KMS::Key").values()
    effects = {statement["Effect"] for statement in key["KeyPolicy"]["Statement"] if applies(statement)}
    return effects == {"Allow"}


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_role_may_do_with_the_key_just_what_its_calls_need(role: str) -> None:
    assert allowed_by_role(role) == {action for name, action, _ in key_uses() if name == role}


def test_key_lets_the_account_use_it_through_the_services_that_hold_the_data_and_not_by_itself() -> None:
    found = set(key_uses())
    assert {service for _, _, service in found} == SERVICES_WITH_DATA
    for action, service in {(action, service) for _, action, service in found}:
        via = f"{service}.{REGION}.amazonaws.com"
        assert allowed_by_key(action, ("AWS", ROOT), kms__ViaService=via), (action, service)
        assert not allowed_by_key(action, ("AWS", ROOT)), f"{action} by hand"
        assert not allowed_by_key(action, ("AWS", ROOT), kms__ViaService=f"{service}.eu-west-1.amazonaws.com")
        assert not allowed_by_key(action, ("AWS", "arn:aws:iam::210987654321:root"), kms__ViaService=via)
        assert not allowed_by_key(action, ("AWS", ROOT), kms__ViaService=f"ec2.{REGION}.amazonaws.com")


@pytest.mark.parametrize(
    "action", ["kms:Encrypt", "kms:ReEncryptFrom", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"]
)
def test_who_gives_a_table_the_key_may_what_dynamodb_asks_for(action: str) -> None:
    assert allowed_by_key(action, ("AWS", ROOT), kms__ViaService=f"dynamodb.{REGION}.amazonaws.com")


def test_grants_are_made_by_services_only() -> None:
    via = {"kms__ViaService": f"dynamodb.{REGION}.amazonaws.com", "aws__PrincipalIsAWSService": "false"}
    assert allowed_by_key("kms:CreateGrant", ("AWS", ROOT), **via, kms__GrantIsForAWSResource="true")
    assert not allowed_by_key("kms:CreateGrant", ("AWS", ROOT), **via, kms__GrantIsForAWSResource="false")
    assert not allowed_by_key("kms:CreateGrant", ("AWS", ROOT))


def test_account_is_never_locked_out_of_its_key() -> None:
    for action in ("kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"):
        assert allowed_by_key(action, ("AWS", ROOT)), action


# Who a service says that it comes for, when a rule's event or a topic's notice goes into a queue.
SENDERS = {
    "events.amazonaws.com": ({"aws__SourceAccount": ACCOUNT}, {"aws__SourceAccount": "210987654321"}),
    "sns.amazonaws.com": (
        {"aws__SourceArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{APPLICATION}-NoticesTopic-1A2B3C"},
        {"aws__SourceArn": f"arn:aws:sns:{REGION}:210987654321:{APPLICATION}-NoticesTopic-1A2B3C"},
    ),
}


@pytest.mark.parametrize("service", sorted({hop.service for hop in HOPS if hop.service}))
def test_service_that_keeps_undelivered_messages_may_encrypt_them(service: str) -> None:
    ours, of_others = SENDERS[service]
    for action in READ_AND_WRITE:
        assert allowed_by_key(action, ("Service", service), **ours), action
        assert not allowed_by_key(action, ("Service", service), **of_others), action
        assert not allowed_by_key(action, ("Service", service)), action


@pytest.mark.parametrize("group", resources("AWS::Logs::LogGroup"))
def test_logs_may_encrypt_the_log_groups_and_no_other(group: str) -> None:
    named = resources("AWS::Logs::LogGroup")[group].get("LogGroupName", {"Fn::Sub": f"${{AWS::StackName}}-{group}-1A2"})
    logs, context = ("Service", f"logs.{REGION}.amazonaws.com"), "kms__EncryptionContext__aws__logs__arn"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:" + named["Fn::Sub"].replace("${AWS::StackName}", APPLICATION)
    for action in ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptTo", "kms:GenerateDataKey", "kms:DescribeKey"):
        assert allowed_by_key(action, logs, **{context: arn}), action
        assert not allowed_by_key(action, logs, **{context: arn.replace(APPLICATION, "another")}), action
        assert not allowed_by_key(action, logs), action


def test_key_lets_in_nobody_else() -> None:
    (key,) = DATA_KEY.of_type("AWS::KMS::Key").values()
    allowed = [statement for statement in key["KeyPolicy"]["Statement"] if statement["Effect"] == "Allow"]
    assert all(set(statement["Principal"]) <= {"AWS", "Service"} for statement in allowed)
    let_in = {name for statement in allowed for names in statement["Principal"].values() for name in words(names)}
    assert let_in == {ROOT, f"logs.{REGION}.amazonaws.com", *(hop.service for hop in HOPS if hop.service)}
    for action in (
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ImportKeyMaterial",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
        "kms:ReplicateKey",
    ):
        assert not allowed_by_key(action, ("AWS", ROOT)), f"{action} by hand"


# --- All stacks: on the network, and grants ---------------------------------------------------------------------------

NO_TLS = {"Bool": {"aws:SecureTransport": "false"}}
OLD_TLS = {"NumericLessThan": {"s3:TlsVersion": "1.2"}}
# What a policy hangs on, by its type: the property that names it, and what it denies on which condition.
IN_THE_CLEAR: dict[str, tuple[str, str, list[tuple[str, Any]]]] = {
    "AWS::S3::Bucket": ("AWS::S3::BucketPolicy", "Bucket", [("s3:*", NO_TLS), ("s3:*", OLD_TLS)]),
    "AWS::SNS::Topic": ("AWS::SNS::TopicPolicy", "Topics", [("sns:Publish", NO_TLS)]),
    "AWS::SQS::Queue": ("AWS::SQS::QueuePolicy", "Queues", [("sqs:*", NO_TLS)]),
}
TEMPLATES: dict[str, dict[str, Any]] = {
    "template": translated()["Resources"],
    **{file.stem: load(file)["Resources"] for file in STACKS},
}
REACHED = [
    (template, name)
    for template, found in TEMPLATES.items()
    for name, resource in found.items()
    if resource["Type"] in IN_THE_CLEAR
]


def denials(template: str, name: str) -> Iterator[Statement]:
    """What the policies of a bucket, topic or queue deny everybody."""
    found = TEMPLATES[template]
    policy_type, named_by, _ = IN_THE_CLEAR[found[name]["Type"]]
    for policy in found.values():
        properties = policy.get("Properties", {})
        if policy["Type"] == policy_type and name in references(properties[named_by]):
            for statement in statements(properties["PolicyDocument"]):
                if statement["Effect"] == "Deny" and statement["Principal"] == "*":
                    yield statement


@pytest.mark.parametrize(("template", "name"), REACHED)
def test_bucket_topic_and_queue_refuse_whoever_comes_without_tls(template: str, name: str) -> None:
    kind = TEMPLATES[template][name]["Type"]
    whole = [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}]
    for action, condition in IN_THE_CLEAR[kind][2]:
        assert any(
            statement["Action"] == action
            and statement["Condition"] == condition
            and (
                statement["Resource"] == whole
                if kind == "AWS::S3::Bucket"
                else references(statement["Resource"]) == {name}
            )
            for statement in denials(template, name)
        ), (action, condition)


def test_forms_and_links_end_even_if_somebody_signed_them_for_longer() -> None:
    """In milliseconds; a form or link of the functions is as old as it may be before the bucket refuses it."""
    (limit,) = (
        int(statement["Condition"]["NumericGreaterThan"]["s3:signatureAge"])
        for statement in denials("template", "ImageBucket")
        if statement["Condition"].get("StringEquals") == {"s3:authType": ["POST", "REST-QUERY-STRING"]}
        and statement["Action"] == "s3:*"
        and len(statement["Resource"]) == 2
    )
    longest = 1000 * max(image_bucket.UPLOAD_LINK_SECONDS, image_bucket.VIEW_LINK_SECONDS)
    assert longest <= limit <= 2 * longest


@pytest.mark.parametrize("api", resources("AWS::ApiGateway::RestApi"))
def test_gateway_speaks_tls_1_2_at_least(api: str) -> None:
    properties = resources("AWS::ApiGateway::RestApi")[api]
    assert properties["SecurityPolicy"].startswith(("SecurityPolicy_TLS13_1_2_", "SecurityPolicy_TLS13_1_3_"))
    assert properties["EndpointAccessMode"] in ("BASIC", "STRICT")  # API Gateway takes no such policy without one


@pytest.mark.parametrize("file", STACKS, ids=lambda file: file.stem)
def test_grants_of_every_key_are_made_by_services_only(file: Path) -> None:
    for name, resource in load(file)["Resources"].items():
        if resource["Type"] == "AWS::KMS::Key":
            assert resource["Properties"]["EnableKeyRotation"] is True, name
            denied = [s for s in statements(resource["Properties"]["KeyPolicy"]) if s["Effect"] == "Deny"]
            condition = {"BoolIfExists": {"kms:GrantIsForAWSResource": "false", "aws:PrincipalIsAWSService": "false"}}
            assert [(s["Principal"], s["Action"], s["Resource"], s["Condition"]) for s in denied] == [
                ("*", "kms:CreateGrant", "*", condition)
            ], name
