"""How long the functions wait for AWS."""

from __future__ import annotations

from typing import Any

import pytest

from pet_detector.use_cases.review_keeper import NOTICE_SECONDS, REST_SECONDS
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
    reservation of a notice and its sending, the notice would be lost. ReviewKeeper, which does much before, reserves a
    notice only when there is time for it.
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
        if function == "ReviewKeeperFunction":
            for sent in (place for place, service in enumerate(services) if service == "sns"):
                reserved, notice = calls[sent - 1 : sent + 1]
                assert reserved.operation == "UpdateItem"
                taken_back = reserved.config  # when SNS refuses the notice
                together = longest(reserved.config) + longest(notice.config) + longest(taken_back)
                assert together <= NOTICE_SECONDS < REST_SECONDS < timeout_of(function)
        elif "sns" in services:
            until_sent = calls[: services.index("sns") + 1]
            assert sum(longest(call.config) for call in until_sent) <= timeout_of(function), services
