"""FileManager: the states Move Image, which files an upload under the folder that the Choice decided, and Move Picture,
which moves a filed picture to the folder that a person decided.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NotRequired, TypedDict, final

from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import image_bucket, refiling
from pet_detector.rules import image_ids, metadata
from pet_detector.rules.errors import ClaimExpiredError
from pet_detector.rules.models import ImageFormat
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger

_CONVERTED = frozenset(format for format in ImageFormat if format.is_converted)


class Original(TypedDict, total=False):
    """The object version of which a JPEG was made; empty when none was."""

    key: str
    versionId: str
    etag: str


@final
class Event(TypedDict):
    """`folder` is cats, dogs, others or rejected; `extension` jpg, png or bin; the rest is Analyze Image's answer.

    `imageFormat` is that of the upload, `original` what this execution has converted.
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
    original: NotRequired[Original]


@final
class VerdictEvent(TypedDict):
    """`s3Location` is the record's; `claimEnds` (RFC 3339) is until when no other execution moves the picture."""

    imageId: str
    executionArn: str
    correlationId: str
    s3Location: str
    folder: str
    claimEnds: str


class Moved(TypedDict):
    """Where the picture lies now: its key, and the same as `s3://bucket/key`; where its original is kept, or ""."""

    key: str
    s3Location: str
    originalLocation: str


# More than the function's Timeout (template.yaml) and the time that S3 works on a copy.
MOVE_SECONDS = 60.0


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event | VerdictEvent, context: LambdaContext) -> Moved:
    """Moves the object; a second run finds nothing left to do. Raises the errors of `image_bucket.move`, or for a
    verdict ClaimExpiredError and the errors of `refiling.refile`.
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    key, kept = (_refiled(bucket, event), "") if "claimEnds" in event else _filed(bucket, event)
    logger.info("Image moved", folder=event["folder"])
    return {"key": key, "s3Location": f"s3://{bucket}/{key}", "originalLocation": kept}


def _refiled(bucket: str, event: VerdictEvent) -> str:
    left = datetime.fromisoformat(event["claimEnds"]) - datetime.now(UTC)
    if left.total_seconds() < MOVE_SECONDS:
        raise ClaimExpiredError("Another execution may be moving the picture.")
    return refiling.refile(bucket, event["s3Location"].rpartition("/")[2], event["folder"])


def _filed(bucket: str, event: Event) -> tuple[str, str]:
    """The key of an upload that was filed, and where its original is kept.

    A picture is filed without its metadata, unless PICTURE_METADATA is keep. A rejected file stays as it is: it may be
    anything, and is shown to nobody. What a picture was converted from goes when that is filed, or is kept; that of a
    rejected one goes, because what is kept stays longer than rejected/ does.
    """
    # Named by the ImageID: the uploader's file name never becomes part of a key.
    destination = f"{event['folder']}/{event['imageId']}.{event['extension']}"
    is_shown = event["folder"] != image_ids.REJECTED_FOLDER
    is_converted = event.get("imageFormat") in _CONVERTED and event["extension"] == ImageFormat.JPEG
    # Converted ones have no metadata, and carry what was uploaded.
    is_cleaned = is_converted or settings.required("PICTURE_METADATA") == "strip"
    clean = metadata.strip if is_shown and is_cleaned else None
    image_bucket.move(bucket, event["key"], event["versionId"], event["etag"], destination, clean=clean)
    is_kept = is_shown and settings.required("KEEP_ORIGINALS") == "true"
    kept = _settle_original(bucket, event, is_kept=is_kept) if is_converted else ""
    return destination, kept


def _settle_original(bucket: str, event: Event, *, is_kept: bool) -> str:
    """Keep the original or let it go -> where it is kept, perhaps since an earlier execution; "" when it is not."""
    destination = f"{image_ids.ORIGINALS_FOLDER}/{event['imageId']}.{event['imageFormat']}"
    if original := event.get("original"):
        if is_kept:
            image_bucket.move(bucket, original["key"], original["versionId"], original["etag"], destination)
        else:
            image_bucket.delete_version(bucket, original["key"], original["versionId"])
    return f"s3://{bucket}/{destination}" if image_bucket.present_version(bucket, destination) else ""
