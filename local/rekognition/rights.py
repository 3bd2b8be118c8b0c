"""Asks the local AWS what a caller may do: Rekognition works with its caller's rights, as on AWS."""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass

_SECONDS = 10.0


@dataclass(frozen=True)
class Caller:
    """Who signed a request, as its headers say: an access key, and a session token unless the key is a lasting one."""

    key: str
    token: str

    @staticmethod
    def of(authorization: str, token: str) -> Caller:
        """The caller of a request with these headers; without a signature one whom nothing is allowed."""
        named = re.search(r"Credential=([^/,\s]+)/", authorization)
        return Caller(named[1] if named else "unsigned", token)


class Rights:
    """What callers may do, according to the local AWS at `endpoint`: it looks at key and token, at no signature."""

    def __init__(self, endpoint: str):
        self._url = f"{endpoint}/_local/rights"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def refusals(self, caller: Caller, rights: list[tuple[str, str]]) -> list[str | None]:
        """For each right, an action and its resource, None or AWS's sentence of refusal.

        Raises OSError when the local AWS does not answer.
        """
        question = json.dumps({"key": caller.key, "token": caller.token, "rights": rights}).encode()
        with self._opener.open(self._url, question, timeout=_SECONDS) as answer:
            refusals: list[str | None] = json.load(answer)["refusals"]
            return refusals
