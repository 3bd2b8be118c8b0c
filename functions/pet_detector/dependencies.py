"""Do the services that the application stands on answer? Cached for a few seconds: anybody may ask, with no key."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from pet_detector.errors import PolicyInvalidError
from pet_detector.observability import logger
from pet_detector.policy import Policy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient

CACHED_SECONDS = 5.0

# A part that takes longer than this is down, as far as a caller of /health is concerned.
_CONFIG = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 1})


@cache
def _clients() -> tuple[S3Client, DynamoDBClient, SFNClient, SSMClient]:
    return (
        boto3.client("s3", config=_CONFIG),
        boto3.client("dynamodb", config=_CONFIG),
        boto3.client("stepfunctions", config=_CONFIG),
        boto3.client("ssm", config=_CONFIG),
    )


_last: tuple[float, dict[str, bool]] | None = None


def check(*, bucket: str, table: str, workflow_arn: str, policy_parameter: str) -> dict[str, bool]:
    """Which parts can be used: storage, records, workflow, policy. At most CACHED_SECONDS old. Raises nothing."""
    global _last
    if _last and time.monotonic() - _last[0] < CACHED_SECONDS:
        return _last[1]
    s3, dynamodb, states, ssm = _clients()
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
