"""What Locust's run leaves for the summary, a line of JSON for each request and each image. Standard library only."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """A request and its answer. `name` is what the table calls it; `error` says what was wrong, or is empty."""

    name: str
    at: float  # when it was sent, in seconds since 1970
    milliseconds: float
    error: str = ""
    throttled: bool = False  # answered 429, and sent again


@dataclass(frozen=True)
class Image:
    """An image that was accepted: answered 202, or its form 204."""

    image_id: str
    at: float  # when, in seconds since 1970


class Ledger:
    """Writes requests and images to a file as they come."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_text("")

    def add(self, entry: Request | Image) -> None:
        """Write an entry at once: an interrupted run leaves what it saw."""
        with self._file.open("a") as output:
            output.write(json.dumps({type(entry).__name__: dataclasses.asdict(entry)}) + "\n")


def read(file: Path) -> tuple[list[Request], list[Image]]:
    """The requests and the images of a ledger."""
    requests, images = [], []
    for line in file.read_text().splitlines():
        document = json.loads(line)
        if "Request" in document:
            requests.append(Request(**document["Request"]))
        else:
            images.append(Image(**document["Image"]))
    return requests, images
