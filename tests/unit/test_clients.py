"""How long the functions wait for AWS."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from tests.support.moto_world import Cloud, handlers, template

from .stories import STORIES


def timeout_of(function: str) -> int:
    """Seconds that Lambda lets a function of the template run."""
    seconds = template()["Resources"][function]["Properties"].get("Timeout")
    return int(seconds or template()["Globals"]["Function"]["Timeout"])


def longest(config: Any) -> float:
    """Seconds that a call can take, all attempts and the pauses between them together."""
    attempts = config.retries["total_max_attempts"]
    pauses = sum(2**n for n in range(attempts - 1))  # the longest ones of botocore's standard mode
    return float((config.connect_timeout + config.read_timeout) * attempts + pauses)


@pytest.mark.usefixtures("people", "policy")
@pytest.mark.parametrize("function", handlers())
def test_a_call_that_hangs_ends_before_its_function_does(
    function: str, aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the function raises an error that the state machine knows, or answers 503; else Lambda ends it.

    A function that sends notices outlives all calls of an invocation together: if Lambda ended it between the
    reservation of a notice and its sending, the notice would be lost.
    """
    configured: dict[str, Config] = {}
    called: list[list[str]] = [[]]  # the services, call by call, of what the story prepares and of each invocation
    make: Any = boto3.client

    def made(service: str, config: Config | None = None, **more: Any) -> Any:
        if config is not None:  # the tests' own clients have none
            configured[service] = config
            client = make(service, config=config, **more)
            client.meta.events.register("before-call", lambda **_: called[-1].append(service))
            return client
        return make(service, config=config, **more)

    monkeypatch.setattr(boto3, "client", made)
    module, _, name = handlers()[function].rpartition(".")
    handler = getattr(importlib.import_module(module), name)

    def run(event: Any) -> None:
        called.append([])
        with contextlib.suppress(Exception):
            handler(event, context)

    STORIES[handlers()[function]](aws, run)
    assert configured or function == "MetricsPublisherFunction", "no client was made: the test sees nothing"
    for service, config in configured.items():
        assert longest(config) <= timeout_of(function), service
    for services in called:
        if "sns" in services:
            assert sum(longest(configured[service]) for service in services) <= timeout_of(function), services
