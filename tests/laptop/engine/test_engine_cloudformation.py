"""CloudFormation: a table and a bucket from a stack have the settings that the template gives them."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

import pytest

from tests.support.waiting import eventually

from .conftest import ROLE

TABLE: dict[str, Any] = {
    "Type": "AWS::DynamoDB::Table",
    "Properties": {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "ImageID", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "ImageID", "KeyType": "HASH"}],
        "TimeToLiveSpecification": {"AttributeName": "ExpiresAt", "Enabled": True},
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    },
}

BUCKET: dict[str, Any] = {
    "Type": "AWS::S3::Bucket",
    "Properties": {
        "VersioningConfiguration": {"Status": "Enabled"},
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "Id": "rejected",
                    "Prefix": "rejected/",
                    "Status": "Enabled",
                    "ExpirationInDays": 30,
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 7},
                },
                {"Id": "parts", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
            ]
        },
    },
}


@pytest.fixture
def outputs(gap_engine: Any) -> dict[str, str]:
    """The names of a deployed table and bucket."""
    names: dict[str, str] = gap_engine.create_stack(
        {
            "Resources": {"Table": TABLE, "Bucket": BUCKET},
            "Outputs": {"Table": {"Value": {"Ref": "Table"}}, "Bucket": {"Value": {"Ref": "Bucket"}}},
        }
    )
    return names


def test_a_table_gets_its_time_to_live(gap_engine: Any, outputs: dict[str, str]) -> None:
    answer = gap_engine.client("dynamodb").describe_time_to_live(TableName=outputs["Table"])["TimeToLiveDescription"]

    assert answer == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ExpiresAt"}


def test_a_table_gets_point_in_time_recovery(gap_engine: Any, outputs: dict[str, str]) -> None:
    answer = gap_engine.client("dynamodb").describe_continuous_backups(TableName=outputs["Table"])

    recovery = answer["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"


def test_a_table_changed_by_the_stack_gets_its_new_settings(gap_engine: Any) -> None:
    settings = ("TimeToLiveSpecification", "PointInTimeRecoverySpecification")
    bare = {**TABLE, "Properties": {k: v for k, v in TABLE["Properties"].items() if k not in settings}}
    named = {"Outputs": {"Table": {"Value": {"Ref": "Table"}}}}
    outputs = gap_engine.create_stack({"Resources": {"Table": bare}, **named})

    gap_engine.update_stack(outputs["StackName"], {"Resources": {"Table": TABLE}, **named})

    answer = gap_engine.client("dynamodb").describe_time_to_live(TableName=outputs["Table"])["TimeToLiveDescription"]
    assert answer["TimeToLiveStatus"] == "ENABLED"


def test_a_bucket_gets_its_lifecycle(gap_engine: Any, outputs: dict[str, str]) -> None:
    s3 = gap_engine.client("s3")

    assert gap_engine.refusal(s3.get_bucket_lifecycle_configuration, Bucket=outputs["Bucket"]) is None
    rules = s3.get_bucket_lifecycle_configuration(Bucket=outputs["Bucket"])["Rules"]
    by_id = {rule["ID"]: rule for rule in rules}
    assert by_id["rejected"]["Filter"] == {"Prefix": "rejected/"}
    assert by_id["rejected"]["Expiration"] == {"Days": 30}
    assert by_id["rejected"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 7}
    assert by_id["parts"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


YAML_DEFINITION = """
# A comment: this is no JSON.
StartAt: Done
TimeoutSeconds: 60
States:
  Done:
    Type: Pass
    Result: {table: "${Table}"}
    End: true
"""


def machine_template(definition: str) -> dict[str, Any]:
    properties = {
        "RoleArn": ROLE,
        "DefinitionString": definition,
        "DefinitionSubstitutions": {"Table": "DetectionLogs"},
    }
    return {
        "Resources": {"Machine": {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}},
        "Outputs": {"Machine": {"Value": {"Ref": "Machine"}}},
    }


def test_a_state_machine_may_be_written_in_yaml(gap_engine: Any) -> None:
    arn = gap_engine.create_stack(machine_template(YAML_DEFINITION))["Machine"]
    states = gap_engine.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]

    def output() -> Any:
        return states.describe_execution(executionArn=execution).get("output")

    assert json.loads(eventually(output, "the execution ends")) == {"table": "DetectionLogs"}


def test_a_permission_has_an_id(gap_engine: Any) -> None:
    function = gap_engine.create_function("def handler(event, context): ...")
    grant = {"FunctionName": function, "Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"}
    template = {
        "Resources": {"Permission": {"Type": "AWS::Lambda::Permission", "Properties": grant}},
        "Outputs": {"Id": {"Value": {"Fn::Sub": "${Permission.Id}"}}},
    }
    found = ""
    with contextlib.suppress(RuntimeError):  # of the plain one: the stack is rolled back
        found = gap_engine.create_stack(template)["Id"]

    policy = gap_engine.client("lambda").get_policy(FunctionName=function)["Policy"] if found else '{"Statement": []}'
    assert [statement["Sid"] for statement in json.loads(policy)["Statement"]] == [found]


def test_a_definition_that_cannot_be_read_fails_the_deployment(engine: Any) -> None:
    with pytest.raises(RuntimeError, match="ROLLBACK_COMPLETE"):
        engine.create_stack(machine_template("States: [unclosed"))


def test_what_the_local_aws_has_no_notion_of_is_accepted(gap_engine: Any) -> None:
    """Else one saved query would make it refuse the whole template."""
    budget = {"BudgetType": "COST", "TimeUnit": "MONTHLY"}
    properties: dict[str, Any] = {
        "AWS::Budgets::Budget": {"Budget": budget},
        "AWS::Logs::QueryDefinition": {"Name": "all", "QueryString": "fields @message"},
        "AWS::XRay::Group": {"GroupName": "all"},
    }
    resources = {f"R{i}": {"Type": kind, "Properties": of} for i, (kind, of) in enumerate(properties.items())}

    assert gap_engine.refusal(gap_engine.create_stack, template={"Resources": resources}) is None


@pytest.mark.parametrize("reference", [{"Ref": "Topic.Alias"}, {"Fn::Sub": "${Topics}"}, {"Fn::GetAtt": ["T", "Arn"]}])
@pytest.mark.parametrize("block", ["Resources", "Outputs"])
def test_a_reference_to_nothing_is_refused(gap_engine: Any, block: str, reference: Any) -> None:
    template: dict[str, Any] = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {}}}}
    if block == "Resources":
        template["Resources"]["Topic"]["Properties"]["DisplayName"] = reference
    else:
        template["Outputs"] = {"Out": {"Value": reference}}
    create = gap_engine.client("cloudformation").create_stack

    name = f"s-{uuid.uuid4().hex[:8]}"
    assert gap_engine.refusal(create, StackName=name, TemplateBody=json.dumps(template)) == "ValidationError"


def test_a_bucket_gets_the_tags_of_its_stack_and_keeps_them_when_it_outlives_it(gap_engine: Any) -> None:
    kept = {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "Retain",
        "Properties": {"Tags": [{"Key": "Of", "Value": "us"}]},
    }
    bucket = gap_engine.create_stack({"Resources": {"Kept": kept}, "Outputs": {"Name": {"Value": {"Ref": "Kept"}}}})[
        "Name"
    ]
    tagging, cloudformation = gap_engine.client("resourcegroupstaggingapi"), gap_engine.client("cloudformation")

    def tags() -> dict[str, str]:
        found = tagging.get_resources(TagFilters=[{"Key": "aws:cloudformation:logical-id", "Values": ["Kept"]}])
        ours = [one for one in found["ResourceTagMappingList"] if one["ResourceARN"] == f"arn:aws:s3:::{bucket}"]
        assert len(ours) == 1
        return {tag["Key"]: tag["Value"] for tag in ours[0]["Tags"]}

    stack = tags()["aws:cloudformation:stack-name"]
    assert tags()["Of"] == "us"
    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})

    assert tags()["aws:cloudformation:stack-name"] == stack


def test_a_bucket_that_outlived_its_stack_is_imported_with_its_policy_and_then_updated(gap_engine: Any) -> None:
    cloudformation, s3 = gap_engine.client("cloudformation"), gap_engine.client("s3")
    bucket, policy = f"b-{uuid.uuid4().hex[:8]}", {"Version": "2012-10-17", "Statement": []}
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    kept = {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"}
    said = {"Bucket": bucket, "PolicyDocument": policy}
    resources: dict[str, Any] = {
        "Pictures": {"Type": "AWS::S3::Bucket", **kept, "Properties": {}},
        "Policy": {"Type": "AWS::S3::BucketPolicy", **kept, "Properties": said},
    }
    names = {"StackName": f"s-{uuid.uuid4().hex[:8]}", "ChangeSetName": "import"}
    identifiers = {"Pictures": {"BucketName": bucket}, "Policy": {"Bucket": bucket}}
    cloudformation.create_change_set(
        **names,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps({"Resources": resources}),
        ResourcesToImport=[
            {"LogicalResourceId": name, "ResourceType": resources[name]["Type"], "ResourceIdentifier": identifier}
            for name, identifier in identifiers.items()
        ],
    )
    assert cloudformation.describe_change_set(**names)["ExecutionStatus"] == "AVAILABLE"
    cloudformation.execute_change_set(**names)
    cloudformation.get_waiter("stack_import_complete").wait(StackName=names["StackName"], WaiterConfig={"Delay": 1})

    resources["Policy"]["Properties"] = said | {"Bucket": {"Ref": "Pictures"}}  # the same bucket: nothing is replaced
    resources["Pictures"]["Properties"] = {"VersioningConfiguration": {"Status": "Enabled"}}
    gap_engine.update_stack(names["StackName"], {"Resources": resources})

    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == policy


def test_a_policy_that_is_not_there_is_not_imported(gap_engine: Any) -> None:
    cloudformation, bucket = gap_engine.client("cloudformation"), f"b-{uuid.uuid4().hex[:8]}"
    gap_engine.client("s3").create_bucket(Bucket=bucket)
    kind, names = "AWS::S3::BucketPolicy", {"StackName": f"s-{uuid.uuid4().hex[:8]}", "ChangeSetName": "import"}
    said = {"Bucket": bucket, "PolicyDocument": {"Version": "2012-10-17", "Statement": []}}
    template = {"Resources": {"Policy": {"Type": kind, "DeletionPolicy": "Retain", "Properties": said}}}
    cloudformation.create_change_set(
        **names,
        ChangeSetType="IMPORT",
        TemplateBody=json.dumps(template),
        ResourcesToImport=[
            {"LogicalResourceId": "Policy", "ResourceType": kind, "ResourceIdentifier": {"Bucket": bucket}}
        ],
    )

    assert cloudformation.describe_change_set(**names)["Status"] == "FAILED"


def test_a_resource_names_the_stack_that_has_it(gap_engine: Any) -> None:
    template = {"Resources": {"Kept": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}}}
    template["Outputs"] = {"Name": {"Value": {"Ref": "Kept"}}}  # type: ignore[dict-item]
    outputs = gap_engine.create_stack(template)
    cloudformation = gap_engine.client("cloudformation")
    ask = cloudformation.describe_stack_resources

    assert gap_engine.refusal(ask, PhysicalResourceId=outputs["Name"]) is None
    found = ask(PhysicalResourceId=outputs["Name"])["StackResources"]
    assert [(one["LogicalResourceId"], one["StackName"]) for one in found] == [("Kept", outputs["StackName"])]
    cloudformation.delete_stack(StackName=outputs["StackName"])
    waiter = cloudformation.get_waiter("stack_delete_complete")
    waiter.wait(StackName=outputs["StackName"], WaiterConfig={"Delay": 1})
    assert gap_engine.refusal(ask, PhysicalResourceId=outputs["Name"]) == "ValidationError"
