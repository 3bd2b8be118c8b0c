"""The engine keeps to itself: to this machine, to its MiniStack version, to a clean environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import ENGINE_PYTHON, REPOSITORY


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the list of sockets that Linux keeps")
def test_listens_on_this_machine_only(engine: Any) -> None:
    listening = {
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    }

    port = f"{engine.port:04X}"
    assert {address for address in listening if address.endswith(f":{port}")} == {f"0100007F:{port}"}


def test_refuses_another_ministack(tmp_path: Path) -> None:
    fake = tmp_path / "ministack-9.9.9.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: ministack\nVersion: 9.9.9\n")

    result = subprocess.run(
        [ENGINE_PYTHON, "-m", "local.ministack_ext"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 1
    assert "needs ministack 1.5.33 and found 9.9.9" in result.stderr
    assert "Traceback" not in result.stderr
