"""For all tests: what must be set before the first import of the application, and who shares a process."""

from __future__ import annotations

import functools
import os
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import botocore.session
import coverage
import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from local.engine import Engine

# The logger knows its name from when it is imported, by whichever test comes first.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "pet-detector")

# Each session of botocore would read the descriptions of its services from disk: here all share one reader.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

# Folders whose tests share what they start, and so a process: the deployed application, the state machine's engine.
# Elsewhere each file may have its own.
SHARED = {"integration": "deployment", "operator": "deployment", "workflow": "workflow"}
# The longest first, so that the processes end at about the same time; tests/integration also counts all that ever
# happened in the deployment, in its last file, and tests/operator uses the deployment after it.
FIRST = ("integration", "operator", "workflow")
# Folders whose tests call functions/ in their own process.
MEASURED = ("unit", "operator/fast", "cost")
# Of these, the files that make thousands of calls of moto: other files run the same lines.
UNMEASURED = ("test_listing.py", "test_owners.py", "test_reconciler.py", "test_notice_burst.py")


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a group in order, in one process. The marker xdist_group has no effect with this pytest."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.partition("::")[0]).relative_to("tests")
        return SHARED.get(str(file.parent), str(file))


# The end of a group: what must be true of all that was sent, then what erases images, or makes records by hand.
LAST = ("test_at_the_end.py", "test_people.py", "test_reviews_at_once.py", "test_verdicts.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Groups:
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the groups, and of what must be last in its own."""

    def position(item: pytest.Item) -> tuple[int, int]:
        folder, file = _place(item)
        return FIRST.index(folder) if folder in FIRST else len(FIRST), LAST.index(file) if file in LAST else -1

    items.sort(key=position)  # stable: the rest keeps its order


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Count coverage in MEASURED alone: it slows the others by a half, and what they are about runs elsewhere."""
    folder, file = _place(item)
    measured = coverage.Coverage.current()
    if measured is None or (folder in MEASURED and file not in UNMEASURED):
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


def _place(item: pytest.Item) -> tuple[str, str]:
    """The folder and the file of a test, below tests/."""
    path = item.path.relative_to(Path(__file__).parent)
    return str(path.parent), path.name


@pytest.fixture(scope="session")
def deployed_application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A local AWS with the deployed application, for all suites of this process."""
    from local.engine import UserError  # late: the image of compose.yaml's workflow-tests holds no local/
    from tests.support.starter import running

    try:
        home = tmp_path_factory.mktemp("deployment") / "engine"
        with running(home, builds=_of_the_whole_run(tmp_path_factory) / "builds") as engine:
            yield engine
    except UserError as error:
        pytest.fail(str(error))


def _of_the_whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the processes of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
