"""A client of the application's API, as small as the API allows: the demonstration's, and an example to copy."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import requests

REQUEST_SECONDS = 60.0
# Between two attempts of a throttled call, in seconds: at most the first, then twice as much each time, up to the last.
FIRST_PAUSE, LAST_PAUSE = 0.5, 5.0
THROTTLED_ATTEMPTS = 30  # a minute or more


class RefusedError(Exception):
    """The API or S3 said no; `code` is its own word for why, `message` its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class ApiClient:
    """Talks to the API at `url` with an API key. When it is throttled, waits a little longer each time and tries again.

    Its methods raise RefusedError when the service says no, and OSError when it cannot be reached.
    """

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key

    def upload(self, file_name: str, content_type: str, content: bytes) -> str:
        """Upload a picture through a presigned form and return its image id."""
        ticket = self._json("POST", "/upload", {"fileName": file_name, "contentType": content_type})
        form = ticket["upload"]
        # The fields that S3 signed come first, the file last: S3 ignores what follows it.
        self._send("POST", form["url"], data=form["fields"], files={"file": ("picture", content)})
        return str(ticket["imageId"])

    def image(self, image_id: str) -> dict[str, Any]:
        """The record of an image."""
        return self._json("GET", f"/images/{image_id}")

    def _json(self, verb: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self._send(verb, self.url + path, headers={"x-api-key": self.key}, json=document)
        )
        return answer

    def _send(self, verb: str, url: str, **content: Any) -> bytes:
        pause = FIRST_PAUSE
        for _ in range(THROTTLED_ATTEMPTS):
            with requests.Session() as session:
                session.trust_env = False  # the API is on this machine: no proxy knows it
                answer = session.request(verb, url, timeout=REQUEST_SECONDS, **content)
            if answer.ok:
                return bytes(answer.content)
            refusal = _refusal(answer.status_code, answer.content.decode(errors="replace"))
            if refusal.status != 429 or refusal.code == "QUOTA_EXCEEDED":  # waiting helps against the first alone
                raise refusal
            # At random, so that clients who were refused together do not come back together.
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - a delay, not a secret
            pause = min(2 * pause, LAST_PAUSE)
        raise refusal


def _refusal(status: int, body: str) -> RefusedError:
    """The API answers errors in JSON, S3 in XML."""
    try:
        document = json.loads(body)
        return RefusedError(status, document.get("code") or f"HTTP_{status}", str(document.get("message")))
    except (ValueError, AttributeError):
        code, message = (re.search(rf"<{tag}>(.+?)</{tag}>", body) for tag in ("Code", "Message"))
        return RefusedError(status, code[1] if code else f"HTTP_{status}", message[1] if message else body[:300])
