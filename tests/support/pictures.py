"""Pictures as bytes, built marker by marker and chunk by chunk, so that a test can damage just one thing."""

from __future__ import annotations

import struct
import zlib

JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"


def segment(marker: int, content: bytes = b"") -> bytes:
    """A JPEG segment; its length counts itself."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def frame(width: int, height: int, marker: int = 0xC0) -> bytes:
    """A frame header (SOF0 unless told otherwise) with one component."""
    return segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00")


def scan(pixels: bytes = b"\x12\x34\xff\x00\x56") -> bytes:
    """A scan header and its entropy-coded bytes, in which 0xFF is stuffed with a zero."""
    return segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + pixels


def jpeg(width: int = 640, height: int = 480, *, before: bytes = b"", marker: int = 0xC0) -> bytes:
    """A whole JPEG as far as its markers go; `before` stands between its first segment and its frame."""
    first = segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00")
    return JPEG_START + first + before + frame(width, height, marker) + scan() + JPEG_END


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A PNG chunk with its length and its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int = 640, height: int = 480, *, between: bytes = b"", pixels: bytes = b"\x78\x9c") -> bytes:
    """A whole PNG as far as its chunks go; `between` stands between its header and its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return PNG_START + header + between + chunk(b"IDAT", pixels) + chunk(b"IEND")


def black_png(width: int, height: int) -> bytes:
    """A whole black PNG, one bit a pixel: 13,300 x 13,300 of them are 22 KB, and 500 MB once decoded to RGB."""
    packer = zlib.compressobj()
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return PNG_START + header + chunk(b"IDAT", rows) + chunk(b"IEND")
