"""Who changed the numbers of the decision, when and why: told by the description of each version of the parameter.

AWS Systems Manager keeps the last 100 versions, each with its value, its time, the identity that wrote it and its
description, and forgets the oldest for the next one; but not one that has a label, and then takes no next one.
For a change by the page that identity is a function's role, so the person's name is in the description.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pet_detector.rules.errors import PolicyInvalidError, RequestError
from pet_detector.rules.policy import Policy
from pet_detector.rules.text import printable

# The first words of the description that template.yaml gives the parameter.
OF_THE_TEMPLATE = "Numbers of the decision"
DEPLOYMENT = "a deployment wrote the numbers of the stack's parameters"
# Characters of a reason, and of a name: both and the time fit into the 1,024 of a description.
REASON_LENGTH = 500
NAME_LENGTH = 200

_DESCRIPTION = re.compile(r"Set by (?P<by>.+?) at (?P<at>\d{4}-\d\d-\d\dT[0-9:.]+Z): (?P<because>.*)", re.DOTALL)


@dataclass(frozen=True)
class Version:
    """A version of the parameter, as Systems Manager keeps it. `at` is RFC 3339 UTC; `writer` an ARN."""

    number: int
    value: str
    at: str
    writer: str
    description: str


@dataclass(frozen=True)
class Change:
    """A version as people read it. `policy` is None when the value is none; `because` is empty when nobody said why."""

    number: int
    policy: Policy | None
    by: str
    at: str
    because: str


def changes(versions: Iterable[Version]) -> list[Change]:
    """The history, newest first. Raises nothing: what cannot be read is shown as it is.

    Of a history that is not whole any more the oldest version is left out: whether its words are its own, the one
    before it would tell.
    """
    kept = sorted(versions, key=lambda one: one.number)
    found = [_change(one, before.description) for before, one in itertools.pairwise(kept)]
    if kept and (kept[0].number == 1 or not found):
        found.insert(0, _change(kept[0], ""))
    return found[::-1]


def _change(version: Version, before: str) -> Change:
    by, because = re.split("[:/]", version.writer)[-1], version.description
    if version.description == before:  # whoever writes a value alone keeps the words of somebody else
        because = ""
    elif version.description.startswith(OF_THE_TEMPLATE):
        because = DEPLOYMENT
    elif told := _DESCRIPTION.fullmatch(version.description):
        by, because = told["by"], told["because"]
    try:
        policy = Policy.from_json(version.value)
    except PolicyInvalidError:
        policy = None
    return Change(version.number, policy, by, version.at, because)


def description(by: str, at: str, because: str) -> str:
    """What the parameter's new version says of itself. The time keeps two changes with one reason apart.

    Raises RequestError when there is no reason, or a very long one.
    """
    reason = printable(because, REASON_LENGTH + 1).strip()
    if len(reason) < 3 or len(reason) > REASON_LENGTH:
        raise RequestError(400, "REASON_MISSING", f"Say why, in 3 to {REASON_LENGTH} characters.")
    return f"Set by {printable(by, NAME_LENGTH) or 'somebody'} at {at}: {reason}"


def with_numbers(current: Policy | None, numbers: Mapping[str, Any]) -> Policy:
    """The policy with some of its numbers replaced. Raises RequestError when there is no such policy."""
    names = [field.name for field in dataclasses.fields(Policy)]
    known = dataclasses.asdict(current) if current else {}
    if unknown := sorted(numbers.keys() - set(names)):
        raise RequestError(400, "POLICY_INVALID", f"{unknown[0]} is no number of the policy: give {', '.join(names)}.")
    try:
        return Policy(**(known | dict(numbers)))
    except TypeError:
        raise RequestError(
            400, "POLICY_INVALID", f"The parameter cannot be read now, so give every number: {', '.join(names)}."
        ) from None
    except PolicyInvalidError as error:
        raise RequestError(400, "POLICY_INVALID", str(error)) from None


def changed(current: Policy | None, numbers: Mapping[str, Any]) -> Policy:
    """The same. Raises RequestError also when nothing changes."""
    policy = with_numbers(current, numbers)
    if policy == current:
        raise RequestError(409, "NOTHING_CHANGES", "The policy has these numbers already.")
    return policy


def before_last(history: list[Change], last: int | None = None) -> Policy:
    """The numbers that were in force before the last change. Raises RequestError when there were none.

    Also when the last change has another number than `last`: somebody has seen another one.
    """
    if last not in (None, history[0].number):
        raise RequestError(409, "POLICY_CHANGED", "The policy was changed since: look at it again.")
    for change in history[1:]:
        if change.policy and change.policy != history[0].policy:
            return change.policy
    raise RequestError(409, "NOTHING_TO_TAKE_BACK", "There is no earlier policy: set the numbers that you want.")


def value(policy: Policy) -> str:
    """What the parameter holds. A number that has a default is left out at it: earlier releases can read that."""
    defaults = {field.name: field.default for field in dataclasses.fields(Policy)}
    return json.dumps({name: number for name, number in dataclasses.asdict(policy).items() if number != defaults[name]})
