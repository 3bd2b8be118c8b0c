"""The three pictures of `petdetect check`: which, which way each is sent, and where it must end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import records
from ops.check_lines import Subject
from ops.definitions import REPOSITORY
from ops.errors import OperatorError
from pet_detector.rules.models import Record

FORM, INLINE, S3, VERSION = "form", "inline", "S3", "execution"


@dataclass
class Picture:
    """A picture, the folder in which it must end, and what is known of it since it was sent.

    `problem`: why it could not be sent. `skipped`: why it was not. `is_late`: no event of S3 started it, the check did.
    """

    name: str
    file: Path
    folder: str
    way: str
    image_id: str = ""
    key: str = ""
    data: bytes = b""
    execution: str = ""
    sent: float = 0.0
    seconds: float = 0.0
    record: Record | None = None
    problem: str = ""
    skipped: str = ""
    stopped: bool = False
    is_late: bool = False

    @property
    def title(self) -> str:
        """What its line is called."""
        return f"{self.name} by {self.way}"

    @property
    def is_uncertain(self) -> bool:
        """Whether people must be told of it."""
        return self.folder == "others"


def pictures(subject: Subject) -> list[Picture]:
    """The three, unsent. Raises OperatorError where the repository is not."""
    ways = [VERSION] * 3 if subject.version else [FORM, INLINE, S3]
    found = [
        Picture("cat", REPOSITORY / "photos" / "cat_chelsea.jpg", "cats", ways[0]),
        Picture("dog", REPOSITORY / "photos" / "dog_gcompris_german_shepherd.jpg", "dogs", ways[1]),
        Picture("cat and dog", REPOSITORY / "ops" / "pictures" / "cat_and_dog.jpg", "others", ways[2]),
    ]
    for picture in found:
        try:
            picture.data = never_seen(picture.file.read_bytes())
        except FileNotFoundError:
            remedy = "use the petdetect of the repository, after `make install`"
            raise OperatorError(f"There is no {picture.file.name} beside this program: {remedy}.") from None
    return found


def never_seen(jpeg: bytes) -> bytes:
    """The same picture with a comment that no other has."""
    comment = f"petdetect check {uuid.uuid4().hex}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def described(execution: str) -> dict[str, Any]:
    """What Step Functions knows of an execution; empty when it does not."""
    return dict(records.execution(execution) or {})
