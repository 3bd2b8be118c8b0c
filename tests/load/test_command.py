"""What `make load` refuses, what it asks, and how it looks an image up at a stage."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local.engine import UserError
from tests.load import __main__ as command
from tests.load import answers
from tests.load.scenarios import SCENARIOS
from tests.load.stages import Look, Stage, follow


class Api(ThreadingHTTPServer):
    """Answers the requests in turn, and keeps their paths and keys."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dev"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["x-api-key"]))
        status, document = self.server.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(answers, "pause_before", lambda attempt, headers: 0)
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_stage_looks_an_image_up_and_waits_while_it_is_throttled(api: Api) -> None:
    throttled = (429, {"code": "THROTTLED"})
    api.answers = [throttled, throttled, (200, {"status": "completed"}), (404, {"code": "IMAGE_NOT_FOUND"})]
    stage = Stage(api.url, "key")

    assert stage.look("a") == Look("completed")
    assert stage.look("b") == Look("")
    assert api.asked == [("/dev/images/a", "key")] * 3 + [("/dev/images/b", "key")]


def test_an_answer_that_says_nothing_about_the_image_is_asked_for_again(api: Api) -> None:
    api.answers = [(500, {"code": "INTERNAL_ERROR"}), (429, {"code": "QUOTA_EXCEEDED"}), (200, {"status": "failed"})]

    assert follow(["a"], Stage(api.url, "key").look, pause=0) == {"a": Look("failed")}


def test_an_image_about_which_the_api_never_answers_is_stuck() -> None:
    with Api() as nobody:
        url = nobody.url

    assert follow(["a"], Stage(url, "key").look, seconds=0, pause=0)["a"].fate == "stuck"


def test_a_stage_is_asked_for_its_health_first(api: Api) -> None:
    api.answers = [(200, {"status": "ok"}), (503, {"status": "down"})]

    assert command.remote(f"{api.url}/", "key").url == api.url
    with pytest.raises(UserError, match="503"):
        command.remote(api.url, "key")


def test_a_stage_that_is_not_there_is_told_in_one_sentence() -> None:
    with Api() as nobody:
        url = nobody.url
    with pytest.raises(UserError, match="/health does not answer 200"):
        command.remote(url, "key")


@pytest.mark.parametrize(
    ("url", "key", "sentence"), [("example.com", "key", "URL is"), ("https://example.com", "", "KEY is missing")]
)
def test_an_address_and_a_key_are_needed(url: str, key: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        command.remote(url, key)


class Terminal(io.StringIO):
    """A person who types this."""

    def isatty(self) -> bool:
        return True


def test_load_on_aws_names_its_price_and_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [SCENARIOS["burst"]]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    command.ask("https://example.com", chosen)
    said = capsys.readouterr().out
    assert "up to 300 images" in said
    assert "$0.36" in said or "$0.35" in said  # 300 x ($0.001 + the transitions)

    for typed in ("\n", "no\n"):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        with pytest.raises(UserError, match="Nothing was sent"):
            command.ask("https://example.com", chosen)


def test_load_on_aws_is_refused_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UserError, match="YES=1"):
        command.ask("https://example.com", list(SCENARIOS.values()))


@pytest.mark.parametrize(
    ("url", "local"),
    [("http://127.0.0.1:4566/dev", True), ("http://localhost/x", True), ("https://127.0.0.1.example.com/dev", False)],
)
def test_only_this_machine_counts_as_local(url: str, local: bool) -> None:
    assert Stage(url, "key").is_local is local


def test_scenarios_are_chosen_by_name() -> None:
    assert [scenario.name for scenario in command.scenarios("")] == ["steady", "burst", "soak", "hostile"]
    assert command.scenarios("burst") == [SCENARIOS["burst"]]
    with pytest.raises(UserError, match="steady, burst, soak, hostile"):
        command.scenarios("bursts")


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("20", 20), ("86400", 86400)])
def test_duration_is_in_seconds(text: str, seconds: int | None) -> None:
    assert command.duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "1m", "-5", "86401", "1.5", "\u0663"])
def test_an_impossible_duration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="DURATION"):
        command.duration(text)
