"""stacks/access.yaml: each policy is what its people or its pipeline need, no more and no less.

What operators and readers need is read from petdetect's code, what a deployer needs from CloudFormation's own schemas
of the resources (cfn-lint brings them along), and what the boundary must leave from the roles of the templates.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest

with warnings.catch_warnings():  # of the linter itself
    warnings.simplefilter("ignore")
    import cfnlint
    import samcli.lib.deploy.deployer

from tests.governance.calls import calls
from tests.support.definitions import ALLOWED_BY_AWS, references, resources, source, translate, words
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, Stack, governance, observability, recovery
from tests.support.templates import load

OUTPUTS = {
    "ImageBucketName": "pictures",
    "DetectionLogsTableName": "records",
    "AnalysesTableName": "analyses",
    "ErasuresTableName": "erasures",
    "ReviewsTableName": "reviews",
    "ImageWorkflowArn": "arn:aws:states:us-east-1:123456789012:stateMachine:workflow",
    "BackfillWorkflowArn": "arn:aws:states:us-east-1:123456789012:stateMachine:backfill",
    "ImageEventsDeadLetterQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/events",
    "ReportsDeadLetterQueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/reports",
    "NoticesTopicArn": "arn:aws:sns:us-east-1:123456789012:notices",
    "PeoplePoolId": "us-east-1_people",
}
FILE = REPOSITORY / "stacks" / "access.yaml"
STACK = Stack(FILE, {"ApplicationName": APPLICATION, "BackfillBucket": "archive", **OUTPUTS})
POLICIES = STACK.of_type("AWS::IAM::ManagedPolicy")
OPERATOR = ("OperatorPolicy", "OperatorKeysAndReleasesPolicy")
DEPLOYER = ("DeployerPolicy", "DeployerReleasePolicy", "DeployerStoragePolicy", "DeployerObservabilityPolicy")
Statement = dict[str, Any]


def statements(*policies: str) -> list[Statement]:
    return [statement for policy in policies for statement in POLICIES[policy]["PolicyDocument"]["Statement"]]


def allowed(*policies: str) -> set[str]:
    """Actions that policies allow."""
    allows = (statement for statement in statements(*policies) if statement["Effect"] == "Allow")
    return {action for statement in allows for action in words(statement["Action"])}


# --- All of them ------------------------------------------------------------------------------------------------------


@cache
def with_names_of_aws() -> dict[str, Any]:
    """The policies of the longest environment, with names as CloudFormation makes them."""
    stack = f"{APPLICATION.removesuffix('test')}recovery"
    names = {
        name: f"{stack}-{name.removesuffix('Name').lower()}-a1b2c3d4e5f6"[:63]
        if name == "ImageBucketName"
        else f"{stack}-{name.removesuffix('Name')}-A1B2C3D4E5F6"
        for name in OUTPUTS
        if name.endswith("Name")
    }
    for name in ("ImageWorkflowArn", "BackfillWorkflowArn"):
        names[name] = f"arn:aws:states:us-west-2:123456789012:stateMachine:{name.removesuffix('Arn')}-A1B2C3D4E5F6"
    names["NoticesTopicArn"] = f"arn:aws:sns:us-west-2:123456789012:{stack}-NoticesTopic-A1B2C3D4E5F6"
    for name in ("ImageEventsDeadLetterQueueUrl", "ReportsDeadLetterQueueUrl"):
        queue = f"{stack}-{name.removesuffix('Url')}-A1B2C3D4E5F6"
        names[name] = f"https://sqs.us-west-2.amazonaws.com/123456789012/{queue}"
    given = {"ApplicationName": stack, "BackfillBucket": "b" * 63, **OUTPUTS, **names}
    return Stack(FILE, given).of_type("AWS::IAM::ManagedPolicy")


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_fits_names_its_actions_and_says_what_each_statement_is_for(policy: str) -> None:
    document = with_names_of_aws()[policy]["PolicyDocument"]
    assert len(json.dumps(document, separators=(",", ":"))) <= 6144, "IAM takes no more"
    document = POLICIES[policy]["PolicyDocument"]
    assert len(POLICIES[policy]["Description"]) <= 1000
    sids = [statement["Sid"] for statement in document["Statement"]]
    assert len(sids) == len(set(sids))
    for statement in document["Statement"]:
        assert statement["Sid"].isalnum()
        assert not {"NotAction", "NotResource", "Principal"} & set(statement)
        for action in words(statement["Action"]):
            assert re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action) or statement["Effect"] == "Deny", action


# Actions without resource-level permissions, or whose resource has no name that a template could know.
WITHOUT_RESOURCES = {
    "ReaderPolicy": {"ReadMetricsAndQuotas", "OpenConsolePages"},
    "ReviewerPolicy": set(),
    "OperatorPolicy": {"Evaluate", "ReadMetricsAndQuotas"},
    "OperatorKeysAndReleasesPolicy": set(),
    "PeoplePolicy": set(),
    "DrillPolicy": {"FindWhatDrillsMade"},
    "CheckPolicy": {"AskTheAccount"},
    "BoundaryPolicy": {"LabelsStreamsLogsAndTraces"},
    "DeployerPolicy": {"SummarizeTemplates", "Mappings"},
    "DeployerReleasePolicy": {"SeeAlarms", "SeeNetworks"},
    "DeployerStoragePolicy": {"LogDeliveries", "MakePool", "FindDomain"},
    "DeployerObservabilityPolicy": {"SavedQueriesAndCostAlerts", "ListTraceRules", "MakeKey"},
    "DestroyerPolicy": {"FindWhatIsLeft"},
}


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_reaches_only_resources_of_this_application(policy: str) -> None:
    everywhere = {statement["Sid"] for statement in statements(policy) if "*" in words(statement["Resource"])}
    assert everywhere == WITHOUT_RESOURCES[policy]
    # `petdetect` finds the stack by its name; the rest by names that the stack gave out, or that begin like its own.
    names = {*OUTPUTS.values(), *(value.rpartition("/")[2] for value in OUTPUTS.values()), "archive", APPLICATION}
    names |= {"workflow", "backfill", STACK.values["NamePrefix"], "serverlessapp-", "ImageWorkflow-", "ReviewWorkflow-"}
    names |= {STACK.values["ArtifactBucket"].rstrip("*"), "aws-sam-cli-managed-default", "aws:transform/"}
    unnamed = [
        f"{statement['Sid']}: {resource}"
        for statement in statements(policy)
        for resource in words(statement["Resource"])
        if statement["Sid"] not in everywhere and not any(name in resource for name in names)
    ]
    # By id alone: the API's parts, mappings of a stream to a function, and keys and pools, which a tag tells apart.
    by_id = (
        "Api: ",
        "People: ",
        "TagFunctionsAndMappings: arn:aws:lambda:us-east-1:123456789012:event-source-mapping",
        "UseDataKey: ",
        "GiveCopiesTheDataKey: ",
        "DataKey: ",
        "HeaderOfTheEdge: arn:aws:cloudfront::123456789012:distribution/",
        "ReadKeysAndPlans: ",
        "LookAtMapping: arn:aws:lambda:us-east-1:123456789012:event-source-mapping",
        "MakeKeys: ",
        "RevokeKeys: ",
        "KeepKeys: ",
        "LeaveTheKeysOfTheWatchAlone: ",
        "FindWebSocketApis: ",
        "SeeThatPoolsAreGone: ",
        "WaysToShift: ",  # they are AWS's
        "ReadExecutionLogsOfApis: ",  # API Gateway names its log groups after an API's id
    )
    assert [line for line in unnamed if not line.startswith(by_id)] == []


def test_people_have_no_policy_before_there_is_an_application() -> None:
    first = Stack(FILE, {"ApplicationName": APPLICATION})
    assert set(first.of_type("AWS::IAM::ManagedPolicy")) == {*DEPLOYER, "BoundaryPolicy", "DestroyerPolicy"}


def test_parameters_are_named_like_outputs_of_the_application() -> None:
    """So that the runbook's command can hand all outputs over."""
    declared = STACK.template["Parameters"]
    for name in OUTPUTS:
        assert name in source()["Outputs"]
        assert declared[name]["Default"] == ""
    assert declared.keys() - OUTPUTS.keys() == {"ApplicationName", "NamePrefix", "ArtifactBucket", "BackfillBucket"}


# --- Operators and readers: what petdetect calls ----------------------------------------------------------------------

# What DynamoDB writes a restored table with, in the name of its caller: "Using IAM with DynamoDB backup and restore".
RESTORING = {
    f"dynamodb:{action}"
    for action in ("BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem")
}
# Actions that are not named like the call: "Required permissions for Amazon S3 API operations" of its user guide, and
# the Service Authorization Reference.
NAMED_OTHERWISE = {
    "s3:HeadObject": {"s3:GetObject", "s3:GetObjectVersion"},
    "s3:GetObject": {"s3:GetObject", "s3:GetObjectVersion"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "s3:ListObjectVersions": {"s3:ListBucketVersions"},
    "s3:ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "s3:CopyObject": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"},
    "s3:PutBucketEncryption": {"s3:PutEncryptionConfiguration"},
    "s3:PutBucketLifecycleConfiguration": {"s3:PutLifecycleConfiguration"},
    "s3:PutPublicAccessBlock": {"s3:PutBucketPublicAccessBlock"},
    "s3:DeleteObjects": {"s3:DeleteObject", "s3:DeleteObjectVersion"},
    "s3:GetBucketEncryption": {"s3:GetEncryptionConfiguration"},
    "s3:GetBucketNotificationConfiguration": {"s3:GetBucketNotification"},
    "s3:GetPublicAccessBlock": {"s3:GetBucketPublicAccessBlock"},
    "s3:ListBuckets": {"s3:ListAllMyBuckets"},
    "dynamodb:RestoreTableFromBackup": RESTORING | {"dynamodb:RestoreTableFromBackup"},
    "dynamodb:RestoreTableToPointInTime": RESTORING | {"dynamodb:RestoreTableToPointInTime"},
    "sqs:DeleteMessageBatch": {"sqs:DeleteMessage"},
    "sqs:ChangeMessageVisibilityBatch": {"sqs:ChangeMessageVisibility"},
    "apigateway:GetApis": {"apigateway:GET"},  # of apigatewayv2, which signs alike
    "sts:GetCallerIdentity": set(),  # takes no permission: everybody may ask who they are
}
# botocore signs CloudWatch's metrics for `monitoring` and tags for `tagging`; policies say otherwise.
PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}


def actions_of(call: str) -> set[str]:
    """What must be allowed for a call; API Gateway's actions are the methods of HTTP."""
    service, operation = call.split(":")
    if service == "apigateway" and call not in NAMED_OTHERWISE:
        model = botocore.session.Session().get_service_model(service).operation_model(operation)
        return {f"apigateway:{model.http['method']}"}
    return NAMED_OTHERWISE.get(call, {f"{PREFIXES.get(service, service)}:{operation}"})


def needed(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Action -> the functions that need it."""
    actions: dict[str, set[str]] = {}
    for call, callers in found.items():
        if call == "sts:GetCallerIdentity":  # AWS asks for no right to learn who one is
            continue
        for action in actions_of(call):
            actions.setdefault(action, set()).update(callers)
    return actions


# The commands that an operator may not use.
DESTROYING = ("ops.destroy", "ops.sweep", "ops.belongings")
# An administrator's, like the stack of the recovery: it makes a stack of data that may be another one's.
ADOPTING = "ops.adopt"


def test_destroyer_may_do_just_what_destroying_calls_beyond_a_deployer() -> None:
    calling = needed(calls(*(f"{module}." for module in (*DESTROYING, "ops.destroy_command"))))
    missing = calling.keys() - allowed("DestroyerPolicy", *DEPLOYER)
    assert not missing, "DestroyerPolicy of stacks/access.yaml lacks a statement for what these functions call"
    assert not allowed("DestroyerPolicy") - calling.keys(), "DestroyerPolicy allows what destroying never calls"
    both = allowed("DestroyerPolicy") & allowed(*DEPLOYER)
    # A deployer may do that already, but not look at APIs that are not its own, or for pools that are gone.
    assert both == {"apigateway:GET", "cognito-idp:DescribeUserPool"}
    assert not allowed(*OPERATOR) & {"cloudformation:DeleteStack", "s3:DeleteBucket", "dynamodb:DeleteTable"}


def test_who_manages_people_may_do_just_that() -> None:
    managing = needed(calls("ops.environment.connect", "ops.people."))
    assert allowed("PeoplePolicy") == managing.keys() | DATA_KEY


def test_operator_may_do_just_what_petdetect_calls() -> None:
    calling = needed(calls("ops.", without=(*DESTROYING, ADOPTING, "ops.check", "ops.drill", "ops.people"))) | {
        key: {"the services, with DataKey=customer"} for key in DATA_KEY
    }
    missing = {action: callers for action, callers in calling.items() if action not in allowed(*OPERATOR)}
    assert not missing, "OperatorPolicy of stacks/access.yaml lacks a statement for what these functions call"
    unused = {
        f"{statement['Sid']} {action}"
        for statement in statements(*OPERATOR)
        for action in words(statement["Action"])
        if action not in calling
    }
    assert not unused, "OperatorPolicy allows what petdetect never calls"


def test_who_drills_may_do_just_what_a_drill_calls_beyond_an_operator_and_delete_copies_alone() -> None:
    calling = needed(calls("ops.environment.connect", "ops.drill.", "ops.drill_"))
    # It makes and deletes backups on the local AWS alone: IAM cannot tell them from those of every night.
    on_the_local_aws = {"dynamodb:CreateBackup", "dynamodb:DeleteBackup"}
    missing = calling.keys() - allowed("DrillPolicy", *OPERATOR) - on_the_local_aws
    assert not missing, "DrillPolicy of stacks/access.yaml lacks a statement for what these functions call"
    assert allowed("DrillPolicy") >= KEY_OF_A_NEW_TABLE, "with DataKey=customer no table could be restored"
    unused = allowed("DrillPolicy") - calling.keys() - DATA_KEY - KEY_OF_A_NEW_TABLE
    assert not unused, "DrillPolicy allows what a drill never calls"
    assert not allowed("DrillPolicy") & on_the_local_aws
    looks = re.compile(r"\w+:(Get|List|Describe|Restore|Decrypt|GenerateDataKey)")
    for statement in statements("DrillPolicy"):
        if set(words(statement["Action"])) == KEY_OF_A_NEW_TABLE:
            assert statement["Condition"]["StringEquals"]["kms:ViaService"] == "dynamodb.us-east-1.amazonaws.com"
            assert statement["Condition"]["StringEquals"]["aws:ResourceTag/Project"] == "pet-detector"
            continue
        changes = [action for action in words(statement["Action"]) if not looks.match(action)]
        assert not changes or all(f"{APPLICATION}-drill-*" in one for one in words(statement["Resource"])), changes


def test_who_checks_may_do_just_what_the_check_calls() -> None:
    looking = needed(calls("ops.environment.connect", "ops.check.", "ops.check_"))
    assert allowed("CheckPolicy") == looking.keys() | DATA_KEY
    touched = {action for action in allowed("CheckPolicy") if action.startswith(("iam:", "sts:"))}
    assert touched == {"iam:GetRole", "iam:SimulatePrincipalPolicy"}, "it grants nothing"


def test_calls_are_found_where_they_hide() -> None:
    """In paginators, in loops over them, behind helpers, in methods, and through the use cases of the functions."""
    found = calls("ops.")
    for call, caller in {
        "states:GetExecutionHistory": "ops.story._run",
        "servicequotas:ListAWSDefaultServiceQuotas": "ops.pace._quota",
        "states:StopExecution": "ops.backfill.stop",
        "s3:DeleteObject": "ops.sources.Prefix",
        "monitoring:GetMetricData": "ops.actual_cost._sums",
        "dynamodb:DeleteItem": "pet_detector.aws.registrations.withdraw",
        "sns:Publish": "pet_detector.aws.notices_topic.publish",
    }.items():
        assert caller in found[call]
    assert found["rekognition:DetectLabels"] == {"pet_detector.aws.rekognition._recognize"}


def test_operator_starts_the_release_that_is_live_and_deletes_versions_of_functions_alone() -> None:
    by_action = {action: s for s in statements(*OPERATOR) for action in words(s["Action"])}
    starting = {s["Resource"]: s.get("Condition") for s in statements(*OPERATOR) if "StartExecution" in str(s)}
    live = {"ForAnyValue:StringEquals": {"states:StateMachineQualifier": ["live"]}}
    assert starting == {OUTPUTS["ImageWorkflowArn"]: live, OUTPUTS["BackfillWorkflowArn"]: None}
    # The ARN of a version has a part more than that of its function.
    assert by_action["lambda:DeleteFunction"]["Resource"].endswith(f":function:{STACK.values['NamePrefix']}*:*")
    for action in ("states:DeleteStateMachineVersion", "states:UpdateStateMachineAlias"):
        assert by_action[action]["Resource"] == OUTPUTS["ImageWorkflowArn"]


@pytest.mark.parametrize("policy", ["OperatorPolicy", "CheckPolicy"])
def test_definition_of_reviews_may_be_read_by_who_prunes_and_who_checks(policy: str) -> None:
    """The machine of reviews has no output here: its ARN would have to be given after its first deployment."""
    readable = [
        resource
        for statement in statements(policy)
        if "states:DescribeStateMachine" in words(statement["Action"])
        for resource in words(statement["Resource"])
    ]
    machine = f"{OUTPUTS['ImageWorkflowArn'].rpartition(':')[0]}:ReviewWorkflow-1A2B"
    assert any(fnmatch.fnmatchcase(machine, pattern) for pattern in readable), readable


# What S3, DynamoDB, SNS and SQS do in the name of their caller when data has a key of the account's own.
DATA_KEY = {"kms:Decrypt", "kms:GenerateDataKey"}
# What DynamoDB asks for besides when a table gets the key: AccountUsesKeyThroughServices in stacks/data_key.yaml.
KEY_OF_A_NEW_TABLE = {
    *("kms:CreateGrant", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext"),
    *("kms:ReEncryptFrom", "kms:ReEncryptTo"),
}
# What a person looks at in the console: alarms, dashboards, saved queries and logs.
CONSOLE = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetDashboard",
    "cloudwatch:ListDashboards",
    "logs:DescribeLogGroups",
    "logs:DescribeQueryDefinitions",
    "logs:FilterLogEvents",
    "logs:GetQueryResults",
    "logs:StartQuery",
    "logs:StopQuery",
}


def test_reader_sees_status_and_cost_and_the_console_and_changes_nothing() -> None:
    looking = needed(calls("ops.environment.connect", "ops.status.state_of", "ops.actual_cost.actual"))
    assert allowed("ReaderPolicy") == looking.keys() | CONSOLE | DATA_KEY
    for action in allowed("ReaderPolicy"):
        assert re.match(
            r"\w+:(Get|List|Describe|BatchGet|Query|Filter|StartQuery|StopQuery|Decrypt|GenerateDataKey)", action
        ), action


def test_reader_sees_no_picture_and_reviewer_only_those_that_need_review() -> None:
    assert not any(action.startswith("s3:GetObject") for action in allowed("ReaderPolicy"))
    assert {
        (action, statement["Resource"].partition(":123456789012:")[2] or statement["Resource"])
        for statement in statements("ReviewerPolicy")
        for action in words(statement["Action"])
    } == {
        ("dynamodb:GetItem", "table/records"),
        ("dynamodb:Query", "table/records/index/StatusIndex"),
        ("kms:Decrypt", "key/*"),
        ("kms:GenerateDataKey", "key/*"),
        ("s3:GetObject", "arn:aws:s3:::pictures/others/*"),  # where the workflow files what it is not sure of
    }


def test_reader_searches_the_logs_of_the_application_and_not_the_trail() -> None:
    (search,) = (statement for statement in statements("ReaderPolicy") if statement["Sid"] == "SearchLogs")
    patterns = [arn.rpartition("log-group:")[2] for arn in search["Resource"]]
    groups = {
        name: group["LogGroupName"]["Fn::Sub"].replace("${AWS::StackName}", APPLICATION)
        if "LogGroupName" in group
        else f"{APPLICATION}-{name}-1A2B"
        for name, group in resources("AWS::Logs::LogGroup").items()
    }
    trail = governance().of_type("AWS::Logs::LogGroup")["TrailLogGroup"]["LogGroupName"]
    for name, group in groups.items():
        assert any(fnmatch.fnmatchcase(group, pattern) for pattern in patterns), name
    assert not any(fnmatch.fnmatchcase(trail, pattern) for pattern in patterns)
    assert not [action for action in allowed("ReaderPolicy") if action == "logs:GetLogEvents"]


def test_no_person_may_touch_permissions_keys_or_the_watch() -> None:
    for policy in ("ReaderPolicy", "ReviewerPolicy", *OPERATOR):
        services = {action.partition(":")[0] for action in allowed(policy) - DATA_KEY}
        assert not services & {"iam", "sts", "kms", "cloudtrail", "guardduty", "config", "organizations"}, policy


# --- The boundary -----------------------------------------------------------------------------------------------------

EDGE = Stack(REPOSITORY / "stacks" / "edge.yaml", {"ApplicationName": APPLICATION, "Mode": "block"})
NETWORK = Stack(REPOSITORY / "stacks" / "network.yaml", {"ApplicationName": APPLICATION})
ROLES = {
    **resources("AWS::IAM::Role", data_key="customer"),
    **governance().of_type("AWS::IAM::Role"),
    **EDGE.of_type("AWS::IAM::Role"),
    **NETWORK.of_type("AWS::IAM::Role"),
}
# Rights that stacks/recovery.yaml gives to a role of template.yaml.
ROLES["ReplicationRole"] = {"Policies": list(recovery().of_type("AWS::IAM::RolePolicy").values())}


def policies_of_aws(role: dict[str, Any]) -> set[str]:
    """Names of the policies of AWS that a role has."""
    return {json.dumps(arn).strip('"{}').rpartition("/")[2] for arn in role.get("ManagedPolicyArns", [])}


def test_boundary_leaves_what_the_roles_of_the_application_need_and_nothing_else() -> None:
    needs: dict[str, set[str]] = {}
    for name, role in ROLES.items():
        inline = [policy["PolicyDocument"]["Statement"] for policy in role.get("Policies", [])]
        allowing = [statement for document in inline for statement in document if statement["Effect"] == "Allow"]
        found = {action for statement in allowing for action in words(statement["Action"])}
        for policy in policies_of_aws(role):
            found |= ALLOWED_BY_AWS[policy]
        for action in found:
            needs.setdefault(action, set()).add(name)
    missing = {action: roles for action, roles in needs.items() if action not in allowed("BoundaryPolicy")}
    assert not missing, "BoundaryPolicy of stacks/access.yaml would take this from roles that need it"
    assert not allowed("BoundaryPolicy") - needs.keys(), "BoundaryPolicy leaves what no role needs"


def test_boundary_lets_keys_be_used_through_the_services_with_data_whatever_their_tags() -> None:
    """With DataKey=aws the keys are AWS's own (`aws/sns`), which carry no tag of ours."""
    (key,) = (statement for statement in statements("BoundaryPolicy") if statement["Sid"] == "DataKey")
    assert set(key["Action"]) == DATA_KEY
    services = {f"{name}.us-east-1.amazonaws.com" for name in ("dynamodb", "s3", "sns", "sqs")}
    assert key["Condition"].keys() == {"StringEquals"}
    assert key["Condition"]["StringEquals"].keys() == {"kms:ViaService"}
    assert set(key["Condition"]["StringEquals"]["kms:ViaService"]) == services


def test_boundary_lets_roles_read_no_log_but_of_apis() -> None:
    readers = [
        statement
        for statement in statements("BoundaryPolicy")
        if {"logs:FilterLogEvents", "logs:GetLogEvents"} & set(words(statement["Action"]))
    ]
    assert [statement["Resource"] for statement in readers] == [
        "arn:aws:logs:us-east-1:123456789012:log-group:API-Gateway-Execution-Logs*"
    ]


def test_every_role_can_carry_the_boundary() -> None:
    for name, role in resources("AWS::IAM::Role").items():
        assert role["PermissionsBoundary"] == {
            "Fn::If": ["HasBoundary", {"Ref": "PermissionsBoundary"}, {"Ref": "AWS::NoValue"}]
        }, name
    for stack in (REPOSITORY / "stacks").glob("*.yaml"):
        for name, resource in load(stack)["Resources"].items():
            if (
                # test_delivery.py: the pipeline's own; and AWS Backup's policies reach further than the application may
                resource["Type"] == "AWS::IAM::Role" and stack.stem not in ("delivery", "recovery")
            ):
                assert references(resource["Properties"]["PermissionsBoundary"]["Fn::If"][1]) == {
                    "PermissionsBoundary"
                }, name


def test_boundary_holds_nothing_that_can_grant() -> None:
    services = {action.partition(":")[0] for action in allowed("BoundaryPolicy")}
    assert not services & {"iam", "sts", "organizations", "cloudformation", "apigateway", "cloudtrail"}
    assert not {action for action in allowed("BoundaryPolicy") if re.search(r":(Create|Put)\w*Policy$", action)} - {
        "logs:PutResourcePolicy"  # log delivery of a state machine asks for it
    }


# --- The deployer -----------------------------------------------------------------------------------------------------

TEMPLATES = ("observability", "dashboards", "dead_letters", "burn_rates")

# What CloudFormation may call for a resource, and does not for ours. By reason:
UNUSED = {
    "properties that no template of ours has": """
        apigateway:UpdateRestApiPolicy dynamodb:AssociateTableReplica dynamodb:CreateTableReplica
        dynamodb:DeleteResourcePolicy dynamodb:DescribeImport dynamodb:DisableKinesisStreamingDestination
        dynamodb:EnableKinesisStreamingDestination dynamodb:ImportTable dynamodb:PutResourcePolicy
        dynamodb:UpdateContributorInsights dynamodb:UpdateKinesisStreamingDestination
        lambda:AssociateRuntimeAlias lambda:DeleteFunctionCodeSigningConfig lambda:GetCodeSigningConfig
        lambda:GetFunctionScalingConfig lambda:GetLayerVersion lambda:PassCapacityProvider
        lambda:PutFunctionCodeSigningConfig lambda:PutFunctionRecursionConfig lambda:PutFunctionScalingConfig
        lambda:PutRuntimeManagementConfig lambda:DeleteProvisionedConcurrencyConfig
        lambda:PutProvisionedConcurrencyConfig codedeploy:RegisterOnPremisesInstance
        logs:AssociateKmsKey logs:DeleteDataProtectionPolicy logs:DeleteIndexPolicy
        logs:DeleteResourcePolicy logs:DisassociateKmsKey logs:PutBearerTokenAuthentication
        logs:PutDataProtectionPolicy logs:PutIndexPolicy logs:PutLogGroupDeletionProtection sns:PutDataProtectionPolicy
        s3:CreateBucketMetadataTableConfiguration s3:DeleteBucketAnalyticsConfiguration s3:DeleteBucketCors
        s3:DeleteBucketEncryption s3:DeleteBucketLifecycle s3:DeleteBucketMetadataTableConfiguration
        s3:DeleteBucketMetricsConfiguration s3:DeleteBucketReplication s3:DeleteBucketWebsite
        s3:GetAccelerateConfiguration s3:GetAnalyticsConfiguration s3:GetBucketAbac s3:GetBucketAcl s3:GetBucketLogging
        s3:GetBucketMetadataTableConfiguration s3:GetBucketObjectLockConfiguration s3:GetBucketWebsite
        s3:GetIntelligentTieringConfiguration s3:GetInventoryConfiguration s3:GetMetricsConfiguration
        s3:PutAccelerateConfiguration s3:PutAnalyticsConfiguration s3:PutBucketAbac
        s3:PutBucketAcl s3:PutBucketLogging s3:PutBucketObjectLockConfiguration s3:PutBucketReplication
        s3:PutBucketWebsite s3:PutIntelligentTieringConfiguration s3:PutInventoryConfiguration
        s3:PutMetricsConfiguration s3:PutObjectAcl s3:PutObjectLockConfiguration
        s3:UpdateBucketMetadataAnnotationTableConfiguration s3:UpdateBucketMetadataInventoryTableConfiguration
        s3:UpdateBucketMetadataJournalTableConfiguration s3:REST.PUT.OBJECT
        cloudformation:GetStackPolicy cloudformation:SetStackPolicy cloudformation:UpdateTerminationProtection
        cloudformation:GetTemplate cognito-idp:AddCustomAttributes cloudfront:updateDistribution
        kms:DisableKey kms:EnableKey""",
    "data, which a deployer neither reads nor writes": """
        dynamodb:BatchWriteItem dynamodb:DeleteItem dynamodb:GetItem dynamodb:PutItem dynamodb:Query dynamodb:Scan
        dynamodb:UpdateItem s3:DeleteObject s3:GetObjectMetadata logs:CreateLogStream logs:DescribeLogStreams
        logs:PutLogEvents kms:CreateGrant kms:Decrypt kms:Encrypt kms:GenerateDataKey kms:ListAliases
        kms:RevokeGrant kms:GenerateDataKeyWithoutPlaintext kms:ReEncryptFrom kms:ReEncryptTo""",
    "an administrator's: who may set a replication can send every picture to a bucket of their own": """
        s3:GetReplicationConfiguration s3:PutReplicationConfiguration""",
    "ways out of the boundary": "iam:DeleteRolePermissionsBoundary",
    "roles of services that an account has already": "iam:CreateServiceLinkedRole",
}
# Services of which a template of ours has nothing.
UNUSED_SERVICES = {"billing", "elasticfilesystem", "firehose", "kinesis", "s3files", "s3tables"}
# Not in any schema. `sam deploy` uploads, and finds its bucket; a change set of a template with a transform needs it.
OF_SAM = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObject"}


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """CloudFormation's own schema of a type."""
    folder = Path(cfnlint.__file__).parent / "data" / "schemas"
    index = json.loads((folder / "providers" / "us-east-1.json").read_text())
    found: dict[str, Any] = json.loads((folder / "resources" / f"{index[kind]}.json").read_text())
    return found


def handlers(kind: str) -> set[str]:
    """Actions that CloudFormation may need for resources of a type, by its schema."""
    found = schema_of(kind)["handlers"].items()
    return {action for name, handler in found if name != "list" for action in handler["permissions"]}


def types_of_templates() -> set[str]:
    """Types of the resources that a deployer makes."""
    gradual = source()  # SAM makes what shifts the API's functions only then
    gradual["Parameters"]["ReleaseShift"]["Default"] = "Canary10Percent10Minutes"
    kinds = {resource["Type"] for resource in translate(gradual)["Resources"].values()}
    assert "AWS::CodeDeploy::DeploymentGroup" in kinds
    for name in TEMPLATES:
        kinds |= {r["Type"] for r in load(REPOSITORY / "stacks" / f"{name}.yaml")["Resources"].values()}
    return kinds


def of_templates() -> dict[str, set[str]]:
    """Action -> types of resources of the templates that need it."""
    needs: dict[str, set[str]] = {}
    for kind in types_of_templates():
        for action in handlers(kind):
            if action.partition(":")[0] not in UNUSED_SERVICES:
                needs.setdefault(action, set()).add(kind)
    return needs


def of_sam_deploy() -> set[str]:
    """What `sam deploy` asks of CloudFormation itself, by its code; `describe_stacks` is behind its waiters too."""
    names = {
        node.attr
        for node in ast.walk(ast.parse(Path(samcli.lib.deploy.deployer.__file__).read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("_client")
    }
    names = names - {"get_waiter", "get_paginator"} | {"describe_change_set", "describe_stack_events"}
    return {f"cloudformation:{''.join(part.capitalize() for part in name.split('_'))}" for name in names}


# What the workflows run besides, but `petdetect check`, which has a policy of its own.
PIPELINE = ("delivery.deploy.deploy", "ops.environment.connect", "ops.prune.", "ops.releases.", "ops.rollback.")


def test_deployer_may_do_just_what_the_templates_and_the_pipeline_need() -> None:
    needs, unused = of_templates(), {action for actions in UNUSED.values() for action in actions.split()}
    for action in of_sam_deploy() | OF_SAM:
        needs.setdefault(action, set()).add("sam deploy")
    for action, callers in needed(calls(*PIPELINE)).items():
        needs.setdefault(action, set()).update(callers)
    assert not unused & allowed(*DEPLOYER), "called unused in the test, and allowed"
    missing = {action: kinds for action, kinds in needs.items() if action not in allowed(*DEPLOYER) | unused}
    assert not missing, "a Deployer policy of stacks/access.yaml lacks this, or the test a reason why it is unused"
    assert not allowed(*DEPLOYER) - needs.keys(), "a Deployer policy allows what no resource needs"
    assert not unused - needs.keys(), "called unused in the test, and no resource would use it"


BOUND = {"StringEquals": {"iam:PermissionsBoundary": "BoundaryPolicy"}}


def test_deployer_makes_no_role_without_the_boundary_and_no_policy_at_all() -> None:
    granting = [s for s in statements(*DEPLOYER) if any(a.startswith("iam:") for a in words(s["Action"]))]
    by_action = {action: statement for statement in granting for action in words(statement["Action"])}
    # Service Authorization Reference: these, and PutRolePermissionsBoundary, can give a role more than it had.
    for action in ("CreateRole", "PutRolePolicy", "AttachRolePolicy", "PutRolePermissionsBoundary"):
        assert by_action[f"iam:{action}"]["Condition"]["StringEquals"] == BOUND["StringEquals"], action
    assert {
        name.rpartition("/")[2] for name in by_action["iam:AttachRolePolicy"]["Condition"]["ArnEquals"]["iam:PolicyARN"]
    } == {policy for role in resources("AWS::IAM::Role").values() for policy in policies_of_aws(role)}
    assert not {
        action
        for action in by_action
        if re.search(r"User|Group|:CreatePolicy|:SetDefault|DeleteRolePermissions", action)
    }
    for statement in granting:
        assert statement["Resource"] == f"arn:aws:iam::123456789012:role/{STACK.values['NamePrefix']}*"


def test_deployer_lends_roles_to_the_services_that_the_template_lends_them_to() -> None:
    (statement,) = (s for s in statements(*DEPLOYER) if "iam:PassRole" in words(s["Action"]))
    lent = {
        service
        for role in resources("AWS::IAM::Role").values()
        for trust in role["AssumeRolePolicyDocument"]["Statement"]
        for service in words(trust["Principal"]["Service"])
    } - {"s3.amazonaws.com"}  # for a replication, which an administrator turns on
    assert set(statement["Condition"]["StringEquals"]["iam:PassedToService"]) == lent


def test_deployer_leaves_the_trail_and_its_own_rights_alone() -> None:
    assert not {action for action in allowed(*DEPLOYER) if action.startswith(("cloudtrail:", "guardduty:", "config:"))}
    denied = {statement["Sid"]: statement for statement in statements(*DEPLOYER) if statement["Effect"] == "Deny"}
    assert set(denied) == {"LeaveTheTrailAlone", "LeaveTheKeysOfTheWatchAlone", "KeepTheGovernanceStack"}
    deny = denied["LeaveTheTrailAlone"]
    assert (deny["Action"], "Condition" in deny) == ("*", False)
    prefix = STACK.values["NamePrefix"]
    assert deny["Resource"] == [
        f"arn:aws:s3:::{prefix}*trailbucket*",
        f"arn:aws:iam::123456789012:role/{prefix}*TrailRole*",
        f"arn:aws:logs:us-east-1:123456789012:log-group:{APPLICATION}-trail-*",
        f"arn:aws:sns:us-east-1:123456789012:{prefix}*SecurityTopic*",
        f"arn:aws:sqs:us-east-1:123456789012:{prefix}*UndeliveredAlerts*",
        f"arn:aws:events:us-east-1:123456789012:rule/{APPLICATION}-security-*",
        f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{APPLICATION}-security-*",
    ]
    watch = governance()
    assert {"TrailBucket", "TrailRole", "SecurityTopic", "UndeliveredAlertsQueue"} <= watch.resources.keys()
    assert watch.of_type("AWS::Logs::LogGroup")["TrailLogGroup"]["LogGroupName"].startswith(f"{APPLICATION}-trail-")
    named = [alarm["AlarmName"] for alarm in watch.of_type("AWS::CloudWatch::Alarm").values()]
    named += [rule["Name"] for rule in watch.of_type("AWS::Events::Rule").values()]
    assert all(name.startswith(f"{APPLICATION}-security-") for name in named)
    keys = denied["LeaveTheKeysOfTheWatchAlone"]  # a key has no name; without this one, every alert ends
    assert (keys["Action"], keys["Resource"]) == ("*", "arn:aws:kms:us-east-1:123456789012:key/*")
    assert keys["Condition"] == {"StringEquals": {"aws:ResourceTag/Purpose": "watch"}}
    for name, key in watch.of_type("AWS::KMS::Key").items():
        assert key["Tags"] == [{"Key": "Purpose", "Value": "watch"}], name
    # Its update by the root stack's stays allowed: CloudFormation asks for it even if nothing changes.
    stack = denied["KeepTheGovernanceStack"]
    assert stack["Action"] == "cloudformation:DeleteStack"
    assert stack["Resource"].endswith(f":stack/{APPLICATION}-GovernanceStack-*/*")
    assert load(REPOSITORY / "template.yaml")["Resources"]["GovernanceStack"]["Properties"]["TemplateURL"].endswith(
        "governance.yaml"
    )


def test_no_other_resource_of_the_application_is_taken_for_one_of_the_watch() -> None:
    """Else a deployment could not change it."""
    others = resources("AWS::SNS::Topic").keys() | resources("AWS::SQS::Queue").keys()
    alarms = [alarm["AlarmName"] for alarm in observability().of_type("AWS::CloudWatch::Alarm").values()]
    assert not [name for name in others if "SecurityTopic" in name or "UndeliveredAlerts" in name]
    assert not [name for name in alarms if name.startswith(f"{APPLICATION}-security-")]


def test_names_of_the_application_begin_as_the_policies_say() -> None:
    """CloudFormation shortens the stack's name in names of 64 characters; how far, its documents do not say."""
    prefix = STACK.values["NamePrefix"]
    assert APPLICATION.startswith(prefix)
    assert 12 <= len(prefix) <= 21
