"""One round of pictures for many tests: sent all at once, so that together they take little longer than one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from tests.support.containers import bomb, exif, heic, real_heic, saved
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT
from tests.support.pictures import black_png

from .application import Answer, HttpApplication
from .pictures import (
    LARGEST,
    LARGEST_INLINE,
    TEXT,
    cat_as_png,
    cat_of,
    gif,
    jpeg_of_two_sizes,
    telling_jpeg,
    truncated_jpeg,
)

SENDERS = 6

CONTENT_TYPES = {f".{kind}": f"image/{kind}" for kind in ("png", "webp", "avif", "heic")}

PHOTOS = {"cat": CERTAIN_CAT, "dog": CERTAIN_DOG, "other": CERTAIN_OTHER, "uncertain": UNCERTAIN_CAT}

_RED = Picture.new("RGB", (620, 412), "red")
# Pictures of a cat that are filed as JPEG: the name of the file, the format that its bytes have, and these.
CONVERTED: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "heic": ("cat.heic", "heic", real_heic),
    "avif": ("cat.avif", "avif", lambda: saved("AVIF", (640, 425))),
    "webp": ("cat.webp", "webp", lambda: saved("WEBP", (640, 425))),
    "webp named jpg": ("webp.jpg", "webp", lambda: saved("WEBP", (600, 400))),
    "heic named jpg": ("heic.jpg", "heic", lambda: heic(1)),
    "animated webp": ("animated.webp", "webp", lambda: saved("WEBP", (620, 412), save_all=True, append_images=[_RED])),
}
# As phones hold them: the pixels lie on their side, and they say where they were taken.
TURNED: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "turned heic": ("turned.heic", "heic", lambda: heic(6, exif=exif(6))),
    "turned avif": ("turned.avif", "avif", lambda: saved("AVIF", exif=exif(6))),
    "turned webp": ("turned.webp", "webp", lambda: saved("WEBP", exif=exif(6))),
}

# What is rejected before anything is decoded, whatever its name says: its reason, the name of the file, its bytes.
REFUSED: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "heic bomb": ("TOO_MANY_PIXELS", "bomb.heic", bomb),
    "half an avif": ("TRUNCATED", "half.avif", lambda: saved("AVIF", (600, 399))[:9_000]),
    "svg named webp": ("NOT_AN_IMAGE", "drawing.webp", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
}

# Keys that no client of the API would make, each with what it tries.
HOSTILE_KEYS = {
    "unicode": "input/ü ñ 猫 🐈.jpg",
    "right-to-left": "input/cat\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "spaces and plus": "input/my cat + dog.jpg",
    "percent": "input/a%2Fb%2e%2e%00%0a.jpg",
    "parent": "input/../../dogs/x.jpg",
    "absolute": "input//etc/passwd",
    "1000 bytes": "input/" + "k" * 990 + ".jpg",
    "newline": "input/new\nline\r\tand tab.jpg",
    "html and quotes": "input/<b onload='x'>\"`${x}`;$(id).jpg",
    "another id's place": "input/cats/0123456789abcdef0123456789abcdef.jpg",
    "no extension": "input/0123456789abcdef0123456789abcdef",
    "upper-case id": "input/0123456789ABCDEF0123456789ABCDEF.JPG",
}


@dataclass(frozen=True)
class Image:
    """One picture at its end. `record` is what GET /images/{id} says, `answer` what POST /upload said, if it did."""

    id: str
    key: str
    content: bytes
    record: dict[str, Any]
    answer: Answer | None = None


class Gallery:
    """Pictures by name: a photo's animal, a ReasonCode, or a name of HOSTILE_KEYS."""

    def __init__(self, application: HttpApplication) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(SENDERS)
        self._images: dict[str, Future[Image]] = {}
        # The slow ones first.
        self._send("TOO_LARGE", self._into_s3, "input/large.jpg", cat_of(LARGEST + 1024 * 1024))
        self._send("largest", self._with_form, "largest.jpg", cat_of(LARGEST))
        self._send("largest inline", self._inline, "largest-inline.jpg", "image/jpeg", cat_of(LARGEST_INLINE))
        for name, photo in PHOTOS.items():
            self._send(name, self._with_form, photo.name, photo.read_bytes())
        self._send("telling", self._with_form, "telling.jpg", telling_jpeg())
        self._send("inline", self._inline, "inline.png", "image/png", cat_as_png())
        self._send("NOT_AN_IMAGE", self._with_form, "letter.jpg", TEXT)
        self._send("UNSUPPORTED_FORMAT", self._with_form, "picture.gif.jpg", gif())
        for name, (file_name, _, picture) in (CONVERTED | TURNED).items():
            self._send(name, self._with_form, file_name, picture())
        for name, (_, file_name, picture) in REFUSED.items():
            self._send(name, self._with_form, file_name, picture())
        self._send("TOO_SMALL", self._inline, "8x8.png", "image/png", black_png(8, 8))
        self._send("TOO_MANY_PIXELS", self._with_form, "bomb.png", black_png(13_300, 13_300))
        self._send("DAMAGED", self._with_form, "two-sizes.jpg", jpeg_of_two_sizes())
        self._send("TRUNCATED", self._with_form, "half.jpg", truncated_jpeg())
        self._send("EMPTY", self._into_s3, "input/empty.jpg", b"")
        for name, key in HOSTILE_KEYS.items():
            self._send(name, self._into_s3, key, CERTAIN_CAT.read_bytes())

    def __getitem__(self, name: str) -> Image:
        """The picture at its end; raises what went wrong on its way."""
        return self._images[name].result()

    def settle(self) -> None:
        """Wait until none is on its way any more, however each ended."""
        wait(self._images.values())

    def close(self) -> None:
        """Give up what has not begun."""
        self._pool.shutdown(cancel_futures=True)

    def _send(self, name: str, way: Callable[..., Image], *arguments: Any) -> None:
        self._images[name] = self._pool.submit(way, *arguments)

    def _with_form(self, file_name: str, content: bytes) -> Image:
        content_type = CONTENT_TYPES.get(Path(file_name).suffix, "image/jpeg")
        image_id = self._application.client.upload(file_name, content_type, content)
        key = f"input/{image_id}{Path(file_name).suffix}"
        return Image(image_id, key, content, self._application.finished_image(image_id))

    def _inline(self, file_name: str, content_type: str, content: bytes) -> Image:
        answer = self._application.call(
            "POST", "/upload", inline(file_name, content_type, content), headers=once(content)
        )
        assert answer.status == 202, answer
        image_id = answer.json["imageId"]
        key = f"input/{image_id}{Path(file_name).suffix}"
        return Image(image_id, key, content, self._application.finished_image(image_id), answer)

    def _into_s3(self, key: str, content: bytes) -> Image:
        version = self._application.put_object(key, content)
        image_id = hashlib.sha256(f"{key}@{version}".encode()).hexdigest()[:32]
        return Image(image_id, key, content, self._application.finished_image(image_id))


def inline(file_name: str, content_type: str, content: bytes) -> dict[str, str]:
    """The body of POST /upload that brings its picture along."""
    return {"fileName": file_name, "contentType": content_type, "image": base64.b64encode(content).decode()}


def once(content: bytes) -> dict[str, str]:
    """The Idempotency-Key that the gallery sends with a picture."""
    return {"Idempotency-Key": f"gallery-{hashlib.sha256(content).hexdigest()}"}
