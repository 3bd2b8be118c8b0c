"""How long the functions wait for AWS."""

from __future__ import annotations

import pytest

from tests.support.handler_runs import observe
from tests.support.moto_world import handlers, template


def timeout_of(function: str) -> int:
    """Seconds that Lambda lets a function of the template run."""
    seconds = template()["Resources"][function]["Properties"].get("Timeout")
    return int(seconds or template()["Globals"]["Function"]["Timeout"])


@pytest.mark.parametrize("function", handlers())
def test_a_call_that_hangs_ends_before_its_function_does(function: str) -> None:
    """Then the function raises an error that the state machine knows, or answers 503; else Lambda ends it."""
    configured = observe(handlers()[function]).configured
    assert configured or function == "MetricsPublisherFunction", "no client was made: the test sees nothing"
    for service, settings in configured.items():
        attempts = settings.retries["total_max_attempts"]
        pauses = sum(2**n for n in range(attempts - 1))  # the longest ones of botocore's standard mode
        longest = (settings.connect_timeout + settings.read_timeout) * attempts + pauses
        assert longest <= timeout_of(function), service
