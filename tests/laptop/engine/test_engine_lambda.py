"""Lambda: what a function's error looks like to its caller, what a call costs, where its log lines go."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

RAISES = """
class ImageTooLargeError(Exception):
    pass

calls = 0

def handler(event, context):
    global calls
    calls += 1
    if event.get("ok"):
        return calls
    raise ImageTooLargeError("17 MB")
"""


def invoke(engine: Any, name: str, event: dict[str, Any] | None = None) -> Any:
    answer = engine.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event or {}), LogType="Tail")
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    return answer.get("FunctionError"), json.loads(answer["Payload"].read()), log


def test_error_type_is_the_name_of_the_exception_class(gap_engine: Any) -> None:
    name = gap_engine.create_function(RAISES)

    failed, payload, log = invoke(gap_engine, name)

    assert failed == "Unhandled"
    assert payload["errorMessage"] == "17 MB"
    assert payload["errorType"] == "ImageTooLargeError"
    assert "raise ImageTooLargeError" in "".join(payload["stackTrace"])
    assert "Traceback" in log


def test_a_function_that_raised_stays_warm(gap_engine: Any) -> None:
    name = gap_engine.create_function(RAISES)
    invoke(gap_engine, name)

    _, calls, _ = invoke(gap_engine, name, {"ok": True})

    assert calls == 2


def test_a_silent_function_is_not_kept_waiting_for_log_lines(gap_engine: Any) -> None:
    name = gap_engine.create_function("import time\n\ndef handler(event, context):\n    return time.time()")

    def seconds_to_its_answer() -> float:
        _, returned, _ = invoke(gap_engine, name)
        return time.time() - float(returned)

    # The plain engine waits 0.05 s each time. On a busy machine the answer may take longer, but not always.
    assert any(seconds_to_its_answer() < 0.05 for _ in range(40))


def test_each_call_gets_its_own_log_lines_and_all_of_them(gap_engine: Any) -> None:
    name = gap_engine.create_function(
        "def handler(event, context):\n    for i in range(300):\n        print('line', event['n'], i)"
        "\n    print('no newline', event['n'], end='')"
    )

    for call in range(3):
        _, _, log = invoke(gap_engine, name, {"n": call})

        lines = [line for line in log.splitlines() if line.startswith("line ")]
        assert {line.split()[1] for line in lines} == {str(call)}
        assert lines[-1] == f"line {call} 299"
        assert f"no newline {call}" in log


def test_a_function_whose_process_dies_fails_with_exit_error(gap_engine: Any) -> None:
    name = gap_engine.create_function("import os\n\ndef handler(event, context):\n    os._exit(1)\n")

    answer = gap_engine.client("lambda").invoke(FunctionName=name)

    assert json.loads(answer["Payload"].read())["errorType"] == "Runtime.ExitError"
