"""Lines for a person. A reader that has gone (`make up | head -1`) ends the output and not the work."""

from __future__ import annotations

import os
import sys

from rich.console import Console

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
