"""template.yaml itself on an embedded AWS of its own: free ports, files in a directory of the caller's."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from local.deploy import deploy
from local.engine import REPOSITORY, Engine
from tests.ports import free_port

from .application import Application


@contextlib.contextmanager
def deployed_application(home: Path) -> Iterator[Application]:
    """The deployed application, and someone who listens to its notices; all of it ends with the block.

    `home` must not exist. Raises UserError, with a sentence for a person, when it cannot be started or deployed.
    """
    _reuse_what_make_run_installed(home)
    engine = Engine(free_port(), free_port(), home=home)
    try:
        engine.up()
        deploy(engine)
        application = Application(engine)
        application.listen()
        yield application
    finally:
        engine.down()


def _reuse_what_make_run_installed(home: Path) -> None:
    """Spare `sam build` the installation of the functions' requirements, where a build of .engine has done it."""
    home.mkdir(parents=True)
    with contextlib.suppress(OSError):  # nothing built yet, or built at this very moment: then from the beginning
        shutil.copytree(REPOSITORY / ".engine" / "build-cache", home / "build-cache")
        shutil.copy(REPOSITORY / ".engine" / "build.toml", home)
