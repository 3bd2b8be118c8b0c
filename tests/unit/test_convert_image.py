"""ConvertImage: a JPEG of what Rekognition cannot read, made where a hostile picture can do no harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from convert_image import conversion, decoder
from convert_image.app import lambda_handler
from PIL import Image, ImageCms

from pet_detector.aws import image_bucket
from pet_detector.rules import image_format, metadata
from pet_detector.rules.errors import ConversionFailedError, ImageChangedError
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from tests.support.containers import (
    TURNS,
    bomb,
    box,
    canvas,
    difference,
    exif,
    full,
    heic,
    heif,
    ispe,
    lossless,
    parts_of_real_heic,
    real_heic,
    riff,
    riff_chunk,
    saved,
    turned_cat,
)
from tests.support.moto_world import BUCKET, CORRELATION, EXECUTION, IMAGE_ID, Cloud
from tests.support.pictures import jpeg

KEY = f"input/{IMAGE_ID}.heic"
PLACE = f"converted/{IMAGE_ID}.jpg"


def event(aws: Cloud, data: bytes, key: str = KEY) -> Any:
    version, etag = aws.put(key, data)
    sent = {"imageId": IMAGE_ID, "executionArn": EXECUTION, "correlationId": CORRELATION}
    return sent | {"key": key, "versionId": version, "etag": etag}


def to_jpeg(data: bytes) -> Image.Image:
    """The JPEG of a picture, as a decoder sees it."""
    header = image_format.inspect(data)
    assert isinstance(header, ImageHeader)
    made = decoder.to_jpeg(data, header.format.value, (header.width, header.height))
    assert image_format.inspect(made) == ImageHeader(ImageFormat.JPEG, *Image.open(io.BytesIO(made)).size)
    image = Image.open(io.BytesIO(made))
    image.load()
    return image


CAT = turned_cat(1)


# --- The function -----------------------------------------------------------------------------------------------------


def test_makes_a_jpeg_that_says_what_was_uploaded(aws: Cloud, context: LambdaContext) -> None:
    sent = event(aws, real_heic())
    answer = lambda_handler(sent, context)
    stored = image_bucket.read(BUCKET, PLACE, answer["converted"]["versionId"])
    assert answer == {"outcome": "converted", "converted": {"key": PLACE, "versionId": stored.version_id}}
    assert (stored.size, stored.converted_from) == (len(real_heic()), "heic")
    assert stored.content_hash == hashlib.sha256(real_heic()).hexdigest()  # what is never paid twice
    assert isinstance(image_format.inspect(stored.data or b""), ImageHeader)
    assert aws.keys() == [PLACE, KEY]  # the upload stays until the JPEG is filed


def test_a_second_run_finds_the_jpeg_of_the_first(
    aws: Cloud, context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = event(aws, real_heic())
    first = lambda_handler(sent, context)
    monkeypatch.setattr(conversion, "convert", lambda *_: pytest.fail("decoded twice"))
    assert lambda_handler(sent, context) == first


def test_another_upload_of_the_same_key_is_converted_anew(aws: Cloud, context: LambdaContext) -> None:
    first = lambda_handler(event(aws, real_heic()), context)
    second = lambda_handler(event(aws, saved("WEBP")), context)
    assert first["converted"]["versionId"] != second["converted"]["versionId"]


def test_a_backfill_stays_in_its_lane(aws: Cloud, context: LambdaContext) -> None:
    answer = lambda_handler(event(aws, real_heic(), f"input/backfill/{IMAGE_ID}.heic"), context)
    assert answer["converted"]["key"] == f"converted/backfill/{IMAGE_ID}.jpg"


@pytest.mark.parametrize("data", [jpeg(), b"text", bomb()])
def test_what_is_not_what_was_judged_fails_the_state(aws: Cloud, context: LambdaContext, data: bytes) -> None:
    with pytest.raises(ImageChangedError):
        lambda_handler(event(aws, data), context)
    with pytest.raises(ImageChangedError):
        lambda_handler(event(aws, real_heic()) | {"etag": '"another"'}, context)


def lying(width: int = 226, height: int = 150) -> bytes:
    """A HEIC whose pixels are other ones than its header says."""
    settings, pixels = parts_of_real_heic()
    return heif(items={1: (b"hvc1", [1, 2], pixels)}, properties=[ispe(width, height), settings])


@pytest.mark.parametrize(
    "data",
    [
        heif(items={1: (b"hvc1", [1], b"pixels")}, properties=[ispe(640, 480)]),
        lying(120, 100),
        heif(items={1: (b"hvc1", [1, 2], b"pixels")}, properties=[ispe(226, 150), parts_of_real_heic()[0]]),
        riff(lossless(640, 480)),
        saved("AVIF").replace(b"av1C", b"av1X"),
    ],
    ids=["no pixels", "larger pixels", "heic", "webp", "avif"],
)
def test_what_cannot_be_decoded_is_rejected_as_damaged(aws: Cloud, context: LambdaContext, data: bytes) -> None:
    assert isinstance(image_format.inspect(data), ImageHeader)  # the gate lets it through
    answer = lambda_handler(event(aws, data), context)
    assert (answer["outcome"], answer["reasonCode"]) == ("rejected", "DAMAGED")
    assert answer["reason"].endswith("cannot be decoded; save the picture anew and upload that file.")
    assert aws.keys() == [KEY]


# --- A process of its own ---------------------------------------------------------------------------------------------

HEADER = ImageHeader(ImageFormat.HEIC, 226, 150)


def program(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run this instead of the decoder."""
    run: Callable[..., Any] = subprocess.run

    def instead(command: list[str], **options: Any) -> Any:
        assert command[:3] == [sys.executable, "-m", "convert_image.decoder"]
        return run([sys.executable, "-c", f"import sys; sys.stdin.buffer.read()\n{text}"], **options)

    monkeypatch.setattr(subprocess, "run", instead)


@pytest.mark.parametrize(
    "text",
    [
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        f"sys.exit({decoder.UNDECODABLE})",
        "import time; time.sleep(60)",
    ],
    ids=["crash", "killed", "undecodable", "hangs"],
)
def test_a_decoder_that_a_picture_brings_down_rejects_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MOST_SECONDS", 3.0)
    program(text, monkeypatch)
    verdict = conversion.convert(b"", HEADER)
    assert isinstance(verdict, Rejection)
    assert verdict.code is ReasonCode.DAMAGED


def test_a_picture_that_crashes_pi_heif_is_rejected() -> None:
    """The type of an item that is no text; once pi_heif survives it, this test can go."""
    data = heic(1, exif=exif(1)).replace(b"\x00\x00Exif\x00", b"\x00\x00\x81xif\x00", 1)
    header = image_format.inspect(data)
    assert isinstance(header, ImageHeader)
    assert isinstance(conversion.convert(data, header), Rejection)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sys.stderr.write('/a name\\nMemoryError: a name'); sys.exit(65)", "MemoryError"),
        ("sys.stderr.write('a name'); sys.exit(65)", ""),
        ("import os; os.abort()", ""),
        ("import time; time.sleep(60)", "TimeoutExpired"),
    ],
)
def test_the_log_says_why_by_the_kind_of_error_alone(
    text: str, error: str, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    """What a decoder says may hold words of the picture."""
    monkeypatch.setattr(conversion, "MOST_SECONDS", 3.0)
    program(text, monkeypatch)
    assert isinstance(conversion.convert(b"", HEADER), Rejection)
    assert json.loads(logs.getvalue())["error"] == error
    assert "a name" not in logs.getvalue()


def test_a_decoder_that_does_not_start_rejects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    program("import no_such_wheel", monkeypatch)
    with pytest.raises(ConversionFailedError, match="no_such_wheel"):
        conversion.convert(b"", HEADER)


def test_the_decoder_has_just_so_much_memory_and_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    text = f"""
import os, resource
from convert_image import decoder
decoder._limit(resource.RLIMIT_AS, decoder.MOST_MEMORY_BYTES)
assert not [name for name in os.environ if name.startswith("AWS_")]
try:
    bytearray(decoder.MOST_MEMORY_BYTES)
except MemoryError:
    sys.exit({decoder.UNDECODABLE})"""
    program(text, monkeypatch)
    assert isinstance(conversion.convert(b"", HEADER), Rejection)


def test_the_decoder_finds_its_libraries_and_gets_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python of Lambda finds its own library by this variable; LC_CTYPE is what Python sets for itself."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/var/lang/lib")
    program(
        """
import os
assert os.environ["LD_LIBRARY_PATH"] == "/var/lang/lib"
assert {*os.environ} - {"LC_CTYPE"} == {"LD_LIBRARY_PATH", "PYTHONPATH", "MALLOC_ARENA_MAX"}, os.environ
sys.stdout.write("found")""",
        monkeypatch,
    )
    assert conversion.convert(b"", HEADER) == b"found"


# What a process of the same user reads of this one: before and while a picture is decoded.
SPY = """
import ctypes, os, subprocess
from types import SimpleNamespace
from convert_image import conversion
from pet_detector.rules.models import ImageFormat, ImageHeader

def spy():
    return subprocess.Popen(["cat", f"/proc/{os.getpid()}/environ"], stdout=subprocess.PIPE).communicate()[0]

if os.getuid() == 0:  # who may read everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, as of a process that this user has started
subprocess.run = lambda *_, **__: SimpleNamespace(returncode=0, stdout=spy(), stderr=b"")
print(b"4711" in spy(), b"4711" in conversion.convert(b"", ImageHeader(ImageFormat.HEIC, 226, 150)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Lambda runs Linux, and only there other processes are in /proc")
def test_the_decoder_cannot_read_the_credentials_of_its_parent() -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "AWS_SECRET_ACCESS_KEY": "4711", "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", SPY], capture_output=True, text=True, env=environment, check=False)
    if "PermissionError" in done.stderr:
        pytest.skip("root cannot become another user here, and may read everything")
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_the_function_has_more_memory_and_time_than_the_decoder() -> None:
    from tests.support.moto_world import template

    function = template()["Resources"]["ConvertImageFunction"]["Properties"]
    assert function["MemorySize"] * 1024 * 1024 > decoder.MOST_MEMORY_BYTES + 3 * image_format.MAX_BYTES + (200 << 20)
    assert decoder.MOST_PROCESSOR_SECONDS < conversion.MOST_SECONDS < function["Timeout"] - 12  # reads and stores
    assert conversion.UNDECODABLE == decoder.UNDECODABLE
    assert (decoder.MOST_BYTES, decoder.SHORT_SIDE_PX) == (image_format.MAX_BYTES, image_format.MIN_SIDE_PX)


# --- What is made -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [saved("WEBP", quality=90), saved("AVIF", quality=90), real_heic()])
def test_the_jpeg_shows_the_picture_and_has_nothing_to_strip(data: bytes) -> None:
    assert difference(to_jpeg(data), CAT) < 8
    header = image_format.inspect(data)
    assert isinstance(header, ImageHeader)
    made = decoder.to_jpeg(data, header.format.value, (header.width, header.height))
    assert metadata.strip(made) == made


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_is_turned_once_by_exif(format: str, turn: int) -> None:
    made = to_jpeg(saved(format, quality=90, exif=exif(turn)))
    assert difference(made, turned_cat(turn)) < 8
    assert "exif" not in made.info


@pytest.mark.parametrize("with_exif", [False, True])
@pytest.mark.parametrize("turn", TURNS)
def test_a_heic_is_turned_once_by_its_properties(turn: int, with_exif: bool) -> None:
    """And not again by its EXIF, which says the same, as phones write it."""
    made = to_jpeg(heic(turn, exif=exif(turn) if with_exif else b""))
    assert difference(made, turned_cat(turn)) < 8
    assert "exif" not in made.info


NO_EXIF = b"no TIFF at all"
CUT_EXIF = b"MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(40)  # 65,535 entries, it says


@pytest.mark.parametrize("data", [
    riff(canvas(226, 150, 8), saved("WEBP", quality=90)[12:], riff_chunk(b"EXIF", NO_EXIF)),
    riff(canvas(226, 150, 8), saved("WEBP", quality=90)[12:], riff_chunk(b"EXIF", CUT_EXIF)),
    heic(1, exif=NO_EXIF),
    heic(1, exif=CUT_EXIF),
])  # fmt: skip
def test_what_is_odd_in_exif_does_not_damage_the_picture(data: bytes) -> None:
    assert difference(to_jpeg(data), CAT) < 8


def test_a_warning_of_a_decoder_does_not_damage_the_picture() -> None:
    with warnings.catch_warnings(action="ignore"):  # Pillow warns of such EXIF when it saves it, too
        data = saved("AVIF", quality=90, exif=CUT_EXIF)
    assert difference(to_jpeg(data), CAT) < 8


@pytest.mark.parametrize("data", [
    saved("WEBP", exif=exif(1), xmp=b"CANARY", icc_profile=b"CANARY" * 40),
    saved("AVIF", exif=exif(1), xmp=b"CANARY"),
    heic(1, exif=exif(1)),
    saved("WEBP") + b"CANARY",
])  # fmt: skip
def test_nothing_of_what_it_was_taken_with_is_left(data: bytes) -> None:
    assert b"CANARY" in data
    header = image_format.inspect(data)
    assert isinstance(header, ImageHeader)
    made = decoder.to_jpeg(data, header.format.value, (header.width, header.height))
    assert b"CANARY" not in made
    assert not {b"Exif", b"http", b"ICC"} & {part for part in (b"Exif", b"http", b"ICC") if part in made}


def profile_of(space: str) -> bytes:
    return bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())  # type: ignore[arg-type]


def test_a_colour_profile_is_kept_if_it_is_one_for_these_pixels() -> None:
    srgb = profile_of("sRGB")
    for format in ("WEBP", "AVIF"):
        assert to_jpeg(saved(format, icc_profile=srgb)).info["icc_profile"] == srgb
        for other in (profile_of("LAB"), srgb + b"more", srgb[:-1]):
            assert "icc_profile" not in to_jpeg(saved(format, icc_profile=other)).info
    settings, pixels = parts_of_real_heic()
    with_profile = [ispe(226, 150), settings, box(b"colr", b"prof", srgb)]
    assert to_jpeg(heif(items={1: (b"hvc1", [1, 2, 3], pixels)}, properties=with_profile)).info["icc_profile"] == srgb


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_what_is_transparent_becomes_white(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (100, 100), (255, 0, 0, 0)).save(file, format, lossless=True, exact=True)
    corner = to_jpeg(file.getvalue()).getpixel((50, 50))
    assert isinstance(corner, tuple)
    assert min(corner) > 245


@pytest.mark.parametrize("format", ["WEBP", "AVIF"])
def test_the_first_frame_of_an_animation_is_the_picture(format: str) -> None:
    data = saved(format, quality=90, save_all=True, append_images=[Image.new("RGB", (226, 150), "red")])
    assert difference(to_jpeg(data), CAT) < 8


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((5_000, 2_500), (4_096, 2_048)),
        ((4_096, 100), (4_096, 100)),
        ((8_000, 90), (7_111, 80)),
        ((100, 100), (100, 100)),
    ],
)
def test_large_ones_become_smaller_but_never_too_narrow(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert to_jpeg(saved("WEBP", size, method=0, quality=10)).size == expected


def test_the_jpeg_is_never_too_large_to_be_analysed(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.effect_noise((600, 600), 90).convert("RGB").save(file, "WEBP", quality=90)
    sizes = [decoder.MOST_BYTES]
    for _ in range(4):
        monkeypatch.setattr(decoder, "MOST_BYTES", sizes[-1] - 1)
        sizes.append(len(decoder.to_jpeg(file.getvalue(), "webp", (600, 600))))
    assert sizes[1] > sizes[2] > sizes[3] == sizes[4]  # the lowest quality stays
    assert decoder.QUALITIES == (90, 75, 50)


def test_only_the_format_that_was_judged_is_tried() -> None:
    with pytest.raises(Exception, match="cannot identify"):
        decoder.to_jpeg(saved("PNG"), "webp", (226, 150))
    assert full(b"x") == box(b"x", bytes(4))
