"""template.yaml itself on an embedded AWS of its own: free ports, files in a directory of the caller's."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from local.deploy import deploy
from local.engine import REPOSITORY, Engine

from .application import Application


@contextlib.contextmanager
def deployed_application(home: Path) -> Iterator[Application]:
    """The deployed application, and someone who listens to its notices; all of it ends with the block.

    `home` must not exist. Raises UserError, with a sentence for a person, when it cannot be started or deployed.
    """
    _reuse_what_make_run_installed(home)
    engine = Engine(_free_port(), _free_port(), home=home)
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


def _free_port() -> int:
    """A TCP port nobody uses right now, outside the range that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
