"""A Step Functions engine that answers every task from the mock configuration of `mocks.py`.

It is the local AWS, started for these tests on a free port with AWS's own variable SFN_MOCK_CONFIG, and with no waiting
between retries. With STEP_FUNCTIONS_ENDPOINT it is whatever runs there with that mock configuration (`compose.yaml`).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.support.local_aws import START_SECONDS, answers, client, running
from tests.support.waiting import eventually

from .cases import CASES
from .detection_logs import DetectionLogs, detection_logs
from .evaluations import Evaluation, read
from .executions import ROLE, Engine, Request, Run
from .mocks import TEST_CASES, mock_configuration

# All cases together; on an engine that waits between retries, the longest one's budget.
PATIENCE_SECONDS = 120.0
PATIENCE_WITH_WAITING_SECONDS = 1800.0


@pytest.fixture(scope="session")
def evaluations_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the local AWS writes every expression that it evaluates."""
    return tmp_path_factory.mktemp("evaluations") / "evaluations.jsonl"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory, evaluations_file: Path) -> Iterator[Engine]:
    """The engine, and the deployed state machine in it."""
    endpoint = os.environ.get("STEP_FUNCTIONS_ENDPOINT")
    if endpoint:
        address = urlsplit(endpoint)
        host, port = address.hostname or "", address.port or 80
        eventually(lambda: answers(port, host), f"{endpoint} answers", START_SECONDS)
        _make_role(endpoint)
        yield Engine(_client(endpoint), PATIENCE_WITH_WAITING_SECONDS, waits=True)
        return
    scratch = tmp_path_factory.mktemp("engine")
    mocks = scratch / "mock_config.json"
    mocks.write_text(json.dumps(mock_configuration()))
    settings = {"SFN_MOCK_CONFIG": str(mocks), "EVALUATIONS_FILE": str(evaluations_file), "SFN_WAIT_SCALE": "0"}
    with running(scratch, "tests.workflow.observed_engine", **settings) as url:
        _make_role(url)
        yield Engine(_client(url), PATIENCE_SECONDS, waits=False)


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


def _make_role(url: str) -> None:
    """A mocked task needs no right, but in the local AWS a state machine needs a role."""
    with contextlib.suppress(ClientError):  # it is there since an earlier run, or the engine knows no roles
        client(url, "iam").create_role(RoleName=ROLE.rpartition("/")[2], AssumeRolePolicyDocument="{}")


def _client(url: str) -> Any:
    return client(url, "stepfunctions", attempts=3, parameter_validation=False)


@pytest.fixture
def table() -> Iterator[DetectionLogs]:
    """An empty table DetectionLogs."""
    with detection_logs() as empty:
        yield empty
