"""Step Functions: retry delays, timeouts and mocked tasks as the Amazon States Language has them."""

from __future__ import annotations

import contextlib
import contextvars
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import jsonata
from ministack.services import stepfunctions

from local.ministack_ext.redrive import is_superseded

# Several times what a loaded laptop was seen to need; AWS gives an expression 1 s on its own machines.
_JSONATA_TIMEOUT_MS = 80_000

# What answers the attempt that this thread is making, if its state is mocked; it takes the real call.
_mocked_answer: contextvars.ContextVar[Callable[[Callable[[], Any]], Any] | None] = contextvars.ContextVar(
    "mocked_answer", default=None
)


def install() -> None:
    """Apply this module's patches."""
    _retry_delays_are_capped_and_jittered()
    _a_time_to_wait_for_is_not_scaled()
    _jsonata_survives_a_loaded_machine()
    _machine_timeout_ends_the_execution()
    _mocks_answer_each_attempt()
    _an_error_may_have_no_cause()
    _an_execution_that_has_ended_calls_nothing()
    _succeed_has_an_output()
    _a_scheduled_task_tells_its_arguments()


def _retry_delays_are_capped_and_jittered() -> None:
    """A retrier's MaxDelaySeconds caps each delay, and JitterStrategy FULL draws it between zero and that.

    AWS: both, as written. MiniStack: ignores both fields.
    """
    find = stepfunctions._find_matching_retrier

    def find_with_final_delay(retriers: Any, error: str, counts: dict[int, int]) -> tuple[Any, int]:
        retrier, index = find(retriers, error, counts)
        if retrier is None:
            return retrier, index
        delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** counts.get(index, 0)
        delay = min(delay, retrier.get("MaxDelaySeconds", delay))
        if retrier.get("JitterStrategy") == "FULL":
            delay = random.uniform(0, delay)  # noqa: S311 - a delay, not a secret
        return {**retrier, "IntervalSeconds": delay, "BackoffRate": 1}, index

    stepfunctions._find_matching_retrier = find_with_final_delay


def _a_time_to_wait_for_is_not_scaled() -> None:
    """A Wait state with a Timestamp waits until that time, whatever SFN_WAIT_SCALE says of delays.

    AWS: has no such scale. MiniStack: shortens this wait too, so that the state ends before its time.
    """

    def sleep_until(timestamp: str) -> None:
        until = stepfunctions._parse_ts(timestamp)
        if until is not None:
            time.sleep(max(0.0, until.timestamp() - time.time()))

    stepfunctions._sleep_until = sleep_until


def _jsonata_survives_a_loaded_machine() -> None:
    """An expression may take as long as a busy laptop needs.

    AWS: fails an expression that computes longer than 1 s, which one over a small document never does.
    MiniStack: measures that second by the wall clock, so a loaded machine fails executions at random.
    """
    compile_expression = jsonata.Jsonata.jsonata

    def compile_patiently(expression: str, *args: Any, timeout: int | None = None, **options: Any) -> Any:
        patient = None if timeout is None else _JSONATA_TIMEOUT_MS
        return compile_expression(expression, *args, timeout=patient, **options)

    jsonata.Jsonata.jsonata = staticmethod(compile_patiently)


def _machine_timeout_ends_the_execution() -> None:
    """TimeoutSeconds of the state machine ends an execution as TIMED_OUT, whatever its states still do.

    AWS: ends it with States.Timeout. MiniStack: ignores the field.
    """
    run = stepfunctions._run_execution
    fail = stepfunctions._fail_execution

    def run_within_timeout(execution_arn: str) -> None:
        with contextlib.suppress(EndedError):
            run_with_timer(execution_arn)

    def run_with_timer(execution_arn: str) -> None:
        execution = stepfunctions._executions.get(execution_arn)
        seconds = _machine_timeout(execution)
        if seconds is None:
            run(execution_arn)
            return
        # The account and region of the request live in context variables, which a timer's thread does not inherit.
        scope = contextvars.copy_context()
        timer = threading.Timer(seconds, scope.run, args=(_time_out, execution))
        timer.daemon = True
        timer.start()
        try:
            run(execution_arn)
        finally:
            timer.cancel()

    def fail_if_running(execution: Any, error: str, cause: str) -> None:
        # The state that was running when time was up fails later: that is no news any more.
        if execution["status"] == "RUNNING":
            fail(execution, error, cause)

    stepfunctions._run_execution = run_within_timeout
    stepfunctions._fail_execution = fail_if_running


def _machine_timeout(execution: Any) -> float | None:
    """TimeoutSeconds of the execution's state machine, if it has one and its definition can be read."""
    machine = stepfunctions._state_machines.get(execution["stateMachineArn"]) if execution else None
    try:
        return float(json.loads(machine["definition"])["TimeoutSeconds"]) if machine else None
    except (ValueError, KeyError):
        return None


def _time_out(execution: Any) -> None:
    if execution["status"] != "RUNNING" or is_superseded(execution):
        return
    execution.update(status="TIMED_OUT", error="States.Timeout", cause="", stopDate=stepfunctions.now_iso())
    stepfunctions._add_event(
        execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
    )
    stepfunctions._emit_execution_status_event(execution)


def _mocks_answer_each_attempt() -> None:
    """In a mock configuration, every attempt of a task gets the answer written for it.

    AWS Step Functions Local: a state that throws at attempt 0 and returns at attempt 1 succeeds on its retry.
    MiniStack: looks the answer up once a state, so a retry throws the first error again and again.

    Two additions to AWS's format serve `make faults`; a configuration without them means the same as on AWS:
    an attempt after the last written one calls the real service (AWS: the execution fails), and a Throw with
    `"AfterCall": true` calls the real service first, so that its answer is lost after it did its work.
    """
    find_mock = stepfunctions._get_mock_response
    execute_task = stepfunctions._execute_task

    def execute_mocked_task(state: dict[str, Any], data: Any, execution: Any, context: Any) -> Any:
        name = context["State"]["Name"]
        attempts = execution.setdefault("mockAttempts", {}) if execution else {}

        def find_answer() -> Any:
            case = execution.get("testCase", "") if execution else ""
            return find_mock(context["StateMachine"]["Name"], case, name, attempts.get(name, 0))

        def answer(call: Callable[[], Any]) -> Any:
            mock = find_answer()
            if mock is None:
                return call()
            attempts[name] = attempts.get(name, 0) + 1
            if "Throw" in mock:
                if mock["Throw"].get("AfterCall"):
                    call()
                raise stepfunctions._ExecutionError(mock["Throw"]["Error"], mock["Throw"].get("Cause"))
            return mock.get("Return", {})

        token = _mocked_answer.set(answer if find_answer() is not None else None)
        try:
            return execute_task(state, data, execution, context)
        finally:
            _mocked_answer.reset(token)

    stepfunctions._execute_task = execute_mocked_task
    stepfunctions._get_mock_response = lambda *_: None
    stepfunctions._invoke_resource = _mockable(stepfunctions._invoke_resource)
    stepfunctions._invoke_with_callback = _mockable(stepfunctions._invoke_with_callback)


def _an_error_may_have_no_cause() -> None:
    """A caught error without a cause has no Cause in `$states.errorOutput`.

    AWS: leaves it out. MiniStack: puts in whatever it has.
    """
    apply = stepfunctions._apply_catcher

    def apply_without_empty_cause(catcher: Any, data: Any, context: Any, language: Any, error_output: Any) -> Any:
        known = {name: value for name, value in error_output.items() if value is not None}
        return apply(catcher, data, context, language, known)

    stepfunctions._apply_catcher = apply_without_empty_cause


class EndedError(Exception):
    """The execution was stopped, or ran out of time, while one of its states was waiting."""


def _an_execution_that_has_ended_calls_nothing() -> None:
    """A stopped execution, or one that ran out of time, makes no further attempt and enters no further task.

    AWS: so. MiniStack: its thread goes on to the last state, retries and all, and writes what it always writes.
    """
    add_event = stepfunctions._add_event

    def add_event_while_running(execution: Any, kind: str, *details: Any, **more: Any) -> Any:
        if kind == "TaskScheduled" and execution and execution["status"] != "RUNNING":
            raise EndedError(execution["executionArn"])
        return add_event(execution, kind, *details, **more)

    stepfunctions._add_event = add_event_while_running


def _succeed_has_an_output() -> None:
    """The Output of a Succeed state is what the execution, or the child of a map, puts out.

    AWS: so. MiniStack: puts out the state's input.
    """
    apply = stepfunctions._apply_output_path

    def apply_output(state: dict[str, Any], data: Any, context: Any = None) -> Any:
        if state.get("Type") == "Succeed" and stepfunctions._state_query_language(state, context) == "JSONata":
            return stepfunctions._apply_jsonata_output(state, data, context, default=data)
        return apply(state, data, context)

    stepfunctions._apply_output_path = apply_output


def _a_scheduled_task_tells_its_arguments() -> None:
    """The event TaskScheduled holds the arguments of the call: of a Lambda task, which version of which function.

    AWS: so, as JSON text in `parameters`. MiniStack: leaves them out.
    """
    apply, add_event = stepfunctions._apply_jsonata_arguments, stepfunctions._add_event
    arguments: contextvars.ContextVar[Any] = contextvars.ContextVar("arguments", default=None)

    def apply_and_remember(*args: Any, **more: Any) -> Any:
        found = apply(*args, **more)
        arguments.set(found)
        return found

    def add_event_with_arguments(execution: Any, kind: str, details: Any = None, *rest: Any, **more: Any) -> Any:
        if kind == "TaskScheduled":
            scheduled = {"region": stepfunctions.get_region(), "parameters": json.dumps(arguments.get())}
            details = {"taskScheduledEventDetails": {**details["taskScheduledEventDetails"], **scheduled}}
        return add_event(execution, kind, details, *rest, **more)

    stepfunctions._apply_jsonata_arguments = apply_and_remember
    stepfunctions._add_event = add_event_with_arguments


def _mockable(invoke: Callable[..., Any]) -> Callable[..., Any]:
    def invoke_or_mock(*args: Any) -> Any:
        answer = _mocked_answer.get()
        return answer(lambda: invoke(*args)) if answer else invoke(*args)

    return invoke_or_mock
