"""`petdetect check`: what it takes, and what it says."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from ops import check, check_settings, output
from ops.check import Found
from ops.check_lines import Subject, Verdict
from ops.environment import Deployment

ATTENTION = 3


class Version(click.ParamType):
    """A version of the workflow: a number, or `live` for what the alias points to."""

    name = "version"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The version, or a usage error."""
        if value != "live" and not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**9):
            self.fail(f"{value!r} is not a version: use its number, or live.", param, ctx)
        return value if value == "live" else str(int(value))


def run(deployment: Deployment, version: str | None, seconds: float, only: tuple[str, ...], as_json: bool) -> None:
    """Check it, and say what was found; exit code 3 when something is not ok, or what was asked for was not checked."""
    subject = Subject(deployment, version)
    if version not in (None, "live"):
        check_settings.refuse_unknown_version(subject)
    console = Console(stderr=True)
    with _stoppable(), console.status("") as status:
        found = check.run(subject, seconds, lambda name: status.update(f"checking {name} ..."), only or check.SUBJECTS)
    if as_json:
        output.say_json(_document(subject, found))
    else:
        _show(found)
    if found.needs_attention:
        raise click.exceptions.Exit(ATTENTION)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, by which pipelines end a command, is like Ctrl-C inside the block: the pictures are removed."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(found: Found) -> None:
    output.print_table(("check", "", "what"), ((line.name, line.verdict, line.says) for line in found.lines))
    for line in found.lines:
        if line.verdict is Verdict.NOT_OK:
            output.say(f"Not ok: {line.name}. {line.says}")
    output.say(", ".join(f"{found.number(verdict)} {verdict}" for verdict in Verdict) + ".")


def _document(subject: Subject, found: Found) -> dict[str, Any]:
    return {
        "environment": subject.deployment.environment,
        "version": subject.version,
        "needsAttention": found.needs_attention,
        "lines": [{"check": line.name, "verdict": line.verdict.value, "says": line.says} for line in found.lines],
    }
