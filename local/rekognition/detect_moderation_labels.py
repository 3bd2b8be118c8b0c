"""The operation DetectModerationLabels: a stub for tests. It judges no picture.

A picture is called unsafe if its file holds the text `moderation-stub:` and after it a category in brackets, as in
`moderation-stub:[Violence]`: a test writes that behind the picture or into a comment of it. All others are called safe,
whatever they show. Every answer says so in `ModerationModelVersion`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypedDict

from .request import Reader, parse_confidence, parse_image
from .rights import Caller

MODEL_VERSION = "local-stub-that-judges-no-picture"

_MARKER = re.compile(rb"moderation-stub:\[([A-Za-z&' -]{1,64})\]")
_CONFIDENCE = 99.0
# API_DetectModerationLabels: "If you don't specify MinConfidence, the operation returns labels with confidence values
# greater than or equal to 50 percent."
_DEFAULT_CONFIDENCE = 50.0


class ModerationLabel(TypedDict):
    """A category; `ParentName` is empty, as of a top-level one."""

    Name: str
    ParentName: str
    Confidence: float
    TaxonomyLevel: int


class Response(TypedDict):
    """DetectModerationLabelsResponse, without ContentTypes."""

    ModerationLabels: list[ModerationLabel]
    ModerationModelVersion: str


class DetectModerationLabels:
    """The operation. Safe to call from many threads."""

    def __init__(self, reader: Reader):
        self._reader = reader

    def __call__(self, body: Mapping[str, Any], caller: Caller) -> Response:
        """Answers one request, given as decoded JSON. Raises ServiceError; see `request` for the names.

        It decodes nothing: a file that is no picture is safe here, and DetectLabels refuses it.
        """
        minimum = parse_confidence(body, _DEFAULT_CONFIDENCE)
        data = self._reader.read(parse_image(body), "rekognition:DetectModerationLabels", caller)
        found = _MARKER.search(data) if minimum <= _CONFIDENCE else None
        labels: list[ModerationLabel] = []
        if found:
            labels = [{"Name": found[1].decode(), "ParentName": "", "Confidence": _CONFIDENCE, "TaxonomyLevel": 1}]
        return {"ModerationLabels": labels, "ModerationModelVersion": MODEL_VERSION}
