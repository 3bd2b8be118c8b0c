"""Whatever goes wrong, an operator reads a sentence that says what to do, and a script gets an exit code."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from unittest import mock

import boto3
import click
import pytest
from click.testing import Result

from ops.cli import main
from pet_detector.aws import clients
from tests.operator.application import environment
from tests.support.moto_world import Cloud
from tests.support.petdetect import petdetect

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def _petdetect(*arguments: str, **variables: str) -> Result:
    """Run the command with these environment variables alone, and leave nothing of them behind."""
    replaced = mock.patch.dict(os.environ, environment(**variables), clear=True)
    with replaced, mock.patch.object(boto3, "DEFAULT_SESSION", None):
        try:
            return petdetect(*arguments)
        finally:
            clients.forget()


@pytest.fixture
def commands() -> list[str]:
    listed = petdetect("--help").stdout.partition("Commands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\w+) ", listed, re.MULTILINE)


def test_help_names_exit_codes_and_every_command_has_json(commands: list[str]) -> None:
    expected = (
        "accuracy adopt backfill check cost destroy dismiss drill erase evaluate explain export failed key person "
        "policy prune rebuild reconcile redrive release replay reviews rollback status sweep thresholds"
    )
    assert set(commands) == set(expected.split())
    text = petdetect("--help").stdout
    assert all(f"\n    {code}  " in text for code in (0, 1, 2, 3))
    assert "PETDETECT_ENV" in text
    groups = {name: group for name, group in main.commands.items() if isinstance(group, click.Group)}
    assert groups.keys() == {"key", "person", "policy"}
    names = [(command,) for command in commands if command not in groups]
    for arguments in [*names, *((name, command) for name, group in groups.items() for command in group.commands)]:
        help_text = petdetect(*arguments, "-h").stdout
        assert "--json" in help_text
        assert "--env" in help_text


def test_a_local_aws_that_does_not_run(tmp_path: Path) -> None:
    answer = _petdetect("status", ENGINE_HOME=str(tmp_path))

    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "The local AWS is not running: start it with `make up`" in answer.stderr


def test_no_credentials(tmp_path: Path) -> None:
    for arguments in (["--env", "dev", "status"], ["status", "--env", "dev", "--json"]):
        answer = _petdetect(*arguments, HOME=str(tmp_path))
        assert (answer.exit_code, answer.stdout) == (1, "")
        assert "There are no usable AWS credentials: sign in" in answer.stderr


def test_an_environment_by_variable_is_overridden_by_the_option(tmp_path: Path) -> None:
    by_variable = _petdetect("failed", PETDETECT_ENV="prod", HOME=str(tmp_path))
    by_option = _petdetect("failed", "--env", "local", PETDETECT_ENV="prod", ENGINE_HOME=str(tmp_path))

    assert "credentials" in by_variable.stderr
    assert "make up" in by_option.stderr
    assert _petdetect("failed", PETDETECT_ENV="production").exit_code == 2


def test_a_profile_that_does_not_exist() -> None:
    answer = _petdetect("failed", "--env", "dev", AWS_PROFILE="nobody")

    assert answer.exit_code == 1
    assert "nobody" in answer.stderr
    assert "AWS_PROFILE" in answer.stderr


def test_an_address_where_nobody_answers() -> None:
    answer = _petdetect("failed", "--env", "dev", AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS)

    assert answer.exit_code == 1
    assert "AWS cannot be reached" in answer.stderr


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every request with one error code."""

    code: ClassVar[str]

    def do_POST(self) -> None:
        body = f"<ErrorResponse><Error><Code>{self.code}</Code><Message>no</Message></Error></ErrorResponse>".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def refusing_aws() -> Iterator[str]:
    """The address of an AWS that refuses everything with _Refusing.code."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AccessDenied", "AWS does not allow DescribeStacks (AccessDenied): use credentials that may"),
        ("ExpiredToken", "The AWS credentials have expired: sign in again."),
        ("Throttling", "AWS asks to slow down"),
        ("Surprise", "AWS refused DescribeStacks (Surprise)"),
    ],
)
def test_an_aws_that_refuses(refusing_aws: str, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    monkeypatch.setattr(_Refusing, "code", code, raising=False)

    answer = _petdetect("failed", "--env", "prod", AWS_ENDPOINT_URL=refusing_aws, NO_PROXY="127.0.0.1", **KEYS)

    assert answer.exit_code == 1
    assert words in answer.stderr


def test_a_stack_of_an_older_version(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.environment._stack", lambda *_: {"Outputs": []})

    answer = petdetect("failed", "--env", "prod")

    assert answer.exit_code == 1
    assert "deploy this version of the application" in answer.stderr
