"""Text from outside, made fit for people: file names, causes of errors."""

from __future__ import annotations

import json
import re

# Characters of a text from outside that people are shown.
PRINTED = 300

_ERROR_MESSAGE = re.compile(r'"errorMessage"\s*:\s*("(?:[^"\\]|\\.)*")')


# Step Functions could not evaluate an expression of the state machine.
_UNEVALUATED = "States.QueryEvaluationError"


def message_of(cause: str, error: str = "") -> str:
    """The sentence in the cause of a Step Functions error that says what happened; else the text itself.

    A Lambda function's error output is handed on as JSON; it may be cut, mostly in the stack trace, so it is no whole
    document. The cause of a QueryEvaluationError begins with the whole expression: only its end says what is wrong.
    """
    if error == _UNEVALUATED:
        return cause if len(cause) <= PRINTED else f"…{cause[1 - PRINTED :]}"
    found = _ERROR_MESSAGE.search(cause)
    try:
        return str(json.loads(found[1])) if found else cause
    except ValueError:
        return cause


def printable(text: str, length: int = PRINTED) -> str:
    """`text` without control and direction characters, cut to `length`: file names and causes come from outside."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
