"""`make run`: which pictures it takes, what it says about each, and what it leaves behind."""

from __future__ import annotations

import importlib
import io
import os
import sys
import threading
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from rich.console import Console

from local import demo
from local.__main__ import main
from local.api_client import ApiClient, RefusedError, _multipart
from local.demo import Outcome, Sender, pictures_in
from local.engine import Engine, UserError
from tests.support.ports import free_port


class FakeApi(ApiClient):
    """Answers from a list of records instead of an API."""

    def __init__(self, *statuses: str | Exception, refusal: RefusedError | None = None) -> None:
        super().__init__("http://127.0.0.1:1", "key")
        self._statuses = list(statuses)
        self._refusal = refusal
        self.uploads: list[tuple[str, str, bytes]] = []

    def upload(self, file_name: str, content_type: str, content: bytes) -> str:
        self.uploads.append((file_name, content_type, content))
        if self._refusal:
            raise self._refusal
        return "0" * 32

    def image(self, image_id: str) -> dict[str, Any]:
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if isinstance(status, Exception):
            raise status
        return {"status": status, "animal": "cat", "location": f"s3://bucket/cats/{image_id}.jpg", "reasonCode": None}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "my cat 🐈 [1].jpg"
    file.write_bytes(b"\xff\xd8")
    return file


def test_takes_every_regular_file_but_hidden_ones_and_notes(tmp_path: Path) -> None:
    for name in ("b.JPG", "a cat 🐈.png", "noextension", ".hidden.jpg", "ATTRIBUTION.md", "notes.MD"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()

    assert [file.name for file in pictures_in(tmp_path)] == ["a cat 🐈.png", "b.JPG", "noextension"]


def test_an_empty_or_missing_folder_is_one_sentence_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE_HOME", str(tmp_path / "engine"))
    monkeypatch.setenv("PORT", str(free_port()))
    (tmp_path / "empty").mkdir()

    assert demo.main(["--photos", str(tmp_path / "empty")]) == 1
    assert demo.main(["--photos", str(tmp_path / "missing")]) == 1

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "There are no pictures in" in said[0]
    assert "There is no folder" in said[1]
    assert not (tmp_path / "engine").exists()


def test_follows_a_picture_to_its_final_status(picture: Path) -> None:
    api = FakeApi("uploading", "processing", "completed")

    outcome = Sender(api).process(picture)

    assert api.uploads == [(picture.name, "image/jpeg", b"\xff\xd8")]
    assert (outcome.status, outcome.folder) == ("completed", "cats/")


def test_declares_what_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").touch()
    api = FakeApi("completed")

    Sender(api).process(tmp_path / "a.PNG")

    assert api.uploads[0][1] == "image/png"


@pytest.mark.parametrize(("code", "reason"), [("EntityTooLarge", "TOO_LARGE"), ("EntityTooSmall", "EMPTY")])
def test_a_picture_that_the_form_refuses_is_rejected_at_upload(picture: Path, code: str, reason: str) -> None:
    outcome = Sender(FakeApi(refusal=RefusedError(400, code, "no"))).process(picture)

    assert outcome == Outcome(picture.name, "rejected", outcome.milliseconds, reason, "refused at upload")
    assert outcome.folder == "-"


@pytest.mark.parametrize(
    "refusal",
    [
        RefusedError(502, "HTTP_502", "Internal server error"),
        RefusedError(429, "QUOTA_EXCEEDED", "The quota of this API key is used up for today."),
        RefusedError(403, "AccessDenied", "Invalid according to Policy: Policy expired."),
    ],
    ids=lambda refusal: refusal.code,
)
def test_a_refusal_that_is_not_about_the_picture_is_a_failure(picture: Path, refusal: RefusedError) -> None:
    outcome = Sender(FakeApi(refusal=refusal)).process(picture)

    assert (outcome.status, outcome.reason_code, outcome.remark) == ("failed", refusal.code, refusal.message)
    assert demo._verdict([outcome]) == 1


def test_a_huge_file_is_not_sent(picture: Path) -> None:
    os.truncate(picture, demo.LARGEST_SENT_BYTES + 1)
    api = FakeApi("completed")

    outcome = Sender(api).process(picture)

    assert api.uploads == []
    assert (outcome.status, outcome.reason_code) == ("rejected", "TOO_LARGE")


def test_a_picture_that_never_finishes_is_named_and_fails_the_run(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "IMAGE_SECONDS", 0.3)

    outcome = Sender(FakeApi("processing")).process(picture)

    assert demo._verdict([outcome, Outcome("b.jpg", "completed")]) == 1
    said = capsys.readouterr().err
    assert "1 of 2 pictures did not finish" in said
    assert f"{picture.name}: {'0' * 32} is still processing" in said


HICCUPS = [
    RefusedError(503, "HTTP_503", "Service Unavailable"),
    URLError("connection refused"),
    ConnectionResetError("reset"),
    IncompleteRead(b""),
]


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda error: type(error).__name__)
def test_looks_again_after_an_answer_that_says_nothing_about_the_picture(picture: Path, hiccup: Exception) -> None:
    assert Sender(FakeApi(hiccup, "processing", hiccup, "completed")).process(picture).status == "completed"


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda error: type(error).__name__)
def test_a_picture_that_cannot_be_looked_at_is_reported(
    picture: Path, monkeypatch: pytest.MonkeyPatch, hiccup: Exception
) -> None:
    monkeypatch.setattr(demo, "IMAGE_SECONDS", 0.3)

    outcome = Sender(FakeApi("processing", hiccup)).process(picture)

    assert (outcome.status, outcome.remark) == ("stuck", f"{'0' * 32} cannot be looked at: {hiccup}")


def test_a_picture_that_may_not_be_looked_at_is_a_failure_at_once(picture: Path) -> None:
    outcome = Sender(FakeApi(RefusedError(429, "QUOTA_EXCEEDED", "used up"))).process(picture)

    assert (outcome.status, outcome.reason_code, outcome.remark) == ("failed", "QUOTA_EXCEEDED", "used up")
    assert outcome.milliseconds < demo.IMAGE_SECONDS * 1000 / 2


def test_a_run_in_which_nothing_finishes_gives_up_at_once(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGE_SECONDS", 0.3)
    api = FakeApi("processing")
    sender = Sender(api)

    outcomes = [sender.process(picture) for _ in range(3)]

    assert [outcome.status for outcome in outcomes] == ["stuck"] * 3
    assert len(api.uploads) == 1


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("needs_review", 0), ("rejected", 0), ("failed", 1)])
def test_only_a_failure_fails_the_run(status: str, code: int) -> None:
    assert demo._verdict([Outcome("a.jpg", status)]) == code


def test_the_table_shows_file_names_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=140)

    console.print(demo._table([Outcome("[red]a[/red] 🐈.jpg", "rejected", 7, "EMPTY", "refused at upload")]))

    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]a[/red] 🐈.jpg" in printed
    assert "rejected: EMPTY, refused at upload" in printed


@pytest.mark.parametrize("ran_before", [False, True])
@pytest.mark.parametrize("end", [KeyboardInterrupt(), UserError("`sam deploy` failed.")], ids=["Ctrl-C", "failure"])
def test_a_run_that_is_cut_short_stops_what_it_started_and_nothing_else(
    picture: Path, stopped: Engine, monkeypatch: pytest.MonkeyPatch, ran_before: bool, end: BaseException
) -> None:
    def cut_short(_: Engine) -> dict[str, str]:
        assert stopped.is_up()
        raise end

    monkeypatch.setattr(demo, "deploy", cut_short)
    if ran_before:
        stopped.up()

    with pytest.raises(type(end)) as raised:
        demo.run(stopped, picture.parent, Console(file=io.StringIO()))

    assert raised.value is end
    logs = [stopped.log(process).read_text() for process in stopped.processes]
    assert stopped.is_up() == ran_before, logs


def test_an_interrupted_run_takes_its_queue_and_its_subscription_away(
    picture: Path, stopped: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped.up()
    sns, sqs = stopped.client("sns"), stopped.client("sqs")
    topic = sns.create_topic(Name="notices")["TopicArn"]
    key = stopped.client("apigateway").create_api_key(name="key", enabled=True)["id"]
    outputs = {"NoticesTopicArn": topic, "ApiKeyId": key, "ApiUrl": stopped.url}
    monkeypatch.setattr(demo, "deploy", lambda _: outputs)

    def interrupt(*_: object) -> list[Outcome]:
        assert len(sqs.list_queues()["QueueUrls"]) == 1
        assert len(sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_process_all", interrupt)

    with pytest.raises(KeyboardInterrupt):
        demo.run(stopped, picture.parent, Console(file=io.StringIO()))

    assert stopped.is_up()
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


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


def test_the_file_is_the_last_part_of_a_form_because_s3_ignores_what_follows_it() -> None:
    body, _ = _multipart({"key": "input/a.jpg", "policy": "signed"}, b"pixels")

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


def test_ctrl_c_gets_a_word_before_the_command_is_even_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["local", "demo"])
    monkeypatch.setattr(importlib, "import_module", interrupt)

    assert main() == 130
    assert capsys.readouterr().err == "Interrupted.\n"
