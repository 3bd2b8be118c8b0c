"""docs/reliability.md shows the matrix that `make faults` runs; that run writes the rows."""

from __future__ import annotations

import re

from .__main__ import BEGIN, DOCUMENT, END
from .matrix import cells


def test_the_document_has_a_row_for_each_cell_in_the_same_order() -> None:
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| (?!Call \|)(.+?) \| (.+?) \|", table, re.MULTILINE)
    assert rows == [(cell.call, cell.fault) for cell in cells()], "run: make faults"


def test_every_cell_has_a_name_of_its_own() -> None:
    names = [cell.name for cell in cells()]
    assert len(names) == len(set(names))
