"""The local AWS as its tests see it: the plain MiniStack and ours, each a process on a free port.

A test of a patch takes `gap_engine` and runs twice: on our engine, where it must pass, and on the plain one, where it
must fail. When the plain run passes, a newer MiniStack has closed the gap: delete the patch and its test.
"""

from __future__ import annotations

import io
import json
import os
import signal
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.denials import MARK
from local.engine import Engine
from tests.support import local_aws
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROLE_NAME = "test"
ROLE = f"arn:aws:iam::000000000000:role/{ROLE_NAME}"  # may do everything
ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
SERVICES = ("lambda", "states", "events", "scheduler")

# Step Functions waits (Wait states and retry delays) run at a tenth of their length in these tests.
WAIT_SCALE = 0.1
# A minute of alarms' periods, in seconds.
CLOCK_MINUTE_SECONDS = 2

# Answers of the workflow's mocked task, attempt by attempt, in the format of AWS Step Functions Local.
MOCKED_TASKS = {
    "StateMachines": {
        "mocked": {"TestCases": {"ThrottledOnce": {"Work": "ThrottledThenFine"}}},
        "mocked-alias": {"TestCases": {"ThrottledOnce": {"Work": "ThrottledThenFine"}}},
        "partly-mocked": {
            "TestCases": {"ThrottledOnce": {"Work": "ThrottledThenReal"}, "AnswerLost": {"Work": "RealThenLost"}}
        },
    },
    "MockedResponses": {
        "ThrottledThenFine": {
            "0": {"Throw": {"Error": "Throttled", "Cause": "too fast"}},
            "1": {"Return": {"answer": 42}},
        },
        # Not in AWS's format: no answer to the second attempt, and AfterCall.
        "ThrottledThenReal": {"0": {"Throw": {"Error": "Throttled", "Cause": "too fast"}}},
        "RealThenLost": {"0": {"Throw": {"Error": "Throttled", "Cause": "too fast", "AfterCall": True}}},
    },
}


class RunningEngine:
    """An engine process and how to talk to it."""

    def __init__(self, url: str, log: Path = Path(os.devnull)) -> None:
        self.url = url
        self.log = log
        self.port = int(url.rpartition(":")[2])

    def client(self, service: str) -> Any:
        """A boto3 client that does not retry: a test sees the first answer."""
        return local_aws.client(self.url, service, s3={"addressing_style": "path"})

    def client_without_prefix(self, service: str) -> Any:
        """A client for operations whose host has a prefix on AWS (`sync-`): this address has no such names."""
        return local_aws.client(self.url, service, inject_host_prefix=False)

    def create_role(self, name: str, *statements: dict[str, Any], services: Sequence[str] = SERVICES) -> str:
        """A role with this policy that these services may assume; returns its ARN."""
        principals = {"Service": [f"{service}.amazonaws.com" for service in services]}
        trust = {"Statement": [{"Effect": "Allow", "Principal": principals, "Action": "sts:AssumeRole"}]}
        iam = self.client("iam")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        self.set_policy(name, *statements)
        return str(role["Arn"])

    def set_policy(self, role: str, *statements: dict[str, Any]) -> None:
        """Give a role this policy instead of the one that it had."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.client("iam").put_role_policy(RoleName=role, PolicyName="rights", PolicyDocument=policy)

    def denials(self, about: str) -> list[str]:
        """What the log says was denied, of all that names this."""
        lines = self.log.read_text().splitlines()
        return [line.partition(MARK)[2] for line in lines if MARK in line and about in line]

    def create_queue(self, *senders: str) -> tuple[str, str]:
        """A queue to which these services may send; returns its URL and its ARN."""
        name, sqs = f"q-{uuid.uuid4().hex[:8]}", self.client("sqs")
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        if senders:
            principal = {"Service": [f"{sender}.amazonaws.com" for sender in senders]}
            allowed = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": arn}
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Statement": [allowed]})})
        return url, arn

    def create_function(self, source: str, role: str = ROLE) -> str:
        """Deploy `source` (its handler is `handler`) as a Lambda function and return its name."""
        name = f"f-{uuid.uuid4().hex[:8]}"
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("index.py", source)
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="index.handler",
            Role=role,
            Code={"ZipFile": archive.getvalue()},
            Timeout=10,
        )
        return name

    def create_stack(self, template: dict[str, Any]) -> dict[str, str]:
        """Deploy a CloudFormation template and return the stack's outputs."""
        name = f"s-{uuid.uuid4().hex[:8]}"
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
        return self.stack_outputs(name)

    def update_stack(self, name: str, template: dict[str, Any]) -> None:
        """Deploy a changed template to an existing stack."""
        self.client("cloudformation").update_stack(StackName=name, TemplateBody=json.dumps(template))
        self.stack_outputs(name)

    @staticmethod
    def refusal(call: Callable[..., Any], **arguments: Any) -> str | None:
        """The error code that a call is refused with; None when it succeeds."""
        try:
            call(**arguments)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return None

    def stack_outputs(self, name: str) -> dict[str, str]:
        """Wait for the stack's deployment and return its outputs; its name is the output `StackName`."""
        cloudformation = self.client("cloudformation")

        def finished() -> Any:
            stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            return None if stack["StackStatus"].endswith("IN_PROGRESS") else stack

        stack = eventually(finished, "the stack is deployed", 10)
        if not stack["StackStatus"].endswith("E_COMPLETE") or "ROLLBACK" in stack["StackStatus"]:
            raise RuntimeError(f"{stack['StackStatus']}: {stack.get('StackStatusReason')}")
        return {"StackName": name, **{o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}}


def run_engine(module: str, scratch: Path, **variables: str) -> Iterator[RunningEngine]:
    """Run an engine (`ministack`, or `local.ministack_ext`) until the generator is closed."""
    mocks = scratch / "mocks.json"
    mocks.write_text(json.dumps(MOCKED_TASKS))
    settings = {
        "SFN_WAIT_SCALE": str(WAIT_SCALE),
        "SFN_MOCK_CONFIG": str(mocks),
        "CLOCK_MINUTE_SECONDS": str(CLOCK_MINUTE_SECONDS),
        **variables,
    }
    if module == "ministack":
        settings |= {
            "BIND_HOST": "127.0.0.1",
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
        }  # ours must choose them by itself
    with local_aws.running(scratch, module, **settings) as url:
        running = RunningEngine(url, scratch / "engine.log")
        running.create_role(ROLE_NAME, ALL)
        yield running


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """Our engine: MiniStack with the extension."""
    yield from run_engine("local.ministack_ext", tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session")
def plain_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """MiniStack as it comes."""
    yield from run_engine("ministack", tmp_path_factory.mktemp("plain"))


@pytest.fixture(
    scope="session",
    params=[
        "ours",
        pytest.param(
            "plain",
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason="MiniStack 1.5.33 lacks it; if it passes, delete the patch"
            ),
        ),
    ],
)
def gap_engine(request: pytest.FixtureRequest) -> RunningEngine:
    """Our engine, then the plain one, on which the test must fail."""
    running: RunningEngine = request.getfixturevalue("engine" if request.param == "ours" else "plain_engine")
    return running


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Engine]:
    """An engine of its own directory and ports, not yet started; signals are handled afterwards as before."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    engine = Engine(free_port(), free_port(), home=tmp_path / "engine")
    yield engine
    engine.down()
    for number, handler in handlers.items():
        signal.signal(number, handler)
