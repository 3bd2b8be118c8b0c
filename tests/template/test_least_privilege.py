"""Least privilege as an equality: what a role may do is what is done with it, no more and no less.

What a function does is what its handler calls on the way to every end (tests/support/stories.py), links and forms that
it signs included; what the machine does comes from its definition, and what AWS does in the name of the stack from the
template. A call fails here until it is allowed, and a right fails that no story uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.support import moto_world
from tests.support.definitions import Machine, decided, machines, references, resources, source, translated, words
from tests.support.handler_runs import Call, observe

from .test_hops import FUNCTIONS, HOPS, role_of
from .test_permissions import WITHOUT_RESOURCES, resource_statements, role_statements, statements

# An action, and its resource as Fn::Sub spells it, with the condition of the statement if there is one.
Grant = tuple[str, str]

# --- What a function's calls need -------------------------------------------------------------------------------------

# The resources that the stories name, as Fn::Sub spells them.
NAMED = {
    moto_world.TABLE: "${DetectionLogsTable.Arn}",
    moto_world.ANALYSES: "${AnalysesTable.Arn}",
    moto_world.ERASURES: "${ErasuresTable.Arn}",
    moto_world.REVIEWS: "${ReviewsTable.Arn}",
    moto_world.EVENTS_QUEUE: "${ImageEventsDeadLetterQueue.Arn}",
    moto_world.REPORTS_QUEUE: "${ReportsDeadLetterQueue.Arn}",
    moto_world.BUCKET: "${ImageBucket.Arn}",
    moto_world.SOURCE: "arn:${AWS::Partition}:s3:::${BackfillBucket}",
    moto_world.WORKFLOW: "${ImageWorkflow}",
    moto_world.REVIEW_WORKFLOW: "${ReviewWorkflow}",
    # IAM knows the machine, and its alias by a condition.
    moto_world.LIVE: '${ImageWorkflow} if {"ForAnyValue:StringEquals": {"states:StateMachineQualifier": ["live"]}}',
    moto_world.TOPIC: "${NoticesTopic}",
    moto_world.POLICY_PARAMETER: (
        "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${DetectionPolicyParameter}"
    ),
}
EXECUTIONS = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:${ImageWorkflow.Name}:*"
# The parameter that names the resource of a call, by service.
NAMING = {"dynamodb": "TableName", "s3": "Bucket", "ssm": "Name", "states": "stateMachineArn", "sns": "TopicArn"}
NAMING |= {"sqs": "QueueUrl"}
INDEXES = {
    f"${{{name}.Arn}}": {index["IndexName"] for index in table["GlobalSecondaryIndexes"]}
    for name, table in resources("AWS::DynamoDB::Table").items()
    if "GlobalSecondaryIndexes" in table
}

# Hostile bytes are decoded beside its rights: it reads where its story does, and not wherever a picture may lie.
READS_BY_FOLDER = {"ConvertImageFunction"}


def rights_for(call: Call, function: str) -> set[Grant]:
    """What the role of a function must be allowed for a call."""
    if call.service == "rekognition":  # reads with the rights of its caller
        return {(f"rekognition:{call.operation}", "*"), ("s3:GetObjectVersion", f"{NAMED[moto_world.BUCKET]}/*")}
    if call.operation == "TransactWriteItems":  # has no right of its own: each of its parts needs its own
        parts = [part for item in call.parameters["TransactItems"] for part in item.items()]
        return {(f"dynamodb:{kind}Item", NAMED[part["TableName"]]) for kind, part in parts}
    if call.service in ("cloudwatch", "monitoring"):
        return {(f"cloudwatch:{call.operation}", "*")}
    if call.operation == "BatchGetItem":
        return {(f"{call.service}:{call.operation}", NAMED[table]) for table in call.parameters["RequestItems"]}
    if call.operation == "DescribeExecution":
        return {("states:DescribeExecution", EXECUTIONS)}
    resource = NAMED[call.parameters[NAMING[call.service]]]
    if call.service == "s3":
        return rights_on_s3(call, resource, function)
    index = call.parameters.get("IndexName")
    if call.service == "sqs":  # a batch has the right of its operation
        return {(f"sqs:{call.operation.removesuffix('Batch')}", resource)}
    return {(f"{call.service}:{call.operation}", f"{resource}/index/{index}" if index else resource)}


def rights_on_s3(call: Call, bucket: str, function: str) -> set[Grant]:
    """User guide of Amazon S3, "Required permissions for Amazon S3 API operations".

    Without the right to list, S3 answers 403, not 404, for what is not there; a link need not know the difference.
    """
    objects, version = f"{bucket}/*", "Version" if "VersionId" in call.parameters else ""
    folder = f"{bucket}/{call.parameters.get('Key', '').rpartition('/')[0]}/*"
    match call.operation:
        case "GetObject" if call.signed:
            return {(f"s3:GetObject{version}", folder)}
        case "GetObject" | "HeadObject":
            top = f"{bucket}/{call.parameters['Key'].partition('/')[0]}/*"
            read = top if function in READS_BY_FOLDER else objects
            return {(f"s3:GetObject{version}", read)} | rights_to_miss(version, bucket)
        case "CopyObject":
            source = call.parameters["CopySource"]  # bucket/key?versionId=..., as botocore makes it
            version = "Version" if "?versionId=" in source else ""
            read = NAMED[source.partition("/")[0]]
            return {(f"s3:GetObject{version}", f"{read}/*"), ("s3:PutObject", folder)} | rights_to_miss(version, read)
        case "PutObject":
            return {("s3:PutObject", folder)}
        case "DeleteObject":
            return {(f"s3:DeleteObject{version}", objects)}
        case "DeleteObjects":
            assert all("VersionId" in found for found in call.parameters["Delete"]["Objects"])
            folders = {found["Key"].partition("/")[0] for found in call.parameters["Delete"]["Objects"]}
            return {("s3:DeleteObjectVersion", f"{bucket}/{folder}/*") for folder in folders}
        case "HeadBucket":
            return {("s3:ListBucket", bucket)}
        case "ListObjectVersions":
            if call.parameters["Prefix"] != "input/":  # objects of one image: no condition can name them
                return {("s3:ListBucketVersions", bucket)}
            condition = json.dumps({"StringLike": {"s3:prefix": f"{call.parameters['Prefix']}*"}})
            return {("s3:ListBucketVersions", f"{bucket} if {condition}")}
    raise AssertionError(f"say here what {call} needs")


def rights_to_miss(version: str, bucket: str) -> set[Grant]:
    """What S3 asks for before it says that an object, or a version of it, is not there."""
    return {("s3:ListBucket", bucket)} | ({("s3:ListBucketVersions", bucket)} if version else set())


@cache
def rights_of(function: str) -> set[Grant]:
    """What the calls of a function's story need; of a function that queries every index: all indexes."""
    calls = observe(FUNCTIONS[function]["Handler"]).calls
    needed = set().union(*(rights_for(call, function) for call in calls))
    for table, indexes in INDEXES.items():
        queried = {(action, resource) for action, resource in needed if resource.startswith(f"{table}/index/")}
        if {resource.rpartition("/")[2] for _, resource in queried} == indexes:
            needed = needed - queried | {("dynamodb:Query", f"{table}/index/*")}
    # What deletes in every folder may do so wherever an uploader has put a picture.
    deleted = {(action, resource) for action, resource in needed if action == "s3:DeleteObjectVersion"}
    if len(deleted) > 1:
        needed = needed - deleted | {
            ("s3:DeleteObjectVersion", f"{resource.partition('/')[0]}/*") for _, resource in deleted
        }
    return needed


# --- What is done with a role -----------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A value of the template as Fn::Sub spells it."""
    if isinstance(value, str):
        return value
    ((kind, argument),) = value.items()
    if kind == "Fn::Sub":
        return str(argument)
    if kind == "Fn::If":  # what is granted if it is granted at all
        return text(argument[1])
    return f"${{{argument if isinstance(argument, str) else '.'.join(argument)}}}"


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """The service and the target of all that AWS calls with a role of this stack."""
    for rule in resources("AWS::Events::Rule").values():
        yield from (("events.amazonaws.com", target) for target in rule["Targets"] if "RoleArn" in target)
    for schedule in resources("AWS::Scheduler::Schedule").values():
        yield "scheduler.amazonaws.com", schedule["Target"]


def tasks_of(machine: Machine) -> Iterator[Grant]:
    """What the tasks of a state machine do."""
    for _, task in machine.tasks():
        service, call = task["Resource"].split(":")[-2:]
        action = {"invoke": "InvokeFunction"}.get(call, call[0].upper() + call[1:])
        # Arguments are an object, or JSONata that makes one.
        (name,) = re.findall(
            r"['\"](?:FunctionName|TableName)['\"]: ['\"]\$\{(\w+)\}['\"]", json.dumps(task["Arguments"])
        )
        (resource,) = references(machine.substitutions[name])
        yield f"{service}:{action}", f"${{{resource}.Arn}}"
        if action == "InvokeFunction":  # also an older version; the function itself for what began before versions
            yield f"{service}:{action}", f"${{{resource}.Arn}}:*"


def shifts() -> Iterator[Grant]:
    """What CodeDeploy does with the functions that it shifts, as AWS's own AWSCodeDeployRoleForLambdaLimited has it."""
    yield "cloudwatch:DescribeAlarms", "*"
    for name, resource in source()["Resources"].items():
        if "DeploymentPreference" in resource["Properties"] and name in FUNCTIONS:
            for action in ("GetAlias", "GetProvisionedConcurrencyConfig", "UpdateAlias"):
                yield from ((f"lambda:{action}", f"${{{name}.Arn}}{qualifier}") for qualifier in ("", ":*"))


def maps_of(machine: Machine) -> Iterator[Grant]:
    """What the Distributed Maps of a state machine do: "IAM policies for Distributed Map" of the developer guide."""
    name = text(resources("AWS::StepFunctions::StateMachine")[machine.name].get("StateMachineName", ""))
    arn = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:%s:" + name
    for _, state in machine.states():
        if state["Type"] == "Map" and state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED":
            assert state["ItemReader"]["Resource"].endswith(":s3:listObjectsV2")
            yield from (("s3:ListBucket", NAMED[bucket]) for bucket in (moto_world.BUCKET, moto_world.SOURCE))
            yield "states:StartExecution", arn % "stateMachine"
            for action in ("DescribeExecution", "StopExecution"):
                # "…/<label>:<id>" is a child; which of the two AWS asks for, its documents do not agree on.
                yield f"states:{action}", arn % "execution" + "/*"
                yield f"states:{action}", arn % "execution" + ":*"


def uses() -> Iterator[tuple[str, Grant]]:
    """Role, and what is done with it, for all of the template."""
    for function in FUNCTIONS:
        yield from ((role_of(function), grant) for grant in rights_of(function))
    yield from ((hop.role, ("sqs:SendMessage", text(hop.queue))) for hop in HOPS if hop.role)
    for mapping in resources("AWS::Lambda::EventSourceMapping").values():
        (function,) = references(mapping["FunctionName"])
        yield role_of(function), ("dynamodb:ListStreams", "*")
        for action in ("DescribeStream", "GetRecords", "GetShardIterator"):
            yield role_of(function), (f"dynamodb:{action}", text(mapping["EventSourceArn"]))
    for _, target in targets():
        (role,) = references(target["RoleArn"])
        if references(target["Arn"]) & FUNCTIONS.keys():
            yield role, ("lambda:InvokeFunction", text(target["Arn"]))
        else:
            yield role, ("states:StartExecution", NAMED[moto_world.LIVE])
    yield from (("ShiftRole", grant) for grant in shifts())
    for machine in machines():
        (role,) = references(resources("AWS::StepFunctions::StateMachine")[machine.name]["RoleArn"])
        yield from ((role, grant) for grant in (*tasks_of(machine), *maps_of(machine)))
        yield from ((role, (action, "*")) for action in WITHOUT_RESOURCES if action.startswith("logs:"))


def grants(statement: dict[str, Any]) -> set[Grant]:
    """What a statement allows."""
    assert statement["Effect"] == "Allow"
    condition = f" if {json.dumps(statement['Condition'])}" if "Condition" in statement else ""
    named = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    return {(action, text(resource) + condition) for action in words(statement["Action"]) for resource in named}


@pytest.mark.parametrize("role", resources("AWS::IAM::Role"))
def test_role_may_do_just_what_is_done_with_it(role: str) -> None:
    granted = {grant for name, statement in role_statements() if name == role for grant in grants(statement)}
    assert granted == {grant for name, grant in uses() if name == role}


def test_nobody_is_allowed_anything_but_by_a_role() -> None:
    types = {resource["Type"] for resource in translated()["Resources"].values()}
    assert {name for name in types if name.startswith("AWS::IAM::")} == {"AWS::IAM::Role"}


def test_role_is_lent_to_the_service_that_uses_it() -> None:
    users = [("lambda.amazonaws.com", function["Role"]) for function in FUNCTIONS.values()]
    users += [("states.amazonaws.com", m["RoleArn"]) for m in resources("AWS::StepFunctions::StateMachine").values()]
    users += [(service, target["RoleArn"]) for service, target in targets()]
    users += [
        ("apigateway.amazonaws.com", account["CloudWatchRoleArn"])
        for account in resources("AWS::ApiGateway::Account").values()
    ]
    users += [
        ("codedeploy.amazonaws.com", resource["Properties"]["DeploymentPreference"]["Role"])
        for name, resource in source()["Resources"].items()
        if "DeploymentPreference" in resource["Properties"] and name in FUNCTIONS
    ]
    users += [
        ("s3.amazonaws.com", decided(bucket["ReplicationConfiguration"], "HasReplica", True)["Role"])
        for bucket in resources("AWS::S3::Bucket").values()
    ]
    lent = {
        (name, service)
        for name, role in resources("AWS::IAM::Role").items()
        for statement in statements(role["AssumeRolePolicyDocument"])
        for service in words(statement["Principal"]["Service"])
    }
    assert lent == {(name, service) for service, role in users for name in references(role)}


def test_queue_takes_from_nobody_but_what_is_delivered_through_it() -> None:
    """That those may is asked of every hop."""
    wanted = [(references(hop.queue), {"Service": hop.service}, hop.sender) for hop in HOPS]
    policies = resources("AWS::SQS::QueuePolicy")
    for name, statement in resource_statements():
        if name in policies and statement["Effect"] == "Allow":
            assert statement["Action"] == "sqs:SendMessage", name
            for sender in references(statement["Condition"]["ArnEquals"]["aws:SourceArn"]):
                assert (references(statement["Resource"]), statement["Principal"], sender) in wanted, name


def test_role_of_a_rule_or_schedule_is_lent_for_this_account_only() -> None:
    """Else a rule of another account could start what the role may start."""
    for _, target in targets():
        (role,) = references(target["RoleArn"])
        (statement,) = statements(resources("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"])
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}, role
