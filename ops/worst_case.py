"""The most that one API key can cost in a day, and what each further post of an upload form costs.

Everything as dear as it can be: pictures of 15 MB, each to be converted, uncertain, and waiting for its turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ops import definitions
from ops.cost import ANNOUNCE, CLAIM, LOOKUP, STORAGE, Load, bill, call_price
from pet_detector.aws.image_bucket import UPLOAD_LINK_SECONDS
from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.prices import prices

# What a client pays for: counted as requests here, and so left out of an image.
_OF_REQUESTS = ("API Gateway", "Lambda (API, metrics)")

# What S3 takes under one prefix, at least ("Performance guidelines" of its user guide).
_S3_POSTS_A_SECOND = 3_500


@dataclass(frozen=True)
class WorstDay:
    """US dollars a key and day. `kept` is for keeping the day's pictures and records until they expire.

    `analysed` and `held` images come from as many announcements; the rest of the key's requests are look-ups.
    """

    images: int
    announced: int
    analysed: float
    held: float
    requests: float
    kept: float

    @property
    def dollars(self) -> float:
        """Of the day, without `kept`."""
        return self.analysed + self.held + self.requests


def worst_day(parameters: Mapping[str, str]) -> WorstDay:
    """Every request of the key announces a picture, and each is uploaded."""
    announced = int(parameters["ApiDailyQuota"])
    images = min(announced, int(parameters["DailyAnalysisLimitPerKey"]) or announced)
    dear = Load(images=images, megabytes=MAX_BYTES / 1024**2, uncertain=1, waiting=1, converted=1)
    lines = [line for line in bill(dear, parameters) if line.name not in _OF_REQUESTS]
    image = sum(line.per_image for line in lines if line.name not in STORAGE)
    kept = sum(line.per_image for line in lines if line.name in STORAGE)
    unit = prices()
    request = unit["api_request"] + call_price("UploadApiFunction", parameters)
    held = definitions.transitions(definitions.HELD) * unit["states_standard_transition"]
    held += call_price("ImageProcessorFunction", parameters) + (ANNOUNCE + 2 * CLAIM) * unit["dynamodb_write_unit"]
    held += unit["s3_put"] + unit["eventbridge_s3_event"]
    return WorstDay(
        images, announced, images * image, (announced - images) * held, announced * request, announced * kept
    )


def further_post(parameters: Mapping[str, str]) -> float:
    """US dollars for one more post of a form whose image is claimed: S3, its event, an execution that finds that out,
    and its event, which counts it.
    """
    unit = prices()
    refused_write = 2 * unit["dynamodb_write_unit"]  # a refused write is paid for like one, by the record's size
    return (
        unit["s3_put"]
        + unit["eventbridge_s3_event"]
        + definitions.transitions(definitions.DUPLICATE) * unit["states_standard_transition"]
        + refused_write
        + LOOKUP * unit["dynamodb_read_unit"]  # the Reconciler looks for a record of its own
        + call_price("MetricsPublisherFunction", parameters)
    )


def flooded_form(parameters: Mapping[str, str]) -> float:
    """US dollars for one form that is posted as fast as S3 takes it, until it ends."""
    return further_post(parameters) * _S3_POSTS_A_SECOND * UPLOAD_LINK_SECONDS
