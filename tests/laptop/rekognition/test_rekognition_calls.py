"""What the local Rekognition tells about the calls that came, and the quota of calls a second that it can hold to."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from local.rekognition.calls import Calls, Quota

from .conftest import RunningServer


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admitted(quota: Quota, calls: int) -> int:
    return sum(quota.admits() for _ in range(calls))


@pytest.mark.parametrize(("rate", "at_once", "a_second_later"), [(5, 5, 5), (1, 1, 1), (0.5, 1, 0), (2.5, 2, 2)])
def test_quota_admits_one_second_of_calls_at_once_and_its_rate_afterwards(
    rate: float, at_once: int, a_second_later: int
) -> None:
    clock = Clock()
    quota = Quota(rate, clock)

    assert admitted(quota, 20) == at_once
    clock.now += 1
    assert admitted(quota, 20) == a_second_later


def test_quota_saves_no_more_than_one_second() -> None:
    clock = Clock()
    quota = Quota(3, clock)
    assert admitted(quota, 20) == 3

    clock.now += 3600

    assert admitted(quota, 20) == 3


def test_calls_are_told_in_the_order_in_which_they_came() -> None:
    calls = Calls()
    for at in (12.0, 10.0, 11.0):  # as they ended
        calls.add(at, "ok")

    assert calls.since(11.0) == [(11.0, "ok"), (12.0, "ok")]


def calls_of(server: RunningServer, since: float = 0) -> list[list[Any]]:
    found: list[list[Any]] = ask(server, f"/calls?since={since}").json()["calls"]
    return found


def ask(server: RunningServer, path: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(server.url + path, timeout=10)


def test_server_tells_each_call_with_its_time_and_its_answer(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any], photo: Callable[[str], bytes]
) -> None:
    server = start_server()
    assert calls_of(server) == []
    before = time.time()

    connect(server).detect_labels(Image={"Bytes": photo("cat_chelsea.jpg")})
    between = time.time()
    with pytest.raises(ClientError):
        connect(server).detect_labels(Image={"Bytes": b"no picture"})

    (first, seen), (second, refused) = calls_of(server)
    assert (seen, refused) == ("ok", "InvalidImageFormatException")
    assert before <= first <= between <= second
    assert calls_of(server, between) == [[second, refused]]


def test_since_must_be_a_number(server: RunningServer) -> None:
    assert ask(server, "/calls?since=yesterday").status_code == 400


def test_server_refuses_what_is_beyond_its_quota_as_aws_does(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any], photo: Callable[[str], bytes]
) -> None:
    server = start_server("--calls-per-second", "0.001")  # one call, and the next one a quarter of an hour later
    rekognition, picture = connect(server), {"Bytes": photo("cat_chelsea.jpg")}
    rekognition.detect_labels(Image=picture)

    with pytest.raises(ClientError) as raised:
        rekognition.detect_labels(Image=picture)

    answer = raised.value.response
    assert answer["Error"] == {
        "Code": "ProvisionedThroughputExceededException",
        "Message": "Provisioned rate exceeded",
    }
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert json.loads(ask(server, "/health").text)["status"] == "ok"  # asking is no call
    assert [outcome for _, outcome in calls_of(server)] == ["ok", "ProvisionedThroughputExceededException"]


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "many"])
def test_an_impossible_quota_is_told_with_the_usage(
    run_in_engine: Callable[..., subprocess.CompletedProcess[str]], rate: str
) -> None:
    result = run_in_engine("-m", "local.rekognition", "--port", "0", f"--calls-per-second={rate}")

    assert result.returncode == 2
    assert "argument --calls-per-second" in result.stderr
