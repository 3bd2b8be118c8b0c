"""Least privilege from its third side: without any one right, what needs it is denied on the local AWS.

That no right is missing and none too many is an equality over the code (tests/template/test_least_privilege.py). Here
every right of every role of the deployed stack is taken away in turn, and what uses it is done: for a function all that
its handler calls in its story, with its role's credentials; for a service the real thing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import pytest
import requests
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from local.denials import Denials
from local.deploy import stack_resources
from pet_detector.aws.errors import DENIALS
from tests.support import moto_world, starter
from tests.support.definitions import references, resources, words
from tests.support.deployment import FINISHED, Deployment, never_seen
from tests.support.handler_runs import Call, observe
from tests.support.local_aws import ACCOUNT, REGION
from tests.support.paths import REPOSITORY
from tests.support.verdicts import Verdicts
from tests.support.waiting import eventually, wait_for

PICTURE = REPOSITORY / "photos" / "cat_gcompris_kitten.jpg"
SECONDS = 20.0  # a schedule is looked for every 10 s; all else takes a second

# What the local AWS lets pass without the right, by the statement's Sid, and why.
NOT_ENFORCED = {
    "DeliverLogs": "executions write no logs here",
    "GetNotFoundInsteadOfForbidden": "the local S3 answers 404 also to who may not list",
    "KeepWhatFailed": "the local AWS keeps no batch of a stream that failed",
}


@dataclass(frozen=True)
class Right:
    """One action of one statement of a role."""

    role: str
    sid: str
    action: str

    def __str__(self) -> str:
        return f"{self.role}-{self.sid}-{self.action}"

    @property
    def is_enforced(self) -> bool:
        """Whether the local AWS asks for it."""
        lists_versions = (self.role, self.action) == ("FileManagerFunctionRole", "s3:ListBucketVersions")
        return lists_versions or self.sid not in NOT_ENFORCED


# Policies that SAM writes of a function's EventInvokeConfig; their statement has no Sid.
OF_SAM, POLICIES_OF_SAM = "OfSam", "EventInvokeConfigOnFailure"

FUNCTIONS = resources("AWS::Lambda::Function")
# Of CodeDeploy, which has nothing to shift in the stage `local`: engine/test_engine_code_deploy.py is about its rights.
NOT_USED = {"ShiftRole"}
# The role of API Gateway's logs has none: the local AWS does not deploy it.
ROLES = {
    name: role["Policies"]
    for name, role in resources("AWS::IAM::Role").items()
    if "Policies" in role and name not in NOT_USED
}
RIGHTS = [
    Right(role, statement.get("Sid", OF_SAM), action)
    for role, policies in ROLES.items()
    for policy in policies
    for statement in policy["PolicyDocument"]["Statement"]
    if statement["Effect"] == "Allow"
    for action in words(statement["Action"])
]


def role_of(function: str) -> str:
    """The logical id of a function's role."""
    (role,) = references(FUNCTIONS[function]["Role"])
    return role


OF_FUNCTIONS = {role_of(function): function for function in FUNCTIONS}


@cache
def calls_of(function: str) -> list[Call]:
    """What the function's handler calls in its story: of calls that differ in their values alone, one."""

    def kind(call: Call) -> Any:
        given = call.parameters
        named = (given.get("TableName"), given.get("IndexName"), given.get("Key") and str(given["Key"]).split("/")[0])
        tables = tuple(sorted(given.get("RequestItems", {})))
        writes = {
            (kind, write.get("TableName")) for item in given.get("TransactItems", ()) for kind, write in item.items()
        }
        return call.service, call.operation, call.signed, tuple(sorted(given)), named, tables, tuple(sorted(writes))

    return list({kind(call): call for call in observe(FUNCTIONS[function]["Handler"]).calls}.values())


class World:
    """The deployed stack, and its roles."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self.engine = deployment, deployment.engine
        self._iam = self.engine.client("iam")
        self._roles = stack_resources(self.engine, "AWS::IAM::Role")
        self._names = {
            moto_world.EXECUTION: deployment.workflow.replace(":stateMachine:", ":execution:") + ":one",
            moto_world.WORKFLOW: deployment.workflow,
            moto_world.LIVE: deployment.live,
            moto_world.TOPIC: deployment.outputs["NoticesTopicArn"],
            moto_world.TABLE: deployment.table,
            moto_world.ANALYSES: deployment.analyses,
            moto_world.ERASURES: deployment.outputs["ErasuresTableName"],
            moto_world.REVIEWS: deployment.outputs["ReviewsTableName"],
            moto_world.REVIEW_WORKFLOW: deployment.outputs["ReviewWorkflowArn"],
            moto_world.EVENTS_QUEUE: deployment.outputs["ImageEventsDeadLetterQueueUrl"],
            moto_world.REPORTS_QUEUE: deployment.outputs["ReportsDeadLetterQueueUrl"],
            moto_world.BUCKET: deployment.bucket,
            moto_world.SOURCE: deployment.bucket,  # no other bucket is named in BackfillBucket
            moto_world.POLICY_PARAMETER: deployment.outputs["PolicyParameterName"],
        }
        deployment.s3.put_object(Bucket=deployment.bucket, Key="samples/1.jpg", Body=never_seen(PICTURE))
        for function in FUNCTIONS:  # a failed event goes away at once
            name = deployment.functions[function]
            with_destination = deployment.functions_client.get_function_event_invoke_config
            try:
                destination = with_destination(FunctionName=name, Qualifier="live")["DestinationConfig"]
            except deployment.functions_client.exceptions.ResourceNotFoundException:
                continue
            deployment.functions_client.put_function_event_invoke_config(
                FunctionName=name, Qualifier="live", MaximumRetryAttempts=0, DestinationConfig=destination
            )

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """Take the right from its role until the block ends."""
        name = self._roles[right.role]
        policy, document = next(self._policies_with(name, right))
        changed = [_without_action(statement, right) for statement in document["Statement"]]
        left = [statement for statement in changed if statement["Action"]]
        if left:
            self._put(name, policy, {**document, "Statement": left})
        else:
            self._iam.delete_role_policy(RoleName=name, PolicyName=policy)
        try:
            yield
        finally:
            self._put(name, policy, document)

    def _policies_with(self, role: str, right: Right) -> Iterator[tuple[str, dict[str, Any]]]:
        for policy in self._iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = self._iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
            of_sam = POLICIES_OF_SAM in policy
            if of_sam == (right.sid == OF_SAM) and any(_is_of(s, right) for s in document["Statement"]):
                yield policy, document

    def _put(self, role: str, policy: str, document: dict[str, Any]) -> None:
        self._iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))

    def denied(self, denials: Denials, role: str, action: str = "") -> list[str]:
        """What the role was denied, of this action if one is named."""
        by = f":assumed-role/{self._roles[role]}/"
        return [text for text in denials.read() if by in text and f"perform: {action}" in text]

    # --- What is done with the rights ---------------------------------------------------------------------------------

    def replay(self, function: str) -> set[str]:
        """Make the function's calls with its role; returns the codes of the refusals."""
        role = f"arn:aws:iam::{ACCOUNT}:role/{self._roles[role_of(function)]}"
        given = self.engine.client("sts").assume_role(RoleArn=role, RoleSessionName="replay")["Credentials"]
        session = boto3.session.Session(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=REGION
        )
        codes = {self._make(session, call) for call in calls_of(function)}
        return codes & DENIALS

    def _make(self, session: Any, call: Call) -> str:
        service = {"states": "stepfunctions", "monitoring": "cloudwatch"}.get(call.service, call.service)
        url = self.engine.rekognition_url if service == "rekognition" else self.engine.url
        once = Config(
            signature_version="s3v4" if service == "s3" else None,  # as the functions sign their links
            proxies={},
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        )
        client = session.client(service, endpoint_url=url, config=once)
        parameters = self._named(call.parameters)
        if call.signed and call.operation == "GetObject":
            link = client.generate_presigned_url("get_object", Params=parameters)
            return str(requests.get(link, timeout=10).status_code)
        if call.signed:
            form = client.generate_presigned_post(**parameters)
            answer = requests.post(form["url"], data=form["fields"], files={"file": b"1"}, timeout=10)
            return str(answer.status_code)
        try:
            getattr(client, xform_name(call.operation))(**parameters)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "OK"

    def _named(self, value: Any) -> Any:
        """Parameters with the names of the deployed resources."""
        if isinstance(value, dict):
            return {self._named(key): self._named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._named(inner) for inner in value]
        if isinstance(value, str):
            for known, deployed in self._names.items():
                value = deployed if value == known else value.replace(f"{known}/", f"{deployed}/")
            return value.replace(moto_world.WORKFLOW.replace("stateMachine", "execution"), self._executions())
        return value

    def _executions(self) -> str:
        return self.deployment.workflow.replace(":stateMachine:", ":execution:")

    def upload(self) -> Callable[[], bool]:
        """An object arrives: the rule starts the workflow, and it all else. Returns whether it is finished."""
        image = uuid.uuid4().hex
        key = f"input/{image}.jpg"
        self.deployment.s3.put_object(Bucket=self.deployment.bucket, Key=key, Body=never_seen(PICTURE))
        return lambda: self.deployment.item(image).get("ProcessingStatus", {}).get("S") in FINISHED

    def verdict(self) -> Callable[[], bool]:
        """A person says what a picture shows. Returns whether that is carried out."""
        image = uuid.uuid4().hex
        key = f"input/{image}.jpg"
        self.deployment.s3.put_object(Bucket=self.deployment.bucket, Key=key, Body=never_seen(PICTURE))
        finished = lambda: self.deployment.item(image).get("ProcessingStatus", {}).get("S") in FINISHED  # noqa: E731
        eventually(finished, "the picture is filed")
        verdicts = Verdicts(self.deployment)
        verdicts.put_head(image)
        sequence = verdicts.decide(image, "dog", start=False)
        execution = verdicts.start(image, sequence)
        described = self.deployment.sfn.describe_execution
        return lambda: bool(described(executionArn=execution)["status"] == "SUCCEEDED")

    def backfill(self) -> Callable[[], bool]:
        """A backfill of one object. Returns whether it has succeeded."""
        document = {"bucket": self.deployment.bucket, "prefix": "samples/", "concurrency": 1}
        sfn, machine = self.deployment.sfn, self.deployment.outputs["BackfillWorkflowArn"]
        execution = sfn.start_execution(stateMachineArn=machine, input=json.dumps(document))["executionArn"]
        return lambda: bool(sfn.describe_execution(executionArn=execution)["status"] == "SUCCEEDED")

    def schedule(self, target: str = "ReconcilerFunction") -> Callable[[], bool]:
        """The schedule's target, in a moment; another one may not be reached, and is a missed run.

        Returns whether the Reconciler has run since.
        """
        before = self._runs_of_reconciler()
        client = self.engine.client("scheduler")
        schedules = client.list_schedules(NamePrefix="serverlessapp")["Schedules"]
        (schedule,) = (found for found in schedules if "-ReconcileSchedule" in found["Name"])
        copy = client.get_schedule(Name=schedule["Name"])["Target"]
        copy["Arn"] = f"{copy['Arn'].partition(':function:')[0]}:function:{self.deployment.functions[target]}:live"
        client.create_schedule(
            Name=f"now-{uuid.uuid4().hex[:8]}",
            ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target=copy,
        )
        return lambda: self._runs_of_reconciler() > before

    def _runs_of_reconciler(self) -> int:
        group = stack_resources(self.engine, "AWS::Logs::LogGroup")["FunctionsLogGroup"]
        pages = self.engine.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
        return sum('"Reconciled"' in event["message"] for page in pages for event in page["events"])

    def fail(self, function: str) -> None:
        """An event that the function cannot read; the Reconciler reads none, and cannot read its settings."""
        if function == "ReconcilerFunction":
            self.deployment.configure(function, OVERDUE_MINUTES="none")
        name = self.deployment.functions[function]
        client = self.deployment.functions_client
        client.invoke(FunctionName=name, Qualifier="live", InvocationType="Event", Payload="[]")

    def change(self) -> None:
        """A record changes, and the stream tells."""
        key = {"ContentHash": {"S": uuid.uuid4().hex}}
        self.deployment.dynamodb.put_item(TableName=self.deployment.table, Item={"ImageID": key["ContentHash"]})


# What a service does with its role.
OF_SERVICES: dict[str, Callable[[World], Callable[[], bool]]] = {
    "ImageWorkflowRole": World.upload,
    "StartLiveRole": World.upload,
    "BackfillWorkflowRole": World.backfill,
    "ReconcileScheduleRole": World.schedule,
    "ReviewWorkflowRole": World.verdict,
}


def use(world: World, right: Right) -> None:
    """Do what needs the right."""
    if right.sid == "KeepMissedRuns":
        world.schedule("UploadApiFunction")
    elif right.sid == "RunReviewKeeper":
        world.schedule("ReviewKeeperFunction")
    elif right.sid == OF_SAM:
        world.fail(OF_FUNCTIONS[right.role])
    elif right.sid in ("ReadChanges", "FindStream"):
        world.change()
    elif right.role in OF_FUNCTIONS:
        refused = world.replay(OF_FUNCTIONS[right.role])
        assert refused or not right.is_enforced, "no call was refused"
    else:
        OF_SERVICES[right.role](world)


def _is_of(statement: dict[str, Any], right: Right) -> bool:
    return statement.get("Sid", OF_SAM) == right.sid and right.action in words(statement["Action"])


def _without_action(statement: dict[str, Any], right: Right) -> dict[str, Any]:
    if not _is_of(statement, right):
        return statement
    return {**statement, "Action": [action for action in words(statement["Action"]) if action != right.action]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("rights") / "engine"
    with starter.running(home, SFN_WAIT_SCALE="0") as engine:
        yield World(Deployment(engine))


@pytest.mark.parametrize("role", ROLES)
def test_with_all_rights_nothing_is_denied(world: World, role: str) -> None:
    denials = Denials(world.engine)

    if role in OF_FUNCTIONS:
        assert world.replay(OF_FUNCTIONS[role]) == set()
    else:
        eventually(OF_SERVICES[role](world), "it is done")

    assert world.denied(denials, role) == []


@pytest.mark.parametrize("right", RIGHTS, ids=str)
def test_without_a_right_what_needs_it_is_denied(world: World, right: Right) -> None:
    denials = Denials(world.engine)
    with world.without(right):
        use(world, right)
        patience = SECONDS if right.is_enforced else 0
        found = wait_for(lambda: world.denied(denials, right.role, f"{right.action} on"), patience)

    if not right.is_enforced:
        assert not found, f"the local AWS enforces it now: take {right.sid} out of NOT_ENFORCED"
    else:
        assert found, f"say in NOT_ENFORCED why nobody asks for {right}, or in `use` what does"


def test_make_run_fails_and_names_the_right_that_is_missing(world: World) -> None:
    aws, rekognition = (str(process.port) for process in world.engine.processes)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**kept, "ENGINE_HOME": str(world.engine.home), "PORT": aws, "REKOGNITION_PORT": rekognition}

    def sort() -> tuple[int, str]:
        command = [sys.executable, "-m", "local", "demo", "--photos", str(PICTURE)]
        result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr

    # What was replayed before counted as notices, and began a digest, which withholds all that follow.
    burst = {"ImageID": {"S": "notice-burst#ImageUncertain"}}
    world.deployment.dynamodb.delete_item(TableName=world.deployment.table, Key=burst)
    code, said = sort()
    assert code == 0, said
    with world.without(Right("NotificationServiceFunctionRole", "NotifyPeople", "sns:Publish")):
        code, said = sort()
    assert code == 1, said
    assert "A right is missing in template.yaml:" in said
    assert (
        "is not authorized to perform: sns:Publish on resource: " + world.deployment.outputs["NoticesTopicArn"] in said
    )
