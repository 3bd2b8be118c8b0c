"""The answers of all cases as a mock configuration of AWS Step Functions Local: `python -m tests.workflow.mocks FILE`.

The local AWS reads the same format. The file is not kept in the repository: the tests write it for the engine that they
start, and `compose.yaml` for the one in its container.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .cases import CASES
from .executions import MACHINE

# Cases in their order have the names Case1, Case2, ...: the format allows letters, digits, - and _ only.
TEST_CASES = {case: f"Case{number}" for number, case in enumerate(CASES, start=1)}


def mock_configuration() -> dict[str, Any]:
    """One test case for each case, and one mocked response for each list of answers."""
    responses: dict[str, str] = {}
    test_cases: dict[str, dict[str, str]] = {}
    for name, case in CASES.items():
        test_cases[TEST_CASES[name]] = {
            state: responses.setdefault(
                json.dumps({str(attempt): answer for attempt, answer in enumerate(answers)}),
                f"Response{len(responses) + 1}",
            )
            for state, answers in case.answers.items()
        }
    return {
        "StateMachines": {MACHINE: {"TestCases": test_cases}},
        "MockedResponses": {name: json.loads(answers) for answers, name in responses.items()},
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(mock_configuration(), indent=1))
