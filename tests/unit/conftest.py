"""Fixtures of the unit tests: nothing here reaches a network, and no test sees what another one did."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.stub import Stubber

from pet_detector.aws.clients import client
from pet_detector.runtime.observability import logger
from tests.support.handler_runs import CONTEXT, moto, new_function
from tests.support.moto_world import Cloud


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Every test begins as in a function that just started."""
    with new_function():
        yield


@pytest.fixture(autouse=True)
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions log in this test."""
    stream = io.StringIO()
    for handler in logger.handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return stream


@pytest.fixture
def context() -> LambdaContext:
    return CONTEXT


@pytest.fixture
def aws() -> Iterator[Cloud]:
    """moto's AWS, with the application's bucket and tables."""
    with moto() as cloud:
        yield cloud


@pytest.fixture
def people(aws: Cloud) -> None:
    """The topic, with a person who listens."""
    aws.subscribe()


@pytest.fixture
def policy(aws: Cloud) -> None:
    """The parameter with the detection policy, as the template fills it."""
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})


@pytest.fixture
def workflow(aws: Cloud) -> None:
    """The state machine, without its states: executions are started and nothing else."""
    aws.deploy_workflow()


@pytest.fixture
def rekognition() -> Iterator[Stubber]:
    """The client of Rekognition with answers that the test gives: moto's DetectLabels always sees the same."""
    with Stubber(client("rekognition")) as stubber:
        yield stubber
    stubber.assert_no_pending_responses()
