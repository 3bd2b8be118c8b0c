"""Weakened templates: each opens a door that the checks must notice. The numbers are those of the security audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Templates = dict[str, dict[str, Any]]
Mutation = Callable[[Templates], object]

FOREIGN = "999999999999"
_FOREIGN_ROOT = f"arn:aws:iam::{FOREIGN}:root"


def _resource(of: Templates, name: str) -> dict[str, Any]:
    template, _, logical_id = name.rpartition("/")
    found: dict[str, Any] = of[template or "template"]["Resources"][logical_id]
    return found


def _properties(of: Templates, name: str) -> dict[str, Any]:
    found: dict[str, Any] = _resource(of, name)["Properties"]
    return found


def _statement(of: Templates, role: str, sid: str) -> dict[str, Any]:
    """The statement of a role, or of a resource policy, with this Sid."""
    properties = _properties(of, role)
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    documents += [properties[key] for key in ("PolicyDocument", "KeyPolicy") if key in properties]
    (found,) = [s for document in documents for s in document["Statement"] if s.get("Sid") == sid]
    statement: dict[str, Any] = found
    return statement


def _allow(role: str, action: str, resource: Any) -> Mutation:
    statement = {"Sid": "More", "Effect": "Allow", "Action": action, "Resource": resource}

    def mutate(of: Templates) -> None:
        _properties(of, role)["Policies"][0]["PolicyDocument"]["Statement"].append(statement)

    return mutate


def _put(name: str, **changes: Any) -> Mutation:
    """Set properties of a resource."""
    return lambda of: _properties(of, name).update(changes)


def _set(name: str, sid: str, **changes: Any) -> Mutation:
    """Set parts of a statement."""
    return lambda of: _statement(of, name, sid).update(changes)


def _drop(name: str, sid: str) -> Mutation:
    """Take the condition from a statement."""
    return lambda of: _statement(of, name, sid).pop("Condition")


def _without_statement(name: str, sid: str) -> Mutation:
    def mutate(of: Templates) -> None:
        statement = _statement(of, name, sid)
        properties = _properties(of, name)
        for document in [*(policy["PolicyDocument"] for policy in properties.get("Policies", []))] or [
            properties["PolicyDocument"]
        ]:
            document["Statement"] = [other for other in document["Statement"] if other is not statement]

    return mutate


def _add(name: str, kind: str, **properties: Any) -> Mutation:
    """Add a resource."""
    template, _, logical_id = name.rpartition("/")
    resource = {"Type": kind, "Properties": properties}
    return lambda of: of[template or "template"]["Resources"].update({logical_id: resource})


def _trust(role: str, principal: dict[str, Any]) -> Mutation:
    return lambda of: _properties(of, role)["AssumeRolePolicyDocument"]["Statement"][0].update(Principal=principal)


def _own_trust(of: Templates) -> None:
    _properties(of, "StartLiveRole")["AssumeRolePolicyDocument"]["Statement"][0].pop("Condition")


def _policy(principal: Any, action: str, **more: Any) -> dict[str, Any]:
    statement = {"Sid": "More", "Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement | more]}


def _also(name: str, key: str, principal: Any, action: str) -> Mutation:
    """Add a statement to a resource policy."""
    return lambda of: _properties(of, name)[key]["Statement"].extend(_policy(principal, action)["Statement"])


def _body(of: Templates) -> Any:
    return _properties(of, "PetDetectorApi")["Body"]


_BUCKET, _TABLE = {"Fn::GetAtt": ["ImageBucket", "Arn"]}, {"Fn::GetAtt": ["DetectionLogsTable", "Arn"]}
_EVERYBODY = {"AWS": "*"}

MUTANTS: dict[str, Mutation] = {
    # Roles: more, wider, less, with weaker conditions
    "M01 one more action": _allow("UploadApiFunctionRole", "dynamodb:DeleteItem", _TABLE),
    "M02 one more action of another service": _allow("ImagesApiFunctionRole", "sns:Publish", {"Ref": "NoticesTopic"}),
    "M28 passing roles": _allow("ReconcilerFunctionRole", "iam:PassRole", "*"),
    "M03 wider resource": _set("UploadApiFunctionRole", "StoreUpload", Resource={"Fn::Sub": "${ImageBucket.Arn}/*"}),
    "M04 every resource": _set("FileManagerFunctionRole", "DeleteSource", Resource="*"),
    "M37 every action": _set("NotificationServiceFunctionRole", "NotifyPeople", Action="sns:*"),
    "M05 a right less": _without_statement("ImagesApiFunctionRole", "ReadRecord"),
    "M06 an action less": _set("ImageProcessorFunctionRole", "ReadUploads", Action=["s3:GetObject"]),
    "M07 without condition": _drop("ReconcilerFunctionRole", "ListUploads"),
    "M08 weaker condition": _set("ReconcilerFunctionRole", "ListUploads", Condition={"StringLike": {"s3:prefix": "*"}}),
    "M09 managed policy": lambda of: _properties(of, "UploadApiFunctionRole")["ManagedPolicyArns"].append(
        "arn:aws:iam::aws:policy/AmazonS3FullAccess"
    ),
    "M26 SAM's policy template": lambda of: _properties(of, "UploadApiFunctionRole")["Policies"].append(
        {
            "PolicyName": "UploadApiFunctionRolePolicy1",
            "PolicyDocument": {
                "Statement": [
                    {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:Scan"], "Resource": [_TABLE]}
                ]
            },
        }
    ),
    "M27 policy as a resource": _add(
        "More",
        "AWS::IAM::RolePolicy",
        RoleName={"Ref": "UploadApiFunctionRole"},
        PolicyName="More",
        PolicyDocument={"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]},
    ),
    "M10 role for a foreign account": _trust("UploadApiFunctionRole", {"AWS": _FOREIGN_ROOT}),
    "M11 role for another service": _trust("UploadApiFunctionRole", {"Service": "ec2.amazonaws.com"}),
    "M38 role for rules of every account": _own_trust,
    # Resource policies
    "M12 queue for everybody": _also("ReportsDeadLetterQueuePolicy", "PolicyDocument", "*", "sqs:*"),
    "M29 queue for every rule": _drop("ImageEventsDeadLetterQueuePolicy", "KeepUndeliveredEvents"),
    "M13 bucket for a foreign account": _also(
        "ImageBucketPolicy", "PolicyDocument", {"AWS": _FOREIGN_ROOT}, "s3:GetObject"
    ),
    "M20 bucket for everybody": _also("ImageBucketPolicy", "PolicyDocument", "*", "s3:GetObject"),
    "M43 bucket without TLS": _without_statement("ImageBucketPolicy", "TlsOnly"),
    "M18 topic for everybody": _add(
        "More", "AWS::SNS::TopicPolicy", Topics=[{"Ref": "NoticesTopic"}], PolicyDocument=_policy("*", "sns:Subscribe")
    ),
    "M15 function for a foreign account": _add(
        "More",
        "AWS::Lambda::Permission",
        Action="lambda:InvokeFunction",
        FunctionName={"Ref": "FileManagerFunction"},
        Principal=FOREIGN,
    ),
    "M16 function by URL": _add(
        "More", "AWS::Lambda::Url", TargetFunctionArn={"Ref": "ImagesApiFunction"}, AuthType="NONE"
    ),
    # Exposure and logs
    "M19 without key": lambda of: _body(of)["paths"]["/images"]["get"].pop("security"),
    "M21 access point with a name": _add("More", "AWS::S3::AccessPoint", Name="more", Bucket={"Ref": "ImageBucket"}),
    "M22 bucket may be public": lambda of: _properties(of, "ImageBucket").pop("PublicAccessBlockConfiguration"),
    "M24 calls go to another place": lambda of: _properties(of, "UploadApiFunction")["Environment"]["Variables"].update(
        AWS_ENDPOINT_URL_S3="https://s3.example.com"
    ),
    "M25 every call goes to another place": lambda of: _properties(of, "ReconcilerFunction")["Environment"][
        "Variables"
    ].update(AWS_ENDPOINT_URL={"Ref": "RekognitionEndpoint"}),
    "M31 events go to a foreign bus": lambda of: _properties(of, "ImageUploadedRule")["Targets"].append(
        {"Id": "more", "Arn": f"arn:aws:events:us-east-1:{FOREIGN}:event-bus/default"}
    ),
    "M32 file names in logs": lambda of: _properties(of, "ImageWorkflow")["LoggingConfiguration"].update(
        IncludeExecutionData=True
    ),
    "M35 bucket copied to a foreign one": _put(
        "ImageBucket",
        ReplicationConfiguration={
            "Role": {"Fn::GetAtt": ["StartLiveRole", "Arn"]},
            "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::elsewhere"}}],
        },
    ),
    "M36 table copied to Kinesis": _put(
        "DetectionLogsTable",
        KinesisStreamSpecification={"StreamArn": f"arn:aws:kinesis:us-east-1:{FOREIGN}:stream/s"},
    ),
    "M45 table in another region": _add("More", "AWS::DynamoDB::GlobalTable", Replicas=[{"Region": "eu-west-1"}]),
    "M46 stream for a foreign account": lambda of: _properties(of, "DetectionLogsTable")["StreamSpecification"].update(
        ResourcePolicy={"PolicyDocument": _policy({"AWS": _FOREIGN_ROOT}, "dynamodb:GetRecords")}
    ),
    "M47 API for everybody": lambda of: _body(of).update(
        {"x-amazon-apigateway-policy": _policy("*", "execute-api:Invoke")}
    ),
    "M48 logs sent on": _add(
        "More",
        "AWS::Logs::SubscriptionFilter",
        LogGroupName={"Ref": "FunctionsLogGroup"},
        FilterPattern="",
        DestinationArn=f"arn:aws:logs:us-east-1:{FOREIGN}:destination:d",
    ),
    "N01 rule sends everything to the workflow's queue": lambda of: _properties(of, "ImageUploadedRule")[
        "Targets"
    ].append({"Id": "more", "Arn": {"Fn::GetAtt": ["ReportsDeadLetterQueue", "Arn"]}}),
    # Policies of other types
    "M14 table for a foreign account": _put(
        "DetectionLogsTable",
        ResourcePolicy={"PolicyDocument": _policy({"AWS": _FOREIGN_ROOT}, "dynamodb:Scan")},
    ),
    "M17 bus for everybody": _add(
        "More", "AWS::Events::EventBusPolicy", StatementId="more", Statement=_policy("*", "*")
    ),
    "M42 logs for everybody": _add(
        "More", "AWS::Logs::ResourcePolicy", PolicyName="more", PolicyDocument='{"Statement": []}'
    ),
    "M44 access point without a name": _add("More", "AWS::S3::AccessPoint", Bucket={"Ref": "ImageBucket"}),
    # Exports and injections
    "M23 foreign layer": _put("UploadApiFunction", Layers=[f"arn:aws:lambda:us-east-1:{FOREIGN}:layer:more:1"]),
    "M30 notices go to a web server": _add(
        "More",
        "AWS::SNS::Subscription",
        TopicArn={"Ref": "NoticesTopic"},
        Protocol="https",
        Endpoint="https://example.com",
    ),
    "M33 keys in the access log": lambda of: _properties(of, "PetDetectorApiStage")["AccessLogSetting"].update(
        Format='{"key":"$context.identity.apiKey"}'
    ),
    "M34 bucket for every web page": lambda of: _properties(of, "ImageBucket")["CorsConfiguration"]["CorsRules"][
        0
    ].update(AllowedOrigins=["*"]),
    # Nested stacks
    "M39 key for everybody": _also("observability/AlarmsKey", "KeyPolicy", _EVERYBODY, "kms:*"),
    "M40 topic for every account's alarms": _drop("observability/AlarmsTopicPolicy", "ServicesPublish"),
    "M41 administrator of a foreign account": _add(
        "observability/More",
        "AWS::IAM::Role",
        AssumeRolePolicyDocument=_policy({"AWS": _FOREIGN_ROOT}, "sts:AssumeRole"),
        ManagedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"],
    ),
    "chat channel gives commands as administrator": _put(
        "chat/SlackConfiguration", GuardrailPolicies=["arn:aws:iam::aws:policy/AdministratorAccess"]
    ),
    # More of the same kinds
    "M49 rule takes other folders": lambda of: _properties(of, "ImageUploadedRule")["EventPattern"]["detail"].pop(
        "object"
    ),
    "N02 secret as a variable": lambda of: _properties(of, "UploadApiFunction")["Environment"]["Variables"].update(
        API_KEY={"Ref": "ApiKey"}
    ),
    "N03 output for other stacks": lambda of: of["template"]["Outputs"]["ApiKeyId"].update(Export={"Name": "key"}),
    "N04 macro": lambda of: of["observability"].update(Transform="Macro"),
    "N05 endpoint in a VPC": _add("More", "AWS::EC2::VPCEndpoint", VpcId="vpc-1", ServiceName="com.amazonaws.s3"),
    "N06 stack from elsewhere": _put("ObservabilityStack", TemplateURL="https://s3.amazonaws.com/elsewhere/o.yaml"),
    # People
    "N07 anybody signs up": _put("PeoplePool", AdminCreateUserConfig={"AllowAdminCreateUserOnly": False}),
    "N08 the sign-in leads elsewhere": lambda of: _properties(of, "PageClient")["CallbackURLs"].append(
        "https://example.com/"
    ),
    "N09 the page takes passwords": lambda of: _properties(of, "PageClient")["ExplicitAuthFlows"].append(
        "ALLOW_USER_PASSWORD_AUTH"
    ),
    # The edge
    "N11 requests go to another place": lambda of: _properties(of, "edge/Distribution")["DistributionConfig"][
        "Origins"
    ][0].update(DomainName="example.com"),
    "N12 a function reads every request": lambda of: _properties(of, "edge/Distribution")["DistributionConfig"][
        "DefaultCacheBehavior"
    ].update(FunctionAssociations=[{"EventType": "viewer-request", "FunctionARN": "more"}]),
    "N13 keys in the log of the web ACL": lambda of: _properties(of, "edge/EdgeAcl").pop("DataProtectionConfig"),
    "N10 a path of people for anybody": lambda of: _properties(of, "PetDetectorApi")["Body"]["paths"]["/people/images"][
        "get"
    ].pop("security"),
    # Copies
    "N11 pictures are replicated to another account": lambda of: _properties(of, "ImageBucket")[
        "ReplicationConfiguration"
    ]["Fn::If"][1]["Rules"][0]["Destination"].update(Bucket="arn:aws:s3:::of-somebody", Account=FOREIGN),
    "N12 backups are copied to another account": lambda of: _properties(of, "recovery/TablesPlan")["BackupPlan"][
        "BackupPlanRule"
    ][0].update(CopyActions=[{"DestinationBackupVaultArn": f"arn:aws:backup:us-east-1:{FOREIGN}:backup-vault:theirs"}]),
}
