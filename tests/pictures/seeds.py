"""Pictures of every kind, each with all the metadata that its format can hold, and the photos of the repository.

Everything in them that is not needed for the same picture contains CANARY.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageCms

from tests.support.paths import REPOSITORY
from tests.support.pictures import PNG_START, chunk, segment

CANARY = b"CANARY-4711"
WIDTH, HEIGHT = 104, 88
PHOTOS = sorted((REPOSITORY / "photos").glob("*.jpg"))


@dataclass(frozen=True)
class Seed:
    """A picture. `orientation` is 1 to 8."""

    name: str
    data: bytes
    orientation: int = 1


@cache
def icc_profile(size: int = 0) -> bytes:
    """The profile of sRGB, with bytes up to `size` as part of it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().ljust(size, b"i")
    return struct.pack(">I", len(profile)) + profile[4:]


def picture(mode: str) -> Image.Image:
    """A picture whose sides and corners all differ."""
    ramp = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    noise = Image.effect_noise((WIDTH, HEIGHT), 60)
    image = Image.merge("RGB", (ramp, noise, ramp.rotate(180)))
    if mode == "I;16":
        return Image.frombytes("I;16", (WIDTH, HEIGHT), bytes(range(256)) * (2 * WIDTH * HEIGHT // 256 + 1))
    return image.convert(mode) if mode != "RGBA" else Image.merge("RGBA", (*image.split(), ramp))


def exif(orientation: int) -> bytes:
    """EXIF with place, device, author and a thumbnail, as an APP1 segment holds it."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Make] = tags[ExifTags.Base.Artist] = CANARY.decode()
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 22.0, 0.0), 3: "E", 4: (8.0, 32.0, 0.0)})
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = CANARY
    return tags.tobytes() + thumbnail()


def thumbnail() -> bytes:
    """A small JPEG with a comment."""
    return saved(picture("RGB").resize((16, 12)), "JPEG", comment=CANARY)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image's file."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + CANARY + b"</x:xmpmeta>"
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00" + CANARY


def jpeg_secrets() -> bytes:
    """A segment of every kind that says more than the picture."""
    jfxx = segment(0xE0, b"JFXX\x00\x10" + thumbnail())
    jfif = segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x02\x02" + CANARY.ljust(3 * 2 * 2))
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + XMP)
    more_xmp = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\x00" + CANARY)
    others = [segment(marker, CANARY) for marker in (*range(0xE2, 0xED), 0xEF, 0xFE)]
    # Segments that begin like one that is kept.
    others += [segment(0xE2, b"MPF\x00" + CANARY), segment(0xED, IPTC), segment(0xEE, b"Ducky" + CANARY)]
    others += [segment(0xE2, b"ICC_PROFILE" + CANARY), segment(0xE1, b"Exif\x00\x00" + CANARY)]
    return b"".join([jfxx, jfif, xmp, more_xmp, *others])


def profile_frauds() -> list[bytes]:
    """What says that it is a colour profile, and is not."""
    profile = icc_profile()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("letter.txt", CANARY)
    longer = struct.pack(">I", len(profile)) + profile[4:] + CANARY
    unsigned = profile[:36] + b"spca" + profile[40:]
    return [archive.getvalue(), CANARY, CANARY.ljust(300), longer, unsigned + CANARY, profile[:100] + CANARY, b""]


def jpeg_profile(*parts: bytes, first: int = 1, of: int | None = None) -> bytes:
    """APP2 segments with the parts of a profile, numbered."""
    of = len(parts) if of is None else of
    numbered = enumerate(parts, first)
    return b"".join(segment(0xE2, b"ICC_PROFILE\x00" + bytes([number, of]) + part) for number, part in numbered)


def png_profile(profile: bytes, name: bytes = b"ICC Profile", behind: bytes = b"") -> bytes:
    """An iCCP chunk."""
    return chunk(b"iCCP", name + bytes(2) + zlib.compress(profile) + behind)


def false_profiles() -> Iterator[Seed]:
    """Pictures with something else where a colour profile stands, or beside one."""
    jpeg, png = saved(picture("RGB"), "JPEG"), saved(picture("RGB"), "PNG")
    profile, secret = icc_profile(), jpeg_profile(CANARY)
    for number, fraud in enumerate(profile_frauds()):
        yield Seed(f"jpeg with fraud {number} for a profile", jpeg[:2] + jpeg_profile(fraud) + jpeg[2:])
        yield Seed(f"png with fraud {number} for a profile", png[:33] + png_profile(fraud) + png[33:])
    half, rest = profile[:300], profile[300:]
    wrong = {
        "a part too many": jpeg_profile(half, rest, of=2) + secret,
        "a part too few": jpeg_profile(half, CANARY, of=3),
        "parts from 0": jpeg_profile(half, rest + CANARY, first=0),
        "a part twice": jpeg_profile(profile, of=2) + jpeg_profile(CANARY, of=2),
        "a part without number": segment(0xE2, b"ICC_PROFILE\x00") + secret,
    }
    for name, segments in wrong.items():
        yield Seed(f"jpeg with {name}", jpeg[:2] + segments + jpeg[2:])
    end = jpeg[:-2]
    yield Seed("jpeg with a profile behind the pixels", end + jpeg_profile(profile + CANARY) + jpeg[-2:])
    for name, chunks in {
        "a name that says something": png_profile(profile, CANARY),
        "bytes behind its profile": png_profile(profile, behind=CANARY),
        "two profiles": png_profile(profile) + png_profile(profile, CANARY),
        "a profile that breaks off": chunk(b"iCCP", b"icc\x00\x00" + zlib.compress(profile)[:-20] + b"\x00" + CANARY),
        "no compressed profile": chunk(b"iCCP", b"icc\x00\x00" + CANARY),
        "a profile of another method": chunk(b"iCCP", b"icc\x00\x01" + zlib.compress(profile) + CANARY),
        "a profile without a name": chunk(b"iCCP", bytes(2) + zlib.compress(profile) + CANARY),
        "a long name": png_profile(profile, CANARY.ljust(80)),
        "a profile that ends at its name": chunk(b"iCCP", CANARY + bytes(1)),
    }.items():
        yield Seed(f"png with {name}", png[:33] + chunks + png[33:])
    bomb = zlib.compress(struct.pack(">I", 64 << 20) + icc_profile()[4:] + bytes((64 << 20) - len(profile)), 9)
    yield Seed("png with a bomb for a profile", png[:33] + chunk(b"iCCP", b"icc" + bytes(2) + bomb) + png[33:])


def with_secrets(jpeg: bytes) -> bytes:
    """A JPEG with secrets behind its own first segments, between its scans, and behind its end."""
    at = 2
    while jpeg[at + 1] in (0xE0, 0xE1, 0xEE):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    table = jpeg.find(b"\xff\xc4", jpeg.index(b"\xff\xda", at))  # of a progressive JPEG: before a later scan
    data = jpeg[:-2] + segment(0xFE, CANARY) + jpeg[-2:] + CANARY + thumbnail()
    if table > 0:
        data = data[:table] + segment(0xE1, b"Exif\x00\x00" + CANARY) + CANARY + data[table:]
    return data[:at] + jpeg_secrets() + CANARY + data[at:]


def jpegs() -> Iterator[Seed]:
    """Every kind of JPEG, and every orientation."""
    profile, large = icc_profile(), icc_profile(150_000)
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "grey": ("L", {}),
        "colour": ("RGB", {"icc_profile": profile}),
        "cmyk": ("CMYK", {}),
        "progressive": ("RGB", {"progressive": True}),
        "progressive grey": ("L", {"progressive": True, "icc_profile": profile}),
        "progressive cmyk": ("CMYK", {"progressive": True}),
        "restarts": ("RGB", {"restart_marker_blocks": 1}),
        "progressive restarts": ("RGB", {"restart_marker_rows": 1, "progressive": True}),
        "without subsampling": ("RGB", {"subsampling": "4:4:4", "quality": 98}),
        "rgb": ("RGB", {"keep_rgb": True}),
        "dense": ("RGB", {"dpi": (300, 300), "optimize": True}),
        "large profile": ("RGB", {"icc_profile": large}),
    }
    for name, (mode, options) in kinds.items():
        yield Seed(f"jpeg {name}, bare", saved(picture(mode), "JPEG", **options))
        data = saved(picture(mode), "JPEG", exif=exif(6), comment=CANARY, **options)
        yield Seed(f"jpeg {name}", with_secrets(data), 6)
    for orientation in range(1, 9):
        data = saved(picture("RGB"), "JPEG", exif=exif(orientation), icc_profile=profile)
        yield Seed(f"jpeg turned {orientation}", with_secrets(data), orientation)
    several = saved(picture("RGB"), "MPO", save_all=True, append_images=[picture("RGB")])
    yield Seed("jpeg with a second picture", several + CANARY)


def png_secrets() -> bytes:
    """A chunk of every kind that says more than the picture."""
    text = b"Comment\x00"
    packed = zlib.compress(CANARY)
    return b"".join(
        [
            chunk(b"tEXt", text + CANARY),
            chunk(b"zTXt", text + b"\x00" + packed + CANARY),
            chunk(b"iTXt", text + b"\x00\x00\x00\x00" + CANARY),
            chunk(b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + XMP),
            chunk(b"tIME", struct.pack(">HBBBBB", 2026, 11, 29, 12, 0, 0)),
            chunk(b"prVt", CANARY),
            chunk(b"sBIT", CANARY),  # longer than such a chunk can be
            chunk(b"eXIf", CANARY),
        ]
    )


def pngs() -> Iterator[Seed]:
    """Every kind of PNG, and every orientation."""
    profile = icc_profile()
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        options: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
        yield Seed(f"png {mode}, bare", saved(picture(mode), "PNG", **options))
        made = saved(picture(mode), "PNG", exif=exif(3)[6:], icc_profile=profile, dpi=(72, 72), **options)
        yield Seed(f"png {mode}", _between(made), 3)
    for orientation in range(1, 9):
        made = saved(picture("RGB"), "PNG", exif=exif(orientation))
        yield Seed(f"png turned {orientation}", _between(made), orientation)
    colours = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"cHRM", struct.pack(">8I", *range(30000, 30008)))
    colours += chunk(b"sBIT", b"\x08\x08\x08") + chunk(b"cICP", b"\x01\x0d\x00\x01") + chunk(b"bKGD", bytes(6))
    plain = saved(picture("RGB"), "PNG")
    yield Seed("png with colours", plain[:33] + colours + plain[33:])
    frames = [picture("RGB").rotate(angle) for angle in (90, 180)]
    yield Seed("png with an animation", saved(picture("RGB"), "PNG", save_all=True, append_images=frames))
    pixels = [data for kind, data in _chunks(plain) if kind == b"IDAT"]
    small = [part for data in pixels for part in _cut(data, 50)]
    yield Seed("png in small parts", plain[:33] + b"".join(chunk(b"IDAT", part) for part in small) + chunk(b"IEND"))


def _between(png: bytes) -> bytes:
    """With secrets behind the header, behind the pixels, and behind the end."""
    return png[:33] + png_secrets()[: -len(chunk(b"eXIf", CANARY))] + png[33:-12] + png_secrets() + png[-12:] + CANARY


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_START)
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@cache
def seeds() -> tuple[Seed, ...]:
    """All of them."""
    photos = [Seed(f"photo {photo.stem}", photo.read_bytes()) for photo in PHOTOS]
    return (*jpegs(), *pngs(), *photos)
