"""The local Rekognition as a process: start, health, stop, and what it says when it cannot start."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import RunningServer


def get(server: Any, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_health_says_ok_and_which_model(server: RunningServer) -> None:
    assert get(server, "/health") == (200, {"status": "ok", "model": "local-efficientnet-lite0"})


def test_other_paths_are_not_found(server: RunningServer) -> None:
    assert get(server, "/")[0] == 404


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")], ids=["127.0.0.2", "::1"]
)
def test_listens_on_127_0_0_1_only(server: RunningServer, family: socket.AddressFamily, address: str) -> None:
    # 127.0.0.2 is this machine too: a server on all addresses would answer there
    with socket.socket(family) as client:
        client.settimeout(2)
        assert client.connect_ex((address, server.port)) != 0


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly_with_a_connection_open(
    start_server: Callable[..., RunningServer], stop: signal.Signals
) -> None:
    server = start_server()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/health")
    connection.getresponse().read()

    server.process.send_signal(stop)

    assert server.process.wait(timeout=5) == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""
    assert server.log.read_text() == ""
    connection.close()


def test_busy_port_is_told_in_one_sentence(
    server: RunningServer, run_in_engine: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_in_engine("-m", "local.rekognition", "--port", str(server.port))

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"Port {server.port} is in use: stop the program that listens on it, or choose another with --port.\n"
    )


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_impossible_port_is_told_with_the_usage(
    run_in_engine: Callable[..., subprocess.CompletedProcess[str]], port: str
) -> None:
    result = run_in_engine("-m", "local.rekognition", "--port", port)

    assert result.returncode == 2
    assert "argument --port" in result.stderr
    assert "Traceback" not in result.stderr


def test_s3_endpoint_that_is_no_url_is_told_in_one_sentence(
    run_in_engine: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_in_engine("-m", "local.rekognition", "--port", "0", "--s3-endpoint", "localhost")

    assert result.returncode == 1
    assert result.stderr == "Cannot start: Invalid endpoint: localhost\n"


def test_log_has_a_line_for_each_request_with_what_was_seen(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any], photo: Callable[[str], bytes]
) -> None:
    server = start_server()

    connect(server).detect_labels(Image={"Bytes": photo("cat_chelsea.jpg")})
    get(server, "/health")

    (line,) = server.log.read_text().splitlines()
    assert line.startswith("DetectLabels ")
    assert "Cat 98" in line
