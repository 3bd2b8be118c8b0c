"""The deployed application, driven from outside: template.yaml itself on a local AWS that only the tests use.

`starter.py` starts and deploys it.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from local.api_client import ApiClient
from local.deploy import stack_outputs, stack_resources
from local.engine import Engine
from local.subscribed_queue import subscribed_queue
from tests.support.paths import REPOSITORY

from .waiting import eventually

FINISHED = ("completed", "needs_review", "rejected")
FINAL = (*FINISHED, "failed")
# Analyses that a day allows once a test has asked for a limit: no test reaches it by itself.
DAILY_LIMIT = 1_000_000

# The key of the item that hands out the turns of live uploads.
_TURNS = {"ContentHash": {"S": "turns#live"}}

# What the local Rekognition sees on them is written in photos/ATTRIBUTION.md.
CERTAIN_CAT = REPOSITORY / "photos" / "cat_chelsea.jpg"
CERTAIN_DOG = REPOSITORY / "photos" / "dog_gcompris_german_shepherd.jpg"
CERTAIN_OTHER = REPOSITORY / "photos" / "other_coffee.jpg"
UNCERTAIN_CAT = REPOSITORY / "photos" / "cat_gcompris_cat_yarn.jpg"


def never_seen(picture: Path, mark: bytes = b"") -> bytes:
    """A JPEG's bytes with a comment (`mark`, else a random one), so that no earlier analysis is reused."""
    data, comment = picture.read_bytes(), mark or uuid.uuid4().bytes
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


class Deployment:
    """The stack on its local AWS. Every method may be called from several threads.

    Functions and other resources are named by their logical ids.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outputs = stack_outputs(engine)
        self.bucket = self.outputs["ImageBucketName"]
        self.table = self.outputs["DetectionLogsTableName"]
        self.analyses = self.outputs["AnalysesTableName"]
        self.workflow = self.outputs["ImageWorkflowArn"]
        self.live = self.outputs.get("LiveAliasArn", self.workflow)  # early releases have no alias
        self.s3, self.dynamodb, self.sfn = (engine.client(name) for name in ("s3", "dynamodb", "stepfunctions"))
        self.functions_client, self.events = engine.client("lambda"), engine.client("events")
        self.sqs, self.ssm = engine.client("sqs"), engine.client("ssm")
        gateway = engine.client("apigateway")
        self.api_key: str = gateway.get_api_key(apiKey=self.outputs["ApiKeyId"], includeValue=True)["value"]
        self.let_the_key_see_all()
        # The demonstration's own: waits when it is throttled.
        self.client = ApiClient(self.outputs["ApiUrl"], self.api_key)
        self._notices: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def let_the_key_see_all(self) -> None:
        """Make the template's key one of an operator: tests look at what they put straight into the bucket."""
        item = {"ImageID": {"S": f"key#{self.outputs['ApiKeyId']}"}, "SeesAll": {"BOOL": True}}
        self.dynamodb.put_item(TableName=self.table, Item=item)

    # --- Records ------------------------------------------------------------------------------------------------------

    def item(self, image_id: str) -> dict[str, Any]:
        """The record as DynamoDB has it; empty when there is none."""
        answer = self.dynamodb.get_item(TableName=self.table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
        item: dict[str, Any] = answer.get("Item", {})
        return item

    def items(self) -> list[dict[str, Any]]:
        """All records, and the items about notices and API keys, which have no ProcessingStatus."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table)
        return [item for page in pages for item in page["Items"]]

    def records(self) -> list[dict[str, Any]]:
        """All records."""
        return [item for item in self.items() if "ProcessingStatus" in item]

    def status(self, image_id: str) -> str:
        """The record's ProcessingStatus; empty when there is no record."""
        return str(self.item(image_id).get("ProcessingStatus", {}).get("S", ""))

    def change_record(self, image_id: str, **texts: str) -> None:
        """Give attributes of a record these texts."""
        self.dynamodb.update_item(
            TableName=self.table,
            Key={"ImageID": {"S": image_id}},
            AttributeUpdates={name: {"Value": {"S": text}} for name, text in texts.items()},
        )

    def settled(self, image_id: str) -> str:
        """Wait until the image has its final status and the execution that owns it has ended -> the status.

        The notice of a failure is sent after the record says so.
        """
        eventually(lambda: self.status(image_id) in FINAL, f"image {image_id} reaches a final status")
        item = self.item(image_id)
        if "ExecutionArn" in item:
            self.ended(item["ExecutionArn"]["S"])
        return self.status(image_id)

    # --- Objects ------------------------------------------------------------------------------------------------------

    def upload(self, picture: Path) -> str:
        """Send a photo through a form, and return its id."""
        return self.client.upload(picture.name, "image/jpeg", picture.read_bytes())

    def put_object(self, key: str, content: bytes) -> str:
        """Put an object straight into the bucket, and return its version."""
        return str(self.s3.put_object(Bucket=self.bucket, Key=key, Body=content).get("VersionId", "null"))

    def objects(self, prefix: str = "", *, delete_markers: bool = False) -> list[tuple[str, str]]:
        """(key, version) of every stored object version; with delete markers if asked for."""
        found = []
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            entries = page.get("Versions", []) + (page.get("DeleteMarkers", []) if delete_markers else [])
            found += [(entry["Key"], entry["VersionId"]) for entry in entries]
        return found

    # --- Executions ---------------------------------------------------------------------------------------------------

    def start_execution(self, document: dict[str, Any], name: str = "", test_case: str = "") -> str:
        """Start the workflow with this input, and return the execution's ARN.

        `test_case` is one of the mock configuration that the local AWS was started with.
        """
        machine = f"{self.workflow}#{test_case}" if test_case else self.live
        execution = self.sfn.start_execution(
            stateMachineArn=machine, name=name or uuid.uuid4().hex, input=json.dumps(document)
        )
        return str(execution["executionArn"])

    def input_of(self, execution: str) -> dict[str, Any]:
        """What an execution was started with."""
        document: dict[str, Any] = json.loads(self.sfn.describe_execution(executionArn=execution)["input"])
        return document

    def execution_arns(self) -> list[str]:
        """Every execution of the workflow."""
        pages = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.workflow)
        return [execution["executionArn"] for page in pages for execution in page["executions"]]

    def history(self, execution: str) -> list[dict[str, Any]]:
        """The events of an execution so far."""
        events: list[dict[str, Any]] = self.sfn.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        return events

    def is_running(self, execution: str) -> bool:
        """Whether an execution has not ended."""
        return bool(self.sfn.describe_execution(executionArn=execution)["status"] == "RUNNING")

    def states_entered(self, execution: str) -> list[str]:
        """Names of the states that an execution has entered, in order."""
        details = [event.get("stateEnteredEventDetails") for event in self.history(execution)]
        return [entered["name"] for entered in details if entered]

    def ended(self, execution: str) -> str:
        """Wait for the end of an execution: the name of the last state it entered."""
        eventually(lambda: not self.is_running(execution), f"execution {execution} ends")
        return self.states_entered(execution)[-1]

    def attempts(self, execution: str) -> Counter[str]:
        """How often each task was tried."""
        tried: Counter[str] = Counter()
        state = ""
        for event in self.history(execution):
            state = event.get("stateEnteredEventDetails", {}).get("name", state)
            tried[state] += event["type"] == "TaskScheduled"
        return tried

    # --- Functions ----------------------------------------------------------------------------------------------------

    @cached_property
    def functions(self) -> dict[str, str]:
        """Name of each function by its logical id."""
        return stack_resources(self.engine, "AWS::Lambda::Function")

    def function_arn(self, function: str) -> str:
        """The ARN of a function."""
        described = self.functions_client.get_function_configuration(FunctionName=self.functions[function])
        return str(described["FunctionArn"])

    def configure(self, function: str, **variables: str) -> dict[str, str]:
        """Give a function these environment variables, release it, and return what it had.

        It starts in new environments then, as after a deployment, and has forgotten what it had cached.
        """
        client, name = self.functions_client, self.functions[function]
        before: dict[str, str] = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        changed = before | variables | {"CONFIGURED": uuid.uuid4().hex}  # else there is nothing to make a version of
        with self._lock:
            client.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
            client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05})
            version = client.publish_version(FunctionName=name)
            client.update_alias(FunctionName=name, Name="live", FunctionVersion=version["Version"])
            self._release_workflow_with(version["FunctionArn"])
        return before

    def _release_workflow_with(self, function: str) -> None:
        """Let the workflows that name a function name this version of it: `live` is a version that does."""
        definition = self.sfn.describe_state_machine(stateMachineArn=self.workflow)["definition"]
        changed = re.sub(rf"{re.escape(function.rpartition(':')[0])}:\d+", function, definition)
        if changed != definition:
            machine = self.sfn.update_state_machine(stateMachineArn=self.workflow, definition=changed, publish=True)
            route = {"stateMachineVersionArn": machine["stateMachineVersionArn"], "weight": 100}
            self.sfn.update_state_machine_alias(stateMachineAliasArn=self.live, routingConfiguration=[route])
        if review_workflow := self.outputs.get("ReviewWorkflowArn"):  # it has no alias; early releases do not have it
            definition = self.sfn.describe_state_machine(stateMachineArn=review_workflow)["definition"]
            changed = re.sub(rf"{re.escape(function.rpartition(':')[0])}:\d+", function, definition)
            if changed != definition:
                self.sfn.update_state_machine(stateMachineArn=review_workflow, definition=changed)

    @contextlib.contextmanager
    def configured(self, function: str, **variables: str) -> Iterator[None]:
        """A function has these environment variables inside the block."""
        before = self.configure(function, **variables)
        try:
            yield
        finally:
            self.configure(function, **before)

    @contextlib.contextmanager
    def unsafe_content_rejected(self) -> Iterator[None]:
        """ContentSafety is `reject` inside the block."""
        with self.configured("ImageProcessorFunction", CONTENT_SAFETY="reject"):
            yield

    def invoke(self, function: str, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a function, by default without an event: its answer, or what it says about its error."""
        payload = json.dumps(event or {}).encode()
        answer = self.functions_client.invoke(FunctionName=self.functions[function], Qualifier="live", Payload=payload)
        document: dict[str, Any] = json.loads(answer["Payload"].read())
        return document

    @cached_property
    def _every_upload_is_overdue(self) -> bool:
        self.configure("ReconcilerFunction", OVERDUE_MINUTES="0")
        return True

    def reconcile(self) -> dict[str, Any]:
        """Run the Reconciler, to which every upload is overdue at once: its answer, or what it says about its error."""
        assert self._every_upload_is_overdue
        return self.invoke("ReconcilerFunction")

    def workers(self) -> Iterator[tuple[Path, str]]:
        """The processes that run functions now: the directory under /proc, and the function's logical id."""
        engine = json.loads((self.engine.home / "aws.pid").read_text())["pid"]
        ids = {name: logical_id for logical_id, name in self.functions.items()}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, LookupError, ValueError):  # it is about to begin, or has just ended
                if int((process / "stat").read_text().rpartition(")")[2].split()[1]) == engine:
                    texts = (process / "environ").read_bytes().decode().rstrip("\0").split("\0")
                    variables = dict(text.split("=", 1) for text in texts)
                    yield process, ids[variables["AWS_LAMBDA_FUNCTION_NAME"]]

    # --- What goes wrong ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def rules_disabled(self, target: str) -> Iterator[None]:
        """No EventBridge rule delivers to the target (an ARN) inside the block."""
        rules = self.events.list_rule_names_by_target(TargetArn=target)["RuleNames"]
        assert rules, f"no rule delivers to {target}"
        for rule in rules:
            self.events.disable_rule(Name=rule)
        try:
            yield
        finally:
            for rule in rules:
                self.events.enable_rule(Name=rule)

    def uploads_ignored(self) -> contextlib.AbstractContextManager[None]:
        """No upload starts the workflow inside the block."""
        return self.rules_disabled(self.live)

    @contextlib.contextmanager
    def daily_limit_reached(self) -> Iterator[None]:
        """As many images were analysed today as may be; after the block, one was."""
        assert self._has_daily_limit
        self._set_analysed_today(DAILY_LIMIT)
        try:
            yield
        finally:
            self._set_analysed_today(1)

    @cached_property
    def _has_daily_limit(self) -> bool:
        self.configure("ImageProcessorFunction", DAILY_ANALYSIS_LIMIT=str(DAILY_LIMIT))
        return True

    def _set_analysed_today(self, images: int) -> None:
        self.dynamodb.put_item(TableName=self.analyses, Item={**_today(), "Images": {"N": str(images)}})

    def analysed_today(self) -> int:
        """The analyses that the daily limit has counted."""
        item = self.dynamodb.get_item(TableName=self.analyses, Key=_today()).get("Item")
        return int(item["Images"]["N"]) if item else 0

    def set_lease(self, content_hash: str, seconds: int) -> None:
        """Let another execution be analysing the bytes with this hash for so many seconds; 0 ends it."""
        item = {
            "ContentHash": {"S": content_hash},
            "LeaseOwner": {"S": "another execution"},
            "LeaseEnds": {"N": str(int(time.time()) + seconds if seconds else 0)},
        }
        self.dynamodb.put_item(TableName=self.analyses, Item=item)

    @contextlib.contextmanager
    def queue(self, seconds: float) -> Iterator[float]:
        """Others have all turns to ask Rekognition for so many seconds: the time when they are over (epoch seconds).

        After the block nobody queues; images that have got a turn still wait for it.
        """
        ends = time.time() + seconds
        item = {**_TURNS, "NextTurn": {"N": f"{ends:.6f}"}}
        self.dynamodb.put_item(TableName=self.analyses, Item=item)
        try:
            yield ends
        finally:
            self.dynamodb.delete_item(TableName=self.analyses, Key=_TURNS)

    def next_turn(self) -> float:
        """The time of the first turn that nobody has, in epoch seconds."""
        answer = self.dynamodb.get_item(TableName=self.analyses, Key=_TURNS, ConsistentRead=True)
        return float(answer["Item"]["NextTurn"]["N"])

    @contextlib.contextmanager
    def broken_policy(self) -> Iterator[None]:
        """The detection policy parameter is not valid inside the block."""
        name = self.outputs["PolicyParameterName"]
        good = self.ssm.get_parameter(Name=name)["Parameter"]["Value"]
        self._write_policy('{"minimum": "high"')
        try:
            yield
        finally:
            self._write_policy(good)

    def _write_policy(self, value: str) -> None:
        self.ssm.put_parameter(Name=self.outputs["PolicyParameterName"], Value=value, Overwrite=True)
        self.configure("ImageProcessorFunction")  # its environments keep the policy for a minute

    # --- Notices ------------------------------------------------------------------------------------------------------

    @cached_property
    def _inbox(self) -> str:
        queue, _ = subscribed_queue(self.engine, "notices", self.outputs["NoticesTopicArn"])
        return queue

    def listen(self) -> None:
        """Subscribe to the notices; those sent before are lost. However many come, each is sent."""
        assert self._inbox
        for function in ("NotificationServiceFunction", "FailureRecorderFunction", "ReconcilerFunction"):
            self.configure(function, NOTICE_BURST="1000000")

    def notices(self, image_id: str = "") -> list[dict[str, Any]]:
        """All notices about an image (by default: any) since `listen`, as SNS delivers them.

        Wait for its executions first.
        """
        with self._lock:
            while batch := self.sqs.receive_message(QueueUrl=self._inbox, MaxNumberOfMessages=10).get("Messages", []):
                for message in batch:
                    self._notices.append(json.loads(message["Body"]))
                    self.sqs.delete_message(QueueUrl=self._inbox, ReceiptHandle=message["ReceiptHandle"])
            return [n for n in self._notices if "ImageID" in n["MessageAttributes"] and image_id in ("", _image_of(n))]

    def digests(self) -> list[dict[str, Any]]:
        """All digests of withheld notices since `listen`."""
        self.notices()
        return [notice for notice in self._notices if "ImageID" not in notice["MessageAttributes"]]


def _image_of(notice: dict[str, Any]) -> str:
    return str(notice["MessageAttributes"]["ImageID"]["Value"])


def _today() -> dict[str, dict[str, str]]:
    """The key of the item that counts today's analyses."""
    return {"ContentHash": {"S": f"analysed#{datetime.now(UTC):%Y-%m-%d}"}}
