"""One line of the benchmarks' table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A number with its target, if it has one. `ratio` is result / baseline, where there is a baseline."""

    name: str
    result: str
    baseline: str = ""
    ratio: float | None = None
    target: str = ""
    is_met: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        met = "" if not self.target else "yes" if self.is_met else "NO"
        return (self.name, self.result, self.baseline, ratio, self.target, met)
