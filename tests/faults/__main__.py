"""Run the matrix, print it, and write it to docs/reliability.md: `python -m tests.faults [--only REGEX]`."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from local.terminal import run_command
from pet_detector.rules import image_ids
from tests.support.deployment import FINAL, FINISHED
from tests.support.paths import REPOSITORY

from .cells import Case, Cell, Phase
from .matrix import cells
from .rig import Rig, running

DOCUMENT = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix: begin (written by make faults) -->", "<!-- matrix: end -->"
LEGEND = """\
"Refused" is the answer that the client of the API got, "fails" the end of a function's run. The last column is the end
after the fault is gone and somebody has acted: `petdetect redrive` of what failed, `petdetect release` of what is held,
the client's request once more, or the function's next run."""
# Most of them wait for a timeout at any moment.
SIDE_BY_SIDE = 12


class Audit:
    """What must be true of all images: looked at after every cell, and of all of them together at the end."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._cases: list[Case] = []
        self._reported: set[str] = set()
        self.lost: list[str] = []
        self.stuck: list[str] = []
        self.double: list[str] = []
        self.strays: list[str] = []
        self._totals = ""

    def expect(self, cases: Iterable[Case]) -> None:
        """Know the cases before they begin."""
        self._cases += cases

    def after(self, case: Case) -> None:
        """Add to a case that has ended what is wrong with its images, and what lies under input/ and should not."""
        case.problems += self._problems(case)
        self._look_under_input()

    def at_the_end(self) -> None:
        """The same for all cases, as things may have come late, and what no case answers for."""
        for case in self._cases:
            case.problems += self._problems(case)
        self._look_under_input()
        known = {upload.image_id for case in self._cases for upload in case.uploads}
        records = self._rig.records()
        for image_id in sorted({record["ImageID"]["S"] for record in records} - known):
            self.strays.append(f"record {image_id}")
        for key in sorted({key for key, _ in self._rig.objects()}):
            folder, _, name = key.partition("/")
            if folder in image_ids.FOLDERS and name.partition(".")[0] not in known:
                self.strays.append(key)
        finished = sum(record["ProcessingStatus"]["S"] in FINAL for record in records)
        uploads = sum(len(case.uploads) for case in self._cases)
        if uploads != finished:
            self.strays.append(f"{uploads} uploads are not {finished} finished records")
        self._totals = f"{uploads} uploads, {finished} finished records, {len(self._rig.sent())} notices"

    def _problems(self, case: Case) -> list[str]:
        """One finished record, one object and one notice of each fact for every upload; nothing else."""
        found = []
        for upload in case.uploads:
            status, places = self._rig.status(upload.image_id), case.places(upload)
            gone = upload.expected.gone
            if not status or not (places or gone):
                found.append((self.lost, f"lost: {upload.image_id} is {status or 'unrecorded'} and lies nowhere"))
            elif status not in (FINAL if gone else FINISHED) or len(places) != (not gone) or "input" in places:
                found.append((self.stuck, f"stuck: {upload.image_id} is {status} and lies in {places}"))
            notices = Counter(self._rig.sent(upload.image_id))
            if notices and max(notices.values()) > 1:
                found.append((self.double, f"double notice: {max(notices.values())} times, {upload.image_id}"))
        new = [(names, problem) for names, problem in found if problem not in self._reported]
        for names, problem in new:
            self._reported.add(problem)
            names.append(case.cell.name)
        return [problem for _, problem in new]

    def _look_under_input(self) -> None:
        """Only cells that have not ended may have anything there."""
        ended = {key for case in self._cases if case.has_ended for key in case.keys}  # before looking
        lying = self._rig.objects("input/")
        owners = {key: case for case in self._cases for key in case.keys}
        for key, version in lying:
            left = f"left under input/: {key} {version}"
            if left in self._reported or (key in owners and key not in ended):
                continue
            self._reported.add(left)
            self.strays.append(left)
            if key in owners:
                owners[key].problems.append(left)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.stuck or self.double or self.strays)

    def __str__(self) -> str:
        return (
            f"{self._totals}: lost {len(self.lost)}, stuck {len(self.stuck)}, double notices {len(self.double)}, "
            f"strays {len(self.strays)}"
        )


def main() -> int:
    """The exit code: 0 when every cell ended as it must, and nothing is lost, stuck or notified twice."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
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
    with running({"cases": {"TestCases": cases_of_mocks}, "MockedResponses": answers}) as rig:
        audit = Audit(rig)
        done = _run_together(audit, rig, [cell for cell in chosen if cell.phase is Phase.TOGETHER], console)
        waiting = [cell for cell in chosen if cell.phase is Phase.WAITING]
        if waiting:
            done += _run_together(audit, rig, waiting, console)
            rig.end_queue()
        moderated = [cell for cell in chosen if cell.phase is Phase.MODERATED]
        if moderated:
            with rig.unsafe_content_rejected():
                done += _run_together(audit, rig, moderated, console)
        held = [cell for cell in chosen if cell.phase is Phase.LIMITED]
        if held:
            with rig.daily_limit_reached():
                done += _run_together(audit, rig, held, console)
        for cell in chosen:
            if cell.phase is Phase.ALONE:
                done.append(_run_alone(audit, rig, cell, console))
        audit.at_the_end()
    done.sort(key=lambda case: chosen.index(case.cell))
    bad = [case for case in done if case.problems]
    console.print(_table(done))
    redriven, repeated = sum(len(case.redriven) for case in done), sum(case.again is not None for case in done)
    summary = f"{len(done)} cells, {len(bad)} red, {redriven} images redriven, {repeated} calls repeated; {audit}."
    console.print(f"{summary} {time.monotonic() - began:.0f} s.")
    for case in bad:
        console.print(f"red: {case.cell.name}", markup=False)
    for stray in audit.strays:
        console.print(f"stray: {stray}", markup=False)
    if whole and not bad and audit.is_good:
        _write(done, summary)
    return 0 if not bad and audit.is_good else 1


def _run_together(audit: Audit, rig: Rig, chosen: list[Cell], console: Console) -> list[Case]:
    """Run cells side by side, and look at everything after each."""
    with rig.uploads_ignored():
        # Who uploads now goes first: an event that is late must not find the rule enabled again.
        cases = [Case(rig, cell) for cell in sorted(chosen, key=lambda cell: cell.events)]
    audit.expect(cases)
    # The slow ones first: what hangs waits for timeouts.
    slow = ("hangs", "for good", "five times", "eight times")
    cases.sort(key=lambda case: not any(words in case.cell.fault for words in slow))
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        futures = {pool.submit(case.run): case for case in cases}
        for future in as_completed(futures):
            future.result()
            audit.after(futures[future])
            _report(futures[future], console)
    return cases


def _run_alone(audit: Audit, rig: Rig, cell: Cell, console: Console) -> Case:
    """Run a cell, and look at everything. If it starts its executions itself, no upload does so meanwhile."""
    with contextlib.nullcontext() if cell.events else rig.uploads_ignored():
        case = Case(rig, cell)
        audit.expect([case])
        case.run()
    audit.after(case)
    _report(case, console)
    return case


def _report(case: Case, console: Console) -> None:
    word = "[red]RED[/]" if case.problems else "[green]ok[/] "
    console.print(f"{word} {case.seconds:5.1f} s  {escape(case.cell.name)}", highlight=False)
    for problem in case.problems:
        console.print(f"      {escape(problem)}", highlight=False)


def _table(cases: list[Case]) -> Table:
    table = Table("Call", "Fault", "How it ends by itself", "After", "s", title="Fault matrix")
    for case in cases:
        style = "red" if case.problems else ""
        end = escape("; ".join(case.problems) or case.observed)
        table.add_row(case.cell.call, case.cell.fault, end, _afterwards(case), f"{case.seconds:.0f}", style=style)
    return table


def _afterwards(case: Case) -> str:
    """How what was redriven, released or asked for again ended; "" when there was nothing to do."""
    if not case.redriven and case.again is None:
        return ""
    return ", ".join(sorted({upload.expected.status for upload in case.uploads}))


def _write(cases: list[Case], summary: str) -> None:
    """Replace what stands between the markers of the document; the same result leaves it as it is."""
    rows = [f"| {c.cell.call} | {c.cell.fault} | {c.observed} | {_afterwards(c)} |" for c in cases]
    table = ["| Call | Fault | How it ends by itself | Afterwards |", "|---|---|---|---|", *rows]
    text = "\n".join([BEGIN, "", LEGEND, "", summary, "", *table, "", END])
    document = DOCUMENT.read_text()
    head, _, rest = document.partition(BEGIN)
    _, _, tail = rest.partition(END)
    DOCUMENT.write_text(head + text + tail)


if __name__ == "__main__":
    sys.exit(main())
