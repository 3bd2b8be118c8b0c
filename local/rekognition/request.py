"""What both operations share: the picture of a request, who may have it read, and the words of a refusal.

Error names and limits follow Amazon's, so that code which copes here copes there. Where each is from:

- ValidationException: the service model's constraints (lengths, ranges, enums), checked before anything else.
  The API reference does not list it, but 6 MB of Image.Bytes are observed to answer it, not ImageTooLargeException.
- InvalidParameterException: parameters that do not fit together, and pictures under 80 pixels a side
  (github.com/boto/botocore/issues/1366, with no more than "Request has invalid parameters").
- ImageTooLargeException: over 15 MB in S3 or over 10,000 pixels a side, with the message used below
  (github.com/awsdocs/aws-doc-sdk-examples/issues/4848).
- InvalidImageFormatException: neither JPEG nor PNG, or broken.
- InvalidS3ObjectException: no such object or version, or no access to it
  (developer guide, "Error handling", which has its message).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .rights import Caller, Rights
from .s3_objects import ObjectTooLargeError, ObjectUnavailableError, S3Objects, StorageUnreachableError

# botocore/data/rekognition/2016-06-27/service-2.json: ImageBlob, S3Bucket, S3ObjectName
MAX_IMAGE_BYTES = 5 * 1024 * 1024
_BUCKET = re.compile(r"[0-9A-Za-z.\-_]{3,255}")
_MAX_NAME = 1024

T = TypeVar("T")


class ServiceError(Exception):
    """An error as the service answers it: the exception's name, a message, the HTTP status; `detail` is for the log."""

    def __init__(self, code: str, message: str, status: int = 400, detail: str = ""):
        super().__init__(message)
        self.code, self.message, self.status, self.detail = code, message, status, detail


@dataclass(frozen=True)
class S3Object:
    """Where a picture lies; without a version the newest is meant."""

    bucket: str
    name: str
    version: str | None


_NO_OBJECT = "Unable to get object metadata from S3. Check object key, region and/or access permissions."


class Reader:
    """Reads the picture of a request, with the rights of its caller.

    Args:
        s3: where Image.S3Object is read; None if there is no S3, and then such requests are refused.
        rights: what callers may do; None lets everybody do everything.
    """

    def __init__(self, s3: S3Objects | None, rights: Rights | None = None):
        self._s3, self._rights = s3, rights

    def read(self, image: bytes | S3Object, action: str, caller: Caller) -> bytes:
        """The picture's bytes. Raises ServiceError if the caller may not ask (`action`) or there is no such object."""
        if self._rights:
            self._check(self._rights, action, caller, image)
        return image if isinstance(image, bytes) else self._read(image)

    def _check(self, rights: Rights, action: str, caller: Caller, image: bytes | S3Object) -> None:
        """Refuses a caller who may not ask, or who may not read the object himself."""
        needed = [(action, "*")]
        if isinstance(image, S3Object):
            reads = "s3:GetObjectVersion" if image.version else "s3:GetObject"
            needed.append((reads, f"arn:aws:s3:::{image.bucket}/{image.name}"))
        try:
            asking, *reading = rights.refusals(caller, needed)
        except OSError as error:
            raise ServiceError("InternalServerError", "Internal server error", 500, str(error)) from error
        if asking:
            raise ServiceError("AccessDeniedException", asking)
        if any(reading):
            raise ServiceError("InvalidS3ObjectException", _NO_OBJECT, detail=str(reading[0]))

    def _read(self, where: S3Object) -> bytes:
        uri = f"s3://{where.bucket}/{where.name}"
        try:
            if self._s3 is None:
                raise ObjectUnavailableError("started without --s3-endpoint")
            return self._s3.read(where.bucket, where.name, where.version)
        except ObjectTooLargeError as error:
            raise ServiceError("ImageTooLargeException", "Image size is too large", detail=f"{uri}: {error}") from error
        except ObjectUnavailableError as error:
            raise ServiceError("InvalidS3ObjectException", _NO_OBJECT, detail=f"{uri}: {error}") from error
        except StorageUnreachableError as error:
            raise ServiceError("InternalServerError", "Internal server error", 500, f"{uri}: {error}") from error


def parse_confidence(body: Mapping[str, Any], default: float) -> float:
    """MinConfidence in percent, or the default of the operation."""
    confidence = member(body, "MinConfidence", (int, float))
    confidence = default if confidence is None else confidence
    if not 0 <= confidence <= 100:
        bound = "greater than or equal to 0" if confidence < 0 else "less than or equal to 100"
        raise violation(confidence, "minConfidence", f"Member must have value {bound}")
    return confidence


def parse_image(body: Mapping[str, Any]) -> bytes | S3Object:
    """The picture of a request, or where it lies. Raises ServiceError, as all here do."""
    image = member(body, "Image", dict)
    if image is None:
        raise violation("null", "image", "Member must not be null")
    encoded, s3_object = member(image, "Bytes", str), member(image, "S3Object", dict)
    if (encoded is None) == (s3_object is None):
        raise invalid_parameters(detail="Image needs one of Bytes and S3Object")
    if s3_object is not None:
        return _parse_s3_object(s3_object)
    try:
        data = base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServiceError("SerializationException", "Image.Bytes is not base64") from error
    check_image_length(len(data))
    return data


def check_image_length(length: int) -> None:
    """Refuses Image.Bytes of 0 or more than 5,242,880 bytes with ServiceError("ValidationException")."""
    if not 1 <= length <= MAX_IMAGE_BYTES:
        bound = f"less than or equal to {MAX_IMAGE_BYTES}" if length else "greater than or equal to 1"
        raise violation(f"{length} bytes", "image.bytes", f"Member must have length {bound}")


def _parse_s3_object(s3_object: Mapping[str, Any]) -> S3Object:
    bucket, name = member(s3_object, "Bucket", str), member(s3_object, "Name", str)
    version = member(s3_object, "Version", str)
    if bucket is None or name is None:
        raise invalid_parameters(detail="S3Object needs Bucket and Name")
    if not _BUCKET.fullmatch(bucket):
        raise violation(bucket, "image.s3Object.bucket", f"Member must satisfy regular expression {_BUCKET.pattern}")
    for value, where in ((name, "image.s3Object.name"), (version, "image.s3Object.version")):
        if value is not None and not 1 <= len(value) <= _MAX_NAME:
            raise violation(value, where, f"Member must have length between 1 and {_MAX_NAME}")
    return S3Object(bucket, name, version)


def member(container: Mapping[str, Any], name: str, kind: type[T] | tuple[type, ...]) -> T | None:
    """Returns a member of a JSON object, None if it is absent or null.

    Raises:
        ServiceError: SerializationException, if the member is not of `kind`.
    """
    value: T | None = container.get(name)
    # JSON's true and false are no numbers, though Python's are
    if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
        raise _wrong_type(_lower(name))
    return value


def _lower(name: str) -> str:
    """MinConfidence -> minConfidence: in its messages the service names members so."""
    return name[0].lower() + name[1:]


def violation(value: object, where: str, rule: str) -> ServiceError:
    """The error for a member that breaks a rule of the service model."""
    message = f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: {rule}"
    return ServiceError("ValidationException", message)


def _wrong_type(name: str) -> ServiceError:
    return ServiceError("SerializationException", f"'{name}' has the wrong type")


def invalid_parameters(message: str = "Request has invalid parameters", detail: str = "") -> ServiceError:
    """The error for parameters that do not fit together, or that the stand-in does not know."""
    return ServiceError("InvalidParameterException", message, detail=detail)
