"""docs/security.md: every threat is answered by a test that exists, or by a risk that is accepted until a day; the
table of toggles has every one of the template, and no other."""

from __future__ import annotations

import ast
import re
from datetime import UTC, date, datetime

import pytest

from tests.support.definitions import source
from tests.support.paths import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "security.md"
_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::(\w+))?`")
_ACCEPTED = re.compile(r"accepted until (\d{4}-\d{2}-\d{2})", re.IGNORECASE)


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without its head."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


THREATS = rows("Threats")


@pytest.mark.parametrize("threat", THREATS, ids=[row[2][:60] for row in THREATS])
def test_every_threat_has_a_test_that_exists_or_a_risk_that_somebody_accepted(threat: list[str]) -> None:
    answer = threat[-1]
    tests, accepted = _TEST.findall(answer), _ACCEPTED.findall(answer)
    assert tests or accepted, answer
    for path, name in tests:
        assert (REPOSITORY / path).is_file(), path
        functions = {
            node.name
            for node in ast.walk(ast.parse((REPOSITORY / path).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        assert not name or name in functions, f"{path}::{name}"
    for day in accepted:
        assert date.fromisoformat(day) >= datetime.now(UTC).date(), f"{day} has passed: look at this risk again"


def test_the_table_of_toggles_names_every_parameter_that_protects_something() -> None:
    named = {name for row in rows("Toggles") for name in re.findall(r"`(\w+)`", row[0])}
    parameters = source()["Parameters"]
    assert named <= parameters.keys()
    switches = {
        name for name, parameter in parameters.items() if {"true", "false"} <= set(parameter.get("AllowedValues", []))
    }
    assert switches <= named
