"""What a cheaper storage class saves, by hand: 2 MB kept for 365 days, and 30 more as an old version."""

from __future__ import annotations

import math

import pytest

from ops import cold_storage, cost, cost_output, definitions
from ops.cold_storage import CLASSES, compared
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.usefixtures("pinned_prices")

PARAMETERS = definitions.defaults()
# Dollars a GB for those 395 days: a month is 30.
STANDARD = 0.023 * 395 / 30
BY_HAND = {"STANDARD_IA": 0.023 + 0.0125 * 365 / 30, "GLACIER_IR": 0.023 + 0.004 * 365 / 30}
# A transition, and the event that the bucket sends of it.
ONCE = {"STANDARD_IA": 0.000011, "GLACIER_IR": 0.000021}


def keeping(megabytes: float, name: str, **days: str) -> float:
    return cold_storage.price_of_keeping(megabytes, PARAMETERS | {"ColdStorageClass": name} | days)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_picture_is_a_month_in_standard_then_pays_a_transition_and_less(name: str) -> None:
    assert keeping(2, "none") == pytest.approx(2 / 1024 * STANDARD)
    assert keeping(2, name) == pytest.approx(2 / 1024 * BY_HAND[name] + ONCE[name])


def test_the_bill_has_it_and_nothing_else_changes() -> None:
    parameters = definitions.parameters("prod")
    usual, cold = (
        {line.name: line.per_image for line in cost.bill(cost.Load(), parameters | {"ColdStorageClass": name})}
        for name in ("none", "GLACIER_IR")
    )
    assert {name for name in usual if usual[name] != cold[name]} == {"S3 storage"}
    assert cold["S3 storage"] == pytest.approx(2 / 1024 * BY_HAND["GLACIER_IR"] + ONCE["GLACIER_IR"])


@pytest.mark.parametrize("name", BY_HAND)
def test_s3_leaves_small_pictures_where_they_are(name: str) -> None:
    assert keeping(128 / 1024, name) == keeping(128 / 1024, "none")
    assert keeping(129 / 1024, name) < keeping(129 / 1024, "none")


def test_what_goes_before_the_least_days_pays_for_all_of_them() -> None:
    """31 days of retention, 30 as an old version: 31 in the class, which charges 90."""
    short = {"ImageRetentionDays": "31"}
    assert keeping(2, "GLACIER_IR", **short) == pytest.approx(2 / 1024 * (0.023 + 0.004 * 3) + ONCE["GLACIER_IR"])
    assert keeping(2, "STANDARD_IA", **short) == pytest.approx(
        2 / 1024 * (0.023 + 0.0125 * 31 / 30) + ONCE["STANDARD_IA"]
    )


@pytest.mark.parametrize("days", ["90", "365", "3650"])
@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.name)
def test_from_the_smallest_size_that_is_named_it_pays(one: cold_storage.ColdClass, days: str) -> None:
    parameters = PARAMETERS | {"ImageRetentionDays": days}
    (found,) = (found for found in compared(2, parameters) if found.name == one.name)
    for kilobytes, pays in ((found.smallest_kb * 0.99, False), (found.smallest_kb * 1.01, True)):
        (at,) = (at for at in compared(kilobytes / 1024, parameters) if at.name == one.name)
        assert (at.saved > 0) is pays


@pytest.mark.parametrize("megabytes", [0.2, 2, 15])
@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.name)
def test_after_the_days_that_are_named_it_has_paid(one: cold_storage.ColdClass, megabytes: float) -> None:
    """Whoever deletes a picture a day earlier would have paid less in STANDARD."""
    (found,) = (found for found in compared(megabytes, PARAMETERS) if found.name == one.name)
    days = int(found.pays_after_days)

    def dearer(days_there: int) -> bool:
        charged = max(days_there, one.minimum_days)
        cold = megabytes / 1024 * one.unit("storage_gb_month") * charged / 30 + ONCE[one.name]
        return cold > megabytes / 1024 * 0.023 * days_there / 30

    assert dearer(days - 1)
    assert not dearer(days)


def test_looks_use_up_what_it_saves() -> None:
    """6.3 looks at 2 MB in GLACIER_IR: $0.03 a GB and $0.00001 a request."""
    (found,) = (found for found in compared(2, PARAMETERS) if found.name == "GLACIER_IR")
    assert found.looks * (2 / 1024 * 0.03 + 0.00001) == pytest.approx(found.saved)
    assert math.floor(found.looks) == 6


def test_the_document_has_the_table_that_the_command_prints() -> None:
    document = (REPOSITORY / "docs" / "cost.md").read_text()
    for row in cost_output.cold_rows(2, definitions.parameters("prod")):
        assert f"| {' | '.join(row)} |" in document
