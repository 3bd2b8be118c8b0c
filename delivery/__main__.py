"""`python -m delivery build | changes | deploy | credentials`: see docs/delivery.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from delivery.artifact import ARTIFACT, DeliveryError, build
from delivery.credentials import credentials
from delivery.deploy import changes, deploy
from delivery.environments import environment


def main() -> int:
    """0; 1 with a sentence on stderr when something must be put right."""
    parser = argparse.ArgumentParser(prog="python -m delivery", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the artifact, once")
    for name, text in {"changes": "show what a deployment would change", "deploy": "deploy the artifact"}.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--env", required=True, help="dev, staging, prod or pr-<number>")
        command.add_argument("--sha256", required=True, help="the checksum that `build` printed")
    for command in commands.choices.values():
        command.add_argument("--artifact", type=Path, default=ARTIFACT, help="the file (%(default)s)")
    commands.add_parser("credentials", help="for delivery/aws.config")
    arguments = parser.parse_args()
    try:
        if arguments.command == "build":
            _say(sha256 := build(arguments.artifact))
            _append("GITHUB_OUTPUT", f"sha256={sha256}\n")
        elif arguments.command == "credentials":
            _say(credentials())
        elif arguments.command == "changes":
            _show(changes(environment(arguments.env), arguments.artifact, arguments.sha256))
        else:
            _show(deploy(environment(arguments.env), arguments.artifact, arguments.sha256))
    except (DeliveryError, BotoCoreError, ClientError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _show(text: str) -> None:
    """On the terminal, and on the page of the GitHub run."""
    _say(text)
    _append("GITHUB_STEP_SUMMARY", f"{text}\n")


def _append(variable: str, text: str) -> None:
    if file := os.environ.get(variable):
        with Path(file).open("a") as output:
            output.write(text)


if __name__ == "__main__":
    sys.exit(main())
