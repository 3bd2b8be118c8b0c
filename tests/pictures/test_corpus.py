"""What is filed of every kind of picture: only what is needed, the same pixels, the right way up, the same colours."""

from __future__ import annotations

import io
import warnings

import pytest
from PIL import Image

from file_manager.app import lambda_handler
from pet_detector.rules import image_format, metadata
from pet_detector.rules.models import ImageHeader
from tests.support.handler_runs import CONTEXT, moto, new_function
from tests.support.moto_world import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, KEY
from tests.support.pictures import JPEG_END, chunk, jpeg, segment

from .oracles import decoded, judge, turn_of_clean
from .seeds import CANARY, HEIGHT, WIDTH, Seed, exif, false_profiles, icc_profile, jpegs, picture, saved, seeds

each_seed = pytest.mark.parametrize("seed", seeds(), ids=lambda seed: seed.name)


def exif_turn(data: bytes) -> int:
    """The orientation that Pillow finds; of secrets that are no index of pictures it warns."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(0x0112, 1))


@each_seed
def test_only_what_is_needed_is_filed(seed: Seed) -> None:
    clean = metadata.strip(seed.data)
    assert turn_of_clean(clean) == seed.orientation
    assert CANARY not in clean
    assert b"GPS" not in clean
    assert len(clean) <= len(seed.data)


@each_seed
def test_pixels_colours_and_orientation_stay(seed: Seed) -> None:
    before, after = decoded(seed.data), decoded(metadata.strip(seed.data))
    assert before is not None
    assert after == before
    assert exif_turn(metadata.strip(seed.data)) == exif_turn(seed.data) == seed.orientation


@each_seed
def test_the_gate_takes_each_before_and_after(seed: Seed) -> None:
    assert judge(seed.data) == "accepted, same pixels"


def test_every_orientation_and_large_profiles_are_among_them() -> None:
    names = {seed.name: seed for seed in seeds()}
    for format in ("jpeg", "png"):
        assert [names[f"{format} turned {turn}"].orientation for turn in range(1, 9)] == list(range(1, 9))
    large = names["jpeg large profile"].data
    profile = decoded(large)
    assert profile is not None
    assert profile.profile is not None
    assert len(profile.profile) > 2 * 65_535  # three segments


def test_most_seeds_have_secrets_to_lose() -> None:
    with_secrets = [seed for seed in seeds() if CANARY in seed.data]
    assert len(with_secrets) > 30
    for format in (b"\xff\xd8", b"\x89PNG"):
        assert any(seed.data.startswith(format) and b"GPS" not in seed.data for seed in with_secrets)


@each_seed
def test_a_clean_picture_comes_out_as_it_is(seed: Seed) -> None:
    clean = metadata.strip(seed.data)
    assert metadata.strip(clean) == clean


@pytest.mark.parametrize("seed", list(false_profiles()), ids=lambda seed: seed.name)
def test_what_only_says_that_it_is_a_colour_profile_goes(seed: Seed) -> None:
    """Else it would be a place to hide an archive. What stands inside a profile stays."""
    clean = metadata.strip(seed.data)
    assert turn_of_clean(clean) == 1
    assert CANARY not in clean
    assert metadata.strip(clean) == clean
    judge(seed.data)  # of the pixels, too
    after = decoded(clean)
    assert after is not None
    has_another = seed.name.endswith(("a name that says something", "bytes behind its profile", "two profiles"))
    assert after.profile == (icc_profile() if has_another else None)


@pytest.mark.parametrize(
    ("tiff", "turn"),
    [
        (b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00", 6),
        (b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x04\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00", 6),
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00", 6),
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x02\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00", 1),  # text
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x09\x00\x00\x00\x00\x00\x00", 1),
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", 1),
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x0f\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00", 1),
        (
            b"MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00",
            6,
        ),  # 65,535 entries, it says
        (b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00", 1),  # half an entry
        (b"MM\x00*\xff\xff\xff\xff\x00\x01", 1),  # a directory beyond the end
        (b"XX\x00*\x00\x00\x00\x08", 1),
        (b"MM\x00*", 1),
        (b"", 1),
    ],
)
def test_finds_the_orientation_in_any_exif(tiff: bytes, turn: int) -> None:
    assert metadata.orientation(tiff) == turn


def test_of_several_exifs_the_first_one_counts() -> None:
    upright, turned = ((b"Exif\x00\x00" + exif(turn)[6:]) for turn in (1, 8))

    def app1(content: bytes) -> bytes:
        return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content

    plain = saved(picture("RGB"), "JPEG")
    for first, second, turn in ((upright, turned, 1), (turned, upright, 8)):
        assert turn_of_clean(metadata.strip(plain[:2] + app1(first) + app1(second) + plain[2:])) == turn


def test_a_segment_that_is_kept_has_room_for_nothing_else() -> None:
    colours, density = b"Adobe\x00\x64\x00\x00\x00\x00\x01", b"JFIF\x00\x01\x02\x01\x00\x48\x00\x48"
    for marker, content, kept in (
        (0xEE, colours + CANARY, colours),
        (0xEE, colours[:11], b""),
        (0xE0, density + b"\x01\x01" + CANARY, density + bytes(2)),
        (0xE0, density + b"\x01", b""),
    ):
        stays = segment(marker, kept) if kept else b""
        assert metadata.strip(jpeg(before=segment(marker, content))) == jpeg(before=stays)


def test_scans_are_copied_byte_for_byte_whatever_they_hold() -> None:
    """Bytes that a decoder passes over, or waits for, in a scan: they begin no segment, though they look like one."""
    for second in (*range(0xC0), *range(0xD0, 0xD9), 0xFF):
        data = jpeg()[:-2] + bytes([0xFF, second, 0x00, 0x04, 0x12, 0x34]) * 3 + JPEG_END
        assert metadata.strip(data) == data
        assert isinstance(image_format.inspect(data), ImageHeader)


def test_pixels_of_a_png_are_one_run_of_chunks() -> None:
    """Decoders stop where the run ends; what comes later would be a place to hide something."""
    plain = saved(picture("RGB"), "PNG")
    hidden = len(CANARY).to_bytes(4, "big") + b"IDAT" + CANARY + bytes(4)
    note = (0).to_bytes(4, "big") + b"tEXt" + bytes(4)
    assert metadata.strip(plain[:-12] + note + hidden + plain[-12:]) == plain
    assert metadata.strip(plain[:-12] + chunk(b"IEND", CANARY)) == plain


def test_what_is_neither_jpeg_nor_png_is_refused() -> None:
    for data in (b"", b"GIF89a", b"\xff\xd8", b"\x89PNG"):
        with pytest.raises(ValueError, match="neither JPEG nor PNG"):
            metadata.strip(data)


def test_seeds_have_the_size_that_they_say() -> None:
    for seed in jpegs():
        verdict = image_format.inspect(seed.data)
        assert isinstance(verdict, ImageHeader)
        assert (verdict.width, verdict.height) == (WIDTH, HEIGHT)


def test_what_file_manager_files_is_what_a_link_shows() -> None:
    """Through the handler, for every kind of picture: the bytes that lie in the folder that is served."""
    with new_function(), moto() as aws:
        for seed in seeds():
            extension = "jpg" if seed.data.startswith(b"\xff\xd8") else "png"
            version, etag = aws.put(KEY, seed.data)
            event = {"imageId": IMAGE_ID, "executionArn": EXECUTION, "correlationId": CORRELATION, "key": KEY}
            event |= {"versionId": version, "etag": etag, "folder": "cats", "extension": extension}
            moved = lambda_handler(event, CONTEXT)  # type: ignore[arg-type]
            assert moved["s3Location"] == f"s3://{BUCKET}/cats/{IMAGE_ID}.{extension}"
            served = aws.get(moved["key"])
            assert turn_of_clean(served) == seed.orientation
            assert CANARY not in served
