"""Whether the local AWS already holds this very application, so that it need not be built and deployed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from local.engine import Engine

# What `sam build` and `sam deploy` read. A test looks for paths of the templates that lie elsewhere.
INPUTS = (
    *("template.yaml", "samconfig.toml", "functions", "converter", "web", "stacks", "statemachine"),
    "requirements-dev.txt",
)


def fingerprint(directory: Path, parameters: Sequence[str]) -> str:
    """A digest of the application in a directory, with the parameters of its deployment: equal for equal ones."""
    digest = hashlib.sha256(json.dumps(list(parameters)).encode())
    for file in _input_files(directory):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(directory)}\0{file.stat().st_mode:o}\0{content}\n".encode())
    return digest.hexdigest()


def _input_files(directory: Path) -> Iterator[Path]:
    for name in INPUTS:
        place = directory / name
        files = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def is_current(engine: Engine, stack: Mapping[str, Any], application: str) -> bool:
    """Whether the stack is what the last `remember` saw, made of the application with this fingerprint.

    A local AWS that was started again has lost its stacks, and one that somebody else deployed to has another time.
    """
    try:
        remembered = json.loads(_file(engine).read_text())
    except (OSError, ValueError):
        return False
    return bool(remembered == _entry(stack, application)) and str(stack["StackStatus"]).endswith("E_COMPLETE")


def remember(engine: Engine, stack: Mapping[str, Any], application: str) -> None:
    """Note that the stack was just deployed from the application with this fingerprint."""
    _file(engine).write_text(json.dumps(_entry(stack, application)))


def forget(engine: Engine) -> None:
    """Note that a deployment has begun: until it is remembered, nothing is known."""
    _file(engine).unlink(missing_ok=True)


def _entry(stack: Mapping[str, Any], application: str) -> dict[str, str]:
    changed = stack.get("LastUpdatedTime") or stack["CreationTime"]
    return {"application": application, "stack": stack["StackId"], "changed": changed.isoformat()}


def _file(engine: Engine) -> Path:
    return engine.home / "deployed.json"
