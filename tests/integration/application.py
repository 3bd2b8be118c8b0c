"""The deployed application as its tests see it: its API over HTTP, its AWS resources, and the notices it sends."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from functools import cached_property
from pathlib import Path
from typing import Any

from local.api_client import ApiClient
from local.deploy import stack_outputs, stack_resources
from local.engine import REPOSITORY, Engine

ORIGIN = "http://localhost:3000"  # AllowedOrigin's default in template.yaml
IMAGE_SECONDS = 40.0  # far more than one picture needs, on a machine that does other things besides
FINAL = {"completed", "needs_review", "rejected", "failed"}

# What the local Rekognition makes of them stands in photos/ATTRIBUTION.md.
CERTAIN_CAT = REPOSITORY / "photos" / "cat_chelsea.jpg"
CERTAIN_DOG = REPOSITORY / "photos" / "dog_gcompris_german_shepherd.jpg"
CERTAIN_OTHER = REPOSITORY / "photos" / "other_rocket.jpg"
UNCERTAIN_CAT = REPOSITORY / "photos" / "cat_gcompris_cat_yarn.jpg"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names compare without case."""

    status: int
    headers: Message[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON and say so."""
        assert self.headers["Content-Type"].split(";")[0] == "application/json", self
        return json.loads(self.body)


@dataclass(frozen=True)
class Peak:
    """The most memory that a process of a function ever had, and what the template gives the function, in MB."""

    function: str
    megabytes: float
    limit: int


def eventually(probe: Callable[[], Any], what: str, seconds: float = IMAGE_SECONDS) -> Any:
    """The first truthy value of `probe`; an AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not in {seconds:.0f} s: {what}")


class Application:
    """The stack on its engine, driven from outside. Every method may be called from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outputs = stack_outputs(engine)
        self.url = self.outputs["ApiUrl"]
        self.bucket = self.outputs["ImageBucketName"]
        self.table = self.outputs["DetectionLogsTableName"]
        self.workflow = self.outputs["ImageWorkflowArn"]
        keys = engine.client("apigateway")
        self.key: str = keys.get_api_key(apiKey=self.outputs["ApiKeyId"], includeValue=True)["value"]
        self.client = ApiClient(self.url, self.key)  # the demonstration's own: waits when it is throttled
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.s3, self.dynamodb, self.sfn = (engine.client(name) for name in ("s3", "dynamodb", "stepfunctions"))
        self._notices: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._peaks: dict[Path, Peak] = {}

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    def send(self, verb: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One request, whatever comes of it."""
        request = urllib.request.Request(url, body, headers or {}, method=verb)
        try:
            with self._opener.open(request, timeout=IMAGE_SECONDS) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def post_form(self, url: str, fields: dict[str, str], content: bytes) -> Answer:
        """Send an upload form with whatever fields, as a browser does."""
        boundary = uuid.uuid4().hex
        parts = [f'name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
        parts.append(b'name="file"; filename="picture"\r\n\r\n' + content)
        start = f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
        body = b"".join(start + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
        return self.send("POST", url, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def call(
        self, verb: str, path: str, document: Any = None, *, key: str | None = "", headers: dict[str, str] | None = None
    ) -> Answer:
        """A browser's request to the API with the right key (`key=None`: with none), again while it is throttled.

        `document` is sent as JSON, bytes as they are.
        """
        sent = {"Origin": ORIGIN, "Content-Type": "application/json", **(headers or {})}
        if key is not None:
            sent["x-api-key"] = key or self.key
        body = document if isinstance(document, bytes) else None if document is None else json.dumps(document).encode()
        for _ in range(60):
            answer = self.send(verb, self.url + path, body, sent)
            if answer.status != 429:
                break
            time.sleep(0.2)
        return answer

    def listing(self, **filters: str | int) -> dict[str, Any]:
        """GET /images; `since` stands for `from`, which Python keeps for itself."""
        query = {"from" if name == "since" else name: str(value) for name, value in filters.items()}
        answer = self.call("GET", "/images?" + urllib.parse.urlencode(query))
        assert answer.status == 200, answer
        page: dict[str, Any] = answer.json
        return page

    # --- Images -------------------------------------------------------------------------------------------------------

    def upload(self, picture: Path) -> str:
        """Send a photo through a form, and return its id."""
        return self.client.upload(picture.name, "image/jpeg", picture.read_bytes())

    def finished(self, image_id: str) -> dict[str, Any]:
        """Wait until the image has its final status and all is done, and return what the API says then."""
        # Asked of DynamoDB: a usage plan throttles who asks the API so often.
        eventually(lambda: self.status(image_id) in FINAL, f"image {image_id} reaches a final status")
        self.quiet(image_id)
        return self.client.image(image_id)

    def status(self, image_id: str) -> str:
        """The record's ProcessingStatus; empty when there is no record."""
        return str(self.item(image_id).get("ProcessingStatus", {}).get("S", ""))

    def quiet(self, image_id: str) -> None:
        """Wait until the execution that owns the image has ended: its notice is sent after the record is final."""
        item = self.item(image_id)
        if "ExecutionArn" in item:
            self.ended(item["ExecutionArn"]["S"])

    def item(self, image_id: str) -> dict[str, Any]:
        """The record as DynamoDB has it; empty when there is none."""
        answer = self.dynamodb.get_item(TableName=self.table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
        item: dict[str, Any] = answer.get("Item", {})
        return item

    def put(self, key: str, content: bytes) -> str:
        """Put an object straight into the bucket, and return its version."""
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=content)["VersionId"])

    def stored(self, location: str) -> bytes:
        """The object that an S3 location (`s3://bucket/key`) of this bucket names."""
        key = location.removeprefix(f"s3://{self.bucket}/")
        content: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content

    def has_version(self, key: str, version: str) -> bool:
        """Whether that version of an object is still stored."""
        try:
            self.s3.head_object(Bucket=self.bucket, Key=key, VersionId=version)
        except self.s3.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return False
        return True

    def versions(self, fragment: str) -> set[tuple[str, str]]:
        """(key, version) of every stored object version whose key holds `fragment`; marks of deletion count too."""
        found = set()
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                if fragment in entry["Key"]:
                    found.add((entry["Key"], entry["VersionId"]))
        return found

    # --- Executions ---------------------------------------------------------------------------------------------------

    def start(self, document: dict[str, Any]) -> str:
        """Start an execution of the workflow by hand, and return its ARN."""
        execution = self.sfn.start_execution(
            stateMachineArn=self.workflow, name=uuid.uuid4().hex, input=json.dumps(document)
        )
        return str(execution["executionArn"])

    def deliver(self, event: dict[str, Any], times: int) -> list[str]:
        """Let EventBridge's rule deliver an event of S3 so often at once: its target starts an execution with it.

        (PutEvents would not do: nobody but S3 may send an event of S3.)
        """
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(self.start, [event] * times))

    def executions(self, image_id: str) -> list[str]:
        """ARNs of all executions that were started for an API-made key with this id."""
        arns = []
        for page in self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.workflow):
            for execution in page["executions"]:
                arn = execution["executionArn"]
                if image_id in self.sfn.describe_execution(executionArn=arn)["input"]:
                    arns.append(arn)
        return arns

    def input_of(self, execution: str) -> dict[str, Any]:
        """What an execution was started with."""
        document: dict[str, Any] = json.loads(self.sfn.describe_execution(executionArn=execution)["input"])
        return document

    def ended(self, execution: str) -> str:
        """Wait for the end of an execution: the name of the last state it entered."""

        def final_state() -> str | None:
            if self.sfn.describe_execution(executionArn=execution)["status"] == "RUNNING":
                return None
            events = self.sfn.get_execution_history(executionArn=execution, maxResults=1000)["events"]
            entered = [
                event["stateEnteredEventDetails"]["name"] for event in events if "stateEnteredEventDetails" in event
            ]
            return str(entered[-1])

        return str(eventually(final_state, f"execution {execution} ends"))

    def attempts(self, execution: str) -> Counter[str]:
        """How often each task was tried."""
        events = self.sfn.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        tried: Counter[str] = Counter()
        state = ""
        for event in events:
            state = event.get("stateEnteredEventDetails", {}).get("name", state)
            tried[state] += event["type"] == "TaskScheduled"
        return tried

    @cached_property
    def functions(self) -> dict[str, str]:
        """Name of each function by its logical id."""
        return stack_resources(self.engine, "AWS::Lambda::Function")

    def configure(self, function: str, **variables: str) -> dict[str, str]:
        """Give a function these environment variables, and return what it had; it starts in fresh environments then,
        as after a deployment.
        """
        client, name = self.engine.client("lambda"), self.functions[function]
        before: dict[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        client.update_function_configuration(FunctionName=name, Environment={"Variables": before | variables})
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        return before

    @contextlib.contextmanager
    def configured(self, function: str, **variables: str) -> Iterator[None]:
        """A function has these environment variables inside the block."""
        before = self.configure(function, **variables)
        try:
            yield
        finally:
            self.configure(function, **before)

    def memory_peaks(self) -> list[Peak]:
        """Of each process of a function that ran at this or an earlier call; none where there is no /proc."""
        engine = json.loads((self.engine.home / "aws.pid").read_text())["pid"]
        ids = {name: logical_id for logical_id, name in self.functions.items()}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, LookupError, ValueError):  # it is about to begin, or has just ended
                status = dict(re.findall(r"^(PPid|VmHWM):\s+(\d+)", (process / "status").read_text(), re.MULTILINE))
                if int(status["PPid"]) == engine:
                    texts = (process / "environ").read_bytes().decode().rstrip("\0").split("\0")
                    variables = dict(text.split("=", 1) for text in texts)
                    limit = int(variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"])
                    name = ids[variables["AWS_LAMBDA_FUNCTION_NAME"]]
                    self._peaks[process] = Peak(name, int(status["VmHWM"]) / 1024, limit)
        return list(self._peaks.values())

    @cached_property
    def _impatient_reconciler(self) -> str:
        self.configure("ReconcilerFunction", OVERDUE_MINUTES="0")
        return self.functions["ReconcilerFunction"]

    def reconcile(self) -> dict[str, int]:
        """Run the reconciler, to which every upload is overdue at once: what it says it did."""
        answer = self.engine.client("lambda").invoke(FunctionName=self._impatient_reconciler)
        assert "FunctionError" not in answer, answer["Payload"].read()
        report: dict[str, int] = json.loads(answer["Payload"].read())
        return report

    @contextlib.contextmanager
    def deaf_to_uploads(self) -> Iterator[None]:
        """No upload starts the workflow inside the block: a test starts it itself."""
        events = self.engine.client("events")
        rules = events.list_rule_names_by_target(TargetArn=self.workflow)["RuleNames"]
        assert len(rules) == 1
        events.disable_rule(Name=rules[0])
        try:
            yield
        finally:
            events.enable_rule(Name=rules[0])

    # --- Logs and metrics ---------------------------------------------------------------------------------------------

    def log_lines(self, image_id: str) -> list[dict[str, Any]]:
        """What the functions logged about an image."""
        logs = self.engine.client("logs")
        groups = stack_resources(self.engine, "AWS::Logs::LogGroup")
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=groups["FunctionsLogGroup"])
        texts = [event["message"] for page in pages for event in page["events"] if image_id in event["message"]]
        return [json.loads(text) for text in texts]

    def metrics(self) -> dict[tuple[str, ...], tuple[float, int]]:
        """Sum and number of all values by metric: its name, and the value of its dimension if it has one."""
        cloudwatch, hour = self.engine.client("cloudwatch"), timedelta(hours=1)
        now = datetime.now(UTC)
        found = {}
        for metric in cloudwatch.list_metrics(Namespace="PetDetector")["Metrics"]:
            points = cloudwatch.get_metric_statistics(
                **{name: metric[name] for name in ("Namespace", "MetricName", "Dimensions")},
                **{"StartTime": now - 2 * hour, "EndTime": now + hour, "Period": 86400},
                Statistics=["Sum", "SampleCount"],
            )["Datapoints"]
            own = [dimension["Value"] for dimension in metric["Dimensions"] if dimension["Name"] != "service"]
            assert len(own) == len(metric["Dimensions"]) - 1, metric  # every metric says of which stack it is
            found[metric["MetricName"], *own] = (
                sum(point["Sum"] for point in points),
                int(sum(point["SampleCount"] for point in points)),
            )
        return found

    # --- Notices ------------------------------------------------------------------------------------------------------

    @cached_property
    def _inbox(self) -> tuple[Any, str]:
        sqs, sns = self.engine.client("sqs"), self.engine.client("sns")
        queue = sqs.create_queue(QueueName="integration-notices")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self.outputs["NoticesTopicArn"], Protocol="sqs", Endpoint=arn)
        return sqs, queue

    def listen(self) -> None:
        """Subscribe to the notices; those sent before are lost."""
        assert self._inbox

    def notices(self, image_id: str = "") -> list[dict[str, Any]]:
        """All notices about an image (by default: any) since `listen`, as SNS delivers them.

        Wait for its executions first.
        """
        sqs, queue = self._inbox
        with self._lock:
            while batch := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
                for message in batch:
                    self._notices.append(json.loads(message["Body"]))
                    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            return [
                notice for notice in self._notices if image_id in ("", notice["MessageAttributes"]["ImageID"]["Value"])
            ]
