"""What was seen, for people."""

from __future__ import annotations

# A minute of the alarms' periods and of a shift, in seconds: a canary has its tenth for ten of them.
MINUTE = 20.0


class Numbers:
    """Lines that are printed at the end of the run."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def say(self, line: str) -> None:
        """Print a line at the end."""
        self._lines.append(line)
