"""Which files are pictures that can be taken, told from their bytes."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pet_detector.rules import image_format
from pet_detector.rules.image_format import MAX_BYTES, inspect, too_large
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from tests.support.pictures import JPEG_END, JPEG_START, PNG_START, chunk, frame, jpeg, png, scan, segment

from .cloud import REPOSITORY

PHOTOS = sorted((REPOSITORY / "photos").glob("*.jpg"))

# Smaller than the largest file, to be quick; what is counted grows with the size.
FLOOD_BYTES = 2 * 1024 * 1024


def code_of(data: bytes) -> ReasonCode | None:
    """Why a file is rejected; None when it is taken."""
    verdict = inspect(data)
    return verdict.code if isinstance(verdict, Rejection) else None


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.stem)
def test_takes_every_photo_of_the_repository_with_the_size_that_a_decoder_finds(photo: Path) -> None:
    data = photo.read_bytes()
    with Image.open(io.BytesIO(data)) as picture:
        assert inspect(data) == ImageHeader(ImageFormat.JPEG, *picture.size)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"\xff\xd9"}])
def test_takes_each_kind_of_jpeg(mode: str, options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.effect_noise((101, 87), 90).convert(mode).save(file, "JPEG", **options)
    assert inspect(file.getvalue()) == ImageHeader(ImageFormat.JPEG, 101, 87)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_takes_each_kind_of_png(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (101, 87)).save(file, "PNG")
    assert inspect(file.getvalue()) == ImageHeader(ImageFormat.PNG, 101, 87)


@pytest.mark.parametrize("marker", sorted({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}))
def test_finds_the_size_in_every_kind_of_frame(marker: int) -> None:
    assert inspect(jpeg(123, 456, marker=marker)) == ImageHeader(ImageFormat.JPEG, 123, 456)


@pytest.mark.parametrize("marker", [0xC4, 0xC8, 0xCC])
def test_takes_no_size_from_tables_whose_markers_lie_between_those_of_frames(marker: int) -> None:
    table = segment(marker, struct.pack(">BHHB", 8, 11, 22, 1))
    assert inspect(jpeg(123, 456, before=table)) == ImageHeader(ImageFormat.JPEG, 123, 456)
    assert code_of(JPEG_START + table + scan() + JPEG_END) is ReasonCode.TRUNCATED


def test_steps_over_the_thumbnail_inside_a_jpeg() -> None:
    thumbnail = segment(0xE1, b"Exif\x00\x00" + jpeg(160, 120))
    assert inspect(jpeg(640, 480, before=thumbnail)) == ImageHeader(ImageFormat.JPEG, 640, 480)


def test_takes_what_phones_append_to_a_picture() -> None:
    assert code_of(jpeg() + b"a clip of three seconds") is None
    assert code_of(png() + b"a depth map") is None


@pytest.mark.parametrize("picture", [jpeg, png])
@pytest.mark.parametrize(
    ("width", "height", "code"),
    [
        (80, 80, None),
        (79, 80, ReasonCode.TOO_SMALL),
        (80, 79, ReasonCode.TOO_SMALL),
        (0, 0, ReasonCode.TOO_SMALL),
        (1, 65_535, ReasonCode.TOO_SMALL),
        (10_000, 80, None),
        (80, 10_000, None),
        (10_001, 80, ReasonCode.TOO_MANY_PIXELS),
        (80, 10_001, ReasonCode.TOO_MANY_PIXELS),
        (10_000, 5_000, None),
        (5_000, 10_000, None),
        (10_000, 5_001, ReasonCode.TOO_MANY_PIXELS),
        (7_072, 7_071, ReasonCode.TOO_MANY_PIXELS),
        (7_071, 7_071, None),
        (65_535, 65_535, ReasonCode.TOO_MANY_PIXELS),
    ],
)
def test_takes_sides_from_80_to_10_000_px_and_up_to_50_megapixels(
    picture: Callable[[int, int], bytes], width: int, height: int, code: ReasonCode | None
) -> None:
    assert code_of(picture(width, height)) is code


def test_a_png_may_claim_billions_of_pixels_without_costing_any() -> None:
    assert code_of(png(0xFFFFFFFF, 0xFFFFFFFF)) is ReasonCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("picture", [jpeg(), png()])
def test_takes_up_to_15_mb(picture: bytes) -> None:
    assert MAX_BYTES == 15 * 1024 * 1024
    assert code_of(picture.ljust(MAX_BYTES, b"\0")) is None
    assert code_of(picture.ljust(MAX_BYTES + 1, b"\0")) is ReasonCode.TOO_LARGE


def test_says_how_large_a_file_is_and_may_be() -> None:
    assert too_large(16_000_000).reason == "The file has 16,000,000 bytes; at most 15,728,640 (15 MB) can be analysed."


def test_an_empty_file_is_named_so() -> None:
    assert code_of(b"") is ReasonCode.EMPTY


@pytest.mark.parametrize(
    "data",
    [
        b"Dear cat, this is a letter and not a picture.",
        b"\x00",
        b"\xff\xd8",
        PNG_START[:7],
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x00\x00\x00\x18ftypmp42",
        b"\x00" + jpeg(),
        bytes(1000),
    ],
)
def test_what_is_no_picture_is_named_so(data: bytes) -> None:
    assert code_of(data) is ReasonCode.NOT_AN_IMAGE


def saved_as(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (100, 100), "orange").save(file, format)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (saved_as("GIF"), "GIF"),
        (b"GIF89a" + bytes(20), "GIF"),
        (saved_as("WEBP"), "WebP"),
        (saved_as("BMP"), "BMP"),
        (saved_as("TIFF"), "TIFF"),
        (b"MM\x00*" + bytes(20), "TIFF"),
        (saved_as("ICO"), "ICO"),
        (saved_as("JPEG2000"), "JPEG 2000"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00\x00\x00\x18ftypheix", "HEIC"),
        (b"\x00\x00\x00\x18ftypmif1", "HEIF"),
        (b"\x00\x00\x00\x18ftypavif", "AVIF"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\x00\x01" + bytes(20), "Photoshop"),
    ],
)
def test_a_format_that_cannot_be_analysed_is_named_with_what_to_do(data: bytes, name: str) -> None:
    assert inspect(data) == Rejection(ReasonCode.UNSUPPORTED_FORMAT, f"The file is {name}; send it as JPEG or PNG.")


@pytest.mark.parametrize(
    "data",
    [
        JPEG_START + b"\xff",
        JPEG_START + JPEG_END,
        JPEG_START + scan() + JPEG_END,  # pixels without a frame
        JPEG_START + frame(640, 480) + JPEG_END,  # a frame without pixels
        JPEG_START + frame(640, 480) + b"\xff\xda\x00\x01" + JPEG_END,  # a segment shorter than its own length
        JPEG_START + b"\xff\xe0\xff\xff" + frame(640, 480) + scan() + JPEG_END,  # a segment longer than the file
        PNG_START,
        PNG_START + chunk(b"IDAT", b"x" * 20) + chunk(b"IEND"),  # no header
        png()[: len(PNG_START) + 15],  # half a header
        PNG_START + png()[8:33] + chunk(b"IEND"),  # no pixels
        png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(40) + chunk(b"IEND"),  # a chunk longer than the file
        png()[:-12],
    ],
)
def test_a_file_that_breaks_off_is_named_so(data: bytes) -> None:
    assert code_of(data) is ReasonCode.TRUNCATED


def test_dimensions_are_told_before_truncation() -> None:
    assert code_of(jpeg(20, 20)[:-2]) is ReasonCode.TOO_SMALL
    assert code_of(png(20_000, 20)[:-12]) is ReasonCode.TOO_SMALL
    assert code_of(png(20_000, 200)[:-12]) is ReasonCode.TOO_MANY_PIXELS


def test_every_reason_code_has_a_file_that_gets_it() -> None:
    files = (b"", b"text", saved_as("GIF"), jpeg(1, 1), bytes(MAX_BYTES + 1), png(10_001, 80), jpeg()[:-1])
    assert {code_of(data) for data in files} == set(ReasonCode)


@given(st.sampled_from([jpeg(), png()]), st.data())
def test_no_part_of_a_picture_passes_for_the_whole(picture: bytes, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(picture) - 1))
    assert code_of(picture[:kept]) in {ReasonCode.EMPTY, ReasonCode.NOT_AN_IMAGE, ReasonCode.TRUNCATED}


@given(
    st.sampled_from([jpeg(), png(), jpeg(before=segment(0xE1, b"Exif\0\0" + jpeg())), png(between=chunk(b"tEXt"))]),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=6)), max_size=5),
    st.integers(0, 300),
)
def test_damaged_pictures_are_judged_and_never_crash(
    picture: bytes, damages: list[tuple[int, bytes]], kept: int
) -> None:
    data = bytearray(picture)
    for at, replacement in damages:
        data[at : at + len(replacement)] = replacement
    assert isinstance(inspect(bytes(data[:kept])), ImageHeader | Rejection)


@given(st.sampled_from([b"", JPEG_START + b"\xff", PNG_START, PNG_START + b"\0\0\0\rIHDR"]), st.binary(max_size=200))
def test_any_bytes_are_judged_and_never_crash(start: bytes, rest: bytes) -> None:
    verdict = inspect(start + rest)
    assert isinstance(verdict, ImageHeader | Rejection)
    if isinstance(verdict, ImageHeader):
        assert 80 <= min(verdict.width, verdict.height) <= max(verdict.width, verdict.height) <= 10_000


class CountedPattern:
    """A pattern that counts its searches and the bytes that they walk over."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.searches, self.walked = pattern, 0, 0

    def search(self, data: bytes, at: int) -> re.Match[bytes] | None:
        found = self.pattern.search(data, at)
        self.searches += 1
        self.walked += (found.end() if found else len(data)) - min(at, len(data))
        return found


@pytest.mark.parametrize(
    ("unit", "searches"),
    [
        (b"\xff\x00", 2),  # stuffed bytes
        (b"\xff\xff", 2),  # fill bytes
        (b"\xff\xd0", 2),  # restart markers
        (b"\xff\xd8", 2),  # further starts
        (b"\xff\x01", 2),
        (b"\xaa\xaa", 2),
        (b"\xff\xe0\x00\x02", FLOOD_BYTES // 4 + 2),  # empty segments
        (frame(640, 480), FLOOD_BYTES // len(frame(640, 480)) + 2),
    ],
    ids=["stuffed", "fill", "restart", "start", "tem", "pixels", "segments", "frames"],
)
def test_a_flood_of_markers_is_walked_once(unit: bytes, searches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = CountedPattern(image_format._MARKER)
    monkeypatch.setattr(image_format, "_MARKER", counted)
    data = (JPEG_START + segment(0xE0) + unit * (FLOOD_BYTES // len(unit)))[:FLOOD_BYTES]
    assert isinstance(inspect(data), Rejection)
    assert counted.searches <= searches
    assert counted.walked <= len(data)


def test_a_flood_of_chunks_has_an_end() -> None:
    flood = chunk(b"tEXt") * (FLOOD_BYTES // 12)
    assert code_of(png(between=flood)) is None
    assert code_of(png()[:33] + flood) is ReasonCode.TRUNCATED
