"""The largest files that are read, each made to keep a reader busy."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.picture_parts import MAX_PARTS
from tests.support.pictures import JPEG_END, JPEG_START, chunk, frame, png, scan, segment

_BEGUN = JPEG_START + segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
_FRAMED = _BEGUN + frame(640, 480)
_SCANNED = _FRAMED + scan()
_HEADER, _PIXELS = png()[:33], chunk(b"IDAT", b"\x78\x9c") + chunk(b"IEND")
_MOST = MAX_PARTS - 10
# So long may each part be if a file has as many as are allowed.
_PART = MAX_BYTES // _MOST - 40


def _full(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    return start + unit * ((MAX_BYTES - len(start) - len(end)) // len(unit)) + end


def floods() -> Iterator[tuple[str, bytes]]:
    """(what it is full of, the file)."""
    yield "empty frames", _full(_BEGUN, b"\xff\xc0\x00\x02")
    yield "frames", _full(_BEGUN, frame(640, 480))
    yield "empty segments", _full(_BEGUN, b"\xff\xe0\x00\x02")
    yield "empty scans", _full(_FRAMED, b"\xff\xda\x00\x02", JPEG_END)
    yield "stuffed bytes", _full(_SCANNED, b"\xff\x00", JPEG_END)
    yield "fill bytes", _full(_SCANNED, b"\xff", JPEG_END)
    yield "fill bytes before a frame", _full(_BEGUN, b"\xff")
    yield "restarts", _full(_SCANNED, b"\xff\xd0", JPEG_END)
    yield "starts", _full(_SCANNED, b"\xff\xd8", JPEG_END)
    yield "reserved markers", _full(_SCANNED, b"\xff\x02", JPEG_END)
    yield "one scan", _full(_SCANNED, random.Random(1).randbytes(1 << 20).replace(b"\xff", b"\xff\x00"), JPEG_END)
    yield "as many segments as allowed", _FRAMED + segment(0xE5, bytes(_PART)) * _MOST + scan() + JPEG_END
    yield "as many JFIFs as allowed", _FRAMED + segment(0xE0, b"JFIF\x00" + bytes(_PART)) * _MOST + scan() + JPEG_END
    yield "as many scans as allowed", _FRAMED + scan(b"\xff\x00" * (_PART // 2)) * _MOST + JPEG_END
    entries = struct.pack("<H", 5_000) + b"\x00\x01\x03\x00\x01\x00\x00\x00\x01\x00\x00\x00" * 5_000
    exif = segment(0xE1, b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + entries)
    yield "EXIF", _full(_FRAMED, exif, scan() + JPEG_END)
    yield "empty text chunks", _full(_HEADER, chunk(b"tEXt"), _PIXELS)
    yield "empty pixel chunks", _full(_HEADER, chunk(b"IDAT"), chunk(b"IEND"))
    yield "headers", _full(_HEADER, png()[8:33], _PIXELS)
    yield "chunks without a name", _full(_HEADER, bytes(12))
    yield "as many pixel chunks as allowed", _HEADER + chunk(b"IDAT", bytes(_PART)) * _MOST + chunk(b"IEND")
    yield "one EXIF chunk", _HEADER + chunk(b"eXIf", b"MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(14 << 20)) + _PIXELS
