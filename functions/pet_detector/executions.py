"""The boundary to AWS Step Functions: starting the workflow for an image that waits."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from pet_detector.aws_errors import code_of, translated

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions import SFNClient

# StartExecution with a name is idempotent, so the SDK may repeat it.
_CONFIG = Config(connect_timeout=2, read_timeout=8, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def _client() -> SFNClient:
    return boto3.client("stepfunctions", config=_CONFIG)


def start(
    workflow_arn: str,
    name: str,
    key: str,
    version_id: str,
    image_id: str,
    *,
    received: str | None = None,
    restart: bool = False,
    release: bool = False,
) -> bool:
    """Start the workflow for an object version; False when an execution of this name has ended, or has another input.

    Starting one again that still runs is a success, as for AWS.

    `image_id` names the record. `received` is when the object was stored, if the workflow has not heard of it yet.
    `restart` takes up a failed or held image; `release` lets it pass the daily limit. A name can be used once in 90
    days.
    """
    document: dict[str, Any] = {"detail": {"object": {"key": key, "version-id": version_id}}, "imageId": image_id}
    document |= {"time": received} if received else {}
    document |= {name: True for name, wanted in (("restart", restart), ("release", release)) if wanted}
    with translated("states:StartExecution"):
        try:
            _client().start_execution(stateMachineArn=workflow_arn, name=name, input=json.dumps(document))
        except ClientError as error:
            if code_of(error) != "ExecutionAlreadyExists":
                raise
            return False
    return True
