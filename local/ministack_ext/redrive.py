"""Step Functions: RedriveExecution, which MiniStack does not have."""

from __future__ import annotations

import contextvars
import copy
import json
import threading
from typing import Any

from ministack.core.responses import json_response, now_iso
from ministack.services import stepfunctions

from local.ministack_ext.state_machine_versions import Started, as_started, machine_of

_UNSUCCESSFUL = ("FAILED", "TIMED_OUT", "ABORTED")

# The state that a redriven execution begins with. It puts input and variables in place, and leaves no trace.
_RESUME = "(redrive)"

# The execution that this thread runs, and which of its attempts: a redriven execution is the next one.
_attempt: contextvars.ContextVar[tuple[str, int]] = contextvars.ContextVar("attempt", default=("", 0))


class SupersededError(Exception):
    """The execution was redriven while a state of its last attempt was still waiting."""


def install() -> None:
    """Apply this module's patches."""
    _variables_are_kept()
    _an_old_attempt_does_no_more()
    _a_redrive_resumes_at_the_failed_state()


def is_superseded(execution: dict[str, Any]) -> bool:
    """Whether this thread runs an attempt of the execution that a redrive has replaced."""
    arn, attempt = _attempt.get()
    return bool(arn == execution["executionArn"] and attempt != execution.get("redriveCount", 0))


def _variables_are_kept() -> None:
    """What an execution has assigned so far is kept with it, for a redrive; what a branch assigned is the branch's."""
    assign = stepfunctions._apply_state_assign

    def assign_and_keep(state: Any, data: Any, context: Any, *results: Any, **more: Any) -> None:
        assign(state, data, context, *results, **more)
        execution = stepfunctions._executions.get(((context or {}).get("Execution") or {}).get("Id")) or {}
        machine = machine_of(execution)
        if machine and context["State"]["Name"] in json.loads(machine["definition"])["States"]:
            execution["variables"] = copy.deepcopy(context.get("variables", {}))

    stepfunctions._apply_state_assign = assign_and_keep


def _an_old_attempt_does_no_more() -> None:
    """The thread of an attempt that was stopped and redriven ends at its next event, without a trace."""
    run, add_event, fail = (
        stepfunctions._run_execution,
        stepfunctions._add_event,
        stepfunctions._fail_execution,
    )

    def run_attempt(execution_arn: str) -> None:
        execution = stepfunctions._executions.get(execution_arn)
        token = _attempt.set((execution_arn, (execution or {}).get("redriveCount", 0)))
        try:
            run(execution_arn)
        finally:
            _attempt.reset(token)

    def add_event_of_attempt(execution: Any, kind: str, *details: Any, **more: Any) -> Any:
        if execution and is_superseded(execution):
            raise SupersededError(execution["executionArn"])
        if _is_resuming(kind, *details):
            return {}
        return add_event(execution, kind, *details, **more)

    def fail_attempt(execution: Any, error: str, cause: Any) -> None:
        if not is_superseded(execution):
            fail(execution, error, cause)

    stepfunctions._run_execution = run_attempt
    stepfunctions._add_event = add_event_of_attempt
    stepfunctions._fail_execution = fail_attempt


def _is_resuming(kind: str, details: Any = None) -> bool:
    """Whether an event tells of the state that resumes."""
    named = (details or {}).get("stateEnteredEventDetails") or (details or {}).get("stateExitedEventDetails") or {}
    return kind.startswith("PassState") and named.get("name") == _RESUME


def _a_redrive_resumes_at_the_failed_state() -> None:
    """RedriveExecution goes on at the state that failed, with its input and the variables, by the same definition.

    AWS: so, also when the state machine has changed meanwhile; its time begins anew. A failed Parallel or Map runs its
    failed branches or items again. The same clientToken redrives once.
    MiniStack: does not know the action. (Here a Parallel or Map runs all its branches or items again.)
    """
    handle, execute_pass = stepfunctions.handle_request, stepfunctions._execute_pass
    describe = stepfunctions._describe_execution

    async def handle_with_redrive(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if headers.get("x-amz-target", "").endswith(".RedriveExecution"):
            return stepfunctions._finalize_response(_redrive(json.loads(body)))
        return await handle(method, path, headers, body, query)

    def pass_or_resume(state: Any, data: Any, context: Any = None) -> Any:
        if _RESUME in state:
            resumed = copy.deepcopy(state[_RESUME])
            context["variables"].update(resumed["variables"])
            return resumed["input"], state["Next"]
        return execute_pass(state, data, context)

    def describe_with_redrives(data: Any) -> Any:
        status, headers, body = describe(data)
        if status != 200:
            return status, headers, body
        execution = stepfunctions._executions.get(data["executionArn"])
        told = {"redriveCount": execution.get("redriveCount", 0), **_redrivable(execution)}
        if execution.get("redriveDate"):
            told["redriveDate"] = execution["redriveDate"]
        return json_response({**json.loads(body), **told})

    stepfunctions.handle_request = handle_with_redrive
    stepfunctions._execute_pass = pass_or_resume
    stepfunctions._describe_execution = describe_with_redrives


def _redrivable(execution: dict[str, Any]) -> dict[str, str]:
    """What DescribeExecution says of a redrive; the reason is AWS's own sentence."""
    if execution.get("mapRunArn"):
        return {"redriveStatus": "REDRIVABLE_BY_MAP_RUN"}
    if execution["status"] in _UNSUCCESSFUL:
        return {"redriveStatus": "REDRIVABLE"}
    reason = f"Execution is {execution['status']} and cannot be redriven"
    return {"redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": reason}


def _redrive(data: dict[str, Any]) -> Any:
    execution = stepfunctions._executions.get(data.get("executionArn"))
    if execution is None:
        return stepfunctions.error_response_json(
            "ExecutionDoesNotExist", f"Execution Does Not Exist: '{data.get('executionArn')}'", 400
        )
    token = data.get("clientToken")
    if token and token == execution.get("redriveToken"):
        return json_response({"redriveDate": execution["redriveDate"]})
    machine = machine_of(execution)
    refusal = _redrivable(execution)
    if machine is None or refusal["redriveStatus"] != "REDRIVABLE":
        reason = refusal.get("redriveStatusReason") or "The execution cannot be redriven"
        return stepfunctions.error_response_json("ExecutionNotRedrivable", reason, 400)
    resumed = _resumed(execution, machine)
    execution.update(
        status="RUNNING", stopDate=None, output=None, error=None, cause=None, redriveToken=token,
        redriveCount=execution.get("redriveCount", 0) + 1, redriveDate=now_iso(),
    )  # fmt: skip
    details = {"executionRedrivenEventDetails": {"redriveCount": execution["redriveCount"]}}
    stepfunctions._add_event(execution, "ExecutionRedriven", details)
    stepfunctions._emit_execution_status_event(execution)
    with as_started(Started(resumed)):
        scope = contextvars.copy_context()
    arguments = (stepfunctions._run_execution, execution["executionArn"])
    threading.Thread(target=scope.run, args=arguments, daemon=True).start()
    return json_response({"redriveDate": execution["redriveDate"]})


def _resumed(execution: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """The state machine with a first state that goes on where the execution was."""
    entered = [event for event in execution["events"] if event["type"].endswith("StateEntered")]
    definition = json.loads(machine["definition"])
    if not entered:  # it was stopped before its first state
        return machine
    last = entered[-1]["stateEnteredEventDetails"]
    put = {"input": json.loads(last["input"]), "variables": execution.get("variables", {})}
    definition["States"][_RESUME] = {"Type": "Pass", "Next": last["name"], _RESUME: put}
    return {**machine, "definition": json.dumps({**definition, "StartAt": _RESUME})}
