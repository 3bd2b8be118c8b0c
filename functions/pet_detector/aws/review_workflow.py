"""AWS Step Functions: starts the review machine, which carries out what a person decided."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated


def start(workflow_arn: str, image_id: str, sequence: int, *, again: str = "") -> bool:
    """Have everything carried out that was decided about an image up to the row `sequence`.

    False when an execution of this name has ended: a name, `<imageId>-<sequence>`, can be used once in 90 days. `again`
    is added to it to start another one.
    """
    name = f"{image_id}-{sequence}" + (f"-{again}" if again else "")
    text = json.dumps({"imageId": image_id, "sequence": sequence})
    with translated("states:StartExecution"):
        try:
            # Quick: a person waits for the answer, and ReviewKeeper starts what was not.
            client("stepfunctions", quick=True).start_execution(stateMachineArn=workflow_arn, name=name, input=text)
        except ClientError as error:
            if code_of(error) != "ExecutionAlreadyExists":
                raise
            return False
    return True
