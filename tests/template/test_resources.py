"""What the template makes: private, encrypted and kept as long as it should be; and what its environments set."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from ops import check_quotas, cold_storage
from ops.environment import ENVIRONMENTS, OTHER_REGIONS, STACK_PREFIX
from pet_detector.rules import image_ids
from tests.support import arns
from tests.support.definitions import NO_VALUE, TWO_WEEKS, references, resources, source, translated
from tests.support.paths import REPOSITORY

CONFIG = tomllib.loads((REPOSITORY / "samconfig.toml").read_text())
STAGES = source()["Parameters"]["Stage"]["AllowedValues"]
each_stage = pytest.mark.parametrize("stage", STAGES)

ARNS_IN_TEXT = re.compile(r"arn:aws:")
# What has data that must outlive a stack of staging or prod.
STATEFUL = ("AWS::S3::Bucket", "AWS::DynamoDB::Table")
# Answers that can be asked for again: they go with any stack, and nobody pays for their backup.
REPEATABLE = {"AnalysesTable"}
# What must outlive every backup of the others: it forgets nothing, and holds no personal data.
LEDGERS = {"ErasuresTable"}


def values_of(stage: str) -> dict[str, str]:
    """The parameters of an environment, as samconfig.toml deploys it."""
    defaults = {name: str(parameter["Default"]) for name, parameter in source()["Parameters"].items()}
    overrides = CONFIG[stage]["deploy"]["parameters"]["parameter_overrides"]
    return defaults | dict(item.split("=", 1) for item in overrides)


def holds(condition: dict[str, Any], stage: str) -> bool:
    """Whether a condition, as templates write it, is true in an environment."""
    ((kind, argument),) = condition.items()
    match kind:
        case "Condition":
            return holds(source()["Conditions"][argument], stage)
        case "Fn::Equals":
            left, right = (values_of(stage)[side["Ref"]] if isinstance(side, dict) else side for side in argument)
            return bool(left == right)
        case "Fn::Not":
            return not holds(argument[0], stage)
        case "Fn::And":
            return all(holds(part, stage) for part in argument)
        case "Fn::Or":
            return any(holds(part, stage) for part in argument)
    raise AssertionError(f"the tests do not know {kind}")


@pytest.mark.parametrize("bucket", resources("AWS::S3::Bucket"))
def test_bucket_is_private_encrypted_and_versioned(bucket: str) -> None:
    properties = resources("AWS::S3::Bucket")[bucket]
    block = properties["PublicAccessBlockConfiguration"]
    assert block == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True
    )
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"] == [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    ]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("bucket", resources("AWS::S3::Bucket"))
def test_bucket_tells_eventbridge_of_its_objects(bucket: str) -> None:
    notified = resources("AWS::S3::Bucket")[bucket]["NotificationConfiguration"]
    assert notified == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}


def lifecycle() -> list[dict[str, Any]]:
    """The rules of the image bucket, all of them in force."""
    rules: list[dict[str, Any]] = resources("AWS::S3::Bucket")["ImageBucket"]["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    return rules


def test_images_expire_by_their_folder_and_what_waits_for_an_operator_lasts_as_long_as_any() -> None:
    retention = {"Ref": "ImageRetentionDays"}
    days = {
        rule["Prefix"]: (rule["ExpirationInDays"], rule["NoncurrentVersionExpiration"]["NoncurrentDays"])
        for rule in lifecycle()
        if rule["Prefix"]
    }
    assert days == {
        **{f"{folder}/": (retention, 30) for folder in [*image_ids.FOLDERS, "samples"]},
        "rejected/": (30, 30),
        "originals/": (retention, 30),
        "converted/": (retention, 1),  # as long as the upload, from which it can be made again
        # Even a version that was overwritten, or marked as deleted, may be the only copy of a failed image.
        f"{image_ids.INPUT_FOLDER}/": (retention, retention),
    }


def test_filed_pictures_get_cheaper_storage_only_if_somebody_wants_it_and_what_is_not_filed_never_does() -> None:
    """Without the parameter all is as before (AWS::NoValue); a class that must be restored first cannot be chosen."""
    assert set(source()["Parameters"]["ColdStorageClass"]["AllowedValues"]) == {"none", "STANDARD_IA", "GLACIER_IR"}
    assert source()["Parameters"]["ColdAfterDays"]["MinValue"] == 30  # S3 takes nothing younger into STANDARD_IA
    written = source()["Resources"]["ImageBucket"]["Properties"]["LifecycleConfiguration"]
    cold = [{"StorageClass": {"Ref": "ColdStorageClass"}, "TransitionInDays": {"Ref": "ColdAfterDays"}}]
    moved = {rule["Prefix"]: rule["Transitions"] for rule in written["Rules"] if "Transitions" in rule}
    filed = {*(f"{folder}/" for folder in image_ids.FOLDERS if folder != "rejected"), "originals/"}
    assert moved == {prefix: {"Fn::If": ["HasColdClass", cold, NO_VALUE]} for prefix in filed}
    smallest = written["TransitionDefaultMinimumObjectSize"]
    assert smallest == {"Fn::If": ["HasColdClass", f"all_storage_classes_{cold_storage.MINIMUM_KB}K", NO_VALUE]}


def test_marks_of_deletion_and_abandoned_uploads_are_cleared_everywhere() -> None:
    everywhere = [rule for rule in lifecycle() if rule["Prefix"] == ""]
    assert {key: rule[key] for rule in everywhere for key in rule.keys() - {"Id", "Status", "Prefix"}} == {
        "ExpiredObjectDeleteMarker": True,
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }


@pytest.mark.parametrize("table", resources("AWS::DynamoDB::Table"))
def test_table_is_encrypted_recoverable_paid_by_use_and_forgets(table: str) -> None:
    properties = resources("AWS::DynamoDB::Table")[table]
    assert properties["BillingMode"] == "PAY_PER_REQUEST"
    assert properties["SSESpecification"] == {"SSEEnabled": True}
    forgets = properties.get("TimeToLiveSpecification") == {"AttributeName": "ExpiresAt", "Enabled": True}
    assert forgets is (table not in LEDGERS)
    recoverable = properties.get("PointInTimeRecoverySpecification") == {"PointInTimeRecoveryEnabled": True}
    assert recoverable is (table not in REPEATABLE)


@each_stage
@pytest.mark.parametrize("table", resources("AWS::DynamoDB::Table"))
def test_table_is_protected_from_deletion_outside_local_and_dev(table: str, stage: str) -> None:
    protection = resources("AWS::DynamoDB::Table")[table].get("DeletionProtectionEnabled", False)
    if isinstance(protection, dict):
        condition, then, otherwise = protection["Fn::If"]
        protection = then if holds({"Condition": condition}, stage) else otherwise
    assert protection is (stage in ("staging", "prod") and table not in REPEATABLE)


@pytest.mark.parametrize("mapping", resources("AWS::Lambda::EventSourceMapping"))
def test_table_that_is_listened_to_tells_what_a_record_was_and_is(mapping: str) -> None:
    (table,) = references(resources("AWS::Lambda::EventSourceMapping")[mapping]["EventSourceArn"])
    stream = resources("AWS::DynamoDB::Table")[table]["StreamSpecification"]
    assert stream == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


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
    assert resources("AWS::Logs::LogGroup")[group]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


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


def test_a_bucket_that_outlives_the_stack_keeps_its_policy() -> None:
    """Else the pictures could be read without TLS as soon as the stack is gone."""
    found = translated()["Resources"]
    for name, policy in resources("AWS::S3::BucketPolicy").items():
        (bucket,) = references(policy["Bucket"])
        for key in ("DeletionPolicy", "UpdateReplacePolicy"):
            assert found[name].get(key) == found[bucket][key], name


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


@pytest.mark.parametrize("api", resources("AWS::ApiGateway::RestApi"))
def test_everything_but_health_the_page_and_preflights_needs_a_key_or_a_person(api: str) -> None:
    body = resources("AWS::ApiGateway::RestApi")[api]["Body"]
    methods = {(path, verb): method for path, verbs in body["paths"].items() for verb, method in verbs.items()}
    keyed = {name for name, method in methods.items() if {"api_key": []} in method.get("security", [])}
    signed_in = {name for name, method in methods.items() if {"People": []} in method.get("security", [])}
    assert signed_in == {name for name in methods if name[0].startswith("/people/") and name[1] != "options"}
    assert not keyed & signed_in
    open_to_all = {("/health", "get"), ("/app", "get"), ("/app/{file}", "get")}
    assert methods.keys() - keyed - signed_in == {(path, "options") for path in body["paths"]} | open_to_all
    (pool,) = references(body["securityDefinitions"]["People"])
    assert pool in resources("AWS::Cognito::UserPool")


# Name (the end of it), throttle and daily quota of each plan.
PLANS = {
    "UsagePlan": (
        "clients",
        {"RateLimit": {"Ref": "ApiRateLimit"}, "BurstLimit": {"Ref": "ApiBurstLimit"}},
        {"Ref": "ApiDailyQuota"},
    ),
    "OperatorUsagePlan": ("operators", {"RateLimit": 10, "BurstLimit": 20}, 50_000),
}


def test_key_of_the_template_is_a_clients_key() -> None:
    (member,) = resources("AWS::ApiGateway::UsagePlanKey").values()
    assert (references(member["KeyId"]), references(member["UsagePlanId"])) == ({"ApiKey"}, {"UsagePlan"})


@pytest.mark.parametrize("plan", resources("AWS::ApiGateway::UsagePlan"))
def test_api_key_has_the_limits_of_its_plan(plan: str) -> None:
    properties = resources("AWS::ApiGateway::UsagePlan")[plan]
    name, throttle, quota = PLANS[plan]
    assert properties["UsagePlanName"] == {"Fn::Sub": f"${{AWS::StackName}}-{name}"}  # ops/keys.py finds it by that
    assert properties["Throttle"] == throttle
    assert properties["Quota"] == {"Limit": quota, "Period": "DAY"}
    assert properties["ApiStages"] == [{"ApiId": {"Ref": "PetDetectorApi"}, "Stage": {"Ref": "Stage"}}]
    keys = resources("AWS::ApiGateway::UsagePlanKey").values()
    assert {name for key in keys for name in references(key["KeyId"])} == set(resources("AWS::ApiGateway::ApiKey"))


@pytest.mark.parametrize("stage", resources("AWS::ApiGateway::Stage"))
def test_all_keys_together_have_a_limit_and_requests_are_not_logged(stage: str) -> None:
    """Without one, this API may use up what the account has for all of its own: 10 000 a second, 5 000 at once."""
    settings = resources("AWS::ApiGateway::Stage")[stage]["MethodSettings"]
    limits = {(found.pop("HttpMethod"), found.pop("ResourcePath")): found for found in settings}
    assert {name: tuple(found.values()) for name, found in limits.items()} == {
        ("*", "/*"): (20, 40),
        ("GET", "/~1health"): (5, 10),
        ("GET", "/~1app~1{file}"): (50, 100),
        ("POST", "/~1upload"): (100, 200),
        ("GET", "/~1images"): (50, 100),
        ("GET", "/~1images~1{id}"): (100, 200),
        ("GET", "/~1people~1images~1{id}"): (100, 200),
        ("POST", "/~1people~1reviews"): (100, 200),
    }


def test_what_anybody_may_call_has_a_low_limit() -> None:
    (stage,) = resources("AWS::ApiGateway::Stage").values()
    limits = {
        (found["HttpMethod"], found["ResourcePath"]): found["ThrottlingRateLimit"] for found in stage["MethodSettings"]
    }
    (api,) = resources("AWS::ApiGateway::RestApi").values()
    open_methods = [
        (method.upper(), "/" + path.replace("/", "~1"))  # AWS::ApiGateway::Stage MethodSetting: ResourcePath
        for path, methods in api["Body"]["paths"].items()
        for method, operation in methods.items()
        if not operation.get("security")
    ]
    assert ("GET", "/~1health") in open_methods
    assert max(limits.get(name, limits["*", "/*"]) for name in open_methods) <= 50


def test_the_functions_of_the_api_can_have_executions_of_their_own_and_no_more() -> None:
    """Off by default: a new account may run ten at once, and AWS lets it reserve none of them."""
    reserved = {"Fn::If": ["ReservesApi", {"Ref": "ApiReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}
    functions = resources("AWS::Lambda::Function")
    found = {name for name, function in functions.items() if function.get("ReservedConcurrentExecutions") == reserved}
    callers = {name.partition("Function")[0] for name in resources("AWS::Lambda::Permission") if "Permission" in name}
    # Not PageApi and FiguresApi: each reservation takes from the account, and their calls are few and short.
    assert found == {f"{name}ApiFunction" for name in ("Upload", "Images", "Erasure", "Review")}
    assert {name.removesuffix("Function") for name in found} <= callers
    assert len(found) == check_quotas.RESERVING
    assert not [name for name in functions.keys() - found if "ReservedConcurrentExecutions" in functions[name]]


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


# Where each holds, with the parameters of samconfig.toml.
CONDITIONS = {
    "IsLocal": {"local"},
    "IsProtected": {"staging", "prod"},
    "HasColdClass": set(),  # it saves only where pictures are seldom looked at later: docs/cost.md
    "HasDataKey": set(),  # it costs, and whoever loses the key loses the data: a decision of the account's owner
    "HasObservability": {"staging", "prod"},
    "ShiftsGradually": {"staging", "prod"},
    "ReservesApi": {"prod"},
    "HasGovernance": {"prod"},
    "HasEdge": set(),  # its name is a person's to choose, and it costs
    "UsesEdge": set(),
    "CountsAtEdge": set(),
    "LooksFromOutside": set(),
    "WantsMfa": {"staging", "prod"},
    "HasChat": set(),  # a channel of somebody's workspace
    "HasRecovery": set(),  # it costs as much as storage does, and AWS Backup asks the account first
    "HasReplica": set(),  # a bucket of somebody's account
    "HasBoundary": set(),  # a policy of somebody's account
    "InNetwork": set(),  # it costs, and subnets are of somebody's account
    "HasBackfillBucket": {"local"},  # elsewhere a bucket's name is not set
    "HasNotificationEmail": set(),  # a person's address is no part of the repository
    "ManagesApiGatewayLogRole": {"dev", "staging", "prod"},
    "SetsEvidence": set(),  # the parameter's text stays as older releases know it
}


@pytest.mark.parametrize("condition", source()["Conditions"])
def test_condition_holds_in_just_these_environments(condition: str) -> None:
    assert {stage for stage in STAGES if holds({"Condition": condition}, stage)} == CONDITIONS[condition]


@pytest.mark.parametrize(
    "switch",
    [
        *("ContentSafety", "ColdStorageClass", "PageOpsItems", "Recovery", "Edge", "OutsideLook", "AuditTrail"),
        *("NetworkSubnets", "NetworkSecurityGroup", "SlackChannel", "TeamsChannel"),  # an owner's own ids: in a comment
    ],
)
def test_what_an_owner_may_turn_on_has_its_switch_in_samconfig(switch: str) -> None:
    lines = (REPOSITORY / "samconfig.toml").read_text().partition("[staging.deploy")[2].partition("[recovery.deploy")[0]
    assert f'"{switch}=' in lines


def test_every_stage_has_its_environment_and_no_other_but_prod_in_a_second_region() -> None:
    assert {name for name in CONFIG if name not in ("version", "default")} == {*STAGES, "recovery"} == {*ENVIRONMENTS}


def test_prod_in_a_second_region_is_prod() -> None:
    prod, elsewhere = (CONFIG[name]["deploy"]["parameters"] for name in ("prod", "recovery"))
    # What can be made in us-east-1 alone, and what prod's own sees there.
    left_to_prod = {"MonthlyBudgetUsd": "0", "CostAnomalyUsd": "0", "AuditTrail": "none"}
    assert values_of("recovery") == values_of("prod") | left_to_prod
    assert {name for name in prod if prod[name] != elsewhere[name]} == {
        *("stack_name", "region", "tags", "parameter_overrides")
    }
    assert elsewhere["region"] == OTHER_REGIONS["recovery"]
    assert elsewhere["stack_name"] == f"{STACK_PREFIX}recovery"


@each_stage
def test_environment_deploys_its_own_stage_under_the_prefix(stage: str) -> None:
    deploy = CONFIG[stage]["deploy"]["parameters"]
    assert deploy["stack_name"] == f"serverlessapp-pet-detector-{stage}"
    assert deploy["region"] == "us-east-1"
    values = values_of(stage)
    assert values["Stage"] == stage
    assert values.keys() == source()["Parameters"].keys()


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


@pytest.mark.parametrize("stack", ["pets", "Amazon-AWS-Cognito"])
def test_no_two_stacks_want_the_same_sign_in_page(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix is unique among all accounts of a region, and Cognito refuses one with a name of AWS in it."""
    monkeypatch.setitem(arns.PSEUDO, "AWS::StackName", stack)
    found = []
    for unique in ("0a8d2c90-cd4c-11f0-9d51-0e5ab1c6d2ef", "5f6b1b30-cd4c-11f0-8f07-0a1b2c3d4e5f"):
        stack_id = f"arn:aws:cloudformation:{arns.REGION}:{arns.ACCOUNT}:stack/{stack}/{unique}"
        monkeypatch.setitem(arns.PSEUDO, "AWS::StackId", stack_id)
        found.append(arns.Arns().resolve(resources("AWS::Cognito::UserPoolDomain")["SignInDomain"]["Domain"]))
    first, second = found
    assert first != second
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", first)
    assert not re.search("aws|amazon|cognito", first)


@each_stage
def test_people_of_staging_and_prod_need_a_second_factor(stage: str) -> None:
    pool = resources("AWS::Cognito::UserPool")["PeoplePool"]
    wants = {"staging", "prod"}
    assert pool["MfaConfiguration"] == {"Ref": "SignInMfa"}
    assert values_of(stage)["SignInMfa"] == ("ON" if stage in wants else "OFF")
    condition, factors, none = pool["EnabledMfas"]["Fn::If"]  # Cognito takes no factors where there are none
    assert (factors, none) == (["SOFTWARE_TOKEN_MFA"], {"Ref": "AWS::NoValue"})
    assert holds({"Condition": condition}, stage) == (stage in wants)
