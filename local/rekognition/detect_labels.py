"""The operation DetectLabels: what a request may hold, and what is answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from .classifier import Classifier, Label
from .preprocess import ImageDimensionsError, ImageTooSmallError, UnreadableImageError
from .request import (
    Reader,
    S3Object,
    ServiceError,
    invalid_parameters,
    member,
    parse_confidence,
    parse_image,
    violation,
)
from .rights import Caller

MODEL_VERSION = "local-efficientnet-lite0"  # nobody must take these labels for Amazon's

# API_DetectLabels: "The default is 55%", "The default and upper limit is 1000 labels"
_DEFAULT_CONFIDENCE = 55.0
_MAX_LABELS = 1000

_GENERAL, _PROPERTIES = "GENERAL_LABELS", "IMAGE_PROPERTIES"


class Response(TypedDict):
    """DetectLabelsResponse, without ImageProperties."""

    Labels: list[Label]
    LabelModelVersion: str


@dataclass(frozen=True)
class _Request:
    """A request that broke no rule. `image` is the picture or where it lies; confidences are percent, 0..100."""

    image: bytes | S3Object
    min_confidence: float
    max_labels: int


class DetectLabels:
    """The operation. Safe to call from many threads."""

    def __init__(self, classifier: Classifier, reader: Reader):
        self._classifier, self._reader = classifier, reader
        # A large picture takes hundreds of megabytes while it is decoded (see preprocess.MAX_PIXELS). One at a time
        # keeps that a maximum, and costs little: the views of one picture keep all cores busy.
        self._one_image = threading.Lock()

    def __call__(self, body: Mapping[str, Any], caller: Caller) -> Response:
        """Answers one request, given as decoded JSON.

        Raises:
            ServiceError: the request or the picture was refused; see `request` for the names.
        """
        request = _parse(body)
        data = self._reader.read(request.image, "rekognition:DetectLabels", caller)
        try:
            with self._one_image:
                labels = self._classifier.detect(data, request.min_confidence)
        except UnreadableImageError as error:
            raise ServiceError(
                "InvalidImageFormatException", "Request has invalid image format", detail=str(error)
            ) from error
        except ImageTooSmallError as error:
            raise invalid_parameters(detail=str(error)) from error
        except ImageDimensionsError as error:
            raise ServiceError("ImageTooLargeException", str(error)) from error
        return {"Labels": labels[: request.max_labels], "LabelModelVersion": MODEL_VERSION}


def _parse(body: Mapping[str, Any]) -> _Request:
    confidence = parse_confidence(body, _DEFAULT_CONFIDENCE)
    max_labels = member(body, "MaxLabels", int)
    max_labels = _MAX_LABELS if max_labels is None else max_labels
    if max_labels < 0:
        raise violation(max_labels, "maxLabels", "Member must have value greater than or equal to 0")
    _check_features(body)
    _refuse_filters(body)
    return _Request(parse_image(body), confidence, min(max_labels, _MAX_LABELS))


def _check_features(body: Mapping[str, Any]) -> None:
    for feature in member(body, "Features", list) or []:
        if feature not in (_GENERAL, _PROPERTIES):
            allowed = f"Member must satisfy enum value set: [{_GENERAL}, {_PROPERTIES}]"
            raise violation(feature, "features", allowed)
        if feature == _PROPERTIES:
            raise invalid_parameters(f"{_PROPERTIES} is not available in the local Rekognition, only {_GENERAL}")


def _refuse_filters(body: Mapping[str, Any]) -> None:
    """An answer without the filters that were asked for would be a wrong one."""
    settings = member(body, "Settings", dict) or {}
    if member(settings, "GeneralLabels", dict):
        raise invalid_parameters("Label filters are not available in the local Rekognition")
