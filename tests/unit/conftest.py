"""Fixtures of the unit tests: nothing here reaches a network, and no test sees what another one did."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.client import BaseClient
from botocore.stub import Stubber

from pet_detector.aws.clients import client
from pet_detector.runtime.observability import logger
from tests.support import rights
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


@pytest.fixture(autouse=True)
def calls_are_allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every call of AWS that a function makes in a test is one that its role allows, to the key of an object.

    What a test makes the role of no function may do, it expects by emptying the list.
    """
    make_call = BaseClient._make_api_call  # type: ignore[attr-defined]
    denials: list[str] = []

    def noted(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        handler = rights.caller()
        if handler is not None:
            denial = rights.denial(handler, client.meta.service_model.signing_name, operation, parameters)
            denials.extend(filter(None, [denial]))
        return make_call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    yield denials
    assert denials == []


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
def nobody_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image is looked at for the sample or by a second person, unless a test says so."""
    monkeypatch.setenv("REVIEW_SAMPLE_PERCENT", "0")
    monkeypatch.setenv("SECOND_LOOK_PERCENT", "0")


@pytest.fixture
def rekognition() -> Iterator[Stubber]:
    """The client of Rekognition with answers that the test gives: moto's DetectLabels always sees the same."""
    with Stubber(client("rekognition")) as stubber:
        yield stubber
    stubber.assert_no_pending_responses()
