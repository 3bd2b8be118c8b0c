"""A client of the application's API, as small as the API allows: the demonstration's, and an example to copy."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from typing import Any

REQUEST_SECONDS = 60.0
THROTTLED_ATTEMPTS = 60  # half a second apart


class RefusedError(Exception):
    """The API or S3 said no; `code` is its own word for why, `message` its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class ApiClient:
    """Talks to the API at `url` with an API key. Waits and tries again when it is throttled."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        # The API is on this machine: no proxy knows it.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def upload(self, file_name: str, content_type: str, content: bytes) -> str:
        """Upload a picture through a presigned form and return its image id.

        Raises RefusedError when the API or the form does not take it.
        """
        ticket = self._json("POST", "/upload", {"fileName": file_name, "contentType": content_type})
        form = ticket["upload"]
        body, boundary = _multipart(form["fields"], content)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._send(urllib.request.Request(form["url"], body, headers, method="POST"))  # noqa: S310 - from our own API
        return str(ticket["imageId"])

    def image(self, image_id: str) -> dict[str, Any]:
        """The record of an image."""
        return self._json("GET", f"/images/{image_id}")

    def _json(self, verb: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"x-api-key": self.key, "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.url + path, body, headers, method=verb)  # noqa: S310 - http or https
        answer: dict[str, Any] = json.loads(self._send(request))
        return answer

    def _send(self, request: urllib.request.Request) -> bytes:
        for _ in range(THROTTLED_ATTEMPTS):
            try:
                with self._opener.open(request, timeout=REQUEST_SECONDS) as answer:
                    content: bytes = answer.read()
                    return content
            except urllib.error.HTTPError as error:
                with error:
                    refusal = _refusal(error.code, error.read().decode(errors="replace"))
            if refusal.status != 429 or refusal.code == "QUOTA_EXCEEDED":  # waiting helps against the first alone
                raise refusal
            time.sleep(0.5)
        raise refusal


def _multipart(fields: dict[str, str], content: bytes) -> tuple[bytes, str]:
    """A form's body and its boundary: the fields S3 signed, then the file, which must come last."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file_head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="picture"\r\n\r\n'.encode()
    return b"".join([*parts, file_head, content, f"\r\n--{boundary}--\r\n".encode()]), boundary


def _refusal(status: int, body: str) -> RefusedError:
    """The API answers errors in JSON, S3 in XML."""
    try:
        document = json.loads(body)
        return RefusedError(status, document.get("code") or f"HTTP_{status}", str(document.get("message")))
    except (ValueError, AttributeError):
        code, message = (re.search(rf"<{tag}>(.+?)</{tag}>", body) for tag in ("Code", "Message"))
        return RefusedError(status, code[1] if code else f"HTTP_{status}", message[1] if message else body[:300])
