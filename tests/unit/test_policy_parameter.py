"""The policy parameter: read once a minute, and no decision without it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from pet_detector.aws import clients
from pet_detector.aws.clients import client
from pet_detector.aws.policy_parameter import current
from pet_detector.rules.errors import (
    AccessDeniedError,
    PetDetectorError,
    PolicyInvalidError,
    ServiceError,
    ThrottledError,
)
from pet_detector.rules.policy import Policy
from tests.support.moto_world import POLICY, POLICY_PARAMETER, Cloud, refusal

pytestmark = pytest.mark.usefixtures("policy")


def test_the_policy_comes_from_the_parameter(aws: Cloud) -> None:
    aws.set_policy({"minimum": 90, "margin": 5.5, "floor": 40})
    assert current(POLICY_PARAMETER) == Policy(90, 5.5, 40)


def test_the_policy_is_read_once_a_minute(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        passed = timedelta()

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + cls.passed

    monkeypatch.setattr("aws_lambda_powertools.utilities.parameters.base.datetime", Clock)
    current(POLICY_PARAMETER)
    aws.set_policy({"minimum": 90, "margin": 15, "floor": 50})
    Clock.passed = timedelta(seconds=50)
    assert current(POLICY_PARAMETER) == POLICY
    Clock.passed = timedelta(seconds=70)
    assert current(POLICY_PARAMETER) == replace(POLICY, minimum=90)


@pytest.mark.parametrize(
    "value",
    [
        "no JSON",
        "[80, 15, 50]",
        '"80"',
        "null",
        "80",
        '{"minimum": "80"}',
        '{"maximum": 80}',
        '{"floor": 90}',
        '{"minimum": 90, "margin": 15}',
        "{,}",
    ],
)
def test_a_parameter_that_cannot_be_used_is_no_decision(aws: Cloud, value: str) -> None:
    aws.set_policy(value)
    with pytest.raises(PolicyInvalidError) as found:
        current(POLICY_PARAMETER)
    assert "policy" in str(found.value)


def test_a_corrected_parameter_counts_at_once(aws: Cloud) -> None:
    aws.set_policy("no JSON")
    with pytest.raises(PolicyInvalidError):
        current(POLICY_PARAMETER)
    aws.set_policy({"minimum": 90, "margin": 15, "floor": 50})
    assert current(POLICY_PARAMETER) == replace(POLICY, minimum=90)


def test_a_missing_parameter_is_no_decision(aws: Cloud) -> None:
    aws.ssm.delete_parameter(Name=POLICY_PARAMETER)
    with pytest.raises(PolicyInvalidError, match=POLICY_PARAMETER):
        current(POLICY_PARAMETER)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", ThrottledError),
        ("AccessDeniedException", AccessDeniedError),
        ("InternalServerError", ServiceError),
    ],
)
def test_a_parameter_that_cannot_be_read_is_named_as_any_other_call(
    aws: Cloud, code: str, kind: type[PetDetectorError]
) -> None:
    current(POLICY_PARAMETER)
    clients.forget()  # and so the policy
    with refusal(client("ssm"), "GetParameter", code), pytest.raises(PetDetectorError) as found:
        current(POLICY_PARAMETER)
    assert type(found.value) is kind
