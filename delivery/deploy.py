"""Deploy an artifact to an environment with `sam deploy`, or show what that would change."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from delivery.artifact import REPOSITORY, SAM, DeliveryError, code_checksums, given_parameters, unpack
from delivery.environments import Environment

# A variable of the GitHub environment: the bucket of stacks/delivery.yaml.
BUCKET = "ARTIFACTS_BUCKET"


def deploy(environment: Environment, artifact: Path, expected: str) -> str:
    """Deploy, and compare the code that runs with the artifact's -> a sentence. Raises DeliveryError."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        template = unpack(artifact, expected, Path(directory))
        if _sam_deploy(environment, template, given_parameters()).returncode:
            raise DeliveryError(f"{environment.stack} was not deployed: see above.")
        functions = _compare_code(environment, code_checksums(template))
    seconds = time.monotonic() - start
    return f"{environment.stack}: artifact {expected[:12]} is live in {functions} functions, after {seconds:.0f} s."


def changes(environment: Environment, artifact: Path, expected: str) -> str:
    """What a deployment would change, as Markdown; nothing is changed. Raises DeliveryError.

    What only the account knows stays as it is deployed: who asks may know another account's (a pull request does).
    """
    cloudformation = boto3.client("cloudformation", region_name=environment.region)
    if not _exists(cloudformation, environment.stack):
        # A change set would leave an empty stack behind.
        return f"There is no {environment.stack} yet: everything is new.\n"
    with tempfile.TemporaryDirectory() as directory:
        template = unpack(artifact, expected, Path(directory))
        done = _sam_deploy(environment, template, [], "--no-execute-changeset", "--output", "json")
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    result: dict[str, Any] = next((line for line in said if line.get("type") == "result"), {})
    if done.returncode or "status" not in result:
        error = result.get("error", {}).get("message") or done.stderr[-2000:]
        raise DeliveryError(f"SAM made no change set of {environment.stack}: {error}")
    if result["status"] == "no_changes":
        return f"{environment.stack} would not change.\n"
    change_set = result["changeset_id"]
    try:
        return _table(environment.stack, list(_all_changes(cloudformation, environment.stack, change_set)))
    finally:
        cloudformation.delete_change_set(ChangeSetName=change_set, StackName=environment.stack)


def _sam_deploy(
    environment: Environment, template: Path, given: list[str], *options: str
) -> subprocess.CompletedProcess[str]:
    command = [str(SAM), "deploy", "--template-file", str(template), "--stack-name", environment.stack]
    command += ["--config-file", str(REPOSITORY / "samconfig.toml"), "--config-env", environment.config]
    # These options replace the lists of samconfig.toml.
    # SAM leaves a parameter that nobody names as it is deployed.
    command += ["--parameter-overrides", *environment.parameters, *given]
    command += ["--tags", *environment.tags]
    if bucket := os.environ.get(BUCKET):  # else samconfig.toml's: SAM's own
        command += ["--no-resolve-s3", "--s3-bucket", bucket, "--s3-prefix", environment.prefix]
    command += ["--no-confirm-changeset", "--no-progressbar", *options]  # who approves, does it before
    read = "--output" in options
    return subprocess.run(command, cwd=REPOSITORY, check=False, text=True, capture_output=read)  # noqa: S603 - our own SAM


def _compare_code(environment: Environment, expected: dict[str, str]) -> int:
    """Number of functions, whose released code is the artifact's. Raises DeliveryError."""
    functions = boto3.client("lambda", region_name=environment.region)
    pages = boto3.client("cloudformation", region_name=environment.region).get_paginator("list_stack_resources")
    names = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in pages.paginate(StackName=environment.stack)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }
    found = {
        logical_id: functions.get_function(FunctionName=name, Qualifier="live")["Configuration"]["CodeSha256"]
        for logical_id, name in names.items()
    }
    if other := sorted(found.items() ^ expected.items()):
        functions_named = ", ".join(sorted({logical_id for logical_id, _ in other}))
        raise DeliveryError(f"These functions do not run the artifact's code: {functions_named}.")
    return len(found)


def _exists(cloudformation: Any, stack: str) -> bool:
    try:
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return False
        raise
    return bool(found["StackStatus"] != "REVIEW_IN_PROGRESS")


def _all_changes(cloudformation: Any, stack: str, change_set: str) -> Iterator[dict[str, Any]]:
    arguments = {"ChangeSetName": change_set, "StackName": stack}
    while True:
        page = cloudformation.describe_change_set(**arguments)
        yield from (change["ResourceChange"] for change in page["Changes"])
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]


# What a change does to what is there, the worst first.
_LOST, _REPLACED, _PERHAPS, _KEPT, _SAFE = "**deleted**", "**replaced**", "perhaps replaced", "the old one is kept", ""
_ANEW = "made anew each time"  # AlwaysDeploy of template.yaml
_MARKS = (_LOST, _REPLACED, _PERHAPS, _SAFE, _KEPT, _ANEW)


def _mark(change: dict[str, Any]) -> str:
    if change["ResourceType"] == "AWS::ApiGateway::Deployment":
        return _ANEW
    if change.get("PolicyAction", "").startswith("Retain"):
        return _KEPT
    match change["Action"], change.get("Replacement"):
        case "Remove", _:
            return _LOST
        case "Modify", "True":
            return _REPLACED
        case "Modify", "Conditional":
            return _PERHAPS
    return _SAFE


def _table(stack: str, found: list[dict[str, Any]]) -> str:
    """The changes, those that can lose something first."""
    rows = [(_mark(change), change["Action"], change["ResourceType"], change["LogicalResourceId"]) for change in found]
    rows.sort(key=lambda row: (_MARKS.index(row[0]), *row[1:]))
    lines = [f"### What would change in {stack}", "", "| Change | Resource | Type | |", "|---|---|---|---|"]
    lines += [f"| {action} | {logical_id} | {kind} | {mark} |" for mark, action, kind, logical_id in rows]
    return "\n".join(lines) + "\n"
