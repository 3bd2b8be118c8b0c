"""Whatever goes wrong, an operator reads a sentence that says what to do, and a script gets an exit code."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from tests.operator.application import Application, Output, ended, start_petdetect
from tests.support.petdetect import petdetect

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def _petdetect(*arguments: str, **variables: str) -> Output:
    return ended(start_petdetect(*arguments, **variables))


@pytest.fixture
def commands() -> list[str]:
    listed = _petdetect("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\w+) ", listed, re.MULTILINE)


def test_help_names_exit_codes_and_every_command_has_json(commands: list[str]) -> None:
    assert set(commands) == {"cost", "dismiss", "explain", "failed", "reconcile", "redrive", "release", "status"}
    text = _petdetect("--help").out
    assert all(f"\n    {code}  " in text for code in (0, 1, 2, 3))
    assert "PETDETECT_ENV" in text
    for command in commands:
        help_text = petdetect(command, "-h").stdout
        assert "--json" in help_text
        assert "--env" in help_text


def test_a_local_aws_that_does_not_run(tmp_path: Path) -> None:
    answer = _petdetect("status", ENGINE_HOME=str(tmp_path))

    assert (answer.code, answer.out) == (1, "")
    assert "The local AWS is not running: start it with `make up`" in answer.err


def test_no_credentials(tmp_path: Path) -> None:
    for arguments in (["--env", "dev", "status"], ["status", "--env", "dev", "--json"]):
        answer = _petdetect(*arguments, HOME=str(tmp_path))
        assert (answer.code, answer.out) == (1, "")
        assert "There are no usable AWS credentials: sign in" in answer.err


def test_an_environment_by_variable_is_overridden_by_the_option(tmp_path: Path) -> None:
    by_variable = _petdetect("failed", PETDETECT_ENV="prod", HOME=str(tmp_path))
    by_option = _petdetect("failed", "--env", "local", PETDETECT_ENV="prod", ENGINE_HOME=str(tmp_path))

    assert "credentials" in by_variable.err
    assert "make up" in by_option.err
    assert _petdetect("failed", PETDETECT_ENV="production").code == 2


def test_a_profile_that_does_not_exist() -> None:
    answer = _petdetect("failed", "--env", "dev", AWS_PROFILE="nobody")

    assert answer.code == 1
    assert "nobody" in answer.err
    assert "AWS_PROFILE" in answer.err


def test_an_address_where_nobody_answers() -> None:
    answer = _petdetect("failed", "--env", "dev", AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS)

    assert answer.code == 1
    assert "AWS cannot be reached" in answer.err


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
        thread = threading.Thread(target=server.serve_forever)
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

    assert answer.code == 1
    assert words in answer.err


def test_a_stack_that_is_not_deployed(deployed: Application) -> None:
    answer = _petdetect("failed", "--env", "staging", AWS_ENDPOINT_URL=deployed.engine.url, **KEYS)

    assert answer.code == 1
    assert "serverlessapp-pet-detector-staging is not deployed" in answer.err
    assert "sam deploy --config-env staging" in answer.err


def test_the_operators_own_aws_settings_do_not_reach_the_local_one(deployed: Application) -> None:
    strange = {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "eu-west-1"}

    answer = _petdetect("status", "--json", **deployed.variables, **strange)

    assert answer.code in (0, 3)
    assert answer.json["environment"] == "local"


def test_an_image_that_nobody_knows(deployed: Application) -> None:
    answer = deployed.petdetect("explain", "0" * 32)

    assert answer.code == 1
    assert "There is no image 00000000000000000000000000000000 in local" in answer.err
    assert deployed.petdetect("explain", "cat.jpg").code == 2


def test_a_stack_on_aws_is_reached_with_the_operators_own_credentials(deployed: Application) -> None:
    name = "serverlessapp-pet-detector-dev"
    outputs = {key: {"Value": value} for key, value in deployed.outputs.items()}
    resource = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "any"}}
    cloudformation = deployed.engine.client("cloudformation")
    cloudformation.create_stack(
        StackName=name, TemplateBody=json.dumps({"Resources": {"Any": resource}, "Outputs": outputs})
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.05})
    on_aws = {"AWS_ENDPOINT_URL": deployed.engine.url, "NO_PROXY": "127.0.0.1", **KEYS}
    try:
        status = _petdetect("--env", "dev", "status", "--json", **on_aws)
        dry = _petdetect("redrive", "--all", "--dry-run", "--json", PETDETECT_ENV="dev", **on_aws)
    finally:
        cloudformation.delete_stack(StackName=name)

    assert status.code in (0, 3)
    assert status.json["environment"] == "dev"
    assert dry.code == 0


def test_a_stack_of_an_older_version(deployed: Application) -> None:
    name = "serverlessapp-pet-detector-prod"
    resource = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": "any"}}
    cloudformation = deployed.engine.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Any": resource}}))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.05})
    try:
        answer = _petdetect("failed", "--env", "prod", AWS_ENDPOINT_URL=deployed.engine.url, **KEYS)
    finally:
        cloudformation.delete_stack(StackName=name)

    assert answer.code == 1
    assert "deploy this version of the application" in answer.err
