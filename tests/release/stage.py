"""The deployed application whose releases are watched, and `petdetect` for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from unittest import mock

import boto3

from local import deployed
from local.deploy import deploy
from local.engine import Engine, UserError
from ops.releases import functions_in, number_of
from tests.support.deployment import (
    CERTAIN_CAT,
    CERTAIN_DOG,
    CERTAIN_OTHER,
    FINAL,
    UNCERTAIN_CAT,
    Deployment,
    never_seen,
)
from tests.support.petdetect import Output, petdetect
from tests.support.waiting import eventually

from .report import MINUTE
from .tree import Tree

PICTURES = (CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT)
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.1
CLIENTS = 6
_FOLDERS = ("cats/", "dogs/", "others/", "rejected/")


@dataclass
class Shift:
    """What was seen of an alias: each change of its shares, when, and how long after the deployment's begin."""

    began: float
    seen: list[tuple[float, dict[int, int]]] = field(default_factory=list)
    refusal: str = ""  # what `sam deploy` said, when it failed
    seconds: float = 0.0  # that the deployment took

    def note(self, shares: dict[int, int]) -> None:
        """Remember shares that are new."""
        if not self.seen or self.seen[-1][1] != shares:
            self.seen.append((time.monotonic() - self.began, shares))

    @property
    def history(self) -> list[dict[int, int]]:
        """The shares, in order."""
        return [shares for _, shares in self.seen]


class Stage(Deployment):
    """The stack on its local AWS, deployed from a copy of the repository.

    A function is never configured by hand here: that would be a release that no deployment made.
    """

    def __init__(self, engine: Engine, tree: Tree) -> None:
        super().__init__(engine)
        self.tree = tree
        self.release_seconds = 50.0  # the longest so far
        assert self._inbox  # subscribed

    def release(self) -> float:
        """Deploy the tree as it is, by `sam build` and `sam deploy` -> seconds. Raises UserError when it goes back."""
        began = time.monotonic()
        deployed.forget(self.engine)  # else nothing is done where nothing has changed
        deploy(self.engine, self.tree.place)
        seconds = time.monotonic() - began
        self.release_seconds = max(self.release_seconds, seconds)
        return seconds

    @contextlib.contextmanager
    def releasing(self, function: str = "") -> Iterator[Shift]:
        """Deploy the tree while the block runs, and watch an alias; the block ends with the deployment."""
        shift = Shift(time.monotonic())
        is_over = threading.Event()

        def run() -> None:
            try:
                self.release()
            except UserError as error:
                shift.refusal = str(error)
            finally:
                shift.seconds = time.monotonic() - shift.began
                is_over.set()

        def watch() -> None:
            while not is_over.wait(LOOK_SECONDS):
                shift.note(self.shares(function))
            shift.note(self.shares(function))

        threads = [threading.Thread(target=target) for target in (run, watch)]
        shift.note(self.shares(function))
        for thread in threads:
            thread.start()
        try:
            yield shift
        finally:
            for thread in threads:
                thread.join()

    def petdetect(self, *arguments: str) -> Output:
        """Run the command against this local AWS, in this process."""
        aws, rekognition = self.engine.processes
        variables = {
            "ENGINE_HOME": str(self.engine.home), "PORT": str(aws.port), "REKOGNITION_PORT": str(rekognition.port),
        }  # fmt: skip
        with mock.patch.dict(os.environ, variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
            result = petdetect(*arguments)
        return Output(result.exit_code, result.stdout, result.stderr)

    # --- What is published --------------------------------------------------------------------------------------------

    def shares(self, function: str = "") -> dict[int, int]:
        """Percent of new calls by version, of the workflow's alias or of a function's."""
        if not function:
            routes = self.sfn.describe_state_machine_alias(stateMachineAliasArn=self.live)["routingConfiguration"]
            return {number_of(route["stateMachineVersionArn"]): route["weight"] for route in routes if route["weight"]}
        alias = self.functions_client.get_alias(FunctionName=self.functions[function], Name="live")
        weights = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights", {})
        rest = {int(number): round(weight * 100) for number, weight in weights.items() if weight}
        return {int(alias["FunctionVersion"]): 100 - sum(rest.values())} | rest

    @property
    def version(self) -> int:
        """The version of the workflow that is live, wholly."""
        (number,) = self.shares()
        return number

    def published(self) -> dict[str, int]:
        """The newest version of each function, and of ImageWorkflow."""
        found = {}
        for function, name in self.functions.items():
            pages = self.functions_client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
            numbers = [entry["Version"] for page in pages for entry in page["Versions"]]
            found[function] = max(int(number) for number in numbers if number != "$LATEST")
        versions = self.sfn.list_state_machine_versions(stateMachineArn=self.workflow)["stateMachineVersions"]
        return found | {"ImageWorkflow": max(number_of(version["stateMachineVersionArn"]) for version in versions)}

    def named_by(self, version: int) -> dict[str, int]:
        """The versions of functions that a version of the workflow names, by the function's name."""
        machine = self.sfn.describe_state_machine(stateMachineArn=f"{self.workflow}:{version}")
        return functions_in(machine["definition"])

    def version_of(self, execution: str) -> int:
        """The version of the workflow that an execution runs."""
        return number_of(self.sfn.describe_execution(executionArn=execution)["stateMachineVersionArn"])

    def called_by(self, execution: str) -> list[tuple[str, int]]:
        """Each call of a function by an execution: the function's name, and its version. 0: without a version."""
        calls = []
        for event in self.history(execution):
            details = event.get("taskScheduledEventDetails") or event.get("lambdaFunctionScheduledEventDetails") or {}
            text = str(details.get("parameters") or details.get("resource") or "")
            if ":function:" in text:
                named = functions_in(text)
                calls.append(next(iter(named.items())) if named else (text, 0))
        return calls

    def stack_status(self) -> str:
        """What CloudFormation says of the stack."""
        stacks = self.engine.client("cloudformation").describe_stacks(StackName="serverlessapp-pet-detector-local")
        return str(stacks["Stacks"][0]["StackStatus"])

    def wait_until_quiet(self, *alarms: str) -> None:
        """Wait until no execution runs, and no alarm whose name ends like these would stop a shift."""
        cloudwatch = self.engine.client("cloudwatch")

        def is_quiet() -> bool:
            running = self.sfn.list_executions(stateMachineArn=self.workflow, statusFilter="RUNNING")["executions"]
            ringing = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
            return not running and not any(alarm["AlarmName"].endswith(alarms) for alarm in ringing)

        eventually(is_quiet, f"nothing runs, and none of {alarms} rings", 12 * MINUTE)

    def alarms_that_rang(self, since: datetime) -> list[str]:
        """Names of the alarms that went to ALARM since then, in order."""
        found = []
        cloudwatch = self.engine.client("cloudwatch")
        for page in cloudwatch.get_paginator("describe_alarm_history").paginate(HistoryItemType="StateUpdate"):
            found += [
                (item["Timestamp"], item["AlarmName"])
                for item in page["AlarmHistoryItems"]
                if item["Timestamp"] >= since and "to ALARM" in item["HistorySummary"]
            ]
        return [name for _, name in sorted(found)]

    # --- Pictures -----------------------------------------------------------------------------------------------------

    def put(self, number: int = 0) -> str:
        """Put a picture that nobody has seen straight into the bucket, under a key of the API's form: its id."""
        image_id = uuid.uuid4().hex
        self.put_object(f"input/{image_id}.jpg", never_seen(PICTURES[number % len(PICTURES)]))
        return image_id

    @contextlib.contextmanager
    def clients(self) -> Iterator[list[str]]:
        """Clients upload pictures inside the block, each the next one when its last has ended: the ids so far.

        Rekognition has seen the pictures before, so that a busy machine has something left for the workflow.
        """
        images: list[str] = []
        is_over = threading.Event()

        def upload(first: int) -> None:
            number = first
            while not is_over.is_set():
                image_id = uuid.uuid4().hex
                images.append(image_id)
                self.put_object(f"input/{image_id}.jpg", PICTURES[number % len(PICTURES)].read_bytes())
                number += 1
                while self.status(image_id) not in FINAL and not is_over.wait(LOOK_SECONDS):
                    pass

        threads = [threading.Thread(target=upload, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield images
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    def all_final(self, images: list[str], seconds: float = SETTLE_SECONDS) -> Counter[str]:
        """Wait until each of these images has a final status and its execution has ended -> how many have which."""

        def open_ones() -> list[str]:
            return [image_id for image_id in images if self.status(image_id) not in FINAL]

        eventually(lambda: not open_ones(), f"{len(images)} images are final", seconds)
        for image_id in images:
            self.ended(self.item(image_id)["ExecutionArn"]["S"])
        return Counter(self.status(image_id) for image_id in images)

    def executions_of(self, image_id: str) -> list[str]:
        """ARNs of the executions that claimed an image."""
        return sorted(self.item(image_id).get("Executions", {}).get("SS", []))

    def wrong(self, images: list[str]) -> list[str]:
        """What is lost or there twice of finished images: records, files, notices; nothing if all is once."""
        found = []
        records = Counter(record["ImageID"]["S"] for record in self.records())
        filed = Counter(_id_in(key) for key, _ in self.objects() if key.startswith(_FOLDERS))
        left = Counter(_id_in(key) for key, _ in self.objects("input/"))
        for image_id in images:
            status = self.status(image_id)
            if status not in ("completed", "needs_review"):
                found.append(f"{image_id} is {status or 'not there'}")
            if (records[image_id], filed[image_id], left[image_id]) != (1, 1, 0):
                found.append(f"{image_id}: {records[image_id]} records, {filed[image_id]} files, {left[image_id]} left")
            sent = Counter(self._facts(image_id))
            failed = [arn for arn in self.executions_of(image_id) if self._is_failed(arn)]
            wanted = Counter(failed) + Counter(["review"] if status == "needs_review" else [])
            if sent != wanted:
                found.append(f"{image_id}: notices {dict(sent)} instead of {dict(wanted)}")
        return found

    def _is_failed(self, execution: str) -> bool:
        """Whether it ever was: Step Functions may have redriven it."""
        ends = {"ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}
        return not ends.isdisjoint(event["type"] for event in self.history(execution))

    def _facts(self, image_id: str) -> Iterator[str]:
        for notice in self.notices(image_id):
            if notice["MessageAttributes"]["Kind"]["Value"] == "ImageUncertain":
                yield "review"
            else:
                line = next(line for line in notice["Message"].splitlines() if line.startswith("Execution: "))
                yield line.removeprefix("Execution: ")


def is_hurt(image_id: str) -> bool:
    """Whether the bad release of the tests raises on a picture: on one in three, by the hash of its key."""
    return int(hashlib.sha256(f"input/{image_id}.jpg".encode()).hexdigest(), 16) % 3 == 0


def _id_in(key: str) -> str:
    return Path(key).stem
