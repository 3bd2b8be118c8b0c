"""What the matrix runs on: a local AWS with the deployed application, and a faulty proxy before each service.

    Lambda functions --> proxy --> local AWS             direct integrations of the state machine: mock entries,
    ImageProcessor   --> proxy --> local Rekognition     which end in the real service (local/ministack_ext)

Everything listens on 127.0.0.1, is owned by this process and is ended with it by process id.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from local.engine import CREDENTIALS, HOST, REGION, Engine
from ops import environment
from ops.environment import LOCAL, STACK_PREFIX
from tests.support import starter
from tests.support.deployment import Deployment
from tests.support.paths import LOCAL_AWS_PYTHON, REPOSITORY
from tests.support.ports import free_port
from tests.support.waiting import wait_for

HOME = REPOSITORY / ".engine" / "faults"
PROXY_PYTHON = REPOSITORY / ".engine" / "faults-venv" / "bin" / "python"
STACK = STACK_PREFIX + LOCAL
_PROXIED = ("S3", "DYNAMODB", "SNS", "SFN", "SSM")


class Proxy:
    """A running microburst and its control API."""

    def __init__(self, upstream: str, name: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._log = (HOME / "logs" / f"proxy-{name}.log").open("w")
        command: list[str | Path] = [PROXY_PYTHON, Path(__file__).with_name("proxy.py"), upstream, str(self.port)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        if not wait_for(self._is_healthy, 20):
            self.stop()
            raise RuntimeError(f"microburst did not start: {self._log.name}")

    def _is_healthy(self) -> bool:
        try:
            return bool(self._call("GET", "health"))
        except OSError:
            return False

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        with requests.Session() as session:
            session.trust_env = False  # no proxy
            answer = session.request(method, f"{self.url}/_microburst/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def add(self, rule: dict[str, Any]) -> int:
        """Add a rule and return its id; the first rule that matches a request wins."""
        return int(self._call("PATCH", "rules", [rule])[-1]["id"])

    def remove(self, payload: str) -> None:
        """Remove every rule for these images."""
        self._call("DELETE", "rules", [{"payload": payload}])

    def fired(self, rule: int) -> int:
        """How often a rule has met a request."""
        return len(self._call("GET", f"fired?limit=20000&rule_id={rule}"))

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@dataclasses.dataclass(frozen=True)
class Sent:
    """A notice that a subscriber got. `fact` is what it announces: the execution that failed, or "uncertain"."""

    image_id: str
    kind: str
    fact: str


class Rig(Deployment):
    """The deployed application, and how to reach it without the proxies."""

    def __init__(self, engine: Engine, aws: Proxy, rekognition: Proxy) -> None:
        super().__init__(engine)
        self.aws, self.rekognition = aws, rekognition
        self.operator = environment.Deployment(LOCAL, STACK, self.outputs, {})
        self.operating = threading.Lock()
        endpoints = {f"AWS_ENDPOINT_URL_{service}": aws.url for service in _PROXIED}
        for function in self.functions:
            self.configure(function, **endpoints)
        self.configure("ImageProcessorFunction", AWS_ENDPOINT_URL_REKOGNITION=rekognition.url)
        self.listen()

    def sent(self, image_id: str = "") -> list[Sent]:
        """The notices that went out, of one image or of all."""
        return [_sent(notice) for notice in self.notices(image_id)]

    def record(self, image_id: str) -> dict[str, Any]:
        """The record of an image in DynamoDB's notation, or {}."""
        item = self.item(image_id)
        return item if "ProcessingStatus" in item else {}

    def others_take_turns(self, seconds: float) -> None:
        """Let others have taken the turns to ask Rekognition of so many seconds, if no longer queue is there."""
        with contextlib.suppress(self.dynamodb.exceptions.ConditionalCheckFailedException):
            self.dynamodb.update_item(
                TableName=self.analyses,
                Key=_turns(),
                UpdateExpression="SET NextTurn = :next",
                ConditionExpression="attribute_not_exists(NextTurn) OR NextTurn < :next",
                ExpressionAttributeValues={":next": {"N": f"{time.time() + seconds:.6f}"}},
            )

    def end_queue(self) -> None:
        """Nobody waits for a turn any more, but who has one already."""
        self.dynamodb.delete_item(TableName=self.analyses, Key=_turns())

    def lease_ends(self, content_hash: str) -> None:
        """The lease on the bytes with this hash is over, as if its owner had not come back for long."""
        self.dynamodb.update_item(
            TableName=self.analyses,
            Key={"ContentHash": {"S": content_hash}},
            UpdateExpression="SET LeaseEnds = :past",
            ConditionExpression="attribute_exists(LeaseOwner)",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )

    def copy_ends(self, image_id: str) -> None:
        """The attempt to copy this image in is over, as if COPY_SECONDS had passed; nothing if its copy was made."""
        with contextlib.suppress(self.dynamodb.exceptions.ConditionalCheckFailedException):
            self.dynamodb.update_item(
                TableName=self.table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="SET CopyEnds = :past",
                ConditionExpression="ProcessingStatus = :uploading",
                ExpressionAttributeValues={":past": {"N": "1"}, ":uploading": {"S": "uploading"}},
            )

    @contextlib.contextmanager
    def versioning_suspended(self) -> Iterator[None]:
        """What is written inside the block replaces what is there under the same key: its version is `null`."""
        self._set_versioning("Suspended")
        try:
            yield
        finally:
            self._set_versioning("Enabled")

    def _set_versioning(self, status: str) -> None:
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})


@contextlib.contextmanager
def running(mocks: dict[str, Any]) -> Iterator[Rig]:
    """Start everything, and stop it whatever happens."""
    shutil.rmtree(HOME / "tmp", ignore_errors=True)
    (HOME / "logs").mkdir(parents=True, exist_ok=True)
    mock_file = HOME / "mocks.json"
    cases = mocks.pop("cases")
    machines = {_physical_name(machine): cases for machine in ("ImageWorkflow", "ReviewWorkflow")}
    mock_file.write_text(json.dumps({"StateMachines": machines, **mocks}))
    # Calls that hang take places: a cell must not meet a throttle that it did not ask for.
    settings: dict[str, Any] = {"SFN_MOCK_CONFIG": str(mock_file), "LAMBDA_ACCOUNT_CONCURRENCY": "100"}
    with (
        starter.running(HOME, before_deployment=_use_domain_code, **settings) as engine,
        contextlib.ExitStack() as stack,
    ):
        proxies = [Proxy(engine.url, "aws"), Proxy(engine.rekognition_url, "rekognition")]
        for proxy in proxies:
            stack.callback(proxy.stop)
        yield Rig(engine, *proxies)


def _use_domain_code(engine: Engine) -> None:
    """Let the code of petdetect work on this local AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["ALLOWED_ORIGIN"] = "http://localhost"
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=engine.url, AWS_DEFAULT_REGION=REGION)
    # A browser's form brings no checksum that botocore could compare: neither does an upload of the cells.
    os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, NO_PROXY=HOST)


def _turns() -> dict[str, dict[str, str]]:
    """The key of the item that holds the next turn of live uploads."""
    return {"ContentHash": {"S": "turns#live"}}


def _sent(envelope: dict[str, Any]) -> Sent:
    attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    execution = re.search(r"^Execution: (\S+)$", envelope["Message"], re.MULTILINE)
    return Sent(attributes["ImageID"], attributes["Kind"], execution[1] if execution else "uncertain")


def _physical_name(machine: str) -> str:
    """The name that MiniStack's CloudFormation gives a state machine: the mock configuration needs it beforehand."""
    program = (
        "from ministack.services.cloudformation.provisioners import _physical_name as name;"
        f"print(name({STACK!r}, {machine!r}, max_len=80))"
    )
    result = subprocess.run([LOCAL_AWS_PYTHON, "-c", program], capture_output=True, text=True, check=True)
    return result.stdout.strip().splitlines()[-1]
