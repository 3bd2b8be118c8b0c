"""Command line of the local Rekognition: `python -m local.rekognition`, run from the repository root."""

from __future__ import annotations

import argparse
import errno
import math
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from .classifier import Classifier
from .detect_labels import MODEL_VERSION, DetectLabels
from .detect_moderation_labels import DetectModerationLabels
from .request import Reader
from .rights import Rights
from .s3_objects import S3Objects
from .server import HOST, Operation, RekognitionServer

DEFAULT_PORT = 8710


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit code: 0 after a clean stop, 1 if it could not start."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()

    def request_stop(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    start = time.perf_counter()
    try:
        server = RekognitionServer(
            options.port, options.calls_per_second
        )  # first, so that a taken port is known at once
    except OSError as error:
        return _fail(_port_problem(error, options.port))
    try:
        s3 = S3Objects(options.s3_endpoint, options.region) if options.s3_endpoint else None
        rights = Rights(options.rights_endpoint) if options.rights_endpoint else None
        reader = Reader(s3, rights)
        operations: dict[str, Operation] = {
            "DetectLabels": DetectLabels(Classifier(), reader),
            "DetectModerationLabels": DetectModerationLabels(reader),
        }
    except ValueError as error:  # WeightsError, or boto3 on an endpoint that is no URL
        return _fail(f"Cannot start: {error}")
    thread = threading.Thread(target=server.serve, args=[operations], name="http")
    thread.start()
    seconds = time.perf_counter() - start
    print(f"Local Rekognition is ready on {server.url} ({MODEL_VERSION}, {seconds:.1f} s)", flush=True)
    stop.wait()
    server.shutdown()
    server.server_close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.rekognition",
        description=f"A local stand-in for Amazon Rekognition DetectLabels; its DetectModerationLabels is a stub. "
        f"Listens on {HOST} only.",
    )
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0 for any free port")
    parser.add_argument("--s3-endpoint", help="URL of the local S3 that Image.S3Object is read from")
    parser.add_argument(
        "--rights-endpoint", help="URL of the local AWS that says what callers may do; default: anything"
    )
    parser.add_argument("--region", default="us-east-1", help="region of that S3, default us-east-1")
    parser.add_argument(
        "--calls-per-second",
        type=_rate,
        metavar="N",
        help="the quota: what is beyond it gets a ProvisionedThroughputExceededException, as on AWS; default: none",
    )
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError("a number of calls a second is above 0")
    return rate


def _port_problem(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use: stop the program that listens on it, or choose another with --port."
    return f"Cannot listen on {HOST}:{port} ({error.strerror}): choose another port with --port."


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
