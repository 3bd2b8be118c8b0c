"""Is this a picture that can be analysed? Answered from its bytes, without decoding a pixel.

Nothing is trusted: not the file name, not the Content-Type, and no length in the file without checking it. Decoding
first would cost hundreds of megabytes for a 20 KB file (a "decompression bomb"); a walk over the markers costs none.
"""

from __future__ import annotations

import re

from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection

# Limits of Amazon Rekognition DetectLabels for objects in S3 (guidelines and quotas in its developer guide).
MAX_BYTES = 15 * 1024 * 1024
MIN_SIDE_PX = 80
MAX_SIDE_PX = 10_000
# This application's own limit: above almost any camera, and it bounds what a decoder must hold (150 MB as RGB).
MAX_PIXELS = 50_000_000

_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# Formats that users upload and Rekognition does not read: (offset, magic bytes, name).
_OTHER_FORMATS = (
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypavif", "AVIF"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
)

# JPEG markers, ITU-T T.81 table B.1.
_EOI, _SOS = 0xD9, 0xDA
# A marker that matters: no stuffed or fill byte, and not TEM, RST0 to RST7 or SOI, which have no length. A regular
# expression, as a hostile file can hold millions of the others.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0 to SOF15 without DHT, JPG and DAC


def inspect(data: bytes) -> ImageHeader | Rejection:
    """Check a whole file of at most MAX_BYTES. Never raises, whatever the bytes."""
    if not data:
        return Rejection(ReasonCode.EMPTY, "The file is empty: nothing was uploaded.")
    if len(data) > MAX_BYTES:
        return too_large(len(data))
    if data.startswith(_JPEG_MAGIC):
        return _judge(ImageFormat.JPEG, *_walk_jpeg(data))
    if data.startswith(_PNG_MAGIC):
        return _judge(ImageFormat.PNG, *_walk_png(data))
    for offset, magic, name in _OTHER_FORMATS:
        if data.startswith(magic, offset):
            return Rejection(ReasonCode.UNSUPPORTED_FORMAT, f"The file is {name}; send it as JPEG or PNG.")
    return Rejection(ReasonCode.NOT_AN_IMAGE, "The file is not a picture, whatever its name says; send a JPEG or PNG.")


def too_large(size: int) -> Rejection:
    """The rejection for a file of `size` bytes, for callers that know its size before they read it."""
    return Rejection(
        ReasonCode.TOO_LARGE, f"The file has {size:,} bytes; at most {MAX_BYTES:,} (15 MB) can be analysed."
    )


def _judge(format: ImageFormat, size: tuple[int, int] | None, complete: bool) -> ImageHeader | Rejection:
    if size is None:
        return Rejection(
            ReasonCode.TRUNCATED, f"The {format.name} file ends before its picture begins; upload it again."
        )
    width, height = size
    # Dimensions before completeness: they tell the uploader more than "truncated" does.
    if min(width, height) < MIN_SIDE_PX:
        return Rejection(
            ReasonCode.TOO_SMALL, f"The picture has {width} x {height} px; each side needs at least {MIN_SIDE_PX}."
        )
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        return Rejection(
            ReasonCode.TOO_MANY_PIXELS,
            f"The picture has {width:,} x {height:,} px; at most {MAX_SIDE_PX:,} a side and "
            f"{MAX_PIXELS // 1_000_000} megapixels in all can be analysed.",
        )
    if not complete:
        return Rejection(ReasonCode.TRUNCATED, f"The {format.name} file breaks off in the middle; upload it again.")
    return ImageHeader(format, width, height)


def _walk_png(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """-> (size or None, does it reach IEND with picture data before it). Chunks: length, type, data, CRC."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None, False
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    at, has_pixels = 8, False
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IEND":
            return size, has_pixels
        has_pixels = has_pixels or kind == b"IDAT"
        at += 12 + length
    return size, False


def _walk_jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """-> (size or None, does it reach the end-of-image marker after picture data).

    Bytes behind the end are allowed: phones append depth maps and clips. A thumbnail's own markers lie inside an
    APP1 segment, whose length steps over them.
    """
    size: tuple[int, int] | None = None
    at, scanned = 2, False
    while found := _MARKER.search(data, at):
        at, marker = found.start(), data[found.start(1)]
        if marker == _EOI:
            return size, scanned and size is not None
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 > len(data) or length < 2:
            return size, False
        if marker in _FRAMES and at + 9 <= len(data):
            size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        scanned = scanned or marker == _SOS
        at += 2 + length
    return size, False
