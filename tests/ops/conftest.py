"""One deployment of template.yaml on a local AWS of its own, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.engine import Engine
from pet_detector.aws import clients
from tests.ops.application import Application


@pytest.fixture(scope="session")
def deployed(deployed_application: Engine) -> Application:
    """The deployed application, whatever the tests before have left in it."""
    return Application(deployed_application)


@pytest.fixture(scope="module", autouse=True)
def _no_clients_left() -> Iterator[None]:
    """What the command keeps in this process belongs to this local AWS: other suites have their own."""
    yield
    clients.forget()


@pytest.fixture
def application(deployed: Application) -> Application:
    """The deployed application without any image in it."""
    deployed.forget_all()
    return deployed
