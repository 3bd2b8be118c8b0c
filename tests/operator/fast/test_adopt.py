"""`petdetect adopt`: what it takes over, what it refuses, and what it tells CloudFormation of a table.

moto has tables and buckets; what CloudFormation says is made up. On the local AWS: tests/operator/adopt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import boto3
import pytest
from click.testing import Result

from ops import adopt, belongings, definitions, destroy
from ops.adopt import POLICY, Plan
from ops.belongings import Belongings, Resource
from ops.destroy import BUCKET, DATA, POOL, TABLE
from ops.errors import OperatorError
from tests.support.definitions import references, source, translated
from tests.support.moto_world import BUCKET as PICTURES
from tests.support.moto_world import ERASURES, REVIEWS, Cloud
from tests.support.moto_world import TABLE as RECORDS
from tests.support.petdetect import petdetect

STACK = "serverlessapp-pet-detector-dev"
LEFT = {"ImageBucket": PICTURES, "DetectionLogsTable": RECORDS, "ErasuresTable": ERASURES, "ReviewsTable": REVIEWS}


class Stacks:
    """What CloudFormation knows: what a deleted stack left, stacks by name, and who owns a resource."""

    def __init__(self) -> None:
        self.left = Belongings(STACK, None)
        self.left.kept = [Resource(DATA[logical_id], name, logical_id) for logical_id, name in LEFT.items()]
        self.statuses: dict[str, str] = {}
        self.owners: dict[str, str] = {}


@pytest.fixture
def stacks(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> Stacks:
    found = Stacks()
    monkeypatch.setattr(belongings, "find", lambda _: found.left)
    monkeypatch.setattr(belongings, "owner", found.owners.get)
    monkeypatch.setattr(
        belongings,
        "describe",
        lambda name: {"StackStatus": found.statuses[name]} if name in found.statuses else None,
    )
    return found


def properties(plan: Plan, logical_id: str) -> Any:
    (piece,) = (piece for piece in plan.pieces if piece.logical_id == logical_id)
    return piece.properties


# --- What it takes over -----------------------------------------------------------------------------------------------


def test_takes_over_what_a_deleted_stack_left_and_says_what_it_did_not_find(stacks: Stacks) -> None:
    found = adopt.plan(STACK, {})

    assert {piece.logical_id: piece.name for piece in found.pieces} == LEFT
    assert found.absent == ["PeoplePool"]


def test_everything_that_outlives_the_stack_can_be_taken_over() -> None:
    """But the key, of which the nested stack is told. A policy goes with its bucket, groups with the pool."""
    kept = {
        name for name, one in translated()["Resources"].items() if one.get("DeletionPolicy") == "RetainExceptOnCreate"
    }
    assert kept == {*adopt.ADOPTABLE, POLICY, *adopt.GROUPS}
    assert {name: kind for name, kind in DATA.items() if name != "Key"} == adopt.ADOPTABLE
    assert set(adopt.ADOPTABLE) == belongings._TAKEN_OVER


def test_named_ones_come_before_those_that_were_left(stacks: Stacks, aws: Cloud) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="replica")

    found = adopt.plan(STACK, {"ImageBucket": "replica"})

    assert {piece.logical_id: piece.name for piece in found.pieces} == LEFT | {"ImageBucket": "replica"}


def test_the_policy_of_a_bucket_goes_with_it(stacks: Stacks) -> None:
    policy = {"Version": "2012-10-17", "Statement": []}
    boto3.client("s3").put_bucket_policy(Bucket=PICTURES, Policy=json.dumps(policy))

    found = adopt.plan(STACK, {})

    assert properties(found, POLICY) == {"Bucket": PICTURES, "PolicyDocument": policy}


# --- What it refuses --------------------------------------------------------------------------------------------------


def test_what_another_stack_owns_is_refused_by_name(stacks: Stacks) -> None:
    stacks.owners[PICTURES] = "serverlessapp-pet-detector-prod"

    with pytest.raises(OperatorError, match=f"{PICTURES} belongs to the stack serverlessapp-pet-detector-prod"):
        adopt.plan(STACK, {"ImageBucket": PICTURES})


def test_what_another_stack_took_over_since_is_left_alone(stacks: Stacks) -> None:
    stacks.owners[PICTURES] = "serverlessapp-pet-detector-pr-7"

    found = adopt.plan(STACK, {})

    assert found.others == [(Resource(BUCKET, PICTURES, "ImageBucket"), "serverlessapp-pet-detector-pr-7")]
    assert "ImageBucket" in found.absent


@pytest.mark.parametrize(
    "status", ["CREATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "ROLLBACK_COMPLETE", "DELETE_FAILED"]
)
def test_a_stack_that_is_there_is_refused(stacks: Stacks, status: str) -> None:
    stacks.statuses[STACK] = status

    with pytest.raises(OperatorError, match=rf"is there \({status}\)"):
        adopt.plan(STACK, {})


def test_a_stack_that_has_taken_over_is_to_be_deployed(stacks: Stacks) -> None:
    stacks.statuses[STACK] = "IMPORT_COMPLETE"

    with pytest.raises(OperatorError, match="already: deploy it"):
        adopt.plan(STACK, {})


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("IMPORT_IN_PROGRESS", "wait a minute, and deploy it"),  # the command was interrupted, and CloudFormation not
        ("IMPORT_ROLLBACK_COMPLETE", "delete the stack, which leaves all of it, and try again"),
        ("IMPORT_ROLLBACK_FAILED", "delete the stack, which leaves all of it, and try again"),
    ],
)
def test_what_an_interrupted_or_failed_import_leaves_is_told_with_what_to_do(
    stacks: Stacks, status: str, said: str
) -> None:
    stacks.statuses[STACK] = status

    with pytest.raises(OperatorError, match=said):
        adopt.plan(STACK, {})


def test_an_attempt_that_was_broken_off_is_no_stack(stacks: Stacks) -> None:
    stacks.statuses[STACK] = "REVIEW_IN_PROGRESS"

    assert adopt.plan(STACK, {}).pieces


def test_two_that_could_be_meant_are_named(stacks: Stacks) -> None:
    boto3.client("s3").create_bucket(Bucket="older")
    stacks.left.kept.append(Resource(BUCKET, "older", "ImageBucket"))

    with pytest.raises(OperatorError, match="older: say which with --use ImageBucket=NAME"):
        adopt.plan(STACK, {})


def test_what_is_gone_since_is_not_found(stacks: Stacks) -> None:
    boto3.client("s3").delete_bucket(Bucket=PICTURES)

    assert "ImageBucket" in adopt.plan(STACK, {}).absent
    with pytest.raises(OperatorError, match=f"There is no {BUCKET} {PICTURES} in us-east-1"):
        adopt.plan(STACK, {"ImageBucket": PICTURES})


def test_nothing_is_no_stack(stacks: Stacks) -> None:
    stacks.left.kept = []

    with pytest.raises(OperatorError, match="Nothing is left"):
        adopt.plan(STACK, {})


def test_a_table_of_another_kind_is_refused(stacks: Stacks) -> None:
    with pytest.raises(OperatorError, match=f"{ERASURES} has other keys or indexes than DetectionLogsTable"):
        adopt.plan(STACK, {"DetectionLogsTable": ERASURES})


def test_a_bucket_of_another_region_is_refused(stacks: Stacks) -> None:
    where: Any = {"LocationConstraint": "us-west-2"}
    boto3.client("s3", region_name="us-west-2").create_bucket(Bucket="far", CreateBucketConfiguration=where)

    with pytest.raises(OperatorError, match="far is in us-west-2, and the stack would be in us-east-1"):
        adopt.plan(STACK, {"ImageBucket": "far"})


@pytest.mark.parametrize("use", ["AnalysesTable=x", "ImageBucket", "ImageBucket=", "=x"])
def test_only_data_of_the_template_can_be_named(use: str) -> None:
    answer = petdetect("--env", "dev", "adopt", "--use", use)

    assert (answer.exit_code, "is not one of ImageBucket" in answer.stderr) == (2, True)


# --- What it says of a table ------------------------------------------------------------------------------------------


def test_a_table_has_what_it_has_and_not_what_the_template_wants(stacks: Stacks) -> None:
    """CloudFormation compares the deployment with this: what a restore lost would stay lost if it were said here."""
    said = properties(adopt.plan(STACK, {}), "DetectionLogsTable")

    wanted = definitions.document(definitions.TEMPLATE)["Resources"]["DetectionLogsTable"]["Properties"]
    for name in ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode"):
        assert said[name] == wanted[name]
    assert said["DeletionProtectionEnabled"] is False
    assert not {"TimeToLiveSpecification", "PointInTimeRecoverySpecification", "SSESpecification"} & said.keys()


def test_a_table_that_was_never_restored_needs_no_change(stacks: Stacks) -> None:
    """Else the deployment would turn on what is on, and DynamoDB refuses that."""
    dynamodb = boto3.client("dynamodb")
    ttl: Any = {"AttributeName": "ExpiresAt", "Enabled": True}
    dynamodb.update_time_to_live(TableName=RECORDS, TimeToLiveSpecification=ttl)
    dynamodb.update_continuous_backups(
        TableName=RECORDS, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    dynamodb.update_table(
        TableName=RECORDS, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )

    said = properties(adopt.plan(STACK, {}), "DetectionLogsTable")

    wanted = definitions.document(definitions.TEMPLATE)["Resources"]["DetectionLogsTable"]["Properties"]
    for name in ("TimeToLiveSpecification", "PointInTimeRecoverySpecification", "StreamSpecification"):
        assert said[name] == wanted[name]


def test_what_is_said_of_the_rest_is_written_out_in_the_template() -> None:
    """An intrinsic function would come out as its arguments."""
    template = source()["Resources"]
    said = [template["PeoplePool"]["Properties"][name] for name in adopt.POOL_PROPERTIES]
    for name in ("DetectionLogsTable", "ErasuresTable", "ReviewsTable"):
        said += [template[name]["Properties"].get(one) for one in adopt._SAME_IN_EVERY_COPY]
    assert not references(said)
    assert "Fn::" not in json.dumps(said)


def test_a_key_of_the_account_is_told(stacks: Stacks) -> None:
    arn = boto3.client("kms", region_name="us-east-1").create_key()["KeyMetadata"]["Arn"]
    boto3.client("s3").put_bucket_encryption(
        Bucket=PICTURES,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}}]
        },
    )

    answer = petdetect("--env", "dev", "adopt", "--dry-run", "--json")

    assert json.loads(answer.stdout)["keyArn"] == arn
    assert f"DataKeyArn={arn}" in json.loads(answer.stdout)["next"]


# --- What it does -----------------------------------------------------------------------------------------------------


class CloudFormation:
    """One change set, and one stack, that end as it is told."""

    def __init__(self, stacks: Stacks) -> None:
        self.stacks, self.calls, self.looks = stacks, [], 0  # type: ignore[var-annotated]
        self.change_set = {"ExecutionStatus": "AVAILABLE", "StatusReason": ""}
        self.ends = "IMPORT_COMPLETE"

    def create_change_set(self, **arguments: Any) -> dict[str, str]:
        self.calls.append(arguments)
        return {"Id": "id"}

    def describe_change_set(self, ChangeSetName: str) -> dict[str, str]:
        self.looks += 1
        return {"Status": "CREATE_IN_PROGRESS" if self.looks == 1 else "CREATE_COMPLETE"} | self.change_set

    def execute_change_set(self, **arguments: Any) -> None:
        self.calls.append(arguments)
        self.stacks.statuses[STACK] = self.ends

    def delete_stack(self, **arguments: Any) -> None:
        self.calls.append(arguments)


@pytest.fixture
def cloudformation(stacks: Stacks, monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    made = CloudFormation(stacks)
    monkeypatch.setattr(adopt, "_cloudformation", lambda: made)
    monkeypatch.setattr(adopt, "_POLL_SECONDS", 0)
    return made


@pytest.fixture
def adopted(cloudformation: CloudFormation) -> Callable[..., Result]:
    return lambda *more: petdetect("--env", "dev", "adopt", *more)


def test_a_dry_run_changes_nothing(adopted: Callable[..., Result], cloudformation: CloudFormation) -> None:
    answer = adopted("--dry-run")

    assert (answer.exit_code, cloudformation.calls) == (0, [])
    assert PICTURES in answer.stdout
    assert "Not found: PeoplePool" in answer.stdout


def test_without_a_yes_nothing_changes(stacks: Stacks, cloudformation: CloudFormation) -> None:
    answer = petdetect("--env", "dev", "adopt", typed="n\n")

    assert (answer.exit_code, cloudformation.calls) == (1, [])


def test_imports_just_these_and_says_what_comes_next(
    adopted: Callable[..., Result], cloudformation: CloudFormation
) -> None:
    answer = adopted("--yes")

    made, executed = cloudformation.calls
    assert (made["ChangeSetType"], executed["ChangeSetName"]) == ("IMPORT", "id")
    assert {one["LogicalResourceId"]: one["ResourceIdentifier"] for one in made["ResourcesToImport"]} == {
        "ImageBucket": {"BucketName": PICTURES},
        **{name: {"TableName": LEFT[name]} for name in LEFT if DATA[name] == TABLE},
    }
    template = json.loads(made["TemplateBody"])
    assert template["Resources"].keys() == LEFT.keys()
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):  # whatever is rolled back, nothing is deleted
        assert {one[policy] for one in template["Resources"].values()} == {"Retain"}
    assert template.keys() == {"AWSTemplateFormatVersion", "Resources"}  # a parameter's value would be kept for ever
    assert answer.exit_code == 0
    assert "sam build && sam deploy --config-env dev" in answer.stdout


def test_a_change_set_that_is_refused_leaves_no_stack(
    adopted: Callable[..., Result], cloudformation: CloudFormation
) -> None:
    cloudformation.change_set = {"ExecutionStatus": "UNAVAILABLE", "StatusReason": "already exists in stack x"}

    answer = adopted("--yes")

    assert (answer.exit_code, "already exists in stack x" in answer.stderr) == (1, True)
    assert cloudformation.calls[-1] == {"StackName": STACK}


def test_an_import_that_failed_is_said(adopted: Callable[..., Result], cloudformation: CloudFormation) -> None:
    cloudformation.ends = "ROLLBACK_COMPLETE"

    answer = adopted("--yes")

    assert (answer.exit_code, "did not take them over (ROLLBACK_COMPLETE)" in answer.stderr) == (1, True)


# --- What `destroy` leaves to the new owner ---------------------------------------------------------------------------


def test_destroying_the_old_stack_does_not_touch_what_a_new_one_has_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events and tags still call the bucket the old stack's."""
    bucket, table = (Resource(DATA[name], LEFT[name], name) for name in ("ImageBucket", "DetectionLogsTable"))
    owners = {PICTURES: "serverlessapp-pet-detector-pr-7", RECORDS: f"{STACK}-DataKeyStack-1A"}
    monkeypatch.setattr(belongings, "describe", lambda _: None)
    monkeypatch.setattr(belongings, "owner", owners.get)
    monkeypatch.setattr(belongings, "_deleted_stacks", lambda _: ["old"])
    monkeypatch.setattr(belongings, "_read_events", lambda _, found: found.kept.extend([bucket, table]))
    monkeypatch.setattr(belongings, "tagged_resources", lambda _: [(STACK, bucket)])

    assert belongings.find(STACK).all() == [table]


def test_who_has_a_resource_is_asked_of_cloudformation(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"PhysicalResourceId": PICTURES, "StackId": "new", "ResourceStatus": "UPDATE_COMPLETE"}
    kept = held | {"StackId": "old", "ResourceStatus": "DELETE_SKIPPED"}
    answers: list[dict[str, str]] = []
    client = type("Client", (), {"describe_stack_resources": lambda _, **__: {"StackResources": answers}})()
    stacks = {"new": {"StackName": "new-one", "StackStatus": "UPDATE_COMPLETE"}}
    monkeypatch.setattr(belongings, "_cloudformation", lambda: client)
    monkeypatch.setattr(belongings, "describe", stacks.get)

    assert belongings.owner(PICTURES) is None
    answers[:] = [kept]
    assert belongings.owner(PICTURES) is None
    answers[:] = [held]
    assert belongings.owner(PICTURES) == "new-one"
    stacks["new"]["StackStatus"] = "DELETE_COMPLETE"
    assert belongings.owner(PICTURES) is None


def test_a_pool_is_taken_over_by_its_id_with_the_groups_that_it_has(
    stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto has no user pools here: the local AWS has, in tests/operator/adopt."""
    pool = "us-east-1_pool"
    stacks.left.kept.append(Resource(POOL, pool, "PeoplePool"))
    look, make = destroy.size_of, boto3.client
    monkeypatch.setattr(destroy, "size_of", lambda one: "about 3 people" if one.kind == POOL else look(one))
    pages = [{"Groups": [{"GroupName": "reviewer"}]}, {"Groups": [{"GroupName": "somebody-elses"}]}]
    pools = mock.Mock()
    pools.get_paginator("list_groups").paginate.side_effect = lambda UserPoolId: pages if UserPoolId == pool else []
    monkeypatch.setattr(boto3, "client", lambda name, **more: pools if name == "cognito-idp" else make(name, **more))

    found = adopt.plan(STACK, {})

    assert properties(found, "PeoplePool")["UsernameAttributes"] == ["email"]
    assert not found.absent
    groups = {piece.logical_id: piece.identifier for piece in found.pieces if piece.kind == adopt.GROUP_TYPE}
    assert groups == {"ReviewerGroup": {"UserPoolId": pool, "GroupName": "reviewer"}}
