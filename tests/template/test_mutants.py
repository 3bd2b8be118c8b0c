"""The checks of this folder notice every weakening of mutants.py. Unmutated, they all pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest

from tests.support import definitions

from . import doors, test_least_privilege, test_permissions
from .mutants import MUTANTS


def checks() -> Iterator[Callable[[], object]]:
    """The checks, fastest first, of the templates that `definitions` speaks of now."""
    yield lambda: _none(doors.faults(definitions.templates()))
    for module in (test_permissions, test_least_privilege):
        for name, check in vars(module).items():
            if not name.startswith("test_"):
                continue
            marks = [mark for mark in getattr(check, "pytestmark", []) if mark.name == "parametrize"]
            if not marks:
                yield check
            for mark in marks:  # roles and functions of the mutant, not those that pytest has collected
                kind = {"role": "AWS::IAM::Role", "function": "AWS::Lambda::Permission"}.get(mark.args[0])
                if kind is None:  # not about the templates
                    continue
                yield from (lambda name=name, check=check: check(name) for name in definitions.resources(kind))


def _none(faults: list[str]) -> None:
    assert not faults


def noticed() -> bool:
    """Whether a check fails."""
    for check in checks():
        try:
            check()
        except Exception:
            return True
    return False


def test_nothing_is_noticed_of_the_templates_as_they_are() -> None:
    with definitions.instead(definitions.templates()):
        assert not noticed()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_noticed(mutant: str) -> None:
    mutated = copy.deepcopy(definitions.templates())
    MUTANTS[mutant](mutated)
    assert mutated != definitions.templates(), "this mutant changes nothing"
    with definitions.instead(mutated):
        assert noticed()
