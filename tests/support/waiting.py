"""Waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

IMAGE_SECONDS = 40.0  # far more than one picture needs, also on a busy machine


def wait_for(probe: Callable[[], T], seconds: float, pause: float = 0.05) -> T:
    """The first truthy value of `probe`, or its last value when the time is over."""
    deadline = time.monotonic() + seconds
    while not (value := probe()) and time.monotonic() < deadline:
        time.sleep(pause)
    return value


def eventually(probe: Callable[[], T | None], what: str, seconds: float = IMAGE_SECONDS) -> T:
    """The first truthy value of `probe`; an AssertionError that names `what` when there is none in time."""
    value = wait_for(probe, seconds)
    if not value:
        raise AssertionError(f"not in {seconds:.0f} s: {what}")
    return value
