"""One deployment, of a copy of the repository, for all tests of this folder; and the numbers that they print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local.engine import UserError
from pet_detector.aws import clients
from tests.support import starter
from tests.support.paths import REPOSITORY

from .stage import Stage
from .tree import Tree

# A minute of the alarms' periods and of a shift, in seconds: a canary has its tenth for 100.
MINUTE = 10.0
# So many notices of a kind as there may ever be: no digest hides one from the count.
MANY = "1000000"

_numbers = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_numbers] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_numbers]:
        terminalreporter.write_line(line)


class Numbers:
    """What was seen, for people: a line each, at the end of the run."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def say(self, line: str) -> None:
        """Print a line at the end."""
        self._lines.append(line)


@pytest.fixture(scope="session")
def numbers(request: pytest.FixtureRequest) -> Numbers:
    """Where tests say what they saw."""
    return Numbers(request.config.stash[_numbers])


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The first release. Retries wait a tenth of their time; minutes of alarms and shifts are short."""
    tree = Tree(tmp_path_factory.mktemp("tree") / "application")
    tree.give(Observability="true", NoticeBurst=MANY)
    clock: Any = {"CLOCK_MINUTE_SECONDS": str(MINUTE)}
    home = tmp_path_factory.mktemp("release") / "engine"
    try:
        with starter.running(home, REPOSITORY / ".engine" / "release-builds", directory=tree.place, **clock) as engine:
            yield Stage(engine, tree)
    except UserError as error:
        pytest.fail(str(error))
    finally:
        clients.forget()
