"""An evaluation as one HTML file: tables, the reliability curve, and the worst pictures as a contact sheet.

It asks for nothing: no script, no font, no address; pictures are inside as small JPEGs without metadata. Names of files
and sentences come from outside: they are text everywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from ops import evaluate
from ops.evaluate import Evaluation, NotReadableError
from ops.evaluate_output import COLUMNS, about, asked, range_of, said, share
from ops.evaluation import Answer, Bin, Figures, Judged
from pet_detector.rules.models import Animal, Rejection
from pet_detector.rules.text import printable

_THUMBNAIL_PX = 240
_PLOT = 320  # pixels of a side of the curve

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #2a7f4f; --bad: #c0392b; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child, .texts td, .texts th { text-align: left; overflow-wrap: anywhere; }
td.right, td.wrong { outline: 2px solid var(--good); outline-offset: -2px; }
td.wrong { outline-color: var(--bad); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; padding: 0; }
.sheet { list-style: none; }
.sheet li { border: 1px solid var(--line); padding: .5rem; overflow-wrap: anywhere; font-size: .875rem; }
.sheet img { display: block; max-width: 100%; height: 10rem; object-fit: contain; margin: 0 auto .5rem; }
.scroll { overflow-x: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""


def page(evaluation: Evaluation, found: Figures, folder: Path) -> str:
    """The document. `folder` is where the pictures of the contact sheet are read from, if they are still there."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    title = f"Evaluation of {_text(evaluation.folder)}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{title}</h1>",
        f"<p>{datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {' '.join(_text(line) for line in about(evaluation))}</p>",
    ]
    if evaluation.stopped:
        parts.append("<p><strong>Stopped before the end: these are the pictures that were judged so far.</strong></p>")
    parts += _figures(evaluation, found, folder) if found.pictures else ["<p>There was no picture to judge.</p>"]
    if evaluation.left:
        left = _table(("File", "Why"), ((one.name, one.reason) for one in evaluation.left))
        parts += ["<h2>Left out</h2>", f'<div class="texts">{left}</div>']
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _figures(evaluation: Evaluation, found: Figures, folder: Path) -> list[str]:
    return [
        f"<p>{found.pictures:,} pictures. Without a person: {share(found.certain)}; right of those: "
        f"{share(found.correct)}. {_text(asked(evaluation, found))}</p>",
        "<h2>What became of what</h2>",
        _matrix(found),
        "<h2>Precision and recall</h2>",
        "<p>With 95 % intervals. Precision: of the pictures filed as it with certainty, the share that is. Recall: of "
        "the pictures that are, the share filed as it with certainty; what was left to people or rejected was not "
        "found.</p>",
        _table(
            ("Class", "Precision", "Recall"),
            ((animal.value, share(found.precision[animal]), share(found.recall[animal])) for animal in Animal),
        ),
        "<h2>Is it as sure as it should be?</h2>",
        "<p>Its best guess of every picture, also of those left to people. On the diagonal it is right as often as it "
        "says; below it, it is too sure. Lines are 95 % intervals.</p>",
        _curve(found.curve),
        _table(
            ("So sure was it", "Pictures", "It said, on average", "Its guess was right"),
            (
                (range_of(one), str(one.right.of), f"{one.said:.1f} %", share(one.right))
                for one in found.curve
                if one.said is not None
            ),
        ),
        "<h2>The worst</h2>",
        "<p>Wrong ones that nobody would have looked at come first, the surest before the others.</p>",
        _sheet(found.worst, folder),
    ]


def _text(text: str) -> str:
    return escape(printable(text, 1000))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{_text(heading)}</th>' for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _matrix(found: Figures) -> str:
    head = "".join(f'<th scope="col">{COLUMNS[answer]}</th>' for answer in Answer)
    rows = ""
    for truth in Animal:
        cells = ""
        for answer in Answer:
            number = found.matrix[truth][answer]
            is_right, is_certain = answer.value == truth.value, answer not in (Answer.PEOPLE, Answer.REJECTED)
            kind = "right" if is_right else "wrong" if number and is_certain else "none"
            cells += f'<td class="{kind}">{number:,}</td>'
        rows += f'<tr><th scope="row">{truth}</th>{cells}</tr>'
    head = f'<tr><th scope="col">is \\ was filed as</th>{head}</tr>'
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _curve(bins: Sequence[Bin]) -> str:
    def x(percent: float) -> float:
        return 40 + percent / 100 * _PLOT

    def y(share_of_one: float) -> float:
        return 10 + (1 - share_of_one) * _PLOT

    marks = [f'<path d="M{x(0)} {y(0)}L{x(100)} {y(1)}" stroke="currentColor" stroke-dasharray="4 4" opacity=".5"/>']
    for percent in (0, 50, 100):
        marks.append(f'<text x="{x(percent)}" y="{_PLOT + 26}" text-anchor="middle">{percent} %</text>')
        marks.append(f'<text x="36" y="{y(percent / 100) + 4}" text-anchor="end">{percent} %</text>')
    for one in bins:
        if one.said is None or one.right.value is None:
            continue
        low, high = one.right.interval
        at = f"{x(one.said):.1f}"
        marks.append(f'<path d="M{at} {y(low):.1f}V{y(high):.1f}" stroke="#3b6fb6" stroke-width="2"/>')
        name = f"{range_of(one)}: said {one.said:.1f} %, right {share(one.right)}"
        marks.append(
            f'<circle cx="{at}" cy="{y(one.right.value):.1f}" r="5" fill="#3b6fb6"><title>{name}</title></circle>'
        )
    frame = f'<rect x="40" y="10" width="{_PLOT}" height="{_PLOT}" fill="none" stroke="currentColor" opacity=".4"/>'
    label = "How often the guess was right (up), by how sure the machine was (to the right). The table has the numbers."
    size = f'width="{_PLOT + 60}" height="{_PLOT + 40}" viewBox="0 0 {_PLOT + 60} {_PLOT + 40}"'
    return f'<svg {size} role="img" aria-label="{label}">{frame}{"".join(marks)}</svg>'


def _sheet(worst: Sequence[Judged], folder: Path) -> str:
    if not worst:
        return "<p>No guess was wrong.</p>"
    return f'<ol class="sheet">{"".join(_card(one, folder) for one in worst)}</ol>'


def _card(one: Judged, folder: Path) -> str:
    name = _text(one.name)
    picture = _thumbnail(folder / one.name)
    image = f'<img src="{picture}" alt="{name}">' if picture else "<p>(no picture)</p>"
    facts = f"is {one.truth}; it said {_text(said(one))}, {one.said:.1f} % sure"
    return f"<li>{image}<strong>{name}</strong><br>{facts}<br>{_text(one.found.reason)}</li>"


def _thumbnail(path: Path) -> str:
    """A small JPEG as a data URL; empty if the file has changed into something else since."""
    try:
        data, header = evaluate.read(path)
        picture = header if isinstance(header, Rejection) else evaluate.as_analysed(data, header)
        if isinstance(picture, Rejection):
            return ""
        small = evaluate.copy_of(picture, _THUMBNAIL_PX, 75)
    except NotReadableError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
