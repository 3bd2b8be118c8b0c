"""FileManager: the state Move Image. Files the picture under the folder that the Choice decided."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import image_bucket
from pet_detector.rules import image_ids, metadata
from pet_detector.rules.models import ImageFormat
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger

_CONVERTED = frozenset(format for format in ImageFormat if format.is_converted)


class Original(TypedDict):
    """The object version of which a JPEG was made."""

    key: str
    versionId: str
    etag: str


class Event(TypedDict):
    """`folder` is cats, dogs, others or rejected; `extension` jpg, png or bin; the rest is Analyze Image's answer.

    `original` is there when this execution has converted the picture; `imageFormat` is that of the upload.
    """

    imageId: str
    executionArn: str
    correlationId: str
    key: str
    versionId: str
    etag: str
    folder: str
    extension: str
    imageFormat: NotRequired[str]
    original: NotRequired[Original | None]


class Moved(TypedDict):
    """Where the picture lies now: its key, and the same as `s3://bucket/key`; where its original is kept, or ""."""

    key: str
    s3Location: str
    originalLocation: str


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> Moved:
    """Moves the object; a second run finds nothing left to do. Raises the errors of `image_bucket.move`.

    A picture is filed without its metadata, unless PICTURE_METADATA is keep. A rejected file stays as it is: it may be
    anything, and is shown to nobody. What a picture was converted from goes when that is filed, or is kept.
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    # Named by the ImageID: the uploader's file name never becomes part of a key.
    destination = f"{event['folder']}/{event['imageId']}.{event['extension']}"
    is_shown = event["folder"] != image_ids.REJECTED_FOLDER
    is_converted = event.get("imageFormat") in _CONVERTED and event["extension"] == ImageFormat.JPEG
    # Converted ones have no metadata, and carry what was uploaded.
    is_cleaned = is_converted or settings.required("PICTURE_METADATA") == "strip"
    clean = metadata.strip if is_shown and is_cleaned else None
    image_bucket.move(bucket, event["key"], event["versionId"], event["etag"], destination, clean=clean)
    kept = _settle_original(bucket, event) if is_converted else ""
    logger.info("Image moved", folder=event["folder"])
    return {"key": destination, "s3Location": f"s3://{bucket}/{destination}", "originalLocation": kept}


def _settle_original(bucket: str, event: Event) -> str:
    """Keep the original or let it go -> where it is kept, perhaps since an earlier execution; "" when it is not."""
    destination = f"{image_ids.ORIGINALS_FOLDER}/{event['imageId']}.{event['imageFormat']}"
    if original := event.get("original"):
        if settings.required("KEEP_ORIGINALS") == "true":
            image_bucket.move(bucket, original["key"], original["versionId"], original["etag"], destination)
        else:
            image_bucket.delete_version(bucket, original["key"], original["versionId"])
    return f"s3://{bucket}/{destination}" if image_bucket.present_version(bucket, destination) else ""
