"""What counts as an error, when a client tries again, and that no picture is sent twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.load import answers
from tests.load.answers import Expected, Pictures
from tests.load.scenarios import SCENARIOS

REFUSED = Expected(403, "INVALID_API_KEY")


def body(code: str) -> bytes:
    return json.dumps({"code": code, "message": "...", "requestId": "1"}).encode()


@pytest.mark.parametrize(
    ("expected", "status", "content", "problem"),
    [
        (answers.ACCEPTED, 202, b"{}", ""),
        (answers.ACCEPTED, 201, b"{}", "201 instead of 202"),
        (answers.ACCEPTED, 500, body("INTERNAL_ERROR"), "500 INTERNAL_ERROR instead of 202"),
        (answers.ACCEPTED, 502, b'{"message": "Internal server error"}', "502 without a code instead of 202"),
        (answers.ACCEPTED, 502, b"<html>", "502 without a code instead of 202"),
        (answers.ACCEPTED, 0, b"", "no answer instead of 202"),
        (answers.STORED, 403, b"<Error><Code>AccessDenied</Code></Error>", "403 AccessDenied instead of 204"),
        (REFUSED, 403, body("INVALID_API_KEY"), ""),
        (REFUSED, 403, b'{"message": "Forbidden"}', "403 without a code instead of 403 INVALID_API_KEY"),
        (REFUSED, 403, b'["INVALID_API_KEY"]', "403 without a code instead of 403 INVALID_API_KEY"),
        (REFUSED, 200, b"{}", "200 instead of 403 INVALID_API_KEY"),
    ],
)
def test_any_answer_but_the_expected_one_is_a_problem(
    expected: Expected, status: int, content: bytes, problem: str
) -> None:
    assert expected.problem(status, content) == problem


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [(429, "THROTTLED", True), (429, "", True), (429, "QUOTA_EXCEEDED", False), (503, "BUSY", False), (202, "", False)],
)
def test_a_throttled_request_is_sent_again_unless_the_quota_of_the_day_is_used_up(
    status: int, code: str, again: bool
) -> None:
    assert answers.asks_to_wait(status, body(code)) is again


def test_pauses_grow_up_to_a_limit_and_follow_the_server() -> None:
    assert all(0.1 <= answers.pause_before(1, {}) <= 1 for _ in range(50))
    assert max(answers.pause_before(20, {}) for _ in range(200)) > 1
    assert all(answers.pause_before(60, {}) <= answers.LONGEST_PAUSE for _ in range(50))
    assert all(3 <= answers.pause_before(1, {"Retry-After": "3"}) <= 3.5 for _ in range(50))
    assert answers.pause_before(1, {"Retry-After": "3600"}) <= answers.LONGEST_PAUSE + 0.5


def test_every_picture_is_a_jpeg_of_its_own_and_there_are_no_more_than_asked_for() -> None:
    pictures = Pictures(30)
    sent = [pictures.next() for _ in range(30)]

    data = {picture[1] for picture in sent if picture}
    assert len(data) == 30
    assert all(item.startswith(b"\xff\xd8\xff\xfe\x00\x12") and item.endswith(b"\xff\xd9") for item in data)
    assert max(map(len, data)) <= answers.LARGEST_PHOTO + 20
    assert pictures.next() is None


def test_pictures_are_the_small_ones_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "small.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (tmp_path / "large.jpg").write_bytes(bytes(answers.LARGEST_PHOTO + 1))

    pictures = Pictures(3, tmp_path)

    assert {picture[0] for picture in [pictures.next(), pictures.next()] if picture} == {"small.jpg"}


def test_large_bodies_are_as_large_as_their_names_say() -> None:
    """Below and above the 10 MB of API Gateway; the first is more than the 4 MB that docs/api.md allows."""
    sizes = {case.name: len(case.body or b"") for case in answers.refusals()}

    assert 4.2e6 < json_image_bytes("inline 4.3 MB") < 4.4e6
    assert sizes["inline 4.3 MB"] < 6 * 1024 * 1024  # what Lambda takes
    assert sizes["body of 11 MB"] > 11 * 1024 * 1024


def json_image_bytes(name: str) -> int:
    (case,) = (case for case in answers.refusals() if case.name == name)
    assert case.body
    return len(json.loads(case.body)["image"]) * 3 // 4


def test_scenarios_are_bounded() -> None:
    for scenario in SCENARIOS.values():
        assert 0 < scenario.seconds <= 600
        assert 0 < scenario.images <= 1000
        assert scenario.clients + scenario.hostile <= 100
