"""A Step Functions engine that answers every task from `mock_config.json`.

It is the embedded one, started for these tests on a free port with AWS's own variable SFN_MOCK_CONFIG, and with no
waiting between retries. With STEP_FUNCTIONS_ENDPOINT it is whatever runs there with that mock configuration, such as
AWS Step Functions Local (`compose.yaml`), which does wait: minutes for the longest case.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from tests.ports import free_port

from .cases import CASES
from .detection_logs import DetectionLogs, detection_logs
from .executions import MOCK_CONFIG, REPOSITORY, Engine, Run

ENGINE_PYTHON = REPOSITORY / ".engine" / "venv" / "bin" / "python"
START_SECONDS = 30.0
# All cases together; on an engine that waits between retries, the longest one's budget.
PATIENCE_SECONDS = 120.0
PATIENCE_WITH_WAITING_SECONDS = 1800.0


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine, and the shipped state machine in it."""
    endpoint = os.environ.get("STEP_FUNCTIONS_ENDPOINT")
    if endpoint:
        _wait_until_it_answers(endpoint)
        yield Engine(_client(endpoint), PATIENCE_WITH_WAITING_SECONDS)
        return
    with _embedded(tmp_path_factory.mktemp("engine")) as url:
        yield Engine(_client(url), PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def runs(engine: Engine) -> dict[str, Run]:
    """Every case, run once; all of them at the same time."""
    return dict(zip(CASES, engine.run(case.request for case in CASES.values()), strict=True))


def _client(endpoint: str) -> Any:
    session: Any = boto3.session.Session()
    return session.client(
        "stepfunctions",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(proxies={}, retries={"total_max_attempts": 3}, parameter_validation=False),
    )


@contextlib.contextmanager
def _embedded(scratch: Path) -> Iterator[str]:
    """The embedded engine, until the block ends; gives its URL."""
    if not ENGINE_PYTHON.exists():
        pytest.fail("The embedded AWS is not installed: run `make install`.")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
        "SFN_MOCK_CONFIG": str(MOCK_CONFIG),
        "SFN_WAIT_SCALE": "0",
    }
    log = scratch / "engine.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [ENGINE_PYTHON, "-m", "local.ministack_ext"], cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        _wait_until_it_answers(url, lambda: process.poll() is None, log)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_it_answers(url: str, alive: Callable[[], bool] = lambda: True, log: Path | None = None) -> None:
    address = urlsplit(url)
    deadline = time.monotonic() + START_SECONDS
    while not _answers(address.hostname or "", address.port or 80):
        if not alive() or time.monotonic() > deadline:
            pytest.fail(f"Nothing answers on {url}.\n{log.read_text()[-2000:] if log else ''}")
        time.sleep(0.05)


def _answers(host: str, port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):  # also a name that nobody has yet
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
    return False


@pytest.fixture
def table() -> Iterator[DetectionLogs]:
    """An empty table DetectionLogs."""
    with detection_logs() as empty:
        yield empty
