"""microburst in front of one endpoint, on 127.0.0.1: `python proxy.py UPSTREAM PORT` (runs in its own environment).

Four things are added to microburst. A rule's `payload` is searched in everything that names an image: path, query,
copy source and body; so a fault hits the calls about one image and no others. `response: {abort_bytes: 0}` loses the
whole answer, status line included, after the real service has given it; microburst alone would still send its head.
And the Content-Length of an answer is handed on, without which a client cannot tell a body that was cut from a whole
one, and boto3 has no size of an object. And so is the request's Host, which its signature covers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from microburst import forward
from microburst.app import make_app
from microburst.core import pipeline
from microburst.core.pipeline import Microburst

HOST = "127.0.0.1"


def install() -> None:
    """Apply the four additions."""
    detect = pipeline.detect
    outbound_headers = forward.Upstream._outbound_headers
    stream = forward._stream_to_client

    def detect_with_payload(
        headers: Mapping[str, str], method: str, path: str, query: Mapping[str, str], body: bytes | None
    ) -> Any:
        context = detect(headers, method, path, query, body)
        parts = [path, headers.get("x-amz-copy-source", ""), *query.values(), (body or b"").decode(errors="replace")]
        context.payload = unquote(" ".join(parts))
        return context

    async def stream_or_lose(request: web.Request, status: int, headers: Any, mutator: Any, chunks: Any) -> Any:
        if mutator is None or mutator.abort_bytes != 0:
            mutator = mutator or forward.ResponseFault()
            if "Content-Length" in headers and mutator.truncate_frac is None:
                mutator.set_headers.setdefault("Content-Length", headers["Content-Length"])
            return await stream(request, status, headers, mutator, chunks)
        async for _ in chunks:
            pass
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # never written: the connection is gone

    def outbound_headers_as_signed(upstream: Any, request: web.Request) -> dict[str, str]:
        return {**outbound_headers(upstream, request), "host": request.headers["Host"]}

    forward.Upstream._outbound_headers = outbound_headers_as_signed
    pipeline.detect = detect_with_payload
    forward._stream_to_client = stream_or_lose


def main() -> None:
    """Serve until SIGTERM."""
    upstream, port = sys.argv[1], int(sys.argv[2])
    install()
    web.run_app(make_app(Microburst(upstream, fired_capacity=20_000)), host=HOST, port=port, print=None)


if __name__ == "__main__":
    main()
