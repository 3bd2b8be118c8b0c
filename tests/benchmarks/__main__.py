"""`make bench`: measure the application on this machine, print its tables, and fail when a target is missed.

ONLY=speed: images a second, transitions, imports, the listing. ONLY=simulation: up to 100,000 images in virtual time
(IMAGES=1000000 for that many too). ONLY=burst: IMAGES (60) at once on the local AWS, at one call a second.
ONLY=review: the page's Review in a browser. ONLY=replay: 10,000 records decided again.

Absolute numbers are this machine's. What carries over to others is a ratio to a baseline, measured in the same run and
in turns with what it is compared to, so that both meet the same load.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local.terminal import run_command
from tests.benchmarks import burst, import_time, listing, replay, review, throughput, transitions
from tests.benchmarks.measure import Measure
from tests.benchmarks.pace import table as simulation
from tests.support.deployment import Deployment
from tests.support.starter import running

TABLE_COLUMNS = 190  # rich takes 80 when the output is no terminal, and folds every line


def main() -> int:
    """Exit code 0 when every target is met, else 1."""
    console = Console(width=max(Console().width, TABLE_COLUMNS))
    names = [os.environ["ONLY"]] if os.environ.get("ONLY") else list(_PARTS)
    if unknown := set(names) - _PARTS.keys():
        print(f"ONLY is {unknown.pop()!r}: give one of {', '.join(_PARTS)}.", file=sys.stderr)
        return 2
    if not (os.environ.get("IMAGES") or "1").isdecimal():
        print(f"IMAGES is {os.environ['IMAGES']!r}: give a number.", file=sys.stderr)
        return 2
    measures: list[Measure] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix="pet-detector-bench-") as scratch:
            tables, found = _PARTS[name](Path(scratch))
        for table in tables:
            console.print(table)
        measures += found
    console.print(_table(measures))
    missed = [measure.name for measure in measures if not measure.is_met]
    if missed:
        print(f"Target missed: {', '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0


def _speed(scratch: Path) -> tuple[list[Table], list[Measure]]:
    home = scratch / "engine"
    with running(home) as engine:
        application = Deployment(engine)
        application.listen()
        measures = [*throughput.measure(application), *transitions.measure(application)]
        handlers = import_time.handlers_of(application)
    # Without the engine, which would compete for the processor.
    return [], [*measures, *import_time.measure(handlers, home / "build", scratch), *listing.measure()]


_PARTS: dict[str, Callable[[Path], tuple[list[Table], list[Measure]]]] = {
    "speed": _speed,
    "simulation": simulation.measure,
    "burst": burst.measure,
    "review": lambda scratch: ([], review.measure()),
    "replay": replay.measure,
}


def _table(measures: list[Measure]) -> Table:
    table = Table("measure", "result", "baseline")
    for name in ("ratio", "target"):
        table.add_column(name, justify="right")
    table.add_column("met")
    for measure in measures:
        table.add_row(*measure.cells)
    return table


if __name__ == "__main__":
    sys.exit(run_command(main))
