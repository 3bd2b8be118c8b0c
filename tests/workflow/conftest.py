"""A Step Functions engine that answers every task from the mock configuration of `mocks.py`.

It is the local AWS, started for these tests on a free port with AWS's own variable SFN_MOCK_CONFIG, and with no waiting
between retries. With STEP_FUNCTIONS_ENDPOINT it is whatever runs there with that mock configuration (`compose.yaml`).
"""

from __future__ import annotations

import contextlib
import json
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
from .evaluations import Evaluation, read
from .executions import REPOSITORY, Engine, Request, Run
from .mocks import TEST_CASES, mock_configuration

ENGINE_PYTHON = REPOSITORY / ".engine" / "venv" / "bin" / "python"
START_SECONDS = 30.0
# All cases together; on an engine that waits between retries, the longest one's budget.
PATIENCE_SECONDS = 120.0
PATIENCE_WITH_WAITING_SECONDS = 1800.0


@pytest.fixture(scope="session")
def evaluations_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the local AWS writes every expression that it evaluates."""
    return tmp_path_factory.mktemp("evaluations") / "evaluations.jsonl"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, evaluations_file: Path) -> Iterator[Engine]:
    """The engine, and the shipped state machine in it."""
    endpoint = os.environ.get("STEP_FUNCTIONS_ENDPOINT")
    if endpoint:
        _wait_until_it_answers(endpoint)
        yield Engine(_client(endpoint), PATIENCE_WITH_WAITING_SECONDS)
        return
    with _local_aws(tmp_path_factory.mktemp("engine"), evaluations_file) as url:
        yield Engine(_client(url), PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def runs(engine: Engine) -> dict[str, Run]:
    """Every case, run once; all of them at the same time."""
    requests = [Request(TEST_CASES[name], case.input) for name, case in CASES.items()]
    return dict(zip(CASES, engine.run(requests), strict=True))


@pytest.fixture(scope="session")
def evaluations(runs: dict[str, Run], evaluations_file: Path) -> list[Evaluation]:
    """Every expression that the local AWS evaluated for these runs, with what it was given; each once."""
    if not evaluations_file.exists():
        pytest.skip("An engine behind STEP_FUNCTIONS_ENDPOINT does not write what it evaluates.")
    return read(evaluations_file)


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
def _local_aws(scratch: Path, evaluations_file: Path) -> Iterator[str]:
    """The local AWS, until the block ends; gives its URL."""
    if not ENGINE_PYTHON.exists():
        pytest.fail("The local AWS is not installed: run `make install`.")
    mocks = scratch / "mock_config.json"
    mocks.write_text(json.dumps(mock_configuration()))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
        "SFN_MOCK_CONFIG": str(mocks),
        "EVALUATIONS_FILE": str(evaluations_file),
        "SFN_WAIT_SCALE": "0",
    }
    log = scratch / "engine.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [ENGINE_PYTHON, "-m", "tests.workflow.observed_engine"],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=output,
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
