"""WebP, AVIF and HEIC, judged by their chunks and boxes before anything is decoded."""

from __future__ import annotations

import io
import struct

import pi_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pet_detector.rules.image_format import MAX_BYTES, inspect
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from pet_detector.rules.picture_parts import MAX_PARTS
from tests.support.containers import (
    bomb,
    box,
    canvas,
    full,
    grid,
    heif,
    infe,
    ispe,
    lossless,
    lossy,
    moving,
    real_heic,
    reference,
    riff,
    riff_chunk,
    saved,
)

Size = tuple[int, int]
WHOLE = heif(items={1: (b"hvc1", [1], b"pixels")}, properties=[ispe(640, 480)])


def code_of(data: bytes) -> ReasonCode | None:
    """Why a file is rejected; None when it is taken."""
    verdict = inspect(data)
    return verdict.code if isinstance(verdict, Rejection) else None


# --- What is taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "mode"),
    [({}, "RGB"), ({"lossless": True}, "RGB"), ({}, "RGBA"), ({"lossless": True}, "RGBA"), ({"exif": b"Exif"}, "RGB")],
)
def test_takes_each_kind_of_webp_with_the_size_that_a_decoder_finds(options: dict[str, object], mode: str) -> None:
    data = saved("WEBP", (227, 151), mode, **options)
    assert inspect(data) == ImageHeader(ImageFormat.WEBP, 227, 151)


@pytest.mark.parametrize(("format", "kind"), [("WEBP", ImageFormat.WEBP), ("AVIF", ImageFormat.AVIF)])
def test_takes_an_animation(format: str, kind: ImageFormat) -> None:
    more = [Image.new("RGB", (226, 150), "orange")]
    assert inspect(saved(format, save_all=True, append_images=more)) == ImageHeader(kind, 226, 150)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_takes_each_kind_of_avif(mode: str) -> None:
    assert inspect(saved("AVIF", (227, 151), mode)) == ImageHeader(ImageFormat.AVIF, 227, 151)


def test_takes_a_heic_with_the_size_that_a_decoder_finds() -> None:
    assert inspect(real_heic()) == ImageHeader(ImageFormat.HEIC, *pi_heif.open_heif(real_heic()).size)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"avif"])
def test_how_the_pixels_are_coded_says_the_format_and_no_brand(brand: bytes) -> None:
    for kind, format in ((b"hvc1", ImageFormat.HEIC), (b"av01", ImageFormat.AVIF)):
        data = heif(brand=brand, items={1: (kind, [1], b"pixels")}, properties=[ispe(640, 480)])
        assert inspect(data) == ImageHeader(format, 640, 480)


SIZE = 1400, 1000


def tiles(
    shape: tuple[int, int] = (3, 2), side: int = 512, count: int = 6, whole: Size = SIZE, says: Size = SIZE
) -> bytes:
    """A picture made of tiles, as an iPhone's is; its grid is as large as it `says`."""
    items = {1: (b"grid", [1], grid(*shape, *says))}
    items |= {number: (b"hvc1", [2], b"pixels") for number in range(2, 2 + count)}
    parts = [reference(b"dimg", 1, *range(2, 2 + count))]
    return heif(items=items, properties=[ispe(*whole), ispe(side, side)], references=parts)


def test_takes_a_picture_made_of_tiles() -> None:
    assert inspect(tiles()) == ImageHeader(ImageFormat.HEIC, 1400, 1000)


def test_the_name_does_not_matter_and_bytes_behind_the_end_of_a_webp_neither() -> None:
    assert code_of(saved("WEBP") + b"more") is None


# --- Bombs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        bomb(),
        bomb(10_001, 100),
        bomb(0xFFFFFFFF, 0xFFFFFFFF),
        riff(canvas(10_000, 10_000), lossy(10_000, 10_000)),
        riff(lossy(16_383, 16_383)),
        riff(lossless(16_384, 16_384)),
        riff(canvas(1 << 24, 1 << 24, 2), moving(100, 100, lossy(100, 100))),
        tiles((20, 20), count=400, whole=(10_000, 10_000), says=(10_000, 10_000)),
        # One that is not the picture: a thumbnail, transparency, a track.
        heif(items={1: (b"hvc1", [1], b"p"), 2: (b"hvc1", [2], b"p")}, properties=[ispe(640, 480), ispe(9_000, 9_000)]),
        heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480), ispe(30_000, 30_000)]),
    ],
    ids=["heic", "long", "endless", "extended", "lossy", "lossless", "animated", "tiles", "thumbnail", "of nothing"],
)
def test_a_bomb_is_refused_by_its_header(data: bytes) -> None:
    assert len(data) < 20_000
    assert code_of(data) is ReasonCode.TOO_MANY_PIXELS


def track(width: int, height: int, kind: bytes = b"av01", tkhd: tuple[int, int] = (0, 0)) -> bytes:
    """The box of an animation, as deep as its size lies."""
    sample = box(kind, bytes(24), struct.pack(">HH", width, height), bytes(50))
    samples = box(b"stbl", full(b"stsd", struct.pack(">I", 1), sample))
    head = full(b"tkhd", bytes(72), struct.pack(">II", tkhd[0] << 16, tkhd[1] << 16))
    return box(b"moov", box(b"trak", head, box(b"mdia", box(b"minf", samples))))


def test_an_animation_is_as_large_as_its_track_says_anywhere() -> None:
    still = {"items": {1: (b"av01", [1], b"pixels")}, "properties": [ispe(640, 480)], "brand": b"avis"}
    assert code_of(heif(**still, more=track(640, 480))) is None  # type: ignore[arg-type]
    for moov in (track(10_000, 10_000), track(640, 480, tkhd=(10_000, 10_000))):
        assert code_of(heif(**still, more=moov)) is ReasonCode.TOO_MANY_PIXELS  # type: ignore[arg-type]
    without_still = box(b"ftyp", b"avis", bytes(4)) + track(640, 480)
    assert inspect(without_still) == ImageHeader(ImageFormat.AVIF, 640, 480)


def test_a_strip_and_a_stamp_are_named_too_small() -> None:
    assert code_of(bomb(79, 500)) is ReasonCode.TOO_SMALL
    assert code_of(riff(lossy(79, 500))) is ReasonCode.TOO_SMALL


# --- What decoders could disagree on --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        riff(canvas(640, 480), lossy(641, 480)),
        riff(canvas(640, 480), canvas(640, 480), lossy(640, 480)),
        riff(lossy(640, 480), lossy(640, 480)),
        riff(lossy(640, 480), canvas(640, 480)),
        riff(canvas(640, 480), moving(640, 480, lossy(640, 480))),  # says that it is none
        riff(canvas(640, 480, 2), lossy(640, 480)),
        riff(canvas(640, 480, 2), moving(642, 480, lossy(642, 480))),
        riff(canvas(640, 480, 2), moving(640, 480, lossy(640, 480), x=2)),
        riff(canvas(640, 480, 2), moving(640, 480, lossy(9_000, 9_000))),
        riff(canvas(640, 480, 2), moving(640, 480)),
        riff(moving(640, 480, lossy(640, 480))),
        riff(riff_chunk(b"VP8 ", bytes(20))),
        riff(riff_chunk(b"VP8L", bytes(20))),
        riff(b"VP8 \xff\xff\xff\xff" + bytes(20)),
        heif(items={1: (b"hvc1", [1, 2], b"p")}, properties=[ispe(640, 480), ispe(641, 480)]),
        heif(items={1: (b"hvc1", [], b"p")}, properties=[ispe(640, 480)]),
        heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480)], primary=2),
        heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480)], meta=full(b"pitm", b"\x00\x01")),
        WHOLE + full(b"meta"),
        WHOLE + box(b"moov", struct.pack(">I", 0) + b"trak"),  # endless, and not the last of the file
        WHOLE + box(b"moov", struct.pack(">I", 4) + b"trak"),
        WHOLE + box(b"moov", struct.pack(">I", 9_999) + b"trak"),
        tiles(count=5),
        tiles(count=7),
        tiles(side=400),
        tiles(side=2_000),  # each tile is larger than the picture
        tiles(says=(1401, 1000)),
        tiles((20, 20), count=400, says=(10_000, 10_000)),
    ],
)  # fmt: skip
def test_what_says_two_things_is_damaged(data: bytes) -> None:
    assert code_of(data) is ReasonCode.DAMAGED


@pytest.mark.parametrize("kind", [b"jpeg", b"avc1", b"j2k1", b"vvc1", b"unci", b"iovl", b"iden", b"mime"])
def test_what_nobody_here_decodes_is_named(kind: bytes) -> None:
    verdict = inspect(heif(brand=b"mif1", items={1: (kind, [1], b"pixels")}, properties=[ispe(640, 480)]))
    assert isinstance(verdict, Rejection)
    assert verdict.code is ReasonCode.UNSUPPORTED_FORMAT
    assert kind.decode() in verdict.reason
    assert verdict.reason.endswith("send it as JPEG, PNG, WebP, AVIF or HEIC.")


def test_a_film_is_no_picture() -> None:
    assert code_of(box(b"ftyp", b"isom", bytes(4)) + track(640, 480)) is ReasonCode.NOT_AN_IMAGE
    assert code_of(box(b"ftyp", b"hevc", bytes(4)) + track(640, 480, b"hvc1")) is ReasonCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    "data", [saved("WEBP"), saved("AVIF"), real_heic(), tiles()], ids=["webp", "avif", "heic", "tiles"]
)
def test_a_file_that_breaks_off_is_truncated_wherever_it_does(data: bytes) -> None:
    for ends in range(40, len(data), 97):
        assert code_of(data[:ends]) in (ReasonCode.TRUNCATED, ReasonCode.DAMAGED)
    assert code_of(data[: len(data) // 2]) is ReasonCode.TRUNCATED
    assert code_of(data[:-1]) is ReasonCode.TRUNCATED


# --- Bounded work -----------------------------------------------------------------------------------------------------


def most(start: bytes, unit: bytes) -> bytes:
    """The largest file that is read, full of a unit."""
    return start + unit * ((MAX_BYTES - len(start)) // len(unit))


@pytest.mark.parametrize(
    "data",
    [
        riff(riff_chunk(b"EXIF") * (MAX_PARTS + 1), lossy(640, 480)),
        riff(canvas(640, 480, 2), moving(640, 480, lossy(640, 480)) * (MAX_PARTS // 2 + 1)),
        most(WHOLE, box(b"free")),
        heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480), *[box(b"free")] * MAX_PARTS]),
        heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480)], meta=box(b"free") * MAX_PARTS),
        WHOLE + box(b"moov", box(b"trak") * (MAX_PARTS + 1)),
        box(b"ftyp", b"heic", bytes(4))
        + full(b"meta", full(b"pitm", b"\0\1"), full(b"iinf", b"\0\1", infe(1, b"hvc1")),
               full(b"iloc", b"\x00\x00\xff\xff" + bytes(1 << 20)), box(b"iprp")),
    ],
    ids=["chunks", "frames", "boxes", "properties", "children", "tracks", "places"],
)  # fmt: skip
def test_a_flood_ends_the_walk(data: bytes) -> None:
    verdict = inspect(data[:MAX_BYTES])
    assert isinstance(verdict, Rejection)
    assert verdict.code is ReasonCode.DAMAGED
    assert f"{MAX_PARTS:,}" in verdict.reason


def test_boxes_inside_each_other_are_not_followed() -> None:
    nested = b""
    for _ in range(2_000):
        nested = box(b"meta", bytes(4), box(b"iprp", box(b"ipco", nested)))
    assert code_of(WHOLE + box(b"free", nested)) is None
    assert code_of(heif(items={1: (b"hvc1", [1], b"p")}, properties=[ispe(640, 480)], meta=nested)) is None


ANIMATION = heif(brand=b"avis", items={1: (b"av01", [1], b"pixels")}, properties=[ispe(640, 480)], more=track(640, 480))
SEEDS = [WHOLE, tiles(), real_heic(), saved("AVIF"), saved("WEBP"), ANIMATION]


@given(st.sampled_from(SEEDS), st.data())
def test_never_raises_and_takes_nothing_beyond_the_limits(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, min(len(changed), 700) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    verdict = inspect(bytes(changed))
    if isinstance(verdict, ImageHeader):
        assert verdict.width * verdict.height <= 50_000_000
        assert max(verdict.width, verdict.height) <= 10_000


@given(st.binary(max_size=400))
def test_never_raises_for_what_only_begins_like_one(rest: bytes) -> None:
    for start in (
        b"RIFF\x00\x01\x00\x00WEBP",
        box(b"ftyp", b"heic", bytes(4)),
        box(b"ftyp", b"heic") + b"\0\0\0\0meta\0\0\0\0",
    ):
        inspect(start + rest)


def test_decoders_find_no_larger_picture_than_the_header() -> None:
    """Of all that is taken here: what Pillow or pi-heif opens has the size that was judged."""
    for data in (saved("WEBP"), saved("AVIF")):
        verdict = inspect(data)
        assert isinstance(verdict, ImageHeader)
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (verdict.width, verdict.height)
