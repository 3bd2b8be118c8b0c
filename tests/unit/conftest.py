"""Fixtures of the unit tests: nothing here reaches a network, and no test sees what another one did."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.stub import Stubber
from moto import mock_aws

from pet_detector.aws import clients, health, policy_parameter
from pet_detector.aws.clients import client
from pet_detector.runtime.observability import logger
from tests.support import moto_world as cloud

# One session for all tests: it reads botocore's service descriptions once.
_SESSION = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name=cloud.REGION)


@dataclass(frozen=True)
class Context:
    """What Lambda tells a handler about itself."""

    function_name: str = "a-function"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = f"arn:aws:lambda:{cloud.REGION}:123456789012:function:a-function"
    aws_request_id: str = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Made-up credentials, the functions' variables, and clients and caches as in a function that just started."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", cloud.REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    for name, value in cloud.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", _SESSION)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    _forget()
    yield
    _forget()


def _forget() -> None:
    clients.forget()
    policy_parameter._provider.cache_clear()
    health._last = None


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions log in this test."""
    stream = io.StringIO()
    for handler in logger.handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return stream


@pytest.fixture
def context() -> LambdaContext:
    return cast(LambdaContext, Context())


@pytest.fixture
def aws() -> Iterator[cloud.Cloud]:
    """moto's AWS, with the application's bucket and tables."""
    with mock_aws(config={"core": {"mock_credentials": False, "reset_boto3_session": False}}):
        yield cloud.Cloud()


@pytest.fixture
def people(aws: cloud.Cloud) -> None:
    """The topic, with a person who listens."""
    aws.subscribe()


@pytest.fixture
def policy(aws: cloud.Cloud) -> None:
    """The parameter with the detection policy, as the template fills it."""
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})


@pytest.fixture
def workflow(aws: cloud.Cloud) -> None:
    """The state machine, without its states: executions are started and nothing else."""
    aws.deploy_workflow()


@pytest.fixture
def rekognition() -> Iterator[Stubber]:
    """The recognizer's client with answers that the test gives: moto's DetectLabels always sees the same."""
    with Stubber(client("rekognition")) as stubber:
        yield stubber
    stubber.assert_no_pending_responses()
