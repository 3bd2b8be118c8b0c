"""`make`: which Python installs, what it says about settings, and two installations at once. No package is installed:
a Python of ours makes environments that only write down what they are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

# Makes an environment by copying itself; in an environment it writes its arguments down. The rest is for the real one.
PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
elif [ "$1" = "-c" ] && [ "{version}" ] && echo "$2" | grep -q base_prefix; then
  echo "{version}"
elif [ "$1" = "-c" ] || [ "$1" = "-P" ]; then
  exec {real} "$@"
else
  echo "$0 $*" >> calls
  sleep {seconds}
fi
"""

PYENV_SHIM = """#!/bin/sh
echo 'pyenv: python3.13: command not found' >&2
echo 'The command exists in these versions:' >&2
exit 127
"""
OLD_PYTHON = """#!/bin/sh
[ "$1" = --version ] && echo Python 3.10.1 && exit
[ "$2" = 'print("Python")' ] && echo Python && exit
exit 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository as far as `make install` reads it."""
    for name in ("Makefile", "local/lock.py", "local/requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def python(folder: Path, version: str, seconds: float = 0) -> str:
    """A Python of this version; `seconds` is how long an installation takes it."""
    file = folder / f"python-{version.split()[0]}"
    file.write_text(PYTHON.format(version=version, real=sys.executable, seconds=seconds))
    file.chmod(0o755)
    return str(file)


# Nothing of a `make test` that runs this test, or of the developer's settings; python3 is the one that runs it.
ENVIRONMENT = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


def calls(folder: Path) -> list[str]:
    """What the environments were asked for since the last question."""
    file = folder / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_installs_once_and_again_only_with_another_python_that_was_named(folder: Path) -> None:
    first, second = python(folder, "3.12.1 /one"), python(folder, "3.13.0 /two")

    assert make(folder, "install", f"PYTHON={first}").returncode == 0
    assert sum("pip install" in call for call in calls(folder)) == 3  # the tools, petdetect, the local AWS
    assert make(folder, "install", f"PYTHON={first}").stdout == ""
    assert make(folder, "install").stdout == ""  # python3 is not asked for
    assert calls(folder) == []

    changed = make(folder, "install", f"PYTHON={second}")

    assert changed.returncode == 0
    assert "Python 3.13.0 /two instead of 3.12.1 /one: installing again ..." in changed.stdout
    asked = calls(folder)
    assert "-m local engine down" in asked[0]
    assert sum("pip install" in call for call in asked) == 3
    assert "3.13.0" in (folder / ".venv" / "bin" / "python").read_text()
    assert make(folder, "install", f"PYTHON={second}").stdout == ""
    assert calls(folder) == []


def test_two_installations_at_once_take_turns(folder: Path) -> None:
    slow = python(folder, "3.12.1 /one", seconds=0.5)
    command = ["make", "install", f"PYTHON={slow}"]
    both = [
        subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    said = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert sum("pip install" in call for call in calls(folder)) == 3  # the second finds all done
    assert sum("is at work in this folder" in err for _, err in said) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(PYENV_SHIM, "does not run: name a Python that does"), (OLD_PYTHON, "Python 3.10.1 is too old")],
    ids=["a pyenv shim", "an old one"],
)
def test_a_python_that_does_not_do_is_named_with_the_way_out(folder: Path, content: str, sentence: str) -> None:
    shim = folder / "python3.13"
    shim.write_text(content)
    shim.chmod(0o755)

    refused = make(folder, "install", f"PYTHON={shim}")

    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert "these versions" not in refused.stderr


def test_a_folder_and_a_missing_python_are_refused(folder: Path) -> None:
    assert "does not run" in make(folder, "install", "PYTHON=/tmp").stderr
    assert "There is no nosuchpython" in make(folder, "install", "PYTHON=nosuchpython").stderr


@pytest.mark.parametrize("setting", ["photos", "port", "python", "url"])
def test_a_setting_in_small_letters_is_refused(folder: Path, setting: str) -> None:
    refused = make(folder, "run", f"{setting}=x")

    assert refused.returncode == 2
    assert f"{setting}= is not a setting" in refused.stderr


def test_help_names_every_setting_that_the_commands_read_and_what_the_first_run_costs(folder: Path) -> None:
    said = make(folder, "help").stdout

    settings = ("PHOTOS", "JSON", "PORT", "REKOGNITION_PORT", "PYTHON", "SCENARIO", "DURATION", "URL", "KEY", "YES")
    assert all(f"  {name} " in said for name in settings)
    assert "minutes" in said
    assert "GB" in said


LOAD = """#!/bin/sh
echo "$KEY $*"
"""


def load(folder: Path, *arguments: str, **environment: str) -> str:
    """What `make load` runs, after the key that it hands on."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").write_text(LOAD)
    (tools / "python").chmod(0o755)
    command = ["make", "load", "-o", "install", "-o", ".engine/load-venv/.installed", *arguments]
    result = subprocess.run(command, cwd=folder, env={**ENVIRONMENT, **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_load_takes_its_url_from_the_command_line_and_its_key_from_the_environment_too(folder: Path) -> None:
    said = load(folder, "URL=https://example.com/dev", "SCENARIO=burst", "DURATION=20", "YES=1", KEY="secret")

    assert said == "secret -m tests.load --scenario burst --duration 20 --url https://example.com/dev --yes"


def test_a_url_of_the_environment_puts_no_load_on_anything(folder: Path) -> None:
    assert load(folder, URL="https://example.com/dev", YES="1") == "-m tests.load --scenario  --duration  --url"
