"""WebP, AVIF and HEIC as bytes, built chunk by chunk and box by box; and real ones, of a cat of `photos/`.

The real HEICs are made of one that lies here, because nothing that may be shipped can encode one: its pixels, with
other boxes around them.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageChops, ImageStat

from tests.support.paths import REPOSITORY

SAMPLES = REPOSITORY / "tests" / "pictures" / "samples"
CAT = REPOSITORY / "photos" / "cat_chelsea.jpg"

# --- WebP ---------------------------------------------------------------------------------------------------------


def riff(*chunks: bytes) -> bytes:
    """A whole WebP of these chunks."""
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def riff_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk with its length, and a byte behind it if that is odd."""
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def lossy(width: int, height: int) -> bytes:
    """The pixels of a lossy WebP, as far as their header goes."""
    return riff_chunk(b"VP8 ", b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(10))


def lossless(width: int, height: int) -> bytes:
    """The same of a lossless one."""
    return riff_chunk(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5))


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    """The canvas of an extended WebP; 2 among its flags says that it is animated."""
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _three(width - 1) + _three(height - 1))


def moving(width: int, height: int, *pixels: bytes, x: int = 0, y: int = 0) -> bytes:
    """A frame of an animation."""
    place = _three(x // 2) + _three(y // 2) + _three(width - 1) + _three(height - 1)
    return riff_chunk(b"ANMF", place + bytes(4) + b"".join(pixels))


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


# --- AVIF and HEIC ------------------------------------------------------------------------------------------------


def box(kind: bytes, *content: bytes) -> bytes:
    """A box with its length."""
    whole = b"".join(content)
    return struct.pack(">I", 8 + len(whole)) + kind + whole


def full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """A box with a version and flags."""
    return box(kind, bytes([version]), flags.to_bytes(3, "big"), *content)


def ispe(width: int, height: int) -> bytes:
    """A property: the size of an item."""
    return full(b"ispe", struct.pack(">II", width, height))


def infe(item: int, kind: bytes) -> bytes:
    """An entry of the list of items."""
    return full(b"infe", struct.pack(">HH", item, 0) + kind + b"\x00", version=2)


def reference(kind: bytes, item: int, *others: int) -> bytes:
    """One item refers to others: `dimg` is made of them."""
    return box(kind, struct.pack(f">HH{len(others)}H", item, len(others), *others))


def grid(columns: int, rows: int, width: int, height: int) -> bytes:
    """What an item of the kind `grid` holds."""
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


def heif(
    *,
    brand: bytes = b"heic",
    items: dict[int, tuple[bytes, list[int], bytes]],
    properties: list[bytes],
    primary: int = 1,
    references: list[bytes] | None = None,
    more: bytes = b"",
    meta: bytes = b"",
    pixels_first: bool = False,
) -> bytes:
    """A whole file. `items`: kind, properties by their number from 1, bytes; `meta` and `more` stand at those ends.

    With `pixels_first` a box that becomes longer does not move what others point at.
    """
    ftyp = box(b"ftyp", brand, bytes(4), b"mif1", brand)

    def boxes(start: int) -> bytes:
        places, at = [], start
        for item, (_, _, content) in items.items():
            places.append(struct.pack(">HHHII", item, 0, 1, at, len(content)))
            at += len(content)
        associations = b"".join(
            struct.pack(f">HB{len(numbers)}B", item, len(numbers), *(0x80 | number for number in numbers))
            for item, (_, numbers, _) in items.items()
        )
        parts = [
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", primary)),
            full(b"iinf", struct.pack(">H", len(items)), *(infe(item, kind) for item, (kind, _, _) in items.items())),
            full(b"iref", *references) if references else b"",
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", len(items)), associations)),
            full(b"iloc", struct.pack(">HH", 0x4400, len(places)), *places),
            meta,
        ]
        return full(b"meta", *parts)

    content = b"".join(content for _, _, content in items.values())
    if pixels_first:
        return ftyp + box(b"mdat", content) + boxes(len(ftyp) + 8) + more
    start = len(ftyp) + len(boxes(0)) + 8
    return ftyp + boxes(start) + box(b"mdat", content) + more


def bomb(width: int = 10_000, height: int = 10_000) -> bytes:
    """A HEIC of a few hundred bytes that would be 300 MB once decoded."""
    return heif(items={1: (b"hvc1", [1], b"pixels")}, properties=[ispe(width, height)])


# --- Real ones ----------------------------------------------------------------------------------------------------


@cache
def real_heic() -> bytes:
    """A cat as an iPhone would send it, 226 x 150 px."""
    return (SAMPLES / "cat.heic").read_bytes()


@cache
def parts_of_real_heic() -> tuple[bytes, bytes]:
    """How its pixels are to be decoded (the property hvcC), and the pixels."""
    data = real_heic()
    at = data.index(b"hvcC") - 4
    settings = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    at = data.index(b"mdat") + 4
    return settings, data[at:]


def saved(format: str, size: tuple[int, int] = (226, 150), mode: str = "RGB", **options: Any) -> bytes:
    """The cat, as Pillow saves it."""
    file = io.BytesIO()
    with Image.open(CAT) as cat:
        cat.convert(mode).resize(size).save(file, format, **options)
    return file.getvalue()


# --- As a phone holds it ----------------------------------------------------------------------------------------------

CANARY = b"CANARY"
# What a viewer does to the pixels for each EXIF orientation; of 2 to 8 none is its own inverse but the mirrored ones.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The same as HEIF says it: so many quarters to the left, then mirrored (0: top and bottom, 1: left and right).
PROPERTIES: dict[int, list[bytes]] = {
    1: [],
    2: [box(b"imir", b"\x01")],
    3: [box(b"irot", b"\x02")],
    4: [box(b"imir", b"\x00")],
    5: [box(b"irot", b"\x01"), box(b"imir", b"\x00")],
    6: [box(b"irot", b"\x03")],
    7: [box(b"irot", b"\x03"), box(b"imir", b"\x00")],
    8: [box(b"irot", b"\x01")],
}


def exif(turn: int) -> bytes:
    """EXIF with an orientation, an author (CANARY) and a place."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = turn
    tags[ExifTags.Base.Artist] = CANARY.decode()
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 22.0, 0.0)})
    return bytes(tags.tobytes())


def heic(turn: int, *, exif: bytes = b"") -> bytes:
    """The cat with this orientation as properties, and perhaps EXIF."""
    settings, pixels = parts_of_real_heic()
    properties = [ispe(226, 150), settings, *PROPERTIES[turn]]
    items = {1: (b"hvc1", list(range(1, len(properties) + 1)), pixels)}
    references = []
    if exif:
        items[2] = (b"Exif", [], bytes(4) + exif.removeprefix(b"Exif\0\0"))
        references = [box(b"cdsc", b"\x00\x02\x00\x01\x00\x01")]
    return heif(items=items, properties=properties, references=references, pixels_first=True)


def turned_cat(turn: int) -> Image.Image:
    """The cat as a viewer shows it for this orientation."""
    cat = Image.open(io.BytesIO(saved("PNG")))
    method = TURNS[turn]
    return cat if method is None else cat.transpose(method)


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are from each other, on average, 0 to 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)
