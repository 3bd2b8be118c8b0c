"""Least privilege as an equality: what a role may do is what is done with it, no more and no less.

What a function does is read from the code that its handler can reach, what the machine does from its definition, and
what AWS does in the name of the stack from the template. A new call fails here until it is allowed, and a right fails
that nobody uses.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import Session

from pet_detector.rules import image_ids
from tests.support.definitions import Machine, code_of, machines, references, resources, translated, words

from .test_hops import FUNCTIONS, HOPS, role_of
from .test_permissions import WITHOUT_RESOURCES, resource_statements, role_statements, statements

# An action, and its resource as Fn::Sub spells it, with the condition of the statement if there is one.
Grant = tuple[str, str]

ROLES = resources("AWS::IAM::Role")

# --- What a call needs ------------------------------------------------------------------------------------------------

# Most calls need the action of their own name, on the resource of their module.
RESOURCES = {
    "analyses": "${AnalysesTable.Arn}",
    "daily_limit": "${AnalysesTable.Arn}",
    "detection_logs": "${DetectionLogsTable.Arn}",
    "image_workflow": "${ImageWorkflow}",
    "notices_topic": "${NoticesTopic}",
}

BUCKET, OBJECTS = "${ImageBucket.Arn}", "${ImageBucket.Arn}/*"
POLICY = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${DetectionPolicyParameter}"
UPLOADS_ONLY = json.dumps({"StringLike": {"s3:prefix": f"{image_ids.INPUT_FOLDER}/*"}})
VIEWED = set(image_ids.FOLDERS) - {"rejected"}
# Without the second one of each S3 answers 403, not 404, for what is not there.
READ_NEWEST = {("s3:GetObject", OBJECTS), ("s3:ListBucket", BUCKET)}
READ_VERSION = {("s3:GetObjectVersion", OBJECTS), ("s3:ListBucketVersions", BUCKET)}


def in_folders(action: str, *folders: str) -> set[Grant]:
    """An action on the objects of these folders."""
    return {(action, f"{BUCKET}/{folder}/*") for folder in folders}


# These need other ones, or more (user guide of Amazon S3, "Required permissions for Amazon S3 API operations").
RIGHTS: dict[str, set[Grant]] = {
    "listing.list_images dynamodb:Query": {("dynamodb:Query", "${DetectionLogsTable.Arn}/index/*")},
    "detection_logs.expired_claims dynamodb:Query": {("dynamodb:Query", "${DetectionLogsTable.Arn}/index/StatusIndex")},
    "health.check dynamodb:DescribeTable": {("dynamodb:DescribeTable", "${DetectionLogsTable.Arn}")},
    "health.check s3:HeadBucket": {("s3:ListBucket", BUCKET)},
    "health.check ssm:GetParameter": {("ssm:GetParameter", POLICY)},
    "health.check states:DescribeStateMachine": {("states:DescribeStateMachine", "${ImageWorkflow}")},
    "image_bucket.move s3:HeadObject": READ_NEWEST,
    "image_bucket.input_versions s3:ListObjectVersions": {("s3:ListBucketVersions", f"{BUCKET} if {UPLOADS_ONLY}")},
    "image_bucket.move s3:CopyObject": READ_VERSION | in_folders("s3:PutObject", *image_ids.FOLDERS),
    "image_bucket.move s3:DeleteObject": {("s3:DeleteObjectVersion", OBJECTS)},
    "image_bucket.read s3:GetObject": READ_NEWEST | READ_VERSION,
    "image_bucket.store s3:PutObject": in_folders("s3:PutObject", image_ids.INPUT_FOLDER),
    "image_bucket.upload_form s3:PutObject": in_folders("s3:PutObject", image_ids.INPUT_FOLDER),
    "image_bucket.view_link s3:GetObject": in_folders("s3:GetObject", *VIEWED),
    "policy_parameter.current ssm:GetParameter": {("ssm:GetParameter", POLICY)},
    "rekognition.recognize rekognition:DetectLabels": {
        ("rekognition:DetectLabels", "*"),
        ("s3:GetObjectVersion", OBJECTS),  # Rekognition reads with the rights of its caller
    },
}


def rights_for(call: str) -> set[Grant]:
    """What a role must be allowed for one of `calls_of`."""
    place, action = call.split()
    module = place.rpartition(".")[0]
    assert call in RIGHTS or module in RESOURCES, f"say in RIGHTS what {call} needs"
    return RIGHTS[call] if call in RIGHTS else {(action, RESOURCES[module])}


# --- What is called ---------------------------------------------------------------------------------------------------

PARAMETERS_OF_POWERTOOLS = "aws_lambda_powertools.utilities.parameters."
CALLS_OF_POWERTOOLS = {"SSMProvider": "ssm:GetParameter"}


@cache
def methods(service: str) -> dict[str, str]:
    """IAM's names of what the methods of a boto3 client call: `put_item` is `dynamodb:PutItem`."""
    model = Session().get_service_model(service)
    named = {xform_name(call): f"{model.signing_name}:{call}" for call in model.operation_names}
    return named | ({"generate_presigned_post": "s3:PutObject"} if service == "s3" else {})


def calls_in(part: ast.AST, services: set[str]) -> Iterator[str]:
    """The calls of these services' clients that a part of a module makes, or signs for others."""
    known = {method: call for service in services for method, call in methods(service).items()}
    for node in ast.walk(part):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method = node.func.attr
            if method in ("get_paginator", "generate_presigned_url"):
                method = ast.literal_eval(node.args[0])
            if method in known:
                yield known[method]


def services_of(module: ast.Module) -> set[str]:
    """The services that a module has clients of."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    return {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "client"}


def names_in(part: ast.AST, module: str, tree: ast.Module) -> Iterator[str]:
    """What a part of a module refers to, as `package.module.name`."""
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(part):
        if isinstance(node, ast.Name | ast.Attribute):
            head, dot, rest = ast.unparse(node).partition(".")
            yield imported.get(head, f"{module}.{head}") + dot + rest


@cache
def calls_of(function: str) -> frozenset[str]:
    """What a function's code asks of AWS, as `module.definition service:Operation`.

    That is what its handler's module does, and all definitions that are named from there, or on import. What a private
    definition does counts for the public one that uses it.
    """
    modules = code_of(function)
    # What has no name, such as an assignment, is called by its position.
    parts = {
        f"{module}.{getattr(part, 'name', position)}": part
        for module, tree in modules.items()
        for position, part in enumerate(tree.body)
    }
    handler = FUNCTIONS[function]["Handler"].rpartition(".")[0]
    began = {name for name in parts if name.rpartition(".")[0] == handler or name.rpartition(".")[2].isdigit()}
    waiting = {(name, name) for name in began}  # a definition, and the public one that it works for
    reached: set[tuple[str, str]] = set()
    found: set[str] = set()
    while waiting:
        name, public = waiting.pop()
        reached.add((name, public))
        module = name.rpartition(".")[0]
        tree, part = modules[module], parts[name]
        referred = set(names_in(part, module, tree))
        used = {(other, public if "._" in other else other) for other in referred & parts.keys()}
        waiting |= used - reached
        of_powertools = {other.rpartition(".")[2] for other in referred if other.startswith(PARAMETERS_OF_POWERTOOLS)}
        calls = [CALLS_OF_POWERTOOLS[other] for other in of_powertools if other.endswith("Provider")]
        calls += calls_in(part, services_of(tree))
        found |= {f"{public.removeprefix('pet_detector.aws.')} {call}" for call in calls}
    return frozenset(found)


# --- What is done with a role -----------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A value of the template as Fn::Sub spells it."""
    if isinstance(value, str):
        return value
    ((kind, argument),) = value.items()
    if kind == "Fn::Sub":
        return str(argument)
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


def uses() -> Iterator[tuple[str, Grant]]:
    """Role, and what is done with it, for all of the template."""
    for function in FUNCTIONS:
        yield from ((role_of(function), grant) for call in calls_of(function) for grant in rights_for(call))
    yield from ((hop.role, ("sqs:SendMessage", text(hop.queue))) for hop in HOPS if hop.role)
    for mapping in resources("AWS::Lambda::EventSourceMapping").values():
        (function,) = references(mapping["FunctionName"])
        yield role_of(function), ("dynamodb:ListStreams", "*")
        for action in ("DescribeStream", "GetRecords", "GetShardIterator"):
            yield role_of(function), (f"dynamodb:{action}", text(mapping["EventSourceArn"]))
    for _, target in targets():
        (role,) = references(target["RoleArn"])
        action = "lambda:InvokeFunction" if references(target["Arn"]) & FUNCTIONS.keys() else "states:StartExecution"
        yield role, (action, text(target["Arn"]))
    for machine in machines():
        (role,) = references(resources("AWS::StepFunctions::StateMachine")[machine.name]["RoleArn"])
        yield from ((role, grant) for grant in tasks_of(machine))
        yield from ((role, (action, "*")) for action in WITHOUT_RESOURCES if action.startswith("logs:"))


def grants(statement: dict[str, Any]) -> set[Grant]:
    """What a statement allows."""
    assert statement["Effect"] == "Allow"
    condition = f" if {json.dumps(statement['Condition'])}" if "Condition" in statement else ""
    named = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
    return {(action, text(resource) + condition) for action in words(statement["Action"]) for resource in named}


@pytest.mark.parametrize("role", ROLES)
def test_role_may_do_just_what_is_done_with_it(role: str) -> None:
    granted = {grant for name, statement in role_statements() if name == role for grant in grants(statement)}
    assert granted == {grant for name, grant in uses() if name == role}


def test_rights_are_of_calls_that_are_made() -> None:
    assert RIGHTS.keys() <= {call for function in FUNCTIONS for call in calls_of(function)}


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
    lent = {
        (name, service)
        for name, role in ROLES.items()
        for statement in statements(role["AssumeRolePolicyDocument"])
        for service in words(statement["Principal"]["Service"])
    }
    assert lent == {(name, service) for service, role in users for name in references(role)}


def test_queue_takes_from_nobody_but_what_is_delivered_through_it() -> None:
    """That those may is asked of every hop."""
    wanted = [(references(hop.queue), {"Service": hop.service}, hop.sender) for hop in HOPS]
    policies = resources("AWS::SQS::QueuePolicy")
    for name, statement in resource_statements():
        if name in policies:
            assert statement["Action"] == "sqs:SendMessage", name
            for sender in references(statement["Condition"]["ArnEquals"]["aws:SourceArn"]):
                assert (references(statement["Resource"]), statement["Principal"], sender) in wanted, name


def test_role_of_a_rule_or_schedule_is_lent_for_this_account_only() -> None:
    """Else a rule of another account could start what the role may start."""
    for _, target in targets():
        (role,) = references(target["RoleArn"])
        (statement,) = statements(ROLES[role]["AssumeRolePolicyDocument"])
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}, role
