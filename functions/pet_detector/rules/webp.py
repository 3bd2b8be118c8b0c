"""WebP: which size a decoder will make of it, read from its chunks (RFC 9649) without decoding a pixel.

A file names its size up to three times: the canvas (VP8X), each frame of an animation (ANMF), and the pixels themselves
(VP8, VP8L). Decoders differ in which one they trust, so all must agree, and frames must lie on the canvas.
"""

from __future__ import annotations

from collections.abc import Iterator

from pet_detector.rules.picture_parts import MAX_PARTS, Found

_RIFF_HEADER = 12  # "RIFF", the length of what follows, "WEBP"
_CHUNK_HEADER = 8
_ANIMATED = 0x02  # a flag of VP8X
_FRAME_HEADER = 16  # of ANMF
_LOSSY_START = b"\x9d\x01\x2a"  # of a key frame of VP8
_LOSSLESS_START = 0x2F


def is_webp(data: bytes) -> bool:
    """Whether a file says that it is WebP."""
    return data.startswith(b"RIFF") and data.startswith(b"WEBP", 8)


class _Walk:
    """One walk over a file. `parts` counts chunks, those of frames too."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parts = 0

    def chunks(self, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """(type, start and end of the content) of each chunk; raises ValueError for one that does not fit."""
        while at < end:
            self.parts += 1
            if self.parts > MAX_PARTS:
                raise ValueError(f"has more than {MAX_PARTS:,} chunks")
            start = at + _CHUNK_HEADER
            size = _number(self.data, at + 4, 4)
            if start + size > end:
                raise ValueError("has a chunk that is longer than what holds it")
            yield self.data[at : at + 4], start, start + size
            at = start + size + size % 2

    def pixels(self, kind: bytes, start: int, end: int) -> tuple[int, int] | None:
        """The size in the header of the pixels; None for a chunk that has none."""
        data = self.data
        if kind == b"VP8 ":
            # Three bytes of frame tag, whose lowest bit is 0 in a key frame.
            if end - start < 10 or data[start] & 1 or not data.startswith(_LOSSY_START, start + 3):
                raise ValueError("has pixels without a key frame")
            return _number(data, start + 6, 2) & 0x3FFF, _number(data, start + 8, 2) & 0x3FFF
        if kind == b"VP8L":
            if end - start < 5 or data[start] != _LOSSLESS_START:
                raise ValueError("has pixels without a header")
            bits = _number(data, start + 1, 4)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        return None


def walk(data: bytes) -> Found:
    """What is found in a file that `is_webp`."""
    found = Found()
    ends = _CHUNK_HEADER + _number(data, 4, 4)
    if ends > len(data):
        found.size = _first_size(data)
        return found  # it breaks off
    try:
        _read(_Walk(data), ends, found)
    except ValueError as error:
        found.damage = str(error)
    return found


def _first_size(data: bytes) -> tuple[int, int] | None:
    """Of a file that breaks off: what its first chunk says, if it is there."""
    try:
        kind = data[_RIFF_HEADER : _RIFF_HEADER + 4]
        start = _RIFF_HEADER + _CHUNK_HEADER
        if kind == b"VP8X" and len(data) >= start + 10:
            return _canvas(data, start)
        return _Walk(data).pixels(kind, start, len(data))
    except ValueError:
        return None


def _read(walk: _Walk, ends: int, found: Found) -> None:
    canvas, is_animated, frames = None, False, 0
    for count, (kind, start, end) in enumerate(walk.chunks(_RIFF_HEADER, ends)):
        if kind == b"VP8X":
            if count or end - start != 10:
                raise ValueError("has a canvas of the wrong length, or a second one")
            found.size = canvas = _canvas(walk.data, start)
            is_animated = bool(walk.data[start] & _ANIMATED)
        elif kind == b"ANMF":
            if not is_animated or canvas is None:
                raise ValueError("has a frame, and says that it has none")
            _check_frame(walk, start, end, canvas)
            frames += 1
        elif size := walk.pixels(kind, start, end):
            # Decoders differ in what they make of a second one.
            if is_animated or found.complete or (canvas or size) != size or (count and not canvas):
                raise ValueError("has pixels of two sizes, or twice")
            found.size, found.complete = size, True
    found.complete = found.complete or frames > 0


def _check_frame(walk: _Walk, start: int, end: int, canvas: tuple[int, int]) -> None:
    if end - start < _FRAME_HEADER:
        raise ValueError("has a frame without a header")
    x, y, width, height = (_number(walk.data, start + 3 * place, 3) for place in range(4))
    size = width + 1, height + 1
    if 2 * x + size[0] > canvas[0] or 2 * y + size[1] > canvas[1]:
        raise ValueError("has a frame that is larger than its canvas")
    sizes = [walk.pixels(*chunk) for chunk in walk.chunks(start + _FRAME_HEADER, end)]
    if [found for found in sizes if found] != [size]:
        raise ValueError("has a frame whose pixels have another size")


def _canvas(data: bytes, start: int) -> tuple[int, int]:
    return _number(data, start + 4, 3) + 1, _number(data, start + 7, 3) + 1


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
