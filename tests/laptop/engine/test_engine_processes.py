"""Starting and stopping the local AWS: nothing of it is left behind, nothing of others is touched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local import engine as engine_module
from local import engine_command
from local.engine import Engine, UserError
from local.terminal import run_command
from tests.support.local_aws import answers
from tests.support.ports import free_port
from tests.support.waiting import eventually

from .conftest import ALL, ROLE_NAME, RunningEngine


def pid(engine: Engine, name: str) -> int:
    return int(json.loads((engine.home / f"{name}.pid").read_text())["pid"])


def test_up_twice_is_harmless_and_down_leaves_nothing(stopped: Engine) -> None:
    assert stopped.up()
    assert not stopped.up()
    assert stopped.is_up()
    pids = [pid(stopped, name) for name in ("aws", "rekognition")]

    assert stopped.down()
    assert not stopped.down()

    assert not stopped.is_up()
    assert not any(answers(process.port) for process in stopped.processes)
    for number in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
    assert list(stopped.home.glob("*.pid")) == []
    assert not (stopped.home / "tmp").exists()


def test_lambda_workers_end_with_the_engine(stopped: Engine) -> None:
    stopped.up()
    running = RunningEngine(stopped.url)
    running.create_role(ROLE_NAME, ALL)
    name = running.create_function("import os\ndef handler(event, context):\n    return os.getpid()")
    worker = int(running.client("lambda").invoke(FunctionName=name)["Payload"].read())

    os.kill(pid(stopped, "aws"), signal.SIGSTOP)  # it cannot tidy up after itself
    stopped_seconds, engine_module.STOP_SECONDS = engine_module.STOP_SECONDS, 0.5
    try:
        stopped.down()
    finally:
        engine_module.STOP_SECONDS = stopped_seconds

    eventually(lambda: engine_module._birth(worker) is None, "the worker is gone")


def test_up_starts_again_what_died(stopped: Engine) -> None:
    stopped.up()
    rekognition = pid(stopped, "rekognition")
    os.kill(pid(stopped, "aws"), signal.SIGKILL)
    eventually(lambda: not stopped.is_up(), "its death is noticed")

    assert stopped.up()

    assert answers(stopped.processes[0].port)
    assert pid(stopped, "rekognition") == rekognition


def test_a_process_that_got_the_recorded_id_later_is_left_alone(stopped: Engine) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stopped.home.mkdir()
        record = {"pid": stranger.pid, "birth": "another time", "port": stopped.processes[0].port}
        (stopped.home / "aws.pid").write_text(json.dumps(record))

        assert not stopped.down()
        assert stranger.poll() is None
        assert not (stopped.home / "aws.pid").exists()
    finally:
        stranger.communicate(b"\n")


@pytest.mark.parametrize("content", ["", "{}", "12"])
def test_a_damaged_process_file_is_ignored(stopped: Engine, content: str) -> None:
    stopped.home.mkdir()
    (stopped.home / "aws.pid").write_text(content)

    assert not stopped.down()


@pytest.mark.parametrize(("index", "variable"), [(0, "PORT"), (1, "REKOGNITION_PORT")])
def test_a_busy_port_is_named_with_the_way_out(stopped: Engine, index: int, variable: str) -> None:
    port = stopped.processes[index].port
    sentence = rf"Port {port} is in use.*for example {variable}=\d+"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError, match=sentence):
        stopped.up()

    assert list(stopped.home.glob("*.pid")) == []
    assert not any(answers(process.port) for process in stopped.processes)


def test_a_second_pair_of_ports_is_refused_while_it_runs(stopped: Engine) -> None:
    stopped.up()
    other = Engine(free_port(), free_port(), home=stopped.home)

    with pytest.raises(UserError, match=f"already runs on port {stopped.processes[0].port}.*make down"):
        other.up()

    assert stopped.is_up()


def test_a_process_that_cannot_start_shows_its_last_words(stopped: Engine, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    python.chmod(0o755)
    stopped.python = python

    with pytest.raises(UserError, match=r"The local AWS did not start.\nno such module\nIts log: "):
        stopped.up()


def test_the_answer_of_another_program_at_its_port_is_not_taken_for_its_own(
    stopped: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'the port is in use' >&2\nexit 1\n")
    python.chmod(0o755)
    stopped.python = python

    def another_answers(_: str) -> bool:
        aws = stopped.processes[0]
        eventually(lambda: engine_module._birth(pid(stopped, aws.name)) is None, "ours has ended")
        return True

    monkeypatch.setattr(engine_module, "_is_healthy", another_answers)

    with pytest.raises(UserError, match=r"The local AWS did not start.\nthe port is in use"):
        stopped.up()


def test_nothing_of_the_developers_environment_reaches_a_function(
    stopped: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-1\n")
    developer = {
        "AWS_PROFILE": "work",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ACCESS_KEY_ID": "AKIADEVELOPER",
        "AWS_SECRET_ACCESS_KEY": "developer-secret",
        "AWS_SESSION_TOKEN": "developer-token",
        "GITHUB_TOKEN": "developer-secret",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "HOME": str(tmp_path),
    }
    for name, value in developer.items():
        monkeypatch.setenv(name, value)
    stopped.up()
    running = RunningEngine(stopped.url)
    monkeypatch.undo()
    running.create_role(ROLE_NAME, ALL)
    name = running.create_function("import os\ndef handler(event, context):\n    return dict(os.environ)")

    seen = json.loads(running.client("lambda").invoke(FunctionName=name)["Payload"].read())

    assert not set(developer.values()) & set(seen.values())
    assert seen["AWS_ENDPOINT_URL"] == stopped.url


def test_the_client_is_deaf_to_the_developers_configuration(stopped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.up()
    monkeypatch.setenv("AWS_PROFILE", "there-is-none")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert stopped.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize("port", ["80", "http", "99999", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("PORT", port)

    with pytest.raises(UserError, match=r"PORT is .* give a port number"):
        engine_module.engine_from_environment()


def test_status_says_whether_it_runs(
    stopped: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE_HOME", str(stopped.home))
    monkeypatch.setenv("PORT", str(stopped.processes[0].port))
    monkeypatch.setenv("REKOGNITION_PORT", str(stopped.processes[1].port))

    assert engine_command.main(["status"]) == 3
    assert engine_command.main(["up"]) == 0
    assert engine_command.main(["up"]) == 0
    assert engine_command.main(["status"]) == 0
    assert engine_command.main(["down"]) == 0
    assert engine_command.main(["down"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert [line.split(" on ")[0].split(" (")[0] for line in said] == [
        "The local AWS is not running. Start it with `make up`.",
        "Starting the local AWS",
        "The local AWS is ready",
        "The local AWS is already running",
        "The local AWS is running",
        "Stopping the local AWS ...",
        "The local AWS is stopped.",
        "The local AWS was not running.",
    ]


def test_a_command_without_a_port_finds_the_running_engine(stopped: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_HOME", str(stopped.home))
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.setenv("REKOGNITION_PORT", "")
    assert engine_module.engine_from_environment().url == "http://127.0.0.1:4566"

    stopped.up()

    found = engine_module.engine_from_environment()
    assert (found.url, found.rekognition_url) == (stopped.url, stopped.rekognition_url)
    assert found.is_up()


def test_an_engine_that_is_gone_is_one_sentence(stopped: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: stopped.client("s3").list_buckets()) == 1

    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("Error: The local AWS did not answer: Could not connect to the endpoint URL")
