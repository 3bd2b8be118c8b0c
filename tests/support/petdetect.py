"""`petdetect`, run in this process, which is much quicker than a new one for each command."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner, Result

from ops.cli import main


@dataclass(frozen=True)
class Output:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of standard output, which must be one JSON document."""
        return json.loads(self.out)


def petdetect(*arguments: str, typed: str = "") -> Result:
    """Run the command with what a person types: its exit code, and what it printed. It never ends in a traceback."""
    result = CliRunner(mix_stderr=False).invoke(main, arguments, input=typed, prog_name="petdetect")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
