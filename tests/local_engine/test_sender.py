"""What a client of the API does with one picture: sends it, follows it to its end, and says why it has none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import requests

from local import report, sender
from local.api_client import ApiClient, RefusedError
from local.sender import Outcome, Sender


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


def test_follows_a_picture_to_its_final_status(picture: Path) -> None:
    api = FakeApi("uploading", "processing", "completed")

    outcome = Sender(api).process(picture, picture.name)

    assert api.uploads == [(picture.name, "image/jpeg", b"\xff\xd8")]
    assert (outcome.status, outcome.folder, outcome.image_id) == ("completed", "cats", "0" * 32)


def test_declares_what_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").touch()
    api = FakeApi("completed")

    Sender(api).process(tmp_path / "a.PNG", "inner/a.PNG")

    assert api.uploads[0][:2] == ("a.PNG", "image/png")


@pytest.mark.parametrize(("code", "reason"), [("EntityTooLarge", "TOO_LARGE"), ("EntityTooSmall", "EMPTY")])
def test_a_picture_that_the_form_refuses_is_rejected_at_upload(picture: Path, code: str, reason: str) -> None:
    outcome = Sender(FakeApi(refusal=RefusedError(400, code, "no"))).process(picture, picture.name)

    assert outcome == Outcome(picture.name, "rejected", outcome.milliseconds, reason, "refused at upload")
    assert outcome.folder is None


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
    outcome = Sender(FakeApi(refusal=refusal)).process(picture, picture.name)

    assert (outcome.status, outcome.reason_code, outcome.remark) == ("failed", refusal.code, refusal.message)
    assert report.errors([outcome]) == "Error: 1 of 1 picture failed: " + picture.name + "."


def test_a_huge_file_is_not_sent(picture: Path) -> None:
    os.truncate(picture, sender.LARGEST_SENT_BYTES + 1)
    api = FakeApi("completed")

    outcome = Sender(api).process(picture, picture.name)

    assert api.uploads == []
    assert (outcome.status, outcome.reason_code) == ("rejected", "TOO_LARGE")


def test_a_picture_that_never_finishes_is_named_and_fails_the_run(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "IMAGE_SECONDS", 0.3)

    outcome = Sender(FakeApi("processing")).process(picture, picture.name)

    said = report.errors([outcome, Outcome("b.jpg", "completed")])
    assert "1 of 2 pictures did not finish" in said
    assert f"{picture.name}: {'0' * 32} is still processing" in said


HICCUPS = [
    RefusedError(503, "HTTP_503", "Service Unavailable"),
    ConnectionResetError("reset"),
    requests.ConnectionError("refused"),
    requests.exceptions.ChunkedEncodingError("cut short"),
]


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda error: type(error).__name__)
def test_looks_again_after_an_answer_that_says_nothing_about_the_picture(picture: Path, hiccup: Exception) -> None:
    assert (
        Sender(FakeApi(hiccup, "processing", hiccup, "completed")).process(picture, picture.name).status == "completed"
    )


@pytest.mark.parametrize("hiccup", HICCUPS, ids=lambda error: type(error).__name__)
def test_a_picture_that_cannot_be_looked_at_is_reported(
    picture: Path, monkeypatch: pytest.MonkeyPatch, hiccup: Exception
) -> None:
    monkeypatch.setattr(sender, "IMAGE_SECONDS", 0.3)

    outcome = Sender(FakeApi("processing", hiccup)).process(picture, picture.name)

    assert (outcome.status, outcome.remark) == ("stuck", f"{'0' * 32} cannot be looked at: {hiccup}")


def test_a_picture_that_may_not_be_looked_at_is_a_failure_at_once(picture: Path) -> None:
    outcome = Sender(FakeApi(RefusedError(429, "QUOTA_EXCEEDED", "used up"))).process(picture, picture.name)

    assert (outcome.status, outcome.reason_code, outcome.remark) == ("failed", "QUOTA_EXCEEDED", "used up")
    assert outcome.milliseconds < sender.IMAGE_SECONDS * 1000 / 2


def test_a_held_picture_has_ended_for_today(picture: Path) -> None:
    outcome = Sender(FakeApi("processing", "held")).process(picture, picture.name)

    assert (outcome.status, report.errors([outcome])) == ("held", "")


def test_a_run_in_which_nothing_finishes_gives_up_at_once(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "IMAGE_SECONDS", 0.3)
    api = FakeApi("processing")
    all_of_them = Sender(api)

    outcomes = [all_of_them.process(picture, picture.name) for _ in range(3)]

    assert [outcome.status for outcome in outcomes] == ["stuck"] * 3
    assert len(api.uploads) == 1
