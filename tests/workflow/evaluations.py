"""JSONata expressions as an engine evaluated them, and as the reference implementation (npm `jsonata`) does."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .executions import REPOSITORY

# The version whose specification AWS names; `make node-tools` installs it.
NODE_TOOLS = REPOSITORY / ".engine" / "node"
PROGRAM = Path(__file__).with_name("reference") / "evaluate.mjs"


@dataclass(frozen=True)
class Evaluation:
    """An expression (the text between `{%` and `%}`), what it may read, and what came of it: a value or an error."""

    expression: str
    states: dict[str, Any]
    variables: dict[str, Any]
    outcome: dict[str, Any]

    @property
    def error_code(self) -> str | None:
        """JSONata's code of the error, such as D3141; "undefined" when there was no value; None when there was one."""
        if "error" not in self.outcome:
            return None
        text = str(self.outcome["error"])
        return "undefined" if "did not return a result" in text else text.partition(":")[0]


def read(file: Path) -> list[Evaluation]:
    """What an engine wrote, line by line, without repetitions."""
    lines = dict.fromkeys(file.read_text().splitlines())
    found = []
    for line in map(json.loads, lines):
        outcome = {name: line[name] for name in ("value", "error") if name in line}
        found.append(Evaluation(line["expression"], line["states"], line["variables"], outcome))
    return found


def reference(evaluations: list[Evaluation]) -> list[dict[str, Any]]:
    """What the reference implementation makes of each: {"value": ...}, {"code": ...} or {"undefined": true}."""
    lines = [json.dumps([e.expression, e.states, e.variables]) for e in evaluations]
    done = subprocess.run(
        ["node", PROGRAM, NODE_TOOLS], input="\n".join(lines), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
