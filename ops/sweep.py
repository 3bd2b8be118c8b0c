"""Destroy the stacks of pull requests that are closed, and what is left of such stacks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from ops import belongings, destroy
from ops.destroy import Line
from ops.environment import PULL_REQUEST, STACK_PREFIX
from ops.errors import KNOWN, sentence

_STACK = re.compile(re.escape(STACK_PREFIX + PULL_REQUEST) + r"([1-9][0-9]*)(?![0-9a-z])")


@dataclass(frozen=True)
class Swept:
    """What became of the stack of a pull request: `stuck` is still there, `error` says what went wrong."""

    stack: str
    lines: list[Line]
    stuck: list[Line]
    error: str = ""


def closed(still_open: frozenset[int]) -> tuple[list[str], list[str]]:
    """Names of the stacks of pull requests that are not open any more: of those that are there, or that left something.

    A nested stack counts for the one that it is a part of. The second list: roles that may be a pull request's by their
    names, and whose tags the caller may not read.
    """
    prefix, denied = STACK_PREFIX + PULL_REQUEST, list[str]()
    stacks = belongings.stack_names(prefix) | {name for name, _ in belongings.tagged_resources(denied)}
    found = [match for name in stacks if (match := _STACK.match(name)) and belongings.is_of(name, match[0])]
    found += [match for name in belongings.names_beside(prefix) if (match := _STACK.match(name))]
    numbers = {int(match[1]) for match in found}
    unread = [role for role in denied if prefix.startswith(told := belongings.stack_in(role)) or _STACK.match(told)]
    return [f"{STACK_PREFIX}{PULL_REQUEST}{number}" for number in sorted(numbers - still_open)], unread


def sweep(stacks: list[str], say: Callable[[str], None]) -> list[Swept]:
    """Destroy them with their data; an error in one leaves the others alone."""
    results = []
    for stack in stacks:
        say(f"{stack}:")
        lines: list[Line] = []
        try:
            found = belongings.find(stack)
            lines = destroy.lines(found, with_data=True)
            destroy.refuse_if_changing(found)
            results.append(Swept(stack, lines, destroy.run(found, with_data=True, say=say)))
        except KNOWN as error:
            results.append(Swept(stack, lines, _left(stack, lines), sentence(error)))
    return results


def _left(stack: str, before: list[Line]) -> list[Line]:
    """What is still there after an error; all of it if nobody can say."""
    with contextlib.suppress(*KNOWN):
        before = destroy.lines(belongings.find(stack), with_data=True)
    return [line for line in before if line.goes]
