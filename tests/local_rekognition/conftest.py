"""Starts the local Rekognition as users do, in the engine's environment, and a small S3 for it to read from."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pytest
from botocore.config import Config
from PIL import Image

ROOT = Path(__file__).parents[2]
ENGINE_PYTHON = ROOT / ".engine" / "venv" / "bin" / "python"
READY_SECONDS = 30


@dataclass(frozen=True)
class RunningServer:
    """A local Rekognition that has said it is ready."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def memory_mb(self, field: str) -> int:
        """Reads VmRSS (memory now) or VmHWM (the most it ever had), in MB."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            pytest.skip("memory is read from /proc, which this system does not have")
        return int(re.findall(rf"{field}:\s+(\d+) kB", status.read_text())[0]) // 1024

    def stop(self) -> int:
        """Asks it to end, by its process id; returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningServer]]:
    """Starts a server with the given arguments on a free port, and ends it with the tests."""
    if not ENGINE_PYTHON.exists():
        pytest.fail("the engine's environment .engine/venv is missing: it holds local/requirements.txt")
    with ExitStack() as stack:

        def start(*arguments: str) -> RunningServer:
            log = tmp_path_factory.mktemp("rekognition") / "stderr.txt"
            with log.open("w") as stderr:
                process = subprocess.Popen(
                    [str(ENGINE_PYTHON), "-m", "local.rekognition", "--port", "0", *arguments],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
            stack.callback(process.stdout.close)  # type: ignore[union-attr]
            timer = threading.Timer(READY_SECONDS, process.kill)
            timer.start()
            ready = process.stdout.readline()  # type: ignore[union-attr]
            timer.cancel()
            timer.join()
            url = re.search(r"http://127\.0\.0\.1:\d+", ready)
            assert url, f"not ready: {ready!r} {log.read_text()}"
            server = RunningServer(url[0], process, log)
            stack.callback(lambda: process.poll() is None and server.stop())
            return server

        yield start


@pytest.fixture(scope="session")
def server(start_server: Callable[..., RunningServer], s3: StubS3) -> RunningServer:
    """The server most tests share."""
    return start_server("--s3-endpoint", s3.url)


@pytest.fixture(scope="session")
def connect() -> Iterator[Callable[[RunningServer], Any]]:
    """Makes a boto3 client for a server; it neither retries nor checks requests, the server has to."""
    with ExitStack() as stack:

        def client(server: RunningServer) -> Any:
            made = boto3.client(
                "rekognition",
                endpoint_url=server.url,
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
                config=Config(parameter_validation=False, proxies={}, retries={"total_max_attempts": 1}),
            )
            stack.callback(made.close)
            return made

        yield client


@pytest.fixture(scope="session")
def rekognition(server: RunningServer, connect: Callable[[RunningServer], Any]) -> Any:
    """A boto3 client for the shared server."""
    return connect(server)


class StubS3:
    """The least of S3: GET of an object, of one of its versions, and the errors for what is not there."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str | None], bytes] = {}
        self.denied: set[str] = set()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                bucket, key = unquote(url.path[1:]).split("/", 1)
                version = parse_qs(url.query).get("versionId", [None])[0]
                data = stub.objects.get((bucket, key, version))
                if bucket in stub.denied:
                    status, data = 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
                elif data is None:
                    code = b"NoSuchVersion" if version else b"NoSuchKey"
                    status, data = 404, b"<Error><Code>%s</Code><Message>no</Message></Error>" % code
                else:
                    status = 200
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(ConnectionError):  # the reader turns away from an object that is too large
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, bucket: str, key: str, data: bytes, version: str | None = None) -> None:
        """Stores an object, and as its latest version."""
        self.objects[bucket, key, None] = data
        if version:
            self.objects[bucket, key, version] = data


@pytest.fixture(scope="session")
def s3() -> Iterator[StubS3]:
    stub = StubS3()
    thread = threading.Thread(target=stub.server.serve_forever, args=[0.05])
    thread.start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def photo() -> Callable[[str], bytes]:
    """Reads one of photos/, by file name."""
    return lambda name: (ROOT / "photos" / name).read_bytes()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encodes a Pillow image: encode(image, "PNG", **options)."""

    def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    return encode


@pytest.fixture(scope="session")
def black_png() -> Callable[[int, int], bytes]:
    """Makes a whole black-and-white PNG of any size, row by row: few bytes here, much memory for who decodes it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def make(width: int, height: int) -> bytes:
        packer = zlib.compressobj()
        row = bytes(1 + (width + 7) // 8)
        rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
        header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

    return make


@pytest.fixture(scope="session")
def run_in_engine() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the engine's Python with the given arguments from the repository root; numpy is only there."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ENGINE_PYTHON), *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
