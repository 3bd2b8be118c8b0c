"""GitHub's workflows, read: their jobs and steps, and a step's `run` carried out as GitHub's runner does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .paths import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")


@dataclass(frozen=True)
class Step:
    """One step; `workflow` is the file's name without its suffix."""

    workflow: str
    job: str
    content: dict[str, Any]
    job_content: dict[str, Any]

    @property
    def run(self) -> str:
        """What it runs; empty when it uses an action."""
        return str(self.content.get("run", "")).strip()

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.workflow}/{self.job}: {self.run or self.content['uses']}"

    def variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """What the job gives it; `values` are those of the expressions in `${{ }}`. KeyError: one lacks."""
        given = {**self.job_content.get("env", {}), **self.content.get("env", {})}
        return {name: _EXPRESSION.sub(lambda found: values[found[1]], str(value)) for name, value in given.items()}


def workflows() -> dict[str, dict[str, Any]]:
    """Each workflow by its file's name. YAML 1.1 takes `on` for true: it is put right."""
    found = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yml"))}
    return {name: {("on" if key is True else key): value for key, value in w.items()} for name, w in found.items()}


def steps(workflow: str = "", job: str = "") -> Iterator[Step]:
    """Every step, or those of a workflow, or of one of its jobs."""
    for name, content in workflows().items():
        for job_name, job_content in content["jobs"].items():
            if workflow in ("", name) and job in ("", job_name):
                yield from (Step(name, job_name, step, job_content) for step in job_content.get("steps", []))


def carry_out(step: Step, directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the very text of a step, as the runner does when no shell is named: `bash -e`."""
    return subprocess.run(
        ["bash", "-e", "-c", step.run],
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
