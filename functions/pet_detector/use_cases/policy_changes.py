"""Change the numbers of the decision, with who, when and why kept: the same for the page and for petdetect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pet_detector.aws import policy_parameter
from pet_detector.aws.detection_logs import now
from pet_detector.rules import policy_changes as rules
from pet_detector.rules.policy import Policy
from pet_detector.rules.policy_changes import Change


def history(parameter: str) -> list[Change]:
    """The policy in force, and behind it those before, newest first. There is at least one."""
    return rules.changes(policy_parameter.versions(parameter))


def change(parameter: str, numbers: Mapping[str, Any], *, by: str, because: str) -> Policy:
    """Change some of the numbers -> the new policy. Raises RequestError, and then nothing was changed."""
    policy = rules.changed(history(parameter)[0].policy, numbers)
    _put(parameter, policy, by, because)
    return policy


def take_back(parameter: str, *, by: str, because: str, last: int | None = None) -> Policy:
    """Put the numbers from before the last change back, as a change of its own -> the policy.

    `last`: only if that change has this number. Raises RequestError, and then nothing was changed.
    """
    policy = rules.before_last(history(parameter), last)
    _put(parameter, policy, by, because)
    return policy


def _put(parameter: str, policy: Policy, by: str, because: str) -> None:
    policy_parameter.put(parameter, rules.value(policy), rules.description(by, now(), because))
