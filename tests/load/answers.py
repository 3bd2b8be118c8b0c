"""Which answer is right, which is an error, and which asks to try again; and what is sent. Standard library only."""

from __future__ import annotations

import itertools
import json
import random
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PHOTOS = Path(__file__).resolve().parents[2] / "photos"
LARGEST_PHOTO = 60_000  # bytes: sending must not be what takes the time

THROTTLED_ATTEMPTS = 60
LONGEST_PAUSE = 8.0  # seconds between two attempts


@dataclass(frozen=True)
class Expected:
    """An answer by its status, and a refusal also by the code in its body (docs/api.md)."""

    status: int
    code: str = ""

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()

    def problem(self, status: int, body: bytes) -> str:
        """What is wrong with an answer; empty when it is the expected one. Status 0: there was none."""
        code = code_of(body) if status >= 400 else ""
        if (status, code) == (self.status, self.code):
            return ""
        came = f"{status} {code or 'without a code'}" if status >= 400 else str(status or "no answer")
        return f"{came} instead of {self}"


FORM, ACCEPTED, STORED, OK = Expected(201), Expected(202), Expected(204), Expected(200)


@dataclass(frozen=True)
class Refused:
    """A request that the API must refuse. `body` is sent as it is; without one the request is a GET of `path`."""

    name: str
    expected: Expected
    path: str = "/upload"
    body: bytes | None = None
    key: str | None = ""  # None: the right one; "": none


def code_of(body: bytes) -> str:
    """The code in the body of a refusal: the API's in JSON, S3's in XML; empty when there is none."""
    try:
        document = json.loads(body)
    except ValueError:
        found = re.search(rb"<Code>(\w+)</Code>", body)
        return found[1].decode() if found else ""
    return str(document.get("code") or "") if isinstance(document, dict) else ""


def asks_to_wait(status: int, body: bytes) -> bool:
    """Whether the same request may pass in a moment: throttled, but not because the day's quota is used up."""
    return status == 429 and code_of(body) != "QUOTA_EXCEEDED"


def pause_before(attempt: int, headers: Mapping[str, str]) -> float:
    """Seconds to wait before the next attempt, the first being 1: what the server says, else longer and longer."""
    said = headers.get("Retry-After", "")
    if said.isdigit():
        return min(float(said), LONGEST_PAUSE) + random.uniform(0, 0.5)
    return random.uniform(0.1, min(0.5 * 2**attempt, LONGEST_PAUSE))


def refusals() -> list[Refused]:
    """The requests of a hostile client, but for the slow ones. The large bodies are made once and not changed."""
    announcement = {"fileName": "hostile.jpg", "contentType": "image/jpeg"}
    plain = json.dumps(announcement).encode()
    inline = json.dumps({**announcement, "image": ""}).encode()[:-2]
    return [
        Refused("no key", Expected(403, "INVALID_API_KEY"), "/images"),
        Refused("wrong key", Expected(403, "INVALID_API_KEY"), body=plain, key=uuid.uuid4().hex),
        Refused("broken JSON", Expected(400, "INVALID_BODY"), body=plain[:-1], key=None),
        Refused("unknown field", Expected(400, "INVALID_BODY"), body=plain[:-1] + b', "admin": true}', key=None),
        Refused("unknown image", Expected(404, "IMAGE_NOT_FOUND"), f"/images/{'0' * 32}", key=None),
        # In base64: 4.3 MB decoded, 5.7 MB as sent, which is more than the API takes and less than Lambda does.
        Refused("inline 4.3 MB", Expected(413, "TOO_LARGE"), body=inline + b"A" * 5_733_332 + b'"}', key=None),
        Refused("body of 11 MB", Expected(413, "REQUEST_TOO_LARGE"), body=inline + b"A" * 11_534_336 + b'"}', key=None),
    ]


class Pictures:
    """JPEGs of photos/, each time with other bytes, so that no earlier analysis is reused."""

    def __init__(self, images: int, folder: Path = PHOTOS) -> None:
        self.left = images
        photos = [file for file in sorted(folder.glob("*.jpg")) if file.stat().st_size <= LARGEST_PHOTO]
        self._photos = itertools.cycle([(file.name, file.read_bytes()) for file in photos])

    def next(self) -> tuple[str, bytes] | None:
        """A file name and its bytes; None when as many are given out as there may be."""
        if self.left <= 0:
            return None
        self.left -= 1
        name, data = next(self._photos)
        comment = uuid.uuid4().bytes
        return name, data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
