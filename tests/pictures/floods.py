"""The largest files that are read, each made to keep a reader busy."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.picture_parts import MAX_PARTS
from tests.support.containers import box, canvas, heif, infe, ispe, lossless, moving, riff, riff_chunk
from tests.support.pictures import JPEG_END, JPEG_START, chunk, frame, png, scan, segment

from .containers import Part, places, put_together, taken_apart

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
    yield from _floods_of_containers()


def _floods_of_containers() -> Iterator[tuple[str, bytes]]:
    """WebP, whose chunks say how long the whole is, and HEIC."""
    pixels, chunks = lossless(640, 480), MAX_BYTES // 8 - 100
    yield "empty WebP chunks", riff(riff_chunk(b"EXIF") * chunks, pixels)
    yield "as many WebP chunks as allowed", riff(canvas(640, 480), pixels, riff_chunk(b"EXIF", bytes(_PART)) * _MOST)
    moves = moving(640, 480, riff_chunk(b"ALPH", bytes(3 * _PART)), pixels)
    yield "as many WebP frames as allowed", riff(canvas(640, 480, 2), moves * (_MOST // 3))
    yield "empty boxes", _full(_heic(), box(b"free"))
    yield "as many boxes as allowed", _heic(more=box(b"free", bytes(_PART)) * (_MOST - 20))
    yield "properties", _heic(properties=[box(b"free", bytes(_PART))] * (_MOST - 20))
    item = struct.pack(">HB", 1, 255) + b"\x81" * 255
    yield "properties of an item", _heic_with(b"iprp", b"ipma", bytes(4) + struct.pack(">I", 390) + item * 390)
    where = struct.pack(">HHHHH", 0x4400, 1, 1, 0, _MOST) + struct.pack(">II", 40, 1) * _MOST
    yield "places of an item", _heic_with(b"meta", b"iloc", bytes(4) + where)
    kinds = b"".join(infe(number, b"hvc1") for number in range(1, _MOST - 30))
    yield "items", _heic_with(b"meta", b"iinf", bytes(6) + kinds)
    parts = struct.pack(">HH", 1, _MOST) + bytes(2 * _MOST)
    yield "references", _heic_with(b"meta", b"iref", bytes(4) + box(b"cdsc", parts) * 9)


def _heic_with(parent: bytes, kind: bytes, content: bytes) -> bytes:
    """A HEIC with this box instead of its own; it may have several `ipma`."""
    parts = taken_apart(_heic(more=box(b"free", bytes(14 << 20))))
    siblings = next(siblings[at].parts for siblings, at in places(parts) if siblings[at].kind == parent)
    if kind != b"ipma":
        siblings[:] = [part for part in siblings if part.kind != kind]
    siblings.append(Part(kind, content))
    return put_together(parts, riff=False)


def _heic(more: bytes = b"", properties: list[bytes] | None = None) -> bytes:
    items = {1: (b"hvc1", [1], b"pixels")}
    properties = [ispe(640, 480), *(properties or [])]
    return heif(items=items, properties=properties, more=more, pixels_first=True)
