"""What a person reads of costs, the same as JSON for programs, and the table of docs/cost.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ops import cold_storage, cost, definitions
from ops.actual_cost import Actual
from ops.cost import Line, Load
from ops.monthly_cost import Fixed
from ops.output import print_table, say, to_json
from pet_detector.rules.prices import prices_document

Monthly = Mapping[str, Sequence[Fixed]]


def _about(environment: str, load: Load) -> str:
    waiting = f", {load.waiting:.0%} waiting for their turn" if load.waiting else ""
    waiting += f", {load.converted:.0%} WebP, AVIF or HEIC" if load.converted else ""
    return (
        f"{load.images:,} images a month of {load.megabytes:g} MB, {load.uncertain:.0%} uncertain{waiting}, with the "
        f"parameters of {environment}."
    )


def _orchestration(lines: list[Line]) -> str:
    rekognition = cost.line(lines, cost.REKOGNITION)
    share = cost.orchestration(lines) / rekognition if rekognition else 0.0
    return f"Orchestration (workflow and its functions): {share:.1%} of Rekognition's price."


def _source() -> str:
    document = prices_document()
    return f"Prices of {document['date']}, {document['source']}: {document['about']}"


def _rows(load: Load, lines: list[Line]) -> list[tuple[str, ...]]:
    def row(name: str, per_image: float, how: str) -> tuple[str, ...]:
        return name, f"{per_image:.8f}", f"{per_image * load.images:,.2f}", how

    rows = [row(line.name, line.per_image, line.how) for line in lines]
    rows.append(row("Total", cost.total(lines), f"of it storage {cost.storage(lines):.6f} an image"))
    return rows


def _fixed_rows(monthly: Monthly) -> list[tuple[str, ...]]:
    """A row for each line, a column for each environment."""
    hows = {line.name: line.how for lines in monthly.values() for line in lines}
    dollars = [{line.name: line.per_month for line in lines} for lines in monthly.values()]
    rows = [(name, *(f"{column.get(name, 0):.2f}" for column in dollars), how) for name, how in hows.items()]
    return [*rows, ("Total", *(f"{sum(column.values()):.2f}" for column in dollars), "local costs nothing")]


def show_estimate(environment: str, load: Load, lines: list[Line], monthly: Monthly) -> None:
    """The bill of an image and of a month, then what every environment costs without images."""
    say(_about(environment, load))
    print_table(("line", "$ an image", "$ a month", "how"), _rows(load, lines))
    say(_orchestration(lines))
    say("\nEach environment adds at most, per month:")
    print_table(("$ a month", *monthly, "how"), _fixed_rows(monthly))
    parameters = definitions.parameters(environment)
    say(f"\n{_about_cold(load, parameters)}")
    print_table(_COLD, cold_rows(load.megabytes, parameters))
    say(_source())


_COLD = ("storage class", "$ a picture", "saves", "pays from", "pays after", "used up by")


def _about_cold(load: Load, parameters: Mapping[str, str]) -> str:
    return (
        f"ColdStorageClass={parameters['ColdStorageClass']}. A picture of {load.megabytes:g} MB, kept "
        f"{parameters['ImageRetentionDays']} days, the first {parameters['ColdAfterDays']} (ColdAfterDays) in STANDARD:"
    )


def cold_rows(megabytes: float, parameters: Mapping[str, str]) -> list[tuple[str, ...]]:
    """A row for each storage class: what it costs and saves, and from which size, after how many days, for how long."""
    found = cold_storage.compared(megabytes, parameters)
    rows: list[tuple[str, ...]] = [("STANDARD", f"{found[0].standard:.6f}", "", "", "", "")]
    for one in found:
        rows.append(
            (
                one.name,
                f"{one.cold:.6f}",
                f"{one.saved / one.standard:.0%}",
                f"{max(cold_storage.MINIMUM_KB, one.smallest_kb):,.0f} KB",
                f"{one.pays_after_days:,.0f} days there",
                f"{one.looks:.1f} looks",
            )
        )
    return rows


def estimate_document(environment: str, load: Load, lines: list[Line], monthly: Monthly) -> dict[str, Any]:
    """The same for programs, in US dollars."""
    return {
        "environment": environment,
        "load": load,
        "prices": prices_document(),
        "transitions": {
            "certain": definitions.transitions(definitions.CERTAIN),
            "uncertain": definitions.transitions(definitions.UNCERTAIN),
            "wait": len(definitions.states_of_a_wait()),
        },
        "lines": [{**to_json(line), "perMonth": line.per_image * load.images} for line in lines],
        "perImage": cost.total(lines),
        "perMonth": cost.total(lines) * load.images,
        "orchestrationPerImage": cost.orchestration(lines),
        "coldClasses": cold_storage.compared(load.megabytes, definitions.parameters(environment)),
        "fixedPerMonth": {
            name: {"lines": fixed, "total": sum(line.per_month for line in fixed)} for name, fixed in monthly.items()
        },
    }


def markdown(environment: str, load: Load, lines: list[Line], monthly: Monthly) -> str:
    """The table of docs/cost.md: the bill in a few lines."""
    parts = {
        "Rekognition": cost.line(lines, cost.REKOGNITION),
        "Orchestration: the workflow and its functions": cost.orchestration(lines),
        "Storage of picture and record": cost.storage(lines),
    }
    parts["Everything else"] = cost.total(lines) - sum(parts.values())
    parts["Total"] = cost.total(lines)
    rows = [f"| {name} | {price:.6f} | {price * load.images:,.2f} |" for name, price in parts.items()]
    by_month = ", ".join(f"{name} ${sum(line.per_month for line in fixed):.2f}" for name, fixed in monthly.items())
    return "\n".join(
        [
            _about(environment, load),
            "",
            "| | $ an image | $ a month |",
            "|---|---:|---:|",
            *rows,
            "",
            f"{_orchestration(lines)} Each environment adds at most, per month: {by_month}.",
        ]
    )


def show_actual(found: Actual) -> None:
    """What really ran, and its price."""
    say(f"{found.environment}, {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC")
    if not found.counts:
        say("Nothing ran. (Metrics are a minute late, in hours without images there are none.)")
        return
    print_table(("metric", "sum"), [(name, f"{count:,}") for name, count in sorted(found.counts.items())])

    def per_image(dollars: float) -> str:
        return f"{dollars / found.images_finished:.8f}" if found.images_finished else "-"

    rows = [
        (
            line.name,
            f"{line.dollars:.6f}",
            per_image(line.dollars),
            "measured" if line.measured else "computed",
            line.how,
        )
        for line in found.lines
    ]
    rows.append(("Total", f"{found.total:.6f}", per_image(found.total), "", f"{found.images_finished} images finished"))
    print_table(("line", "$", "$ an image", "", "how"), rows)
    say(f"The metric EstimatedCost (Rekognition and transitions of finished images): ${found.estimated_cost:.6f}")


def actual_document(found: Actual) -> dict[str, Any]:
    """The same for programs, in US dollars."""
    per_image = found.total / found.images_finished if found.images_finished else None
    return {**to_json(found), "total": found.total, "perImage": per_image}
