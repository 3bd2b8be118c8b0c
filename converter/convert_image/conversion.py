"""Runs the decoder: in a process of its own, because a hostile picture may crash it, or take what it can get."""

from __future__ import annotations

import ctypes
import subprocess
import sys

from pet_detector.rules.errors import ConversionFailedError
from pet_detector.rules.models import ImageHeader, ReasonCode, Rejection
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger

# By the clock, also when the decoder waits: less than the Timeout of the function, with time left to store the JPEG.
MOST_SECONDS = 45.0
# Exit code of the decoder: see convert_image/decoder.py, which this function does not import.
UNDECODABLE = 65
# linux/prctl.h
_PR_SET_DUMPABLE = 4


def convert(data: bytes, header: ImageHeader) -> bytes | Rejection:
    """A JPEG of a picture whose header was judged.

    Rejected as damaged is what no decoder reads, what crashes it, and what takes more memory or time than such a
    picture needs. Raises ConversionFailedError when the decoder does not start.
    """
    _close_to_children()
    arguments = [header.format.value, str(header.width), str(header.height)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "convert_image.decoder", *arguments],
            input=data,
            capture_output=True,
            timeout=MOST_SECONDS,
            check=False,
            env=_environment(),
        )
        code, said = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        code, said = UNDECODABLE, b"TimeoutExpired"
    if code == 0:
        return done.stdout
    # A signal (negative): it crashed, or used up its processor time.
    logger.info("Decoder ended", exit_code=code, error=_kind_of_error(said))
    if code == UNDECODABLE or code < 0:
        return Rejection(
            ReasonCode.DAMAGED,
            f"The {header.format.name} file cannot be decoded; save the picture anew and upload that file.",
        )
    raise ConversionFailedError(f"The decoder ended with {code}: {said.decode(errors='replace')[-300:]}")


def _kind_of_error(said: bytes) -> str:
    """The class that the decoder names in its last line, if it does: the rest may hold words of the picture."""
    name = said.rstrip().rpartition(b"\n")[2].partition(b":")[0].decode(errors="replace")
    return name if name.isidentifier() else ""


def _close_to_children() -> None:
    """Keep other processes of this user from this one's environment and memory, where its credentials are.

    Without it they lie open in /proc, and to a debugger. What remains open to a decoder that was taken over is the
    network (in Lambda also the address where the next event is fetched) and /tmp. This closes this process alone:
    whether Lambda's first process runs as the same user, with the same credentials, was not verified. Raises
    ConversionFailedError.
    """
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise ConversionFailedError("The system does not close this process to its children.")


def _environment() -> dict[str, str]:
    """None of this function's credentials.

    Lambda's Python finds its own library by LD_LIBRARY_PATH, and may not start without. One arena for memory: each
    thread's own would count as memory that is used.
    """
    libraries = settings.optional("LD_LIBRARY_PATH")
    given = {"LD_LIBRARY_PATH": libraries} if libraries else {}
    return given | {"PYTHONPATH": ":".join(sys.path), "MALLOC_ARENA_MAX": "1"}
