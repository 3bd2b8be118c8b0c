"""The doors of the templates: whatever can grant, lend, export or inject. They are a closed list, doors.yaml.

A type or a property that is not in TYPES fails, and so does a door that is not in doors.yaml, with the value that it
has and a reason. `python -m tests.template.doors` prints what is missing or was changed, in the form of doors.yaml.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.definitions import ROOT, references, templates

TABLE = Path(__file__).with_name("doors.yaml")

# Every property of every type that the templates may use; `!` marks those that are doors. What roles of template.yaml
# may do is compared with what is done (test_least_privilege.py), so it need not be written down a second time.
TYPES = {
    "AWS::ApiGateway::Account": "CloudWatchRoleArn!",
    "AWS::ApiGateway::ApiKey": "Enabled Name",
    "AWS::ApiGateway::Deployment": "Description RestApiId",
    "AWS::ApiGateway::RestApi": (
        "Body! EndpointAccessMode EndpointConfiguration! MinimumCompressionSize Parameters SecurityPolicy"
    ),
    "AWS::ApiGateway::Stage": (
        "AccessLogSetting! DeploymentId MethodSettings RestApiId StageName TracingEnabled Variables"
    ),
    "AWS::ApiGateway::UsagePlan": "ApiStages Quota Throttle UsagePlanName",
    "AWS::ApiGateway::UsagePlanKey": "KeyId KeyType UsagePlanId",
    "AWS::Backup::BackupPlan": "BackupPlan!",
    "AWS::Backup::BackupSelection": "BackupPlanId BackupSelection!",
    "AWS::Backup::BackupVault": "BackupVaultName LockConfiguration",
    "AWS::Backup::RestoreTestingPlan": (
        "RecoveryPointSelection RestoreTestingPlanName ScheduleExpression StartWindowHours"
    ),
    "AWS::Backup::RestoreTestingSelection": (
        "IamRoleArn! ProtectedResourceArns ProtectedResourceType RestoreTestingPlanName RestoreTestingSelectionName "
        "ValidationWindowHours"
    ),
    "AWS::Budgets::Budget": "Budget NotificationsWithSubscribers!",
    "AWS::CE::AnomalyMonitor": "MonitorDimension MonitorName MonitorType",
    "AWS::CE::AnomalySubscription": "Frequency MonitorArnList Subscribers! SubscriptionName ThresholdExpression",
    "AWS::Chatbot::MicrosoftTeamsChannelConfiguration": (
        "ConfigurationName GuardrailPolicies! IamRoleArn! SnsTopicArns! TeamId! TeamsChannelId! TeamsTenantId!"
    ),
    "AWS::Chatbot::SlackChannelConfiguration": (
        "ConfigurationName GuardrailPolicies! IamRoleArn! SlackChannelId! SlackWorkspaceId! SnsTopicArns!"
    ),
    "AWS::CloudTrail::Trail": (
        "CloudWatchLogsLogGroupArn! CloudWatchLogsRoleArn! EnableLogFileValidation AdvancedEventSelectors! "
        "IncludeGlobalServiceEvents IsLogging IsMultiRegionTrail KMSKeyId S3BucketName! TrailName"
    ),
    "AWS::Cognito::UserPool": (
        "AccountRecoverySetting AdminCreateUserConfig! AutoVerifiedAttributes DeletionProtection EnabledMfas "
        "MfaConfiguration Policies UserAttributeUpdateSettings UserPoolName UserPoolTags UserPoolTier "
        "UsernameAttributes UsernameConfiguration"
    ),
    "AWS::Cognito::UserPoolClient": (
        "AccessTokenValidity AllowedOAuthFlows! AllowedOAuthFlowsUserPoolClient AllowedOAuthScopes! CallbackURLs! "
        "ClientName EnableTokenRevocation ExplicitAuthFlows! GenerateSecret IdTokenValidity LogoutURLs! "
        "PreventUserExistenceErrors RefreshTokenValidity SupportedIdentityProviders! TokenValidityUnits UserPoolId"
    ),
    "AWS::Cognito::UserPoolDomain": "Domain UserPoolId",
    "AWS::Cognito::UserPoolGroup": "Description GroupName UserPoolId",
    "AWS::Config::ConfigRule": "ConfigRuleName Description Scope Source!",
    "AWS::Config::ConfigurationRecorder": "RecordingGroup RoleARN!",
    "AWS::Config::DeliveryChannel": "S3BucketName!",
    "AWS::CertificateManager::Certificate": "DomainName DomainValidationOptions ValidationMethod",
    "AWS::CloudFront::CachePolicy": "CachePolicyConfig",
    "AWS::CloudFront::Distribution": "DistributionConfig!",
    "AWS::CloudFront::ResponseHeadersPolicy": "ResponseHeadersPolicyConfig",
    "AWS::CloudFormation::Stack": "Parameters TemplateURL!",
    "AWS::CloudWatch::Alarm": (
        "ActionsEnabled AlarmActions! AlarmDescription AlarmName ComparisonOperator DatapointsToAlarm Dimensions "
        "EvaluationPeriods ExtendedStatistic MetricName Metrics Namespace OKActions! Period Statistic Threshold "
        "TreatMissingData"
    ),
    "AWS::CloudWatch::CompositeAlarm": "AlarmActions! AlarmDescription AlarmName AlarmRule OKActions!",
    "AWS::CloudWatch::Dashboard": "DashboardBody DashboardName",
    "AWS::DynamoDB::Table": (
        "AttributeDefinitions BillingMode DeletionProtectionEnabled GlobalSecondaryIndexes KeySchema "
        "PointInTimeRecoverySpecification SSESpecification StreamSpecification TimeToLiveSpecification"
    ),
    "AWS::EC2::FlowLog": (
        "DeliverLogsPermissionArn! LogDestination! LogDestinationType ResourceId ResourceType TrafficType"
    ),
    "AWS::EC2::RouteTable": "VpcId",
    "AWS::EC2::SecurityGroup": "GroupDescription SecurityGroupEgress! SecurityGroupIngress! VpcId",
    "AWS::EC2::SecurityGroupEgress": "Description DestinationSecurityGroupId! FromPort GroupId IpProtocol ToPort",
    "AWS::EC2::Subnet": "AvailabilityZone CidrBlock MapPublicIpOnLaunch! VpcId",
    "AWS::EC2::SubnetRouteTableAssociation": "RouteTableId SubnetId",
    "AWS::EC2::VPC": "CidrBlock EnableDnsHostnames EnableDnsSupport",
    "AWS::EC2::VPCEndpoint": (
        "PolicyDocument! PrivateDnsEnabled RouteTableIds SecurityGroupIds! ServiceName! SubnetIds VpcEndpointType VpcId"
    ),
    "AWS::Events::Rule": "Description EventPattern! Name Targets!",
    "AWS::GuardDuty::Detector": "Enable Features FindingPublishingFrequency",
    # What they allow is compared with what people need by the tests of the access stack.
    "AWS::IAM::ManagedPolicy": "Description ManagedPolicyName PolicyDocument",
    "AWS::IAM::OIDCProvider": "ClientIdList! Url!",
    "AWS::IAM::Role": (
        "AssumeRolePolicyDocument! Description ManagedPolicyArns! MaxSessionDuration PermissionsBoundary! Policies! "
        "RoleName Tags"
    ),
    "AWS::IAM::RolePolicy": "PolicyDocument! PolicyName RoleName",
    "AWS::KMS::Key": "Description EnableKeyRotation KeyPolicy! PendingWindowInDays Tags",
    "AWS::Lambda::Alias": "FunctionName FunctionVersion Name",
    "AWS::Lambda::EventInvokeConfig": "DestinationConfig! FunctionName MaximumRetryAttempts Qualifier",
    "AWS::Lambda::EventSourceMapping": (
        "BatchSize BisectBatchOnFunctionError DestinationConfig! EventSourceArn! FilterCriteria! FunctionName "
        "FunctionResponseTypes MaximumBatchingWindowInSeconds MaximumRetryAttempts StartingPosition"
    ),
    "AWS::Lambda::Function": (
        "Architectures Code Description Environment! Handler LoggingConfig! MemorySize "
        "ReservedConcurrentExecutions Role Runtime Tags Timeout TracingConfig VpcConfig!"
    ),
    "AWS::Lambda::Permission": "Action! FunctionName Principal! SourceAccount SourceArn!",
    "AWS::Lambda::Version": "Description FunctionName",
    "AWS::Logs::Delivery": "DeliveryDestinationArn DeliverySourceName RecordFields!",
    "AWS::Logs::DeliveryDestination": "DestinationResourceArn! Name OutputFormat",
    "AWS::Logs::DeliverySource": "LogType Name ResourceArn!",
    "AWS::Logs::LogGroup": "KmsKeyId LogGroupName RetentionInDays",
    "AWS::Logs::MetricFilter": "FilterPattern LogGroupName MetricTransformations",
    "AWS::Logs::QueryDefinition": "LogGroupNames Name QueryString",
    "AWS::Route53::HealthCheck": "HealthCheckConfig! HealthCheckTags",
    "AWS::Route53::RecordSetGroup": "HostedZoneId RecordSets!",
    "AWS::S3::Bucket": (
        "BucketEncryption BucketName CorsConfiguration! LifecycleConfiguration NotificationConfiguration! "
        "ObjectLockConfiguration "
        "ObjectLockEnabled OwnershipControls! "
        "PublicAccessBlockConfiguration! ReplicationConfiguration! VersioningConfiguration"
    ),
    "AWS::S3::BucketPolicy": "Bucket PolicyDocument!",
    "AWS::SNS::Subscription": "Endpoint! Protocol! RedrivePolicy TopicArn!",
    "AWS::SNS::Topic": "KmsMasterKeyId",
    "AWS::SNS::TopicPolicy": "PolicyDocument! Topics",
    "AWS::SQS::Queue": "KmsMasterKeyId MessageRetentionPeriod SqsManagedSseEnabled",
    "AWS::SQS::QueuePolicy": "PolicyDocument! Queues",
    "AWS::SSM::Parameter": "Description Name Type Value",
    "AWS::Scheduler::Schedule": "Description FlexibleTimeWindow ScheduleExpression Target!",
    "AWS::SecretsManager::RotationSchedule": ("RotateImmediatelyOnUpdate RotationLambdaARN! RotationRules SecretId"),
    "AWS::SecretsManager::Secret": "Description GenerateSecretString Name",
    "AWS::StepFunctions::StateMachine": (
        "DefinitionS3Location DefinitionSubstitutions LoggingConfiguration! RoleArn StateMachineName "
        "StateMachineType Tags TracingConfiguration"
    ),
    "AWS::StepFunctions::StateMachineAlias": "DeploymentPreference Name",
    "AWS::StepFunctions::StateMachineVersion": "StateMachineArn StateMachineRevisionId",
    # What the rules let pass is evaluated: tests/governance/test_edge.py.
    "AWS::WAFv2::LoggingConfiguration": "LogDestinationConfigs! LoggingFilter ResourceArn",
    "AWS::WAFv2::RuleGroup": "Capacity Name Rules Scope VisibilityConfig",
    "AWS::WAFv2::WebACL": "DataProtectionConfig! DefaultAction Description Name Rules Scope VisibilityConfig",
    "AWS::WAFv2::WebACLAssociation": "ResourceArn! WebACLArn!",
    "AWS::XRay::Group": "FilterExpression GroupName InsightsConfiguration",
    "AWS::XRay::SamplingRule": "SamplingRule",
}

# Below a property that is no door there must be none either: a stream's own policy, a role in an index.
_HIDDEN_DOOR = re.compile(
    r"PolicyDocument|ResourcePolic|^(Principal|Role(Arn|ARN)?|NotAction|NotPrincipal)$|Kinesis|Replica"
)
# Another account, or a place outside AWS, written out.
_LITERAL = re.compile(
    r"\b\d{12}\b|arn:aws[a-z-]*:(?!iam::aws:policy/|execute-api:\$\{AWS::Region\}:\$\{AWS::AccountId\}:\$\{)|"
    # and the stack's own: the API, the page in it, and the sign-in page
    r"https?://(?!token\.actions\.githubusercontent\.com$|(\*|\$\{PetDetectorApi\})\.execute-api\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}"
    r"|\$\{EdgeDomain\}(/app/(\"\})?)?$"
    r"|\$\{SignInDomain\}\.auth\.\$\{AWS::Region\}\.amazoncognito\.com$)"
)
# Attributes of a resource, beside its properties, that CloudFormation knows.
_ATTRIBUTES = {"Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"}
# What a template has beside resources. A macro or a custom transform would write resources that nobody sees here.
_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Resources",
    "Outputs",
}
# Of a target: how often it is tried and where failures are kept is asked in test_hops.py.
_NO_DOOR = {"RetryPolicy", "DeadLetterConfig", "Id", "MaximumRetryAttempts"}


def unknown(of: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What the templates use that TYPES does not name, and doors where none may be."""
    for template, content in of.items():
        yield from (f"{template}: section {name}" for name in content.keys() - _SECTIONS)
        for logical_id, resource in content["Resources"].items():
            where = _named(template, logical_id)
            if resource["Type"] not in TYPES:
                yield f"{where}: type {resource['Type']}"
                continue
            yield from (f"{where}: attribute {name}" for name in resource.keys() - _ATTRIBUTES)
            allowed = {name.rstrip("!"): name.endswith("!") for name in TYPES[resource["Type"]].split()}
            for name, value in resource.get("Properties", {}).items():
                if name not in allowed:
                    yield f"{where}: property {name} of {resource['Type']}"
                elif not allowed[name]:
                    keys = {key for key, _ in _items(value)}
                    yield from (f"{where}.{name}: hidden {key}" for key in keys if _HIDDEN_DOOR.search(key))
        for name, output in content.get("Outputs", {}).items():
            if "Export" in output:
                yield f"{template}: output {name} is exported"


def literals(of: dict[str, dict[str, Any]]) -> set[str]:
    """Places outside of the account that the templates write out, doors or not; descriptions and API bodies aside."""
    found = set()
    for template, content in of.items():
        for logical_id, resource in content["Resources"].items():
            properties = resource.get("Properties", {})
            texts = _texts([value for name, value in properties.items() if name not in ("Body", "DashboardBody")])
            found |= {f"{_named(template, logical_id)}: {text}" for text in texts if _LITERAL.search(text)}
    return found


def doors(of: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Every door: `<resource>.<property>`, `<type>.<property>`, and its value as doors.yaml spells it."""
    for template, content in of.items():
        for logical_id, resource in content["Resources"].items():
            for name in TYPES.get(resource["Type"], "").split():
                property_ = name.rstrip("!")
                if name.endswith("!") and property_ in resource.get("Properties", {}):
                    for value in _values(template, property_, resource["Properties"][property_]):
                        yield f"{_named(template, logical_id)}.{property_}", f"{resource['Type']}.{property_}", value


def _values(template: str, name: str, value: Any) -> Iterator[Any]:
    """What doors.yaml has to say of a property: one thing, or one for each variable or operation."""
    match name:
        case "Policies" if template == ROOT:
            return
        case "Policies":
            yield [line for policy in value for line in _policy(policy["PolicyDocument"])]
        case "PolicyDocument" | "KeyPolicy" | "AssumeRolePolicyDocument":
            yield _policy(value)
        case "SourceArn":  # a resource of the template, whose ARN holds the account
            yield " ".join(sorted(references(value) or references(value.get("Fn::Sub", ["", ""])[1]))) or _spelt(value)
        case "Environment":
            yield from (f"{variable} = {_spelt(given)}" for variable, given in value["Variables"].items())
        case "Body":
            yield from _operations(value)
        case "Targets" | "Target" | "DestinationConfig":
            yield _spelt(_without(value))
        case _:
            yield _spelt(value)


def _operations(body: dict[str, Any]) -> Iterator[str]:
    yield from (f"section {name}" for name in body)
    for path, operations in body["paths"].items():
        for method, operation in operations.items():
            keys = " ".join(name for security in operation.get("security", []) for name in security) or "open"
            yield f"{method.upper()} {path}: {keys}, {operation['x-amazon-apigateway-integration']['type']}"
    origins = [value for key, value in _items(body) if key.endswith("Access-Control-Allow-Origin")]
    for origin in {json.dumps(_spelt(origin)) for origin in origins if "type" not in origin}:
        yield f"origin {origin}"


def _policy(document: dict[str, Any]) -> list[str]:
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    return [_statement(_spelt(statement)) for statement in statements]


def _statement(statement: dict[str, Any]) -> str:
    """A statement in a line: who may do what, with what, and when."""
    if "Fn::If" in statement:
        condition, then, _ = statement["Fn::If"]
        return f"{_statement(then)} when {condition}"
    principal = statement.pop("Principal", "")
    if isinstance(principal, dict):
        principal = " ".join(f"{_line(value)}" for value in principal.values())
    line = f"{statement.pop('Effect')} {principal} {_line(statement.pop('Action', '?'))}"
    resource, condition = statement.pop("Resource", None), statement.pop("Condition", None)
    statement.pop("Sid", None)
    line += f" on {_line(resource)}" if resource else ""
    line += f" if {json.dumps(condition)}" if condition else ""
    return line + (f" and {json.dumps(statement)}" if statement else "")


def _line(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without(child) for name, child in value.items() if name not in _NO_DOOR}
    return [_without(child) for child in value] if isinstance(value, list) else value


def _spelt(value: Any) -> Any:
    """Intrinsic functions as Fn::Sub spells them, where it can."""
    if isinstance(value, list):
        return [_spelt(child) for child in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, argument),) = value.items()
        if name == "Ref":
            return f"${{{argument}}}"
        if name == "Fn::Sub" and isinstance(argument, str):
            return argument
        if name == "Fn::GetAtt":
            return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"
    return {str(name): _spelt(child) for name, child in value.items()}


def _named(template: str, logical_id: str) -> str:
    return logical_id if template == ROOT else f"{template}/{logical_id}"


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values, at every depth."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield str(name), child
            yield from _items(child)
    elif isinstance(value, list):
        for child in value:
            yield from _items(child)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for child in value.values():
            yield from _texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child)
    elif isinstance(value, str | int):
        yield str(value)


def table() -> dict[str, dict[str, Any]]:
    """doors.yaml: by reason, the doors that are there for it."""
    read: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text())
    return read


def named() -> dict[str, Any]:
    """What doors.yaml says: the value of `<resource>.<property>`, or all values of `<type>.<property>`."""
    rows = [(door, value) for of_reason in table().values() for door, value in of_reason.items()]
    assert len({door for door, _ in rows}) == len(rows), "a door is named twice"
    return dict(rows)


def faults(of: dict[str, dict[str, Any]], known: dict[str, Any] | None = None) -> list[str]:
    """What is not as doors.yaml says."""
    known = named() if known is None else known
    wrong = [*unknown(of), *sorted(literals(of))]
    unused = {door: list(value) if "::" in door else [value] for door, value in known.items()}
    for door, of_type, value in doors(of):
        if door in known and known[door] == value:
            unused[door] = []
        elif door not in known and value in known.get(of_type, []):
            unused[of_type] = [other for other in unused[of_type] if other != value]
        else:
            wrong.append(f"not named: {door}: {json.dumps(value)}")
    return wrong + [f"no longer there: {door}: {json.dumps(value)}" for door in unused for value in unused[door]]


if __name__ == "__main__":
    for line in faults(templates()):  # what is to be pasted, and what is to be thought about
        kind, _, rest = line.partition("not named: ")
        print(f"# {line}" if kind else f"  {rest}")
