"""`petdetect evaluate` with the deployed policy and the local Rekognition, on photos/ sorted by what is on them."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.operator.application import Application
from tests.support.paths import REPOSITORY


def sorted_photos(folder: Path) -> Path:
    """photos/, whose names begin with what is on them, in a folder for each."""
    for photo in sorted((REPOSITORY / "photos").glob("*.jpg")):
        animal = photo.name.partition("_")[0]
        (folder / f"{animal}s").mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / f"{animal}s")
    return folder


def calls(application: Application, since: float) -> list[Any]:
    """The calls that the local Rekognition has had since then."""
    with urllib.request.urlopen(f"{application.engine.rekognition_url}/calls?since={since}", timeout=10) as answer:
        found: list[Any] = json.load(answer)["calls"]
    return found


def test_photos_are_judged_as_the_application_judges_them(application: Application, tmp_path: Path) -> None:
    folder, report = sorted_photos(tmp_path / "pictures"), tmp_path / "report.html"
    before, began = application.snapshot(), time.time()

    output = application.petdetect("evaluate", str(folder), "--html", str(report), "--json")

    found = output.json
    assert output.code == 0, output.err
    columns = ("cat", "dog", "other", "people", "rejected")
    matrix = {truth: [row[column] for column in columns] for truth, row in found["matrix"].items()}
    assert matrix == {"cat": [5, 0, 0, 2, 0], "dog": [0, 4, 0, 1, 0], "other": [0, 0, 10, 2, 0]}  # the goat, the rocket
    assert found["models"] == ["local-efficientnet-lite0"]
    assert found["dollars"] == 0
    assert found["worst"] == ["others/other_gcompris_e_goat.jpg"]
    assert found["milliseconds"]["median"] > 0
    assert len(calls(application, began)) == 24
    assert application.snapshot() == before, "it has stored something"
    text = report.read_text()
    assert text.count("data:image/jpeg;base64,") == 1
    assert "The local recognizer is not Amazon" in text


def test_a_person_reads_tables(application: Application, tmp_path: Path) -> None:
    folder = sorted_photos(tmp_path / "pictures")
    for photo in list((folder / "dogs").iterdir())[1:] + list((folder / "others").iterdir())[1:]:
        photo.unlink()
    output = application.petdetect("evaluate", str(folder))
    assert output.code == 0, output.err
    assert "uncertain: people" in output.out
    assert "on AWS it is $0.001 an image" in output.out
    assert "100.0 % (1 of 1; 20.7 % to 100.0 %)" in output.out
