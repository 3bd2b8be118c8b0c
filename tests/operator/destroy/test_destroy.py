"""`petdetect destroy` and `petdetect sweep` on a local AWS of their own, beside stacks that are not theirs.

Every service is asked for all that it has, before a stack is deployed and after it was destroyed. In a folder
of its own, because the tests above wait for each other.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.client import BaseClient
from samcli.yamlhelper import yaml_dump, yaml_parse

from local.deploy import machine_parameters, stack_name
from local.engine import CREDENTIALS, REGION, Engine
from ops import belongings, cli
from tests.operator.application import Output
from tests.support.paths import REPOSITORY
from tests.support.petdetect import petdetect
from tests.support.starter import running
from tests.support.waiting import eventually

PREFIX = "serverlessapp-pet-detector-"
# A stack whose name begins like that of pr-1: its bucket and its table are not to be touched.
LONGER_NAME = f"{PREFIX}pr-1-of-somebody"
TEMPLATES = "templates-of-somebody"
OTHER_TEMPLATE = """
Resources:
  ImageBucket: {Type: AWS::S3::Bucket, DeletionPolicy: Retain}
  DetectionLogsTable:
    Type: AWS::DynamoDB::Table
    Properties: {BillingMode: PAY_PER_REQUEST, AttributeDefinitions: [{AttributeName: ImageID, AttributeType: S}],
      KeySchema: [{AttributeName: ImageID, KeyType: HASH}]}
  Key: {Type: AWS::ApiGateway::ApiKey, Properties: {Name: serverlessapp-pet-detector-pr-1-of-somebody-client}}
"""
Inventory = dict[str, set[str]]


class KilledError(BaseException):
    """The command was killed here."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A local AWS with the application, and with a stack of somebody else."""
    # What is tried again waits so long that it still runs when its stack is destroyed.
    home = tmp_path_factory.mktemp("destroy") / "engine"
    with running(home, builds=_builds(tmp_path_factory), SFN_WAIT_SCALE="100") as engine:
        engine.client("s3").create_bucket(Bucket=TEMPLATES)
        cloudformation = engine.client("cloudformation")
        cloudformation.create_stack(StackName=LONGER_NAME, TemplateBody=OTHER_TEMPLATE)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=LONGER_NAME, WaiterConfig={"Delay": 1})
        yield engine


def _builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "builds"


@pytest.fixture(scope="module")
def access(engine: Engine) -> dict[str, str]:
    """The outputs of stacks/access.yaml; the user `destroyer` has its policies for whoever destroys, and no others."""
    iam, cloudformation = engine.client("iam"), engine.client("cloudformation")
    body = yaml_dump(yaml_parse((REPOSITORY / "stacks" / "access.yaml").read_text()))
    engine.client("s3").put_object(Bucket=TEMPLATES, Key="access.yaml", Body=body.encode())
    cloudformation.create_stack(
        StackName="access",
        TemplateURL=f"https://s3.us-east-1.amazonaws.com/{TEMPLATES}/access.yaml",
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": "ApplicationName", "ParameterValue": f"{PREFIX}pr-1"}],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName="access", WaiterConfig={"Delay": 1})
    stack = cloudformation.describe_stacks(StackName="access")["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    iam.create_user(UserName="destroyer")
    policies = [outputs["DestroyerPolicyArn"], *outputs["DeployerPolicyArns"].split(",")]
    for policy in policies:
        iam.attach_user_policy(UserName="destroyer", PolicyArn=policy)
    # MiniStack asks for `rule/default/NAME` where AWS asks for `rule/NAME`, has no condition key for the boundary, and
    # does not see which backup is deleted; log groups have other names there.
    rules = {"Action": "events:DisableRule", "Resource": f"arn:aws:events:*:*:rule/default/{PREFIX}*"}
    roles = {"Action": ["iam:DetachRolePolicy", "iam:DeleteRolePolicy"], "Resource": f"arn:aws:iam::*:role/{PREFIX}*"}
    backups = {"Action": "dynamodb:DeleteBackup", "Resource": "*"}
    groups = {"Action": "logs:DeleteLogGroup", "Resource": f"arn:aws:logs:*:*:log-group:/aws/cloudformation/{PREFIX}*"}
    statements = [{"Effect": "Allow", **one} for one in (rules, roles, backups, groups)]
    document = {"Version": "2012-10-17", "Statement": statements}
    iam.put_user_policy(UserName="destroyer", PolicyName="more", PolicyDocument=json.dumps(document))
    return outputs


@pytest.fixture
def pull_request(engine: Engine, access: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The stack of pull request 1, with pictures and all that else may be in one, and nothing of it before.

    Its commands have the rights of the destroyer.
    """
    monkeypatch.setattr("ops.destroy._POLL_SECONDS", 0.05)
    stack = Stack(engine, 1)
    stack.before = inventory(engine)
    stack.deploy(PermissionsBoundary=access["BoundaryPolicyArn"])
    stack.fill()
    key = engine.client("iam").create_access_key(UserName="destroyer")["AccessKey"]
    stack.key = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    yield stack
    stack.petdetect("destroy", "--with-data", "--confirm", stack.name)


class Stack:
    """The stack of a pull request, and `petdetect` for it: as on AWS, by the credentials of the environment."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.environment = engine, f"pr-{number}"
        self.name = PREFIX + self.environment
        self.before: Inventory = {}
        self.key: dict[str, str] = {}
        self.s3 = engine.client("s3")

    def deploy(self, **more: str) -> None:
        """What `sam deploy` hands over: the packaged template of the application, with a stage on AWS."""
        cloudformation = self.engine.client("cloudformation")
        body = cloudformation.get_template(StackName=stack_name(), TemplateStage="Original")["TemplateBody"]
        self.s3.put_object(Bucket=TEMPLATES, Key="template.yaml", Body=body.encode())  # too long for a request
        given = [*machine_parameters(self.engine), "Stage=dev"]
        pairs = {name: value for name, _, value in (text.partition("=") for text in given)} | more
        del pairs["RekognitionEndpoint"]  # only the stage `local` may have a stand-in
        parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in pairs.items()]
        cloudformation.create_change_set(
            StackName=self.name,
            ChangeSetName="first",
            ChangeSetType="CREATE",
            TemplateURL=f"https://s3.us-east-1.amazonaws.com/{TEMPLATES}/template.yaml",
            Parameters=parameters,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        waiting: dict[str, Any] = {"WaiterConfig": {"Delay": 1}}
        names = {"StackName": self.name, "ChangeSetName": "first"}
        cloudformation.get_waiter("change_set_create_complete").wait(**names, **waiting)
        cloudformation.execute_change_set(**names)
        cloudformation.get_waiter("stack_create_complete").wait(StackName=self.name, **waiting)

    def fill(self) -> None:
        """Versions, a delete marker, an upload in parts, records, keys with secrets, a backup."""
        self.s3.put_object(Bucket=self.bucket, Key="cats/one.jpg", Body=b"first")
        self.s3.put_object(Bucket=self.bucket, Key="cats/one.jpg", Body=b"second")
        self.s3.put_object(Bucket=self.bucket, Key="dogs/two.jpg", Body=b"only")
        self.s3.delete_object(Bucket=self.bucket, Key="dogs/two.jpg")
        self.s3.create_multipart_upload(Bucket=self.bucket, Key="input/three.jpg")
        dynamodb = self.engine.client("dynamodb")
        dynamodb.put_item(TableName=self.outputs["DetectionLogsTableName"], Item={"ImageID": {"S": "one"}})
        dynamodb.put_item(TableName=self.outputs["ErasuresTableName"], Item={"ImageID": {"S": "erased"}})
        dynamodb.update_table(TableName=self.outputs["DetectionLogsTableName"], DeletionProtectionEnabled=True)
        dynamodb.create_backup(TableName=self.outputs["DetectionLogsTableName"], BackupName="before-the-release")
        assert self.petdetect("key", "create", "web").code == 0

    @property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack."""
        stack = self.engine.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    @property
    def bucket(self) -> str:
        """The bucket of the stack, also when that is gone."""
        names = [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]
        (found,) = [name for name in names if name.startswith(f"{self.name}-imagebucket")]
        return str(found)

    def delete(self) -> None:
        """What `sam delete` asks of CloudFormation."""
        cloudformation = self.engine.client("cloudformation")
        cloudformation.delete_stack(StackName=self.name)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def petdetect(self, command: str, *arguments: str, typed: str = "") -> Output:
        """The command for this environment."""
        with self.credentials():
            result = petdetect("--env", self.environment, command, *arguments, typed=typed)
        return Output(result.exit_code, result.stdout, result.stderr)

    @contextlib.contextmanager
    def credentials(self) -> Iterator[None]:
        """The environment of whoever has this AWS, or of `key`."""
        settings = {**CREDENTIALS, **self.key, "AWS_ENDPOINT_URL": self.engine.url, "AWS_DEFAULT_REGION": REGION}
        settings |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        with mock.patch.dict(os.environ, settings), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            yield


def inventory(engine: Engine) -> Inventory:
    """All that is in the account, by type: every service that a template of ours uses."""
    asked: dict[str, tuple[str, str, str, Callable[[Any], str]]] = {
        "buckets": ("s3", "list_buckets", "Buckets", lambda one: one["Name"]),
        "tables": ("dynamodb", "list_tables", "TableNames", str),
        "backups": ("dynamodb", "list_backups", "BackupSummaries", lambda one: one["BackupArn"]),
        "functions": ("lambda", "list_functions", "Functions", lambda one: one["FunctionName"]),
        "mappings": ("lambda", "list_event_source_mappings", "EventSourceMappings", lambda one: one["UUID"]),
        "roles": ("iam", "list_roles", "Roles", lambda one: one["RoleName"]),
        "policies": ("iam", "list_policies", "Policies", lambda one: one["PolicyName"]),
        "log groups": ("logs", "describe_log_groups", "logGroups", lambda one: one["logGroupName"]),
        "queues": ("sqs", "list_queues", "QueueUrls", str),
        "topics": ("sns", "list_topics", "Topics", lambda one: one["TopicArn"]),
        "subscriptions": ("sns", "list_subscriptions", "Subscriptions", lambda one: one["SubscriptionArn"]),
        "rules": ("events", "list_rules", "Rules", lambda one: one["Name"]),
        "schedules": ("scheduler", "list_schedules", "Schedules", lambda one: one["Name"]),
        "state machines": ("stepfunctions", "list_state_machines", "stateMachines", lambda one: one["name"]),
        "parameters": ("ssm", "describe_parameters", "Parameters", lambda one: one["Name"]),
        "secrets": ("secretsmanager", "list_secrets", "SecretList", lambda one: one["Name"]),
        "APIs": ("apigateway", "get_rest_apis", "items", lambda one: one["id"]),
        "API keys": ("apigateway", "get_api_keys", "items", lambda one: one["id"]),
        "usage plans": ("apigateway", "get_usage_plans", "items", lambda one: one["id"]),
        "alarms": ("cloudwatch", "describe_alarms", "MetricAlarms", lambda one: one["AlarmName"]),
        "dashboards": ("cloudwatch", "list_dashboards", "DashboardEntries", lambda one: one["DashboardName"]),
        "keys": ("kms", "list_keys", "Keys", lambda one: one["KeyId"]),
        "user pools": ("cognito-idp", "list_user_pools", "UserPools", lambda one: one["Id"]),
        "stacks": ("cloudformation", "describe_stacks", "Stacks", lambda one: one["StackName"]),
    }
    found: Inventory = {}
    for kind, (service, operation, field, name) in asked.items():
        client = engine.client(service)
        if client.can_paginate(operation):
            needed = {"MaxResults": 60} if operation == "list_user_pools" else {}
            pages = list(client.get_paginator(operation).paginate(**needed))
        else:
            pages = [getattr(client, operation)()]
        found[kind] = {name(one) for page in pages for one in page.get(field) or []}
    found["log role of API Gateway"] = {str(engine.client("apigateway").get_account().get("cloudwatchRoleArn"))}
    return found


def changed(before: Inventory, after: Inventory) -> dict[str, int]:
    """How many more there are of each type, where it is not the same as before."""
    assert all(before[kind] - {"None"} <= after[kind] for kind in before), "something of others is gone"
    return {kind: len(after[kind] - before[kind]) for kind in before if after[kind] != before[kind]}


def test_with_its_data_nothing_of_a_stack_is_left_and_nothing_else_is_touched(pull_request: Stack) -> None:
    full = changed(pull_request.before, inventory(pull_request.engine))
    assert (full["buckets"], full["tables"], full["backups"], full["secrets"], full["API keys"]) == (1, 4, 1, 1, 2)

    planned = pull_request.petdetect("destroy", "--with-data", "--dry-run")
    typed = pull_request.petdetect("destroy", "--with-data", typed=f"{PREFIX}pr-12\n")
    confirmed = pull_request.petdetect("destroy", "--with-data", "--confirm", f"{PREFIX}dev")
    assert (planned.code, typed.code, confirmed.code) == (0, 1, 1)
    assert f"'{PREFIX}pr-12' is not {pull_request.name}: nothing was changed." in typed.err
    assert changed(pull_request.before, inventory(pull_request.engine)) == full

    answer = pull_request.petdetect("destroy", "--with-data", typed=f"{pull_request.name}\n")

    assert answer.code == 0, answer.err
    assert changed(pull_request.before, inventory(pull_request.engine)) == {}
    assert answer.out.splitlines()[-1] == f"0 leftovers of {pull_request.name}."
    assert "3 object versions (0.0 MB), 1 delete markers" in answer.out
    again = pull_request.petdetect("destroy", "--with-data", "--confirm", pull_request.name, "--json")
    assert (again.code, again.json["removed"], again.json["stays"], again.json["leftovers"]) == (0, [], [], 0)


def test_killed_after_every_single_change_it_ends_the_job(pull_request: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    call, changes = BaseClient._make_api_call, set()  # type: ignore[attr-defined]

    def dies_after_a_new_change(client: Any, operation: str, parameters: Any) -> Any:
        answer = call(client, operation, parameters)
        change = (operation, repr(parameters))
        if not operation.startswith(("Describe", "Get", "List", "Head")) and change not in changes:
            changes.add(change)
            raise KilledError
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", dies_after_a_new_change)
    arguments = ["--env", pull_request.environment, "destroy", "--with-data", "--confirm", pull_request.name]
    with pull_request.credentials():
        for _ in range(100):
            try:
                cli.main(arguments, standalone_mode=False)
            except KilledError:
                continue
            break

    assert changed(pull_request.before, inventory(pull_request.engine)) == {}
    steps = {operation for operation, _ in changes}
    assert {"DisableRule", "UpdateSchedule", "DeleteApiKey", "DeleteSecret", "DeleteStack", "DeleteRole"} <= steps
    assert {"AbortMultipartUpload", "DeleteObjects", "DeleteBucket", "DeleteBackup", "DeleteTable"} <= steps
    assert "DeleteUserPool" in steps


def test_without_its_data_what_people_own_stays_and_can_go_later(
    pull_request: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = pull_request.petdetect("destroy", "--confirm", pull_request.name)

    assert answer.code == 0
    left = changed(pull_request.before, inventory(pull_request.engine))
    assert left == {"buckets": 1, "tables": 3, "backups": 1, "user pools": 1}
    picture = pull_request.s3.get_object(Bucket=pull_request.bucket, Key="cats/one.jpg")["Body"].read()
    assert picture == b"second"
    assert f"petdetect destroy --env {pull_request.environment} --with-data" in answer.out
    # A year later CloudFormation has forgotten the stack; the tags have not.
    monkeypatch.setattr(belongings, "_deleted_stacks", lambda _: iter(()))

    later = pull_request.petdetect("destroy", "--with-data", "--confirm", pull_request.name)

    assert (later.code, changed(pull_request.before, inventory(pull_request.engine))) == (0, {})


def test_what_sam_delete_leaves_is_what_the_documents_say_and_the_sweeper_removes_it(pull_request: Stack) -> None:
    pull_request.delete()

    left = changed(pull_request.before, inventory(pull_request.engine))
    left.pop("log groups", None)  # it comes back if a function still writes to it
    assert left == {
        "buckets": 1,
        "tables": 3,
        "backups": 1,
        "user pools": 1,
        "roles": 1,
        "log role of API Gateway": 1,
        "API keys": 1,
        "secrets": 1,
    }
    open_still = pull_request.petdetect("sweep", "--open", "1,15", "--json")
    assert (open_still.code, open_still.json["stacks"]) == (0, [])
    assert changed(pull_request.before, inventory(pull_request.engine))["buckets"] == 1

    answer = pull_request.petdetect("sweep", "--open", "12, 15")

    assert answer.code == 0, answer.out + answer.err
    assert changed(pull_request.before, inventory(pull_request.engine)) == {}
    assert answer.out.splitlines()[-1] == "0 leftovers of pull requests that are closed."
    assert "tag:GetResources aws:cloudformation:stack-name" in answer.out


def test_the_sweeper_destroys_a_stack_that_still_works(pull_request: Stack) -> None:
    """There is no Rekognition behind this stack: the execution waits for its next attempt."""
    states, workflow = pull_request.engine.client("stepfunctions"), pull_request.outputs["ImageWorkflowArn"]
    picture = (REPOSITORY / "photos" / "cat_chelsea.jpg").read_bytes()
    pull_request.s3.put_object(Bucket=pull_request.bucket, Key=f"input/{'0' * 32}.jpg", Body=picture)
    running_now = partial(states.list_executions, stateMachineArn=workflow, statusFilter="RUNNING")
    eventually(lambda: running_now()["executions"], "the upload's event starts an execution")
    planned = pull_request.petdetect("sweep", "--open", "none", "--dry-run", "--json")
    assert planned.json == {"dryRun": True, "stacks": [pull_request.name], "notRead": []}

    answer = pull_request.petdetect("sweep", "--open", "none", "--json")

    assert (answer.code, answer.json["leftovers"]) == (0, 0)
    assert "1 executions were stopped." in answer.err
    left = changed(pull_request.before, inventory(pull_request.engine))
    left.pop("log groups", None)  # a function that still ran has made it again
    assert left == {}
    assert pull_request.petdetect("destroy", "--with-data", "--confirm", pull_request.name).code == 0
