"""exceptions.toml: which findings stay, why, and when to ask again."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from tests.audit.findings import Finding

TABLE = Path(__file__).with_name("exceptions.toml")
WARNING_DAYS = 30
LONGEST_DAYS = 366  # a reason that nobody has looked at for a year is none
REASON_LENGTH = 20


@dataclass(frozen=True)
class Exceptional:
    """Every one of `findings` (tool and rule) at every one of `resources` stays, for `reason`, until `again`."""

    findings: frozenset[tuple[str, str]]
    resources: frozenset[str]
    reason: str
    again: date

    @property
    def covered(self) -> set[Finding]:
        return {Finding(tool, rule, resource) for tool, rule in self.findings for resource in self.resources}


def read(text: str) -> list[Exceptional]:
    """The table. Raises ValueError for a row that says too little or too much."""
    table = tomllib.loads(text)
    rows = []
    for row in table.get("exception", []):
        if row.keys() != {"findings", "resources", "reason", "again"}:
            raise ValueError(f"a row has findings, resources, reason and again: {row}")
        # "@functions" stands for the names in [groups] of that name.
        names = [[name] if name[0] != "@" else table["groups"][name[1:]] for name in row["resources"]]
        resources = [name for several in names for name in several]
        findings = []
        for finding in row["findings"]:
            tool, rule = finding.split(" ", 1)
            findings.append((tool, rule))
        if not findings or not resources or "*" in resources:
            raise ValueError(f"name the findings and the resources, each by its name: {row}")
        if len(row["reason"]) < REASON_LENGTH or not isinstance(row["again"], date):
            raise ValueError(f"give a reason and a date: {row}")
        rows.append(Exceptional(frozenset(findings), frozenset(resources), row["reason"], row["again"]))
    return rows


@dataclass(frozen=True)
class Verdict:
    """`faults` make the audit fail; `warnings` do not."""

    explained: set[Finding]
    unexplained: set[Finding]
    faults: list[str]
    warnings: list[str]


def judge(findings: set[Finding], rows: Iterable[Exceptional], tools: set[str], today: date) -> Verdict:
    """Compare what the `tools` found with the table. Rows about tools that did not judge are left alone."""
    rows = list(rows)
    covered: dict[Finding, int] = defaultdict(int)
    faults, warnings = [], []
    for row in rows:
        for finding in row.covered:
            covered[finding] += 1
            if finding.tool in tools and finding not in findings:
                faults.append(f"unused, remove it: {' '.join(finding)}")
        if row.again > today + timedelta(days=LONGEST_DAYS):
            faults.append(f"more than a year ahead: {row.again}, {row.reason}")
        if row.again < today:
            faults.append(f"expired on {row.again}, look again: {row.reason}")
        elif row.again < today + timedelta(days=WARNING_DAYS):
            warnings.append(f"look again by {row.again}: {row.reason}")
    faults += [f"explained {times} times: {' '.join(finding)}" for finding, times in covered.items() if times > 1]
    unexplained = findings - covered.keys()
    faults += [f"unexplained: {' '.join(finding)}" for finding in sorted(unexplained)]
    return Verdict(findings & covered.keys(), unexplained, faults, warnings)


def as_rows(findings: Iterable[Finding], again: date) -> str:
    """Findings in the form of the table, to be pasted there; findings at the same resources share a row."""
    resources: dict[tuple[str, str], set[str]] = defaultdict(set)
    for tool, rule, resource in findings:
        resources[tool, rule].add(resource)
    rules: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (tool, rule), names in sorted(resources.items()):
        rules[tuple(sorted(names))].append(f"{tool} {rule}")
    return "\n".join(
        f'[[exception]]\nfindings = [{_list(found)}]\nresources = [{_list(names)}]\nreason = ""\nagain = {again}\n'
        for names, found in rules.items()
    )


def _list(texts: Iterable[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)  # literal strings: rules hold quotation marks
