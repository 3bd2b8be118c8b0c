"""Lambda: errors by the name of their class, and log lines that are complete and cost nothing."""

from __future__ import annotations

import queue
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

# The worker writes this line to its log stream when an invocation is over; no handler prints a record separator.
_END_OF_LOG = "\x1eend-of-invocation"

# How long to wait for that line from a worker that died, in seconds.
_LOST_WORKER_SECONDS = 0.25

_RAISED = "__raised__"

# MiniStack's words for a worker that is gone.
_ENDS = ("Worker process died", "Worker returned no response")

_WORKER_ANSWERS_ERROR = (
    '"status": "error", "error": str(e), "trace": traceback.format_exc()',
    f'"status": "ok", "result": {{"{_RAISED}": {{"errorMessage": str(e), "errorType": type(e).__name__, '
    '"requestId": context.aws_request_id, "stackTrace": traceback.format_list('
    'traceback.extract_tb(e.__traceback__)[1:])}, "trace": traceback.format_exc()}',
)

_WORKER_ENDS_INVOCATION = (
    "        _real_stdout.flush()\n\nrun()",
    f'        print("{_END_OF_LOG.encode("unicode_escape").decode()}", file=sys.stderr, flush=True)\n'
    "        _real_stdout.flush()\n\nrun()",
)


def install() -> None:
    """Apply this module's patches."""
    _errors_are_named_after_their_class()
    _a_dead_process_has_a_name()
    _log_lines_end_with_a_marker()


def _errors_are_named_after_their_class() -> None:
    """An error that a handler raises reaches the caller as itself, and the function stays warm.

    AWS: the payload's errorType is the name of the exception class, so that a state machine's Retry and Catch can
    match it, and a stackTrace comes along. The environment serves the next call.
    MiniStack: errorType is always `Runtime.HandlerError`, and the worker process is killed.
    """
    _replace_in_worker(*_WORKER_ANSWERS_ERROR)
    execute = lambda_svc._execute_function_warm

    def execute_with_named_errors(func: Any, event: Any, request_id: str) -> Any:
        result = execute(func, event, request_id)
        body = result.get("body")
        if not isinstance(body, dict) or _RAISED not in body:
            return result
        log = "\n".join(filter(None, [result.get("log", ""), f"[ERROR] {body['trace']}"]))
        return {"body": body[_RAISED], "error": True, "log": log}

    lambda_svc._execute_function_warm = execute_with_named_errors


def _a_dead_process_has_a_name() -> None:
    """A function whose process dies (out of memory, killed) fails with Runtime.ExitError.

    AWS: that name. MiniStack: Runtime.HandlerError, as for any error.
    """
    execute = lambda_svc._execute_function_warm

    def execute_with_named_end(func: Any, event: Any, request_id: str) -> Any:
        result = execute(func, event, request_id)
        body = result.get("body")
        if isinstance(body, dict) and body.get("errorMessage") in _ENDS and result.get("error"):
            return {**result, "body": {**body, "errorType": "Runtime.ExitError"}}
        return result

    lambda_svc._execute_function_warm = execute_with_named_end


def _log_lines_end_with_a_marker() -> None:
    """A call returns as soon as its last log line has been read, and takes all its lines with it.

    AWS: the log of a call is complete and its own.
    MiniStack: guesses by waiting. A silent function costs 50 ms more a call, and a last line without a newline goes
    to the next call's log.
    """
    _replace_in_worker(*_WORKER_ENDS_INVOCATION)
    guess = lambda_runtime.Worker._drain_stderr_bounded

    def drain(worker: Any) -> str:
        if not worker.config.get("Runtime", "").startswith("python"):
            return str(guess(worker))
        lines = []
        while True:
            try:
                line = worker._stderr_queue.get(timeout=_LOST_WORKER_SECONDS)
            except queue.Empty:
                break
            if line.endswith(_END_OF_LOG):
                lines.append(line.removesuffix(_END_OF_LOG))
                break
            lines.append(line)
        return "\n".join(filter(None, lines))

    lambda_runtime.Worker._drain_stderr_bounded = drain


def _replace_in_worker(old: str, new: str) -> None:
    """Change the program that MiniStack runs in a Python function's process."""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    if script.count(old) != 1:
        raise RuntimeError(f"MiniStack's Lambda worker no longer holds {old!r}")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(old, new)
