"""A process of the local AWS for tests, without a deployed application.

It needs nothing of `local/` at import: the image of compose.yaml's workflow-tests does not hold it.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from .paths import LOCAL_AWS_PYTHON, REPOSITORY
from .ports import HOST, free_port
from .waiting import wait_for

START_SECONDS = 30.0
REGION = "us-east-1"
ACCOUNT = "000000000000"


def local_aws_python() -> Path:
    """The Python that runs the local AWS and the Lambda functions in it; the test fails when it is not installed."""
    if not LOCAL_AWS_PYTHON.exists():
        pytest.fail("The local AWS is not installed: run `make install`.")
    return LOCAL_AWS_PYTHON


@contextlib.contextmanager
def running(scratch: Path, module: str = "local.ministack_ext", **variables: str) -> Iterator[str]:
    """Run the local AWS, or another module like it, until the block ends; gives its URL.

    Its files and its log, engine.log, lie in `scratch`. `variables` are added to its environment, which has nothing of
    the developer's.
    """
    port = free_port()
    log = scratch / "engine.log"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
        **variables,
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [local_aws_python(), "-m", module], cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: answers(port) or process.poll() is not None, START_SECONDS)
        if process.poll() is not None or not answers(port):
            raise RuntimeError(f"{module} did not start:\n{log.read_text()[-2000:]}")
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(port: int, host: str = HOST) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe, contextlib.suppress(OSError):  # OSError: the host's name is not known yet
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
    return False


def client(url: str, service: str, account: str = ACCOUNT, *, attempts: int = 1, **config: Any) -> Any:
    """A boto3 client of the AWS at `url`, which does not retry: a test sees the first answer.

    The local AWS takes an access key of 12 digits as the account. `config` is botocore's.
    """
    session: Any = boto3.session.Session()
    made = session.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=account,
        aws_secret_access_key="test",
        config=Config(proxies={}, retries={"total_max_attempts": attempts}, **config),
    )
    made.meta.events.register("after-call.lambda.Invoke", _read_at_once)
    return made


def _read_at_once(parsed: dict[str, Any], **_: Any) -> None:
    """Read what a function returned: an answer that a test drops unread would leave its connection open.

    Python closes it when it collects garbage, and warns then, in whichever test runs at that moment.
    """
    if "Payload" in parsed:
        parsed["Payload"] = io.BytesIO(parsed["Payload"].read())
