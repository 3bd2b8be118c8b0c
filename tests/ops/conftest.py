"""One deployment of template.yaml on an embedded AWS of its own, for all tests of this folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest

from local.deploy import deploy
from local.engine import REPOSITORY, Engine, UserError
from pet_detector.aws import clients
from tests.ops.application import Application
from tests.ports import free_port


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The deployed application, whatever the tests before have left in it."""
    home = tmp_path_factory.mktemp("ops") / "engine"
    home.mkdir()
    # Spare `sam build` the installation of the functions' requirements, where `make run` has done it.
    with contextlib.suppress(OSError):
        shutil.copytree(REPOSITORY / ".engine" / "build-cache", home / "build-cache")
        shutil.copy(REPOSITORY / ".engine" / "build.toml", home)
    engine = Engine(free_port(), free_port(), home=home)
    try:
        engine.up()
        deploy(engine)
        yield Application(engine)
    except UserError as error:
        pytest.fail(str(error))
    finally:
        engine.down()


@pytest.fixture(scope="module", autouse=True)
def _no_clients_left() -> Iterator[None]:
    """What the command keeps in this process belongs to this engine: other suites have their own AWS."""
    yield
    clients.forget()


@pytest.fixture
def application(deployed: Application) -> Application:
    """The deployed application without any image in it."""
    deployed.forget_all()
    return deployed
