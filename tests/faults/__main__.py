"""Run the matrix, print it, and write it to docs/reliability.md: `python -m tests.faults [--only REGEX]`."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.engine import REPOSITORY, run_command
from pet_detector import images

from .bench import Bench
from .cells import FINAL, Case, Cell, Phase
from .matrix import cells

DOCUMENT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: begin (written by make faults) -->", "<!-- matrix: end -->"
# Most of them wait for a timeout at any moment.
SIDE_BY_SIDE = 12


class Audit:
    """What is true of all images together, after every cell."""

    def __init__(self, bench: Bench, cases: Iterable[Case]) -> None:
        uploads = [(case, upload) for case in cases for upload in case.uploads]
        records = {record["ImageID"]["S"]: record for record in bench.records()}
        lying: dict[str, list[str]] = {}
        for key in {key for key, _ in bench.objects()}:
            folder, _, name = key.partition("/")
            if folder in images.FOLDERS:
                lying.setdefault(name.partition(".")[0], []).append(key)
        waiting = set(bench.objects("input/"))
        self.lost: list[str] = []
        self.stuck: list[str] = []
        for case, upload in uploads:
            status = records.get(upload.image_id, {}).get("ProcessingStatus", {}).get("S")
            waits = (upload.key, upload.version) in waiting
            filed = len(lying.get(upload.image_id, []))
            if status is None or (not upload.expected.gone and filed + waits == 0):
                self.lost.append(case.cell.name)
            elif status not in FINAL or (status == "failed" and not upload.expected.gone) or waits or filed > 1:
                self.stuck.append(case.cell.name)
        known = {upload.image_id for _, upload in uploads}
        self.strays = len(records.keys() - known) + len(lying.keys() - known)
        self.uploads, self.finished = len(uploads), sum(r["ProcessingStatus"]["S"] in FINAL for r in records.values())
        self.double = sum(times - 1 for times in Counter(bench.notices()).values())
        self.notices = len(bench.notices())

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.stuck or self.double or self.strays) and self.uploads == self.finished

    def __str__(self) -> str:
        return (
            f"{self.uploads} uploads, {self.finished} finished records, {self.notices} notices: "
            f"lost {len(self.lost)}, stuck {len(self.stuck)}, double notices {self.double}"
        )


def main() -> int:
    """The exit code: 0 when every cell ended as it must, and nothing is lost, stuck or told twice."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="run the cells whose name matches")
    only = re.compile(parser.parse_args().only, re.IGNORECASE)
    return run_command(lambda: _run([cell for cell in cells() if only.search(cell.name)], whole=not only.pattern))


def _run(chosen: list[Cell], *, whole: bool) -> int:
    console = Console()
    began = time.monotonic()
    mocked = {cell.test_case: cell.mocks for cell in chosen if cell.mocks}
    cases_of_mocks = {name: {state: f"{name}-{state}" for state in mocks} for name, mocks in mocked.items()}
    answers = {f"{name}-{state}": attempts for name, mocks in mocked.items() for state, attempts in mocks.items()}
    bench = Bench({"cases": {"TestCases": cases_of_mocks}, "MockedResponses": answers})
    with bench.running():
        done = _run_together(bench, chosen, console) + _run_alone(bench, chosen, console)
        audit = Audit(bench, done)
    done.sort(key=lambda case: chosen.index(case.cell))
    bad = [case for case in done if case.problems]
    console.print(_table(done))
    summary = f"{len(done)} cells, {len(bad)} red, {sum(case.redriven for case in done)} images redriven; {audit}."
    console.print(f"{summary} {time.monotonic() - began:.0f} s.")
    for title, names in (("lost", audit.lost), ("stuck", audit.stuck)):
        for name in names:
            console.print(f"{title}: {name}", markup=False)
    if whole and not bad and audit.is_good:
        _write(done, summary)
    return 0 if not bad and audit.is_good else 1


def _run_together(bench: Bench, chosen: list[Cell], console: Console) -> list[Case]:
    together = [cell for cell in chosen if cell.phase is Phase.TOGETHER]
    with bench.events_lost():
        cases = [Case(bench, cell) for cell in together]
    # The slow ones first: what hangs waits for timeouts.
    cases.sort(key=lambda case: "hangs" not in case.cell.fault and "for good" not in case.cell.fault)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        futures = {pool.submit(case.run): case for case in cases}
        for future in as_completed(futures):
            future.result()
            _report(futures[future], console)
    return cases


def _run_alone(bench: Bench, chosen: list[Cell], console: Console) -> list[Case]:
    cases = []
    for cell in chosen:
        if cell.phase is Phase.ALONE:
            with bench.events_lost():
                case = Case(bench, cell)
            case.run()
            _report(case, console)
            cases.append(case)
    return cases


def _report(case: Case, console: Console) -> None:
    word = "[red]RED[/]" if case.problems else "[green]ok[/] "
    console.print(f"{word} {case.seconds:5.1f} s  {escape(case.cell.name)}", highlight=False)
    for problem in case.problems:
        console.print(f"      {escape(problem)}", highlight=False)


def _table(cases: list[Case]) -> Table:
    table = Table("Call", "Fault", "How it ends by itself", "Redriven", "s", title="Fault matrix")
    for case in cases:
        style = "red" if case.problems else ""
        told = escape("; ".join(case.problems) or case.observed)
        table.add_row(case.cell.call, case.cell.fault, told, _redriven(case), f"{case.seconds:.0f}", style=style)
    return table


def _redriven(case: Case) -> str:
    return "completed" if case.redriven else ""


def _write(cases: list[Case], summary: str) -> None:
    """Replace what stands between the markers of the document; the same result leaves it as it is."""
    rows = [f"| {c.cell.call} | {c.cell.fault} | {c.observed} | {_redriven(c)} |" for c in cases]
    table = ["| Call | Fault | How it ends by itself | After the redrive |", "|---|---|---|---|", *rows]
    text = "\n".join([BEGIN, "", summary, "", *table, "", END])
    document = DOCUMENT.read_text()
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(head + text + tail)


if __name__ == "__main__":
    sys.exit(main())
