"""Draws the dashboards of stacks/dashboards.yaml with sample data: `make dashboards`.

It reads the bodies that CloudFormation would hand to CloudWatch: widgets, sizes, metrics, labels, statistics,
thresholds. Only the data is made up (sample_data.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec

from docs import dashboards
from docs.dashboards import sample_data

COLUMNS = 24  # of a CloudWatch dashboard
INCHES = 0.8  # per column
DPI = 75
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
INK, GRID = "#414d5c", "#e9ebed"


def rows_of(widgets: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The widgets line by line, as CloudWatch lays out those that have no position."""
    rows: list[list[dict[str, Any]]] = [[]]
    for widget in widgets:
        if sum(w["width"] for w in rows[-1]) + widget["width"] > COLUMNS:
            rows.append([])
        rows[-1].append(widget)
    return rows


def draw(title: str, body: dict[str, Any], target: Path) -> None:
    """One dashboard as a PNG."""
    rows = rows_of(body["widgets"])
    heights = [max(w["height"] for w in row) for row in rows]
    figure = plt.figure(figsize=(COLUMNS * INCHES, sum(heights) * INCHES * 0.72 + 0.8), dpi=DPI, facecolor="white")
    grid = GridSpec(len(rows), COLUMNS, figure, height_ratios=heights, hspace=0.55, wspace=3.2)
    top = 1 - 0.75 / figure.get_figheight()
    figure.subplots_adjust(left=0.035, right=0.975, top=top, bottom=0.62 / figure.get_figheight())
    figure.text(0.035, 1 - 0.3 / figure.get_figheight(), title, fontsize=15, weight="bold", color=INK, va="center")
    note = "sample data - one day, Rekognition throttling at 14:00"
    figure.text(0.975, 1 - 0.3 / figure.get_figheight(), note, fontsize=10, color=INK, ha="right", va="center")
    for index, row in enumerate(rows):
        column = 0
        for widget in row:
            axes = figure.add_subplot(grid[index, column : column + widget["width"]])
            column += widget["width"]
            axes.set_title(widget["properties"]["title"], loc="left", fontsize=10.5, weight="bold", color=INK)
            (_draw_table if widget["type"] == "log" else _draw_graph)(axes, widget["properties"])
    # No date and no version in the file: drawing again changes nothing. The digest tells a test what was drawn.
    figure.savefig(target, metadata={"Software": None, "Source": dashboards.digest(body)})
    plt.close(figure)


def _draw_graph(axes: Axes, properties: dict[str, Any]) -> None:
    right: Axes | None = None
    stack: list[tuple[str, list[float]]] = []
    hours: list[float] = []
    for index, line in enumerate(properties["metrics"]):
        options = line[-1] if isinstance(line[-1], dict) else {}
        _, metric, *rest = [part for part in line if isinstance(part, str)]
        period = int(options.get("period", properties["period"]))
        shown = max(period, 900 if period < 900 else period)  # a day has more minutes than the picture has pixels
        stat = options.get("stat", properties["stat"])
        dimensions = dict(zip(rest[::2], rest[1::2], strict=True))
        data = sample_data.values(metric, dimensions, stat, shown)
        hours = [second / 3600 for second in range(0, sample_data.SECONDS_A_DAY, shown)]
        if properties.get("stacked"):
            stack.append((options["label"], data))
            continue
        target = axes
        if options.get("yAxis") == "right":
            right = right or axes.twinx()
            target = right
        dot = "o" if len(data) == 1 else None  # once a day
        color = COLORS[index % len(COLORS)]
        target.plot(hours, data, color=color, linewidth=1.4, marker=dot, clip_on=dot is None, label=options["label"])
    if stack:
        names = [name for name, _ in stack]
        axes.stackplot(hours, [data for _, data in stack], labels=names, colors=COLORS, alpha=0.85)
    for line in properties.get("annotations", {}).get("horizontal", []):
        axes.axhline(line["value"], color="#d13212", linewidth=1, linestyle="--")
        axes.annotate(line["label"], (0.2, line["value"]), fontsize=7.5, color="#d13212", va="bottom")
    _dress(axes, properties)
    handles, labels = axes.get_legend_handles_labels()
    if right is not None:
        right.tick_params(labelsize=7.5, colors=INK, length=0)
        right.set_ylim(bottom=0)
        for side in right.spines.values():
            side.set_visible(False)
        more_handles, more_labels = right.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + [f"{label} (right)" for label in more_labels]
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.1),
        ncols=4 if len(labels) <= 16 else 5,
        fontsize=7.5,
        frameon=False,
        labelcolor=INK,
        columnspacing=1.2,
        handlelength=1.2,
    )


def _dress(axes: Axes, properties: dict[str, Any]) -> None:
    limits = properties.get("yAxis", {}).get("left", {})
    axes.set_xlim(0, 24)
    axes.set_ylim(bottom=limits.get("min"), top=limits.get("max"))
    if axes.get_ylim()[1] < 1 and properties["stat"] != "Sum":
        axes.set_ylim(top=1)
    axes.set_xticks(range(0, 25, 4), [f"{hour:02}:00" for hour in range(0, 25, 4)])
    axes.tick_params(labelsize=7.5, colors=INK, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, side in axes.spines.items():
        side.set_visible(name == "bottom")
        side.set_color(GRID)


def _draw_table(axes: Axes, properties: dict[str, Any]) -> None:
    columns, rows = sample_data.TABLES[properties["title"]]
    axes.axis("off")
    height = min(1.0, 0.125 * (len(rows) + 1))
    table = axes.table(rows, colLabels=columns, cellLoc="left", colLoc="left", bbox=(0, 1 - height, 1, height))
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor(GRID)
        cell.set_text_props(color=INK, weight="bold" if row == 0 else "normal")


def main() -> int:
    """Draw both dashboards into docs/."""
    for name in dashboards.NAMES:
        draw(dashboards.title(name), dashboards.body(name), dashboards.picture(name))
        print(f"docs/{dashboards.picture(name).name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
