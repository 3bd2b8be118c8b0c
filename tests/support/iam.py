"""Policies of IAM, evaluated: whether statements permit a call, with the keys of its context."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from tests.support.definitions import words

Statement = dict[str, Any]
Context = dict[str, str]


def is_like(value: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in patterns)


def holds(conditions: dict[str, dict[str, Any]], context: Context) -> bool:
    """Whether all conditions hold. A key that the request does not have makes `Not` true, and anything else false."""
    for operator, keys in conditions.items():
        for key, expected in keys.items():
            value, wanted = context.get(key), words(expected)
            match operator:
                case "StringEquals" | "ArnEquals" | "ArnLike" | "StringLike":
                    exact = operator == "StringEquals"
                    if value is None or not (value in wanted if exact else is_like(value, wanted)):
                        return False
                case "StringNotEquals":
                    if value in wanted:
                        return False
                case _:
                    raise AssertionError(f"the evaluator does not know {operator}")
    return True


def applies(statement: Statement, action: str, resource: str, context: Context) -> bool:
    if "NotAction" in statement:
        of_action = not is_like(action, words(statement["NotAction"]))
    else:
        of_action = is_like(action, words(statement["Action"]))
    if "NotResource" in statement:
        of_resource = not is_like(resource, words(statement["NotResource"]))
    else:
        of_resource = is_like(resource, words(statement.get("Resource", "*")))
    return of_action and of_resource and holds(statement.get("Condition", {}), context)


def permits(statements: list[Statement], action: str, resource: str, **context: str) -> bool:
    """One set of policies: a Deny wins. Keys of the context have `__` for `:`."""
    keys = {key.replace("__", ":"): value for key, value in context.items()}
    hits = {s["Effect"] for s in statements if applies(s, action, resource, keys)}
    return hits == {"Allow"}
