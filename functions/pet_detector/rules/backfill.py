"""What a backfill takes: which stored objects can be images, and under which id each is registered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.image_ids import BACKFILL_FOLDER, CONVERTED_FOLDER, FOLDERS, INPUT_FOLDER, ORIGINALS_FOLDER
from pet_detector.rules.models import ImageFormat

# Of the image bucket: what lies there is an image already, or made by this application.
OWN_FOLDERS = tuple(f"{folder}/" for folder in (INPUT_FOLDER, CONVERTED_FOLDER, ORIGINALS_FOLDER, *FOLDERS, "samples"))

_EXTENSIONS = {format.value: format for format in ImageFormat} | {"jpeg": ImageFormat.JPEG, "heif": ImageFormat.HEIC}
# Nobody can read an object of these classes until it is restored, and a listing does not say whether it is.
_ARCHIVES = frozenset(["GLACIER", "DEEP_ARCHIVE"])


class Skip(StrEnum):
    """Why a backfill leaves an object out."""

    NOT_A_PICTURE = "its name does not end in .jpg, .jpeg, .png, .webp, .avif, .heic or .heif"
    EMPTY = "it is empty"
    TOO_LARGE = "it has more than 15 MB"
    ARCHIVED = "it is archived (GLACIER, DEEP_ARCHIVE): restore it, and copy it to another storage class"
    UNREADABLE = "it cannot be read"
    OWN = "it lies in a folder of this application"


@dataclass(frozen=True)
class Source:
    """An object to be registered. `etag` has no quotes; `size` is in bytes."""

    bucket: str
    key: str
    etag: str
    size: int
    storage_class: str = "STANDARD"

    @property
    def image_id(self) -> str:
        """Its ImageID: another state of the object, by its ETag, is another image."""
        return hashlib.sha256(f"s3://{self.bucket}/{self.key}@{self.etag}".encode()).hexdigest()[:32]


def reason_to_skip(key: str, size: int, storage_class: str = "STANDARD") -> Skip | None:
    """Why an object cannot become an image, or None. Only its name and what a listing says of it are known."""
    if format_of(key) is None:
        return Skip.NOT_A_PICTURE
    if size == 0:
        return Skip.EMPTY
    if size > MAX_BYTES:
        return Skip.TOO_LARGE
    return Skip.ARCHIVED if storage_class in _ARCHIVES else None


def format_of(name: str) -> ImageFormat | None:
    """The format that a file's name promises."""
    return _EXTENSIONS.get(name.rpartition(".")[2].lower()) if "." in name else None


def is_own(key: str) -> bool:
    """Whether a key of the image bucket lies in a folder of this application."""
    return key.startswith(OWN_FOLDERS)


def covers_own(prefix: str) -> bool:
    """Whether a prefix of the image bucket would list what lies in a folder of this application."""
    return is_own(prefix) or any(folder.startswith(prefix) for folder in OWN_FOLDERS)


def file_name_of(key: str) -> str:
    """The last part of a key, to show."""
    return key.rpartition("/")[2] or key


def destination(image_id: str, kind: ImageFormat) -> str:
    """The key at which an image is registered."""
    return f"{BACKFILL_FOLDER}/{image_id}.{kind.value}"
