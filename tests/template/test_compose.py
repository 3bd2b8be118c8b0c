"""compose.yaml without Docker: each image holds all of the repository that its code imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.support.local_aws import local_aws_python
from tests.support.paths import REPOSITORY

SERVICES = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]
# The modules that services run: `command: [python, -m, local.rekognition, ...]`.
ENGINE_MODULES = {
    service["command"][2] for service in SERVICES.values() if service["image"] == SERVICES["engine"]["image"]
}


def lay_out(service: str, directory: Path) -> None:
    """Copy into a directory what the image of a service copies from the repository."""
    for line in SERVICES[service]["build"]["dockerfile_inline"].splitlines():
        instruction, *words = line.split()
        if instruction != "COPY":
            continue
        source, target = REPOSITORY / words[0], directory / words[1]
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            place = target / source.name if words[1].endswith(("/", ".")) else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def run(directory: Path, *command: str | Path, **variables: str) -> str:
    """What a command in the directory prints; fails with it when the command does."""
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Without `site`, since .venv leads to this repository's own modules, wherever Python is started.
PACKAGES = sysconfig.get_path("purelib")


def test_ci_runs_the_workflow_tests_in_their_container() -> None:
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    assert "docker compose run --rm --build workflow-tests" in commands


def test_image_holds_what_the_workflow_tests_import(tmp_path: Path) -> None:
    lay_out("workflow-tests", tmp_path)
    module, *arguments = SERVICES["workflow-tests"]["command"][2:]
    run(tmp_path, sys.executable, "-S", "-m", module, "--collect-only", *arguments, PYTHONPATH=PACKAGES)


def test_image_writes_the_mock_configuration_that_the_engine_reads(tmp_path: Path) -> None:
    service = SERVICES["mocks"]
    lay_out("mocks", tmp_path)
    file = Path(service["command"][-1])
    path = os.pathsep.join([service["environment"]["PYTHONPATH"], PACKAGES])
    run(tmp_path, sys.executable, "-S", *service["command"][1:-1], tmp_path / file.name, PYTHONPATH=path)

    written = json.loads((tmp_path / file.name).read_text())
    cases = written["StateMachines"]["ImageWorkflow"]["TestCases"].values()
    assert {name for case in cases for name in case.values()} == written["MockedResponses"].keys() != set()
    engine = SERVICES["mocked-engine"]
    assert engine["environment"]["SFN_MOCK_CONFIG"] == str(file)
    assert engine["volumes"] == ["mocks:/mocks:ro"]
    assert file.parent == Path("/mocks")


@pytest.mark.parametrize("module", sorted(ENGINE_MODULES))
def test_image_holds_what_the_engine_imports(module: str, tmp_path: Path) -> None:
    lay_out("engine", tmp_path)
    code = f"import {module}.__main__ as module; print(module.__file__)"
    assert run(tmp_path, local_aws_python(), "-c", code).startswith(str(tmp_path))
