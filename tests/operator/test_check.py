"""`petdetect check` on the local AWS: all is well; then red, with a sentence that helps, for what is broken in turn.

What the local AWS has no notion of (quotas, drift, X-Ray, a definition that is refused) is in fast/test_check.py.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local.deploy import stack_resources
from tests.operator.application import Application, Output, ended, eventually, start_petdetect

ORIGIN = "http://localhost:3000"  # AllowedOrigin, by default
OTHER = "https://old.example"
PICTURES = {"cat by form", "dog by inline", "cat and dog by S3"}


@dataclass(frozen=True)
class Checked:
    """What one run of the command found."""

    output: Output

    @property
    def verdicts(self) -> dict[str, str]:
        """By the names of the lines."""
        return {line["check"]: line["verdict"] for line in self.output.json["lines"]}

    @property
    def red(self) -> dict[str, str]:
        """The lines that are not ok, with their sentences."""
        lines = self.output.json["lines"]
        return {line["check"]: line["says"] for line in lines if line["verdict"] == "not ok"}

    def says(self, name: str) -> str:
        """What a line says."""
        return str(next(line["says"] for line in self.output.json["lines"] if line["check"] == name))


def checked(application: Application, *options: str) -> Checked:
    """Run the command; its exit code goes with what it found."""
    found = Checked(application.petdetect("check", "--json", *options))
    assert found.output.code == (3 if found.red else 0), found.output
    assert found.output.json["needsAttention"] == bool(found.red)
    return found


def left(application: Application) -> list[object]:
    """What is there of images: records but for marks of erased ones, objects, analyses, rows of the ledger, reviews."""
    records = [item for item in application.records() if item["ProcessingStatus"]["S"] != "erased"]
    analyses = application.dynamodb.scan(TableName=application.analyses)["Items"]
    hashes = [item["ContentHash"]["S"] for item in analyses if len(item["ContentHash"]["S"]) == 64]
    ledger = application.dynamodb.scan(TableName=application.outputs["ErasuresTableName"])["Items"]
    rows = sorted(item["ImageID"]["S"] for item in ledger)
    reviewed = application.dynamodb.scan(TableName=application.outputs["ReviewsTableName"])["Items"]
    reviews = sorted(item["ImageID"]["S"] for item in reviewed if item["Entry"]["S"] == "review")
    return [records, application.objects(delete_markers=True), sorted(hashes), rows, reviews]


def policy_of(application: Application, role: str) -> tuple[Any, str, str, dict[str, Any]]:
    """IAM, a role, its policy's name, and the policy."""
    iam, name = application.engine.client("iam"), stack_resources(application.engine, "AWS::IAM::Role")[role]
    (policy,) = [one for one in iam.list_role_policies(RoleName=name)["PolicyNames"] if "EventInvoke" not in one]
    return iam, name, policy, iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]


@contextlib.contextmanager
def right_taken(application: Application, role: str, action: str) -> Iterator[str]:
    """A role may not do something inside the block: the role's name."""
    iam, name, policy, document = policy_of(application, role)
    less = json.loads(json.dumps(document))
    for statement in less["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [one for one in actions if one != action] or ["sts:GetCallerIdentity"]
    assert less != document
    iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(less))
    try:
        yield name
    finally:
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))


def test_all_is_well_and_nothing_is_left(application: Application) -> None:
    before = left(application)

    found = checked(application)

    assert found.red == {}
    assert PICTURES | {"notice of cat and dog", "GET /images/{id}", "clean-up"} <= {
        name for name, verdict in found.verdicts.items() if verdict == "ok"
    }
    assert found.says("cat by form").startswith("cats/, ")
    assert found.says("dog by inline").startswith("dogs/, ")
    assert found.says("cat and dog by S3").startswith("others/, ")
    assert all(found.says(name) for name, verdict in found.verdicts.items() if verdict == "not checked")
    assert left(application) == before
    assert application.petdetect("status").code == 0


def test_a_person_gets_a_table_and_a_program_its_exit_code(application: Application) -> None:
    with application.uploads_ignored():
        output = application.petdetect("check")

    assert output.code == 3
    assert "rule ImageUploadedRule" in output.out
    assert "Not ok: rule ImageUploadedRule. It is disabled, so nothing happens: aws events enable-rule" in output.out
    assert output.out.rstrip().endswith("not checked.")


@pytest.mark.parametrize("wanted", ["live", "number"])
def test_pictures_are_started_on_what_is_named_and_by_nothing_else(application: Application, wanted: str) -> None:
    before, executions = left(application), set(application.execution_arns())
    versions = application.sfn.list_state_machine_versions(stateMachineArn=application.workflow)
    newest = versions["stateMachineVersions"][0]["stateMachineVersionArn"].rpartition(":")[2]
    version = newest if wanted == "number" else wanted

    found = checked(application, "--version", version)

    assert found.red == {}
    assert {name for name, verdict in found.verdicts.items() if name.endswith("by execution") and verdict == "ok"} == {
        "cat by execution",
        "dog by execution",
        "cat and dog by execution",
    }
    started = [application.sfn.describe_execution(executionArn=arn) for arn in application.execution_arns()]
    new = [one for one in started if one["executionArn"] not in executions]
    assert len(new) == 3, "no rule watches where they lie"
    names = {one.get("stateMachineAliasArn") or one["stateMachineVersionArn"] for one in new}
    assert names == {f"{application.workflow}:{version}"}
    assert left(application) == before


def test_what_a_rollback_ends_with(application: Application) -> None:
    """The very options of rollback.yml: X-Ray sees nothing here, and what was asked for is seen."""
    found = checked(application, "--only", "pictures", "--only", "api")

    assert [name for name, verdict in found.verdicts.items() if verdict != "ok"] == ["X-Ray"]
    assert found.verdicts.keys() >= PICTURES


def test_a_version_that_is_not_there_is_refused(application: Application) -> None:
    output = application.petdetect("check", "--version", "999")

    assert output.code == 1
    assert "The workflow has no version 999: it has " in output.err
    assert application.petdetect("check", "--version", "newest").code == 2


def test_a_disabled_rule(application: Application) -> None:
    with application.uploads_ignored():
        found = checked(application)

    assert set(found.red) == {"rule ImageUploadedRule"}
    assert found.verdicts["cat by form"] == "not checked"
    assert "see its line" in found.says("cat by form")


def test_pictures_of_a_bucket_that_sends_no_events_yet(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the first deployment of an environment finds it; the local AWS spreads a new bucket's settings at once."""
    before, executions = left(application), set(application.execution_arns())
    monkeypatch.setattr("ops.check.check_settings.is_new", lambda _: True)
    monkeypatch.setattr("ops.check_pictures._EVENT_SECONDS", 1.0)
    application.s3.put_bucket_notification_configuration(Bucket=application.bucket, NotificationConfiguration={})
    try:
        found = checked(application)
    finally:
        application.s3.put_bucket_notification_configuration(
            Bucket=application.bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )

    assert set(found.red) == {"bucket"}, "whose setting is missing here, and is on AWS only late"
    folders = {"cat by form": "cats/", "dog by inline": "dogs/", "cat and dog by S3": "others/"}
    for name, folder in folders.items():
        assert found.verdicts[name] == "not checked"
        assert f"S3 sent no event (it needs 5 minutes). Started by the alias: {folder}, " in found.says(name)
    assert found.verdicts["notice of cat and dog"] == found.verdicts["GET /images/{id}"] == "ok"
    assert len(set(application.execution_arns()) - executions) == 3
    assert left(application) == before


def test_a_wrong_origin_of_the_bucket_and_of_the_api(application: Application) -> None:
    s3, gateway = application.s3, application.engine.client("apigateway")
    cors = s3.get_bucket_cors(Bucket=application.bucket)["CORSRules"]
    api = stack_resources(application.engine, "AWS::ApiGateway::RestApi")["PetDetectorApi"]
    upload = next(one for one in gateway.get_resources(restApiId=api)["items"] if one["path"] == "/upload")
    place = {"restApiId": api, "resourceId": upload["id"], "httpMethod": "OPTIONS", "statusCode": "200"}
    before = gateway.get_integration_response(**place)
    header = "method.response.header.Access-Control-Allow-Origin"
    again = {name: before[name] for name in ("responseParameters", "responseTemplates") if name in before}
    s3.put_bucket_cors(
        Bucket=application.bucket, CORSConfiguration={"CORSRules": [{**cors[0], "AllowedOrigins": [OTHER]}]}
    )
    gateway.put_integration_response(
        **place, **(again | {"responseParameters": before["responseParameters"] | {header: f"'{OTHER}'"}})
    )
    try:
        found = checked(application)
    finally:
        s3.put_bucket_cors(Bucket=application.bucket, CORSConfiguration={"CORSRules": cors})
        gateway.put_integration_response(**place, **again)

    assert set(found.red) == {"preflight of the API", "preflight of the bucket"}
    assert f"From AllowedOrigin {ORIGIN} it answers 200 and allows {OTHER}" in found.red["preflight of the API"]
    assert "Deploy again" in found.red["preflight of the API"]
    assert "Set the bucket's CORS back" in found.red["preflight of the bucket"]


def test_an_origin_that_lets_everybody_in(application: Application) -> None:
    s3 = application.s3
    cors = s3.get_bucket_cors(Bucket=application.bucket)["CORSRules"]
    s3.put_bucket_cors(
        Bucket=application.bucket, CORSConfiguration={"CORSRules": [{**cors[0], "AllowedOrigins": ["*"]}]}
    )
    try:
        found = checked(application)
    finally:
        s3.put_bucket_cors(Bucket=application.bucket, CORSConfiguration={"CORSRules": cors})

    assert "preflight of the bucket from another origin" in found.red


def test_a_revoked_key(application: Application) -> None:
    gateway = application.engine.client("apigateway")
    key = application.outputs["ApiKeyId"]
    assert application.petdetect("key", "revoke", key, "--yes").code == 0
    try:
        found = checked(application)
    finally:
        enable = [{"op": "replace", "path": "/enabled", "value": "true"}]
        gateway.update_api_key(apiKey=key, patchOperations=enable)
        application.let_the_key_see_all()

    assert set(found.red) == {"API key"}
    assert f"{key} is revoked. petdetect key rotate client makes one" in found.red["API key"]
    assert "see the line API key" in found.says("cat by form")
    assert found.verdicts["cat and dog by S3"] == "ok"


@pytest.mark.parametrize("value", ["{", '{"minimum": 10, "margin": 15, "floor": 50}'])
def test_a_broken_policy_parameter(application: Application, value: str) -> None:
    name = application.outputs["PolicyParameterName"]
    before = application.ssm.get_parameter(Name=name)["Parameter"]["Value"]
    application.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    try:
        found = checked(application)
    finally:
        application.ssm.put_parameter(Name=name, Value=before, Type="String", Overwrite=True)

    assert f"{name}: " in found.red["detection policy"]
    assert "docs/operations.md#policyinvaliderror" in found.red["detection policy"]


def test_a_missing_right_names_role_action_and_resource(application: Application) -> None:
    before = left(application)
    with right_taken(application, "FileManagerFunctionRole", "s3:PutObject") as role:
        found = checked(application)

    rights = found.red["rights of FileManagerFunction"]
    assert f"The role {role} may not s3:PutObject on arn:aws:s3:::{application.bucket}/cats/check" in rights
    for name in PICTURES:
        assert "It failed in Move Image with AccessDeniedError: s3:PutObject: AccessDenied" in found.red[name]
        assert role in found.red[name]
    assert found.verdicts["rights of ImageProcessorFunction"] == "ok"
    assert found.verdicts["clean-up"] == "ok"
    assert left(application) == before


def test_a_source_that_stays_is_told(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """FileManager reports what S3 says; should S3 say yes and keep it, the check sees it."""
    monkeypatch.setattr("ops.check_judge.image_bucket.present_version", lambda *_: "still-there")

    found = checked(application)

    assert set(found.red) == PICTURES
    assert all("is still there: FileManager may not delete it" in says for says in found.red.values())


def test_an_unconfirmed_subscription(application: Application) -> None:
    sns = application.engine.client("sns")
    topic = application.outputs["NoticesTopicArn"]
    made = sns.subscribe(
        TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:9/nobody", ReturnSubscriptionArn=True
    )
    try:
        found = checked(application)
    finally:
        sns.unsubscribe(SubscriptionArn=made["SubscriptionArn"])

    assert set(found.red) == {"subscribers of NoticesTopic"}
    assert "http://127.0.0.1:9/nobody has not confirmed" in found.red["subscribers of NoticesTopic"]


def test_a_check_that_is_ended_removes_what_it_sent(application: Application) -> None:
    before = left(application)
    with application.queue(60):  # so that no picture comes to its end
        process = start_petdetect("check", "--version", "live", **application.variables)
        eventually(lambda: len([one for one in application.records() if "TurnAt" in one]) == 3, "three pictures wait")
        executions = [one["ExecutionArn"]["S"] for one in application.records() if "ExecutionArn" in one]
        process.send_signal(signal.SIGTERM)
        output = ended(process)

    assert output.code != 0
    assert "clean-up: 3 pictures, records, reviews and analyses removed" in output.err
    assert len(executions) == 3
    assert not any(application.is_running(execution) for execution in executions)
    assert left(application) == before
