"""Environment variables, read when they are needed, so that a function asks only for its own."""

from __future__ import annotations

import os

from pet_detector.rules.errors import SettingMissingError


def required(name: str) -> str:
    """Value of the environment variable `name`. Raises SettingMissingError when it is missing or empty."""
    value = os.environ.get(name, "")
    if not value:
        raise SettingMissingError(f"Environment variable {name} is not set; template.yaml gives it to this function.")
    return value


def optional(name: str) -> str:
    """Value of the environment variable `name`, empty when it is missing: of those that Lambda sets, or not."""
    return os.environ.get(name, "")
