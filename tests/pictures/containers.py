"""Damaged and hostile WebP, AVIF and HEIC: their boxes and chunks taken apart, changed and put together again.

The same number always makes the same file, as in mutants.py, whose changes of single bytes are used here too.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.support.containers import (
    box,
    exif,
    full,
    grid,
    heic,
    heif,
    ispe,
    parts_of_real_heic,
    real_heic,
    reference,
    saved,
)

from . import mutants
from .mutants import LARGE, NUMBERS, Random
from .seeds import HEIGHT, WIDTH, XMP, Seed, icc_profile, picture

# Where the boxes begin that another one holds.
_BOXES_AT = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"iref": 4, b"stsd": 8}
_BOXES_AT |= dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0)
_CHUNKS_AT = {b"ANMF": 16}
_RIFF_HEADER = 12


@dataclass
class Part:
    """A box or a chunk: its type, its content as far as that is no parts, and its parts."""

    kind: bytes
    content: bytes
    parts: list[Part] = field(default_factory=list)


# --- Seeds ------------------------------------------------------------------------------------------------------------


@cache
def seeds() -> tuple[Seed, ...]:
    """Every kind of WebP, AVIF and HEIC; most have metadata with a canary."""
    return (*_pictures(), *_heics())


def _pictures() -> Iterator[Seed]:
    size = WIDTH, HEIGHT
    said: dict[str, Any] = {"exif": exif(6), "xmp": XMP, "icc_profile": icc_profile()}
    moves: dict[str, Any] = {"save_all": True, "append_images": [picture("RGB"), picture("RGB").rotate(180)]}
    for format in ("WEBP", "AVIF"):
        for mode in ("L", "RGB", "RGBA"):
            yield Seed(f"{format} {mode}", saved(format, size, mode))
        yield Seed(f"{format} with metadata", saved(format, size, **said), 6)
        yield Seed(f"{format} animation", saved(format, size, **moves))
    yield Seed("WEBP lossless", saved("WEBP", size, lossless=True))
    yield Seed("WEBP transparent and lossless", saved("WEBP", size, "RGBA", lossless=True, **said))


def _heics() -> Iterator[Seed]:
    settings, pixels = parts_of_real_heic()
    yield Seed("HEIC", real_heic())
    for turn in (1, 5, 6):
        yield Seed(f"HEIC turned {turn}", heic(turn, exif=exif(turn)), turn)
    tiles = {number: (b"hvc1", [2, 3], pixels) for number in range(2, 8)}
    whole = {1: (b"grid", [1], grid(3, 2, 600, 280)), **tiles}
    properties = [ispe(600, 280), ispe(226, 150), settings]
    parts = [reference(b"dimg", 1, *tiles)]
    yield Seed("HEIC of tiles", heif(items=whole, properties=properties, references=parts, pixels_first=True))
    thumbnail = {1: (b"hvc1", [1, 2], pixels), 2: (b"hvc1", [1, 2], pixels)}
    parts = [reference(b"thmb", 2, 1)]
    properties = [ispe(226, 150), settings]
    made = heif(items=thumbnail, properties=properties, references=parts, pixels_first=True)
    yield Seed("HEIC with a thumbnail", made)


# --- Parts ------------------------------------------------------------------------------------------------------------


def is_riff(data: bytes) -> bool:
    """Whether it is made of chunks; else of boxes."""
    return data.startswith(b"RIFF")


def taken_apart(data: bytes) -> list[Part]:
    """The parts of a file; what does not fit is one part without a type."""
    return _chunks(data[_RIFF_HEADER:]) if is_riff(data) else _boxes(data)


def _boxes(data: bytes) -> list[Part]:
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            break
        content, begins = data[at + 8 : at + size], _BOXES_AT.get(kind)
        inside = [] if begins is None else _boxes(content[begins:])
        found.append(Part(kind, content[:begins] if inside else content, inside))
        at += size
    return found + ([Part(b"", data[at:])] if at < len(data) else [])


def _chunks(data: bytes) -> list[Part]:
    found, at = [], 0
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        content, begins = data[at + 8 : at + 8 + size], _CHUNKS_AT.get(kind)
        inside = [] if begins is None else _chunks(content[begins:])
        found.append(Part(kind, content[:begins] if inside else content, inside))
        at += 8 + size + size % 2
    return found + ([Part(b"", data[at:])] if at < len(data) else [])


def put_together(parts: list[Part], *, riff: bool) -> bytes:
    """A file of these parts, with lengths that are right."""
    if not riff:
        return b"".join(map(_box, parts))
    content = b"WEBP" + b"".join(map(_chunk, parts))
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _box(part: Part) -> bytes:
    content = part.content + b"".join(map(_box, part.parts))
    return box(part.kind, content) if part.kind else content


def _chunk(part: Part) -> bytes:
    content = part.content + b"".join(map(_chunk, part.parts))
    return part.kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) if part.kind else content


def places(parts: list[Part]) -> list[tuple[list[Part], int]]:
    """Every part, as the list it is in and its number there."""
    found = [(parts, number) for number in range(len(parts))]
    return found + [place for part in parts for place in places(part.parts)]


# --- Changes ----------------------------------------------------------------------------------------------------------


def parts_moved(r: Random, data: bytes) -> bytes:
    """Parts deleted, repeated, or put in the place of others."""
    parts = taken_apart(data)
    for _ in range(r.choice((1, 1, 2, 4))):
        if not (found := places(parts)):
            break
        (siblings, at), (others, to) = r.choice(found), r.choice(found)
        change, part = r.randrange(3), siblings[at]
        if change == 0:
            del siblings[at]
        elif change == 1:
            siblings[at:at] = [part] * r.choice((1, 1, 20))
        else:
            others[to] = deepcopy(part)  # perhaps into itself
    return put_together(parts, riff=is_riff(data))


def parts_of_others(r: Random, data: bytes) -> bytes:
    """Parts of another picture of the family among its own."""
    parts = taken_apart(data)
    other = r.choice([seed.data for seed in seeds() if is_riff(seed.data) == is_riff(data)])
    for _ in range(r.choice((1, 3))):
        theirs, number = r.choice(places(taken_apart(other)))
        siblings, at = r.choice(places(parts) or [(parts, 0)])
        siblings.insert(at, theirs[number])
    return put_together(parts, riff=is_riff(data))


def contents_changed(r: Random, data: bytes) -> bytes:
    """What stands in one part changed, cut or longer, and its length right."""
    parts = taken_apart(data)
    for _ in range(r.choice((1, 2, 5))):
        siblings, at = r.choice(places(parts) or [(parts, 0)])
        if at < len(siblings) and (content := siblings[at].content):
            cut = content[: r.randrange(len(content))]
            made = (mutants.bit_flips(r, content), cut, content + r.randbytes(20), content * 2)
            siblings[at].content = r.choice(made)
    return put_together(parts, riff=is_riff(data))


def sizes_changed(r: Random, data: bytes) -> bytes:
    """Other numbers where the size of a picture stands, in one place or several."""
    parts = taken_apart(data)
    named = [siblings[at] for siblings, at in places(parts)]
    sized = [part for part in named if part.kind in (b"ispe", b"tkhd", b"VP8X", b"VP8 ", b"VP8L", b"ANMF", b"av01")]
    for part in r.sample(sized, r.randint(1, len(sized))) if sized else ():
        width, height = r.choice(LARGE), r.choice(LARGE)
        if part.kind in (b"ispe", b"tkhd"):
            part.content = part.content[:-8] + struct.pack(">II", width, height)
        elif part.kind in (b"VP8X", b"ANMF"):
            at = 4 if part.kind == b"VP8X" else 6
            three = (width % (1 << 24)).to_bytes(3, "little") + (height % (1 << 24)).to_bytes(3, "little")
            part.content = part.content[:at] + three + part.content[at + 6 :]
        else:
            at = {b"VP8 ": 6, b"VP8L": 1, b"av01": 24}[part.kind]
            part.content = part.content[:at] + r.randbytes(4) + part.content[at + 4 :]
    return put_together(parts, riff=is_riff(data))


def length_lies(r: Random, data: bytes) -> bytes:
    """One part says that it has another length: none, endless, beyond the end, 64 bits of it."""
    kinds = [siblings[at].kind for siblings, at in places(taken_apart(data)) if siblings[at].kind]
    at = data.find(r.choice(kinds)) if kinds else -1
    if at < 4:
        return data[:-1]
    number = r.choice((*NUMBERS, *LARGE))
    if is_riff(data):
        return data[: at + 4] + struct.pack("<I", number) + data[at + 8 :]
    long = r.choice((b"", struct.pack(">Q", number << r.choice((0, 0, 32)))))
    return data[: at - 4] + struct.pack(">I", 1 if long else number) + data[at : at + 4] + long + data[at + 4 :]


def endless(r: Random, data: bytes) -> bytes:
    """Another box or chunk at the end, or a second `meta`."""
    more = r.choice((full(b"meta"), box(b"moov", r.randbytes(60)), b"\x00\x00\x00\x00mdat" + r.randbytes(40)))
    return data + more


OPERATORS: tuple[Callable[[Random, bytes], bytes], ...] = (
    parts_moved,
    parts_of_others,
    contents_changed,
    sizes_changed,
    length_lies,
    endless,
    mutants.bit_flips,
    mutants.bytes_replaced,
    mutants.truncation,
    mutants.header_integers,
    mutants.insert,
    mutants.delete,
    mutants.duplicate,
    mutants.splice,
    mutants.polyglot,
)


def mutant(number: int) -> tuple[str, bytes]:
    """How it was made, and the file; some are changed two or three times."""
    r = random.Random(number)
    seed = r.choice(seeds())
    data, names = seed.data, list[str]()
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        if len(data) < 30:
            break
        operator = OPERATORS[(number + len(names)) % len(OPERATORS)]
        data = operator(r, data)
        names.append(operator.__name__)
    return f"{seed.name}: {', '.join(names)}", data
