"""Lines and exit codes for a person. A reader that has gone (`make up | head -1`) ends the output and not the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from botocore.exceptions import BotoCoreError
from rich.console import Console

from local.engine import UserError

_WIDTH_OF_A_PIPE = 120  # a pipe has no width; a table that is cut to 80 columns helps nobody


def say(text: str) -> None:
    """Print a line on standard output at once."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _drop_output()


class Terminal(Console):
    """Standard output with colours, tables and progress bars, as far as it can show them."""

    def __init__(self) -> None:
        has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(width=None if has_width else _WIDTH_OF_A_PIPE)

    def on_broken_pipe(self) -> None:
        """Go on in silence, where rich would end the program."""
        _drop_output()


def _drop_output() -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command for a person: its exit code, and a sentence instead of a traceback."""
    try:
        return command() or 0
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except BotoCoreError as error:
        print(f"Error: The local AWS did not answer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
