"""One deployment, of a copy of the repository, for all tests of this folder; and the numbers that they print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from local.engine import UserError
from pet_detector.aws import clients
from tests.support import starter
from tests.support.paths import REPOSITORY

from .report import MINUTE, Numbers
from .stage import Stage
from .tree import Tree

# So many notices of a kind as there may ever be: no digest hides one from the count.
MANY = "1000000"

_numbers = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_numbers] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_numbers]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def numbers(request: pytest.FixtureRequest) -> Numbers:
    """Where tests say what they saw."""
    return Numbers(request.config.stash[_numbers])


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The first release. Retries wait a tenth of their time; minutes of alarms and shifts are short."""
    tree = Tree(tmp_path_factory.mktemp("tree") / "application")
    tree.give(Observability="true", NoticeBurst=MANY)
    # A busy machine must not send a release back: how long pictures take here says nothing about them.
    slow = "SlowProcessingMilliseconds: {Type: Number, Default: "
    tree.change("stacks/observability.yaml", f"{slow}10000,", f"{slow}600000,")
    clock: Any = {"CLOCK_MINUTE_SECONDS": str(MINUTE)}
    home = tmp_path_factory.mktemp("release") / "engine"
    try:
        with starter.running(home, REPOSITORY / ".engine" / "release-builds", directory=tree.place, **clock) as engine:
            yield Stage(engine, tree)
    except UserError as error:
        pytest.fail(str(error))
    finally:
        clients.forget()
