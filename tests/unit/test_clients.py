"""How long the functions wait for AWS."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.handler_runs import observe
from tests.support.moto_world import handlers, template


def timeout_of(function: str) -> int:
    """Seconds that Lambda lets a function of the template run."""
    seconds = template()["Resources"][function]["Properties"].get("Timeout")
    return int(seconds or template()["Globals"]["Function"]["Timeout"])


def longest(config: Any) -> float:
    """Seconds that a call can take, all attempts and the pauses between them together."""
    attempts = config.retries["total_max_attempts"]
    pauses = sum(2**n for n in range(attempts - 1))  # the longest ones of botocore's standard mode
    return float((config.connect_timeout + config.read_timeout) * attempts + pauses)


@pytest.mark.parametrize("function", handlers())
def test_a_call_that_hangs_ends_before_its_function_does(function: str) -> None:
    """Then the function raises an error that the state machine knows, or answers 503; else Lambda ends it.

    A function that sends notices outlives all calls of an invocation until it is sent: if Lambda ended it between the
    reservation of a notice and its sending, the notice would be lost.
    """
    seen = observe(handlers()[function])
    assert seen.configured or function in ("MetricsPublisherFunction", "PageApiFunction"), (
        "no client was made: the test sees nothing"
    )
    for service, config in seen.configured:
        assert longest(config) <= timeout_of(function), service
    for invocation in {call.invocation for call in seen.calls}:
        calls = [call for call in seen.calls if call.invocation == invocation]
        services = [call.service for call in calls]
        if "sns" in services:
            until_sent = calls[: services.index("sns") + 1]
            assert sum(longest(call.config) for call in until_sent) <= timeout_of(function), services
