"""Deploying to the embedded AWS: what SAM is told, and what a person is told when it refuses."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local import deploy
from local.engine import Engine, UserError

SAMCONFIG = """
version = 0.1
[local.global.parameters]
stack_name = "serverlessapp-pet-detector-local"
[local.deploy.parameters]
parameter_overrides = {overrides}
"""

FAKE_SAM = """#!/bin/sh
echo "{outcome}"
printf '%s\\n' "$@" > "$0.$1.arguments"
env > "$0.$1.environment"
exit {code}
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    (tmp_path / "samconfig.toml").write_text(SAMCONFIG.format(overrides='["Stage=local", "Note=\\"a b\\""]'))
    return tmp_path


@pytest.fixture
def local_engine(tmp_path: Path) -> Engine:
    """An engine that nobody starts."""
    return Engine(4700, 4701, home=tmp_path / "engine")


def fake_sam(directory: Path, monkeypatch: pytest.MonkeyPatch, outcome: str = "", code: int = 0) -> Path:
    sam = directory / "sam"
    sam.write_text(FAKE_SAM.format(outcome=outcome, code=code))
    sam.chmod(0o755)
    monkeypatch.setattr(deploy, "SAM", sam)
    return sam


def test_adds_what_only_this_machine_knows_to_the_parameters_of_samconfig(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "stack_outputs", lambda *_: {})
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    deploy.deploy(local_engine, application)

    for command in ("build", "deploy"):
        arguments = Path(f"{sam}.{command}.arguments").read_text().splitlines()
        overrides = arguments[arguments.index("--parameter-overrides") + 1 :]
        assert overrides[:2] == ["Stage=local", 'Note="a b"']
        assert overrides[2].startswith("PythonRuntime=python3.")
        assert overrides[3:] == ["Architecture=arm64", "RekognitionEndpoint=http://127.0.0.1:4701"]
        assert arguments[arguments.index("--config-env") + 1] == "local"


def test_parameters_written_as_one_text_are_kept_too(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (application / "samconfig.toml").write_text(SAMCONFIG.format(overrides='"Stage=local Owner=me"'))
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "stack_outputs", lambda *_: {})

    deploy.deploy(local_engine, application)

    arguments = Path(f"{sam}.deploy.arguments").read_text().splitlines()
    assert arguments[arguments.index("--parameter-overrides") + 1] == "Stage=local Owner=me"


def test_sam_sees_the_engine_and_nothing_of_the_users_aws(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "stack_outputs", lambda *_: {})
    monkeypatch.setenv("AWS_PROFILE", "prod")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere.example")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")

    deploy.deploy(local_engine, application)

    seen = dict(line.split("=", 1) for line in Path(f"{sam}.deploy.environment").read_text().splitlines())
    assert {name for name in seen if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }
    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4700"
    assert seen["SAM_CLI_TELEMETRY"] == "0"
    assert seen["PIP_INDEX_URL"] == "https://index.example/simple"


def test_code_built_for_the_laptop_stays_out_of_sams_own_build_directory(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "stack_outputs", lambda *_: {})

    deploy.deploy(local_engine, application)

    built = Path(f"{sam}.build.arguments").read_text().splitlines()
    deployed = Path(f"{sam}.deploy.arguments").read_text().splitlines()
    directory = local_engine.home / "build"
    assert built[built.index("--build-dir") + 1] == str(directory)
    assert deployed[deployed.index("--template-file") + 1] == str(directory / "template.yaml")


def test_a_refusal_shows_the_end_of_sams_output_and_what_to_do(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_sam(application, monkeypatch, outcome="Error: Template format error: no such type", code=1)
    monkeypatch.setattr(deploy, "_failed_resources", lambda *_: [])

    with pytest.raises(UserError) as refused:
        deploy.deploy(local_engine, application)

    assert "`sam build` failed" in str(refused.value)
    assert "Error: Template format error: no such type" in str(refused.value)
    assert "make down" in str(refused.value)


def test_a_resource_that_fails_is_named_with_cloudformations_reason(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def event(status: str, reason: str, age: timedelta) -> dict[str, object]:
        return {
            "LogicalResourceId": "ImageWorkflow",
            "ResourceType": "AWS::StepFunctions::StateMachine",
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
            "Timestamp": datetime.now(UTC) - age,
        }

    class CloudFormation:
        def describe_stack_events(self, StackName: str) -> object:
            now, earlier = timedelta(seconds=-1), timedelta(hours=1)
            return {
                "StackEvents": [
                    event("CREATE_FAILED", "its definition is broken", now),
                    event("CREATE_IN_PROGRESS", "started", now),
                    event("CREATE_FAILED", "an old story", earlier),
                ]
            }

    fake_sam(application, monkeypatch, outcome="a wide table", code=1)
    monkeypatch.setattr(local_engine, "client", lambda _: CloudFormation())

    with pytest.raises(UserError) as refused:
        deploy.deploy(local_engine, application)

    lines = str(refused.value).splitlines()
    assert lines[1:3] == ["ImageWorkflow (AWS::StepFunctions::StateMachine): its definition is broken", ""]


def test_a_samconfig_without_the_local_environment_is_named(application: Path, local_engine: Engine) -> None:
    (application / "samconfig.toml").write_text("version = 0.1\n")

    with pytest.raises(UserError, match=r"samconfig.toml has no usable environment `local`"):
        deploy.deploy(local_engine, application)


def test_the_api_is_reached_through_the_engine(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CloudFormation:
        def describe_stacks(self, StackName: str) -> object:
            url = "https://abc123.execute-api.us-east-1.amazonaws.com/local/"
            return json.loads(json.dumps({"Stacks": [{"Outputs": [{"OutputKey": "ApiUrl", "OutputValue": url}]}]}))

    monkeypatch.setattr(local_engine, "client", lambda _: CloudFormation())

    outputs = deploy.stack_outputs(local_engine, application)

    assert outputs["ApiUrl"] == "http://127.0.0.1:4700/_aws/execute-api/abc123/local"


@pytest.mark.parametrize("ran_before", [False, True])
@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt(), 130), (UserError("`sam deploy` failed."), 1)], ids=["Ctrl-C", "failure"]
)
def test_a_deployment_that_is_cut_short_stops_the_engine_that_it_started_and_no_other(
    stopped: Engine, monkeypatch: pytest.MonkeyPatch, ran_before: bool, end: BaseException, code: int
) -> None:
    def cut_short(engine: Engine) -> dict[str, str]:
        assert engine.is_up()
        raise end

    monkeypatch.setattr(deploy, "engine_from_environment", lambda: stopped)
    monkeypatch.setattr(deploy, "deploy", cut_short)
    if ran_before:
        stopped.up()

    assert deploy.main() == code

    assert stopped.is_up() == ran_before


def test_a_second_deployment_finds_the_engine_running(
    stopped: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "engine_from_environment", lambda: stopped)
    monkeypatch.setattr(deploy, "deploy", lambda _: {"ApiUrl": "http://127.0.0.1"})

    assert deploy.main() == 0
    assert deploy.main() == 0

    said = capsys.readouterr().out.splitlines()
    assert "is ready on" in said[0]
    assert said[1:] == [
        "ApiUrl: http://127.0.0.1",
        f"The local AWS is already running on {stopped.url}.",
        said[1],
    ]
    assert stopped.is_up()
