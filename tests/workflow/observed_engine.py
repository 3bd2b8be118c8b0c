"""The local AWS, which also writes every JSONata expression that it evaluates to the file EVALUATIONS_FILE.

A line holds the expression, what it may read ($states and the variables), and its value or its error.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from ministack.services import stepfunctions

from local.ministack_ext.__main__ import main

_evaluate = stepfunctions._evaluate_jsonata
_lock = threading.Lock()


def _evaluate_and_write(
    expression: str, raw_input: Any, ctx: Any = None, result: Any = None, error_output: Any = None
) -> Any:
    context = {name: value for name, value in (ctx or {}).items() if name not in ("variables", "QueryLanguage")}
    states = {"input": raw_input, "context": context}
    states |= {} if result is None else {"result": result}
    states |= {} if error_output is None else {"errorOutput": error_output}
    line = {"expression": expression, "states": states, "variables": (ctx or {}).get("variables", {})}
    before = json.dumps(line)
    try:
        value = _evaluate(expression, raw_input, ctx, result, error_output)
    except stepfunctions._ExecutionError as error:
        _write({**json.loads(before), "error": str(error.cause)})
        raise
    _write({**json.loads(before), "value": value})
    return value


def _write(line: dict[str, Any]) -> None:
    with _lock, open(os.environ["EVALUATIONS_FILE"], "a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    stepfunctions._evaluate_jsonata = _evaluate_and_write
    main()
