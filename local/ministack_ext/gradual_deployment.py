"""A gradual deployment: traffic moves to the new version step by step, and back as soon as an alarm rings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ministack.services import cloudformation

from local.ministack_ext.alarms import CLOCK_MINUTE_SECONDS, ringing

# How often the alarms are looked at, in seconds; AWS does it every few seconds.
_PAUSE_SECONDS = 0.2


class DeploymentError(ValueError):
    """The deployment failed, and the traffic is where it was before."""


def steps(kind: str, percentage: int) -> list[int]:
    """The shares of the new version in percent, one after another; kind is ALL_AT_ONCE, CANARY or LINEAR."""
    if kind == "ALL_AT_ONCE":
        return [100]
    if kind == "CANARY":
        return [percentage, 100]
    return [*range(percentage, 100, percentage), 100]


def shift(
    give: Callable[[int], None], shares: Sequence[int], interval: float, alarms: Sequence[str], stack: str
) -> None:
    """Give the new version its shares, with `interval` minutes (of CLOCK_MINUTE_SECONDS, as of alarms) between them.

    `give(0)` must bring everything back to the old version. An alarm that rings, also one that already did, or a
    cancelled update of the stack ends the deployment with DeploymentError. An alarm that does not exist never rings.
    """
    try:
        _stop_if_needed(alarms, stack)
        for share in shares:
            give(share)
            until = time.monotonic() + (interval * CLOCK_MINUTE_SECONDS if share < 100 else 0)
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(_PAUSE_SECONDS, left))
                _stop_if_needed(alarms, stack)
    except DeploymentError:
        give(0)
        raise


def goes_back(stack: str) -> bool:
    """Whether the stack is on its way back from a failed update: then nothing shifts gradually."""
    return "ROLLBACK" in str((cloudformation._stacks.get(stack) or {}).get("StackStatus"))


def _stop_if_needed(alarms: Sequence[str], stack: str) -> None:
    found = ringing(list(alarms))
    if found:
        raise DeploymentError(f"The deployment was rolled back: in ALARM: {', '.join(found)}")
    if (cloudformation._stacks.get(stack) or {}).get("_cancel_requested"):
        raise DeploymentError("The deployment was rolled back: the update of the stack was cancelled")
