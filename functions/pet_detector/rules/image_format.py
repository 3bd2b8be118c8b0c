"""Is this a picture that can be analysed? Answered from its bytes, without decoding a pixel.

JPEG and PNG are walked here, WebP in webp.py, AVIF and HEIC in heif.py. Nothing is trusted: not the file name, not the
Content-Type, and no length in the file without checking it. Decoding first would cost hundreds of megabytes for a 20 KB
file (a "decompression bomb"); a walk over the markers costs none.
"""

from __future__ import annotations

from pet_detector.rules import heif, webp
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from pet_detector.rules.picture_parts import (
    APP0,
    APP15,
    COM,
    DAC,
    DHT,
    DNL,
    DQT,
    DRI,
    EOI,
    FRAMES,
    JPEG_MAGIC,
    MAX_PARTS,
    PNG_MAGIC,
    SOS,
    Found,
    chunks,
    segments,
)

# Limits of Amazon Rekognition DetectLabels for objects in S3 (guidelines and quotas in its developer guide).
MAX_BYTES = 15 * 1024 * 1024
MIN_SIDE_PX = 80
MAX_SIDE_PX = 10_000
# This application's own limit: above almost any camera, and it bounds what a decoder must hold (150 MB as RGB).
MAX_PIXELS = 50_000_000

_IHDR_BYTES = 13
# Others (JPG, DHP, EXP, JPG0 to JPG13) are reserved. Decoders differ in how far they step over one, or over an overlong
# DAC, and so in which frame they find next.
_KNOWN = FRAMES | {DHT, DAC, DQT, DNL, DRI, SOS, EOI, COM, *range(APP0, APP15 + 1)}
_DAC_BYTES = 2 + 2 + 2 * 32

# Formats that users upload and nobody here reads: (offset, magic bytes, name).
_OTHER_FORMATS = (
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
)

_SEND = "send it as JPEG, PNG, WebP, AVIF or HEIC"


def inspect(data: bytes) -> ImageHeader | Rejection:
    """Check a whole file of at most MAX_BYTES. Never raises, whatever the bytes."""
    if not data:
        return Rejection(ReasonCode.EMPTY, "The file is empty: nothing was uploaded.")
    if len(data) > MAX_BYTES:
        return too_large(len(data))
    if data.startswith(JPEG_MAGIC):
        return _judge(ImageFormat.JPEG, _walk_jpeg(data))
    if data.startswith(PNG_MAGIC):
        return _judge(ImageFormat.PNG, _walk_png(data))
    if webp.is_webp(data):
        return _judge(ImageFormat.WEBP, webp.walk(data))
    if heif.is_heif(data):
        format, found = heif.walk(data)
        return _judge(format, found)
    for offset, magic, name in _OTHER_FORMATS:
        if data.startswith(magic, offset):
            return Rejection(ReasonCode.UNSUPPORTED_FORMAT, f"The file is {name}; {_SEND}.")
    return Rejection(ReasonCode.NOT_AN_IMAGE, f"The file is not a picture, whatever its name says; {_SEND}.")


def too_large(size: int) -> Rejection:
    """The rejection for a file of `size` bytes, for callers that know its size before they read it."""
    return Rejection(
        ReasonCode.TOO_LARGE, f"The file has {size:,} bytes; at most {MAX_BYTES:,} (15 MB) can be analysed."
    )


def _judge(format: ImageFormat, found: Found) -> ImageHeader | Rejection:
    # Dimensions before all else: they tell the uploader more than "damaged" or "truncated" does.
    if found.size is not None and (rejection := _judge_smallest(*found.size)):
        return rejection
    for size in ([found.size] if found.size else []) + found.others:
        if rejection := _judge_largest(*size):
            return rejection
    if found.unsupported:
        return Rejection(ReasonCode.UNSUPPORTED_FORMAT, f"The file is {found.unsupported}; {_SEND}.")
    if found.damage:
        return Rejection(
            ReasonCode.DAMAGED, f"The {format.name} file {found.damage}; save the picture anew and upload that file."
        )
    if found.size is None:
        return Rejection(
            ReasonCode.TRUNCATED, f"The {format.name} file ends before its picture begins; upload it again."
        )
    if not found.complete:
        return Rejection(ReasonCode.TRUNCATED, f"The {format.name} file breaks off in the middle; upload it again.")
    return ImageHeader(format, *found.size)


def _judge_smallest(width: int, height: int) -> Rejection | None:
    if min(width, height) < MIN_SIDE_PX:
        return Rejection(
            ReasonCode.TOO_SMALL, f"The picture has {width} x {height} px; each side needs at least {MIN_SIDE_PX}."
        )
    return None


def _judge_largest(width: int, height: int) -> Rejection | None:
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        return Rejection(
            ReasonCode.TOO_MANY_PIXELS,
            f"The picture has {width:,} x {height:,} px; at most {MAX_SIDE_PX:,} a side and "
            f"{MAX_PIXELS // 1_000_000} megapixels in all can be analysed.",
        )
    return None


def _walk_png(data: bytes) -> Found:
    """The size is that of the first chunk, IHDR. Decoders differ in what they make of a second one."""
    found, has_pixels = Found(), False
    for count, (kind, start, end) in enumerate(chunks(data)):
        if count == MAX_PARTS:
            found.damage = f"has more than {MAX_PARTS:,} chunks"
        elif (kind == b"IHDR") != (count == 0):
            found.damage = "has two headers" if count else "does not begin with its header"
        elif count == 0 and end - start != 12 + _IHDR_BYTES:
            found.damage = "has a header of the wrong length"
        if found.damage:
            break
        if count == 0:
            found.size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        has_pixels = has_pixels or kind == b"IDAT"
        found.complete = has_pixels and kind == b"IEND"
    return found


def _walk_jpeg(data: bytes) -> Found:
    """The size is that of the first frame. Decoders differ in what they make of a second one, wherever it stands.

    Bytes behind the end are allowed: phones append depth maps and clips. They are not filed (metadata.py).
    """
    found, scanned = Found(), False
    for count, (marker, start, end) in enumerate(segments(data)):
        if count == MAX_PARTS:
            found.damage = f"has more than {MAX_PARTS:,} segments"
        elif marker not in _KNOWN or (marker == DAC and end - start > _DAC_BYTES):
            found.damage = "has a segment that no viewer knows"
        elif marker in FRAMES:
            # Length (2), precision (1), height (2), width (2), number of components (1), 3 bytes for each.
            components = data[start + 9] if end - start >= 10 else 0
            if end - start != 10 + 3 * components or not components:
                found.damage = "has a frame header of the wrong length"
            elif found.size is not None or scanned:
                found.damage = "has two frames" if found.size else "has its frame behind its pixels"
            else:
                height, width = data[start + 5 : start + 7], data[start + 7 : start + 9]
                found.size = int.from_bytes(width, "big"), int.from_bytes(height, "big")
        if found.damage:
            break
        scanned = scanned or marker == SOS
        found.complete = scanned and found.size is not None and marker == EOI
    return found
