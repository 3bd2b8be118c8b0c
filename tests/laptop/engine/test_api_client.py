"""The client of the API: a form that S3 takes, patience when it is throttled, and the services' own words."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from local.api_client import ApiClient, RefusedError


class _Busy(BaseHTTPRequestHandler):
    """Throttles the first call, and answers errors as the API does."""

    calls = 0
    last = (404, b'{"code": "NOT_FOUND", "message": "no such image"}')

    def do_GET(self) -> None:
        type(self).calls += 1
        status, body = (429, b"{}") if self.calls == 1 else self.last
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ((404, b'{"code": "NOT_FOUND", "message": "no such image"}'), "NOT_FOUND: no such image"),
        ((429, b'{"code": "QUOTA_EXCEEDED", "message": "used up"}'), "QUOTA_EXCEEDED: used up"),
        ((502, b'{"message": "Internal server error"}'), "HTTP_502: Internal server error"),
        ((403, b"<Error><Code>AccessDenied</Code><Message>expired</Message></Error>"), "AccessDenied: expired"),
        ((503, b"busy"), "HTTP_503: busy"),
        ((500, b"[]"), "HTTP_500: []"),
    ],
)
def test_the_client_waits_when_throttled_and_reports_the_services_own_words(
    monkeypatch: pytest.MonkeyPatch, last: tuple[int, bytes], said: str
) -> None:
    monkeypatch.setattr(_Busy, "calls", 0)
    monkeypatch.setattr(_Busy, "last", last)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(RefusedError) as refused:
            ApiClient(f"http://127.0.0.1:{server.server_port}", "key").image("0")
    finally:
        server.shutdown()
        server.server_close()

    assert (refused.value.status, str(refused.value)) == (last[0], said)
    assert _Busy.calls == 2


def test_a_throttled_client_waits_longer_each_time_up_to_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("local.api_client.time.sleep", pauses.append)
    throttled = requests.Response()
    throttled.status_code, throttled._content = 429, b'{"code": "THROTTLED"}'
    monkeypatch.setattr(requests.Session, "request", lambda *_, **__: throttled)

    with pytest.raises(RefusedError, match="THROTTLED"):
        ApiClient("http://127.0.0.1:1", "key").image("0")

    longest = [0.5, 1, 2, 4, 5, 5]
    assert all(most / 2 <= pause <= most for most, pause in zip(longest, pauses, strict=False))
    assert 60 < sum(pauses) < 150
    assert len(set(pauses)) == len(pauses)  # at random


def test_the_file_is_the_last_part_of_a_form_because_s3_ignores_what_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, sent = ApiClient("http://127.0.0.1:1", "key"), []
    fields = {"key": "input/a.jpg", "policy": "signed"}
    monkeypatch.setattr(client, "_json", lambda *_: {"imageId": "a", "upload": {"url": client.url, "fields": fields}})

    def refuse(_: object, request: requests.PreparedRequest, **__: object) -> None:
        sent.append(request.body)
        raise requests.ConnectionError

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", refuse)
    with pytest.raises(OSError):  # noqa: PT011 - any network error
        client.upload("a.jpg", "image/jpeg", b"pixels")

    (body,) = sent
    assert isinstance(body, bytes)
    assert body.index(b'name="key"') < body.index(b'name="policy"') < body.index(b'name="file"') < body.index(b"pixels")


@pytest.mark.parametrize(("size", "code"), [(0, "EntityTooSmall"), (4, "EntityTooLarge"), (3, None)])
def test_the_client_sends_a_form_that_s3_understands(
    engine: Any, monkeypatch: pytest.MonkeyPatch, size: int, code: str | None
) -> None:
    s3 = engine.client("s3")
    s3.create_bucket(Bucket="forms")
    form = s3.generate_presigned_post("forms", "input/a.jpg", Conditions=[["content-length-range", 1, 3]])
    client = ApiClient("http://127.0.0.1:1", "key")
    monkeypatch.setattr(client, "_json", lambda *_: {"imageId": "a", "upload": form})

    if code is None:
        assert client.upload("a.jpg", "image/jpeg", bytes(size)) == "a"
        assert s3.get_object(Bucket="forms", Key="input/a.jpg")["Body"].read() == bytes(size)
    else:
        with pytest.raises(RefusedError) as refused:
            client.upload("a.jpg", "image/jpeg", bytes(size))
        assert refused.value.code == code
