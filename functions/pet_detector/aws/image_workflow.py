"""AWS Step Functions: starts the workflow for an image, and tells whether an execution of it still runs."""

from __future__ import annotations

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated
from pet_detector.rules.execution_input import ImageRef, text_for


def is_running(execution_arn: str) -> bool:
    """Whether an execution has not ended. One that Step Functions does not know, or has forgotten, has.

    Step Functions allows few such calls (15 a second): only for what no record can tell.
    """
    with translated("states:DescribeExecution"):
        try:
            return client("stepfunctions").describe_execution(executionArn=execution_arn)["status"] == "RUNNING"
        except ClientError as error:
            if code_of(error) != "ExecutionDoesNotExist":
                raise
            return False


def start(
    live_arn: str,
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

    `live_arn` is that of the alias, so that the execution is one of the release.

    As for AWS, it is a success when that execution is still running with the same input. A name can be used once in
    90 days. `image_id` names the record. `received` is when the object was stored (RFC 3339), for an image that no
    execution has claimed yet. `restart` starts a failed or held image again; `release` lets it pass the daily limit.
    """
    text = text_for(ImageRef(image_id, key, version_id), received=received, restart=restart, release=release)
    with translated("states:StartExecution"):
        try:
            client("stepfunctions").start_execution(stateMachineArn=live_arn, name=name, input=text)
        except ClientError as error:
            if code_of(error) != "ExecutionAlreadyExists":
                raise
            return False
    return True
