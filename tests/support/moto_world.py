"""AWS as the unit tests see it: moto's services with this application's resources, and faults on demand."""

from __future__ import annotations

import json
import unittest.mock
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import boto3
from boto3.dynamodb.types import TypeSerializer
from moto import mock_aws
from moto.stepfunctions.models import StepFunctionBackend

from pet_detector.rules import image_ids
from pet_detector.rules.policy import Policy
from tests.support.paths import REPOSITORY
from tests.support.templates import load

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

REGION = "us-east-1"
BUCKET = "pictures-of-pets"
SOURCE = "photos-of-years"  # a bucket that is not the application's
TABLE = "detection-logs"
ANALYSES = "analyses"
ERASURES = "erasures"
REVIEWS = "reviews"
POLICY_PARAMETER = "detection-policy"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:notices"
EVENTS_QUEUE = f"https://sqs.{REGION}.amazonaws.com/123456789012/image-events-dead-letters"
REPORTS_QUEUE = f"https://sqs.{REGION}.amazonaws.com/123456789012/reports-dead-letters"
ORIGIN = "https://pets.example.com"

IMAGE_ID = "0123456789abcdef0123456789abcdef"
KEY = f"input/{IMAGE_ID}.jpg"
WORKFLOW = f"arn:aws:states:{REGION}:123456789012:stateMachine:ImageWorkflow"
LIVE = f"{WORKFLOW}:live"
REVIEW_WORKFLOW = f"arn:aws:states:{REGION}:123456789012:stateMachine:ReviewWorkflow"
BACKFILL_WORKFLOW = f"arn:aws:states:{REGION}:123456789012:stateMachine:Backfill"
EXECUTION = f"arn:aws:states:{REGION}:123456789012:execution:ImageWorkflow:one"
CORRELATION = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

ENVIRONMENT = {
    "IMAGE_BUCKET_NAME": BUCKET,
    "DETECTION_LOGS_TABLE_NAME": TABLE,
    "ANALYSES_TABLE_NAME": ANALYSES,
    "ERASURES_TABLE_NAME": ERASURES,
    "REVIEWS_TABLE_NAME": REVIEWS,
    "IMAGE_EVENTS_DEAD_LETTER_QUEUE_URL": EVENTS_QUEUE,
    "REPORTS_DEAD_LETTER_QUEUE_URL": REPORTS_QUEUE,
    "IMAGE_RETENTION_DAYS": "365",
    "RECORD_RETENTION_DAYS": "365",
    "CONTENT_SAFETY": "none",
    "CONTENT_SAFETY_CONFIDENCE": "80",
    "DAILY_ANALYSIS_LIMIT": "0",
    "DAILY_ANALYSIS_LIMIT_PER_KEY": "0",
    "REKOGNITION_CALLS_PER_SECOND": "45",
    "POLICY_PARAMETER_NAME": POLICY_PARAMETER,
    "IMAGE_WORKFLOW_ARN": WORKFLOW,
    "LIVE_ALIAS_ARN": LIVE,
    "REVIEW_WORKFLOW_ARN": REVIEW_WORKFLOW,
    "REVIEW_SAMPLE_PERCENT": "2",
    "SECOND_LOOK_PERCENT": "10",
    "REVIEW_OVERDUE_HOURS": "72",
    "OVERDUE_MINUTES": "15",
    "NOTICES_TOPIC_ARN": TOPIC,
    "NOTICE_BURST": "20",
    "PICTURE_METADATA": "strip",
    "KEEP_ORIGINALS": "false",
    "STAGE": "dev",
    "ALLOWED_ORIGIN": ORIGIN,
}


_serialize = TypeSerializer().serialize


@cache
def template() -> dict[str, Any]:
    """template.yaml as it is written."""
    return load(REPOSITORY / "template.yaml")


def handlers() -> dict[str, str]:
    """Every function of the template: its logical id and its handler as tests import it, `<folder>.app.lambda_handler`.

    One that is app.py itself is named from the root of the repository.
    """
    functions = {
        name: resource["Properties"]
        for name, resource in template()["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    alone = "app.lambda_handler"
    return {
        name: found["CodeUri"].replace("/", ".") + alone if found["Handler"] == alone else found["Handler"]
        for name, found in functions.items()
    }


def create_table(dynamodb: DynamoDBClient, name: str, like: str = "DetectionLogsTable") -> None:
    """A table with the keys and the indexes of one of the template's."""
    properties = template()["Resources"][like]["Properties"]
    names = {"AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"} & properties.keys()
    dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **{name: properties[name] for name in names})


@cache
def _client(service: str) -> Any:
    """A client of the tests' own, for all tests: making one takes longer than most tests."""
    make: Any = boto3.client
    return make(service)


# What the parameters' defaults in template.yaml make.
POLICY = Policy(minimum=80, margin=15, floor=50)


@contextmanager
def moto_aws() -> Iterator[None]:
    """moto's AWS, which also starts the alias `live` of a state machine, and not only a machine and its versions."""
    start = StepFunctionBackend.start_execution

    def start_by_alias(backend: Any, state_machine_arn: str, *rest: Any, **more: Any) -> Any:
        return start(backend, state_machine_arn.removesuffix(":live"), *rest, **more)

    with (
        mock_aws(config={"core": {"mock_credentials": False, "reset_boto3_session": False}}),
        unittest.mock.patch.object(StepFunctionBackend, "start_execution", start_by_alias),
    ):
        yield


class Cloud:
    """Clients of the tests' own (faults never reach them), and the bucket and the tables of the functions."""

    def __init__(self) -> None:
        self.s3: S3Client = _client("s3")
        self.dynamodb: DynamoDBClient = _client("dynamodb")
        self.sns: SNSClient = _client("sns")
        self.sqs: SQSClient = _client("sqs")
        self.ssm: SSMClient = _client("ssm")
        self.states: SFNClient = _client("stepfunctions")
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        create_table(self.dynamodb, TABLE)
        create_table(self.dynamodb, ANALYSES, like="AnalysesTable")
        create_table(self.dynamodb, ERASURES, like="ErasuresTable")
        create_table(self.dynamodb, REVIEWS, like="ReviewsTable")

    def subscribe(self) -> None:
        """Make the topic, and let a person subscribe to it."""
        assert self.sns.create_topic(Name="notices")["TopicArn"] == TOPIC
        queue = self.sqs.create_queue(QueueName="a-person")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=arn)
        self._queue = queue

    def make_queues(self) -> None:
        """Make the queues of dead letters."""
        for url in (EVENTS_QUEUE, REPORTS_QUEUE):
            assert self.sqs.create_queue(QueueName=url.rpartition("/")[2])["QueueUrl"] == url

    def deploy_workflow(self) -> None:
        """Make the state machines. Their executions start, and stay as they are."""
        definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
        role = "arn:aws:iam::123456789012:role/workflow"
        for arn in (WORKFLOW, BACKFILL_WORKFLOW, REVIEW_WORKFLOW):
            name = arn.rpartition(":")[2]
            made = self.states.create_state_machine(name=name, definition=definition, roleArn=role)
            assert made["stateMachineArn"] == arn

    def started(self, workflow: str = WORKFLOW) -> dict[str, dict[str, Any]]:
        """The input of every execution that was started, by its name."""
        executions = self.states.list_executions(stateMachineArn=workflow)["executions"]
        arns = {execution["name"]: execution["executionArn"] for execution in executions}
        return {name: json.loads(self.states.describe_execution(executionArn=arns[name])["input"]) for name in arns}

    def set_policy(self, value: object) -> None:
        """Write the policy parameter: text as it is, anything else as JSON."""
        text = value if isinstance(value, str) else json.dumps(value)
        self.ssm.put_parameter(Name=POLICY_PARAMETER, Value=text, Type="String", Overwrite=True)

    def put(self, key: str, data: bytes, **more: Any) -> tuple[str, str]:
        """Store an object -> (version id, ETag)."""
        answer = self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, **more)
        return answer["VersionId"], answer["ETag"]

    def put_source(self, key: str, data: bytes) -> str:
        """Store an object in the bucket that is not the application's -> its ETag, without quotes."""
        self.s3.create_bucket(Bucket=SOURCE)  # moto makes it once
        return str(self.s3.put_object(Bucket=SOURCE, Key=key, Body=data)["ETag"]).strip('"')

    def get(self, key: str) -> bytes:
        """The newest version of an object."""
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self) -> list[str]:
        """The keys of all objects that are there, in order."""
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def item(self, image_id: str = IMAGE_ID) -> dict[str, Any]:
        """A record as DynamoDB holds it; empty when there is none."""
        return dict(self.dynamodb.get_item(TableName=TABLE, Key={"ImageID": {"S": image_id}}).get("Item", {}))

    def write(self, image_id: str = IMAGE_ID, **attributes: Any) -> dict[str, Any]:
        """Put a record, with the keys of the listing indexes -> the record."""
        shard = image_ids.shard_of(image_id)
        record = {"ImageID": image_id, "Shard": shard, "StatusShard": f"{attributes['ProcessingStatus']}#{shard}"}
        record |= attributes
        if "UploadedBy" in record:
            record["OwnerShard"] = f"{record['UploadedBy']}#{shard}"
        self.dynamodb.put_item(TableName=TABLE, Item={name: _serialize(value) for name, value in record.items()})
        return record

    def put_review(self, head: Mapping[str, Any], *rows: Mapping[str, Any]) -> None:
        """Write the items of a review, as they are."""
        for item in (head, *rows):
            self.dynamodb.put_item(TableName=REVIEWS, Item={name: _serialize(value) for name, value in item.items()})

    def know_key(self, key_id: str, **attributes: Any) -> None:
        """Write the item about an API key, such as Owner and SeesAll."""
        item = {"ImageID": f"key#{key_id}", **attributes}
        self.dynamodb.put_item(TableName=TABLE, Item={name: _serialize(value) for name, value in item.items()})

    def withhold(self, kind: str, number: int, in_this_minute: int = 0, **more: str) -> None:
        """Let so many notices of a kind wait for a digest, and so many have come in this minute.

        `more` replaces times, such as WithheldSince.
        """
        now = datetime.now(UTC)
        texts = {"WithheldSince": f"{now:%Y-%m-%dT%H:%M:%S}.000Z"} | more
        numbers = {"Withheld": number, f"Notices@{now:%Y-%m-%dT%H:%MZ}": in_this_minute}
        item = {"ImageID": f"notice-burst#{kind}", **texts, **numbers}
        self.dynamodb.put_item(TableName=TABLE, Item={name: _serialize(value) for name, value in item.items()})

    def records(self) -> list[dict[str, Any]]:
        """Every record as DynamoDB holds it: not the counts of notices, which lie in the same table."""
        items = self.dynamodb.scan(TableName=TABLE)["Items"]
        return [item for item in items if "ProcessingStatus" in item]

    def notices(self) -> list[dict[str, Any]]:
        """The notices that the subscriber received since the last call."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            found += [json.loads(message["Body"]) for message in messages]
        return found


@dataclass
class Fault:
    """One thing that goes wrong in one call; `happened` tells whether it did."""

    happened: int = 0


@contextmanager
def refusal(client: Any, operation: str, code: str, status: int = 400) -> Iterator[Fault]:
    """Answer every call of `operation` with an error code, without doing anything."""
    fault = Fault()

    def refuse(**_: Any) -> tuple[SimpleNamespace, dict[str, Any]]:
        fault.happened += 1
        error = {"Code": code, "Message": f"secret text of {code}"}
        metadata = {"HTTPStatusCode": status, "RequestId": "request", "RetryAttempts": 0, "HTTPHeaders": {}}
        return SimpleNamespace(status_code=status), {"Error": error, "ResponseMetadata": metadata}

    event = f"before-call.{client.meta.service_model.service_id.hyphenize()}.{operation}"
    client.meta.events.register(event, refuse)
    try:
        yield fault
    finally:
        client.meta.events.unregister(event, refuse)


@contextmanager
def conditional_copies(client: Any) -> Iterator[None]:
    """Copies keep the conditions that S3 knows and moto ignores: the source's ETag, and a key that is not taken."""
    own: S3Client = _client("s3")

    def etag(bucket: str, key: str) -> str | None:
        objects = own.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
        return next((found["ETag"] for found in objects if found["Key"] == key), None)

    def look(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        # As botocore makes it: bucket/key, quoted; with ?versionId= moto compares nothing either, and no test asks.
        bucket, key = unquote(params["CopySource"]).split("/", 1)
        asks = "CopySourceIfMatch" in params and "?versionId=" not in params["CopySource"]
        changed = asks and etag(bucket, key) not in (None, params["CopySourceIfMatch"])
        taken = params.get("IfNoneMatch") == "*" and etag(params["Bucket"], params["Key"]) is not None
        context["refused"] = changed or taken

    def refuse(context: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, dict[str, Any]] | None:
        if not context.get("refused"):
            return None
        metadata = {"HTTPStatusCode": 412, "RetryAttempts": 0, "HTTPHeaders": {}}
        return SimpleNamespace(status_code=412), {"Error": {"Code": "PreconditionFailed"}, "ResponseMetadata": metadata}

    client.meta.events.register("before-parameter-build.s3.CopyObject", look)
    client.meta.events.register("before-call.s3.CopyObject", refuse)
    try:
        yield
    finally:
        client.meta.events.unregister("before-parameter-build.s3.CopyObject", look)
        client.meta.events.unregister("before-call.s3.CopyObject", refuse)


@contextmanager
def breakdown(client: Any, operation: str, error: Exception, *, done: bool, times: int = 1) -> Iterator[Fault]:
    """Let the connection fail `times` times: after AWS did what was asked (`done`: its answer is lost), or before."""
    fault = Fault()

    def fail(request: Any, event_name: str, **_: Any) -> None:
        if event_name.endswith(f".{operation}") and fault.happened < times:
            fault.happened += 1
            raise error

    # moto answers in `before-send` itself: handlers that stand first run before it, handlers that stand last after it.
    register = client.meta.events.register_last if done else client.meta.events.register_first
    register("before-send", fail)
    try:
        yield fault
    finally:
        client.meta.events.unregister("before-send", fail)
