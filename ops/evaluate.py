"""What the deployed policy and its recognizer make of a folder whose subfolders are the truth. Nothing is stored."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

from ops import definitions
from ops.environment import LOCAL, Deployment
from ops.errors import OperatorError
from ops.evaluation import Judged
from ops.pace import pace_of
from pet_detector.aws import rekognition
from pet_detector.aws.clients import client
from pet_detector.rules import image_format
from pet_detector.rules.errors import ConversionFailedError, ServiceError, ThrottledError
from pet_detector.rules.models import Animal, ImageFormat, ImageHeader, ReasonCode, Rejection
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.prices import prices

TRUTHS = {name: animal for animal in Animal for name in (animal.value, f"{animal.value}s")}
LAYOUT = "cats, dogs and others (or cat, dog, other)"

# What Rekognition takes without an object in S3. The application itself, which has one, takes three times as much.
MAX_BYTES_SENT = 5 * 1024 * 1024
# Of the copy that is asked about instead of a larger picture. Rekognition sees no more detail than this gives.
_COPY_SIDE_PX = 4096
# Live uploads keep the rest of RekognitionCallsPerSecond. One call after the other takes longer than that anyway,
# except where the pace is low.
SHARE_OF_PACE = 0.5
# About how long Rekognition takes for a picture, for the estimate.
SECONDS_A_CALL = 0.8
# Pauses before the next attempts when Rekognition throttles or fails.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Picture:
    """A file that can be judged, by its path below the folder. `rejection` is why the application would not ask."""

    name: str
    path: Path
    truth: Animal
    rejection: Rejection | None


@dataclass(frozen=True)
class Left:
    """A file that is not judged, and why."""

    name: str
    reason: str


@dataclass
class Survey:
    """What lies in a folder."""

    pictures: list[Picture] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    @property
    def to_ask(self) -> int:
        """How many pictures the recognizer is asked about."""
        return sum(picture.rejection is None for picture in self.pictures)


@dataclass
class Evaluation:
    """What was found so far. `stopped` before the end; `copies` were asked about as smaller copies."""

    environment: str
    folder: str
    policy: str
    judged: list[Judged] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    models: set[str] = field(default_factory=set)
    asked: int = 0
    copies: int = 0
    stopped: bool = False

    @property
    def dollars(self) -> float:
        """What the calls cost on AWS."""
        return self.asked * prices()["rekognition_image"]

    @property
    def is_local(self) -> bool:
        """Whether the local recognizer was asked, which costs nothing and is not Amazon's."""
        return self.environment == LOCAL


class NotReadableError(Exception):
    """A file is left out; the message says why."""


# --- The folder -------------------------------------------------------------------------------------------------------


def survey(folder: Path, each: Callable[[int], None] = lambda _: None) -> Survey:
    """Look at every file below a folder, and read it once. Calls `each` with 1 for each file.

    Links are not followed, and the same bytes count once. Raises OperatorError when the subfolders do not say what is
    on the pictures.
    """
    found, seen = Survey(), dict[str, Picture]()
    for path, name, truth in _files(folder, found):
        each(1)
        try:
            if name.rpartition("/")[2].startswith("."):
                raise NotReadableError("it is hidden")
            data, header = read(path)
        except NotReadableError as error:
            found.left.append(Left(name, str(error)))
            continue
        picture = Picture(name, path, truth, header if isinstance(header, Rejection) else None)
        digest = hashlib.sha256(data).hexdigest()
        if not data or digest not in seen:
            found.pictures.append(picture)
            seen[digest] = picture
        elif seen[digest].truth is truth:
            found.left.append(Left(name, f"it has the same bytes as {seen[digest].name}, which counts"))
        else:
            _leave_both(found, seen[digest], picture)
    return found


def _leave_both(found: Survey, first: Picture, second: Picture) -> None:
    """Nobody knows which of the two folders is right."""
    if first in found.pictures:
        found.pictures.remove(first)
        found.left.append(Left(first.name, f"it has the same bytes as {second.name}: what is on it?"))
    found.left.append(Left(second.name, f"it has the same bytes as {first.name}: what is on it?"))


def _files(folder: Path, found: Survey) -> Iterator[tuple[Path, str, Animal]]:
    """Every file with its path below the folder and what is on it; what is no file is left out."""
    unknown, beside = [], 0
    tops: list[tuple[Path, Animal]] = []
    for entry in _listed(folder):
        if entry.name.startswith("."):
            found.left.append(Left(entry.name, "it is hidden"))
        elif entry.is_symlink():
            found.left.append(Left(entry.name, "it is a link, which is not followed"))
        elif not entry.is_dir():
            found.left.append(Left(entry.name, "it lies in no subfolder, so nobody says what is on it"))
            beside += 1
        elif (truth := TRUTHS.get(entry.name.lower())) is not None:
            tops.append((Path(entry.path), truth))
        else:
            unknown.append(f"{entry.name}/")
    if unknown:
        names = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        raise OperatorError(
            f"The name of a subfolder says what is on its pictures, and {names} says nothing to the machine: call them "
            f"{LAYOUT}, or move them out of {folder}. Below those, subfolders may have any name."
        )
    if not tops:
        files = f" Its {beside} files lie beside each other." if beside else ""
        raise OperatorError(
            f"{folder} has no subfolders that say what is on the pictures.{files} Make {LAYOUT} in it, and sort some "
            "pictures into them: 50 of each already say something."
        )
    for top, truth in tops:
        yield from ((path, path.relative_to(folder).as_posix(), truth) for path in _below(top, folder, truth, found))


def _below(top: Path, folder: Path, truth: Animal, found: Survey) -> Iterator[Path]:
    """The files of a folder of one truth, at any depth."""
    directories = [top]
    while directories:
        deeper = []
        for entry in _listed(directories.pop()):
            path = Path(entry.path)
            name = path.relative_to(folder).as_posix()
            if entry.is_symlink():
                found.left.append(Left(name, "it is a link, which is not followed"))
            elif not entry.is_dir():
                yield path
            elif entry.name.startswith("."):
                found.left.append(Left(f"{name}/", "it is hidden"))
            elif TRUTHS.get(entry.name.lower(), truth) is not truth:
                raise OperatorError(
                    f"{name}/ says two things about its pictures: move it beside {truth.value}s, or rename it."
                )
            else:
                deeper.append(path)
        directories += reversed(deeper)


def _listed(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise OperatorError(f"{directory} cannot be read: {error.strerror}.") from error


def read(path: Path) -> tuple[bytes, ImageHeader | Rejection]:
    """A file's bytes, and what the application's checks say of them. A file that is too large is not read.

    Raises NotReadableError for what is no file, or no picture at all.
    """
    try:
        # A link that was put here since is not followed, and a pipe does not wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotReadableError("it is no regular file")
            if status.st_size > image_format.MAX_BYTES:
                return b"", image_format.too_large(status.st_size)
            data = file.read(image_format.MAX_BYTES + 1)
    except OSError as error:
        raise NotReadableError(f"it cannot be read: {error.strerror}") from error
    header = image_format.inspect(data)
    if isinstance(header, Rejection) and header.code is ReasonCode.NOT_AN_IMAGE:
        raise NotReadableError("it is no picture")
    if isinstance(header, ImageHeader) and header.format.is_converted and find_spec("pi_heif") is None:
        raise NotReadableError(
            f"it is {header.format.name}, and the converter's decoders are not installed here: "
            "pip install -r converter/requirements.txt in petdetect's environment"
        )
    return data, header


def as_analysed(data: bytes, header: ImageHeader) -> bytes | Rejection:
    """What the application asks Rekognition about: the picture, or the JPEG that its converter makes of it.

    Raises NotReadableError when the converter does not work here.
    """
    if not header.format.is_converted:
        return data
    if (converter := str(definitions.REPOSITORY / "converter")) not in sys.path:
        sys.path.append(converter)  # its decoder is started from there, in a process of its own
    from convert_image import conversion

    try:
        return conversion.convert(data, header)
    except ConversionFailedError as error:
        raise NotReadableError(f"it is {header.format.name}, and the converter does not work here: {error}") from error


# --- Asking -----------------------------------------------------------------------------------------------------------


def policy_of(deployment: Deployment) -> Policy:
    """The policy that the functions decide by. Raises PolicyInvalidError."""
    name = deployment.output("PolicyParameterName")
    return Policy.from_json(client("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def calls_per_second(deployment: Deployment) -> float:
    """How fast Rekognition may be asked beside live uploads: part of what fits into the account's quota."""
    pace = pace_of(deployment)
    return min(pace.calls_per_second, pace.quota or pace.calls_per_second) * SHARE_OF_PACE


def seconds_for(pictures: int, pace: float) -> float:
    """About how long it takes."""
    return pictures * max(SECONDS_A_CALL, 1 / pace)


def run(
    found: Survey,
    evaluation: Evaluation,
    policy: Policy,
    pace: float,
    advance: Callable[[int], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Judge the pictures, one after the other, into `evaluation`, which keeps what is known when something fails.

    Asks at most `pace` times a second.
    """
    evaluation.left += found.left
    due = time.monotonic()
    for picture in found.pictures:
        try:
            sleep(max(0.0, due - time.monotonic()))
            due = max(due, time.monotonic()) + 1 / pace
            evaluation.judged.append(_judge(picture, evaluation, policy, sleep))
        except NotReadableError as error:  # it has changed since it was looked at
            evaluation.left.append(Left(picture.name, str(error)))
        advance(1)


def _judge(picture: Picture, evaluation: Evaluation, policy: Policy, sleep: Callable[[float], None]) -> Judged:
    data, header = read(picture.path)
    if isinstance(header, Rejection):
        return Judged(picture.name, picture.truth, header)
    picture_asked = as_analysed(data, header)
    if isinstance(picture_asked, Rejection):
        return Judged(picture.name, picture.truth, picture_asked)
    content = sendable(picture_asked)
    evaluation.copies += content is not picture_asked
    for pause in (*_PAUSES, None):
        began = time.monotonic()
        try:
            answer = rekognition.recognize_bytes(content)
            break
        except (ThrottledError, ServiceError):
            if pause is None:
                raise
            sleep(pause)
    milliseconds = (time.monotonic() - began) * 1000
    evaluation.asked += 1
    if isinstance(answer, Rejection):
        return Judged(picture.name, picture.truth, answer, milliseconds)
    evaluation.models.add(answer.model_version)
    return Judged(picture.name, picture.truth, decide(answer.labels, policy), milliseconds)


def sendable(data: bytes) -> bytes:
    """The JPEG or PNG itself, or a smaller copy of one that has more bytes than a call takes.

    Raises NotReadableError when no copy can be made.
    """
    return data if len(data) <= MAX_BYTES_SENT else copy_of(data, _COPY_SIDE_PX, 90)


def copy_of(data: bytes, side: int, quality: int) -> bytes:
    """A JPEG of a JPEG or PNG, right way up, at most `side` pixels wide and high. Raises NotReadableError."""
    file = io.BytesIO()
    try:
        # Only the decoders of what the checks let through: none that a file chooses.
        with Image.open(io.BytesIO(data), formats=[ImageFormat.JPEG.name, ImageFormat.PNG.name]) as opened:
            opened.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
            upright.thumbnail((side, side))
            upright.save(file, "JPEG", quality=quality)
    except Exception as error:  # Pillow raises what it likes for what is damaged
        raise NotReadableError(f"no copy of it could be made ({type(error).__name__})") from error
    return file.getvalue()
