"""Who may do what: roles with named actions on named resources, and resource policies for named services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.iam.aws_managed_policies import aws_managed_policies_data

from tests.support.definitions import ALLOWED_BY_AWS, resources, translated, words

# Actions that AWS offers no resource for, or only "*" (Service Authorization Reference).
WITHOUT_RESOURCES = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "dynamodb:ListStreams",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "rekognition:DetectLabels",
    "rekognition:DetectModerationLabels",
}
# Policies of AWS that SAM (for the first two services) or API Gateway want by name, by the service that has the role.
AWS_POLICIES = {
    "lambda.amazonaws.com": [
        "AWSLambdaBasicExecutionRole",
        "AWSXrayWriteOnlyAccess",
        "AWSLambdaVPCAccessExecutionRole",
    ],
    "states.amazonaws.com": ["AWSXrayWriteOnlyAccess"],
    "apigateway.amazonaws.com": ["AmazonAPIGatewayPushToCloudWatchLogs"],
}

RESOURCE_POLICIES = (
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::KMS::Key",
    "AWS::SecretsManager::ResourcePolicy",
)

Statement = dict[str, Any]


# Policies that SAM writes of a function's EventInvokeConfig, without a Sid.
POLICIES_OF_SAM = "EventInvokeConfigOnFailure"


# What the code of functions may not do of the policy that SAM gives their roles for a network: all but to write logs.
OF_NETWORKS = {
    "Sid": "LeaveNetworkToLambda",
    "Effect": "Deny",
    "Action": sorted(ALLOWED_BY_AWS["AWSLambdaVPCAccessExecutionRole"] - ALLOWED_BY_AWS["AWSLambdaBasicExecutionRole"]),
    "Resource": "*",
    "Condition": {"Null": {"lambda:SourceFunctionArn": "false"}},
}


def role_statements() -> list[tuple[str, Statement]]:
    """Role's logical id and statement, for all that roles of the template may do."""
    return [(name, statement) for name, statement in _all_role_statements() if statement != OF_NETWORKS]


def _all_role_statements() -> list[tuple[str, Statement]]:
    found = []
    for name, role in resources("AWS::IAM::Role").items():
        for policy in role.get("Policies", []):
            known = {"Sid": "OfSam"} if POLICIES_OF_SAM in str(policy["PolicyName"]) else {}
            found += [(name, known | statement) for statement in statements(policy["PolicyDocument"])]
    for name, policy in resources("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy").items():
        found += [(name, statement) for statement in statements(policy["PolicyDocument"])]
    return found


def resource_statements() -> list[tuple[str, Statement]]:
    """Logical id and statement, for all resource policies of the template."""
    return [
        (name, statement)
        for name, policy in resources(*RESOURCE_POLICIES).items()
        for statement in statements(policy.get("PolicyDocument") or policy["KeyPolicy"])
    ]


def statements(document: dict[str, Any]) -> list[Statement]:
    """The statements of a policy document, which may hold one without a list."""
    found = document["Statement"]
    return found if isinstance(found, list) else [found]


def test_every_statement_says_what_it_is_for() -> None:
    for name, statement in [*role_statements(), *resource_statements()]:
        assert statement.get("Sid", "").isalnum(), f"{name}: {statement}"


def test_no_code_uses_what_its_role_may_do_in_a_network() -> None:
    """SAM attaches the policy whether there is a network or not. Lambda alone, which names no function, may use it."""
    denied = [name for name, statement in _all_role_statements() if statement == OF_NETWORKS]
    assert sorted(denied) == sorted(
        name
        for name, role in resources("AWS::IAM::Role").items()
        if "AWSLambdaVPCAccessExecutionRole" in str(role.get("ManagedPolicyArns"))
    )


def test_roles_are_allowed_named_actions() -> None:
    for name, statement in role_statements():
        assert "NotAction" not in statement, name
        assert "NotResource" not in statement, name
        for action in words(statement["Action"]):
            assert "*" not in action, f"{name}: {action}"


def test_roles_reach_everything_only_where_aws_knows_no_less() -> None:
    for name, statement in role_statements():
        if "*" in words(statement["Resource"]):
            assert set(words(statement["Action"])) <= WITHOUT_RESOURCES, f"{name}: {statement['Sid']}"


def test_roles_have_no_managed_policies_but_the_known_ones() -> None:
    for name, role in resources("AWS::IAM::Role").items():
        (trust,) = statements(role["AssumeRolePolicyDocument"])
        (service,) = words(trust["Principal"]["Service"])
        arns = [arn["Fn::Sub"] if isinstance(arn, dict) else arn for arn in role.get("ManagedPolicyArns", [])]
        assert [arn.rpartition("/")[2] for arn in arns] == AWS_POLICIES.get(service, []), name


@pytest.mark.parametrize("policy", ALLOWED_BY_AWS)
def test_policies_of_aws_allow_what_is_known_of_them(policy: str) -> None:
    """moto has a copy of AWS's policies, made when it was released."""
    document = json.loads(aws_managed_policies_data)[policy]["Document"]
    allowed = {action for statement in statements(document) for action in words(statement["Action"])}
    assert allowed == ALLOWED_BY_AWS[policy]


def test_known_policies_of_aws_are_those_whose_content_is_known() -> None:
    assert {policy for policies in AWS_POLICIES.values() for policy in policies} == ALLOWED_BY_AWS.keys()


def test_policies_use_no_variables() -> None:
    """SAM writes policies without Version: IAM takes 2008-10-17, in which ${aws:username} is plain text."""
    for name, role in resources("AWS::IAM::Role").items():
        assert "${aws:" not in json.dumps(role), name


def test_roles_are_for_one_service_each() -> None:
    for name, role in resources("AWS::IAM::Role").items():
        for statement in statements(role["AssumeRolePolicyDocument"]):
            assert statement["Effect"] == "Allow"
            assert set(statement["Principal"]) == {"Service"}, name
            assert len(words(statement["Principal"]["Service"])) == 1, name


def test_resource_policies_let_in_services_that_say_for_whom_they_come() -> None:
    for name, statement in resource_statements():
        if statement["Effect"] == "Deny":
            continue
        assert "*" not in words(statement["Action"]) or translated()["Resources"][name]["Type"] == "AWS::KMS::Key"
        assert set(statement["Principal"]) == {"Service"}, name
        keys = {key for condition in statement["Condition"].values() for key in condition}
        assert keys & {"aws:SourceArn", "aws:SourceAccount"}, f"{name}: anyone's {statement['Principal']}"


@pytest.mark.parametrize("function", resources("AWS::Lambda::Permission"))
def test_functions_may_be_called_by_this_stack_only(function: str) -> None:
    permission = resources("AWS::Lambda::Permission")[function]
    assert permission["Action"] == "lambda:InvokeFunction"
    assert permission["Principal"].endswith(".amazonaws.com")
    assert "SourceArn" in permission or "SourceAccount" in permission


def test_events_start_the_machine_whose_arn_step_functions_authorises() -> None:
    """`states:StartExecution` is checked against the machine's own ARN, never against the one of an alias."""
    machines = resources("AWS::StepFunctions::StateMachine")
    allowed = [s["Resource"] for _, s in role_statements() if "states:StartExecution" in words(s["Action"])]
    # A Distributed Map starts the children of its own machine, whose role cannot refer to it.
    own = [
        {"Fn::Sub": "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:stateMachine:" + name["Fn::Sub"]}
        for name in (machine.get("StateMachineName") for machine in machines.values())
        if name
    ]
    assert allowed
    assert all(isinstance(arn, dict) and (arn.get("Ref") in machines or arn in own) for arn in allowed)
