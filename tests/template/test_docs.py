"""The documents name what a user can set and run, and every function with its events."""

from __future__ import annotations

import re

import pytest

from docs import parameters
from tests.support.definitions import EVENTS, resources
from tests.support.paths import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
MAKE_TARGETS = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_document_of_parameters_is_that_of_the_template() -> None:
    assert parameters.DOCUMENT.read_text() == parameters.markdown(), "run: .venv/bin/python -m docs.parameters"


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_readme_names_the_make_target(target: str) -> None:
    assert re.search(rf"\bmake ([a-z]+ )*{target}\b", README)


def test_sam_local_names_every_function_with_its_events() -> None:
    """`invoke XFunction -e events/x_one.json   # also _two` names x_one and x_two."""
    named: dict[str, set[str]] = {}
    text = (REPOSITORY / "docs" / "sam_local.md").read_text()
    for function, event, comment in re.findall(r"^invoke (\w+) -e \S*events/(\w+)\.json(.*)$", text, re.MULTILINE):
        folder = re.sub(r"(?<!^)([A-Z])", r"_\1", function.removesuffix("Function")).lower()
        assert event.startswith(folder)
        named[function] = {event, *(folder + suffix for suffix in re.findall(r"(?<= )_\w+", comment))}
    assert set(named) == set(resources("AWS::Lambda::Function"))
    workflow_events = {"console_execution", "s3_object_created"}
    assert set().union(*named.values()) == {file.stem for file in EVENTS.iterdir()} - workflow_events
