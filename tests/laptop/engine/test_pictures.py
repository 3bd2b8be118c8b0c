"""Which files `make run` sends, and what it says about the others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from local import demo, report
from local.engine import UserError
from local.pictures import pictures_at
from tests.support.ports import free_port


def test_takes_every_regular_file_of_a_folder_and_its_subfolders_but_hidden_ones_and_notes(tmp_path: Path) -> None:
    (tmp_path / "inner" / "more").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("b.JPG", "a cat 🐈.png", "noextension", "inner/c.jpg", "inner/more/d.jpg", ".git/e.jpg"):
        (tmp_path / name).touch()

    found = pictures_at(tmp_path)

    names = [found.name(file) for file in found.files]
    assert names == ["a cat 🐈.png", "b.JPG", "inner/c.jpg", "inner/more/d.jpg", "noextension"]


def test_what_is_skipped_is_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.jpg", ".hidden.jpg", "ATTRIBUTION.md", "notes.MD"):
        (tmp_path / name).touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path.parent, target_is_directory=True)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "missing.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))

    found = pictures_at(tmp_path)

    assert [file.name for file in found.files] == ["a.jpg", "link.jpg"]
    assert report.skipped(found.skipped) == (
        "Skipped 8 entries of the folder: 2 Markdown, 2 hidden, 1 link to a folder, 3 not a file."
    )


def test_one_entry_is_no_entries(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert report.skipped(pictures_at(tmp_path).skipped) == ""

    (tmp_path / "a.md").touch()
    assert report.skipped(pictures_at(tmp_path).skipped) == "Skipped 1 entry of the folder: 1 Markdown."


def test_a_single_picture_is_enough(tmp_path: Path) -> None:
    (tmp_path / "other.jpg").touch()
    file = tmp_path / "my cat.jpg"
    file.touch()

    found = pictures_at(file)

    assert [found.name(file) for file in found.files] == ["my cat.jpg"]


def test_nothing_to_send_is_one_sentence_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENGINE_HOME", str(tmp_path / "engine"))
    monkeypatch.setenv("PORT", str(free_port()))
    (tmp_path / "empty").mkdir()

    assert demo.main(["--photos", str(tmp_path / "empty")]) == 1
    assert demo.main(["--photos", str(tmp_path / "missing")]) == 1
    assert demo.main(["--photos", str(tmp_path), "--json", str(tmp_path / "missing" / "table.json")]) == 1

    said = capsys.readouterr().err.splitlines()
    assert [line.partition(str(tmp_path))[0] for line in said] == [
        "Error: There are no pictures in ",
        "Error: There is no picture and no folder ",
        "Error: There is no folder for ",
    ]
    assert not (tmp_path / "engine").exists()


def test_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no picture"):
        pictures_at(Path(os.devnull))
