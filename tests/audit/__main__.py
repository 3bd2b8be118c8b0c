"""Run the audit: `make audit`. With --rows, print what is unexplained in the form of exceptions.toml."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tests.audit.exceptions import LONGEST_DAYS, TABLE, as_rows, judge, read
from tests.audit.findings import TOOLS, Finding, SkippedError, ToolError, found, write_templates


def main() -> int:
    """0 when every finding is explained and every row of the table is used."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    write_templates()
    today = datetime.now(tz=UTC).date()
    findings: set[Finding] = set()
    notes: dict[str, str] = {}
    failed = []
    with ThreadPoolExecutor(2) as pool:  # each waits for programs of its own
        results = {tool: pool.submit(found, tool) for tool in TOOLS}
    for tool, result in results.items():
        try:
            findings |= set(result.result())
        except SkippedError as reason:
            notes[tool] = f"skipped: {reason}"
        except ToolError as reason:
            notes[tool] = f"failed: {reason}"
            failed.append(tool)
    verdict = judge(findings, read(TABLE.read_text()), set(TOOLS) - notes.keys(), today)
    if "--rows" in sys.argv:
        print(as_rows(verdict.unexplained, today + timedelta(days=LONGEST_DAYS // 2)))
    else:
        _print_table(findings, verdict.explained, notes)
        for line in verdict.warnings + verdict.faults:
            print(line)
        print("The audit " + ("FAILED." if verdict.faults or failed else "passed: every finding has its reason."))
    return 1 if verdict.faults or failed else 0


def _print_table(findings: set[Finding], explained: set[Finding], notes: dict[str, str]) -> None:
    print(f"{'tool':<12}{'findings':>10}{'explained':>11}{'unexplained':>13}")
    for tool in TOOLS:
        if tool in notes:
            print(f"{tool:<12}{notes[tool]}")
            continue
        of_tool = {finding for finding in findings if finding.tool == tool}
        rest = len(of_tool - explained)
        print(f"{tool:<12}{len(of_tool):>10}{len(of_tool & explained):>11}{rest:>13}")


if __name__ == "__main__":
    sys.exit(main())
