"""Makes a JPEG of one picture: a process of its own, `python -m convert_image.decoder FORMAT WIDTH HEIGHT`.

The picture comes on standard input, the JPEG goes to standard output. The header was judged before (image_format.py of
the rules), but it may lie about what the pixels need. So this process may have just so much memory and processor time,
and what crashes a decoder crashes nothing else. Exit codes: 0, UNDECODABLE, or a fault of ours.

What is written has the pixels, right way up and on white, their colour profile, and nothing else of the file: no EXIF,
no place, no thumbnail, no further frames.
"""

from __future__ import annotations

import io
import resource
import sys
import warnings

import pi_heif
from PIL import AvifImagePlugin, Image

from pet_detector.rules.metadata import orientation

# A picture of 50 megapixels takes 150 MB as RGB. Decoders hold it up to four times, and with more bits.
MOST_MEMORY_BYTES = 1400 * 1024 * 1024
# It takes a processor of Lambda some 5 s.
MOST_PROCESSOR_SECONDS = 40
# Exit code: the picture is damaged, or takes more than that.
UNDECODABLE = 65

# Large enough for any analysis and to look at; Amazon Rekognition takes 15 MB, and 80 px a side at least.
LONG_SIDE_PX = 4096
SHORT_SIDE_PX = 80
MOST_BYTES = 15 * 1024 * 1024
QUALITIES = (90, 75, 50)  # the first one that fits
WHITE = (255, 255, 255)

# By the orientation of EXIF; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# A colour profile (ICC.1, 7.2). Larger ones, and those of other colours than red, green and blue, are left out.
_MOST_PROFILE_BYTES = 1024 * 1024
_PROFILE_HEADER = 128

# A warning at this size and an error at twice of it: both are errors here.
Image.MAX_IMAGE_PIXELS = 50_000_000
# One processor: more threads would only take more memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pi_heif.options.DECODE_THREADS = 1
# Nothing but the picture itself is decoded.
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False


def to_jpeg(data: bytes, format: str, size: tuple[int, int]) -> bytes:
    """The JPEG of a picture: `format` is webp, avif or heic, `size` (width, height) that of its header.

    Raises ValueError when the pixels are larger than that, and whatever a decoder raises for what it cannot read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of EXIF that is odd, which is left out anyway
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = _opened(data, format)
    if max(image.size) > max(size) or min(image.size) > min(size):
        raise ValueError(f"{image.size} pixels behind a header of {size}")
    image.load()
    profile, exif = image.info.get("icc_profile"), image.info.get("exif", b"")
    # First the size: turning and flattening cost less then. pi_heif has turned a HEIC as its properties say, which
    # count more than EXIF; Pillow has written those of an AVIF into its EXIF.
    turn = 1 if format == "heic" else orientation(exif.removeprefix(b"Exif\x00\x00"))
    image = _flattened(_turned(_smaller(image), turn))
    image.info = {}  # of which Pillow would write a comment
    kept = {"icc_profile": profile} if _is_for_rgb(profile) else {}
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, **kept)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


def _opened(data: bytes, format: str) -> Image.Image:
    """The first frame of an animation, the primary picture of a HEIC; nothing but this one format is tried."""
    if format == "heic":
        image: Image.Image = pi_heif.open_heif(data, convert_hdr_to_8bit=True).to_pillow()
        return image
    return Image.open(io.BytesIO(data), formats=[format.upper()])


def _smaller(image: Image.Image) -> Image.Image:
    """At most LONG_SIDE_PX, but for a strip that would become too narrow to be analysed."""
    width, height = image.size
    factor = min(1.0, max(LONG_SIDE_PX / max(width, height), SHORT_SIDE_PX / min(width, height)))
    if factor == 1.0:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    info = image.info
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    image.info = info
    return image


def _turned(image: Image.Image, turn: int) -> Image.Image:
    """The right way up, by an orientation of EXIF."""
    method = _TURNS.get(turn)
    return image if method is None else image.transpose(method)


def _flattened(image: Image.Image) -> Image.Image:
    """As RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (*WHITE, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _is_for_rgb(profile: bytes | None) -> bool:
    """Whether it is a colour profile by its frame, and one for these pixels."""
    if not profile or not _PROFILE_HEADER <= len(profile) <= _MOST_PROFILE_BYTES:
        return False
    is_whole = int.from_bytes(profile[:4], "big") == len(profile)
    return is_whole and profile[36:40] == b"acsp" and profile[16:20] == b"RGB "


def _limit(kind: int, most: int) -> None:
    """Set a limit of this process, if the system knows it and allows so much."""
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or most < hard:
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # macOS has no limit of memory
            print(f"no limit {kind}", file=sys.stderr)


def main() -> int:
    """-> exit code."""
    format, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(resource.RLIMIT_AS, MOST_MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, MOST_PROCESSOR_SECONDS)
    _limit(resource.RLIMIT_CORE, 0)
    data = sys.stdin.buffer.read()
    try:
        jpeg = to_jpeg(data, format, (width, height))
    except Exception as error:  # decoders raise anything for what they cannot read
        print(f"{type(error).__name__}: {error}"[:300], file=sys.stderr)
        return UNDECODABLE
    sys.stdout.buffer.write(jpeg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
