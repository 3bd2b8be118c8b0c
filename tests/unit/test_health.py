"""GET /health asks each dependency, at most once in a few seconds, and never fails itself."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from pet_detector.aws.clients import client
from pet_detector.aws.health import check
from tests.support.moto_world import BUCKET, POLICY_PARAMETER, TABLE, WORKFLOW, Cloud

ALL = {"storage": True, "records": True, "workflow": True, "policy": True}


def ask(**changed: str) -> dict[str, bool]:
    names = {"bucket": BUCKET, "table": TABLE, "workflow_arn": WORKFLOW, "policy_parameter": POLICY_PARAMETER}
    return check(**names | changed)


@pytest.mark.usefixtures("policy", "workflow")
def test_all_is_well_when_every_part_answers() -> None:
    assert ask() == ALL


@pytest.mark.usefixtures("policy", "workflow")
@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"bucket": "no-such-bucket"}, "storage"),
        ({"table": "no-such-table"}, "records"),
        ({"workflow_arn": WORKFLOW.replace("ImageWorkflow", "no-such-workflow")}, "workflow"),
        ({"policy_parameter": "no-such-parameter"}, "policy"),
    ],
)
def test_the_part_that_is_missing_is_down_and_no_other(changed: dict[str, str], part: str) -> None:
    assert ask(**changed) == ALL | {part: False}


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize("value", ["no JSON", '{"minimum": 101, "margin": 15, "floor": 50}'])
def test_a_policy_that_cannot_be_used_is_down(aws: Cloud, value: str) -> None:
    aws.set_policy(value)
    assert ask() == ALL | {"policy": False}


@pytest.mark.usefixtures("policy", "workflow")
def test_a_part_that_does_not_answer_in_time_is_down() -> None:
    def hang(**_: Any) -> None:
        raise ConnectTimeoutError(endpoint_url="https://dynamodb")

    client("dynamodb", quick=True).meta.events.register_first("before-send", hang)
    assert ask() == ALL | {"records": False}


@pytest.mark.parametrize("service", ["s3", "dynamodb", "stepfunctions", "ssm"])
def test_a_check_ends_before_who_asks_gives_up(service: Any) -> None:
    """Monitors wait 5 seconds or longer. The parts are asked at the same time, and once each."""
    config = client(service, quick=True).meta.config
    assert config.retries["total_max_attempts"] == 1
    assert config.connect_timeout + config.read_timeout < 5


@pytest.fixture
def calls() -> list[str]:
    """The calls that were made to ask the parts."""
    asked: list[str] = []
    for service in ("s3", "dynamodb", "stepfunctions", "ssm"):
        made: Any = client(service, quick=True)
        made.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
    return asked


@pytest.mark.usefixtures("policy", "workflow")
def test_an_answer_is_remembered_for_a_few_seconds_only(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr("pet_detector.aws.health.time.monotonic", lambda: now[0])
    first = ask()
    now[0] += 3
    assert ask() is first
    assert len(calls) == len(ALL)
    now[0] += 7
    assert ask() == first
    assert len(calls) == 2 * len(ALL)


@pytest.mark.usefixtures("policy", "workflow")
def test_bad_news_is_not_remembered_longer_than_good_news(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("pet_detector.aws.health.time.monotonic", lambda: now[0])
    assert ask(bucket="no-such-bucket")["storage"] is False
    now[0] += 10
    assert ask() == ALL


@pytest.mark.usefixtures("policy", "workflow")
def test_logs_name_the_part_and_not_what_aws_said(logs: io.StringIO) -> None:
    ask(bucket="no-such-bucket")
    assert '"part":"storage"' in logs.getvalue()
    assert "no-such-bucket" not in logs.getvalue()
