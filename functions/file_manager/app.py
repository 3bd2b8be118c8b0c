"""FileManager: the state Move Image. Files the picture under the folder that the Choice decided."""

from __future__ import annotations

from typing import TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import image_bucket
from pet_detector.rules import image_ids, metadata
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
    """Moves the object; a second run finds nothing left to do. Raises the errors of `image_bucket.move`.

    A picture is filed without its metadata, unless PICTURE_METADATA is keep. A rejected file stays as it is: it may be
    anything, and is shown to nobody.
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    # Named by the ImageID: the uploader's file name never becomes part of a key.
    destination = f"{event['folder']}/{event['imageId']}.{event['extension']}"
    is_shown = event["folder"] != image_ids.REJECTED_FOLDER
    clean = metadata.strip if is_shown and settings.required("PICTURE_METADATA") == "strip" else None
    image_bucket.move(bucket, event["key"], event["versionId"], event["etag"], destination, clean=clean)
    logger.info("Image moved", folder=event["folder"])
    return {"key": destination, "s3Location": f"s3://{bucket}/{destination}"}
