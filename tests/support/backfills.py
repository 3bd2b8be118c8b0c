"""A backfill of a bucket on a local AWS that is killed again and again, and what must be true of it at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.rules.backfill import Source

from .deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, FINAL, Deployment, never_seen
from .paths import REPOSITORY
from .waiting import eventually

SOURCE = "my-photos"  # BackfillBucket of the local stack (samconfig.toml)
PREFIX = "2024/"
URL = f"s3://{SOURCE}/{PREFIX}"
_PICTURES = (CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER)
_SCHEDULE = {"ContentHash": {"S": "turns#backfill"}}


@dataclass
class Backfills:
    """The source, `petdetect backfill` as processes of its own, and the state machine's executions."""

    deployment: Deployment
    sources: list[Source] = field(default_factory=list)
    distinct: int = 0

    def fill(self, count: int, repeated: int = 0) -> None:
        """Put so many pictures into the source, `repeated` of them with the bytes of the first; and a text."""
        s3 = self.deployment.s3
        s3.create_bucket(Bucket=SOURCE)
        first = never_seen(_PICTURES[0], b"picture 0 of a backfill")
        for number in range(count):
            data = never_seen(_PICTURES[number % 3], f"picture {number} of a backfill".encode())
            data = first if number >= count - repeated else data
            key = f"{PREFIX}{number % 7}/picture {number:04}.jpg"
            etag = s3.put_object(Bucket=SOURCE, Key=key, Body=data)["ETag"].strip('"')
            self.sources.append(Source(SOURCE, key, etag, len(data)))
        s3.put_object(Bucket=SOURCE, Key=f"{PREFIX}notes.txt", Body=b"no picture")
        self.distinct = count - repeated

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, in the background."""
        engine = self.deployment.engine
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PETDETECT_"))}
        variables = {
            "ENGINE_HOME": str(engine.home),
            "PORT": str(engine.processes[0].port),
            "REKOGNITION_PORT": str(engine.processes[1].port),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "functions")]),
        }
        command = [sys.executable, "-m", "ops", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=Path("/"), env=kept | variables, text=True, **pipes)

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), seconds: float = 1200) -> Any:
        """The command's JSON, at its end."""
        process = self.start(*arguments, "--json")
        out, err = process.communicate(timeout=seconds)
        assert process.returncode in codes, (process.returncode, out, err)
        return json.loads(out)

    # --- What the state machine does ----------------------------------------------------------------------------------

    @property
    def machine(self) -> str:
        """The state machine of the backfill."""
        return self.deployment.outputs["BackfillWorkflowArn"]

    def running(self) -> str | None:
        """The execution that runs."""
        found = self.deployment.sfn.list_executions(stateMachineArn=self.machine, statusFilter="RUNNING")["executions"]
        return str(found[0]["executionArn"]) if found else None

    def children(self, execution: str) -> list[dict[str, Any]]:
        """The batches of an execution that were started."""
        runs = self.deployment.sfn.list_map_runs(executionArn=execution)["mapRuns"]
        return [
            child
            for run in runs
            for page in self.deployment.sfn.get_paginator("list_executions").paginate(mapRunArn=run["mapRunArn"])
            for child in page["executions"]
        ]

    def wait_for_batches_that_wait(self, execution: str) -> int:
        """Wait until every batch that has begun waits for the schedule -> how many do."""

        def waiting() -> int:
            begun = [child["executionArn"] for child in self.children(execution) if child["status"] == "RUNNING"]
            answered = [
                any(event["type"] == "TaskSucceeded" for event in self.deployment.history(arn)) for arn in begun
            ]
            return len(begun) if begun and all(answered) else 0

        return eventually(waiting, "the batches wait for the schedule", 60)

    @contextlib.contextmanager
    def far_ahead(self, seconds: float = 3600) -> Iterator[None]:
        """The schedule of the backfill's lane is full for that long inside the block."""
        self._set_schedule(time.time() + seconds)
        try:
            yield
        finally:
            self._set_schedule(time.time() - 1)

    def _set_schedule(self, turn: float) -> None:
        item = {**_SCHEDULE, "NextTurn": {"N": f"{turn:.3f}"}}
        self.deployment.dynamodb.put_item(TableName=self.deployment.analyses, Item=item)

    def kill_workers(self, function: str) -> int:
        """Kill what runs a function, with SIGKILL -> how many processes it were."""
        killed = 0
        for process, name in list(self.deployment.workers()):
            if name == function:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
        return killed

    def end_attempts(self) -> None:
        """Let the attempts of killed workers be over, as they are after COPY_SECONDS."""
        for item in self.deployment.records():
            with contextlib.suppress(ClientError):  # its copy was made, and the workflow has claimed it
                self.deployment.dynamodb.update_item(
                    TableName=self.deployment.table,
                    Key={"ImageID": item["ImageID"]},
                    UpdateExpression="SET CopyEnds = :past",
                    ConditionExpression="ProcessingStatus = :uploading",
                    ExpressionAttributeValues={":past": {"N": "1"}, ":uploading": {"S": "uploading"}},
                )

    # --- What became of the pictures ----------------------------------------------------------------------------------

    def statuses(self) -> Counter[str]:
        """How many records have which status."""
        return Counter(item["ProcessingStatus"]["S"] for item in self.deployment.records())

    def settle(self, seconds: float = 900) -> None:
        """Wait until every record is final."""
        wanted = len(self.sources)
        eventually(
            lambda: sum(self.statuses()[status] for status in FINAL) >= wanted, f"{wanted} images are final", seconds
        )

    def problems(self) -> list[str]:
        """What is not as it must be; nothing if every picture was done once."""
        items = {item["ImageID"]["S"]: item for item in self.deployment.records()}
        wanted = {source.image_id: source for source in self.sources}
        found = [f"{image_id} has no record" for image_id in wanted.keys() - items.keys()]
        found += [f"{image_id} is the record of no picture" for image_id in items.keys() - wanted.keys()]
        for image_id, item in items.items():
            if item["ProcessingStatus"]["S"] != "completed":
                found.append(f"{image_id} is {item['ProcessingStatus']['S']}")
            if len(item.get("Executions", {}).get("SS", [])) != 1:
                found.append(f"{image_id} was claimed by {item.get('Executions')}")
        found += [f"{key} was left behind" for key, _ in self.deployment.objects("input/")]
        filed = Counter(
            key.rpartition("/")[2].partition(".")[0]
            for folder in ("cats/", "dogs/", "others/", "rejected/")
            for key, _ in self.deployment.objects(folder)
        )
        found += [f"{image_id} is filed {filed[image_id]} times" for image_id in wanted if filed[image_id] != 1]
        entries = self.deployment.s3.get_paginator("list_objects_v2").paginate(Bucket=SOURCE)
        source = {(entry["Key"], entry["ETag"].strip('"')) for page in entries for entry in page["Contents"]}
        if {(picture.key, picture.etag) for picture in self.sources} - source:
            found.append("the source has changed")
        return found
