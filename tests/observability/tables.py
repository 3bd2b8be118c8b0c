"""The tables of docs/observability.md, from the stack itself: `python -m tests.observability.tables` writes them.

A test compares, so that no alarm changes without its row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ops import monthly_cost
from tests.observability.evaluator import expression_of, metrics_of
from tests.support.paths import REPOSITORY
from tests.support.stacks import governance, observability

DOCUMENT = REPOSITORY / "docs" / "observability.md"

STACK = observability(ApplicationName="<stack>", RunbookUrl="operations.md", MonthlyBudgetUsd=0, CostAnomalyUsd=0)
SECURITY = governance(ApplicationName="<stack>", RunbookUrl="operations.md")
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
# Run every 15 minutes, and judged by the hour.
_SCHEDULED = ("Reconciler", "ReviewKeeper")
_SIGNS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "<=",
}


def tables() -> dict[str, str]:
    """Each table by the name of its marker."""
    return {
        "alarms": _alarms(),
        "composites": _composites(),
        "queries": _queries(),
        "cost": _cost(),
        "security": _security(),
    }


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


def shown(name: str) -> str:
    """What the document calls an alarm, by its logical id: those of all functions, windows or queues are one row."""
    called = ALARMS[name]["AlarmName"].removeprefix("<stack>-")
    file = STACK.nested[name.split(".")[0]].file.stem if "." in name else ""
    if (function := called.removesuffix("-errors")) != called and f"{function}FunctionName" in STACK.values:
        return "<scheduled function>-errors" if function in _SCHEDULED else "<function>-errors"
    if file == "burn_rates":
        return re.sub(r"[^-]+$", "<window>", called)
    return "<queue>-unattended" if called.endswith("-unattended") else called


def _alarms() -> str:
    """One row per name."""
    families: dict[str, list[str]] = {}
    for name in ALARMS:
        families.setdefault(shown(name), []).append(name)
    rows = ""
    for family, same in families.items():
        rows += _row([f"`{family}`", _fires(same), _text(same)])
    return _head("Alarm", "Fires when", "Meaning") + rows


def _fires(same: list[str]) -> str:
    alarm = ALARMS[same[0]]
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


def _text(same: list[str]) -> str:
    sentence, _, link = ALARMS[same[0]]["AlarmDescription"].partition(" Runbook: ")
    if len(same) > 1:
        nested = STACK.nested.get(same[0].split(".")[0])
        if nested is None:
            sentence = re.sub(r"^\w+ failed \d+ times", "The function failed so many times", sentence)
        elif "QueueName" in nested.values:
            sentence = sentence.replace(nested.values["QueueName"], "a dead-letter queue")
        else:
            sentence = "The error budget burns faster than the window allows; [service levels](service_levels.md)."
    return f"{sentence} [Runbook]({link})"


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


def _security() -> str:
    """The alarms of stacks/governance.yaml."""
    rows = ""
    for alarm in SECURITY.of_type("AWS::CloudWatch::Alarm").values():
        sentence, _, link = alarm["AlarmDescription"].partition(" Runbook: ")
        metrics = metrics_of(alarm)
        names = " + ".join(f"{metric['MetricName']} {metric['Stat']}" for metric in metrics)
        fires = f"{names} {_SIGNS[alarm['ComparisonOperator']]} {alarm['Threshold']}"
        name = alarm["AlarmName"].removeprefix("<stack>-")
        rows += _row([f"`{name}`", f"{fires} in {_time(int(metrics[0]['Period']))}", f"{sentence} [Runbook]({link})"])
    return _head("Alarm", "Fires when", "Meaning") + rows


def _queries() -> str:
    rows = ""
    for query in STACK.of_type("AWS::Logs::QueryDefinition").values():
        text = " ".join(query["QueryString"].split())
        rows += _row([query["Name"].removeprefix("<stack>/"), f"`{text}`"])
    return _head("Query", "Text") + rows


def _cost() -> str:
    lines = monthly_cost.observability()
    rows = "".join(_row([line.name, line.how, f"{line.per_month:.2f}"]) for line in lines)
    return (
        _head("What", "Arithmetic", "USD a month")
        + rows
        + _row(["Together", "", f"{sum(x.per_month for x in lines):.2f}"])
    )


def main(document: Path = DOCUMENT) -> None:
    """Write the tables into the document."""
    document.write_text(with_tables(document.read_text()))


if __name__ == "__main__":
    main()
