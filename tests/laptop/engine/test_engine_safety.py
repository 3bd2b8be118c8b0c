"""The engine keeps to itself: to this machine, to its MiniStack version, to what is no web page from elsewhere."""

from __future__ import annotations

import http.client
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import LOCAL_AWS_PYTHON, REPOSITORY


def status(port: int, verb: str, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    """Send a request with exactly these headers: `Host` may be any."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(verb, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def listening_sockets() -> dict[str, str]:
    """Address and port, in hexadecimal, of what listens on this machine, by the socket's inode."""
    lines = [line for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {fields[9]: fields[1] for fields in (line.split() for line in lines) if fields[3] == "0A"}


def sockets_of(process: Path) -> set[str]:
    """The inodes of a process's sockets; none when it has ended, or is another user's."""
    try:
        links = [os.readlink(file) for file in (process / "fd").iterdir()]
    except OSError:
        return set()
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:[")}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the list of sockets that Linux keeps")
def test_listens_on_this_machine_only_and_at_one_port(engine: Any) -> None:
    listening, port = listening_sockets(), f":{engine.port:04X}"
    (server,) = (inode for inode, address in listening.items() if address.endswith(port))
    (sockets,) = (found for process in Path("/proc").glob("[0-9]*") if server in (found := sockets_of(process)))

    assert {listening[inode] for inode in sockets & listening.keys()} == {f"0100007F{port}"}


def test_refuses_another_ministack(tmp_path: Path) -> None:
    fake = tmp_path / "ministack-9.9.9.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: ministack\nVersion: 9.9.9\n")

    result = subprocess.run(
        [LOCAL_AWS_PYTHON, "-m", "local.ministack_ext"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 1
    assert "needs ministack 1.5.33 and found 9.9.9" in result.stderr
    assert "Traceback" not in result.stderr


WEB_PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "https://localhost.evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "http://192.168.0.7"},
    {"Origin": "null"},  # a file, or a frame in a sandbox
    {"Host": "evil.example"},  # its name was made to lead to 127.0.0.1
    {"Host": "evil.example:4566", "Origin": "http://evil.example:4566"},
    {"Host": "localhost.evil.example"},
    {"Host": "["},
    {"Sec-Fetch-Site": "cross-site"},  # an image or a link, whose page hides itself
    {"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.example/"},
]

OTHERS = [
    {},
    # the application's own page, and its way to the sign-in page and back
    {"Host": "127.0.0.1:4566", "Origin": "http://127.0.0.1:4566", "Sec-Fetch-Site": "same-origin"},
    {"Host": "localhost:4566", "Referer": "http://localhost:4566/login", "Sec-Fetch-Site": "same-origin"},
    {"Host": "localhost:4566", "Origin": "http://localhost:3000"},
    {"Host": "bucket.s3.localhost:4566", "Origin": "http://pets.localhost"},
    {"Host": "[::1]:4566", "Origin": "https://127.0.0.2:3000"},
    {"Host": "172.17.0.1:4566", "Origin": "http://[::1]:3000"},  # local/relay.py
    {"Host": "host.docker.internal:4566"},
    {"Host": "engine:4566"},  # compose.yaml
    {"Sec-Fetch-Site": "none"},  # an address that a person typed
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:3000"},  # to 127.0.0.1
    {"Sec-Fetch-Site": "cross-site", "Referer": "http://localhost:3000/"},
]


@pytest.mark.parametrize("headers", WEB_PAGES, ids=str)
def test_a_web_page_from_elsewhere_is_refused(gap_engine: Any, headers: dict[str, str]) -> None:
    create = "/?Action=CreateQueue&QueueName=evil"
    text = {"Content-Type": "text/plain"}  # of which a browser asks no leave before it sends it

    assert status(gap_engine.port, "GET", create, headers) == 403
    assert status(gap_engine.port, "POST", "/2015-03-31/functions", headers | text, b"{}") == 403
    assert status(gap_engine.port, "OPTIONS", "/bucket/key", headers) == 403


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_pages_and_programs_of_this_machine_are_served(engine: Any, headers: dict[str, str]) -> None:
    assert status(engine.port, "GET", "/_ministack/health", headers) == 200


def test_a_web_page_from_elsewhere_gets_no_websocket(engine: Any) -> None:
    gateway = engine.client("apigatewayv2")
    api = gateway.create_api(Name="chat", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action")
    gateway.create_stage(ApiId=api["ApiId"], StageName="local")
    path = f"/_aws/execute-api/{api['ApiId']}/local"
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    handshake["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="

    assert status(engine.port, "GET", path, handshake | {"Origin": "http://localhost:3000"}) == 101
    assert status(engine.port, "GET", path, handshake | {"Origin": "http://evil.example"}) == 403
