"""Makes text from outside, such as file names and causes of errors, fit to be shown."""

from __future__ import annotations

import json
import re

# Characters of a text from outside that are shown.
PRINTED = 300

# What makes a link of a text in a mail: dots (also those that browsers take for one), colons. A picture's own extension
# may stay: there is no such top-level domain.
_LINKING = re.compile(r"[.:\u3002\uff0e\uff61](?!(?:jpe?g|png)$)", re.IGNORECASE)
# Characters of a file name that are shown in a mail.
MAILED = 80

_ERROR_MESSAGE = re.compile(r'"errorMessage"\s*:\s*("(?:[^"\\]|\\.)*")')
# Step Functions could not evaluate an expression of the state machine.
_UNEVALUATED = "States.QueryEvaluationError"


def message_of(cause: str, error: str = "") -> str:
    """The sentence in the cause of a Step Functions error that says what happened; else the text itself.

    A Lambda function's error output is handed on as JSON. It may be cut, mostly in the stack trace, so it is not always
    valid JSON. The cause of a QueryEvaluationError begins with the whole expression: only its end says what is wrong.
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


def quoted(name: str) -> str:
    """A file name for a mail: in quotes, cut to MAILED characters, and nothing in it becomes a link.

    The sender is AWS, and who uploads chooses the name: `evil.com/login` shows as "evil[.]com/login".
    """
    unlinked = _LINKING.sub(r"[\g<0>]", printable(name, MAILED))
    return f'"{unlinked}"'
