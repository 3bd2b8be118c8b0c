"""AWS Step Functions: starts the review workflow, which carries out a verdict."""

from __future__ import annotations

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated
from pet_detector.rules.execution_input import VerdictRef, verdict_text


def carry_out(workflow_arn: str, verdict: VerdictRef, suffix: str = "") -> bool:
    """Start the review workflow for a verdict; False when an execution of this name has ended.

    As for AWS, it is a success when that execution is still running. A name can be used once in 90 days: the `suffix`
    tells a later start from the first one.
    """
    name = "-".join(filter(None, [verdict.image_id, str(verdict.sequence), suffix]))
    with translated("states:StartExecution"):
        try:
            client("stepfunctions").start_execution(
                stateMachineArn=workflow_arn, name=name, input=verdict_text(verdict)
            )
        except ClientError as error:
            if code_of(error) != "ExecutionAlreadyExists":
                raise
            return False
    return True
