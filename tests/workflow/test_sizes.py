"""No state's data comes near Step Functions' limit of 256 KiB: payloads are small by design, also in the largest cases.

The limit holds for each input, result, error, variable and Arguments by itself, as JSON in UTF-8.
"""

from __future__ import annotations

import json
from typing import Any

from .cases import CASES
from .evaluations import Evaluation
from .executions import Run

LIMIT_BYTES = 64 * 1024


def size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def test_no_expression_reads_or_gives_a_large_value(evaluations: list[Evaluation]) -> None:
    for evaluation in evaluations:
        read = [evaluation.states.get(name) for name in ("input", "result", "errorOutput")]
        values = [*read, *evaluation.variables.values(), evaluation.outcome.get("value")]
        assert max(map(size, values)) < LIMIT_BYTES, evaluation.expression[:80]


def test_no_task_is_sent_a_large_value(runs: dict[str, Run]) -> None:
    sizes = {case: max(map(size, run.arguments.values()), default=0) for case, run in runs.items()}

    assert max(sizes.values()) < LIMIT_BYTES
    assert sizes["LargestFailure"] > 32 * 1024 > sizes["AccessDenied"]  # else the largest cases are not large
    assert CASES.keys() == sizes.keys()


def test_what_a_failed_execution_says_is_small(runs: dict[str, Run]) -> None:
    assert max(size([run.error, run.cause]) for run in runs.values()) < 4 * 1024
