"""Files that are no usable pictures, each as small as it can be, and real ones of a given size."""

from __future__ import annotations

import io
import uuid

from PIL import ExifTags, Image

from pet_detector.rules.image_format import MAX_BYTES
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG
from tests.support.pictures import frame

# The largest pictures, in bytes, that a form and that POST /upload itself take.
LARGEST = MAX_BYTES
LARGEST_INLINE = 4 * 1024 * 1024

TEXT = b"Dear cat, this is a letter and not a picture.\n"


def gif() -> bytes:
    """A whole GIF picture."""
    file = io.BytesIO()
    Image.new("RGB", (200, 200), "orange").save(file, "GIF")
    return file.getvalue()


def truncated_jpeg() -> bytes:
    """The first half of a photo."""
    content = CERTAIN_CAT.read_bytes()
    return content[: len(content) // 2]


def jpeg_of_two_sizes() -> bytes:
    """A photo with a second frame, 60,000 pixels wide and high, behind its pixels."""
    content = CERTAIN_CAT.read_bytes()
    return content[:-2] + frame(60_000, 60_000) + content[-2:]


# What must not be shown of TELLING, wherever it stands.
SECRET = b"SECRET-47.37N-8.54E"


def telling_jpeg() -> bytes:
    """The photo of a dog, turned, with EXIF and its place, XMP, a comment, and something behind its end."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    tags[ExifTags.Base.Artist] = SECRET.decode()
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 22.0, 0.0), 3: "E", 4: (8.0, 32.0, 0.0)})
    file = io.BytesIO()
    with Image.open(CERTAIN_DOG) as photo:
        photo.save(file, "JPEG", quality=95, exif=tags, xmp=SECRET, comment=SECRET)
    return file.getvalue() + SECRET


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
