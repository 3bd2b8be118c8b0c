"""Damaged, hostile and improbable files, made of the seeds by chance: the same number always makes the same file."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

from tests.support.pictures import JPEG_END, JPEG_START, PNG_START, chunk, frame, png, scan, segment

from .seeds import CANARY, Seed, seeds

Random = random.Random
# What a number in a file may be that its reader did not expect.
NUMBERS = (0, 1, 2, 3, 7, 8, 79, 80, 127, 128, 255, 256, 10_000, 10_001, 32_767, 32_768, 60_000, 65_534, 65_535)
LARGE = (*NUMBERS, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def _at(r: Random, data: bytes) -> int:
    """A place in a file, half of the time in its first kilobyte, where the headers are."""
    return r.randrange(min(len(data), 1024) if r.random() < 0.5 else len(data)) if data else 0


def _slice(r: Random, data: bytes) -> bytes:
    at = _at(r, data)
    return data[at : at + r.choice((1, 2, 4, 16, 64, 700))]


def _other(r: Random) -> bytes:
    return r.choice(_small()).data


def bit_flips(r: Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(r.choice((1, 2, 8, 40))):
        made[_at(r, data)] ^= 1 << r.randrange(8)
    return bytes(made)


def bytes_replaced(r: Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(r.choice((1, 3, 20))):
        made[_at(r, data)] = r.choice((0, 0xFF, 0xC0, 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xE1, r.randrange(256)))
    return bytes(made)


def truncation(r: Random, data: bytes) -> bytes:
    return data[: _at(r, data)] + r.choice((b"", b"", JPEG_END, chunk(b"IEND")))


def header_integers(r: Random, data: bytes) -> bytes:
    at, size = _at(r, data[:200]), r.choice((2, 2, 4))
    number = r.choice(NUMBERS if size == 2 else LARGE)
    return data[:at] + number.to_bytes(size, r.choice(("big", "big", "little"))) + data[at + size :]


def insert(r: Random, data: bytes) -> bytes:
    at = _at(r, data)
    what = r.choice((r.randbytes(r.randrange(1, 30)), b"\xff", JPEG_END, JPEG_START, CANARY, b"\xff\xd0", bytes(40)))
    return data[:at] + what + data[at:]


def delete(r: Random, data: bytes) -> bytes:
    at = _at(r, data)
    return data[:at] + data[at + r.choice((1, 2, 4, 30, 500)) :]


def duplicate(r: Random, data: bytes) -> bytes:
    at, part = _at(r, data), _slice(r, data)
    return data[:at] + part * r.choice((1, 2, 20)) + data[at:]


def splice(r: Random, data: bytes) -> bytes:
    other = _other(r)
    return data[: _at(r, data)] + other[_at(r, other) :]


def polyglot(r: Random, data: bytes) -> bytes:
    other = r.choice((b"<script>" + CANARY + b"</script>", b"PK\x03\x04" + CANARY, b"GIF89a" + bytes(20), _other(r)))
    return r.choice((data + other, other + data, data[:20] + other + data[20:]))


def double(r: Random, data: bytes) -> bytes:
    return data + data


def marker_stream(r: Random, data: bytes) -> bytes:
    """Segments of any kind in any order, some of them lying about their length."""
    made = [JPEG_START]
    for _ in range(r.choice((3, 8, 30))):
        marker = r.choice(
            (0xC0, 0xC0, 0xC2, 0xC4, 0xDA, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, r.randrange(256))
        )
        if marker in (0xC0, 0xC2):
            made.append(frame(r.choice(NUMBERS), r.choice(NUMBERS), marker))
        elif marker == 0xDA:
            made.append(scan(r.randbytes(r.randrange(40)).replace(b"\xff", b"\xff\x00")))
        elif r.random() < 0.2:
            made.append(bytes([0xFF, marker]) + struct.pack(">H", r.choice(NUMBERS)))
        else:
            start = r.choice((b"", b"JFIF\x00", b"Exif\x00\x00II*\x00", b"ICC_PROFILE\x00\x01\x01", b"Adobe"))
            made.append(segment(marker, start + r.randbytes(r.randrange(30))))
    return b"".join([*made, r.choice((JPEG_END, JPEG_END, b""))])


def chunk_stream(r: Random, data: bytes) -> bytes:
    """The same of a PNG."""
    made = [png()[:33]] if r.random() < 0.8 else [PNG_START]
    kinds = (b"IHDR", b"IDAT", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"eXIf", b"tEXt", b"iCCP", b"acTL", b"fcTL", b"fdAT")
    for _ in range(r.choice((3, 8, 30))):
        made.append(chunk(r.choice(kinds), r.randbytes(r.choice((0, 1, 8, 13, 26)))))
        if r.random() < 0.1:
            made.append(struct.pack(">I", r.choice(LARGE)) + r.choice(kinds))
    return b"".join([*made, chunk(b"IEND")])


def second_header(r: Random, data: bytes) -> bytes:
    """A second frame or IHDR of another size, somewhere between the parts."""
    parts = _parts(data)
    width, height = r.choice(NUMBERS), r.choice(NUMBERS)
    if data.startswith(PNG_START):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    else:
        header = frame(width, height, r.choice((0xC0, 0xC1, 0xC2, 0xC9)))
    at = r.randrange(len(parts) + 1)
    return b"".join([*parts[:at], header, *parts[at:]])


def hidden_header(r: Random, data: bytes) -> bytes:
    """A frame or IHDR inside a part that a reader may not step over as a whole."""
    parts = _parts(data)
    width, height = r.choice(NUMBERS), r.choice(NUMBERS)
    if data.startswith(PNG_START):
        part = chunk(r.choice((b"tEXt", b"prVt", b"PRVT", b"CgBI", b"JHDR")), png(width, height)[8:33])
    else:
        marker = r.choice((0x01, 0xC4, 0xC8, 0xCC, 0xDC, 0xDE, 0xDF, 0xE1, 0xF0, 0xF7, 0xFD, r.randrange(2, 256)))
        content = frame(width, height) + scan() + JPEG_END
        if r.random() < 0.5:
            part = segment(marker, content)
        else:  # its length looks like the marker of a frame
            part = bytes([0xFF, marker, 0xFF, 0xC0]) + content[2:].ljust(0xFFC0 - 2, b"\x00")
    at = r.randrange(len(parts) + 1)
    return b"".join([*parts[:at], part, *parts[at:]])


def parts_shuffled(r: Random, data: bytes) -> bytes:
    """Segments or chunks deleted, repeated or moved."""
    parts = _parts(data)
    for _ in range(r.choice((1, 2, 4))):
        at, to = r.randrange(len(parts)), r.randrange(len(parts))
        change = r.randrange(3)
        if change == 0 and len(parts) > 1:
            del parts[at]
        elif change == 1:
            parts.insert(to, parts[at])
        else:
            parts[at], parts[to] = parts[to], parts[at]
    return b"".join(parts)


def parts_of_others(r: Random, data: bytes) -> bytes:
    """Segments or chunks of another picture among its own."""
    parts, others = _parts(data), _parts(_other(r))
    for _ in range(r.choice((1, 3))):
        parts.insert(r.randrange(len(parts) + 1), r.choice(others))
    return b"".join(parts)


def lies(r: Random, data: bytes) -> bytes:
    """One part with another content or length; a chunk's checksum is right half of the time."""
    parts = _parts(data)
    at = r.randrange(1, len(parts))
    part = parts[at]
    if data.startswith(PNG_START) and len(part) >= 12:
        content = r.choice((b"", part[8:-4] * 2, part[9:-4], r.randbytes(20), bit_flips(r, part[8:-4] or b"x")))
        made = part[4:8] + content
        length = len(content) if r.random() < 0.7 else r.choice(LARGE)
        checksum = zlib.crc32(made) if r.random() < 0.5 else 0
        parts[at] = struct.pack(">I", length) + made + struct.pack(">I", checksum)
    elif len(part) >= 4:
        parts[at] = part[:2] + struct.pack(">H", r.choice(NUMBERS)) + part[4:]
    return b"".join(parts)


def in_the_scan(r: Random, data: bytes) -> bytes:
    """A marker, with or without a segment, in the middle of the pixels."""
    at = data.rfind(b"\xff\xda") if data.startswith(JPEG_START) else data.rfind(b"IDAT")
    at += r.randrange(12, 400)
    marker = bytes([0xFF, r.randrange(1, 256)])
    what = r.choice((marker, segment(marker[1], CANARY), JPEG_END, chunk(b"tEXt", CANARY)))
    return data[:at] + what + data[at + r.choice((0, 0, 2)) :]


OPERATORS: tuple[Callable[[Random, bytes], bytes], ...] = (
    bit_flips,
    bytes_replaced,
    truncation,
    header_integers,
    insert,
    delete,
    duplicate,
    splice,
    polyglot,
    double,
    marker_stream,
    chunk_stream,
    second_header,
    hidden_header,
    parts_shuffled,
    parts_of_others,
    lies,
    in_the_scan,
)


def _parts(data: bytes) -> list[bytes]:
    """A seed cut where its segments or chunks begin, its first bytes included. With what a scan holds in its part."""
    cuts = [0]
    if data.startswith(PNG_START):
        at = len(PNG_START)
        while at + 12 <= len(data):
            cuts.append(at)
            at += 12 + int.from_bytes(data[at : at + 4], "big")
    else:
        at = 2
        while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
            cuts.append(at)
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if data[cuts[-1] + 1] == 0xDA:
                while at < len(data) - 1 and (data[at] != 0xFF or data[at + 1] in (0, *range(0xD0, 0xD8))):
                    at += 1
        cuts.append(at)
    return [data[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(data)], strict=True)]


@cache
def _small() -> list[Seed]:
    return [seed for seed in seeds() if len(seed.data) < 30_000]


def mutant(number: int) -> tuple[str, bytes]:
    """How it was made, and the file. One in ten is made of a photo; some are changed two or three times."""
    r = random.Random(number)
    seed = r.choice(seeds() if r.random() < 0.1 else _small())
    data = seed.data
    names: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        if len(data) < 30 or not data.startswith((JPEG_START, PNG_START)):
            break
        operator = OPERATORS[(number + len(names)) % len(OPERATORS)]
        data = operator(r, data)
        names.append(operator.__name__)
    return f"{seed.name}: {', '.join(names)}", data
