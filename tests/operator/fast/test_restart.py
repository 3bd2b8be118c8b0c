"""Redrive and release: what is planned, how often it is started, how many at a time, and how an end is told."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import Result

from ops import restart
from ops.environment import Deployment
from ops.restart import REDRIVE, RELEASE, Outcome, Plan
from tests.operator.fast import images
from tests.support.moto_world import EXECUTION, IMAGE_ID, KEY, Cloud

NAME = f"redrive-{IMAGE_ID}-{hashlib.sha256(EXECUTION.encode()).hexdigest()[:16]}"


def test_an_image_that_is_named_twice_is_started_once(aws: Cloud, petdetect: Callable[..., Result]) -> None:
    images.present(aws)

    started = petdetect("redrive", IMAGE_ID, IMAGE_ID.upper(), "--no-wait", "--json")

    assert [image["imageId"] for image in json.loads(started.stdout)["images"]] == [IMAGE_ID]


def test_json_says_what_a_plan_and_a_result_are(aws: Cloud, petdetect: Callable[..., Result]) -> None:
    images.present(aws)
    (version,) = (found["VersionId"] for found in aws.s3.list_object_versions(Bucket="pictures-of-pets")["Versions"])

    plans = json.loads(petdetect("redrive", IMAGE_ID, "--dry-run", "--json").stdout)
    results = json.loads(petdetect("redrive", IMAGE_ID, "--no-wait", "--json").stdout)

    assert plans == {
        "dryRun": True,
        "images": [
            {
                "imageId": IMAGE_ID,
                "status": "failed",
                "reason": "ServiceError",
                "key": KEY,
                "versionId": version,
                "replaces": None,
                "refusal": None,
            }
        ],
    }
    arn = EXECUTION.replace(":one", f":{NAME}")
    started = {"imageId": IMAGE_ID, "outcome": "started", "status": "failed", "remark": "", "executionArn": arn}
    assert results == {"dryRun": False, "images": [started], "error": None}


@pytest.mark.parametrize("kind", [REDRIVE, RELEASE], ids=lambda kind: kind.verb)
def test_only_a_failed_image_that_is_gone_can_be_dismissed(
    aws: Cloud, deployment: Deployment, kind: restart.Restart
) -> None:
    images.gone(aws, status=kind.takes)

    refusal = restart.plan(deployment, kind, IMAGE_ID).refusal

    assert refusal is not None
    assert refusal.startswith("Its object is gone")
    assert (f"petdetect dismiss {IMAGE_ID}" in refusal) == (kind is REDRIVE)


def _plan(deployment: Deployment, version_id: str = "") -> Plan:
    """The plan for the image; `version_id` is another object version to start with."""
    found = restart.plan(deployment, REDRIVE, IMAGE_ID)
    assert found.refusal is None
    return replace(found, version_id=version_id or found.version_id)


def test_an_execution_that_still_runs_is_not_started_twice(aws: Cloud, deployment: Deployment) -> None:
    images.present(aws)

    restart.start(deployment, _plan(deployment))
    version, _ = aws.put(KEY, b"put back in the meantime")

    same, other = (restart.start(deployment, plan) for plan in (_plan(deployment), _plan(deployment, version)))

    assert same.outcome is other.outcome is Outcome.STARTED
    assert list(aws.started()) == [NAME]


def test_executions_that_could_not_claim_the_image_are_followed_by_another_one(
    aws: Cloud, deployment: Deployment, end_executions: Callable[[str], int]
) -> None:
    images.present(aws)
    for _ in range(20):
        restart.start(deployment, _plan(deployment))
        assert end_executions("SUCCEEDED") == 1

    last = restart.start(deployment, _plan(deployment))

    assert set(aws.started()) == {NAME, *(f"{NAME}-{attempt}" for attempt in range(2, 21))}
    assert last.outcome is Outcome.FAILED
    assert last.remark.startswith("20 executions could not claim it")
    assert NAME in last.remark


def test_ten_run_at_a_time_and_are_asked_about_ten_times_a_second(
    aws: Cloud, deployment: Deployment, end_executions: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_ids = [f"{number:032x}" for number in range(23)]
    for image_id in image_ids:
        images.present(aws, image_id)
    at_a_time: list[int] = []
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        at_a_time.append(end_executions("ABORTED"))

    monkeypatch.setattr(time, "sleep", sleep)

    plans = [restart.plan(deployment, REDRIVE, image_id) for image_id in image_ids]
    results = list(restart.run(deployment, plans, seconds=600))

    assert at_a_time == [10, 10, 3]
    assert pauses == pytest.approx([1.0, 1.0, 0.3])
    assert [(result.outcome, result.remark) for result in results] == [(Outcome.FAILED, "ExecutionAborted")] * 23


@pytest.mark.parametrize(
    ("end", "status", "outcome", "remark"),
    [
        ("SUCCEEDED", "completed", Outcome.FINISHED, ""),
        ("SUCCEEDED", "failed", Outcome.FAILED, "It was not claimed; run the command again."),
        ("SUCCEEDED", "processing", Outcome.RUNNING, "Another execution works on it."),
        ("SUCCEEDED", "held", Outcome.HELD, "The daily limit is reached: petdetect release passes it."),
        ("TIMED_OUT", "failed", Outcome.FAILED, "States.Timeout"),
    ],
)
def test_how_an_execution_ended_is_told_by_the_record(
    aws: Cloud,
    deployment: Deployment,
    end_executions: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    status: str,
    outcome: Outcome,
    remark: str,
) -> None:
    images.present(aws)

    def sleep(_: float) -> None:
        end_executions(end)
        images.write(aws, IMAGE_ID, status)

    monkeypatch.setattr(time, "sleep", sleep)

    (result,) = restart.run(deployment, [_plan(deployment)], seconds=600)

    assert (result.outcome, result.status, result.remark) == (outcome, status, remark)
