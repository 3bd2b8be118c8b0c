"""The table of exceptions: what it covers, and when it makes the audit fail."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.audit.exceptions import LONGEST_DAYS, TABLE, Verdict, as_rows, judge, read
from tests.audit.findings import TOOLS, Finding

TODAY = date(2026, 11, 29)
ONE, TWO, THREE = (Finding("checkov", "CKV_1", name) for name in ("Bucket", "stack/Bucket", "New"))
ROW = """
[groups]
buckets = ["Bucket", "stack/Bucket"]
[[exception]]
findings = ["checkov CKV_1"]
resources = ["@buckets"]
reason = "a reason of some length"
again = 2027-06-01
"""


def verdict(text: str = ROW, *, findings: set[Finding], tools: set[str] | None = None) -> Verdict:
    return judge(findings, read(text), {"checkov"} if tools is None else tools, TODAY)


def test_explained_findings_pass() -> None:
    judged = verdict(findings={ONE, TWO})
    assert (judged.faults, judged.warnings, judged.explained) == ([], [], {ONE, TWO})


def test_unexplained_finding_fails() -> None:
    judged = verdict(findings={ONE, TWO, THREE})
    assert judged.unexplained == {THREE}
    assert judged.faults == ["unexplained: checkov CKV_1 New"]


def test_same_rule_at_another_resource_or_of_another_tool_is_not_covered() -> None:
    other = Finding("bandit", "CKV_1", "Bucket")
    assert verdict(findings={ONE, TWO, other}, tools={"checkov", "bandit"}).unexplained == {other}


def test_unused_line_fails() -> None:
    assert verdict(findings={ONE}).faults == ["unused, remove it: checkov CKV_1 stack/Bucket"]


def test_line_of_a_tool_that_was_skipped_is_not_unused() -> None:
    assert verdict(findings=set(), tools=set()).faults == []


def test_finding_is_explained_once() -> None:
    twice = ROW + ROW.partition("[[exception]]")[1] + ROW.partition("[[exception]]")[2]
    assert len(verdict(twice, findings={ONE, TWO}).faults) == 2


@pytest.mark.parametrize(
    ("days", "faults", "warnings"), [(-1, 1, 0), (0, 0, 1), (29, 0, 1), (30, 0, 0), (LONGEST_DAYS + 1, 1, 0)]
)
def test_date_to_look_again(days: int, faults: int, warnings: int) -> None:
    judged = verdict(ROW.replace("2027-06-01", str(TODAY + timedelta(days))), findings={ONE, TWO})
    assert (len(judged.faults), len(judged.warnings)) == (faults, warnings)


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ('"@buckets"', '"*"'),
        ('["@buckets"]', "[]"),
        ("a reason of some length", "ok"),
        ("again = 2027-06-01", ""),
        ("again = 2027-06-01", 'again = "later"'),
        ("again", "more = 1\nagain"),
    ],
)
def test_row_that_says_too_little_or_too_much_is_refused(given: str, instead: str) -> None:
    with pytest.raises(ValueError, match=r"row|name|reason"):
        read(ROW.replace(given, instead))


def test_printed_rows_can_be_pasted() -> None:
    rows = as_rows([ONE, TWO, THREE._replace(rule='B["x"]')], date(2027, 6, 1)).replace(
        '""', '"a reason of some length"'
    )
    assert verdict(rows, findings={ONE, TWO, THREE._replace(rule='B["x"]')}).faults == []


def test_table_can_be_read_and_names_tools_that_there_are() -> None:
    rows = read(TABLE.read_text())
    assert {tool for row in rows for tool, _ in row.findings} <= TOOLS.keys()
