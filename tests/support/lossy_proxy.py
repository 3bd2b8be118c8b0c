"""Stands between a browser and the local AWS, and loses what a test wants: requests, or answers."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.fake_reviews import Fault

_OF_ONE_HOP = {"connection", "content-length", "host", "keep-alive", "origin", "referer", "transfer-encoding"}


class LossyProxy:
    """Passes requests on to `target` ("127.0.0.1:4566"), whose address it replaces by its own in answers."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.fault: Callable[[str, str], Fault] = lambda method, path: Fault.NONE
        self.faults: list[Fault] = []
        self.address = ""
        self.ended = threading.Event()

    def own(self, address: str) -> str:
        """An address of the target, through this proxy."""
        return address.replace(self.target, self.address)


@contextmanager
def losing(target: str) -> Iterator[LossyProxy]:
    """A proxy on a free port of this machine, until the block ends."""
    proxy = LossyProxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            fault = proxy.fault(self.command, urlsplit(self.path).path)
            if fault is not Fault.NONE:
                proxy.faults.append(fault)
            if fault is Fault.BEFORE:
                self.close_connection = True
                return
            if fault is Fault.UNAVAILABLE:
                self._answer(
                    503, [("Content-Type", "application/json")], b'{"code": "UNAVAILABLE", "message": "Try again."}'
                )
                return
            # The local AWS serves its own pages only, and checks signatures against its own address. In what is
            # compressed no address could be replaced.
            left_out = _OF_ONE_HOP | {"accept-encoding"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            connection = http.client.HTTPConnection(proxy.target, timeout=60)
            try:
                connection.request(self.command, self.path, body or None, headers)
                response = connection.getresponse()
                content = response.read()
            finally:
                connection.close()
            if fault is Fault.HANGS:
                proxy.ended.wait()
            if fault in (Fault.AFTER, Fault.HANGS):
                self.close_connection = True
                return
            if not response.headers.get_content_type().startswith("image/"):
                content = content.replace(proxy.target.encode(), proxy.address.encode())
            passed = [
                (name, proxy.own(value)) for name, value in response.getheaders() if name.lower() not in _OF_ONE_HOP
            ]
            self._answer(response.status, passed, content)

        do_GET = do_POST = do_DELETE = do_OPTIONS = _pass_on

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # a killed tab closes its connections
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", 0), Handler)
    proxy.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
