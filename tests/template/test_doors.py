"""Whatever can grant, lend, export or inject is named once, with its value and a reason: doors.yaml."""

from __future__ import annotations

import pytest

from tests.support.definitions import ROOT, templates

from . import doors


def test_doors_are_as_they_are_named() -> None:
    assert doors.faults(templates()) == []


def test_every_door_has_a_reason() -> None:
    for reason, named in doors.table().items():
        assert len(reason) > 20, reason
        assert named, reason


def test_every_template_is_asked() -> None:
    assert templates().keys() >= {ROOT, "observability", "dashboards", "dead_letters", "burn_rates"}


def test_every_type_is_used() -> None:
    """A type that is allowed and not used would let a new resource pass unnoticed."""
    used = {resource["Type"] for content in templates().values() for resource in content["Resources"].values()}
    assert set(doors.TYPES) == used


@pytest.mark.parametrize("door", doors.named())
def test_door_that_is_not_named_or_has_another_value_fails(door: str) -> None:
    """Else the list would prove nothing about this one."""
    known = doors.named()
    del known[door]
    assert doors.faults(templates(), known)
    assert doors.faults(templates(), known | {door: ["another"] if "::" in door else "another"})
