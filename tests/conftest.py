"""For all tests: what must be set before the first import of the application, and who shares a process."""

import os
from pathlib import Path

import pytest

# The logger knows its name from when it is imported, by whichever test comes first.
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "pet-detector")

# Folders whose tests share an engine, and so a process; elsewhere each file may have its own.
SHARED_ENGINES = ("integration", "ops", "observability", "workflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for pytest-xdist: `-n 2 --dist loadgroup` keeps each group in order, in one process."""
    tests = Path(__file__).parent
    for item in items:
        folder, *rest = item.path.relative_to(tests).parts
        item.add_marker(pytest.mark.xdist_group(folder if folder in SHARED_ENGINES else "/".join([folder, *rest])))
