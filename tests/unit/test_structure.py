"""How the code hangs together: what may import what, and what the functions ask of their environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pet_detector.aws import image_bucket
from pet_detector.rules.errors import SettingMissingError
from pet_detector.runtime import settings
from tests.support import source_calls
from tests.support.moto_world import BUCKET, Cloud, handlers
from tests.support.paths import IMPORT_ROOTS, REPOSITORY


def test_imports_keep_the_contracts() -> None:
    """The contracts of import-linter in pyproject.toml: the folder of a module says what it may import."""
    linter = Path(sys.executable).with_name("lint-imports")
    environment = {"PYTHONPATH": os.pathsep.join(map(str, IMPORT_ROOTS)), "PATH": os.environ["PATH"], "COLUMNS": "120"}
    checked = subprocess.run(
        [linter, "--no-cache"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_handler_imports_with_an_empty_environment() -> None:
    """Settings are read when they are needed: a missing one is then named in the log, and no import depends on it."""
    imports = [f"import {handler.rpartition('.')[0]}" for handler in handlers().values()]
    assert imports
    program = "; ".join(["import sys", f"sys.path[:0] = {list(map(str, IMPORT_ROOTS))}", *imports])
    checked = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("value", ["", None])
def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.setenv("STAGE", "dev")
    assert settings.required("STAGE") == "dev"
    monkeypatch.setenv("STAGE", value) if value is not None else monkeypatch.delenv("STAGE")
    with pytest.raises(SettingMissingError, match="STAGE"):
        settings.required("STAGE")


@pytest.mark.parametrize("module", source_calls.sources())
def test_calls_of_aws_are_written_so_that_they_can_be_read(module: str) -> None:
    """And nothing else reaches a network. That the roles fit the calls is asked in tests/template."""
    _, faults = source_calls.read(module, source_calls.sources()[module])
    assert faults == []


def test_call_that_no_role_allows_is_noticed(aws: Cloud, calls_are_allowed: list[str]) -> None:
    """Else that fixture would prove nothing: the same call as on an upload, in a folder that no role may write."""
    image_bucket.store(BUCKET, "archive/1.jpg", b"picture", "image/jpeg", "c")
    (denial,) = calls_are_allowed
    assert "s3:PutObject" in denial
    calls_are_allowed.clear()
