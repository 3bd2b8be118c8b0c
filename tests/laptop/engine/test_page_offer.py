"""`make run` offers to open the page to a person at a terminal, and asks nobody else."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable

import pytest

from local.page_offer import is_for_a_person, offer_to_open

URL = "http://127.0.0.1:4566/app/"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to open; none is."""
    found: list[str] = []

    def note(url: str) -> bool:
        found.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    return found


def answered(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], str]) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer())


@pytest.mark.parametrize(
    ("stdin", "stdout", "ci", "asked"),
    [(True, True, "", True), (False, True, "", False), (True, False, "", False), (True, True, "true", False)],
)
def test_only_a_person_at_a_terminal_is_asked(
    monkeypatch: pytest.MonkeyPatch, stdin: bool, stdout: bool, ci: str, asked: bool
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: stdin, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: stdout, raising=False)
    monkeypatch.setenv("CI", ci)

    assert is_for_a_person() == asked


@pytest.mark.parametrize("answer", ["y", "Yes", " Y "])
def test_a_yes_opens_the_page(monkeypatch: pytest.MonkeyPatch, opened: list[str], answer: str) -> None:
    answered(monkeypatch, lambda: answer)
    offer_to_open(URL)
    assert opened == [URL]


@pytest.mark.parametrize("answer", ["", "n", "no", "yesterday"])
def test_anything_else_does_not(monkeypatch: pytest.MonkeyPatch, opened: list[str], answer: str) -> None:
    answered(monkeypatch, lambda: answer)
    offer_to_open(URL)
    assert opened == []


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_no_answer_is_a_no(monkeypatch: pytest.MonkeyPatch, opened: list[str], end: type[BaseException]) -> None:
    def leave() -> str:
        raise end

    answered(monkeypatch, leave)
    offer_to_open(URL)
    assert opened == []


def test_without_a_browser_the_address_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    answered(monkeypatch, lambda: "y")
    offer_to_open(URL)
    assert URL in capsys.readouterr().out
