"""`petdetect reconcile` takes up what was lost; `petdetect status` says whether anything needs attention."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from unittest import mock

from pet_detector.rules import image_ids
from tests.operator.application import Application, ended, environment, start_petdetect


def test_a_lost_event_is_found_and_its_image_finished(application: Application) -> None:
    with application.uploads_ignored():
        image_id = application.put()
    before = application.snapshot()

    young = application.petdetect("reconcile")
    unstarted = application.petdetect("explain", image_id)
    dry = application.petdetect("reconcile", "--older-than", "0", "--dry-run")
    assert application.snapshot() == before
    real = application.petdetect("reconcile", "--older-than", "0", "--json")

    assert young.out == "Nothing to reconcile: no upload is overdue.\n"
    assert "may have no record yet" in unstarted.err
    assert dry.code == 0
    assert image_id in dry.out
    assert "start it" in dry.out
    assert (real.json["gap"], real.json["started"], real.json["closed"]) == (1, 1, 0)
    assert application.settled(image_id) == "completed"
    story = application.petdetect("explain", image_id, "--json").json
    assert [run["kind"] for run in story["executions"]] == ["reconcile"]


def test_a_record_that_nobody_works_on_is_closed_and_nothing_but_json_is_printed(application: Application) -> None:
    image_id = application.missing()
    long_ago = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    application.dynamodb.update_item(
        TableName=application.table,
        Key={"ImageID": {"S": image_id}},
        UpdateExpression="SET ProcessingStatus = :status, StatusShard = :shard, ClaimedAt = :then REMOVE Notices",
        ExpressionAttributeValues={
            ":status": {"S": "processing"},
            ":shard": {"S": f"processing#{image_ids.shard_of(image_id)}"},
            ":then": {"S": long_ago},
        },
    )
    assert "its claim has expired" in application.petdetect("explain", image_id).out
    assert application.petdetect("status", "--json").json["oldestUnfinished"]["name"] == image_id

    # In a process of its own: log lines and metrics would go to the real standard output.
    closed = ended(start_petdetect("reconcile", "--json", **application.variables))

    assert closed.json["closed"] == 1
    assert closed.err == ""
    assert application.item(image_id)["Error"]["M"]["Error"]["S"] == "ExecutionLost"


def test_status_needs_attention_when_any_queue_holds_a_dead_letter(application: Application) -> None:
    queues = {name.removesuffix("Url"): url for name, url in application.outputs.items() if name.endswith("QueueUrl")}
    assert set(application.petdetect("status", "--json").json["deadLetters"]) == set(queues)
    name, url = sorted(queues.items())[0]
    application.sqs.send_message(QueueUrl=url, MessageBody="{}")

    status = application.petdetect("status", "--json")

    assert status.code == 3
    assert status.json["deadLetters"] == {queue: int(queue == name) for queue in queues}
    assert "docs/operations.md#dead-letters" in application.petdetect("status").out


def test_the_operators_own_aws_settings_do_not_reach_the_local_one(deployed: Application) -> None:
    strange = {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "eu-west-1"}

    with mock.patch.dict(os.environ, strange):
        answer = deployed.petdetect("status", "--json")

    assert answer.code in (0, 3)
    assert answer.json["environment"] == "local"


def test_a_stack_on_aws_is_reached_with_the_operators_own_credentials(deployed: Application) -> None:
    name = "serverlessapp-pet-detector-dev"
    outputs = {key: {"Value": value} for key, value in deployed.outputs.items()}
    resource = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "any"}}
    cloudformation = deployed.engine.client("cloudformation")
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    on_aws = {"AWS_ENDPOINT_URL": deployed.engine.url, "NO_PROXY": "127.0.0.1", "PETDETECT_ENV": "dev", **keys}
    with mock.patch.dict(os.environ, environment(**on_aws), clear=True):
        missing = deployed.petdetect("failed")
        cloudformation.create_stack(
            StackName=name, TemplateBody=json.dumps({"Resources": {"Any": resource}, "Outputs": outputs})
        )
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.05})
        try:
            status = deployed.petdetect("--env", "dev", "status", "--json")
            dry = deployed.petdetect("redrive", "--all", "--dry-run", "--json")
        finally:
            cloudformation.delete_stack(StackName=name)

    assert missing.code == 1
    assert "serverlessapp-pet-detector-dev is not deployed" in missing.err
    assert "sam deploy --config-env dev" in missing.err
    assert status.code in (0, 3)
    assert status.json["environment"] == "dev"
    assert dry.code == 0
