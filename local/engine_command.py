"""Start, stop or look at the local AWS: `python -m local engine up|down|status` (`make up`, `make down`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from local.engine import Engine, engine_from_environment
from local.terminal import run_command, say


def main(arguments: Sequence[str] | None = None) -> int:
    """`up`, `down` or `status`; returns the exit code (status: 0 when it runs, 3 when it does not)."""
    parser = argparse.ArgumentParser(prog="python -m local engine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args(arguments).command
    return run_command({"up": _up, "down": _down, "status": _status}[command])


def _up() -> int:
    start_engine(engine_from_environment())
    return 0


def start_engine(engine: Engine) -> None:
    """Start the local AWS unless it runs, and say so."""
    before = time.monotonic()
    if not engine.is_up():
        say(f"Starting the local AWS on {engine.url} ...")
    if engine.up():
        say(f"The local AWS is ready on {engine.url} ({time.monotonic() - before:.1f} s).")
    else:
        say(f"The local AWS is already running on {engine.url}.")


def _down() -> int:
    engine = engine_from_environment()
    if engine.running_ports():
        say("Stopping the local AWS ...")  # many workers take many seconds
    say("The local AWS is stopped." if engine.down() else "The local AWS was not running.")
    return 0


def _status() -> int:
    engine = engine_from_environment()
    if engine.is_up():
        say(f"The local AWS is running on {engine.url}. Its logs: {engine.logs}")
        return 0
    say("The local AWS is not running. Start it with `make up`.")
    return 3
