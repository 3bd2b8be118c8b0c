"""Starts the local Rekognition as users do, in the engine's environment, and a small S3 for it to read from."""

from __future__ import annotations

import io
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from PIL import Image

from tests.support.local_aws import client, local_aws_python
from tests.support.paths import REPOSITORY

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
    with ExitStack() as stack:

        def start(*arguments: str) -> RunningServer:
            log = tmp_path_factory.mktemp("rekognition") / "stderr.txt"
            with log.open("w") as stderr:
                process = subprocess.Popen(
                    [str(local_aws_python()), "-m", "local.rekognition", "--port", "0", *arguments],
                    cwd=REPOSITORY,
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

        def connected(server: RunningServer) -> Any:
            made = client(server.url, "rekognition", parameter_validation=False)
            stack.callback(made.close)
            return made

        yield connected


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


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Lets a stand-in answer, in a thread, until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def s3() -> Iterator[StubS3]:
    stub = StubS3()
    with serving(stub.server):
        yield stub


@pytest.fixture(scope="session")
def photo() -> Callable[[str], bytes]:
    """Reads one of photos/, by file name."""
    return lambda name: (REPOSITORY / "photos" / name).read_bytes()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encodes a Pillow image: encode(image, "PNG", **options)."""

    def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    return encode


@pytest.fixture(scope="session")
def run_in_engine() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the engine's Python with the given arguments from the repository root; numpy is only there."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(local_aws_python()), *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
