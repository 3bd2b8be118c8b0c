"""The tables of docs/observability.md, from the stack itself: `python -m tests.observability.tables` writes them.

A test compares, so that no alarm changes without its row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.observability.cases import kind_of
from tests.observability.evaluator import expression_of, metrics_of
from tests.observability.stack import REPOSITORY, observability

DOCUMENT = REPOSITORY / "docs" / "observability.md"
PRICES_FILE = REPOSITORY / "functions" / "pet_detector" / "prices.json"

STACK = observability(ApplicationName="<stack>", RunbookUrl="operations.md", MonthlyBudgetUsd=0, CostAnomalyUsd=0)
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
_SIGNS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "<=",
}


def tables() -> dict[str, str]:
    """Each table by the name of its marker."""
    return {"alarms": _alarms(), "composites": _composites(), "queries": _queries(), "cost": _cost()}


def with_tables(text: str) -> str:
    """A document with each table between its markers written anew."""
    for name, table in tables().items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert marked.search(text), f"docs/observability.md has no markers for the table {name}"
        text = marked.sub(lambda found, table=table: f"{found[1]}{table}{found[2]}", text)  # type: ignore[misc]
    return text


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def _head(*titles: str) -> str:
    return _row(titles) + "|" + "---|" * len(titles) + "\n"


def _alarms() -> str:
    """One row per kind: the alarms of eight functions, or of four windows, are one row each."""
    rows, seen = "", set()
    for name, alarm in ALARMS.items():
        kind = kind_of(name)
        if "." in name and kind in seen:
            continue
        seen.add(kind)
        same = [other for other in ALARMS if kind_of(other) == kind]
        shown = alarm["AlarmName"].removeprefix("<stack>-")
        if "Alarms." in name:
            shown = re.sub(r"^\w+?-", "`function`-", shown).replace("`function`", "<function>")
        elif len(same) > 1:
            shown = re.sub(r"[^-]+$", "<window>", shown)
        proof = "own evaluator" if expression_of(alarm) else "engine and own evaluator"
        if alarm["TreatMissingData"] == "breaching":
            proof = "own evaluator (silence), engine"
        rows += _row([f"`{shown}`", _fires(alarm, same if "." in name else [name]), *_text(alarm, same), proof])
    return _head("Alarm", "Fires when", "Meaning", "Proven by") + rows


def _fires(alarm: dict[str, Any], same: list[str]) -> str:
    thresholds = list(dict.fromkeys(f"{ALARMS[name]['Threshold']}" for name in same))
    windows = list(dict.fromkeys(_time(int(metrics_of(ALARMS[name])[0]["Period"])) for name in same))
    threshold, window = " or ".join(thresholds), "its window" if len(windows) > 1 else windows[0]
    metrics = metrics_of(alarm)
    sign = _SIGNS[alarm["ComparisonOperator"]]
    names = ", ".join(sorted({f"{m['MetricName']} {m['Stat']}" for m in metrics}))
    periods, need = int(alarm["EvaluationPeriods"]), int(alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))
    often = f", {need} of {periods}" if periods > 1 else ""
    what = f"{alarm['Metrics'][0]['Label'].lower()} of {names}" if expression_of(alarm) else names
    return f"{what} {sign} {threshold} in {window}{often}"


def _text(alarm: dict[str, Any], same: list[str]) -> list[str]:
    sentence, _, link = alarm["AlarmDescription"].partition(" Runbook: ")
    if "." in same[0]:
        for word in {STACK.nested[name.split(".")[0]].values.get("FunctionName", "") for name in same} - {""}:
            sentence = sentence.replace(word, "the function")
            sentence = re.sub(r"failed \d+ times", "failed so many times", sentence)
            sentence = re.sub(r"over \d+ ms, 80 %", "over 80 %", sentence)
        if "Burn." in same[0]:
            sentence = "The error budget burns faster than the window allows; [service levels](service_levels.md)."
        sentence = sentence[0].upper() + sentence[1:]
    return [f"{sentence} [Runbook]({link})"]


def _time(seconds: int) -> str:
    if seconds % 3600 == 0:
        return f"{seconds // 3600} h"
    return f"{seconds // 60} min"


def _composites() -> str:
    rows = ""
    for alarm in COMPOSITES.values():
        sentence, _, link = alarm["AlarmDescription"].partition(" Runbook: ")
        rule = re.sub(r'ALARM\("<stack>-([^"]+)"\)', r"\1", alarm["AlarmRule"])
        rule = " ".join(rule.split()).replace(" OR ", " or ").replace(" AND ", " and ")
        rows += _row([f"`{alarm['AlarmName'].removeprefix('<stack>-')}`", rule, f"{sentence} [Runbook]({link})"])
    return _head("Alarm", "Rule", "Meaning") + rows


def _queries() -> str:
    rows = ""
    for query in STACK.of_type("AWS::Logs::QueryDefinition").values():
        text = " ".join(query["QueryString"].split())
        rows += _row([query["Name"].removeprefix("<stack>/"), f"`{text}`"])
    return _head("Query", "Text") + rows


def _cost() -> str:
    prices = json.loads(PRICES_FILE.read_text())
    published = {
        (m["Namespace"], m["MetricName"], str(m["Dimensions"])) for m in _dashboard_metrics() if "PetDetector" in str(m)
    }
    counts = [
        ("Metrics of ours (a name and its dimension's value)", len(published), "cloudwatch_metric_month"),
        ("Metrics in alarms", sum(len(metrics_of(alarm)) for alarm in ALARMS.values()), "cloudwatch_alarm_month"),
        ("Composite alarms", len(COMPOSITES), "cloudwatch_composite_alarm_month"),
        ("Dashboards", len(STACK.of_type("AWS::CloudWatch::Dashboard")), "cloudwatch_dashboard_month"),
        ("Key of the alarms' topics", 1, "kms_key_month"),
    ]
    rows, total = "", 0.0
    for what, count, price in counts:
        total += count * prices[price]
        rows += _row([what, count, f"{prices[price]:.2f}", f"{count * prices[price]:.2f}"])
    return _head("What", "Number", "USD each", "USD a month") + rows + _row(["Together", "", "", f"{total:.2f}"])


def _dashboard_metrics() -> list[dict[str, Any]]:
    found = []
    for board in STACK.of_type("AWS::CloudWatch::Dashboard").values():
        for widget in json.loads(board["DashboardBody"])["widgets"]:
            for line in widget["properties"].get("metrics", []):
                namespace, metric, *rest = [part for part in line if isinstance(part, str)]
                found.append({"Namespace": namespace, "MetricName": metric, "Dimensions": rest})
    return found


def main(document: Path = DOCUMENT) -> None:
    """Write the tables into the document."""
    document.write_text(with_tables(document.read_text()))


if __name__ == "__main__":
    main()
