"""Templates as SAM reads them: one loader for all tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

with warnings.catch_warnings():  # of the tool itself, which the tests do not judge
    warnings.simplefilter("ignore")
    from samtranslator.yaml_helper import yaml_parse

from .paths import REPOSITORY as REPOSITORY


def load(file: Path) -> dict[str, Any]:
    """A template as it is written: intrinsic functions as `{"Fn::Name": value}`, anchors and merge keys resolved."""
    template: dict[str, Any] = yaml_parse(file.read_text())
    return template
