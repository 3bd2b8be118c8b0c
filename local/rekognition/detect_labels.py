"""The operation DetectLabels: what a request may hold, in which words it is refused, and what is answered.

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
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

from .classifier import Classifier, Label
from .preprocess import ImageDimensionsError, ImageTooSmallError, UnreadableImageError
from .rights import Caller, Rights
from .s3_objects import ObjectTooLargeError, ObjectUnavailableError, S3Objects, StorageUnreachableError

MODEL_VERSION = "local-efficientnet-lite0"  # nobody must take these labels for Amazon's

# botocore/data/rekognition/2016-06-27/service-2.json: ImageBlob, S3Bucket, S3ObjectName
MAX_IMAGE_BYTES = 5 * 1024 * 1024
_BUCKET = re.compile(r"[0-9A-Za-z.\-_]{3,255}")
_MAX_NAME = 1024
# API_DetectLabels: "The default is 55%", "The default and upper limit is 1000 labels"
_DEFAULT_CONFIDENCE = 55.0
_MAX_LABELS = 1000

_GENERAL, _PROPERTIES = "GENERAL_LABELS", "IMAGE_PROPERTIES"

T = TypeVar("T")


class ServiceError(Exception):
    """An error as the service answers it: the exception's name, a message, the HTTP status; `detail` is for the log."""

    def __init__(self, code: str, message: str, status: int = 400, detail: str = ""):
        super().__init__(message)
        self.code, self.message, self.status, self.detail = code, message, status, detail


class Response(TypedDict):
    """DetectLabelsResponse, without ImageProperties."""

    Labels: list[Label]
    LabelModelVersion: str


_NO_OBJECT = "Unable to get object metadata from S3. Check object key, region and/or access permissions."


@dataclass(frozen=True)
class _S3Object:
    bucket: str
    name: str
    version: str | None


@dataclass(frozen=True)
class _Request:
    """A request that broke no rule. `image` is the picture or where it lies; confidences are percent, 0..100."""

    image: bytes | _S3Object
    min_confidence: float
    max_labels: int


class DetectLabels:
    """The operation. Safe to call from many threads.

    Args:
        classifier: finds the labels.
        s3: where Image.S3Object is read; None if there is no S3, and then such requests are refused.
        rights: what callers may do; None lets everybody do everything.
    """

    def __init__(self, classifier: Classifier, s3: S3Objects | None, rights: Rights | None = None):
        self._classifier, self._s3, self._rights = classifier, s3, rights
        # A large picture takes hundreds of megabytes while it is decoded (see preprocess.MAX_PIXELS). One at a time
        # keeps that a maximum, and costs little: the views of one picture keep all cores busy.
        self._one_image = threading.Lock()

    def __call__(self, body: Mapping[str, Any], caller: Caller) -> Response:
        """Answers one request, given as decoded JSON.

        Raises:
            ServiceError: the request or the picture was refused; see the module's text for the names.
        """
        request = _parse(body)
        if self._rights:
            self._check(self._rights, caller, request.image)
        data = request.image if isinstance(request.image, bytes) else self._read(request.image)
        try:
            with self._one_image:
                labels = self._classifier.detect(data, request.min_confidence)
        except UnreadableImageError as error:
            raise ServiceError(
                "InvalidImageFormatException", "Request has invalid image format", detail=str(error)
            ) from error
        except ImageTooSmallError as error:
            raise _invalid_parameters(detail=str(error)) from error
        except ImageDimensionsError as error:
            raise ServiceError("ImageTooLargeException", str(error)) from error
        return {"Labels": labels[: request.max_labels], "LabelModelVersion": MODEL_VERSION}

    def _check(self, rights: Rights, caller: Caller, image: bytes | _S3Object) -> None:
        """Refuses a caller who may not ask, or who may not read the object himself."""
        needed = [("rekognition:DetectLabels", "*")]
        if isinstance(image, _S3Object):
            action = "s3:GetObjectVersion" if image.version else "s3:GetObject"
            needed.append((action, f"arn:aws:s3:::{image.bucket}/{image.name}"))
        try:
            asking, *reading = rights.refusals(caller, needed)
        except OSError as error:
            raise ServiceError("InternalServerError", "Internal server error", 500, str(error)) from error
        if asking:
            raise ServiceError("AccessDeniedException", asking)
        if any(reading):
            raise ServiceError("InvalidS3ObjectException", _NO_OBJECT, detail=str(reading[0]))

    def _read(self, where: _S3Object) -> bytes:
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


def _parse(body: Mapping[str, Any]) -> _Request:
    confidence = _member(body, "MinConfidence", (int, float))
    confidence = _DEFAULT_CONFIDENCE if confidence is None else confidence
    if not 0 <= confidence <= 100:
        bound = "greater than or equal to 0" if confidence < 0 else "less than or equal to 100"
        raise _violation(confidence, "minConfidence", f"Member must have value {bound}")
    max_labels = _member(body, "MaxLabels", int)
    max_labels = _MAX_LABELS if max_labels is None else max_labels
    if max_labels < 0:
        raise _violation(max_labels, "maxLabels", "Member must have value greater than or equal to 0")
    _check_features(body)
    _refuse_filters(body)
    return _Request(_parse_image(body), confidence, min(max_labels, _MAX_LABELS))


def _check_features(body: Mapping[str, Any]) -> None:
    for feature in _member(body, "Features", list) or []:
        if feature not in (_GENERAL, _PROPERTIES):
            allowed = f"Member must satisfy enum value set: [{_GENERAL}, {_PROPERTIES}]"
            raise _violation(feature, "features", allowed)
        if feature == _PROPERTIES:
            raise _invalid_parameters(f"{_PROPERTIES} is not available in the local Rekognition, only {_GENERAL}")


def _refuse_filters(body: Mapping[str, Any]) -> None:
    """An answer without the filters that were asked for would be a wrong one."""
    settings = _member(body, "Settings", dict) or {}
    if _member(settings, "GeneralLabels", dict):
        raise _invalid_parameters("Label filters are not available in the local Rekognition")


def _parse_image(body: Mapping[str, Any]) -> bytes | _S3Object:
    image = _member(body, "Image", dict)
    if image is None:
        raise _violation("null", "image", "Member must not be null")
    encoded, s3_object = _member(image, "Bytes", str), _member(image, "S3Object", dict)
    if (encoded is None) == (s3_object is None):
        raise _invalid_parameters(detail="Image needs one of Bytes and S3Object")
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
        raise _violation(f"{length} bytes", "image.bytes", f"Member must have length {bound}")


def _parse_s3_object(s3_object: Mapping[str, Any]) -> _S3Object:
    bucket, name = _member(s3_object, "Bucket", str), _member(s3_object, "Name", str)
    version = _member(s3_object, "Version", str)
    if bucket is None or name is None:
        raise _invalid_parameters(detail="S3Object needs Bucket and Name")
    if not _BUCKET.fullmatch(bucket):
        raise _violation(bucket, "image.s3Object.bucket", f"Member must satisfy regular expression {_BUCKET.pattern}")
    for value, member in ((name, "image.s3Object.name"), (version, "image.s3Object.version")):
        if value is not None and not 1 <= len(value) <= _MAX_NAME:
            raise _violation(value, member, f"Member must have length between 1 and {_MAX_NAME}")
    return _S3Object(bucket, name, version)


def _member(container: Mapping[str, Any], name: str, kind: type[T] | tuple[type, ...]) -> T | None:
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


def _violation(value: object, member: str, rule: str) -> ServiceError:
    message = f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {rule}"
    return ServiceError("ValidationException", message)


def _wrong_type(member: str) -> ServiceError:
    return ServiceError("SerializationException", f"'{member}' has the wrong type")


def _invalid_parameters(message: str = "Request has invalid parameters", detail: str = "") -> ServiceError:
    return ServiceError("InvalidParameterException", message, detail=detail)
