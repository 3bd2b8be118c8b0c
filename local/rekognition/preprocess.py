"""Image bytes -> pixels -> the network's inputs.

Wrong preprocessing does not look broken, it only lowers the scores: the tests pin scores for photos/.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from .network import SIZE, Floats

# developer guide, "Guidelines and quotas in Amazon Rekognition": DetectLabels, pixels a side
MIN_SIDE = 80
MAX_SIDE = 10_000
# Ours, not Amazon's: a decoded pixel takes 4 bytes, 8 while a transparent picture is shrunk. At this limit the process
# was measured to reach 360 MB, and 500 MB for a transparent PNG.
MAX_PIXELS = 50_000_000

# Pixel value -> network input: (value - mean) / scale. Only the Lite variants use these, not EfficientNet-B0..B7.
_MEAN, _SCALE = 127.0, 128.0
# The weights were evaluated on the middle 224/256 of the short side (crop padding 32, in the training code).
_CENTRE = SIZE / (SIZE + 32)
# Pictures are shrunk to no less than this short side before anything else: enough for any view, cheap from there on.
_WORKING_SIDE = 3 * SIZE
# A picture at least this much longer than wide is also looked at in squares, since one square sees too little of it.
_TILE_RATIO = 1.15

# Pillow's own guard warns at 89 and fails at 179 megapixels; `open_image` checks the header against tighter limits.
Image.MAX_IMAGE_PIXELS = None


class UnreadableImageError(ValueError):
    """The bytes are not a whole JPEG or PNG picture."""


class ImageTooSmallError(ValueError):
    """A side is shorter than `MIN_SIDE`."""


class ImageDimensionsError(ValueError):
    """A side is longer than `MAX_SIDE`, or the picture has more than `MAX_PIXELS`."""


def open_image(data: bytes) -> Image.Image:
    """Decodes a picture, upright, as RGB, on white where it is transparent, and shrunk where it is large.

    Raises:
        UnreadableImageError: not JPEG or PNG, or broken.
        ImageTooSmallError: see `MIN_SIDE`.
        ImageDimensionsError: see `MAX_SIDE` and `MAX_PIXELS`; raised before any pixel is decoded.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except Exception as error:  # Pillow's parsers raise many kinds for broken files, and document none
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error
    _check_dimensions(*image.size)
    try:
        if isinstance(image, JpegImageFile):
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size: a 12-megapixel photo in a quarter of the time.
            image.draft("RGB", (_WORKING_SIDE, _WORKING_SIDE))
        image.load()
        return _opaque_rgb(ImageOps.exif_transpose(_shrink(_as_8_bit(image))))
    except Exception as error:  # as above: truncated data shows only here
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from error


def views(image: Image.Image) -> list[Floats]:
    """Returns 2 to 5 views of a picture as (224, 224, 3) inputs for the network, the centre view first.

    The others are the whole picture, squeezed to a square, and the squares of `_tiles`. They find an animal that
    stands to one side, which the centre view alone would miss.
    """
    short = min(image.size) * _CENTRE
    x, y = (image.width - short) / 2, (image.height - short) / 2
    boxes = [(x, y, x + short, y + short), (0.0, 0.0, float(image.width), float(image.height)), *_tiles(image)]
    return [_view(image, box) for box in boxes]


def _check_dimensions(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise ImageDimensionsError(
            f"Input image dimensions {width} x {height} exceed maximum dimension size of {MAX_SIDE} pixels"
        )
    if width * height > MAX_PIXELS:
        raise ImageDimensionsError(f"Input image of {width} x {height} pixels exceeds the local limit of {MAX_PIXELS}")
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmallError(f"{width} x {height} pixels, minimum {MIN_SIDE} a side")


def _as_8_bit(image: Image.Image) -> Image.Image:
    """Returns a picture that can be shrunk: 16-bit grey cut to 8 bits, palettes written out."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA", "1") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _shrink(image: Image.Image) -> Image.Image:
    factor = min(image.size) // _WORKING_SIDE
    return image.reduce(factor) if factor > 1 else image


def _opaque_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture)
        return paper.convert("RGB")
    return image.convert("RGB")


def _tiles(image: Image.Image) -> list[tuple[float, float, float, float]]:
    """Returns squares that together cover a picture of up to 3:1, as (left, top, right, bottom) in pixels.

    None for a picture that is nearly square, 2 up to 2:1, 3 above.
    """
    width, height = image.size
    side = min(width, height)
    ratio = max(width, height) / side
    if ratio < _TILE_RATIO:
        return []
    count = 2 if ratio <= 2 else 3
    corners = [
        (round(i * (width - side) / (count - 1)), round(i * (height - side) / (count - 1))) for i in range(count)
    ]
    return [(x, y, x + side, y + side) for x, y in corners]


def _view(image: Image.Image, box: tuple[float, float, float, float]) -> Floats:
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box), dtype=np.float32)
    return (pixels - np.float32(_MEAN)) / np.float32(_SCALE)
