"""Which files are pictures that can be analysed, judged by their bytes."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pet_detector.rules import image_format, picture_parts
from pet_detector.rules.image_format import MAX_BYTES, inspect, too_large
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from pet_detector.rules.picture_parts import MAX_PARTS
from tests.support.paths import REPOSITORY
from tests.support.pictures import JPEG_END, JPEG_START, PNG_START, chunk, frame, jpeg, png, scan, segment

PHOTOS = sorted((REPOSITORY / "photos").glob("*.jpg"))


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
    if marker == 0xC8:  # reserved: decoders differ in what they make of it
        assert code_of(jpeg(123, 456, before=table)) is ReasonCode.DAMAGED
        return
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
        (saved_as("BMP"), "BMP"),
        (saved_as("TIFF"), "TIFF"),
        (b"MM\x00*" + bytes(20), "TIFF"),
        (saved_as("ICO"), "ICO"),
        (saved_as("JPEG2000"), "JPEG 2000"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\x00\x01" + bytes(20), "Photoshop"),
    ],
)
def test_a_format_that_cannot_be_analysed_is_named_with_what_to_do(data: bytes, name: str) -> None:
    reason = f"The file is {name}; send it as JPEG, PNG, WebP, AVIF or HEIC."
    assert inspect(data) == Rejection(ReasonCode.UNSUPPORTED_FORMAT, reason)


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
        png()[: len(PNG_START) + 15],  # half a header
        PNG_START + png()[8:33] + chunk(b"IEND"),  # no pixels
        png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(40) + chunk(b"IEND"),  # a chunk longer than the file
        png()[:-12],
    ],
)
def test_a_file_that_breaks_off_is_named_so(data: bytes) -> None:
    assert code_of(data) is ReasonCode.TRUNCATED


def test_wrong_dimensions_are_the_reason_before_truncation() -> None:
    assert code_of(jpeg(20, 20)[:-2]) is ReasonCode.TOO_SMALL
    assert code_of(png(20_000, 20)[:-12]) is ReasonCode.TOO_SMALL
    assert code_of(png(20_000, 200)[:-12]) is ReasonCode.TOO_MANY_PIXELS


def test_every_reason_code_has_a_file_that_gets_it() -> None:
    damaged = jpeg(before=frame(640, 480))
    files = (b"", b"text", saved_as("GIF"), jpeg(1, 1), bytes(MAX_BYTES + 1), png(10_001, 80), jpeg()[:-1], damaged)
    of_rekognition = {ReasonCode.UNSAFE_CONTENT}
    assert {code_of(data) for data in files} == set(ReasonCode) - of_rekognition


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


# --- Damaged, and how long it takes to find out -----------------------------------------------------------------------

ANOTHER_SIZE = frame(60_000, 60_000)
IHDR = png()[8:33]


@pytest.mark.parametrize(
    "data",
    [
        jpeg(before=frame(640, 480)),
        jpeg(before=frame(640, 480, marker=0xC2)),
        jpeg()[:-2] + ANOTHER_SIZE + JPEG_END,  # behind the pixels
        jpeg()[:-2] + frame(640, 480) + scan() + JPEG_END,
        JPEG_START + scan() + frame(640, 480) + scan() + JPEG_END,  # pixels before their frame
        JPEG_START + segment(0xC0) + scan() + JPEG_END,
        JPEG_START + segment(0xC0, b"\x08\x01\xe0\x02\x80") + scan() + JPEG_END,
        JPEG_START + segment(0xC0, b"\x08\x01\xe0\x02\x80\x00") + scan() + JPEG_END,  # no components
        JPEG_START + segment(0xC0, b"\x08\x01\xe0\x02\x80\x03" + bytes(8)) + scan() + JPEG_END,  # two and a half
        # Pillow takes the first for a frame, and looks for one inside the others.
        *(jpeg(before=segment(marker, frame(1, 1)[4:])) for marker in (0xDE, 0xC8, 0xDF, *range(0xF0, 0xFE))),
        jpeg(before=b"\xff\xcc\xff\xc0" + frame(60_000, 60_000)[2:].ljust(0xFFC0 - 2, b"\0")),
        png(between=IHDR),
        png(between=chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))),
        png()[:-12] + IHDR + png()[-12:],  # behind the pixels
        PNG_START + chunk(b"tEXt") + png()[8:],
        PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBBB", 640, 480, 8, 2, 0, 0, 0, 0)) + png()[33:],
        PNG_START + chunk(b"IHDR", struct.pack(">II", 640, 480)) + png()[33:],
    ],
)
def test_a_file_that_decoders_would_read_in_different_ways_is_damaged(data: bytes) -> None:
    assert code_of(data) is ReasonCode.DAMAGED


@pytest.mark.parametrize(
    "data",
    [
        jpeg(60_000, 60_000)[:-2] + frame(100, 100) + JPEG_END,
        jpeg(60_000, 60_000, before=b"")[:-2] + scan() + frame(100, 100) + JPEG_END,
        png(60_000, 60_000, between=IHDR),
    ],
)
def test_the_first_size_counts(data: bytes) -> None:
    assert code_of(data) is ReasonCode.TOO_MANY_PIXELS


def test_a_picture_that_is_sent_in_many_scans_is_taken() -> None:
    """Progressive JPEG, tables and comments between the scans included."""
    between = segment(0xC4, b"a table") + segment(0xFE, b"a comment")
    assert code_of(jpeg()[:-2] + (between + scan()) * 20 + JPEG_END) is None


def test_takes_10_000_parts_and_no_more() -> None:
    assert MAX_PARTS == 10_000
    empty, text = segment(0xE5), chunk(b"tEXt")
    assert code_of(jpeg(before=empty * (MAX_PARTS - 4))) is None  # it has four of its own
    assert code_of(jpeg(before=empty * (MAX_PARTS - 3))) is ReasonCode.DAMAGED
    assert code_of(png(between=text * (MAX_PARTS - 3))) is None
    assert code_of(png(between=text * (MAX_PARTS - 2))) is ReasonCode.DAMAGED


def test_a_damaged_file_says_what_is_wrong_and_what_to_do() -> None:
    verdict = inspect(jpeg(before=frame(640, 480)))
    assert verdict == Rejection(
        ReasonCode.DAMAGED, "The JPEG file has two frames; save the picture anew and upload that file."
    )


class CountedPattern:
    """A pattern that counts its searches and the bytes that they walk over."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.searches, self.walked = pattern, 0, 0

    def search(self, data: bytes, at: int) -> re.Match[bytes] | None:
        found = self.pattern.search(data, at)
        self.searches += 1
        self.walked += (found.end() if found else len(data)) - min(at, len(data))
        return found


def full(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """The largest file that is taken, full of a unit."""
    return start + unit * ((MAX_BYTES - len(start) - len(end)) // len(unit)) + end


BEGUN = JPEG_START + segment(0xE0)


@pytest.mark.parametrize(
    ("data", "searches"),
    [
        (full(BEGUN, b"\xff\x00"), 2),  # stuffed bytes
        (full(BEGUN, b"\xff\xff"), 2),  # fill bytes
        (full(BEGUN, b"\xff\xd0"), 2),  # restart markers
        (full(BEGUN, b"\xff\xd8"), 2),  # further starts
        (full(BEGUN, b"\xff\x01"), 2),
        (full(BEGUN, b"\xaa\xaa"), 2),
        (full(BEGUN, b"\xff\xc0\x00\x02"), 2),  # empty frames
        (full(BEGUN, frame(640, 480)), 3),
        (full(BEGUN, b"\xff\xe0\x00\x02"), MAX_PARTS + 1),  # empty segments
        (full(BEGUN + frame(640, 480), b"\xff\xda\x00\x02"), MAX_PARTS + 1),  # scans
        (full(BEGUN + frame(640, 480) + scan(), b"\xff\x00", JPEG_END), 5),
    ],
    ids=["stuffed", "fill", "restart", "start", "tem", "pixels", "empty", "frames", "segments", "scans", "whole"],
)
def test_a_flood_of_markers_is_walked_once_and_not_to_its_end(
    data: bytes, searches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = CountedPattern(picture_parts._MARKER)
    monkeypatch.setattr(picture_parts, "_MARKER", counted)
    inspect(data)
    assert 0 < counted.searches <= searches
    assert counted.walked <= len(data)
    # Two bytes that never change: no class of bytes, no branch, no repetition that could go back.
    assert re.fullmatch(rb"(\\?[\x00-\x02]){2}", counted.pattern.pattern)


@pytest.mark.parametrize("unit", [chunk(b"tEXt"), chunk(b"IDAT"), bytes(12)], ids=["text", "pixels", "zeros"])
def test_a_flood_of_chunks_is_not_walked_to_its_end(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0

    def counted(data: bytes) -> Iterator[picture_parts.Chunk]:
        nonlocal steps
        for found in picture_parts.chunks(data):
            steps += 1
            yield found

    monkeypatch.setattr(image_format, "chunks", counted)
    assert code_of(full(png()[:33], unit, chunk(b"IEND"))) is ReasonCode.DAMAGED
    assert steps == MAX_PARTS + 1
