"""CloudWatch Logs' filter patterns for JSON lines, as far as the stacks use them.

`&&` binds closer than `||`. A comparison with a field that the line does not have is false, `!=` too: the stricter
reading of AWS's documents, so that no test relies on the other one.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Any

_TOKEN = re.compile(r'\s*(\(|\)|&&|\|\||"[^"]*"|!=|=|\$[\w.\[\]]*|NOT EXISTS|EXISTS|IS TRUE|IS FALSE|\S+)')
_MISSING = object()


def matches(pattern: str, line: dict[str, Any]) -> bool:
    """Whether a filter pattern `{ ... }` takes a log line. ValueError: the pattern has something unknown."""
    text = pattern.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"not a pattern for JSON: {pattern}")
    tokens = _TOKEN.findall(text[1:-1].strip())
    found = _any(tokens, line)
    if tokens:
        raise ValueError(f"left over: {tokens}")
    return found


def _any(tokens: list[str], line: dict[str, Any]) -> bool:
    found = _all(tokens, line)
    while tokens and tokens[0] == "||":
        tokens.pop(0)
        found = _all(tokens, line) or found
    return found


def _all(tokens: list[str], line: dict[str, Any]) -> bool:
    found = _one(tokens, line)
    while tokens and tokens[0] == "&&":
        tokens.pop(0)
        found = _one(tokens, line) and found
    return found


def _one(tokens: list[str], line: dict[str, Any]) -> bool:
    first = tokens.pop(0)
    if first == "(":
        found = _any(tokens, line)
        if tokens.pop(0) != ")":
            raise ValueError("a parenthesis is not closed")
        return found
    if not first.startswith("$."):
        raise ValueError(f"not a field: {first}")
    value, operator = _field(first, line), tokens.pop(0)
    match operator:
        case "NOT EXISTS":
            return value is _MISSING
        case "EXISTS":
            return value is not _MISSING
        case "IS TRUE" | "IS FALSE":
            return value is (operator == "IS TRUE")
        case "=" | "!=":
            expected = tokens.pop(0)
            if not (expected.startswith('"') and expected.endswith('"')):
                raise ValueError(f"not a text: {expected}")
            if not isinstance(value, str):
                return False
            return fnmatch.fnmatchcase(value, expected.strip('"')) is (operator == "=")
    raise ValueError(f"not an operator: {operator}")


def _field(path: str, line: dict[str, Any]) -> Any:
    value: Any = line
    for name, index in re.findall(r"(\w+)|\[(\d+)\]", path.removeprefix("$.")):
        if name and isinstance(value, dict):
            value = value.get(name, _MISSING)
        elif index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return _MISSING
    return value
