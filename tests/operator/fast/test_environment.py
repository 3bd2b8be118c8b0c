"""Which stack a command is about, and how errors of AWS become sentences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError
from click.testing import Result

from local.engine import REPOSITORY
from ops import environment
from ops.environment import Deployment
from ops.errors import OperatorError, sentence
from pet_detector.aws.clients import client
from pet_detector.rules.errors import AccessDeniedError, ServiceError
from tests.support.moto_world import Cloud, refusal
from tests.support.petdetect import petdetect


def test_a_parameter_of_the_stack_beats_the_template_of_this_repository(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"ParameterKey": "OverdueMinutes", "ParameterValue": "42"}
    output = {"OutputKey": "ImageBucketName", "OutputValue": "a-bucket"}
    monkeypatch.setattr(environment, "_stack", lambda *_: {"Parameters": [given], "Outputs": [output]})

    deployment = environment.connect("dev")

    assert deployment.bucket == "a-bucket"
    assert deployment.overdue == timedelta(minutes=42)
    assert deployment.parameter("DailyAnalysisLimit") == "0"  # of an older stack without it


def test_an_error_of_aws_says_what_aws_said(
    aws: Cloud, deployment: Deployment, petdetect: Callable[..., Result]
) -> None:
    with refusal(client("dynamodb"), "GetItem", "AccessDeniedException"):
        answer = petdetect("explain", "0" * 32)

    assert answer.exit_code == 1
    assert "AWS does not allow GetItem (AccessDeniedException): use credentials" in answer.stderr


def test_an_error_of_the_domain_is_told_by_its_cause_if_aws_gave_one() -> None:
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "HeadObject")

    error = AccessDeniedError("s3:HeadObject: AccessDenied")
    error.__cause__ = refused

    assert sentence(error).startswith("AWS does not allow HeadObject (AccessDenied)")
    assert sentence(ServiceError("the bytes were damaged")) == "the bytes were damaged"


@pytest.mark.parametrize("arguments", [["--help"], ["--env", "dev", "status", "--help"]])
def test_the_command_works_where_there_is_no_local_aws(arguments: list[str]) -> None:
    program = "import sys; sys.modules['local'] = None; from ops.cli import main; main(prog_name='petdetect')"

    answer = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'functions'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("Usage: petdetect")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("local", "local"), ("prod", "prod"), ("recovery", "recovery"), ("pr-1", "dev"), ("pr-1234567", "dev")],
)
def test_environments_are_those_of_samconfig_and_of_pull_requests(name: str, settings: str) -> None:
    assert environment.is_environment(name)
    assert environment.settings_of(name) == settings


@pytest.mark.parametrize(("name", "place"), [("prod", "us-east-1"), ("recovery", "us-west-2"), ("pr-1", "us-east-1")])
def test_an_environment_is_asked_in_its_own_region(aws: Cloud, name: str, place: str) -> None:
    assert environment.reach(name) == f"serverlessapp-pet-detector-{name}"
    assert environment.region() == place
    assert boto3.client("dynamodb").meta.region_name == place


@pytest.mark.parametrize("name", ["", "qa", "pr-", "pr-0", "pr-01", "pr-1\n", "pr-x", "PR-1", "pr-12345678"])
def test_other_names_are_refused_before_aws_is_asked(name: str) -> None:
    answer = petdetect("--env", name, "status")

    assert answer.exit_code == 2
    assert "is not one of local, dev, staging, prod, recovery, pr-<number>." in answer.stderr


def test_a_stack_that_is_not_there_is_deployed_with_the_settings_of_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ClientError({"Error": {"Code": "ValidationError", "Message": "no"}}, "DescribeStacks")
    cloudformation = mock.Mock(describe_stacks=mock.Mock(side_effect=missing))
    monkeypatch.setattr(boto3, "client", lambda *_, **__: cloudformation)

    with pytest.raises(OperatorError, match="sam deploy --config-env dev --stack-name serverlessapp-pet-detector-pr-7"):
        environment.connect("pr-7")
