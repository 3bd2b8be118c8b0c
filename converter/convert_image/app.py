"""ConvertImage: the state Convert Image. Makes a JPEG of a WebP, AVIF or HEIC picture."""

from __future__ import annotations

from typing import Any, TypedDict

from aws_lambda_powertools.utilities.typing import LambdaContext

from convert_image import conversion
from pet_detector.aws import image_bucket
from pet_detector.rules import image_format, image_ids
from pet_detector.rules.errors import ImageChangedError
from pet_detector.rules.models import Rejection
from pet_detector.runtime import settings
from pet_detector.runtime.observability import bind, logger


class Event(TypedDict):
    """The object version that Analyze Image has judged."""

    imageId: str
    executionArn: str
    correlationId: str
    key: str
    versionId: str
    etag: str


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: Event, context: LambdaContext) -> dict[str, Any]:
    """`outcome` is converted (and `converted` the key and version of the JPEG) or rejected, with a reason.

    A second run finds the JPEG of the first one. Raises the errors of `image_bucket.read`, and ConversionFailedError
    for a fault that has nothing to do with the picture.
    """
    bind(event)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    destination = image_ids.converted_key(event["imageId"], event["key"])
    version = image_bucket.converted_before(bucket, destination, event["versionId"])
    if version is None:
        stored = image_bucket.read(bucket, event["key"], event["versionId"], event["etag"])
        header = image_format.inspect(stored.data or b"")
        if isinstance(header, Rejection) or not header.format.is_converted or stored.data is None:
            raise ImageChangedError("The object is not the picture that was judged.")
        jpeg = conversion.convert(stored.data, header)
        if isinstance(jpeg, Rejection):
            logger.info("Image rejected", reason_code=jpeg.code)
            return {"outcome": "rejected", "reasonCode": jpeg.code.value, "reason": jpeg.reason}
        version = image_bucket.store_converted(bucket, destination, jpeg, stored, header.format)
        logger.info("Image converted", format=header.format, bytes=stored.size, jpeg_bytes=len(jpeg))
    return {"outcome": "converted", "converted": {"key": destination, "versionId": version}}
