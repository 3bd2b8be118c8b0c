"""stacks/delivery.yaml: whom its roles trust, and what they may do at most. The policies are evaluated, as IAM does."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

with warnings.catch_warnings():  # of SAM itself
    warnings.simplefilter("ignore")
    import samcli.lib.deploy.deployer

from tests.governance.calls import calls
from tests.governance.test_access import DEPLOYER, needed, schema_of, types_of_templates
from tests.support.definitions import words
from tests.support.iam import Context, Statement, holds, permits
from tests.support.paths import REPOSITORY
from tests.support.stacks import Stack
from tests.support.templates import load

FILE = REPOSITORY / "stacks" / "delivery.yaml"
ACCOUNT = "123456789012"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/serverlessapp-pet-detector-access-BoundaryPolicy-1A"
GITHUB = "token.actions.githubusercontent.com"


@cache
def delivery(environment: str = "prod") -> Stack:
    """The stack of one environment."""
    name = "pr-*" if environment == "pull-request" else environment
    return Stack(
        FILE,
        {
            "Repository": "example/pet-detector",
            "Environment": environment,
            "ApplicationName": f"serverlessapp-pet-detector-{name}",
            "DeployerPolicyArns": [f"arn:aws:iam::{ACCOUNT}:policy/{policy}" for policy in DEPLOYER],
            "BoundaryPolicyArn": BOUNDARY,
        },
    )


@cache
def access(environment: str = "prod") -> Stack:
    """The access stack that goes with it."""
    name = "pr-*" if environment == "pull-request" else environment
    return Stack(
        REPOSITORY / "stacks" / "access.yaml",
        {
            "ApplicationName": f"serverlessapp-pet-detector-{name}",
            "ArtifactBucket": f"serverlessapp-delivery-{environment}-{ACCOUNT}",
        },
    )


def deployer_policies(environment: str = "prod") -> list[Statement]:
    """What the managed policies say to whoever deploys."""
    policies = access(environment).of_type("AWS::IAM::ManagedPolicy")
    return [statement for name in DEPLOYER for statement in policies[name]["PolicyDocument"]["Statement"]]


def boundary(stack: Stack, name: str = "DeployerBoundary") -> list[Statement]:
    """The statements of a role's boundary, resolved."""
    document = stack.of_type("AWS::IAM::ManagedPolicy")[name]["PolicyDocument"]
    found: list[Statement] = document["Statement"]
    return found


def inline(stack: Stack, role: str = "DeployerRole") -> list[Statement]:
    """The statements of a role's own policies."""
    policies = list(stack.of_type("AWS::IAM::Role")[role].get("Policies", []))
    policies += [policy for policy in stack.of_type("AWS::IAM::RolePolicy").values() if policy["RoleName"] == role]
    return [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]


ADMINISTRATOR: list[Statement] = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


# --- Whom the roles trust ---------------------------------------------------------------------------------------------


def token(**claims: str) -> Context:
    """What AWS takes from the token of a job on main in the environment prod, unless a claim says otherwise."""
    found = {
        "aud": "sts.amazonaws.com",
        "sub": "repo:example/pet-detector:environment:prod",
        "ref": "refs/heads/main",
    }
    return {f"{GITHUB}:{name}": value for name, value in (found | claims).items() if value}


def trusts(stack: Stack, role: str, context: Context) -> bool:
    document = stack.of_type("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert set(statement["Principal"]) == {"Federated"}
        assert set(statement["Condition"]) == {"StringEquals"}, "nothing but whole values"
        assert "*" not in json.dumps(statement["Condition"])
    return any(holds(statement["Condition"], context) for statement in document["Statement"])


STRANGERS = {
    "another repository": {"sub": "repo:example/other:environment:prod"},
    "the same name at another owner": {"sub": "repo:exampl/pet-detector:environment:prod"},
    "a repository whose name begins so": {"sub": "repo:example/pet-detector-2:environment:prod"},
    "another environment": {"sub": "repo:example/pet-detector:environment:staging"},
    "an environment whose name begins so": {"sub": "repo:example/pet-detector:environment:prod2"},
    "no environment": {"sub": "repo:example/pet-detector:ref:refs/heads/main"},
    "a pull request": {"sub": "repo:example/pet-detector:pull_request", "ref": "refs/pull/7/merge"},
    "another branch, by an environment that lets it": {"ref": "refs/heads/feature"},
    "a branch whose name begins so": {"ref": "refs/heads/main2"},
    "a tag": {"ref": "refs/tags/main"},
    "a pull request that names the environment": {"ref": "refs/pull/7/merge"},
    "a token without a branch": {"ref": ""},
    "a token for somebody else": {"aud": "https://github.com/example"},
    "a token without a subject": {"sub": ""},
}


def test_deployer_trusts_a_job_of_its_repository_environment_and_branch() -> None:
    assert trusts(delivery(), "DeployerRole", token())


@pytest.mark.parametrize("stranger", STRANGERS)
def test_deployer_trusts_nobody_else(stranger: str) -> None:
    assert not trusts(delivery(), "DeployerRole", token(**STRANGERS[stranger]))


@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "pull-request"])
def test_each_environment_has_its_own_role(environment: str) -> None:
    own = token(sub=f"repo:example/pet-detector:environment:{environment}")
    for other in ("dev", "staging", "prod", "pull-request"):
        assert trusts(delivery(other), "DeployerRole", own) == (other == environment)


def test_repository_may_be_named_with_the_numbers_that_new_repositories_have() -> None:
    """GitHub says `owner@ID/name@ID` in the tokens of a repository that is younger than July 2026."""
    pattern = delivery().template["Parameters"]["Repository"]["AllowedPattern"]
    numbered = "example@123456/pet-detector@456789"
    for name in ("example/pet-detector", numbered):
        assert re.fullmatch(pattern, name)
    for name in ("pet-detector", "example/*", "example/pet-detector:ref", "repo:example/pet-detector", "a/b/c"):
        assert not re.search(pattern, name)
    stack = Stack(FILE, {**delivery().parameters, "Repository": numbered})
    job = token(sub=f"repo:{numbered}:environment:prod")
    assert trusts(stack, "DeployerRole", job)
    assert trusts(stack, "WatcherRole", token(sub=f"repo:{numbered}:ref:refs/heads/main"))
    for stranger in ("example/pet-detector", "example@123457/pet-detector@456789", "example@123456/pet-detector@45678"):
        assert not trusts(stack, "DeployerRole", token(sub=f"repo:{stranger}:environment:prod"))


def test_a_pull_request_gets_the_role_of_pull_requests_and_no_other() -> None:
    job = token(sub="repo:example/pet-detector:environment:pull-request", ref="refs/pull/7/merge")
    assert trusts(delivery("pull-request"), "DeployerRole", job)
    for environment in ("dev", "staging", "prod"):
        stack = delivery(environment)
        assert not any(trusts(stack, role, job) for role in stack.of_type("AWS::IAM::Role"))
    assert "WatcherRole" not in delivery("pull-request").resources


def test_watcher_trusts_the_branch_alone() -> None:
    subject = "repo:example/pet-detector:ref:refs/heads/main"
    assert trusts(delivery(), "WatcherRole", token(sub=subject))
    for stranger in ("repo:example/other:ref:refs/heads/main", f"{subject}2", "repo:example/pet-detector:pull_request"):
        assert not trusts(delivery(), "WatcherRole", token(sub=stranger))
    assert not trusts(delivery(), "WatcherRole", token(sub=subject, aud="others"))


def test_account_that_has_the_provider_makes_no_other() -> None:
    own = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{GITHUB}"
    given = Stack(FILE, {**delivery().parameters, "GitHubProviderArn": own})
    assert not given.of_type("AWS::IAM::OIDCProvider")
    for role in given.of_type("AWS::IAM::Role").values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"]["Federated"] == own
    assert delivery().of_type("AWS::IAM::OIDCProvider")["GitHubProvider"] == {
        "Url": f"https://{GITHUB}",
        "ClientIdList": ["sts.amazonaws.com"],
    }


# --- What they may do at most -----------------------------------------------------------------------------------------


def samples(statements: list[Statement]) -> Iterator[tuple[str, str, Context]]:
    """Requests that statements allow: `*` in a resource filled in, conditions met."""
    for statement in statements:
        if statement["Effect"] == "Allow":
            context = {
                key: words(value)[0].replace("*", "x")
                for keys in statement.get("Condition", {}).values()
                for key, value in keys.items()
            }
            for resource in words(statement["Resource"]):
                filled = resource if resource == "*" else resource.replace("*", "x")
                yield from ((action, filled, context) for action in words(statement["Action"]))


@pytest.mark.parametrize("environment", ["prod", "pull-request"])
def test_boundary_leaves_a_deployer_what_it_needs(environment: str) -> None:
    stack = delivery(environment)
    statements = policies_of_pull_requests() if environment == "pull-request" else deployer_policies(environment)
    refused = [
        (action, resource)
        for action, resource, context in samples(statements)
        # The access stack's own boundary, by the name that it has here.
        if not permits(
            boundary(stack),
            action,
            resource,
            **{
                key.replace(":", "__"): BOUNDARY if value == "BoundaryPolicy" else value
                for key, value in context.items()
            },
        )
        and "aws-sam-cli-managed-default" not in resource  # by hand: the pipeline has a bucket of its own
    ]
    assert not refused, "DeployerBoundary of stacks/delivery.yaml takes this away"


def test_boundary_leaves_what_petdetect_check_needs() -> None:
    name = "serverlessapp-pet-detector-prod"
    outputs = {
        "ImageBucketName": f"{name}-imagebucket-1a",
        "DetectionLogsTableName": f"{name}-DetectionLogs-1A",
        "AnalysesTableName": f"{name}-Analyses-1A",
        "ErasuresTableName": f"{name}-Erasures-1A",
        "ReviewsTableName": f"{name}-Reviews-1A",
        "PeoplePoolId": "us-east-1_people",
        "ImageWorkflowArn": arn("states", f"stateMachine:{name}-ImageWorkflow-1A"),
        "BackfillWorkflowArn": arn("states", f"stateMachine:{name}-backfill"),
        "ImageEventsDeadLetterQueueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}-Events-1A",
        "ReportsDeadLetterQueueUrl": f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}-Reports-1A",
        "NoticesTopicArn": arn("sns", f"{name}-Notices-1A"),
    }
    deployed = Stack(REPOSITORY / "stacks" / "access.yaml", {"ApplicationName": name, **outputs})
    check = deployed.of_type("AWS::IAM::ManagedPolicy")["CheckPolicy"]["PolicyDocument"]["Statement"]
    most = boundary(delivery())
    refused = [
        (action, resource)
        for action, resource, context in samples(check)
        # A pool's id does not say whose it is; its tag does, which the stack gave it.
        for tag in ({"aws__ResourceTag/Project": "pet-detector"} if ":userpool/" in resource else {},)
        if not permits(
            most, action, resource, **tag, **{key.replace(":", "__"): value for key, value in context.items()}
        )
    ]
    assert not refused, "DeployerBoundary of stacks/delivery.yaml takes this away"


OWN_ROLE = f"arn:aws:iam::{ACCOUNT}:role/serverlessapp-delivery-prod"
OF_APPLICATION = f"arn:aws:iam::{ACCOUNT}:role/serverlessapp-pet-detector-prod-ImageProcessorRole-1A"
NEVER = [
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/eve", {}),
    ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/eve", {}),
    ("iam:UpdateAssumeRolePolicy", OWN_ROLE, {}),
    ("iam:DeleteRolePermissionsBoundary", OWN_ROLE, {}),
    ("iam:AttachRolePolicy", OWN_ROLE, {"iam__PermissionsBoundary": BOUNDARY}),
    ("iam:CreatePolicyVersion", BOUNDARY, {}),
    ("iam:DeleteOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/{GITHUB}", {}),
    ("iam:CreateRole", OF_APPLICATION, {}),
    ("iam:PutRolePolicy", OF_APPLICATION, {"iam__PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/other"}),
    ("iam:DeleteRolePermissionsBoundary", OF_APPLICATION, {"iam__PermissionsBoundary": BOUNDARY + "x"}),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/administrator", {}),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/administrator", {}),
    ("s3:PutBucketPolicy", f"arn:aws:s3:::serverlessapp-delivery-prod-{ACCOUNT}", {}),
    ("s3:DeleteObjectVersion", f"arn:aws:s3:::serverlessapp-delivery-prod-{ACCOUNT}/releases/a", {}),
    ("s3:GetObject", "arn:aws:s3:::payroll/a", {}),
    ("dynamodb:GetItem", f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/payroll", {}),
    ("lambda:UpdateFunctionCode", f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:payroll", {}),
    (
        "cloudformation:UpdateStack",
        f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/serverlessapp-delivery-prod/1",
        {},
    ),
    (
        "cloudformation:UpdateStack",
        f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/serverlessapp-pet-detector-access-prod/1",
        {},
    ),
    (
        "cloudformation:UpdateStack",
        f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/serverlessapp-pet-detector-dev/1",
        {},
    ),
    *(
        (f"cognito-idp:{action}", f"arn:aws:cognito-idp:us-east-1:{ACCOUNT}:userpool/us-east-1_people", tags)
        for action, tags in {
            "AdminCreateUser": {"aws__ResourceTag/Project": "pet-detector"},
            "AdminAddUserToGroup": {"aws__ResourceTag/Project": "pet-detector"},
            "ListUsers": {"aws__ResourceTag/Project": "pet-detector"},
            "DeleteUserPool": {},
        }.items()
    ),
    ("cloudtrail:StopLogging", "*", {}),
    ("organizations:LeaveOrganization", "*", {}),
    ("ec2:RunInstances", "*", {}),
]


@pytest.mark.parametrize(("action", "resource", "context"), NEVER)
def test_even_an_administrators_policy_gives_the_deployer_no_more(
    action: str, resource: str, context: dict[str, str]
) -> None:
    assert permits(ADMINISTRATOR, action, resource, **context)
    assert not permits(boundary(delivery()), action, resource, **context)


def test_roles_carry_their_boundaries_and_the_policies_of_the_access_stack() -> None:
    for environment in ("dev", "staging", "prod", "pull-request"):
        roles = delivery(environment).of_type("AWS::IAM::Role")
        for name, role in roles.items():
            assert role["PermissionsBoundary"] == name.replace("Role", "Boundary")
            assert role["ManagedPolicyArns"] == (
                delivery().parameters["DeployerPolicyArns"]
                if name == "DeployerRole"
                else ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
            )
            assert role["MaxSessionDuration"] == 3600
            # So that no deployment of the application reaches them: see NamePrefix in stacks/access.yaml.
            assert not role["RoleName"].startswith(access().values["NamePrefix"])
            assert role["RoleName"].startswith("serverlessapp-")
        assert len(roles) == (1 if environment == "pull-request" else 2)


def test_policies_fit() -> None:
    for environment in ("prod", "pull-request"):
        stack = delivery(environment)
        for policy in stack.of_type("AWS::IAM::ManagedPolicy").values():
            assert len(json.dumps(policy["PolicyDocument"], separators=(",", ":"))) <= 6144
        for role in stack.of_type("AWS::IAM::Role"):  # all inline policies of a role together
            assert len(json.dumps(inline(stack, role), separators=(",", ":"))) <= 10_240


# --- Pull requests ----------------------------------------------------------------------------------------------------


def policies_of_pull_requests() -> list[Statement]:
    """What is attached to the role of pull requests, and its own."""
    destroyer = access("pull-request").of_type("AWS::IAM::ManagedPolicy")["DestroyerPolicy"]["PolicyDocument"]
    own: list[Statement] = destroyer["Statement"]
    return deployer_policies("pull-request") + own + inline(delivery("pull-request"))


def of_pull_requests(action: str, resource: str, **context: str) -> bool:
    """What the role of pull requests may do, all in all."""
    most = boundary(delivery("pull-request"))
    return permits(policies_of_pull_requests(), action, resource, **context) and permits(
        most, action, resource, **context
    )


def arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:us-east-1:{ACCOUNT}:{rest}"


def test_pull_request_may_have_a_stack_and_remove_it() -> None:
    name = "serverlessapp-pet-detector-pr-7"
    own = {"aws__ResourceTag/Environment": "pr-7", "aws__ResourceTag/PullRequest": "7"}
    for action, resource in {
        "cloudformation:CreateChangeSet": arn("cloudformation", f"stack/{name}/1"),
        "cloudformation:ExecuteChangeSet": arn("cloudformation", f"stack/{name}/1"),
        "cloudformation:DeleteStack": arn("cloudformation", f"stack/{name}/1"),
        "lambda:UpdateFunctionCode": arn("lambda", "function:serverlessapp-pet-detector-ImagesApi-1A"),
        "dynamodb:DeleteTable": arn("dynamodb", f"table/{name}-DetectionLogs-1A"),
        "s3:DeleteObjectVersion": f"arn:aws:s3:::{name}-imagebucket-1a/cats/a.jpg",
        "s3:DeleteBucket": f"arn:aws:s3:::{name}-imagebucket-1a",
        "s3:PutObject": f"arn:aws:s3:::serverlessapp-delivery-pull-request-{ACCOUNT}/pull-requests/a",
        "sqs:CreateQueue": arn("sqs", f"{name}-Events-1A"),
        "ssm:PutParameter": arn("ssm", f"parameter/{name}-detection-policy"),
        "tag:GetResources": "*",
    }.items():
        assert of_pull_requests(action, resource, **own), (action, resource)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_pull_request_leaves_the_environments_alone(environment: str) -> None:
    name = f"serverlessapp-pet-detector-{environment}"
    tags = {"aws__ResourceTag/Environment": environment}
    for action, resource in {
        "cloudformation:ExecuteChangeSet": arn("cloudformation", f"stack/{name}/1"),
        "cloudformation:DeleteStack": arn("cloudformation", f"stack/{name}/1"),
        "cloudformation:UpdateStack": arn("cloudformation", f"stack/{name}/1"),
        # By its tag: the name of a function is shortened.
        "lambda:UpdateFunctionCode": arn("lambda", "function:serverlessapp-pet-detector-ImagesApi-1A"),
        "iam:UpdateAssumeRolePolicy": f"arn:aws:iam::{ACCOUNT}:role/serverlessapp-pet-detector-ImagesApiRole-1A",
        "states:UpdateStateMachine": arn("states", "stateMachine:ImageWorkflow-1A"),
    }.items():
        assert not of_pull_requests(action, resource, **tags), (action, resource)
    for action, resource in {  # by their names, whatever their tags
        "dynamodb:DeleteTable": arn("dynamodb", f"table/{name}-DetectionLogs-1A"),
        "s3:DeleteBucket": f"arn:aws:s3:::{name}-imagebucket-1a",
        "s3:DeleteObjectVersion": f"arn:aws:s3:::{name}-imagebucket-1a/cats/a.jpg",
        "s3:PutObject": f"arn:aws:s3:::serverlessapp-delivery-{environment}-{ACCOUNT}/releases/a",
        "sqs:DeleteQueue": arn("sqs", f"{name}-Events-1A"),
        "sns:Subscribe": arn("sns", f"{name}-Notices-1A"),
        "ssm:PutParameter": arn("ssm", f"parameter/{name}-detection-policy"),
        "secretsmanager:GetSecretValue": arn("secretsmanager", f"secret:{name}/api-keys/a"),
    }.items():
        assert not of_pull_requests(action, resource), (action, resource)


def test_pull_request_sees_what_would_change_in_dev_and_only_there() -> None:
    for environment, may in {"dev": True, "staging": False, "prod": False}.items():
        stack = arn("cloudformation", f"stack/serverlessapp-pet-detector-{environment}/1")
        tags = {"aws__ResourceTag/Environment": environment}
        for action in of_change_set():
            # A deployer may ask which parameters any template declares; it says no values.
            alone = may or action == "cloudformation:GetTemplateSummary"
            assert of_pull_requests(action, stack, **tags) is alone, action


def of_change_set() -> set[str]:
    """What `delivery changes` asks of CloudFormation: itself, and `sam deploy --no-execute-changeset` by its code."""
    methods = {"has_stack", "create_changeset", "_create_change_set", "describe_changeset", "wait_for_changeset"}
    tree = ast.parse(Path(samcli.lib.deploy.deployer.__file__).read_text())
    called = {
        node.attr
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in methods
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._client"
    }
    # Behind its paginator and its waiter.
    called = called - {"get_paginator", "get_waiter"} | {"describe_change_set"}
    by_sam = {f"cloudformation:{''.join(part.capitalize() for part in name.split('_'))}" for name in called}
    return by_sam | needed(calls("delivery.deploy.changes")).keys()


def test_change_set_asks_what_sam_asks_too() -> None:
    verbs = {"CreateChangeSet", "DeleteChangeSet", "DescribeChangeSet", "DescribeStacks", "GetTemplateSummary"}
    assert of_change_set() == {f"cloudformation:{verb}" for verb in verbs}


def test_pull_request_may_remove_all_that_petdetect_destroy_removes() -> None:
    """Each call is allowed on something of a pull request's, with nothing but its tags known."""
    own = {"aws__ResourceTag/Environment": "pr-7", "aws__ResourceTag/Project": "pet-detector"}
    removing = needed(calls("ops.environment.connect", "ops.destroy.", "ops.destroy_command.", "ops.sweep."))
    prefix = access().values["NamePrefix"]
    may = {
        action
        for action, resource, context in samples(policies_of_pull_requests())
        if of_pull_requests(
            action,
            resource.replace(f"{prefix}x", "serverlessapp-pet-detector-pr-7-x"),
            **own,
            **{key.replace(":", "__"): value for key, value in context.items() if not key.startswith("aws:Resource")},
        )
    }
    assert not removing.keys() - may


# --- The watcher ------------------------------------------------------------------------------------------------------

DATA = {
    "s3:GetObject": f"arn:aws:s3:::serverlessapp-delivery-prod-{ACCOUNT}/a",
    "s3:GetObjectVersion": f"arn:aws:s3:::serverlessapp-delivery-prod-{ACCOUNT}/a",
    "dynamodb:GetItem": arn("dynamodb", "table/serverlessapp-pet-detector-prod-DetectionLogs"),
    "dynamodb:Query": arn("dynamodb", "table/serverlessapp-pet-detector-prod-DetectionLogs"),
    "dynamodb:Scan": arn("dynamodb", "table/serverlessapp-pet-detector-prod-DetectionLogs"),
    "dynamodb:BatchGetItem": arn("dynamodb", "table/serverlessapp-pet-detector-prod-DetectionLogs"),
    "dynamodb:GetRecords": arn("dynamodb", "table/serverlessapp-pet-detector-prod-DetectionLogs/stream/1"),
    "s3:GetObjectTagging": "arn:aws:s3:::serverlessapp-pet-detector-prod-imagebucket-1a/a",
    "cloudtrail:LookupEvents": "*",
    "guardduty:GetFindings": "*",
    "states:GetExecutionHistory": arn("states", "execution:ImageWorkflow-1A:a"),
    "states:DescribeExecution": arn("states", "execution:ImageWorkflow-1A:a"),
    "xray:GetTraceSummaries": "*",
    "sqs:ReceiveMessage": arn("sqs", "serverlessapp-pet-detector-prod-Events"),
    "logs:FilterLogEvents": arn("logs", "log-group:serverlessapp-pet-detector-prod"),
    "secretsmanager:GetSecretValue": arn("secretsmanager", "secret:serverlessapp-pet-detector-prod/api-keys/a"),
    "kms:Decrypt": arn("kms", "key/1"),
}


def test_watcher_sees_settings_and_no_data_whatever_somebody_attaches() -> None:
    most = boundary(delivery(), "WatcherBoundary")
    for action, resource in DATA.items():
        assert not permits(most, action, resource), action
    for statement in most:
        assert statement["Effect"] == "Allow"
        for action in words(statement["Action"]):
            verb = action.partition(":")[2]
            assert verb == "GET" or verb.startswith(("Describe", "Detect", "Get", "List", "View")), action


# What CloudFormation's schemas ask for to read a resource, and is no look at a setting.
NOT_NEEDED = {
    "billing:GetBillingViewData",  # no budget of ours is about a view of the bill
    "iam:PassRole",  # reading lends nothing
    "kms:Decrypt",  # variables and definitions are under AWS's own keys
    # Of a pool's domain and of who sends its messages, with a key of the account's: ours have none.
    *(
        f"kms:{verb}"
        for verb in ["CreateGrant", "Encrypt", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"]
    ),
}


def types_of_all_stacks() -> set[str]:
    """Types of the resources of the application's stack and all that it nests, the trail's included.

    Not the edge's: who may read its distribution or its rule group has read the value of the secret header.
    """
    stacks = (REPOSITORY / "stacks").glob("*.yaml")
    own = ("access", "delivery", "edge", "network")
    nested = [load(file)["Resources"] for file in stacks if file.stem not in own]
    return types_of_templates() | {resource["Type"] for found in nested for resource in found.values()}


def test_watcher_reads_what_cloudformation_reads_to_find_drift() -> None:
    """CloudFormation reads each resource with the rights of whoever asks for the drift."""
    reads = {
        f"{service.lower()}:{name}"
        for kind in types_of_all_stacks()
        for action in schema_of(kind)["handlers"].get("read", {"permissions": []})["permissions"]
        for service, _, name in [action.partition(":")]
    }
    assert {"cloudtrail:GetTrail", "lambda:GetFunction", "s3:GetReplicationConfiguration"} <= reads
    most = boundary(delivery(), "WatcherBoundary")
    own = {"aws__ResourceTag/Project": "pet-detector"}
    pool = arn("cognito-idp", "userpool/us-east-1_people")
    refused = {action for action in reads if not permits(most, action, "*")}
    assert {action for action in refused if not permits(most, action, pool, **own)} == NOT_NEEDED
    # Of pools without the tag, it sees whose domain one is.
    assert not permits(most, "cognito-idp:DescribeUserPoolClient", pool)


def test_watcher_may_ask_what_the_nightly_job_asks() -> None:
    most = boundary(delivery(), "WatcherBoundary")
    asked = needed(calls("ops.environment.connect", "ops.check_drift."))
    assert "cloudformation:DetectStackDrift" in asked
    assert not {action for action in asked if not permits(most, action, "*")}


def test_nothing_denies_the_watcher_a_look() -> None:
    """The deployer's policies would: they leave the trail and the watch's keys alone."""
    found = inline(delivery(), "WatcherRole") + boundary(delivery(), "WatcherBoundary")
    assert {statement["Effect"] for statement in found} == {"Allow"}


# --- The bucket -------------------------------------------------------------------------------------------------------


def test_artifacts_are_encrypted_versioned_private_and_sent_by_tls() -> None:
    stack = delivery()
    (bucket,) = stack.of_type("AWS::S3::Bucket").values()
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    (policy,) = stack.of_type("AWS::S3::BucketPolicy").values()
    denies = {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert {statement["Effect"] for statement in denies.values()} == {"Deny"}
    assert denies["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert denies["Tls12AtLeast"]["Condition"] == {"NumericLessThan": {"s3:TlsVersion": "1.2"}}


def test_a_release_never_expires_and_what_belongs_to_a_pull_request_does() -> None:
    """An update that fails is taken back with the files of the release before, which may be old."""
    (bucket,) = delivery().of_type("AWS::S3::Bucket").values()
    expiring = {
        rule["Prefix"]: rule["ExpirationInDays"]
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "ExpirationInDays" in rule
    }
    assert expiring == {"pull-requests/": 30}
    replaced = {
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in bucket["LifecycleConfiguration"]["Rules"]
        if "NoncurrentVersionExpiration" in rule
    }
    assert replaced == {30}
