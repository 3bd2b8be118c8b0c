"""What the template makes: private, encrypted and kept as long as it should be; and what its environments set."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from .shipped import REPOSITORY, TWO_WEEKS, references, resources, source, translated

CONFIG = tomllib.loads((REPOSITORY / "samconfig.toml").read_text())
STAGES = source()["Parameters"]["Stage"]["AllowedValues"]
each_stage = pytest.mark.parametrize("stage", STAGES)

ARNS_IN_TEXT = re.compile(r"arn:aws:")
# What has data that must outlive a stack of staging or prod.
STATEFUL = ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
# Answers that can be asked for again: they go with any stack, and nobody pays for their backup.
REPEATABLE = {"AnalysesTable"}


def denies_plain_http(document: dict[str, Any], action: str) -> bool:
    """Whether a resource policy turns away whoever comes without TLS."""
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"] == action
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in document["Statement"]
    )


@pytest.mark.parametrize("bucket", resources("AWS::S3::Bucket"))
def test_bucket_is_private_encrypted_and_versioned(bucket: str) -> None:
    properties = resources("AWS::S3::Bucket")[bucket]
    block = properties["PublicAccessBlockConfiguration"]
    assert block == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert any(
        references(policy["Bucket"]) == {bucket} and denies_plain_http(policy["PolicyDocument"], "s3:*")
        for policy in resources("AWS::S3::BucketPolicy").values()
    )


@pytest.mark.parametrize("table", resources("AWS::DynamoDB::Table"))
def test_table_is_encrypted_recoverable_paid_by_use_and_forgets(table: str) -> None:
    properties = resources("AWS::DynamoDB::Table")[table]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    assert properties["TimeToLiveSpecification"] == {"AttributeName": "ExpiresAt", "Enabled": True}
    recoverable = properties.get("PointInTimeRecoverySpecification") == {"PointInTimeRecoveryEnabled": True}
    assert recoverable is (table not in REPEATABLE)


@pytest.mark.parametrize("queue", resources("AWS::SQS::Queue"))
def test_queue_is_encrypted_and_keeps_messages_for_two_weeks(queue: str) -> None:
    properties = resources("AWS::SQS::Queue")[queue]
    assert properties["MessageRetentionPeriod"] == TWO_WEEKS
    assert properties.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in properties


@pytest.mark.parametrize("topic", resources("AWS::SNS::Topic"))
def test_topic_is_encrypted(topic: str) -> None:
    assert "KmsMasterKeyId" in resources("AWS::SNS::Topic")[topic]


@pytest.mark.parametrize("group", resources("AWS::Logs::LogGroup"))
def test_log_group_forgets(group: str) -> None:
    assert "RetentionInDays" in resources("AWS::Logs::LogGroup")[group]


def test_everything_that_writes_logs_writes_them_to_a_group_of_the_stack() -> None:
    groups = set(resources("AWS::Logs::LogGroup"))
    for name, stage in resources("AWS::ApiGateway::Stage").items():
        assert references(stage["AccessLogSetting"]["DestinationArn"]) <= groups, name
    for name, machine in resources("AWS::StepFunctions::StateMachine").items():
        (destination,) = machine["LoggingConfiguration"]["Destinations"]
        assert references(destination) <= groups, name
        assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False, name
        assert machine["TracingConfiguration"] == {"Enabled": True}, name


def test_the_workflow_never_starts_itself() -> None:
    for name, rule in resources("AWS::Events::Rule").items():
        pattern = rule["EventPattern"]
        if pattern.get("source") == ["aws.s3"]:
            assert pattern["detail"]["object"]["key"] == [{"prefix": "input/"}], name
            assert pattern["detail"]["bucket"]["name"], name


def test_sam_is_the_only_transform() -> None:
    """AWS::LanguageExtensions runs before it and fills in parameters, which changes the id of the API's stage."""
    assert source()["Transform"] == "AWS::Serverless-2016-10-31"


def test_data_outlives_the_stack_unless_it_can_be_had_again() -> None:
    for name, resource in translated()["Resources"].items():
        if name in REPEATABLE:
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Delete"
        elif resource["Type"] in STATEFUL:
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert resource["UpdateReplacePolicy"] == "Retain", name


def test_no_arn_is_bound_to_one_partition_of_aws() -> None:
    assert not ARNS_IN_TEXT.search(json.dumps(source()["Resources"]).replace("arn:aws:states:::", ""))


def test_every_stage_of_the_gateway_waits_for_the_right_to_write_logs() -> None:
    """API Gateway refuses a stage with access logs before the account's log role is set."""
    for name, stage in resources("AWS::ApiGateway::Stage").items():
        assert references(stage) & set(resources("AWS::ApiGateway::Account")), name


@pytest.mark.parametrize("api", resources("AWS::ApiGateway::RestApi"))
def test_the_gateway_is_regional(api: str) -> None:
    """The default would put a distribution of AWS's before it that nobody can configure."""
    assert resources("AWS::ApiGateway::RestApi")[api]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}


def test_the_gateway_has_one_stage() -> None:
    """SAM adds one named `Stage`, without logs and limits, unless the API names an OpenAPI version."""
    assert all("StageName" not in deployment for deployment in resources("AWS::ApiGateway::Deployment").values())
    assert len(resources("AWS::ApiGateway::Stage")) == len(resources("AWS::ApiGateway::RestApi"))


# --- Parameters, outputs and environments -----------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", source()["Parameters"])
def test_parameter_has_a_description_a_default_and_is_used(parameter: str) -> None:
    template = source()
    properties = template["Parameters"].pop(parameter)
    assert len(properties["Description"]) > 20
    assert "Default" in properties
    assert parameter in references(template)


@pytest.mark.parametrize("output", source()["Outputs"])
def test_output_is_explained(output: str) -> None:
    assert len(source()["Outputs"][output]["Description"]) >= 20


@pytest.mark.parametrize("condition", source()["Conditions"])
def test_condition_is_used(condition: str) -> None:
    template = source()
    del template["Conditions"][condition]
    assert re.search(rf'"(Condition|Fn::If)": \[?"{condition}"', json.dumps(template))


def test_every_stage_has_its_environment_and_no_other() -> None:
    assert {name for name, section in CONFIG.items() if name not in ("version", "default")} == set(STAGES)


@each_stage
def test_environment_deploys_its_own_stage_under_the_prefix(stage: str) -> None:
    deploy = CONFIG[stage]["deploy"]["parameters"]
    assert deploy["stack_name"] == f"serverlessapp-pet-detector-{stage}"
    assert deploy["region"] == "us-east-1"
    values = dict(item.split("=", 1) for item in deploy["parameter_overrides"])
    assert values["Stage"] == stage
    assert values.keys() <= source()["Parameters"].keys()


@each_stage
def test_environment_tags_what_it_deploys(stage: str) -> None:
    """CloudFormation puts a stack's tags on every resource of it that can have tags."""
    tags = dict(item.split("=", 1) for item in CONFIG[stage]["deploy"]["parameters"]["tags"])
    assert tags.keys() == {"Environment", "Owner", "Project", "CostCenter"}
    assert tags["Environment"] == stage
    assert all(tags.values())


@each_stage
def test_names_that_the_template_pins_fit_and_carry_the_stack(stage: str) -> None:
    stack = CONFIG[stage]["deploy"]["parameters"]["stack_name"]
    limits = {"FunctionName": 64, "RoleName": 64, "StateMachineName": 80, "QueueName": 80, "LogGroupName": 512}
    for name, resource in source()["Resources"].items():
        for key in ("Name", "UsagePlanName", "BucketName", "TableName", "TopicName", *limits):
            pinned = resource.get("Properties", {}).get(key)
            if pinned is not None and set(pinned) != {"Ref"}:  # a Ref names another resource
                assert "${AWS::StackName}" in pinned["Fn::Sub"], f"{name}.{key} is no name of this stack's own"
                assert len(pinned["Fn::Sub"].replace("${AWS::StackName}", stack)) <= limits.get(key, 63), name
