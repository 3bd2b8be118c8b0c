"""HTTP for the stand-in: AWS JSON 1.1 on POST /, GET /health and GET /calls. Standard library only."""

from __future__ import annotations

import json
import socketserver
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.origin_check import refusal

from .calls import OK, Calls, Quota
from .detect_labels import MODEL_VERSION
from .request import MAX_IMAGE_BYTES, ServiceError, check_image_length
from .rights import Caller

HOST = "127.0.0.1"  # never another: no signature is checked

# An operation: takes a request, given as decoded JSON, and its caller. Raises ServiceError.
Operation = Callable[[Mapping[str, Any], Caller], Mapping[str, Any]]

_TARGET = "RekognitionService."  # service-2.json: targetPrefix, before the operation
# Image.Bytes grow by 4/3 in base64; the rest of a request is small.
_MAX_BODY = MAX_IMAGE_BYTES * 4 // 3 + 64 * 1024
# A larger body is read and thrown away, so that the client gets an answer and not a broken connection; up to this.
_MAX_DISCARDED = 100 * 1024 * 1024
_CHUNK = 64 * 1024


class RekognitionServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1 from the moment it is made; answers once `serve` is called.

    Args:
        port: 0 for any free one; `url` then says which.
        calls_per_second: the quota of each operation; calls beyond it are refused as AWS does. None admits all.

    Raises:
        OSError: the port cannot be used.
    """

    daemon_threads = True  # an idle keep-alive connection must not hold up the exit
    operations: Mapping[str, Operation]

    def __init__(self, port: int, calls_per_second: float | None = None):
        super().__init__((HOST, port), _Handler)
        self._calls_per_second = calls_per_second
        self.calls = Calls()

    @property
    def url(self) -> str:
        """Where to reach it, such as http://127.0.0.1:8710."""
        return f"http://{HOST}:{self.server_port}"

    def server_bind(self) -> None:
        """Binds the socket. HTTPServer's own also asks DNS for the host's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.socket.getsockname()[1]

    def serve(self, operations: Mapping[str, Operation]) -> None:
        """Answers requests for these operations until `shutdown` is called from another thread."""
        self.operations = operations
        self.quotas = {name: Quota(self._calls_per_second) for name in operations if self._calls_per_second}
        self.serve_forever(poll_interval=0.1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds a connection may be silent
    wbufsize = -1  # buffer the answer: header and body in one packet, with no wait for an acknowledgement between
    server: RekognitionServer

    def parse_request(self) -> bool:
        """Reads the request line and the headers; False when the request is answered already: a web page's is."""
        if not super().parse_request():
            return False
        reason = refusal(self.headers.get)
        if reason:
            self.close_connection = True  # its body is not read
            self._answer(403, {"__type": "AccessDeniedException", "Message": reason})
        return not reason

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/health":
            self._answer(200, {"status": "ok", "model": MODEL_VERSION})
        elif url.path == "/calls":
            self._tell_calls(parse_qs(url.query).get("since", ["0"])[-1])
        else:
            self._answer(404, {"status": "not found", "try": "/health or /calls"})

    def _tell_calls(self, since: str) -> None:
        """How many calls came, when (seconds since 1970), and what each was answered: for whoever measures the pace."""
        try:
            start = float(since)
        except ValueError:
            self._answer(400, {"status": "since is not a number of seconds since 1970"})
        else:
            self._answer(200, {"calls": self.server.calls.since(start)})

    def do_POST(self) -> None:
        start, at = time.perf_counter(), time.time()
        try:
            body = self._body()
            result = self._dispatch(body)
        except ServiceError as error:
            self.server.calls.add(at, error.code)
            self._answer(error.status, {"__type": error.code, "Code": error.code, "Message": error.message})
            self._log(f"{error.code}: {error.detail or error.message}", start)
        except ConnectionError:
            self.close_connection = True
        except Exception as error:  # the client must get an answer that its SDK understands, whatever happened
            self.server.calls.add(at, "InternalServerError")
            self._answer(500, {"__type": "InternalServerError", "Message": "Internal server error"})
            self._log(f"InternalServerError: {type(error).__name__}: {error}", start)
        else:
            self.server.calls.add(at, OK)
            self._answer(200, result)
            labels = result.get("Labels") or result.get("ModerationLabels") or []
            self._log(", ".join(f"{label['Name']} {label['Confidence']:.0f}" for label in labels[:6]), start)

    def _body(self) -> bytes:
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            length = -1
        if length < 0 or length > _MAX_DISCARDED:
            self.close_connection = True
            raise ServiceError("SerializationException", "Content-Length is missing, wrong or too large")
        if length > _MAX_BODY:
            for _ in range(0, length, _CHUNK):
                self.rfile.read(min(_CHUNK, length))
                length -= _CHUNK
            # Nothing but the image makes a request that large.
            check_image_length(MAX_IMAGE_BYTES + 1)
        return self.rfile.read(length)

    def _dispatch(self, body: bytes) -> Mapping[str, Any]:
        operation = self.server.operations.get(self._operation()) if self._target().startswith(_TARGET) else None
        if operation is None:
            message = f"{self._target() or 'No operation'} is not available locally"
            raise ServiceError("UnknownOperationException", message)
        quota = self.server.quotas.get(self._operation())
        if quota and not quota.admits():
            raise ServiceError("ProvisionedThroughputExceededException", "Provisioned rate exceeded")
        try:
            request = json.loads(body)
        except ValueError as error:
            raise ServiceError("SerializationException", "The body is not JSON") from error
        if not isinstance(request, dict):
            raise ServiceError("SerializationException", "The body is not a JSON object")
        signed = Caller.of(self.headers.get("Authorization", ""), self.headers.get("X-Amz-Security-Token", ""))
        return operation(request, signed)

    def _target(self) -> str:
        return self.headers.get("X-Amz-Target", "")

    def _operation(self) -> str:
        return self._target().removeprefix(_TARGET)

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        self.wfile.write(raw)

    def _log(self, outcome: str, start: float) -> None:
        print(
            f"{self._operation()} {(time.perf_counter() - start) * 1000:.0f} ms {outcome}", file=sys.stderr, flush=True
        )

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: `_log` has the line that tells what was seen, and health checks come every second."""
