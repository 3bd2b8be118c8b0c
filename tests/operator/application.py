"""The deployed application as an operator meets it: `petdetect`, and what goes wrong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3

from local.engine import Engine
from tests.support.deployment import CERTAIN_CAT as CAT
from tests.support.deployment import CERTAIN_DOG as DOG
from tests.support.deployment import Deployment, never_seen
from tests.support.paths import REPOSITORY
from tests.support.petdetect import Output, petdetect
from tests.support.waiting import eventually

__all__ = ["CAT", "DOG", "Application", "Output", "ended", "eventually", "start_petdetect"]


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


class Application(Deployment):
    """The deployed application, and `petdetect` for it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.variables = {
            "ENGINE_HOME": str(engine.home),
            "PORT": str(engine.processes[0].port),
            "REKOGNITION_PORT": str(engine.processes[1].port),
        }

    def petdetect(self, *arguments: str, typed: str = "") -> Output:
        """Run the command against this local AWS: in this process, which is much quicker, and leaves nothing behind."""
        with mock.patch.dict(os.environ, self.variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            result = petdetect(*arguments, typed=typed)
        return Output(result.exit_code, result.stdout, result.stderr)

    # --- Images -------------------------------------------------------------------------------------------------------

    def put(self, picture: Path = CAT, image_id: str = "") -> str:
        """Put a picture under input/, which starts the workflow, and return its id."""
        return self.put_bytes(picture.read_bytes(), image_id)

    def put_bytes(self, data: bytes, image_id: str = "") -> str:
        """The same with any bytes."""
        image_id = image_id or uuid.uuid4().hex
        self.put_object(f"input/{image_id}.jpg", data)
        return image_id

    def held(self) -> str:
        """An image that the daily limit holds; by now there is no limit any more."""
        with self.daily_limit_reached():
            return self.put_held()

    def put_held(self) -> str:
        """Put a picture that Rekognition must be asked about, and wait until it is held."""
        image_id = self.put_bytes(never_seen(DOG))
        eventually(lambda: self.status(image_id) == "held", f"image {image_id} is held")
        return image_id

    def start(self, image_id: str, name: str = "", version_id: str = "") -> str:
        """Start the workflow by hand, and return the execution's ARN."""
        found = {"key": f"input/{image_id}.jpg"} | ({"version-id": version_id} if version_id else {})
        return self.start_execution({"detail": {"object": found}}, name)

    def missing(self) -> str:
        """An image that failed with ImageNotFoundError: its object version was deleted before it was read."""
        with self.uploads_ignored():
            image_id = self.put()
            version_id = self.deleted(image_id)
        self.start(image_id, version_id=version_id)
        self.settled(image_id)
        return image_id

    def newest(self, image_id: str) -> str:
        """The newest version of an upload."""
        return str(self.s3.head_object(Bucket=self.bucket, Key=f"input/{image_id}.jpg")["VersionId"])

    def deleted(self, image_id: str) -> str:
        """Delete an upload's newest version for good, and return it."""
        version_id = self.newest(image_id)
        self.s3.delete_object(Bucket=self.bucket, Key=f"input/{image_id}.jpg", VersionId=version_id)
        return version_id

    def put_back(self) -> str:
        """The same, and the object was put back: a redrive will finish it."""
        return self.put_again(self.missing())

    def put_again(self, image_id: str) -> str:
        """Put the object of a failed image; its event changes nothing."""
        with self.uploads_ignored():
            return self.put(CAT, image_id)

    def claimants(self, image_id: str) -> list[str]:
        """Names of the executions that claimed the image."""
        return sorted(arn.rpartition(":")[2] for arn in self.item(image_id).get("Executions", {}).get("SS", []))

    def keys(self, fragment: str = "") -> list[str]:
        """Keys of the stored object versions that hold `fragment`."""
        return [key for key, _ in self.objects() if fragment in key]

    def snapshot(self) -> object:
        """All that a command could change: records, object versions, executions."""
        return (
            sorted(json.dumps(item, sort_keys=True, default=str) for item in self.items()),
            sorted(self.keys()),
            sorted(self.execution_arns()),
        )

    def forget_all(self) -> None:
        """No record, no object, no dead letter, as after the first deployment."""
        for item in self.items():
            if item["ImageID"]["S"].startswith("key#"):
                continue
            self.dynamodb.delete_item(TableName=self.table, Key={"ImageID": item["ImageID"]})
        self.forget_objects()
        for name, url in self.outputs.items():
            if name.endswith("QueueUrl"):
                self.sqs.purge_queue(QueueUrl=url)

    def forget_objects(self) -> None:
        """Delete every version of every object."""
        for key, version in self.objects(delete_markers=True):
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version)

    # --- What goes wrong ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def analysis_taken(self, picture: Path) -> Iterator[None]:
        """Another execution is analysing these bytes inside the block: executions wait for its answer."""
        content_hash = hashlib.sha256(picture.read_bytes()).hexdigest()
        self.set_lease(content_hash, 600)
        try:
            yield
        finally:
            self.set_lease(content_hash, 0)

    def retried(self, image_id: str) -> str:
        """Wait until an execution works on the image and an attempt of its analysis has failed: its ARN."""

        def arn() -> str | None:
            found: str | None = self.item(image_id).get("ExecutionArn", {}).get("S")
            has_failed = found and any(event["type"] == "TaskFailed" for event in self.history(found))
            return found if has_failed else None

        return eventually(arn, f"image {image_id} waits for its analysis")

    def completed(self, image_id: str) -> bool:
        """Wait until a redriven image is completed."""
        return eventually(lambda: self.status(image_id) == "completed", f"image {image_id} is completed")
