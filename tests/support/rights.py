"""What a call of AWS needs, to the key of an object, and whether a role of template.yaml allows it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote

from tests.support import moto_world
from tests.support.arns import ACCOUNT, REGION, Arns
from tests.support.definitions import references, resources, words
from tests.support.paths import IMPORT_ROOTS, REPOSITORY

# What the resources are called in the tests.
NAMES = {
    "ImageBucket": moto_world.BUCKET,
    "BackfillBucket": moto_world.SOURCE,
    "DetectionLogsTable": moto_world.TABLE,
    "AnalysesTable": moto_world.ANALYSES,
    "DetectionPolicyParameter": moto_world.POLICY_PARAMETER,
    "NoticesTopic": moto_world.TOPIC.rpartition(":")[2],
    "ErasuresTable": moto_world.ERASURES,
    "ReviewsTable": moto_world.REVIEWS,
    "ImageEventsDeadLetterQueue": moto_world.EVENTS_QUEUE.rpartition("/")[2],
    "ReportsDeadLetterQueue": moto_world.REPORTS_QUEUE.rpartition("/")[2],
    "ImageWorkflow": moto_world.WORKFLOW.rpartition(":")[2],
    "ReviewWorkflow": moto_world.REVIEW_WORKFLOW.rpartition(":")[2],
}
# What shared code calls for the operator's commands alone: see OperatorPolicy of stacks/access.yaml.
OF_OPERATORS_ALONE = {
    ("dynamodb:Scan", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}")
    for table in (moto_world.ERASURES, moto_world.REVIEWS)
}
TESTS = REPOSITORY / "tests"

# Action, ARN and what conditions ask for.
Need = tuple[str, str, dict[str, str]]


def needs(service: str, operation: str, parameters: dict[str, Any]) -> Iterator[Need]:
    """What a call needs; its service as IAM calls it."""
    action = f"{service}:{operation}"
    match service:
        case "dynamodb" if operation == "TransactWriteItems":  # no right of its own: each part needs that of its own
            for ((kind, part),) in (item.items() for item in parameters["TransactItems"]):
                yield from needs(service, f"{kind}Item", part)
        case "dynamodb":
            for table in parameters.get("RequestItems") or [parameters["TableName"]]:
                index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
                yield action, f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}{index}", {}
        case "s3":
            yield from _of_s3(operation, parameters)
        case "ssm":
            yield action, f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{parameters['Name']}", {}
        case "sns":
            yield action, parameters["TopicArn"], {}
        case "sqs":  # a batch has the right of its operation
            queue = parameters["QueueUrl"].rpartition("/")[2]
            yield action.removesuffix("Batch"), f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}", {}
        case "states":
            # IAM knows the machine alone, and its alias or version as a condition's key.
            arn = parameters.get("stateMachineArn") or parameters["executionArn"]
            qualified = re.fullmatch(r"(.*:stateMachine:[^:]+):(\w+)", arn)
            condition = {"states:StateMachineQualifier": qualified[2]} if qualified else {}
            yield action, qualified[1] if qualified else arn, condition
        case "rekognition":
            yield action, "*", {}
        case "monitoring":  # signs its requests by another name than IAM has for it
            yield f"cloudwatch:{operation}", "*", {}
        case _:
            raise AssertionError(f"say here what {action} needs")


def _of_s3(operation: str, parameters: dict[str, Any]) -> Iterator[Need]:
    bucket = f"arn:aws:s3:::{parameters['Bucket']}"
    thing, version = f"{bucket}/{parameters.get('Key', '')}", "Version" if parameters.get("VersionId") else ""
    match operation:
        case "GetObject" | "HeadObject":
            yield f"s3:GetObject{version}", thing, {}
            yield "s3:ListBucket", bucket, {}  # else S3 answers 403, not 404, for what is not there
        case "DeleteObject":
            yield f"s3:DeleteObject{version}", thing, {}
        case "DeleteObjects":
            for each in parameters["Delete"]["Objects"]:
                yield from _of_s3("DeleteObject", each | {"Bucket": parameters["Bucket"]})
        case "PutObject":
            yield "s3:PutObject", thing, {}
        case "CopyObject":
            yield "s3:PutObject", thing, {}
            source = parameters["CopySource"]
            if isinstance(source, str):
                place, _, asked = source.partition("?versionId=")
                source = {"Bucket": place.partition("/")[0], "Key": unquote(place.partition("/")[2])} | (
                    {"VersionId": asked} if asked else {}
                )
            yield from _of_s3("GetObject", source)
        case "HeadBucket":
            yield "s3:ListBucket", bucket, {}
        case "ListObjectVersions":
            yield "s3:ListBucketVersions", bucket, {"s3:prefix": parameters["Prefix"]}
        case _:
            raise AssertionError(f"say here what s3:{operation} needs")


@cache
def _statements(role: str) -> list[dict[str, Any]]:
    policies = Arns(names=NAMES).resolve(resources("AWS::IAM::Role")[role].get("Policies", []))
    found: list[dict[str, Any]] = []
    for policy in policies:
        of_policy = policy["PolicyDocument"]["Statement"]
        found += of_policy if isinstance(of_policy, list) else [of_policy]
    return found


def is_allowed(role: str, need: Need) -> bool:
    """Whether the policies of a role allow it."""
    action, arn, context = need
    return any(
        action in words(statement["Action"])
        and any(_like(arn, pattern) for pattern in words(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context)
        for statement in _statements(role)
    )


def _like(text: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def _holds(condition: dict[str, dict[str, str | list[str]]], context: dict[str, str]) -> bool:
    for operator, wanted in condition.items():
        if operator not in ("StringLike", "ForAnyValue:StringEquals"):
            raise AssertionError(f"say here what the condition {json.dumps(condition)} means")
        like = _like if operator == "StringLike" else str.__eq__
        if not all(key in context and any(like(context[key], one) for one in words(of)) for key, of in wanted.items()):
            return False
    return True


@cache
def _place(file: str) -> str | None:
    """Of a file with code: "tests", the module of a handler, "" for what handlers share; None for another one."""
    path = Path(file)
    if path.is_relative_to(TESTS) and path != Path(__file__):
        return "tests"
    if any(path.is_relative_to(root) for root in IMPORT_ROOTS):
        return f"{path.parent.name}.app" if path.name == "app.py" else ""
    return None


def caller() -> str | None:
    """The handler (`<folder>.app`) that calls AWS now, "" when it is shared code alone; None when a test calls it."""
    frame: FrameType | None = sys._getframe(2)
    found = None
    while frame is not None:
        place = _place(frame.f_code.co_filename)
        if place == "tests":
            return found
        if place:
            return place
        found = found if place is None else place
        frame = frame.f_back
    return found


@cache
def _roles(handler: str) -> list[str]:
    functions = resources("AWS::Lambda::Function").values()
    chosen = [function for function in functions if handler in ("", function["Handler"].rpartition(".")[0])]
    return [role for function in chosen for role in references(function["Role"])]


def denial(
    handler: str, service: str, operation: str, parameters: dict[str, Any], *, signed: bool = False
) -> str | None:
    """What of a call's needs the handler's role does not allow; of shared code (""): what no role allows.

    `signed`: a link or a form. It need not know what is not there from what it may not have.
    """
    wanted = [need for need in needs(service, operation, parameters) if not (signed and need[0] == "s3:ListBucket")]
    if not handler:  # a test may call shared code for resources of its own
        wanted = [need for need in wanted if need[1] == "*" or any(name in need[1] for name in NAMES.values())]
        wanted = [need for need in wanted if need[:2] not in OF_OPERATORS_ALONE]
    missing = [need for need in wanted if not any(is_allowed(role, need) for role in _roles(handler))]
    return f"{handler or 'no function'} may not {missing}" if missing else None
