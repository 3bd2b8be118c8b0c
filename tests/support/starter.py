"""A local AWS with the deployed application, for one suite."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from local.deploy import deploy
from local.engine import Engine
from tests.support.paths import REPOSITORY

from .ports import free_port


@contextlib.contextmanager
def running(
    home: Path,
    builds: Path | None = None,
    *,
    directory: Path = REPOSITORY,
    before_deployment: Callable[[Engine], None] | None = None,
    calls_per_second: float | None = None,
    **settings: str,
) -> Iterator[Engine]:
    """A local AWS on free ports with the deployed application, until the block ends.

    What `sam build` makes is left in `builds` for the next one, and taken from there or from `make run`: it need not
    install the functions' requirements again. `directory` holds what is deployed. `calls_per_second` is the quota of
    the local Rekognition, None for none. `settings` are environment variables of the local AWS.
    Raises UserError, with a sentence for a person, when it cannot be started or deployed.
    """
    home.mkdir(parents=True, exist_ok=True)
    engine = Engine(free_port(), free_port(), home=home)
    aws, rekognition = engine.processes
    # Retries of the state machine wait a tenth of their time. Timeouts of the SDK and of tasks stay as they are, and so
    # does a wait until a time.
    environment = {**aws.environment, "SFN_WAIT_SCALE": "0.1", **settings}
    quota = () if calls_per_second is None else ("--calls-per-second", str(calls_per_second))
    engine.processes = (
        dataclasses.replace(aws, environment=environment),
        dataclasses.replace(rekognition, arguments=(*rekognition.arguments, *quota)),
    )
    for known in (REPOSITORY / ".engine", builds):
        if known and (known / "build.toml").exists():
            with contextlib.suppress(OSError):  # written at this very moment: then from the beginning
                shutil.copytree(known / "build-cache", home / "build-cache", dirs_exist_ok=True)
                shutil.copy(known / "build.toml", home)
    try:
        engine.up()
        if before_deployment:
            before_deployment(engine)
        deploy(engine, directory)
        if builds:
            with contextlib.suppress(OSError):  # another process has left its own
                builds.mkdir()
                shutil.copytree(home / "build-cache", builds / "build-cache")
                shutil.copy(home / "build.toml", builds)  # the last: it says that the rest is there
        yield engine
    finally:
        engine.down()
