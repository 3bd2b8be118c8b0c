"""Text from outside, made fit for people: file names, causes of errors."""

from __future__ import annotations

import json
import re

_ERROR_MESSAGE = re.compile(r'"errorMessage"\s*:\s*("(?:[^"\\]|\\.)*")')


def message_of(cause: str) -> str:
    """The sentence in a Lambda function's error output, which Step Functions hands on as JSON; else the text itself.

    The state machine cuts the text, mostly in the stack trace, so it is no whole document.
    """
    found = _ERROR_MESSAGE.search(cause)
    try:
        return str(json.loads(found[1])) if found else cause
    except ValueError:
        return cause


def printable(text: str, length: int = 300) -> str:
    """`text` without control and direction characters, cut to `length`: file names and causes come from outside."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"
