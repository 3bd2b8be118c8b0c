"""Sends pictures through the API, as a client does, and follows each to its end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.api_client import ApiClient, RefusedError

IMAGE_SECONDS = 120.0  # from sending a picture to its end; far more than the workflow ever needs here
# A form takes 15 MB. A file beyond this size is not sent just to hear so.
LARGEST_SENT_BYTES = 64 * 1024 * 1024

# After these nothing happens today: a held image waits for tomorrow, or for `petdetect release`.
FINAL = {"completed", "needs_review", "rejected", "failed", "held"}

# What S3 says when it refuses the picture in a form, in the words of the workflow's reason codes.
_REFUSALS = {"EntityTooLarge": "TOO_LARGE", "EntityTooSmall": "EMPTY"}

_TYPES = {f".{name}": f"image/{name}" for name in ("png", "webp", "avif", "heic", "heif")}


@dataclass
class Outcome:
    """What became of one picture. `status` is its record's, or `stuck`; `image_id` is empty when it got none."""

    name: str
    status: str
    milliseconds: int = 0
    reason_code: str = ""
    remark: str = ""
    image_id: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str | None:
        """The folder the picture lies in, as its S3 location says; None when it lies nowhere."""
        location = self.record.get("location") or ""
        return location.removeprefix("s3://").split("/")[1] if location.count("/") >= 4 else None

    @property
    def reason(self) -> str:
        """Why it ended as its status says, if that needs a reason."""
        return ", ".join(filter(None, [self.reason_code, self.remark]))


class Sender:
    """Sends pictures through the API and follows each to its end."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._finished = 0
        self.stopped = threading.Event()

    def process(self, file: Path, name: str) -> Outcome:
        """Upload one file and wait for its end; `name` is what a person calls it."""
        name = name.encode(errors="replace").decode()  # a name that is not UTF-8 cannot be said in JSON
        if self.stopped.is_set():
            return Outcome(name, "stuck", remark="not sent, because others are stuck")
        start = time.monotonic()
        try:
            if file.stat().st_size > LARGEST_SENT_BYTES:
                return Outcome(name, "rejected", reason_code="TOO_LARGE", remark="not sent")
            image_id = self._api.upload(Path(name).name, _declared_type(file), file.read_bytes())
        except RefusedError as refusal:
            if refusal.code in _REFUSALS:
                code = _REFUSALS[refusal.code]
                return Outcome(name, "rejected", _milliseconds(start), code, "refused at upload")
            return Outcome(name, "failed", _milliseconds(start), refusal.code, refusal.message)
        except OSError as error:
            reason = getattr(error, "strerror", None) or error
            return Outcome(name, "failed", _milliseconds(start), remark=f"cannot be read or sent: {reason}")
        return self._follow(name, image_id, start)

    def _follow(self, name: str, image_id: str, start: float) -> Outcome:
        pause = 0.1
        remark = f"{image_id} was not looked at"
        finished_before = self._finished
        while time.monotonic() - start < IMAGE_SECONDS and not self.stopped.wait(pause):
            pause = min(pause * 1.2, 0.5)
            try:
                record = self._api.image(image_id)
            except (RefusedError, OSError) as error:
                if isinstance(error, RefusedError) and error.status < 500:
                    return Outcome(name, "failed", _milliseconds(start), error.code, error.message, image_id)
                remark = f"{image_id} cannot be looked at: {error}"  # for now
                continue
            if record["status"] in FINAL:
                code = record.get("reasonCode") or ""
                self._finished += 1
                return Outcome(name, record["status"], _milliseconds(start), code, "", image_id, record)
            remark = f"{image_id} is still {record['status']}"
        if self._finished == finished_before:  # nothing moves any more: do not wait for each picture in turn
            self.stopped.set()
        return Outcome(name, "stuck", _milliseconds(start), "", remark, image_id)


def _declared_type(file: Path) -> str:
    """What a client that goes by the name would declare; the workflow judges the bytes."""
    return _TYPES.get(file.suffix.lower(), "image/jpeg")


def _milliseconds(start: float) -> int:
    return round((time.monotonic() - start) * 1000)
