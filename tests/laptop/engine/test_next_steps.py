"""The lines to paste after `make run` and `make up`: a shell runs them as they are printed."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local import next_steps
from local.engine import Engine
from local.people import PASSWORD, PEOPLE


class _Api(BaseHTTPRequestHandler):
    """Keeps what it was sent: (path, API key, body)."""

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.server.calls.append((self.path, self.headers["x-api-key"], body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def api() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.calls = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def lines(api: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed, in a repository whose path wants quotes and whose sample picture has nearly 4 MB."""
    repository = tmp_path / "Ann's pictures"
    (repository / "photos").mkdir(parents=True)
    (repository / "photos" / "cat_chelsea.jpg").write_bytes(os.urandom(4_100_000))
    monkeypatch.setattr(next_steps, "REPOSITORY", repository)
    monkeypatch.setattr(next_steps, "api_key", lambda *_: "secret")
    url = f"http://127.0.0.1:{api.server_port}/local"
    outputs = {"ApiUrl": url, "ApiKeyId": "id", "PageUrl": f"{url}/app/"}
    return next_steps.next_steps(Engine(4700, 4701, home=tmp_path), outputs, "a-stack")


def run(shell: str, script: str) -> str:
    """Run lines in a shell that has nothing but the way to programs."""
    result = subprocess.run(
        [shell, "-eu"], input=script, capture_output=True, text=True, env={"PATH": os.environ["PATH"]}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_printed_lines_upload_a_large_picture_look_it_up_and_list(
    lines: list[str], api: Any, shell: str, tmp_path: Path
) -> None:
    commands = [line for line in lines if re.match(r"  +(export|printf|\"\$\(base64|curl)", line)]

    run(shell, "\n".join(commands).replace("<imageId>", "0" * 32))

    (upload, look, listing) = api.calls
    picture = (tmp_path / "Ann's pictures" / "photos" / "cat_chelsea.jpg").read_bytes()
    assert upload[:2] == ("/local/upload", "secret")
    body = json.loads(upload[2])
    assert (body["fileName"], body["contentType"]) == ("cat.jpg", "image/jpeg")
    assert base64.b64decode(body["image"]) == picture
    assert look[:2] == (f"/local/images/{'0' * 32}", "secret")
    assert listing[:2] == ("/local/images?limit=5", "secret")


def test_the_variables_lead_every_sdk_to_the_local_aws(lines: list[str]) -> None:
    exports = "\n".join(line for line in lines if line.startswith("  export "))

    seen = dict(line.split("=", 1) for line in run("sh", f"{exports}\nenv").splitlines())

    assert seen["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4700"
    assert seen["AWS_DEFAULT_REGION"] == "us-east-1"
    assert seen["AWS_ACCESS_KEY_ID"]
    assert seen["AWS_SECRET_ACCESS_KEY"]
    assert any("--stack-name a-stack" in line for line in lines)


def test_the_page_is_named_with_somebody_to_sign_in_as(lines: list[str]) -> None:
    text = "\n".join(lines)

    assert re.search(r"http://127\.0\.0\.1:\d+/local/app/$", text, re.MULTILINE)
    assert all(email in text for email in PEOPLE.values())
    assert PASSWORD in text
