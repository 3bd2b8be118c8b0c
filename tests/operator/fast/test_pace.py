"""What `petdetect status` says of images that wait for their turn, and of a pace that does not fit the quotas."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from click.testing import Result

from ops import cli, pace
from ops.environment import Deployment
from ops.pace import Pace
from pet_detector.aws import turns
from pet_detector.rules.lanes import Lane
from tests.support.moto_world import ANALYSES, Cloud


def deployed_with(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> None:
    changed = dataclasses.replace(deployment, parameters=parameters)
    monkeypatch.setattr(cli, "connect", lambda _: changed)


def advice(petdetect: Callable[..., Result]) -> list[str]:
    document = json.loads(petdetect("status", "--json").stdout)
    found: list[str] = document["advice"]
    assert all(f"Advice: {sentence}" in petdetect("status").stdout for sentence in found)
    return found


def test_images_that_wait_are_told_by_lane(
    aws: Cloud, quotas: dict[str, Any], petdetect: Callable[..., Result]
) -> None:
    now = time.time()
    turns.take(ANALYSES, Lane.LIVE, 45, earliest=now - 60)  # nobody waits any more
    turns.take(ANALYSES, Lane.BACKFILL, 45, earliest=now + 600)

    document = json.loads(petdetect("status", "--json").stdout)["pace"]

    assert set(document["queues"]) == {"backfill"}
    assert document["queues"]["backfill"]["turns"] == pytest.approx(600 * 45, abs=45 * 30)
    assert datetime.fromisoformat(document["queues"]["backfill"]["ends"]).timestamp() == pytest.approx(now + 600, abs=1)
    assert "Waiting for their turn:   backfill: 2" in petdetect("status").stdout
    assert petdetect("status").exit_code == 0, "it needs nobody's attention"


def test_the_default_fits_the_default_quota(quotas: dict[str, Any], petdetect: Callable[..., Result]) -> None:
    document = json.loads(petdetect("status", "--json").stdout)["pace"]
    assert (document["callsPerSecond"], document["quota"], document["concurrency"]) == (45, 50, 1000)
    assert advice(petdetect) == []


@pytest.mark.parametrize(
    ("parameter", "quota", "concurrency", "words"),
    [
        ("45", 5.0, 1000, "is 45, above Rekognition's quota of 5: set it to 4.5"),
        ("4.5", 50.0, 1000, "is 4.5, and Rekognition's quota is 50: images wait longer than they must"),
        (
            "45",
            50.0,
            10,
            "which needs 165 concurrent executions of Lambda, and this account may have 10: set it to 2.1",
        ),
        ("2.1", 4.0, 10, ""),
        ("50", 50.0, 1000, ""),
    ],
)
def test_what_does_not_fit_is_said(
    deployment: Deployment,
    quotas: dict[str, Any],
    petdetect: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    parameter: str,
    quota: float,
    concurrency: int,
    words: str,
) -> None:
    deployed_with(deployment, monkeypatch, RekognitionCallsPerSecond=parameter)
    quotas["list_service_quotas"]["Quotas"][1]["Value"] = quota
    quotas["get_account_settings"]["AccountLimit"]["ConcurrentExecutions"] = concurrency
    found = advice(petdetect)
    assert len(found) == (1 if words else 0)
    assert words in "".join(found)


def test_with_content_safety_the_lower_of_two_quotas_counts(
    deployment: Deployment, quotas: dict[str, Any], petdetect: Callable[..., Result]
) -> None:
    name = "Transactions per second per account for the Amazon Rekognition image operation DetectModerationLabels"
    quotas["list_service_quotas"]["Quotas"].append({"QuotaName": name, "Value": 20.0})
    assert advice(petdetect) == []
    deployment.parameters["ContentSafety"] = "reject"
    (found,) = advice(petdetect)
    assert "is 45, above Rekognition's quota of 20: set it to 18" in found


def test_of_two_quotas_the_one_that_was_never_changed_counts_too(
    deployment: Deployment, quotas: dict[str, Any], petdetect: Callable[..., Result]
) -> None:
    """Service Quotas lists among the account's own only what was changed: DetectLabels was raised."""
    name = "Transactions per second per account for the Amazon Rekognition image operation DetectModerationLabels"
    quotas["list_service_quotas"]["Quotas"][1]["Value"] = 90.0
    quotas["list_aws_default_service_quotas"]["Quotas"].append({"QuotaName": name, "Value": 50.0})
    deployment.parameters.update(ContentSafety="reject", RekognitionCallsPerSecond="80")
    (found,) = advice(petdetect)
    assert "is 80, above Rekognition's quota of 50: set it to 45" in found


def test_an_operator_who_may_not_read_the_quotas_sees_the_rest(
    quotas: dict[str, Any], petdetect: Callable[..., Result]
) -> None:
    quotas |= dict.fromkeys(quotas, "AccessDeniedException")
    document = json.loads(petdetect("status", "--json").stdout)
    assert (document["pace"]["quota"], document["pace"]["concurrency"]) == (None, None)
    assert document["advice"] == []


def test_an_account_without_such_a_quota_is_no_error(quotas: dict[str, Any], petdetect: Callable[..., Result]) -> None:
    quotas["list_service_quotas"]["Quotas"] = []
    quotas["list_aws_default_service_quotas"]["Quotas"] = []
    assert json.loads(petdetect("status", "--json").stdout)["pace"]["quota"] is None


def test_a_quota_that_was_never_changed_is_the_default(
    quotas: dict[str, Any], petdetect: Callable[..., Result]
) -> None:
    """Service Quotas does not list it among the account's own."""
    quotas["list_service_quotas"]["Quotas"] = []
    quotas["list_aws_default_service_quotas"]["Quotas"][1]["Value"] = 5.0
    assert json.loads(petdetect("status", "--json").stdout)["pace"]["quota"] == 5


def test_the_local_aws_has_no_quotas(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, petdetect: Callable[..., Result]
) -> None:
    local = dataclasses.replace(deployment, environment="local")
    monkeypatch.setattr(cli, "connect", lambda _: local)
    monkeypatch.setattr(pace, "_quota", lambda: pytest.fail("asked"))
    document = json.loads(petdetect("status", "--json").stdout)["pace"]
    assert (document["quota"], document["concurrency"]) == (None, None)


def test_advice_needs_no_aws() -> None:
    assert Pace(45, {}, quota=None, concurrency=None).advice == []
