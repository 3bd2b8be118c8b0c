"""The README names what a user can set and run."""

from __future__ import annotations

import re

import pytest

from .shipped import REPOSITORY, source

README = (REPOSITORY / "README.md").read_text()
MAKE_TARGETS = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("parameter", source()["Parameters"])
def test_readme_names_the_parameter(parameter: str) -> None:
    assert re.search(rf"\b{parameter}\b", README)


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_readme_names_the_make_target(target: str) -> None:
    assert re.search(rf"\bmake ([a-z]+ )*{target}\b", README)
