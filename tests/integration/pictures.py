"""Files that are no usable pictures, each as small as it can be, and real ones of a given size."""

from __future__ import annotations

import io
import uuid

from PIL import Image

from pet_detector.rules.image_format import MAX_BYTES
from tests.support.deployment import CERTAIN_CAT

# The largest pictures, in bytes, that a form and that POST /upload itself take.
LARGEST = MAX_BYTES
LARGEST_INLINE = 4 * 1024 * 1024

TEXT = b"Dear cat, this is a letter and not a picture.\n"


def webp() -> bytes:
    """A whole WebP picture."""
    file = io.BytesIO()
    Image.new("RGB", (200, 200), "orange").save(file, "WEBP")
    return file.getvalue()


def truncated_jpeg() -> bytes:
    """The first half of a photo."""
    content = CERTAIN_CAT.read_bytes()
    return content[: len(content) // 2]


def cat_of(size: int) -> bytes:
    """The photo of a cat, `size` bytes long: what follows a JPEG's end belongs to no picture and is allowed."""
    return CERTAIN_CAT.read_bytes().ljust(size, b"\0")


def new_cat() -> bytes:
    """The photo of a cat in bytes that nobody has seen before."""
    return CERTAIN_CAT.read_bytes() + uuid.uuid4().bytes


def cat_as_png() -> bytes:
    """The photo of a cat as PNG."""
    file = io.BytesIO()
    with Image.open(CERTAIN_CAT) as photo:
        photo.save(file, "PNG")
    return file.getvalue()
