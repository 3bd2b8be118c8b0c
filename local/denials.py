"""The calls that the local AWS denied: who lacked which right to what."""

from __future__ import annotations

from local.engine import Engine

# As `local/ministack_ext/permissions.py` writes it; that module runs in another Python.
MARK = "Denied by the local AWS: "


class Denials:
    """What the local AWS denies from now on."""

    def __init__(self, engine: Engine) -> None:
        self._log = engine.log(engine.processes[0])
        self._start = self._log.stat().st_size

    def read(self) -> list[str]:
        """The refusals so far, in AWS's words, each once and in the order of its first time."""
        with self._log.open("rb") as log:
            log.seek(self._start)
            lines = log.read().decode(errors="replace").splitlines()
        return list(dict.fromkeys(line.partition(MARK)[2] for line in lines if MARK in line))
