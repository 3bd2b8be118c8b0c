"""A picture without what its pixels do not need: where, when, by whom and with what it was taken.

What is kept is a list, and everything else goes: EXIF with GPS, XMP, IPTC, comments, text, times, thumbnails, the
frames of an animation, and all bytes behind the end. Kept is what a decoder needs for the same pixels in the same
colours and the right way up: of EXIF just the orientation, and a colour profile that is one by its frame: its parts,
its length and its signature. What stands inside such a profile stays. No pixel is decoded, and scans are copied byte
for byte.
"""

from __future__ import annotations

import zlib
from typing import Literal

from pet_detector.rules.picture_parts import (
    APP0,
    APP1,
    APP2,
    APP14,
    DAC,
    DHT,
    DQT,
    DRI,
    EOI,
    FRAMES,
    JPEG_MAGIC,
    PNG_MAGIC,
    SOS,
    Segment,
    chunks,
    segments,
)

# JPEG: frame, tables and scans. APP0, APP1, APP2 and APP14 are looked at: what they are says their content.
_KEPT_SEGMENTS = FRAMES | {DHT, DAC, DQT, DRI, SOS, EOI}
_JFIF, _EXIF, _ICC, _ADOBE = b"JFIF\x00", b"Exif\x00\x00", b"ICC_PROFILE\x00", b"Adobe"
# Without these two a decoder may take other colours. JFIF: version, unit, densities, and a thumbnail of 0 x 0.
_JFIF_BYTES, _ADOBE_BYTES = 14, 12

# PNG: each kind that is kept, and the most bytes that its content can have; None: as many as it likes.
_KEPT_CHUNKS: dict[bytes, int | None] = {
    b"IHDR": 13,
    b"PLTE": 768,
    b"IDAT": None,
    b"tRNS": 256,
    b"bKGD": 6,
    b"pHYs": 9,
    # colours
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"cICP": 4,  # and iCCP, which is looked at
}

# A colour profile (ICC.1, 7.2): its header, whose first 4 bytes are its length, and a signature in it.
_PROFILE_HEADER, _PROFILE_SIGNATURE_AT, _PROFILE_SIGNATURE = 128, 36, b"acsp"
# JPEG: behind _ICC the number of the part, from 1, and how many there are.
_PART_AT = len(_ICC) + 2
# PNG: a larger profile is not inflated. A name of the sender's may say anything; this one says nothing.
_MOST_PROFILE_BYTES = 4 * 1024 * 1024
_PROFILE_NAME = b"icc"
_MOST_NAME_BYTES = 79

_ORIENTATION_TAG, _SHORT, _LONG = 0x0112, 3, 4
_UPRIGHT = 1
# What is read of EXIF: all that a JPEG's can have. A PNG's may have 15 MB.
_TIFF_READ = 64 * 1024


def strip(data: bytes) -> bytes:
    """A JPEG or PNG without its metadata; one that has none comes out as it is.

    Never raises for a file that passed the gate (image_format.py); ValueError for what is neither JPEG nor PNG.
    """
    if data.startswith(JPEG_MAGIC):
        return _strip_jpeg(data)
    if data.startswith(PNG_MAGIC):
        return _strip_png(data)
    raise ValueError("neither JPEG nor PNG")


def _strip_jpeg(data: bytes) -> bytes:
    view, kept = memoryview(data), [memoryview(JPEG_MAGIC[:2])]
    seen_exif, scan = False, None  # where the entropy-coded data of a scan begins, while one is open
    profile: dict[int, bytes] = {}  # the content of its parts, by their place in `kept`
    seen_scan = False
    for segment in segments(data):
        if scan is not None:
            kept.append(view[scan : segment.start])
            scan = None
        if segment.marker in _KEPT_SEGMENTS:
            kept.append(view[segment.start : segment.end])
            scan = segment.end if segment.marker == SOS else None
            seen_scan = seen_scan or segment.marker == SOS
        elif segment.marker == APP1 and not seen_exif and data.startswith(_EXIF, segment.start + 4):
            # Of several, most viewers take the first.
            seen_exif = True
            tiff = view[segment.start + 4 + len(_EXIF) : segment.end]
            turn = orientation(tiff)
            kept.append(memoryview(b"" if turn == _UPRIGHT else _segment(APP1, _EXIF + _tiff(turn))))
        elif segment.marker == APP2:
            # A decoder looks for it before the first scan.
            if (
                not seen_scan
                and data.startswith(_ICC, segment.start + 4)
                and segment.end - segment.start - 4 >= _PART_AT
            ):
                profile[len(kept)] = data[segment.start + 4 + len(_ICC) : segment.end]
                kept.append(view[segment.start : segment.end])
        else:
            kept.append(memoryview(_application_segment(data, segment)))
    if not _are_profile(list(profile.values())):
        for place in profile:
            kept[place] = memoryview(b"")
    return b"".join(kept)


def _are_profile(parts: list[bytes]) -> bool:
    """Whether these are all parts of one colour profile, each behind its number and how many there are."""
    numbered = {part[0]: part[2:] for part in parts}
    is_complete = sorted(part[0] for part in parts) == list(range(1, len(parts) + 1))
    is_agreed = all(part[1] == len(parts) for part in parts)
    return is_complete and is_agreed and _is_profile(b"".join(numbered[number] for number in sorted(numbered)))


def _is_profile(data: bytes) -> bool:
    is_whole = len(data) >= _PROFILE_HEADER and int.from_bytes(data[:4], "big") == len(data)
    return is_whole and data.startswith(_PROFILE_SIGNATURE, _PROFILE_SIGNATURE_AT)


def _application_segment(data: bytes, segment: Segment) -> bytes:
    """What is kept of an APP0 or APP14 segment; nothing of any other one."""
    content = data[segment.start + 4 : segment.end]
    if segment.marker == APP0 and content.startswith(_JFIF) and len(content) >= _JFIF_BYTES:
        return _segment(APP0, content[: _JFIF_BYTES - 2] + bytes(2))
    if segment.marker == APP14 and content.startswith(_ADOBE) and len(content) >= _ADOBE_BYTES:
        return _segment(APP14, content[:_ADOBE_BYTES])
    return b""


def _strip_png(data: bytes) -> bytes:
    view, kept = memoryview(data), [memoryview(PNG_MAGIC)]
    seen_exif = seen_profile = pixels_began = pixels_ended = False
    for kind, start, end in chunks(data):
        is_pixels = kind == b"IDAT"
        pixels_ended = pixels_ended or (pixels_began and not is_pixels)
        pixels_began = pixels_began or is_pixels
        if kind == b"eXIf" and not seen_exif:
            seen_exif = True
            turn = orientation(view[start + 8 : end - 4])
            kept.append(memoryview(b"" if turn == _UPRIGHT else _chunk(b"eXIf", _tiff(turn))))
        elif kind == b"IEND":
            kept.append(memoryview(_chunk(kind, b"")))  # a decoder passes over what it contains
        elif kind == b"iCCP":
            # Of several, decoders take the first; behind the first pixels, none.
            if not seen_profile and not pixels_began:
                kept.append(memoryview(_profile_chunk(data[start + 8 : end - 4])))
            seen_profile = True
        elif kind in _KEPT_CHUNKS and not pixels_ended:  # the pixels are one run of chunks, and the rest stands before
            limit = _KEPT_CHUNKS[kind]
            if limit is None or end - start - 12 <= limit:
                kept.append(view[start:end])
    return b"".join(kept)


def _profile_chunk(content: bytes) -> bytes:
    """An iCCP chunk with the same colour profile under a name that says nothing; nothing when it is none.

    It is compressed anew: behind the compressed data, and in how it is compressed, there is room for other things.
    """
    name_ends = content.find(b"\x00", 0, _MOST_NAME_BYTES + 1)
    if name_ends < 1 or content[name_ends + 1 : name_ends + 2] != b"\x00":  # the one method that there is
        return b""
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(content[name_ends + 2 :], _MOST_PROFILE_BYTES + 1)
    except zlib.error:
        return b""
    if not inflater.eof or len(profile) > _MOST_PROFILE_BYTES or not _is_profile(profile):
        return b""
    return _chunk(b"iCCP", _PROFILE_NAME + bytes(2) + zlib.compress(profile))


def orientation(tiff: bytes | memoryview) -> int:
    """How EXIF (as TIFF, from its byte order on) says that the picture is to be turned, 1 to 8; 1 when it does not."""
    data = bytes(tiff[:_TIFF_READ])
    if not data.startswith((b"II*\x00", b"MM\x00*")):
        return _UPRIGHT
    order: Literal["little", "big"] = "little" if data.startswith(b"I") else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    first = number(4, 4) + 2
    count = min(number(first - 2, 2), (len(data) - first) // 12)  # whole entries: tag, type, count, value
    for at in range(first, first + 12 * count, 12):
        if number(at, 2) == _ORIENTATION_TAG:
            size = {_SHORT: 2, _LONG: 4}.get(number(at + 2, 2), 0)
            turn = number(at + 8, size)
            return turn if turn in range(1, 9) else _UPRIGHT
    return _UPRIGHT


def _tiff(turn: int) -> bytes:
    """EXIF with one tag, the orientation."""
    entry = b"".join(
        number.to_bytes(size, "big") for number, size in ((_ORIENTATION_TAG, 2), (_SHORT, 2), (1, 4), (turn, 2), (0, 2))
    )
    return b"MM\x00*" + (8).to_bytes(4, "big") + (1).to_bytes(2, "big") + entry + bytes(4)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
