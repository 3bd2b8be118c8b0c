"""What must hold of a file and of what is filed of it: found out without the code that is tested.

The parsers here are strict, and Pillow is the second opinion on sizes and pixels.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from convert_image import conversion
from PIL import Image

from pet_detector.rules import image_format, metadata
from pet_detector.rules.models import ImageFormat, ImageHeader, Rejection
from tests.support.containers import CANARY
from tests.support.pictures import PNG_START

# Frames, tables and scans.
NEEDED_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC8}) | {0xDA, 0xDB, 0xDD}
NEEDED_CHUNKS = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT cICP bKGD pHYs".split())
# Behind "Exif" and two zeros: big-endian TIFF, one directory with one entry, the orientation.
_TURN = struct.Struct(">4sIHHHIHHI")


def turn_of(tiff: bytes) -> int:
    """The orientation in EXIF that has nothing else."""
    assert len(tiff) == _TURN.size
    magic, at, entries, tag, kind, count, turn, padding, further = _TURN.unpack(tiff)
    assert (magic, at, entries, tag, kind, count, padding, further) == (b"MM\x00*", 8, 1, 0x0112, 3, 1, 0, 0)
    return int(turn)


def check_profile(data: bytes) -> None:
    """That it is a colour profile by its frame: what stands inside it is nobody's business here."""
    assert (len(data) >= 128, struct.unpack(">I", data[:4])[0], data[36:40]) == (True, len(data), b"acsp"), "no profile"


def turn_of_clean_jpeg(data: bytes) -> int:
    """Go through a JPEG part by part: only what is needed, and nothing between or behind -> its orientation."""
    assert data.startswith(b"\xff\xd8\xff")
    at, turn = 2, 1
    parts: list[tuple[int, int, bytes]] = []  # of a colour profile
    scanned = False
    while data[at : at + 2] != b"\xff\xd9":
        start, marker = data[at], data[at + 1]
        assert start == 0xFF, "bytes between segments"
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 2 + length]
        assert len(content) == length - 2
        at += 2 + length
        if marker == 0xE0:
            assert content.startswith(b"JFIF\x00")
            assert (len(content), content[-2:]) == (14, b"\x00\x00"), "a thumbnail"
        elif marker == 0xE1:
            assert content.startswith(b"Exif\x00\x00")
            turn = turn_of(content[6:])
        elif marker == 0xE2:
            assert not scanned
            assert content.startswith(b"ICC_PROFILE\x00")
            parts.append((content[12], content[13], content[14:]))
        elif marker == 0xEE:
            assert content.startswith(b"Adobe")
            assert len(content) == 12
        else:
            assert marker in NEEDED_MARKERS, f"a segment FF{marker:02X}"
        if marker == 0xDA:
            scanned = True
            at = _behind_scan(data, at)
    assert at + 2 == len(data), "bytes behind the end"
    if parts:
        parts.sort()
        assert [part[:2] for part in parts] == [(number, len(parts)) for number in range(1, len(parts) + 1)]
        check_profile(b"".join(part for _, _, part in parts))
    return turn


def _behind_scan(data: bytes, at: int) -> int:
    """Where the next segment begins: entropy-coded data may hold 0xFF before some bytes only."""
    while True:
        at = data.index(b"\xff", at)
        if data[at + 1] >= 0xC0 and data[at + 1] not in range(0xD0, 0xD9) and data[at + 1] != 0xFF:
            return at
        at += 1 if data[at + 1] == 0xFF else 2


def turn_of_clean_png(data: bytes) -> int:
    """Go through a PNG part by part, as for a JPEG."""
    assert data.startswith(PNG_START)
    at, turn, kinds = len(PNG_START), 1, list[bytes]()
    while kinds[-1:] != [b"IEND"]:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        assert len(content) == length
        if kind == b"eXIf":
            turn = turn_of(content)
            assert data[at + 8 + length : at + 12 + length] == struct.pack(">I", zlib.crc32(kind + content))
        elif kind == b"iCCP":
            assert kind not in kinds
            assert content.startswith(b"icc\x00\x00"), "a name of the sender's"
            inflater = zlib.decompressobj()
            check_profile(inflater.decompress(content[5:]))
            assert (inflater.eof, inflater.unused_data) == (True, b"")
            assert data[at + 8 + length : at + 12 + length] == struct.pack(">I", zlib.crc32(kind + content))
        else:
            assert kind in NEEDED_CHUNKS, f"a chunk {kind!r}"
        kinds.append(kind)
        at += 12 + length
    assert at == len(data), "bytes behind the end"
    return turn


def turn_of_clean(data: bytes) -> int:
    """The orientation of a picture that has been stripped; AssertionError if anything else was left."""
    return turn_of_clean_jpeg(data) if data.startswith(b"\xff\xd8") else turn_of_clean_png(data)


# As Pillow names them; of a JPEG with EXIF it makes up "dpi".
_SHOWN = {"transparency", "gamma", "chromaticity", "srgb", "adobe_transform", "jfif_density"}


@dataclass(frozen=True)
class Decoded:
    """What a decoder makes of a file."""

    mode: str
    size: tuple[int, int]
    pixels: bytes
    profile: bytes | None
    shown: dict[str, object]  # what else says how the pixels are to be shown


def opened(data: bytes) -> Image.Image | None:
    """What Pillow reads of a file before its pixels; None when it cannot."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "MPO"])
        except Exception:
            return None


def decoded(data: bytes) -> Decoded | None:
    """None when Pillow cannot read it."""
    image = opened(data)
    if image is None:
        return None
    with warnings.catch_warnings(action="ignore"), image:
        try:
            image.load()
        except Exception:
            return None
        names = _SHOWN | ({"dpi"} if image.format == "PNG" else set())
        shown = {name: image.info[name] for name in names & image.info.keys()}
        return Decoded(image.mode, image.size, image.tobytes(), image.info.get("icc_profile"), shown)


def judge(data: bytes) -> str:
    """Every oracle on one file -> the gate's verdict; AssertionError says which one does not hold."""
    verdict = image_format.inspect(data)
    if isinstance(verdict, Rejection):
        return str(verdict.code)
    assert isinstance(verdict, ImageHeader)
    size = verdict.width, verdict.height
    assert _is_within_limits(size)
    if verdict.format.is_converted:
        return _judge_container(data, verdict)
    image = opened(data)
    if image is not None:
        assert image.size == size, f"a decoder sees {image.size}, the gate {size}"
    clean = metadata.strip(data)
    assert len(clean) <= len(data) + 40, "longer than before"  # one EXIF where there was a shorter one
    turn_of_clean(clean)
    assert image_format.inspect(clean) == verdict, "what was stripped is another picture"
    assert metadata.strip(clean) == clean, "stripping again changes it"
    if image is not None and (before := decoded(data)):
        after = decoded(clean)
        assert after is not None, "cannot be decoded any more"
        assert (after.mode, after.size) == (before.mode, before.size)
        assert after.pixels == before.pixels, "other pixels"
        return "accepted, same pixels"
    return "accepted"


def _judge_container(data: bytes, verdict: ImageHeader) -> str:
    """No decoder may find a larger picture than the gate: what it makes of one is bounded by that size.

    HEIC is opened by the converter alone (`judge_converted`): there are files of which pi_heif crashes.
    """
    name = verdict.format.name
    if verdict.format is not ImageFormat.HEIC:
        with warnings.catch_warnings(action="ignore"):
            try:
                found = sorted(Image.open(io.BytesIO(data), formats=[name]).size)
            except Exception:
                return f"accepted as {name}, and no decoder opens it"
        allowed = sorted((verdict.width, verdict.height))
        assert max(found) <= max(allowed), f"a decoder sees {found}, the gate {allowed}"
        assert min(found) <= min(allowed), f"a decoder sees {found}, the gate {allowed}"
    return f"accepted as {name}"


def judge_converted(data: bytes) -> str:
    """What the converter makes of a file that the gate takes: a JPEG without a word of it, or a rejection."""
    verdict = image_format.inspect(data)
    assert isinstance(verdict, ImageHeader)
    made = conversion.convert(data, verdict)
    if isinstance(made, Rejection):
        return "not decoded"
    header = image_format.inspect(made)
    assert isinstance(header, ImageHeader)
    assert header.format is ImageFormat.JPEG
    assert turn_of_clean(made) == 1
    assert CANARY not in made
    assert metadata.strip(made) == made
    return "decoded"


def _is_within_limits(size: tuple[int, int]) -> bool:
    shorter, longer = sorted(size)
    return shorter >= 80 and longer <= 10_000 and shorter * longer <= 50_000_000
