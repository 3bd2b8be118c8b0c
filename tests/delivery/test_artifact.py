"""The artifact: the same sources give the same bytes, and nothing else is deployed under their checksum."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from delivery import artifact, deploy
from delivery.artifact import DeliveryError
from delivery.environments import environment

TEMPLATE = """
Globals: {Function: {CodeUri: functions/, Timeout: 15}}
Resources:
  First: {Type: AWS::Serverless::Function, Properties: {CodeUri: First}}
  Second: {Type: AWS::Serverless::Function, Properties: {CodeUri: Second}}
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties: {DefinitionUri: ../elsewhere/machine.asl.yaml, Role: !GetAtt Role.Arn}
  Part: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: Part/template.yaml}}
"""


def built(place: Path, *, code: str = "print(1)", second: str | None = None, time: int = 1_700_000_000) -> Path:
    """What `sam build` leaves, at a place and a time -> the artifact made of it."""
    build = place / "build"
    for function, text in {"First": code, "Second": code if second is None else second}.items():
        (build / function / "package").mkdir(parents=True)
        (build / function / "app.py").write_text(text)
        (build / function / "package" / "__init__.py").write_text("")
    (build / "Part").mkdir()
    (build / "Part" / "template.yaml").write_text("Resources: {}")
    (build / "template.yaml").write_text(TEMPLATE)
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "machine.asl.yaml").write_text("StartAt: A")
    for path in place.rglob("*"):
        os.utime(path, (time, time))
    artifact._lay_out(build, place / "release")
    (place / "release.tar").write_bytes(artifact._tar(place / "release"))
    return place / "release.tar"


def test_same_sources_give_the_same_bytes_anywhere_and_any_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "deeper").mkdir(parents=True)
    first = built(tmp_path / "a")
    second = built(tmp_path / "b" / "deeper", time=1_800_000_000)
    assert first.read_bytes() == second.read_bytes()
    (tmp_path / "c").mkdir()
    assert artifact.checksum(built(tmp_path / "c", code="print(2)")) != artifact.checksum(first)


def test_artifact_holds_all_that_its_template_names_and_one_code(tmp_path: Path) -> None:
    file = built(tmp_path)
    template = artifact.unpack(file, artifact.checksum(file), tmp_path / "out")
    text = template.read_text()
    (code,) = (tmp_path / "out").glob("code-*.zip")
    assert sorted(
        path.relative_to(template.parent).as_posix() for path in template.parent.rglob("*") if path.is_file()
    ) == [
        "Part/template.yaml",
        code.name,
        "machine.asl.yaml",
        "template.yaml",
    ]
    assert text.count(f"CodeUri: {code.name}") == 2
    assert "DefinitionUri: machine.asl.yaml" in text
    assert "functions/" not in text
    assert "elsewhere" not in text
    checksums = artifact.code_checksums(template)
    assert checksums.keys() == {"First", "Second"}
    assert {len(checksum) for checksum in checksums.values()} == {44}
    assert checksums["First"] == checksums["Second"]


def test_each_function_has_the_checksum_of_its_own_code(tmp_path: Path) -> None:
    file = built(tmp_path, second="print(2)")
    template = artifact.unpack(file, artifact.checksum(file), tmp_path / "out")
    checksums = artifact.code_checksums(template)
    zips = {
        base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
        for path in (tmp_path / "out").glob("code-*.zip")
    }
    assert {checksums["First"], checksums["Second"]} == zips
    assert len(zips) == 2


class Lambda:
    """CloudFormation and Lambda with functions that run the code that each is given."""

    def __init__(self, live: dict[str, str]) -> None:
        self.live = live

    def get_paginator(self, _: str) -> Lambda:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        kinds = dict.fromkeys(self.live, "AWS::Lambda::Function") | {"Bucket": "AWS::S3::Bucket"}
        summaries = [
            {"LogicalResourceId": name, "PhysicalResourceId": f"app-{name}", "ResourceType": kind}
            for name, kind in kinds.items()
        ]
        return [{"StackResourceSummaries": summaries}]

    def get_function(self, **asked: str) -> dict[str, Any]:
        assert asked["Qualifier"] == "live"
        return {"Configuration": {"CodeSha256": self.live[asked["FunctionName"].removeprefix("app-")]}}


@pytest.mark.parametrize(
    "live",
    [
        {"First": "a", "Second": "a"},
        {"First": "b", "Second": "a"},
        {"First": "a"},
        {"First": "a", "Second": "b", "Third": "a"},
    ],
)
def test_deployment_with_other_code_than_the_artifacts_is_refused(
    live: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Lambda(live))
    with pytest.raises(DeliveryError, match="do not run the artifact's code"):
        deploy._compare_code(environment("dev"), {"First": "a", "Second": "b"})


def test_deployment_with_the_artifacts_code_counts_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"First": "a", "Second": "b"}
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Lambda(expected))
    assert deploy._compare_code(environment("dev"), expected) == 2


def test_anything_else_than_what_was_built_is_refused(tmp_path: Path) -> None:
    file = built(tmp_path)
    expected = artifact.checksum(file)
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DeliveryError, match="is not what was built"):
        artifact.unpack(file, expected, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DeliveryError, match="There is no artifact"):
        artifact.unpack(tmp_path / "none.tar", expected, tmp_path / "out")


def test_nothing_is_unpacked_outside_of_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"))
    with pytest.raises(DeliveryError, match="no file of a release"):
        artifact.unpack(file, artifact.checksum(file), tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


# --- Where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_environment_is_that_of_samconfig(name: str) -> None:
    found = environment(name)
    assert (found.stack, found.config, found.prefix) == (f"serverlessapp-pet-detector-{name}", name, "releases")
    assert f"Stage={name}" in found.parameters
    assert f"Environment={name}" in found.tags


def test_pull_request_has_a_stack_of_its_own_with_its_own_tags_and_leaves_the_account_alone() -> None:
    found = environment("pr-7")
    assert found.stack == "serverlessapp-pet-detector-pr-7"
    assert found.prefix == "pull-requests"
    assert {"Stage=dev", "ManageApiGatewayLogRole=false"} <= set(found.parameters)
    assert {"Environment=pr-7", "PullRequest=7", "Project=pet-detector"} <= set(found.tags)
    assert len({tag.partition("=")[0] for tag in found.tags}) == len(found.tags)


@pytest.mark.parametrize("name", ["local", "production", "pr-0", "pr-", "pr-07", "pr-1;ls", "PROD", ""])
def test_anything_else_is_no_environment(name: str) -> None:
    with pytest.raises(DeliveryError, match="is no environment"):
        environment(name)


def test_parameters_of_the_account_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM takes the last of two."""
    monkeypatch.setenv(artifact.PARAMETERS, "AlarmEmail=a@example.org 'RunbookUrl=https://example.org/a b'")
    assert artifact.given_parameters() == ["AlarmEmail=a@example.org", "RunbookUrl=https://example.org/a b"]


class Stacks:
    """CloudFormation with a stack, and a change set of it."""

    def describe_stacks(self, **_: str) -> dict[str, Any]:
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]}

    def describe_change_set(self, **_: str) -> dict[str, Any]:
        return {"Changes": []}

    def delete_change_set(self, **_: str) -> None:
        pass


def test_changes_leave_what_only_the_account_knows_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job of a pull request knows what its own account does: another boundary, another origin."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        result = json.dumps({"type": "result", "status": "changeset_created", "changeset_id": "1"})
        return subprocess.CompletedProcess(command, int("--output" not in command), result, "")

    monkeypatch.setenv(artifact.PARAMETERS, "AllowedOrigin=https://pull-requests.example.org")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("boto3.client", lambda *_, **__: Stacks())
    file, dev = built(tmp_path), environment("dev")
    assert deploy.changes(dev, file, artifact.checksum(file)).startswith(f"### What would change in {dev.stack}")
    with pytest.raises(DeliveryError, match="was not deployed"):
        deploy.deploy(dev, file, artifact.checksum(file))
    showing, deploying = (command[command.index("--parameter-overrides") :] for command in commands)
    assert "Stage=dev" in showing
    assert not any(word.startswith("AllowedOrigin=") for word in showing)
    assert deploying.index("AllowedOrigin=https://pull-requests.example.org") > deploying.index("Stage=dev")


def test_changes_show_first_what_could_be_lost() -> None:
    def change(action: str, name: str, **more: str) -> dict[str, str]:
        return {"Action": action, "LogicalResourceId": name, "ResourceType": "T", **more}

    text = deploy._table(
        "the stack",
        [
            change("Remove", "Version", PolicyAction="Retain"),
            change("Add", "New"),
            change("Modify", "Settings", Replacement="False"),
            change("Modify", "Maybe", Replacement="Conditional"),
            change("Modify", "Table", Replacement="True"),
            change("Remove", "Queue"),
        ],
    )
    assert text.splitlines()[4:] == [
        "| Remove | Queue | T | **deleted** |",
        "| Modify | Table | T | **replaced** |",
        "| Modify | Maybe | T | perhaps replaced |",
        "| Add | New | T |  |",
        "| Modify | Settings | T |  |",
        "| Remove | Version | T | the old one is kept |",
    ]
