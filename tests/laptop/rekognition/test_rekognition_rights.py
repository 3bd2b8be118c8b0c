"""What the local Rekognition asks the local AWS about its caller, and what it does with the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import RunningServer, StubS3, serving

DETECT = ["rekognition:DetectLabels", "*"]


class StubRights:
    """Refuses the actions in `refused`, and keeps the questions."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.questions: list[Any] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub.questions.append(question)
                answers = [
                    f"{action} is refused" if action in stub.refused else None for action, _ in question["rights"]
                ]
                body = json.dumps({"refusals": answers}).encode()
                self.send_response(200 if self.path == "/_local/rights" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def rights() -> Iterator[StubRights]:
    stub = StubRights()
    with serving(stub.server):
        yield stub


@pytest.fixture(scope="module")
def rekognition(
    start_server: Callable[..., RunningServer],
    connect: Callable[[RunningServer], Any],
    s3: StubS3,
    rights: StubRights,
    photo: Callable[[str], bytes],
) -> Any:
    """A server that asks, and an object for it to read."""
    s3.put("asked", "cat.jpg", photo("cat_chelsea.jpg"), version="only")
    return connect(start_server("--s3-endpoint", s3.url, "--rights-endpoint", rights.url))


def code_of(rekognition: Any, rights: StubRights, refused: str, **s3_object: str) -> str:
    rights.refused = {refused}
    try:
        rekognition.detect_labels(Image={"S3Object": {"Bucket": "asked", "Name": "cat.jpg", **s3_object}})
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"


def test_it_works_with_the_rights_of_its_caller(rekognition: Any, rights: StubRights) -> None:
    assert code_of(rekognition, rights, "") == "OK"
    assert rights.questions[-1] == {
        "key": "000000000000",  # the client's
        "token": "",
        "rights": [DETECT, ["s3:GetObject", "arn:aws:s3:::asked/cat.jpg"]],
    }
    assert code_of(rekognition, rights, "rekognition:DetectLabels") == "AccessDeniedException"


@pytest.mark.parametrize(
    ("s3_object", "action"),
    [({}, "s3:GetObject"), ({"Version": "only"}, "s3:GetObjectVersion")],
    ids=["newest", "version"],
)
def test_it_reads_no_object_that_its_caller_may_not_read(
    rekognition: Any, rights: StubRights, s3_object: dict[str, str], action: str
) -> None:
    assert code_of(rekognition, rights, "", **s3_object) == "OK"
    assert code_of(rekognition, rights, action, **s3_object) == "InvalidS3ObjectException"


def test_it_needs_an_answer(
    start_server: Callable[..., RunningServer], connect: Callable[[RunningServer], Any], photo: Callable[[str], bytes]
) -> None:
    nobody = connect(start_server("--rights-endpoint", "http://127.0.0.1:9"))

    with pytest.raises(ClientError) as raised:
        nobody.detect_labels(Image={"Bytes": photo("cat_chelsea.jpg")})

    assert raised.value.response["Error"]["Code"] == "InternalServerError"
