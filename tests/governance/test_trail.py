"""The trail: what it records, that nobody can change or end it unseen, and that only its services get at it.

The local AWS has neither CloudTrail, Object Lock by default, GuardDuty nor Config in CloudFormation: cfn-lint checks
the properties of these resources, and the tests here what they say.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, PSEUDO, Stack, governance
from tests.support.templates import load

STACK = governance(ImageBucketName="pictures", DetectionLogsTableName="records")
ROOT = load(REPOSITORY / "template.yaml")
TRAIL = STACK.of_type("AWS::CloudTrail::Trail")["Trail"]
ACCOUNT = PSEUDO["AWS::AccountId"]
TRAIL_ARN = f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/{APPLICATION}-trail-0f9e8d7c"


def statements(properties: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The statements of a resource's policy, by Sid."""
    document = properties.get("PolicyDocument") or properties["KeyPolicy"]
    return {statement["Sid"]: statement for statement in document["Statement"]}


def test_trail_records_all_regions_and_proves_its_files() -> None:
    for name in ("IsLogging", "IsMultiRegionTrail", "IncludeGlobalServiceEvents", "EnableLogFileValidation"):
        assert TRAIL[name] is True, name
    assert TRAIL["KMSKeyId"].endswith(":TrailKey")
    assert TRAIL["S3BucketName"] == "TrailBucket"
    assert TRAIL["CloudWatchLogsLogGroupArn"].endswith(":TrailLogGroup")
    assert TRAIL["TrailName"] == TRAIL_ARN.rpartition("/")[2]


def selected() -> list[dict[str, dict[str, list[str]]]]:
    """What each selector takes, by field."""
    return [
        {
            field["Field"]: {operator: values for operator, values in field.items() if operator != "Field"}
            for field in selector["FieldSelectors"]
        }
        for selector in TRAIL["AdvancedEventSelectors"]
    ]


def test_trail_records_every_management_event_and_every_read_and_write_of_pictures_and_records() -> None:
    """No selector has a condition more than these: `readOnly` or a folder would leave something out."""
    assert selected() == [
        {"eventCategory": {"Equals": ["Management"]}},
        {
            "eventCategory": {"Equals": ["Data"]},
            "resources.type": {"Equals": ["AWS::S3::Object"]},
            "resources.ARN": {"StartsWith": ["arn:aws:s3:::pictures/"]},
        },
        {
            "eventCategory": {"Equals": ["Data"]},
            "resources.type": {"Equals": ["AWS::DynamoDB::Table"]},
            "resources.ARN": {"Equals": [f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/records"]},
        },
    ]


def test_files_of_the_trail_are_write_once() -> None:
    bucket = STACK.of_type("AWS::S3::Bucket")["TrailBucket"]
    assert bucket["ObjectLockEnabled"] is True
    (retention,) = bucket["ObjectLockConfiguration"]["Rule"].values()
    assert bucket["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert retention == {"Mode": "COMPLIANCE", "Days": 365}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (expiry,) = (rule for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule)
    assert expiry["ExpirationInDays"] == retention["Days"]


@pytest.mark.parametrize("name", STACK.of_type("AWS::S3::Bucket"))
def test_bucket_is_private_encrypted_and_over_tls_only(name: str) -> None:
    bucket = STACK.of_type("AWS::S3::Bucket")[name]
    block = bucket["PublicAccessBlockConfiguration"]
    assert block == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    policy = statements(STACK.of_type("AWS::S3::BucketPolicy")[f"{name}Policy"])
    tls = policy.pop("TlsOnly")
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert len(tls["Resource"]) == 2
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    old_tls = policy.pop("Tls12AtLeast")
    assert old_tls == tls | {"Sid": "Tls12AtLeast", "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}}
    for statement in policy.values():
        (service,) = statement["Principal"].values()
        assert service in ("cloudtrail.amazonaws.com", "config.amazonaws.com")
        keys = statement["Condition"]["StringEquals"]
        assert keys.get("aws:SourceArn") == TRAIL_ARN or keys.get("aws:SourceAccount") == ACCOUNT, statement["Sid"]


def test_only_the_trail_writes_its_files() -> None:
    policy = statements(STACK.of_type("AWS::S3::BucketPolicy")["TrailBucketPolicy"])
    assert {sid: statement["Action"] for sid, statement in policy.items() if statement["Effect"] == "Allow"} == {
        "CloudTrailLooksAtBucket": "s3:GetBucketAcl",
        "CloudTrailWritesFiles": "s3:PutObject",
    }
    write = policy["CloudTrailWritesFiles"]
    assert write["Resource"].endswith(f"/AWSLogs/{ACCOUNT}/*")
    assert write["Condition"]["StringEquals"] == {
        "aws:SourceArn": TRAIL_ARN,
        "s3:x-amz-acl": "bucket-owner-full-control",
    }


def test_key_of_the_trail_turns_and_serves_the_trail_and_its_log_group_alone() -> None:
    key = STACK.of_type("AWS::KMS::Key")["TrailKey"]
    assert key["EnableKeyRotation"] is True
    used = statements(key)
    assert used.pop("AccountAdministersKey")["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert used.pop("GrantsForServicesOnly")["Effect"] == "Deny"
    assert {sid: statement["Principal"]["Service"] for sid, statement in used.items()} == {
        "CloudTrailEncryptsFiles": "cloudtrail.amazonaws.com",
        "CloudTrailLooksAtKey": "cloudtrail.amazonaws.com",
        "LogsEncryptTrail": "logs.us-east-1.amazonaws.com",
    }
    for sid in ("CloudTrailEncryptsFiles", "CloudTrailLooksAtKey"):
        assert used[sid]["Condition"]["StringEquals"] == {"aws:SourceArn": TRAIL_ARN}
    group = STACK.of_type("AWS::Logs::LogGroup")["TrailLogGroup"]
    assert group["KmsKeyId"].endswith(":TrailKey")
    assert group["RetentionInDays"] == 90
    assert used["LogsEncryptTrail"]["Condition"] == {
        "ArnEquals": {
            "kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group['LogGroupName']}"
        }
    }


def test_role_of_the_trail_writes_its_streams_and_is_lent_to_this_trail_alone() -> None:
    role = STACK.of_type("AWS::IAM::Role")["TrailRole"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceArn": TRAIL_ARN}}
    ((statement,),) = (policy["PolicyDocument"]["Statement"] for policy in role["Policies"])
    assert set(statement["Action"]) == {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert statement["Resource"].endswith(f":log-group:TrailLogGroup:log-stream:{ACCOUNT}_CloudTrail_us-east-1*")


# What the trail and the reading of it need. Nothing of it may go with the stack, or be left behind without the rest.
KEPT = ("TrailKey", "TrailBucket", "TrailBucketPolicy", "TrailLogGroup", "TrailRole", "Trail")


def test_the_trail_outlives_the_stack() -> None:
    resources = STACK.template["Resources"]
    for name in KEPT:
        assert resources[name]["DeletionPolicy"] in ("Retain", "RetainExceptOnCreate"), name
        assert resources[name]["UpdateReplacePolicy"] == "Retain", name
    # The first file is locked as soon as the trail begins: a rollback could not delete the bucket.
    assert resources["TrailBucket"]["DeletionPolicy"] == "Retain"
    # CloudTrail refuses a bucket that does not let it in yet.
    assert resources["Trail"]["DependsOn"] == "TrailBucketPolicy"


def test_names_of_what_stays_differ_between_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a stack that is made again would find its log group and trail taken."""

    def names() -> set[str]:
        stack = governance()
        group = stack.of_type("AWS::Logs::LogGroup")["TrailLogGroup"]["LogGroupName"]
        return {group, stack.of_type("AWS::CloudTrail::Trail")["Trail"]["TrailName"]}

    first = names()
    monkeypatch.setitem(PSEUDO, "AWS::StackId", PSEUDO["AWS::StackId"].replace("/0f9e8d7c-", "/a1b2c3d4-"))
    assert not first & names()


# --- What an account may have once, or has already --------------------------------------------------------------------

OF_THE_TRAIL = {"AWS::CloudTrail::Trail", "AWS::S3::Bucket", "AWS::IAM::Role", "AWS::Logs::LogGroup"}


def kinds(stack: Stack) -> set[str]:
    return {resource["Type"] for resource in stack.resources.values()}


def test_a_trail_that_is_there_is_watched_and_none_is_made() -> None:
    stack = governance(AuditTrail="the-accounts-trail", GuardDuty="none", ConfigRules="none")
    assert not kinds(stack) & OF_THE_TRAIL
    groups = {name: f["LogGroupName"] for name, f in stack.of_type("AWS::Logs::MetricFilter").items()}
    assert groups.pop("RefusedApiKeysFilter") == "ApiAccessLogGroupName"
    assert set(groups.values()) == {"the-accounts-trail"}
    assert len(stack.of_type("AWS::CloudWatch::Alarm")) == len(STACK.of_type("AWS::CloudWatch::Alarm"))


def test_without_a_trail_nothing_reads_one() -> None:
    stack = governance(AuditTrail="none")
    assert set(stack.of_type("AWS::Logs::MetricFilter")) == {"RefusedApiKeysFilter"}
    assert set(stack.of_type("AWS::CloudWatch::Alarm")) == {"RefusedApiKeysAlarm", "UndeliveredAlertsAlarm"}
    assert not stack.of_type("AWS::Logs::QueryDefinition")


def test_detector_and_recorder_are_made_only_on_demand() -> None:
    asked = governance(GuardDuty="alert", ConfigRules="rules")
    assert not kinds(asked) & {"AWS::GuardDuty::Detector", "AWS::Config::ConfigurationRecorder"}
    assert asked.of_type("AWS::Events::Rule").keys() == STACK.of_type("AWS::Events::Rule").keys()
    off = governance(GuardDuty="none", ConfigRules="none")
    assert not kinds(off) & {"AWS::GuardDuty::Detector", "AWS::Config::ConfigRule", "AWS::Events::Rule"}


def test_rules_of_config_wait_for_the_recorder_that_the_stack_makes() -> None:
    given = STACK.template["Resources"]["ConfigRulesStack"]["Properties"]["Parameters"]["Recorder"]
    assert given["Fn::If"][:2] == ["MakesRecorder", {"Fn::GetAtt": ["ConfigRecorderStack", "Outputs.RecorderName"]}]


# --- The root template ------------------------------------------------------------------------------------------------


def handed_in() -> dict[str, Any]:
    parameters: dict[str, Any] = ROOT["Resources"]["GovernanceStack"]["Properties"]["Parameters"]
    return parameters


def test_root_hands_in_every_name_and_nothing_unknown() -> None:
    declared = STACK.template["Parameters"]
    assert {name for name, parameter in declared.items() if "Default" not in parameter} <= set(handed_in())
    assert set(handed_in()) <= set(declared)
    assert handed_in()["ImageBucketName"] == {"Ref": "ImageBucket"}
    assert handed_in()["DetectionLogsTableName"] == {"Ref": "DetectionLogsTable"}


@pytest.mark.parametrize("name", ["AuditTrail", "GuardDuty", "ConfigRules", "PermissionsBoundary"])
def test_root_passes_its_own_parameter_on_and_it_is_off_by_default(name: str) -> None:
    assert handed_in()[name] == {"Ref": name}
    assert ROOT["Parameters"][name]["Default"] in ("none", "")
    assert ROOT["Parameters"][name]["Default"] == STACK.template["Parameters"][name]["Default"]
    assert ROOT["Parameters"][name].get("AllowedValues") == STACK.template["Parameters"][name].get("AllowedValues")


def test_core_needs_nothing_back() -> None:
    """The edge and chat, as optional, tell or read the security topic."""
    optional = ("GovernanceStack", "EdgeStack", "ChatStack")
    rest = {name: resource for name, resource in ROOT["Resources"].items() if name not in optional}
    assert "GovernanceStack" not in json.dumps([rest, ROOT["Outputs"]], default=str)
