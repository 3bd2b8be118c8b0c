"""Lambda: as many functions run at once as the machine carries, in few processes, and no event is lost meanwhile."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import eventbridge, lambda_svc, sns, stepfunctions

logger = logging.getLogger(__name__)

# A process of a function takes 55 to 90 MB: together they stay below 2 GB.
MOST_ENVIRONMENTS = 20

# The concurrency of the account: five executions a core keep both cores of a small laptop busy and each call well
# below its timeout. Two cores give 10, which is what a new AWS account has.
_EXECUTIONS_PER_CORE = 5

# What AWS gives an environment to begin. Whoever waited so long for a turn begins without: an import may hang.
_LONGEST_START_SECONDS = 10.0

# How long Lambda keeps an event that it cannot deliver.
_EVENT_SECONDS = 6 * 3600.0
# Between two tries; AWS waits from 1 s to 5 minutes. Here an environment is free again within seconds.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 0.2, 2.0

# Whether the invocation that this thread makes is asynchronous: Lambda has taken its event, and keeps it.
_has_queue: contextvars.ContextVar[bool] = contextvars.ContextVar("has_queue", default=False)


def install() -> None:
    """Apply this module's patches."""
    _concurrency_fits_the_machine()
    _environments_are_few()
    _cold_starts_do_not_compete()
    _a_throttled_event_waits()
    _a_throttled_task_has_a_name()


def _concurrency_fits_the_machine() -> None:
    """The account's concurrency is five a core, at most MOST_ENVIRONMENTS, unless LAMBDA_ACCOUNT_CONCURRENCY says else.

    AWS: 1,000, and 10 in a new account; beyond it, TooManyRequestsException.
    MiniStack: the same exception, but from the memory alone (512 at 21 GB), so that all calls of a burst run at once,
    slow each other down, and time out.
    """
    if not os.environ.get("LAMBDA_ACCOUNT_CONCURRENCY"):
        lambda_svc._ACCOUNT_CONCURRENCY_CAP = account_concurrency(os.cpu_count() or 1)


def account_concurrency(cores: int) -> int:
    """How many executions may run at once on a machine with so many cores."""
    return min(cores * _EXECUTIONS_PER_CORE, MOST_ENVIRONMENTS)


def _environments_are_few() -> None:
    """A new execution environment takes the place of the idle one that was not used for longest.

    AWS: their number costs the developer's machine nothing.
    MiniStack: keeps each process for five minutes, and one of each function for ever, so that they add up: a burst
    left 151 of them, 7.9 GB.
    """
    acquire = lambda_svc.acquire_worker

    def acquire_within_limit(*function: Any, **more: Any) -> Any:
        worker, reason = acquire(*function, **more)
        if reason == "spawn":
            lambda_runtime.kill_workers(_surplus())
        return worker, reason

    lambda_svc.acquire_worker = acquire_within_limit


def _surplus() -> list[Any]:
    """Take the idle environments beyond the limit out of their pools, and return them."""
    with lambda_runtime._lock:
        pools = lambda_runtime._workers
        everyone = [(worker, key) for key, pool in pools.items() for worker in pool]
        idle = sorted((pair for pair in everyone if not pair[0].in_use), key=lambda pair: pair[0].last_used)
        surplus = idle[: max(0, len(everyone) - MOST_ENVIRONMENTS)]
        for worker, key in surplus:
            pools[key].remove(worker)
        return [worker for worker, _ in surplus]


def _cold_starts_do_not_compete() -> None:
    """As many environments begin at once as there are cores; others wait for their turn, before their time runs.

    AWS: every environment has a processor of its own.
    MiniStack: starts all at once. They take the processor from the calls that run, and those time out.
    """
    spawn = lambda_runtime.Worker._spawn
    turns = threading.BoundedSemaphore(os.cpu_count() or 1)

    def spawn_in_turn(worker: Any) -> None:
        has_turn = turns.acquire(timeout=_LONGEST_START_SECONDS)
        try:
            spawn(worker)
        finally:
            if has_turn:
                turns.release()

    lambda_runtime.Worker._spawn = spawn_in_turn


def _a_throttled_event_waits() -> None:
    """An asynchronous invocation that finds no environment free waits, up to six hours.

    AWS: Lambda keeps the event in its queue and tries again, which is not counted as an attempt.
    MiniStack: counts it as a failed attempt, of which there are three; an event of EventBridge or SNS has one. Then
    the event is lost. (Event source mappings need no patch: they keep their place, or the queue its message.)
    """
    execute = lambda_svc._execute_function

    def execute_when_free(function: Any, event: Any) -> Any:
        result = execute(function, event)
        given_up = time.monotonic() + _EVENT_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while _has_queue.get() and result.get("throttle") and time.monotonic() < given_up:
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_SECONDS)
            result = execute(function, event)
        return result

    lambda_svc._execute_function = execute_when_free
    lambda_svc.invoke_async_with_retry = _queued(lambda_svc.invoke_async_with_retry)
    sns._deliver_to_lambda = _queued(sns._deliver_to_lambda)
    eventbridge._dispatch_to_lambda = _queued(_dispatch_to_lambda)


def _queued(invoke: Callable[..., Any]) -> Callable[..., Any]:
    def invoke_with_queue(*arguments: Any) -> Any:
        with _queue():
            return invoke(*arguments)

    return invoke_with_queue


@contextlib.contextmanager
def _queue() -> Iterator[None]:
    token = _has_queue.set(True)
    try:
        yield
    finally:
        _has_queue.reset(token)


def _dispatch_to_lambda(arn: str, payload: str) -> None:
    """EventBridge's delivery as MiniStack does it, in a thread that knows that it has a queue."""
    try:
        event = json.loads(payload)
    except ValueError:  # the text of an input transformer
        event = {"body": payload}
    function, config, name = lambda_svc._get_func_record_for_ref(arn)
    if not function or not config:
        logger.warning("EventBridge -> Lambda: function %s not found", name)
        return
    record = lambda_svc._execution_record_for_config(function, config)
    scope = contextvars.copy_context()
    threading.Thread(
        target=scope.run, args=(lambda_svc._execute_function_with_config_scope, record, event), daemon=True
    ).start()


def _a_throttled_task_has_a_name() -> None:
    """A task whose function finds no environment free fails with Lambda.TooManyRequestsException.

    AWS: that name, which a state machine's Retry waits for. MiniStack: Lambda.Unknown.
    """
    call = stepfunctions._call_lambda

    def call_with_named_throttle(function: Any, event: Any) -> Any:
        try:
            return call(function, event)
        except stepfunctions._ExecutionError as error:
            if error.error == "Lambda.Unknown" and _is_throttle(error.cause):
                raise stepfunctions._ExecutionError("Lambda.TooManyRequestsException", error.cause) from None
            raise

    stepfunctions._call_lambda = call_with_named_throttle


def _is_throttle(cause: Any) -> bool:
    """Whether a cause is the body that Lambda's own throttle has; a function's error has an errorType."""
    try:
        return bool(json.loads(cause)["__type"] == "TooManyRequestsException")
    except (ValueError, TypeError, KeyError):
        return False
