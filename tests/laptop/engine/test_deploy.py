"""Deploying to the local AWS: what SAM is given, what a person sees when it refuses, and when it need not run."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local import deploy
from local.deployed import INPUTS
from local.engine import Engine, UserError
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

SAMCONFIG = """
version = 0.1
[local.global.parameters]
stack_name = "serverlessapp-pet-detector-local"
[local.deploy.parameters]
parameter_overrides = {overrides}
"""

FAKE_SAM = """#!/bin/sh
echo "{outcome}"
echo "$1" >> "$0.calls"
mkdir -p build
touch build/template.yaml
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
    """A local AWS that is not started."""
    return Engine(4700, 4701, home=tmp_path / "engine")


def fake_sam(directory: Path, monkeypatch: pytest.MonkeyPatch, outcome: str = "", code: int = 0) -> Path:
    sam = directory / "sam"
    sam.write_text(FAKE_SAM.format(outcome=outcome, code=code))
    sam.chmod(0o755)
    monkeypatch.setattr(deploy, "SAM", sam)
    monkeypatch.setattr(deploy, "_stack", lambda *_: None)
    return sam


def test_sam_is_given_the_parameters_of_samconfig_with_those_of_this_machine_and_a_directory_of_its_own(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "stack_outputs", lambda *_: {})
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    deploy.deploy(local_engine, application)

    directory = local_engine.home / "build"  # not SAM's own
    for command, option, path in (("build", "--build-dir", ""), ("deploy", "--template-file", "template.yaml")):
        arguments = Path(f"{sam}.{command}.arguments").read_text().splitlines()
        assert arguments[arguments.index(option) + 1] == str(directory / path)
        overrides = arguments[arguments.index("--parameter-overrides") + 1 :]
        assert overrides[:2] == ["Stage=local", 'Note="a b"']
        assert overrides[2].startswith("PythonRuntime=python3.")
        assert overrides[3:] == ["Architecture=arm64", "RekognitionEndpoint=http://127.0.0.1:4701"]
        assert arguments[arguments.index("--config-env") + 1] == "local"


def test_sam_sees_the_engine_and_nothing_of_the_users_aws(
    application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (application / "samconfig.toml").write_text(SAMCONFIG.format(overrides='"Stage=local Owner=me"'))
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
    arguments = Path(f"{sam}.deploy.arguments").read_text().splitlines()
    assert arguments[arguments.index("--parameter-overrides") + 1] == "Stage=local Owner=me"  # one text


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
            url = "https://abc123.execute-api.us-east-1.amazonaws.com/local"
            outputs = [
                {"OutputKey": "ApiUrl", "OutputValue": url},
                {"OutputKey": "PageUrl", "OutputValue": f"{url}/app/"},
            ]
            return {"Stacks": [{"Outputs": outputs}]}

    monkeypatch.setattr(local_engine, "client", lambda _: CloudFormation())

    outputs = deploy.stack_outputs(local_engine, application)

    url = "http://127.0.0.1:4700/_aws/execute-api/abc123/local"
    assert outputs == {"ApiUrl": url, "PageUrl": f"{url}/app/"}


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

    monkeypatch.setenv("ENGINE_HOME", str(stopped.home))
    monkeypatch.setattr(deploy, "engine_from_environment", lambda: stopped)
    monkeypatch.setattr(deploy, "deploy", cut_short)
    if ran_before:
        stopped.up()

    assert deploy.main() == code

    assert stopped.is_up() == ran_before


def test_a_deployment_ends_with_what_to_type_next(
    stopped: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outputs(engine: Engine) -> dict[str, str]:
        key = engine.client("apigateway").create_api_key(name="key", enabled=True)["id"]
        return {"ApiUrl": f"{engine.url}/api", "PageUrl": f"{engine.url}/api/app/", "ApiKeyId": key}

    monkeypatch.setenv("ENGINE_HOME", str(stopped.home))
    monkeypatch.setattr(deploy, "engine_from_environment", lambda: stopped)
    monkeypatch.setattr(deploy, "deploy", outputs)

    assert deploy.main() == 0
    first = capsys.readouterr().out.splitlines()
    assert deploy.main() == 0
    second = capsys.readouterr().out.splitlines()

    assert first[0] == f"Starting the local AWS on {stopped.url} ..."
    assert "is ready on" in first[1]
    assert second[0] == f"The local AWS is already running on {stopped.url}."
    for said in (first, second):
        assert f"  {stopped.url}/api/app/" in said
        assert f"  export API={stopped.url}/api" in said
        assert f"  export AWS_ENDPOINT_URL={stopped.url}" in said
        assert "  export AWS_DEFAULT_REGION=us-east-1" in said
    assert stopped.is_up()


class Stack(dict[str, Any]):
    """What CloudFormation says of the stack; every deployment changes its time."""

    def __init__(self) -> None:
        super().__init__(StackId="arn:1", StackStatus="CREATE_COMPLETE", CreationTime=datetime.now(UTC), Outputs=[])


@pytest.fixture
def deployed_once(application: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Stack]:
    """A fake SAM that has built and deployed the application once, and the stack that came of it."""
    for name in ("functions/a", "functions/__pycache__", "stacks", "statemachine"):
        (application / name).mkdir(parents=True)
    for name in ("functions/a/app.py", "stacks/alarms.yaml", "statemachine/workflow.asl.yaml"):
        (application / name).write_text("x: 1\n")
    sam, stack = fake_sam(application, monkeypatch), Stack()
    monkeypatch.setattr(deploy, "_stack", lambda *_: stack)
    deploy.deploy(local_engine, application)
    assert calls(sam) == ["build", "deploy"]
    return sam, stack


def calls(sam: Path) -> list[str]:
    """The commands that SAM was given since the last question."""
    file = Path(f"{sam}.calls")
    given = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return given


def test_an_application_that_is_deployed_is_not_built_again(
    application: Path,
    local_engine: Engine,
    deployed_once: tuple[Path, Stack],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sam, _ = deployed_once
    (application / "functions" / "__pycache__" / "app.pyc").touch()
    (application / "README.md").touch()
    os.utime(application / "template.yaml")
    capsys.readouterr()

    outputs = deploy.deploy(local_engine, application)

    assert calls(sam) == []
    assert outputs == {}
    assert capsys.readouterr().out == "The application is deployed, and nothing has changed since.\n"


CHANGES: dict[str, Callable[[Path], object]] = {
    "template": lambda root: (root / "template.yaml").write_text("Resources: {A: {}}\n"),
    "parameter": lambda root: (root / "samconfig.toml").write_text(SAMCONFIG.format(overrides='["Stage=local"]')),
    "code": lambda root: (root / "functions" / "a" / "app.py").write_text("x: 2\n"),
    "new file": lambda root: (root / "functions" / "a" / "new.py").touch(),
    "lost file": lambda root: (root / "functions" / "a" / "app.py").unlink(),
    "renamed file": lambda root: (root / "functions" / "a" / "app.py").rename(root / "functions" / "a" / "b.py"),
    "mode": lambda root: (root / "functions" / "a" / "app.py").chmod(0o755),
    "page": lambda root: shutil.copytree(root / "functions", root / "web"),
    "nested stack": lambda root: (root / "stacks" / "alarms.yaml").write_text("x: 2\n"),
    "workflow": lambda root: (root / "statemachine" / "workflow.asl.yaml").write_text("x: 2\n"),
    "another SAM": lambda root: (root / "requirements-dev.txt").write_text("aws-sam-cli==2\n"),
    "lost build": lambda root: (root / "engine" / "build" / "template.yaml").unlink(),
    "damaged memory": lambda root: (root / "engine" / "deployed.json").write_text("{"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_of_the_application_is_deployed(
    application: Path, local_engine: Engine, deployed_once: tuple[Path, Stack], change: Callable[[Path], object]
) -> None:
    sam, _ = deployed_once
    change(application)

    deploy.deploy(local_engine, application)

    assert calls(sam) == ["build", "deploy"]


@pytest.mark.parametrize(
    "change",
    [
        {"StackId": "arn:2"},
        {"LastUpdatedTime": datetime(2026, 1, 1, tzinfo=UTC)},
        {"StackStatus": "UPDATE_ROLLBACK_COMPLETE"},
        {"StackStatus": "UPDATE_IN_PROGRESS"},
    ],
    ids=str,
)
def test_a_stack_that_is_not_as_it_was_left_is_deployed_again(
    application: Path, local_engine: Engine, deployed_once: tuple[Path, Stack], change: dict[str, Any]
) -> None:
    sam, stack = deployed_once
    stack.update(change)

    deploy.deploy(local_engine, application)

    assert calls(sam) == ["build", "deploy"]


def test_another_python_or_another_rekognition_is_deployed(
    application: Path, local_engine: Engine, deployed_once: tuple[Path, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    sam, _ = deployed_once

    deploy.deploy(Engine(4700, 4702, home=local_engine.home), application)
    assert calls(sam) == ["build", "deploy"]

    monkeypatch.setattr(deploy, "_python_version", lambda _: "3.99")
    deploy.deploy(Engine(4700, 4702, home=local_engine.home), application)
    assert calls(sam) == ["build", "deploy"]


def test_a_deployment_that_failed_is_tried_again(
    application: Path, local_engine: Engine, deployed_once: tuple[Path, Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    sam, stack = deployed_once
    monkeypatch.setattr(deploy, "_failed_resources", lambda *_: [])
    before = (application / "template.yaml").read_text()
    (application / "template.yaml").write_text("Resources: {A: {}}\n")
    working = sam.read_text()
    sam.write_text(FAKE_SAM.format(outcome="no", code=1))
    with pytest.raises(UserError):
        deploy.deploy(local_engine, application)
    calls(sam)

    # Taken back: what the stack holds is not known, whatever the template says.
    (application / "template.yaml").write_text(before)
    sam.write_text(working)
    deploy.deploy(local_engine, application)

    assert calls(sam) == ["build", "deploy"]
    assert stack["StackId"] == "arn:1"


def test_a_local_aws_that_was_started_again_is_deployed_to(
    application: Path, stopped: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = deploy._stack
    sam = fake_sam(application, monkeypatch)
    monkeypatch.setattr(deploy, "_stack", look)
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})

    def create() -> None:
        name = deploy.stack_name(application)
        stopped.client("cloudformation").create_stack(StackName=name, TemplateBody=template)
        eventually(lambda: (look(stopped, application) or {})["StackStatus"] == "CREATE_COMPLETE", "the stack is there")

    stopped.up()
    create()
    deploy.deploy(stopped, application)
    assert calls(sam) == ["build", "deploy"]
    deploy.deploy(stopped, application)
    assert calls(sam) == []

    stopped.down()
    stopped.up()
    create()
    deploy.deploy(stopped, application)

    assert calls(sam) == ["build", "deploy"]


def test_all_that_the_templates_name_on_this_machine_is_looked_at_for_changes() -> None:
    named = set()
    for template in [REPOSITORY / "template.yaml", *(REPOSITORY / "stacks").glob("*.yaml")]:
        paths = re.findall(
            r"(?:CodeUri|ContentUri|DefinitionUri|Location|TemplateURL): ([\w./-]+)", template.read_text()
        )
        named |= {(template.parent / path).relative_to(REPOSITORY).parts[0] for path in paths}

    assert named
    assert named <= set(INPUTS)
    assert all((REPOSITORY / name).exists() for name in INPUTS)
