"""The parts that a picture's file consists of: segments, chunks or boxes, found without decoding a pixel.

The gate (image_format.py) and the stripping of metadata (metadata.py) walk with the same steps, so that what one of
them judged is what the other one files. They are those of libjpeg and libpng, which most viewers use. No length in
the file is trusted, every step moves forward, and no bytes are looked at twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

# Far above any camera or editor, which write dozens of segments, or 1,900 chunks of 8 KB in 15 MB. It bounds each walk.
MAX_PARTS = 10_000

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# JPEG markers, ITU-T T.81 table B.1.
EOI, SOS, COM = 0xD9, 0xDA, 0xFE
DHT, DAC, DQT, DNL, DRI = 0xC4, 0xCC, 0xDB, 0xDC, 0xDD
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
FRAMES = frozenset({*range(0xC0, 0xD0)} - {DHT, 0xC8, DAC})  # SOF0 to SOF15, and between them JPG

# A marker that matters: 0xFF and then no stuffed or fill byte, and none that has no length: TEM, RST0 to RST7, SOI, and
# the reserved ones, which a decoder skips in a scan and refuses elsewhere. A hostile file can hold millions of them. So
# each byte becomes one of three, once, and the search is for two bytes that never change: five times as fast on such a
# file as a search for classes of bytes.
_FF, _OTHER, _MARKER_CODE = b"\x00\x01\x02"
_WITHOUT_LENGTH = frozenset({*range(0xC0), *range(0xD0, 0xD9)})
_CLASSES = bytes(_FF if b == 0xFF else _OTHER if b in _WITHOUT_LENGTH else _MARKER_CODE for b in range(256))
_MARKER = re.compile(re.escape(bytes([_FF, _MARKER_CODE])))


@dataclass
class Found:
    """What a walk found: (width, height), whether the end came after picture data, and what is wrong.

    `damage` goes on with "The JPEG file ...". `unsupported` names what nobody here can decode. `others` are sizes that
    the file names besides: of tiles, thumbnails, transparency, tracks.
    """

    size: tuple[int, int] | None = None
    complete: bool = False
    damage: str = ""
    unsupported: str = ""
    others: list[tuple[int, int]] = field(default_factory=list)


class Segment(NamedTuple):
    """A JPEG segment: its marker, and where it is with marker and length. Of EOI, which has no length, two bytes."""

    marker: int
    start: int
    end: int


class Chunk(NamedTuple):
    """A PNG chunk: its type, and where it is with length, type and checksum."""

    kind: bytes
    start: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments of a file that begins with JPEG_MAGIC, up to EOI; without EOI when the file breaks off.

    What lies between the end of one and the start of the next is the entropy-coded data of a scan, if the one is SOS,
    and bytes that no decoder uses otherwise. A thumbnail's own markers lie inside a segment, whose length steps over
    them.
    """
    classes = data.translate(_CLASSES)
    at = len(JPEG_MAGIC) - 1
    while found := _MARKER.search(classes, at):
        start = found.start()
        marker = data[start + 1]
        if marker == EOI:
            yield Segment(EOI, start, start + 2)
            return
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        at = start + 2 + length
        if length < 2 or at > len(data):
            return
        yield Segment(marker, start, at)


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file that begins with PNG_MAGIC, up to IEND; without IEND when the file breaks off."""
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        start, kind = at, data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            return
        yield Chunk(kind, start, at)
        if kind == b"IEND":
            return
