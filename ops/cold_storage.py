"""What a cheaper storage class saves: after how many days, from which size, and how many looks eat it up again.

Amazon S3 moves filed pictures into ColdStorageClass when they are ColdAfterDays old. Both classes are read at once, by
the same calls. What they cost more: a transition each, a retrieval fee for each byte that is read, and a minimum of
days, which is charged in full when a picture goes earlier (it expires, is erased, or a verdict moves it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ops import definitions
from pet_detector.rules.prices import prices

# S3 leaves smaller objects where they are (the template sets it): it would bill them as so large.
MINIMUM_KB = 128
_MONTH_DAYS = 30
_MB, _KB = 1024, 1024**2  # in a GB


@dataclass(frozen=True)
class ColdClass:
    """A storage class: its name in S3, that of its prices in the price file, and the least days that are charged."""

    name: str
    price: str
    minimum_days: int

    def unit(self, what: str) -> float:
        """US dollars: of `storage_gb_month`, `transition`, `retrieval_gb` or `get`."""
        return prices()[f"s3_{self.price}_{what}"]


CLASSES = (ColdClass("STANDARD_IA", "standard_ia", 30), ColdClass("GLACIER_IR", "glacier_ir", 90))


@dataclass(frozen=True)
class Comparison:
    """A class for pictures of a size, with an environment's days. Dollars a picture, over its whole life.

    `smallest_kb`: from this size on it pays; S3 moves none of up to 128 KB. `pays_after_days`: so long a picture must
    lie there until it was cheaper. `looks`: reads of the whole picture that use up what it saves.
    """

    name: str
    standard: float
    cold: float
    saved: float
    smallest_kb: float
    pays_after_days: float
    looks: float


def price_of_keeping(megabytes: float, parameters: Mapping[str, str]) -> float:
    """US dollars to keep a filed picture until S3 deletes it, with its transition if there is one."""
    return _price(megabytes, parameters, chosen(megabytes, parameters))


def chosen(megabytes: float, parameters: Mapping[str, str]) -> ColdClass | None:
    """The class that an environment moves pictures of this size into, if any."""
    if megabytes * 1024 <= MINIMUM_KB:
        return None
    name = parameters.get("ColdStorageClass", "none")
    return next((one for one in CLASSES if one.name == name), None)


def compared(megabytes: float, parameters: Mapping[str, str]) -> list[Comparison]:
    """Every class with the days of an environment, whichever class it has."""
    return [_compared(megabytes, parameters, one) for one in CLASSES]


def _compared(megabytes: float, parameters: Mapping[str, str], one: ColdClass) -> Comparison:
    standard, cold = _price(megabytes, parameters, None), _price(megabytes, parameters, one)
    per_gb = _price(_MB, parameters, None) - (_price(_MB, parameters, one) - _once(one))  # without the transition
    gigabytes = megabytes / _MB
    months = one.minimum_days / _MONTH_DAYS
    usual = prices()["s3_storage_gb_month"]
    # Within the minimum the whole of it is charged; after it each day saves.
    least = (gigabytes * one.unit("storage_gb_month") * months + _once(one)) / (gigabytes * usual)
    if least > months:
        least = _once(one) / (gigabytes * (usual - one.unit("storage_gb_month")))
    return Comparison(
        name=one.name,
        standard=standard,
        cold=cold,
        saved=standard - cold,
        smallest_kb=_once(one) / per_gb * _KB,
        pays_after_days=math.ceil(least * _MONTH_DAYS),
        looks=max(0.0, standard - cold) / (gigabytes * one.unit("retrieval_gb") + one.unit("get")),
    )


def _once(one: ColdClass) -> float:
    """The transition, and the event that the bucket sends of it."""
    return one.unit("transition") + prices()["eventbridge_s3_event"]


def _price(megabytes: float, parameters: Mapping[str, str], one: ColdClass | None) -> float:
    gigabytes, usual = megabytes / _MB, prices()["s3_storage_gb_month"]
    days = int(parameters["ImageRetentionDays"]) + definitions.old_version_days()
    if one is None:
        return gigabytes * usual * days / _MONTH_DAYS
    warm = min(int(parameters["ColdAfterDays"]), days)
    cold = max(days - warm, one.minimum_days)
    stored = gigabytes * (usual * warm + one.unit("storage_gb_month") * cold) / _MONTH_DAYS
    return stored + _once(one)
