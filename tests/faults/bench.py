"""What the matrix runs on: an engine of its own with the deployed application, and a faulty proxy before each service.

    Lambda functions --> proxy --> embedded AWS          direct integrations of the state machine: mock entries,
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
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from local.deploy import deploy
from local.engine import CREDENTIALS, HOST, REGION, REPOSITORY, Engine
from ops.environment import LOCAL, STACK_PREFIX, Deployment
from pet_detector.aws import daily_limit
from tests.ports import free_port

HOME = REPOSITORY / ".engine" / "faults"
PROXY_PYTHON = REPOSITORY / ".engine" / "faults-venv" / "bin" / "python"
STACK = STACK_PREFIX + LOCAL
# Retries of the state machine wait a tenth of their time. Timeouts of the SDK and of tasks stay as they are.
WAIT_SCALE = "0.1"
_PROXIED = ("S3", "DYNAMODB", "SNS", "SFN", "SSM")

T = TypeVar("T")


def eventually(probe: Callable[[], T], seconds: float, pause: float = 0.1) -> T:
    """The first truthy value of `probe`, or its last value when the time is over."""
    deadline = time.monotonic() + seconds
    while not (value := probe()) and time.monotonic() < deadline:
        time.sleep(pause)
    return value


class Proxy:
    """A running microburst and its control API."""

    def __init__(self, upstream: str, name: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._log = (HOME / "logs" / f"proxy-{name}.log").open("w")
        command: list[str | Path] = [PROXY_PYTHON, Path(__file__).with_name("proxy.py"), upstream, str(self.port)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        if not eventually(self._is_healthy, 20):
            raise RuntimeError(f"microburst did not start: {self._log.name}")

    def _is_healthy(self) -> bool:
        try:
            return bool(self._call("GET", "health"))
        except OSError:
            return False

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_microburst/{path}", data, method=method)
        with self._opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())

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


class Bench:
    """The deployed application, and how to reach it without the proxies."""

    def __init__(self, mocks: dict[str, Any]) -> None:
        shutil.rmtree(HOME / "tmp", ignore_errors=True)
        (HOME / "logs").mkdir(parents=True, exist_ok=True)
        python = REPOSITORY / ".engine" / "venv" / "bin" / "python"
        self.engine = Engine(free_port(), free_port(), home=HOME, python=python)
        mock_file = HOME / "mocks.json"
        mock_file.write_text(json.dumps({"StateMachines": {_workflow_name(python): mocks.pop("cases")}, **mocks}))
        aws, rekognition = self.engine.processes
        settings = {"SFN_WAIT_SCALE": WAIT_SCALE, "SFN_MOCK_CONFIG": str(mock_file)}
        aws = dataclasses.replace(aws, environment={**aws.environment, **settings})
        self.engine.processes = (aws, rekognition)
        self._proxies: list[Proxy] = []
        self.operating = threading.Lock()
        self._ended = threading.Event()
        self._sent: list[Sent] = []
        self._collector = threading.Thread(target=self._collect, daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and stop it whatever happens."""
        try:
            self.engine.up()
            self._deploy()
            yield
        finally:
            self._ended.set()
            if self._collector.is_alive():
                self._collector.join(timeout=10)
            for proxy in self._proxies:
                proxy.stop()
            self.engine.down()

    def _deploy(self) -> None:
        self._use_domain_code()
        outputs = deploy(self.engine)
        self.outputs = outputs
        self.deployment = Deployment(LOCAL, STACK, outputs, {})
        self.bucket, self.table = outputs["ImageBucketName"], outputs["DetectionLogsTableName"]
        self.workflow, self.analyses = outputs["ImageWorkflowArn"], outputs["AnalysesTableName"]
        services = ("s3", "dynamodb", "stepfunctions", "lambda", "events", "sqs", "sns", "apigateway")
        clients = {service: self.engine.client(service) for service in services}
        self.s3, self.dynamodb, self.states = clients["s3"], clients["dynamodb"], clients["stepfunctions"]
        self.lambda_, self.events, self.sqs = clients["lambda"], clients["events"], clients["sqs"]
        self.api_key = clients["apigateway"].get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
        self.aws = Proxy(self.engine.url, "aws")
        self._proxies.append(self.aws)
        self.rekognition = Proxy(self.engine.rekognition_url, "rekognition")
        self._proxies.append(self.rekognition)
        self._point_functions_at_proxies()
        self.queue = self.sqs.create_queue(QueueName="notices")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        clients["sns"].subscribe(TopicArn=outputs["NoticesTopicArn"], Protocol="sqs", Endpoint=arn)
        self._collector.start()

    def _point_functions_at_proxies(self) -> None:
        endpoints = {f"AWS_ENDPOINT_URL_{service}": self.aws.url for service in _PROXIED}
        for page in self.lambda_.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                variables = {**function["Environment"]["Variables"], **endpoints}
                if "AWS_ENDPOINT_URL_REKOGNITION" in variables:
                    variables["AWS_ENDPOINT_URL_REKOGNITION"] = self.rekognition.url
                if "OVERDUE_MINUTES" in variables:
                    variables["OVERDUE_MINUTES"] = "0"
                self.configure(function["FunctionName"], variables)

    def configure(self, function: str, variables: dict[str, str]) -> None:
        """Give a function another environment; its workers start anew."""
        self.lambda_.update_function_configuration(FunctionName=function, Environment={"Variables": variables})

    def restart_workers(self, function: str) -> None:
        """Make a function forget what it has cached."""
        variables = self.lambda_.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        self.configure(function, {**variables, "GENERATION": str(time.monotonic_ns())})

    def _use_domain_code(self) -> None:
        """Let the code of petdetect work on this engine."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ["ALLOWED_ORIGIN"] = "http://localhost"
        os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=self.engine.url, AWS_DEFAULT_REGION=REGION)
        # A browser's form brings no checksum that botocore could compare: neither does an upload of the cells.
        os.environ["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
        os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, NO_PROXY=HOST)

    def _collect(self) -> None:
        while not self._ended.is_set():
            batch = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in batch.get("Messages", []):
                self._sent.append(_sent(json.loads(message["Body"])))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])

    def notices(self, image_id: str | None = None) -> list[Sent]:
        """The notices that went out, of one image or of all."""
        return [sent for sent in list(self._sent) if image_id in (None, sent.image_id)]

    def record(self, image_id: str) -> dict[str, Any]:
        """The record of an image in DynamoDB's notation, or {}."""
        answer = self.dynamodb.get_item(TableName=self.table, Key={"ImageID": {"S": image_id}}, ConsistentRead=True)
        item: dict[str, Any] = answer.get("Item", {})
        return item if "ProcessingStatus" in item else {}

    def status(self, image_id: str) -> str:
        """ProcessingStatus, or ""."""
        return str(self.record(image_id).get("ProcessingStatus", {"S": ""})["S"])

    def records(self) -> list[dict[str, Any]]:
        """Every record."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.table)
        return [item for page in pages for item in page["Items"] if "ProcessingStatus" in item]

    def objects(self, prefix: str = "") -> list[tuple[str, str]]:
        """(key, version) of every object version in the bucket."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
        return [(v["Key"], v["VersionId"]) for page in pages for v in page.get("Versions", [])]

    def rules_of(self, target: str) -> list[str]:
        """Names of the EventBridge rules that deliver to a target."""
        return list(self.events.list_rule_names_by_target(TargetArn=target)["RuleNames"])

    @contextlib.contextmanager
    def events_lost(self) -> Iterator[None]:
        """No upload starts the workflow meanwhile."""
        rules = self.rules_of(self.workflow)
        for rule in rules:
            self.events.disable_rule(Name=rule)
        try:
            yield
        finally:
            for rule in rules:
                self.events.enable_rule(Name=rule)

    @contextlib.contextmanager
    def limit_reached(self) -> Iterator[None]:
        """The daily limit of analyses is reached meanwhile."""
        function = self.outputs["ImageProcessorFunctionName"]
        before = self.lambda_.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        daily_limit.spend(self.analyses, 1_000_000)
        self.configure(function, {**before, "DAILY_ANALYSIS_LIMIT": "1"})
        try:
            yield
        finally:
            self.configure(function, before)

    @contextlib.contextmanager
    def versioning_suspended(self) -> Iterator[None]:
        """What is written meanwhile replaces what is there under the same key: its version is `null`."""
        self._set_versioning("Suspended")
        try:
            yield
        finally:
            self._set_versioning("Enabled")

    def _set_versioning(self, status: str) -> None:
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})

    def reconcile(self) -> dict[str, Any]:
        """Run the Reconciler; its answer, or its error."""
        answer = self.lambda_.invoke(FunctionName=self.outputs["ReconcilerFunctionName"], Payload=b"{}")
        result: dict[str, Any] = json.loads(answer["Payload"].read())
        return result

    def workers(self, function: str) -> list[int]:
        """Process ids of the workers of a function: children of the engine with its name in their environment."""
        engine = json.loads((HOME / "aws.pid").read_text())["pid"]
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == engine and f"AWS_LAMBDA_FUNCTION_NAME={function}\0" in (directory / "environ").read_text():
                    found.append(int(directory.name))
        return found


def _sent(envelope: dict[str, Any]) -> Sent:
    attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    execution = re.search(r"^Execution: (\S+)$", envelope["Message"], re.MULTILINE)
    return Sent(attributes["ImageID"], attributes["Kind"], execution[1] if execution else "uncertain")


def _workflow_name(python: Path) -> str:
    """The name that MiniStack's CloudFormation gives the state machine: the mock configuration needs it beforehand."""
    program = (
        "from ministack.services.cloudformation.provisioners import _physical_name as name;"
        f"print(name({STACK!r}, 'ImageWorkflow', max_len=80))"
    )
    result = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return result.stdout.strip().splitlines()[-1]
