"""The deployed application as an operator meets it: `petdetect`, and what goes wrong.

This folder is no package: pytest would call it `ops`, which is the name of what it tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from click.testing import CliRunner

from local.deploy import stack_outputs
from local.engine import REPOSITORY, Engine
from ops.cli import main
from pet_detector.runtime.observability import logger

SECONDS = 40.0  # far more than one picture needs, on a machine that does other things besides
FINAL = {"completed", "needs_review", "rejected", "failed"}

# What the local Rekognition makes of them stands in photos/ATTRIBUTION.md.
CAT = REPOSITORY / "photos" / "cat_chelsea.jpg"
DOG = REPOSITORY / "photos" / "dog_gcompris_german_shepherd.jpg"


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of standard output, which must be one JSON document."""
        return json.loads(self.out)


def eventually(probe: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first truthy value of `probe`; an AssertionError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not in {seconds:.0f} s: {what}")


def environment(**more: str) -> dict[str, str]:
    """An operator's environment: nobody's AWS, no engine, and this repository's code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PETDETECT_"))}
    for name in ("PORT", "REKOGNITION_PORT", "ENGINE_HOME"):
        kept.pop(name, None)
    nobody = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "functions")])
    return {**kept, **nobody, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": path, **more}


def start_petdetect(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """The command in the background, in a directory that is not the repository."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "ops", *arguments]
    return subprocess.Popen(command, cwd=Path("/"), env=environment(**variables), text=True, **pipes)


def ended(process: subprocess.Popen[str], typed: str = "") -> Output:
    """Wait for its end; `typed` is what a person types."""
    out, err = process.communicate(typed, timeout=90)
    assert "Traceback" not in out + err, err
    return Output(process.returncode, out, err)


class Application:
    """The stack on its engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outputs = stack_outputs(engine)
        self.bucket = self.outputs["ImageBucketName"]
        self.table = self.outputs["DetectionLogsTableName"]
        self.workflow = self.outputs["ImageWorkflowArn"]
        self.s3, self.dynamodb, self.sfn = (engine.client(name) for name in ("s3", "dynamodb", "stepfunctions"))
        self.sqs = engine.client("sqs")
        self.variables = {
            "ENGINE_HOME": str(engine.home),
            "PORT": str(engine.processes[0].port),
            "REKOGNITION_PORT": str(engine.processes[1].port),
        }

    # --- The operator -------------------------------------------------------------------------------------------------

    def petdetect(self, *arguments: str, typed: str = "") -> Output:
        """Run the command against this engine: in this process, which is much quicker, and leaves nothing behind."""
        level = logger.log_level
        with mock.patch.dict(os.environ, self.variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            result = CliRunner(mix_stderr=False).invoke(main, arguments, input=typed, prog_name="petdetect")
        logger.setLevel(level)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return Output(result.exit_code, result.stdout, result.stderr)

    # --- Images -------------------------------------------------------------------------------------------------------

    def put(self, picture: Path = CAT, image_id: str = "") -> str:
        """Put a picture under input/, which starts the workflow, and return its id."""
        return self.put_bytes(picture.read_bytes(), image_id)

    def put_bytes(self, data: bytes, image_id: str = "") -> str:
        """The same with any bytes."""
        image_id = image_id or uuid.uuid4().hex
        self.s3.put_object(Bucket=self.bucket, Key=f"input/{image_id}.jpg", Body=data)
        return image_id

    def fresh(self, picture: Path) -> bytes:
        """A JPEG's bytes with a comment that nobody has seen: Rekognition must be asked."""
        data, comment = picture.read_bytes(), uuid.uuid4().bytes
        return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]

    def held(self, picture: Path = DOG) -> str:
        """An image that the daily limit holds; by now there is no limit any more."""
        with self.daily_limit_reached():
            return self.put_held(picture)

    def put_held(self, picture: Path = DOG) -> str:
        """Put a picture that Rekognition must be asked about, and wait until it is held."""
        image_id = self.put_bytes(self.fresh(picture))
        eventually(lambda: self.status(image_id) == "held", f"image {image_id} is held")
        return image_id

    def hold_since_yesterday(self, image_id: str) -> None:
        """Let a held image's record be from the day before."""
        self.dynamodb.update_item(
            TableName=self.table,
            Key={"ImageID": {"S": image_id}},
            UpdateExpression="SET UpdatedAt = :then",
            ExpressionAttributeValues={":then": {"S": "2026-01-01T00:00:00.000Z"}},
        )

    def analysed_today(self) -> int:
        """What the brake has counted."""
        key = {"ContentHash": {"S": f"analysed#{datetime.now(UTC):%Y-%m-%d}"}}
        item = self.dynamodb.get_item(TableName=self.outputs["AnalysesTableName"], Key=key).get("Item")
        return int(item["Images"]["N"]) if item else 0

    def announce(self) -> str:
        """Ask the API for an upload form, and do not use it: the image's id."""
        gateway = self.engine.client("apigateway")
        key = gateway.get_api_key(apiKey=self.outputs["ApiKeyId"], includeValue=True)["value"]
        body = json.dumps({"fileName": "never.jpg", "contentType": "image/jpeg"}).encode()
        headers = {"x-api-key": key, "Content-Type": "application/json"}
        request = urllib.request.Request(self.outputs["ApiUrl"] + "/upload", body, headers, method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=SECONDS) as answer:
            return str(json.load(answer)["imageId"])

    def start(self, image_id: str, name: str = "", version_id: str = "") -> str:
        """Start the workflow by hand, and return the execution's ARN."""
        found = {"key": f"input/{image_id}.jpg"} | ({"version-id": version_id} if version_id else {})
        document = {"detail": {"object": found}}
        execution = self.sfn.start_execution(
            stateMachineArn=self.workflow, name=name or uuid.uuid4().hex, input=json.dumps(document)
        )
        return str(execution["executionArn"])

    def missing(self) -> str:
        """An image that failed with ImageNotFoundError: its object version was deleted before it was read."""
        with self.deaf_to_uploads():
            image_id = self.put()
            version_id = self.deleted(image_id)
        self.start(image_id, version_id=version_id)
        self.finished(image_id)
        return image_id

    def newest(self, image_id: str) -> str:
        """The newest version of an upload."""
        return str(self.s3.head_object(Bucket=self.bucket, Key=f"input/{image_id}.jpg")["VersionId"])

    def deleted(self, image_id: str) -> str:
        """Delete an upload's newest version for good, and return it."""
        version_id = self.newest(image_id)
        self.s3.delete_object(Bucket=self.bucket, Key=f"input/{image_id}.jpg", VersionId=version_id)
        return version_id

    def mended(self) -> str:
        """The same, and the object was put back: a redrive will finish it."""
        return self.come(self.missing())

    def come(self, image_id: str) -> str:
        """Put the object of a failed image; its event changes nothing."""
        with self.deaf_to_uploads():
            return self.put(CAT, image_id)

    def item(self, image_id: str) -> dict[str, Any]:
        """The record as DynamoDB has it; empty when there is none."""
        answer = self.dynamodb.get_item(TableName=self.table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
        item: dict[str, Any] = answer.get("Item", {})
        return item

    def status(self, image_id: str) -> str:
        """The record's ProcessingStatus; empty when there is no record."""
        return str(self.item(image_id).get("ProcessingStatus", {}).get("S", ""))

    def finished(self, image_id: str) -> str:
        """Wait until the image has its final status, and its execution has ended too."""
        eventually(lambda: self.status(image_id) in FINAL, f"image {image_id} reaches a final status")
        arn = self.item(image_id)["ExecutionArn"]["S"]
        eventually(
            lambda: self.sfn.describe_execution(executionArn=arn)["status"] != "RUNNING", f"execution {arn} ends"
        )
        return self.status(image_id)

    def executions(self, image_id: str) -> list[str]:
        """Names of the executions that claimed the image."""
        return sorted(arn.rpartition(":")[2] for arn in self.item(image_id).get("Executions", {}).get("SS", []))

    def keys(self, fragment: str = "") -> list[str]:
        """Keys of the stored object versions that hold `fragment`."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Versions", []) if fragment in entry["Key"]]

    def snapshot(self) -> object:
        """All that a command could change: records, object versions, executions."""
        executions = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.workflow)
        return (
            sorted(json.dumps(item, sort_keys=True, default=str) for item in self.items()),
            sorted(self.keys()),
            sorted(found["executionArn"] for page in executions for found in page["executions"]),
        )

    def items(self) -> list[dict[str, Any]]:
        """All records."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table)
        return [item for page in pages for item in page["Items"]]

    def forget_all(self) -> None:
        """No record, no object, no dead letter, as after the first deployment."""
        for item in self.items():
            self.dynamodb.delete_item(TableName=self.table, Key={"ImageID": item["ImageID"]})
        self.forget_objects()
        for name, url in self.outputs.items():
            if name.endswith("QueueUrl"):
                self.sqs.purge_queue(QueueUrl=url)

    def forget_objects(self) -> None:
        """Delete every version of every object."""
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
                self.s3.delete_object(Bucket=self.bucket, Key=entry["Key"], VersionId=entry["VersionId"])

    # --- What goes wrong ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def broken_policy(self) -> Iterator[None]:
        """The detection policy parameter holds nonsense inside the block."""
        ssm, name = self.engine.client("ssm"), self.outputs["PolicyParameterName"]
        good = ssm.get_parameter(Name=name)["Parameter"]["Value"]

        def write(value: str) -> None:
            ssm.put_parameter(Name=name, Value=value, Overwrite=True)
            self._forget_warm_environments("ImageProcessorFunctionName")  # they remember the policy for a minute

        write('{"minimum": "high"')
        try:
            yield
        finally:
            write(good)

    def _forget_warm_environments(self, output: str) -> None:
        functions, name = self.engine.client("lambda"), self.outputs[output]
        memory = functions.get_function_configuration(FunctionName=name)["MemorySize"]
        functions.update_function_configuration(FunctionName=name, MemorySize=memory)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)

    @contextlib.contextmanager
    def daily_limit_reached(self) -> Iterator[None]:
        """One image a day may be analysed inside the block, and it was."""
        key = {"ContentHash": {"S": f"analysed#{datetime.now(UTC):%Y-%m-%d}"}}
        values = {":one": {"N": "1"}}
        self.dynamodb.update_item(
            TableName=self.outputs["AnalysesTableName"],
            Key=key,
            UpdateExpression="SET Images = :one",
            ExpressionAttributeValues=values,
        )
        self._set_daily_limit(1)
        try:
            yield
        finally:
            self._set_daily_limit(0)

    def _set_daily_limit(self, images: int) -> None:
        functions, name = self.engine.client("lambda"), self.outputs["ImageProcessorFunctionName"]
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        variables["DAILY_ANALYSIS_LIMIT"] = str(images)
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)

    @contextlib.contextmanager
    def deaf_to_uploads(self) -> Iterator[None]:
        """Events of uploads are lost inside the block."""
        events = self.engine.client("events")
        (rule,) = events.list_rule_names_by_target(TargetArn=self.workflow)["RuleNames"]
        events.disable_rule(Name=rule)
        try:
            yield
        finally:
            events.enable_rule(Name=rule)

    @contextlib.contextmanager
    def analysis_taken(self, picture: Path) -> Iterator[None]:
        """Somebody else is asking Rekognition about these bytes inside the block: executions wait for the answer."""
        self._lease(picture, int(time.time()) + 600)
        try:
            yield
        finally:
            self._lease(picture, 0)

    def _lease(self, picture: Path, ends: int) -> None:
        item = {
            "ContentHash": {"S": hashlib.sha256(picture.read_bytes()).hexdigest()},
            "LeaseOwner": {"S": "somebody else"},
            "LeaseEnds": {"N": str(ends)},
        }
        self.dynamodb.put_item(TableName=self.outputs["AnalysesTableName"], Item=item)

    def retried(self, image_id: str) -> str:
        """Wait until an execution works on the image and an attempt of its analysis has failed: its ARN."""

        def arn() -> str | None:
            found = self.item(image_id).get("ExecutionArn", {}).get("S")
            if found is None:
                return None
            events = self.sfn.get_execution_history(executionArn=found, maxResults=1000)["events"]
            return found if any(event["type"] == "TaskFailed" for event in events) else None

        return str(eventually(arn, f"image {image_id} waits for its analysis"))

    def completed(self, image_id: str) -> bool:
        """Wait until a redriven image is completed."""
        return bool(eventually(lambda: self.status(image_id) == "completed", f"image {image_id} is completed"))
