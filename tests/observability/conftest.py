"""A process of the embedded AWS for these tests. Accounts of their own keep the tests' metrics apart."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.observability.stack import REPOSITORY
from tests.ports import free_port

ENGINE_PYTHON = REPOSITORY / ".engine" / "venv" / "bin" / "python"
_accounts = itertools.count(200_000_000_000)

Clients = Callable[..., Any]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an engine that runs for these tests only."""
    if not ENGINE_PYTHON.exists():
        pytest.fail("The embedded AWS is not installed: run `make install`.")
    scratch, port = tmp_path_factory.mktemp("engine"), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
    }
    with (scratch / "engine.log").open("w") as log:
        command = [str(ENGINE_PYTHON), "-m", "local.ministack_ext"]
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The engine did not start:\n{(scratch / 'engine.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def client(engine_url: str) -> Clients:
    """client(service, account=None): a boto3 client of the engine; an access key of 12 digits is an account."""
    session = boto3.Session(region_name="us-east-1")

    def make(service: str, account: str = "000000000000") -> Any:
        untyped: Any = session
        return untyped.client(
            service,
            endpoint_url=engine_url,
            aws_access_key_id=account,
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    return make


@pytest.fixture
def new_account() -> Callable[[], str]:
    """An account that nothing has happened in."""
    return lambda: str(next(_accounts))
