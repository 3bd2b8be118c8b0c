"""`petdetect destroy` and `sweep`: what it refuses, and whose a resource is. On the local AWS: tests/operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from click.testing import Result

from ops import adopt, belongings, destroy
from ops.belongings import Belongings, Resource
from ops.destroy import BUCKET, KEY, POOL, ROLE, TABLE
from ops.errors import OperatorError
from tests.support.definitions import ROOT, source, templates, translate
from tests.support.moto_world import BUCKET as PICTURES
from tests.support.moto_world import TABLE as RECORDS
from tests.support.moto_world import Cloud
from tests.support.paths import REPOSITORY
from tests.support.petdetect import petdetect as petdetect_without_aws
from tests.support.templates import load

STACK = "serverlessapp-pet-detector-dev"


@pytest.fixture
def found() -> Belongings:
    """A stack that is there, with nothing in it."""
    return Belongings(STACK, {"StackId": "id", "StackName": STACK, "StackStatus": "UPDATE_COMPLETE"})  # type: ignore[arg-type]


@pytest.fixture
def finds_it(aws: Cloud, found: Belongings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belongings, "find", lambda _: found)
    monkeypatch.setattr(belongings, "made_beside", lambda _: [])


# --- What it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--with-data"], ["--confirm", "serverlessapp-pet-detector-prod"]])
def test_prod_needs_a_second_word_whatever_else_is_said(more: list[str]) -> None:
    answer = petdetect_without_aws("--env", "prod", "destroy", *more)

    assert answer.exit_code == 2
    assert "only with --yes-destroy-prod" in answer.stderr


def test_the_second_word_alone_is_not_enough(finds_it: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destroy, "run", lambda *_, **__: pytest.fail("it began"))

    answer = petdetect_without_aws("--env", "prod", "destroy", "--yes-destroy-prod", typed="yes\n")

    assert answer.exit_code == 1
    assert "'yes' is not serverlessapp-pet-detector-prod: nothing was changed." in answer.stderr


def test_json_does_not_ask() -> None:
    assert "--json cannot prompt" in petdetect_without_aws("--env", "dev", "destroy", "--json").stderr


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"])
def test_a_stack_that_somebody_changes_is_refused(finds_it: None, found: Belongings, status: str) -> None:
    assert found.description is not None
    found.description["StackStatus"] = status  # type: ignore[typeddict-item]

    answer = petdetect_without_aws("--env", "dev", "destroy", "--confirm", STACK)

    assert (answer.exit_code, f"is being changed ({status})" in answer.stderr) == (1, True)


def test_a_protected_stack_is_refused(finds_it: None, found: Belongings) -> None:
    assert found.description is not None
    found.description["EnableTerminationProtection"] = True

    answer = petdetect_without_aws("--env", "dev", "destroy", "--confirm", STACK)

    assert (answer.exit_code, "--no-enable-termination-protection" in answer.stderr) == (1, True)


@pytest.mark.parametrize("text", ["", "  ", "12,x", "-1", "none,12", "all"])
def test_a_list_of_open_pull_requests_that_may_be_a_mistake_is_refused(text: str) -> None:
    """An empty one is what a command that failed prints: every stack would go."""
    answer = petdetect_without_aws("--env", "dev", "sweep", "--open", text)

    assert (answer.exit_code, "is no list of pull requests" in answer.stderr) == (2, True)


@pytest.mark.parametrize("name", ["pr-", "pr-0", "pr-012", "pr-1x", "pr-prod", "staging2"])
def test_only_a_number_makes_a_pull_request(name: str) -> None:
    assert petdetect_without_aws("--env", name, "destroy", "--dry-run").exit_code == 2


# --- Whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        (STACK, True),
        (f"{STACK}-GovernanceStack-1ABC", True),
        (f"{STACK}-GovernanceStack-1ABC-RecorderStack-2DEF", True),
        (f"{STACK}-DataKeyStack-1ABC", True),
        (f"{STACK}2", False),
        (f"{STACK}-of-somebody", False),
        (f"{STACK}-of-somebody-GovernanceStack-1ABC", False),
        (f"{STACK}2-GovernanceStack-1ABC", False),
    ],
)
def test_a_stack_whose_name_only_begins_alike_is_another_one(name: str, is_it: bool) -> None:
    assert belongings.is_of(name, STACK) == is_it


def test_a_resource_that_lives_is_listed_once_whatever_the_tag_query_calls_it(found: Belongings) -> None:
    function = Resource("AWS::Lambda::Function", "uploader", "UploadApiFunction")
    bucket = Resource(BUCKET, "pictures", "ImageBucket")
    found.living = [function, bucket]
    arn = "arn:aws:lambda:us-east-1:123456789012:function:"
    found.tagged = [Resource("lambda", f"{arn}uploader", "UploadApiFunction"), bucket]
    found.tagged.append(Resource("lambda", f"{arn}deleted", "OldFunction"))
    found.gone = {"deleted"}

    assert found.all() == [function, bucket]


def test_the_key_of_a_longer_named_stack_is_not_ours(found: Belongings, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [{"id": "1", "name": f"{STACK}-web"}, {"id": "2", "name": f"{STACK}-of-somebody-client"}]
    keys.append({"id": "3", "name": f"{STACK}-client"})
    found.living = [Resource("AWS::ApiGateway::ApiKey", "3", "ApiKey")]
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Pages(get_api_keys={"items": keys}))

    made = list(belongings._api_keys(found, {f"{STACK}-of-somebody"}))

    assert [resource.name for resource in made] == ["1"]


@pytest.fixture
def roles(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Roles with the tag of a stack. Those of `denied` ones cannot be read, nor what our rights do not cover."""
    iam: Any = boto3.client("iam")
    read, client = iam.list_role_tags, boto3.client
    forbidden: set[str] = set()

    def list_role_tags(RoleName: str) -> Any:
        if RoleName in forbidden or not RoleName.startswith(belongings.ROLE_PREFIX):
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "ListRoleTags")
        return read(RoleName=RoleName)

    def make(denied: tuple[str, ...] = (), **stack_by_role: str) -> None:
        for name, stack in stack_by_role.items():
            tags = [{"Key": belongings.STACK_TAG, "Value": stack}]
            iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}", Tags=tags)
        forbidden.update(denied)

    monkeypatch.setattr(belongings, "describe", lambda _: None)
    monkeypatch.setattr(belongings, "made_beside", lambda _: [])
    monkeypatch.setattr(belongings, "names_beside", lambda _: set())
    monkeypatch.setattr(iam, "list_role_tags", list_role_tags)
    stacks = Pages(list_stacks={"StackSummaries": []})
    no_tags = Pages(get_resources={"ResourceTagMappingList": []})
    instead = {"iam": iam, "cloudformation": stacks, "resourcegroupstaggingapi": no_tags}
    monkeypatch.setattr(boto3, "client", lambda name, **more: instead.get(name) or client(name, **more))
    return make


OF_DELIVERY = "serverlessapp-delivery-pull-request-DeployerRole-1A"
SHORTENED, OF_PROD = (
    "serverlessapp-pet-detecto-ApiGatewayLogRole-1A",
    "serverlessapp-pet-detector-prod-ApiGatewayLogRole-1A",
)


def test_a_role_that_may_not_be_read_stops_nothing_and_is_named_if_it_may_be_ours(roles: Callable[..., None]) -> None:
    ours, denied = f"{STACK}-ApiGatewayLogRole-1A", {SHORTENED: STACK, OF_PROD: "serverlessapp-pet-detector-prod"}
    roles(tuple(denied), **denied, **{OF_DELIVERY: "serverlessapp-delivery-pull-request", ours: STACK})

    found = belongings.find(STACK)

    assert [one.name for one in found.tagged if one.kind == ROLE] == [ours]
    assert found.unread == [SHORTENED]
    answer = petdetect_without_aws("--env", "dev", "destroy", "--dry-run")
    assert (answer.exit_code, f"iam:ListRoleTags was denied: {SHORTENED}. " in answer.stdout) == (0, True)


def test_the_sweeper_names_a_role_that_may_be_a_pull_requests(roles: Callable[..., None]) -> None:
    nested = "serverlessapp-pet-detector-pr-7-ObservabilityStack-1ABC-Role-1A"
    denied = {SHORTENED: STACK, OF_PROD: "serverlessapp-pet-detector-prod", nested: "serverlessapp-pet-detector-pr-7"}
    roles(tuple(denied), **denied, **{OF_DELIVERY: "serverlessapp-delivery-pull-request"})

    answer = petdetect_without_aws("--env", "dev", "sweep", "--open", "none", "--json")

    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["stacks"], sorted(document["notRead"])) == (0, [], sorted([SHORTENED, nested]))


def test_roles_are_looked_for_where_the_right_to_read_them_reaches() -> None:
    prefix = load(REPOSITORY / "stacks" / "access.yaml")["Parameters"]["NamePrefix"]["Default"]
    assert prefix == belongings.ROLE_PREFIX


# --- What goes and what stays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_data", [False, True])
def test_evidence_stays_and_data_goes_only_with_the_word(
    finds_it: None, found: Belongings, monkeypatch: pytest.MonkeyPatch, with_data: bool
) -> None:
    monkeypatch.setattr(destroy, "size_of", lambda _: "")
    evidence = [Resource(kind, f"a-{name}", name) for name, kind in destroy.AUDIT.items()]
    data = [Resource(kind, f"a-{name}", name) for name, kind in destroy.DATA.items()]
    found.living = [*evidence, *data, Resource(ROLE, "a-log-role", "ApiGatewayLogRole"), Resource(ROLE, "r", "Role")]

    listed = destroy.lines(found, with_data=with_data)

    goes = {line.name for line in listed if line.goes}
    assert goes == {"a-log-role", "r"} | ({resource.name for resource in data} if with_data else set())
    assert {line.name for line in listed} == {resource.name for resource in found.living}
    assert all(line.reason for line in listed if not line.goes)


def test_what_it_does_not_know_is_named_and_left(finds_it: None, found: Belongings) -> None:
    found.kept = [Resource("AWS::New::Thing", "thing", "Thing")]
    found.description = None

    answer = petdetect_without_aws("--env", "dev", "destroy", "--with-data", "--confirm", STACK)

    assert "AWS::New::Thing thing (petdetect cannot remove this type: do it by hand)" in answer.stdout


def resources_that_may_stay() -> Iterator[tuple[str, str]]:
    """Type and logical id of what CloudFormation leaves behind if it deletes or replaces it."""
    gradual = source()  # SAM makes what shifts the API's functions only then
    gradual["Parameters"]["ReleaseShift"]["Default"] = "Canary10Percent10Minutes"
    nested = [template for name, template in templates().items() if name not in (ROOT, "access", "delivery")]
    for template in (translate(gradual), *nested):
        for logical_id, one in template["Resources"].items():
            when_deleted, when_replaced = (one.get(key) for key in ("DeletionPolicy", "UpdateReplacePolicy"))
            if is_kept(when_deleted) or (is_kept(when_replaced) and may_be_replaced(one)):
                yield one["Type"], logical_id


def is_kept(policy: str | None) -> bool:
    return policy is not None and policy.startswith("Retain")


def may_be_replaced(resource: dict[str, Any]) -> bool:
    """Whether it sets anything of which a change makes another resource."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource["Type"]).schema
    fixed = [*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])]
    return bool({pointer.split("/")[2] for pointer in fixed} & resource.get("Properties", {}).keys())


def test_each_type_that_cloudformation_may_leave_is_removed_or_ends_with_its_whole() -> None:
    known = {*destroy._ORDER, *destroy._PARTS, *destroy.AUDIT.values()}
    found = set(resources_that_may_stay())

    assert {kind for kind, _ in found} >= {"AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig", BUCKET, ROLE}
    assert {(kind, logical_id) for kind, logical_id in found if kind not in known} == set()


def test_what_the_template_keeps_when_its_stack_goes_is_peoples_data() -> None:
    """Else it would go without --with-data."""
    (data_key,) = (template for name, template in templates().items() if name == "data_key")
    kept = {
        logical_id: one["Type"]
        for template in (translate(source()), data_key)
        for logical_id, one in template["Resources"].items()
        if one.get("DeletionPolicy") == "RetainExceptOnCreate" and one["Type"] not in destroy._PARTS
    }
    assert kept == destroy.DATA


def test_what_an_upgrade_left_of_a_function_is_no_leftover(finds_it: None, found: Belongings) -> None:
    found.kept = [
        Resource("AWS::Lambda::Permission", "stack-UploadPermission-1A", "UploadApiFunctionUploadPermissionStage"),
        Resource("AWS::Lambda::EventInvokeConfig", "config-1A", "ReconcilerFunctionEventInvokeConfig"),
        Resource("AWS::Lambda::Version", "arn:...:function:stack-Reconciler-1A:1", "ReconcilerFunctionVersion1"),
    ]
    found.description = None

    answer = petdetect_without_aws("--env", "dev", "destroy", "--with-data", "--confirm", STACK)

    assert (answer.exit_code, "Nothing of it is there." in answer.stdout) == (0, True)
    assert destroy.run(found, with_data=True, say=print) == []


def test_an_empty_place_has_nothing_to_destroy(finds_it: None, found: Belongings) -> None:
    found.description = None

    answer = petdetect_without_aws("--env", "dev", "destroy", "--with-data", "--confirm", STACK)

    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[-1] == f"0 leftovers of {STACK}."


# --- Removing ---------------------------------------------------------------------------------------------------------


class Pools:
    """Cognito with one pool, which is protected."""

    def __init__(self) -> None:
        self.pool: dict[str, Any] | None = {
            "DeletionProtection": "ACTIVE",
            "EstimatedNumberOfUsers": 3,
            "MfaConfiguration": "OPTIONAL",
            "Policies": {"PasswordPolicy": {"MinimumLength": 12}},
        }

    def describe_user_pool(self, **_: str) -> dict[str, Any]:
        if self.pool is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "DescribeUserPool")
        return {"UserPool": self.pool}

    def update_user_pool(self, **given: Any) -> None:
        assert self.pool is not None
        self.pool = {"EstimatedNumberOfUsers": 3} | given

    def delete_user_pool(self, **_: str) -> None:
        assert self.pool is not None
        assert self.pool["DeletionProtection"] == "INACTIVE", "Cognito refuses"
        assert self.pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}
        assert self.pool["Policies"] == {"PasswordPolicy": {"MinimumLength": 12}}
        self.pool = None


def test_people_go_with_the_data_alone(finds_it: None, found: Belongings, monkeypatch: pytest.MonkeyPatch) -> None:
    found.kept, found.description = [Resource(POOL, "us-east-1_people", "PeoplePool")], None
    pools, make = Pools(), boto3.client
    monkeypatch.setattr(boto3, "client", lambda name, **more: pools if name == "cognito-idp" else make(name, **more))

    (line,) = destroy.lines(found, with_data=False)
    assert line == destroy.Line(
        POOL, "us-east-1_people", False, "about 3 people, protected from deletion", "people's data"
    )
    petdetect_without_aws("--env", "dev", "destroy", "--confirm", STACK)
    assert pools.pool is not None

    petdetect_without_aws("--env", "dev", "destroy", "--with-data", "--confirm", STACK)
    assert pools.pool is None


def test_a_version_that_s3_does_not_delete_is_named(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3").put_object(Bucket=PICTURES, Key="cats/one.jpg", Body=b"one")
    refused = {"Errors": [{"Key": "cats/one.jpg", "Code": "AccessDenied", "Message": "it is locked"}]}
    s3: Any = boto3.client("s3")
    monkeypatch.setattr(s3, "delete_objects", lambda **_: refused)
    monkeypatch.setattr(destroy, "_s3", lambda: s3)

    with pytest.raises(OperatorError, match=r"cats/one\.jpg: AccessDenied it is locked"):
        destroy._remove_bucket(Resource(BUCKET, PICTURES, "ImageBucket"), Belongings(STACK, None), print)


def test_a_bucket_that_is_written_to_all_the_time_is_reported(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    s3: Any = boto3.client("s3")
    monkeypatch.setattr(s3, "delete_objects", lambda **_: s3.put_object(Bucket=PICTURES, Key="new", Body=b"") and {})
    monkeypatch.setattr(destroy, "_s3", lambda: s3)
    s3.put_object(Bucket=PICTURES, Key="first", Body=b"")

    reason = destroy._remove_bucket(Resource(BUCKET, PICTURES, "ImageBucket"), Belongings(STACK, None), print)

    assert "run the command again in five minutes" in reason


def test_backups_of_each_table_that_outlives_the_stack_are_found(aws: Cloud) -> None:
    """They hold what the table held, and no tag says whose they are: only the name of the table."""
    tables = [name for name, kind in adopt.ADOPTABLE.items() if kind == TABLE]
    for name in tables:
        table = f"{STACK}-{name}-1ABC"
        aws.dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "ImageID", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "ImageID", "KeyType": "HASH"}],
        )
        aws.dynamodb.create_backup(TableName=table, BackupName=name)
    assert sorted(one.logical_id for one in belongings._backups(STACK)) == sorted(tables)


def test_a_protected_table_loses_its_protection_first(aws: Cloud) -> None:
    dynamodb = boto3.client("dynamodb")
    dynamodb.update_table(TableName=RECORDS, DeletionProtectionEnabled=True)

    assert destroy._remove(Resource(TABLE, RECORDS, "DetectionLogsTable"), Belongings(STACK, None), print) == ""

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        dynamodb.describe_table(TableName=RECORDS)


def test_a_key_can_be_had_back_for_a_month(aws: Cloud) -> None:
    kms = boto3.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    resource = Resource(KEY, key, "Key")
    assert destroy.size_of(resource) == ""

    destroy._remove(resource, Belongings(STACK, None), print)

    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert destroy.size_of(resource) is None


# --- The account's log role -------------------------------------------------------------------------------------------


class Pages:
    """A client whose operations answer one page, and that keeps what it was told to change."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.changes = answers, []  # type: ignore[var-annotated]

    def can_paginate(self, operation: str) -> bool:
        return True

    def get_paginator(self, operation: str) -> Any:
        return type("Paginator", (), {"paginate": lambda _, **__: [self.answers[operation]]})()

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            if operation.startswith(("update", "delete", "detach")):
                self.changes.append((operation, arguments))
                if isinstance(self.answers.get(operation), Exception):
                    raise self.answers[operation]
            return self.answers.get(operation, {})

        return call


LOGGING = {"accessLogSettings": {"destinationArn": "arn:aws:logs:..."}}
SILENT: dict[str, Any] = {"accessLogSettings": {}, "methodSettings": {"*/*": {"loggingLevel": "OFF"}}}
DEBUGGED = {"methodSettings": {"*/*": {"loggingLevel": "INFO"}}}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pages]:
    """An account with one API of somebody else, whose stage is as said."""

    def make(setting: str, stage: dict[str, Any], sockets: str = "HTTP", refuses: bool = False) -> Pages:
        refusal = ClientError({"Error": {"Code": "BadRequestException"}}, "UpdateAccount")
        client = Pages(
            get_account={"cloudwatchRoleArn": f"arn:aws:iam::123456789012:role/{setting}"} if setting else {},
            get_rest_apis={"items": [{"id": "other", "name": "theirs"}, {"id": "own", "name": "ours"}]},
            get_stages={"item": [{"stageName": "live", **stage}]},
            get_apis={"Items": [{"Name": "chat", "ProtocolType": sockets}]},
            list_attached_role_policies={"AttachedPolicies": [{"PolicyArn": "push"}]},
            list_role_policies={"PolicyNames": []},
            update_account=refusal if refuses else {},
        )
        monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
        return client

    return make


def remove_role(found: Belongings) -> str:
    found.seen = [Resource("AWS::ApiGateway::RestApi", "own", "PetDetectorApi")]
    return destroy._remove(Resource(ROLE, "log-role", "ApiGatewayLogRole"), found, print)


@pytest.mark.parametrize("stage", [LOGGING, DEBUGGED])
def test_the_log_role_stays_while_another_api_logs_by_it(
    account: Callable[..., Pages], found: Belongings, stage: dict[str, Any]
) -> None:
    client = account("log-role", stage)

    assert "stage live of theirs logs by it" in remove_role(found)
    assert client.changes == []


def test_the_log_role_stays_while_there_is_a_web_socket_api(account: Callable[..., Pages], found: Belongings) -> None:
    client = account("log-role", SILENT, sockets="WEBSOCKET")

    assert "the WebSocket API chat" in remove_role(found)
    assert client.changes == []


def test_the_log_role_goes_with_the_setting_that_names_it(account: Callable[..., Pages], found: Belongings) -> None:
    client = account("log-role", SILENT)

    assert remove_role(found) == ""
    assert [operation for operation, _ in client.changes] == ["update_account", "detach_role_policy", "delete_role"]
    assert client.changes[0][1] == {"patchOperations": [{"op": "replace", "path": "/cloudwatchRoleArn"}]}


def test_the_log_role_goes_though_api_gateway_keeps_its_name(account: Callable[..., Pages], found: Belongings) -> None:
    client = account("log-role", SILENT, refuses=True)

    assert remove_role(found) == ""
    assert client.changes[-1][0] == "delete_role"


@pytest.mark.parametrize("setting", ["", "role-of-another-stack"])
def test_a_setting_that_names_another_role_is_left_alone(
    account: Callable[..., Pages], found: Belongings, setting: str
) -> None:
    client = account(setting, LOGGING)

    assert remove_role(found) == ""
    assert "update_account" not in [operation for operation, _ in client.changes]


def test_the_reasons_of_a_failed_deletion_are_the_newest_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(resource: str, status: str, reason: str = "") -> dict[str, str]:
        words = {"LogicalResourceId": resource, "ResourceType": "AWS::Thing", "ResourceStatusReason": reason}
        return {"PhysicalResourceId": resource, "ResourceStatus": status, **words}

    events = [
        event("id", "DELETE_FAILED", "some resources"),
        event("Rule", "DELETE_FAILED", "it has targets"),
        event("id", "DELETE_IN_PROGRESS"),
        event("Old", "DELETE_FAILED", "of the time before"),
    ]
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Pages(describe_stack_events={"StackEvents": events}))

    assert belongings.failures("id") == ["Rule (AWS::Thing): it has targets"]


def test_a_deletion_that_fails_says_why_and_what_to_do(
    aws: Cloud, found: Belongings, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["UPDATE_COMPLETE", "DELETE_IN_PROGRESS", "DELETE_FAILED"])
    client = Pages()
    monkeypatch.setattr(destroy, "_POLL_SECONDS", 0)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    monkeypatch.setattr(belongings, "describe", lambda _: {"StackStatus": next(states)})
    monkeypatch.setattr(belongings, "failures", lambda _: ["Rule (AWS::Events::Rule): it has targets"])

    with pytest.raises(OperatorError, match="it has targets\nRemove the cause, and run this command again"):
        destroy._delete_stack("id", print)

    assert client.changes == [("delete_stack", {"StackName": "id"})]


def test_a_deletion_that_runs_is_waited_for_and_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["DELETE_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETE_COMPLETE"])
    client = Pages()
    monkeypatch.setattr(destroy, "_POLL_SECONDS", 0)
    monkeypatch.setattr(boto3, "client", lambda *_, **__: client)
    monkeypatch.setattr(belongings, "describe", lambda _: {"StackStatus": next(states)})

    destroy._delete_stack("id", print)

    assert client.changes == []


def test_a_dry_run_needs_no_name(finds_it: None) -> None:
    answer: Result = petdetect_without_aws("--env", "dev", "destroy", "--dry-run", "--json")

    assert (answer.exit_code, '"dryRun": true' in answer.stdout) == (0, True)
