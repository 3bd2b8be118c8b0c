"""`python -m local ...`: the way in, turns, and output whose reader has gone."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.__main__ import COMMANDS, main
from local.lock import locked
from local.terminal import Terminal
from tests.support.paths import REPOSITORY


def test_ctrl_c_gets_a_word_before_the_command_is_even_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["local", "demo"])
    monkeypatch.setattr(importlib, "import_module", interrupt)

    assert main() == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize("words", [[], ["nonsense"], ["--help"]])
def test_no_command_or_a_wrong_one_is_answered_with_those_that_there_are(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["local", *words])

    assert main() == 2

    said = capsys.readouterr().err
    assert all(name in said for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_there(command: str) -> None:
    assert callable(importlib.import_module(COMMANDS[command][0]).main)


def in_turn(lock: Path, *command: str) -> subprocess.Popen[str]:
    """`local/lock.py` as the Makefile calls it."""
    program = [sys.executable, "-P", str(REPOSITORY / "local" / "lock.py"), str(lock), "make install", *command]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_command_waits_for_its_turn_and_says_for_whom(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "run.lock"
    with locked(lock, "make run"):
        second = in_turn(lock, "echo", "done")
        assert second.stderr is not None
        said = second.stderr.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)

    out, _ = second.communicate(timeout=20)

    expected = f"`make run` (process {os.getpid()}) is at work in this folder: waiting until it has finished ...\n"
    assert said == expected
    assert (out, second.returncode) == ("done\n", 0)


def test_whoever_comes_first_is_told_nothing_and_gets_the_commands_exit_code(tmp_path: Path) -> None:
    for _ in range(2):
        first = in_turn(tmp_path / "lock", "sh", "-c", "exit 7")
        assert first.communicate(timeout=20) == ("", "")
        assert first.returncode == 7


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from local.lock import locked\n"
    program += "with locked(Path(sys.argv[1]), 'make run'): print('begun', flush=True); input()"
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"begun\n"
        killed.kill()

    with locked(tmp_path / "lock", "make run"):
        pass


def test_waiting_for_a_turn_can_be_interrupted(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", "make run"):
        second = in_turn(tmp_path / "lock", "echo", "done")
        assert second.stderr is not None
        second.stderr.readline()
        second.send_signal(signal.SIGINT)
        out, err = second.communicate(timeout=20)

    assert (out, err, second.returncode) == ("", "Interrupted.\n", 130)


@pytest.mark.parametrize("prints", ["say", "Terminal().print"])
def test_output_whose_reader_has_gone_ends_nothing(tmp_path: Path, prints: str) -> None:
    program = (
        "from pathlib import Path\n"
        "from local.terminal import Terminal, say\n"
        f"prints = {prints}\n"
        "for _ in range(1000): prints('x' * 100)\n"
        f"Path({str(tmp_path / 'finished')!r}).touch()\n"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None

    assert process.stderr.read() == b""
    assert process.wait(20) == 0
    assert (tmp_path / "finished").exists()
    process.stderr.close()


@pytest.mark.parametrize(("columns", "width"), [("80", 80), (None, 120)])
def test_a_pipe_is_as_wide_as_it_is_told(monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)

    assert Terminal().width == width
