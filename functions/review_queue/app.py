"""ReviewQueue: reads the changes of the records from the DynamoDB stream, and puts images into the queue for review.

Second consumer of the stream, beside MetricsPublisher: neither waits for the other.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs
from pet_detector.rules.errors import PetDetectorError
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import review_queue
from pet_detector.use_cases.review_queue import Resources


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """Takes a batch of stream records -> the first one that is to be given again, with those behind it.

    What AWS refuses is given again. A change that cannot be understood is left out, with an error in the log: the
    others do not wait for it, and ReviewKeeper looks for uncertain images that are in no queue.
    """
    resources = Resources(
        reviews=settings.required("REVIEWS_TABLE_NAME"),
        records=settings.required("DETECTION_LOGS_TABLE_NAME"),
        workflow_arn=settings.required("REVIEW_WORKFLOW_ARN"),
        sample_percent=float(settings.required("REVIEW_SAMPLE_PERCENT")),
        second_look_percent=float(settings.required("SECOND_LOOK_PERCENT")),
    )
    for record in event["Records"]:
        try:
            _handle(resources, record["dynamodb"])
        except PetDetectorError as error:
            logger.warning("Batch is read again from here", error=str(error))
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
        except Exception:
            logger.exception("Change left out")
    return {"batchItemFailures": []}


def _handle(resources: Resources, change: dict[str, Any]) -> None:
    old, new = change.get("OldImage"), change.get("NewImage")
    if not new or "ProcessingStatus" not in new:  # deleted, or no record
        return
    logger.append_keys(image_id=new["ImageID"]["S"])
    before = detection_logs.deserialized(old) if old else None
    if done := review_queue.of_record(resources, before, detection_logs.deserialized(new)):
        logger.info("Change of an image for review", done=done)
