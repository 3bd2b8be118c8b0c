"""MetricsPublisher: reads the changes of the records from the DynamoDB stream and publishes business metrics.

It also counts executions that found their image claimed already, as these change no record.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs
from pet_detector.rules.business_metrics import measurements
from pet_detector.rules.models import Measurement, Record
from pet_detector.runtime.observability import logger, publish


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Takes a batch of stream records, or one "Step Functions Execution Status Change" event of a duplicate."""
    if "detail" in event:
        publish([Measurement("DuplicateIgnored")])
        return
    changes = [record["dynamodb"] for record in event["Records"]]
    found = [m for change in changes for m in measurements(_image(change, "OldImage"), _image(change, "NewImage"))]
    publish(found)
    logger.debug("Changes measured", changes=len(changes), measurements=len(found))


def _image(change: dict[str, Any], name: str) -> Record | None:
    item = change.get(name)
    return detection_logs.deserialized(item) if item else None
