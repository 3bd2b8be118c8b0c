"""Do the AWS services that the application needs answer? Cached for a few seconds: GET /health needs no API key."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from pet_detector.aws.clients import client, on_forget
from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.policy import Policy
from pet_detector.runtime.observability import logger

CACHED_SECONDS = 5.0

_last: tuple[float, dict[str, bool]] | None = None


def _forget() -> None:
    global _last
    _last = None


on_forget(_forget)


def check(*, bucket: str, table: str, workflow_arn: str, policy_parameter: str) -> dict[str, bool]:
    """Which parts can be used: storage, records, workflow, policy. At most CACHED_SECONDS old. Raises nothing."""
    global _last
    if _last and time.monotonic() - _last[0] < CACHED_SECONDS:
        return _last[1]
    s3, dynamodb = client("s3", quick=True), client("dynamodb", quick=True)
    states, ssm = client("stepfunctions", quick=True), client("ssm", quick=True)
    probes: dict[str, Callable[[], object]] = {
        "storage": lambda: s3.head_bucket(Bucket=bucket),
        "records": lambda: dynamodb.describe_table(TableName=table),
        "workflow": lambda: states.describe_state_machine(stateMachineArn=workflow_arn),
        "policy": lambda: Policy.from_json(ssm.get_parameter(Name=policy_parameter)["Parameter"]["Value"]),
    }
    with ThreadPoolExecutor(len(probes)) as pool:
        answers = dict(zip(probes, pool.map(_answers, probes, probes.values()), strict=True))
    _last = time.monotonic(), answers
    return answers


def _answers(part: str, probe: Callable[[], object]) -> bool:
    try:
        probe()
    except (ClientError, BotoCoreError, PolicyInvalidError) as error:
        logger.error("A dependency is down", part=part, error=type(error).__name__)
        return False
    return True
