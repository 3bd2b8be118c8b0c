"""FileManager: the state Move Image. Files the picture under the folder that the Choice decided."""

from __future__ import annotations

from typing import TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import image_bucket
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger


class Event(TypedDict):
    """`folder` is cats, dogs, others or rejected; `extension` jpg, png or bin; the rest is Analyze Image's answer."""

    imageId: str
    executionArn: str
    correlationId: str
    key: str
    versionId: str
    etag: str
    folder: str
    extension: str


class Moved(TypedDict):
    """Where the picture lies now: its key, and the same as `s3://bucket/key`."""

    key: str
    s3Location: str


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Moved:
    """Moves the object; a second run finds nothing left to do. Raises the errors of `image_bucket.move`."""
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    # Named by the ImageID: the uploader's file name never becomes part of a key.
    destination = f"{event['folder']}/{event['imageId']}.{event['extension']}"
    image_bucket.move(bucket, event["key"], event["versionId"], event["etag"], destination)
    logger.info("Image moved", folder=event["folder"])
    return {"key": destination, "s3Location": f"s3://{bucket}/{destination}"}
