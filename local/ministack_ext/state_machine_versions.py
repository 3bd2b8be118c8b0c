"""Step Functions: an execution runs the version that it was started with, to its end, and tells which one that was."""

from __future__ import annotations

import contextlib
import contextvars
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import AccountRegionScopedDict, json_response
from ministack.services import eventbridge, stepfunctions
from ministack.services.cloudformation import provisioners

# What makes a revision of a state machine; a tag or a description does not.
_REVISED = ("definition", "roleArn", "loggingConfiguration", "encryptionConfiguration")


@dataclass(frozen=True)
class Started:
    """What an execution was started with: the state machine as it was then, and by which version and alias."""

    machine: dict[str, Any]
    version: str = ""
    alias: str = ""


_started: contextvars.ContextVar[Started | None] = contextvars.ContextVar("started", default=None)


class _Machines(AccountRegionScopedDict):  # type: ignore[misc]
    """MiniStack's state machines; a thread that runs an execution finds its own as it was when it started."""

    __slots__ = ()

    def get(self, key: Any, default: Any = None) -> Any:
        started = _started.get()
        return started.machine if started and started.machine["stateMachineArn"] == key else super().get(key, default)

    def __getitem__(self, key: Any) -> Any:
        started = _started.get()
        return started.machine if started and started.machine["stateMachineArn"] == key else super().__getitem__(key)


def install() -> None:
    """Apply this module's patches."""
    _an_execution_runs_what_it_was_started_with()
    _an_execution_tells_its_version()
    _executions_are_listed_by_version()
    _status_changes_tell_the_version()
    _a_revision_changes_with_the_machine()
    _a_revision_is_published_once()
    _versions_go_with_their_machine()


@contextlib.contextmanager
def as_started(started: Started | None) -> Iterator[None]:
    """Let what is called here, and the threads that it starts, find the state machine as it was then."""
    token = _started.set(started)
    try:
        yield
    finally:
        _started.reset(token)


def machine_of(execution: dict[str, Any]) -> dict[str, Any] | None:
    """The state machine as the execution was started with it; None for a child of a map."""
    return execution.get("startedWith")


def _an_execution_runs_what_it_was_started_with() -> None:
    """An execution that is started by a version runs its definition with its role; an alias draws one by its weights.

    AWS: so, for StartExecution, StartSyncExecution, nested executions and targets of EventBridge and Scheduler. What
    runs is not touched when the state machine changes. The execution's ARN is that of the unqualified state machine.
    MiniStack: runs the latest definition, takes an alias for its heaviest version, and refuses both in a
    synchronous start.
    """
    stepfunctions._state_machines.__class__ = _Machines
    run = stepfunctions._run_execution

    def by_version(start: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def start_version(data: Any) -> Any:
            arn, case_mark, case = data.get("stateMachineArn", "").partition("#")
            with as_started(None):
                started = _what_starts(arn)
            if started is None:
                return start(data)
            unqualified = started.machine["stateMachineArn"]
            with as_started(started):
                return start({**data, "stateMachineArn": f"{unqualified}{case_mark}{case}"})

        return start_version

    def run_as_started(execution_arn: str) -> None:
        _note_start(stepfunctions._executions.get(execution_arn))  # a synchronous one; see _status_changes_...
        run(execution_arn)

    stepfunctions._start_execution = by_version(stepfunctions._start_execution)
    stepfunctions._start_sync_execution = by_version(stepfunctions._start_sync_execution)
    stepfunctions._run_execution = run_as_started


def _what_starts(arn: str) -> Started | None:
    """What an execution of this state machine, version or alias runs; None if there is none."""
    alias = stepfunctions._state_machine_aliases.get(arn)
    version_arn = arn
    if alias:
        routes = alias["routingConfiguration"]
        drawn = random.choices(routes, [route["weight"] for route in routes])  # noqa: S311 - a share, not a secret
        version_arn = drawn[0]["stateMachineVersionArn"]
    version = stepfunctions._state_machine_versions.get(version_arn)
    machine = stepfunctions._state_machines.get(version["stateMachineArn"] if version else arn)
    if machine is None:
        return None
    if version is None:
        return Started(dict(machine))
    held = {key: version[key] for key in _REVISED if key in version}
    revision = version["stateMachineRevisionId"]
    return Started({**machine, **held, "revisionId": revision}, version_arn, arn if alias else "")


def _note_start(execution: Any) -> None:
    """Keep with a new execution what it was started with."""
    started = _started.get()
    if started is None or execution is None or "startedWith" in execution:
        return
    if execution["stateMachineArn"] == started.machine["stateMachineArn"]:
        execution.update(
            startedWith=started.machine, stateMachineVersionArn=started.version, stateMachineAliasArn=started.alias
        )
        details = execution["events"][0]["executionStartedEventDetails"]
        details.update(_told(execution, "stateMachineVersionArn", "stateMachineAliasArn"))


def _told(execution: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields of an execution that AWS leaves out when there is nothing to tell."""
    return {name: execution[name] for name in names if execution.get(name)}


def _an_execution_tells_its_version() -> None:
    """DescribeExecution and the history name version and alias; DescribeStateMachineForExecution shows what is run.

    AWS: so. MiniStack: does not name them, and shows the state machine as it is now.
    """
    describe = stepfunctions._describe_execution
    describe_machine = stepfunctions._describe_state_machine_for_execution

    def describe_with_version(data: Any) -> Any:
        status, headers, body = describe(data)
        execution = stepfunctions._executions.get(data.get("executionArn"))
        if status != 200:
            return status, headers, body
        return json_response({**json.loads(body), **_told(execution, "stateMachineVersionArn", "stateMachineAliasArn")})

    def describe_machine_as_started(data: Any) -> Any:
        execution = stepfunctions._executions.get(data.get("executionArn")) or {}
        machine = machine_of(execution)
        with as_started(Started(machine) if machine else None):
            status, headers, body = describe_machine(data)
        if status != 200 or machine is None:
            return status, headers, body
        return json_response({**json.loads(body), "revisionId": machine["revisionId"]})

    stepfunctions._describe_execution = describe_with_version
    stepfunctions._describe_state_machine_for_execution = describe_machine_as_started


def _executions_are_listed_by_version() -> None:
    """ListExecutions of a version or an alias lists its executions, and every entry names its version and alias.

    AWS: so. MiniStack: finds none, and names nothing.
    """
    list_executions = stepfunctions._list_executions

    def list_by_version(data: Any) -> Any:
        arn = data.get("stateMachineArn") or ""
        qualified = arn in stepfunctions._state_machine_versions or arn in stepfunctions._state_machine_aliases
        everything = {**data, "stateMachineArn": arn.rpartition(":")[0], "maxResults": len(stepfunctions._executions)}
        status, headers, body = list_executions(everything if qualified else data)
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        named = [_with_version(item) for item in answer["executions"]]
        if not qualified:
            return json_response({**answer, "executions": named})
        found = [e for e in named if arn in (e.get("stateMachineVersionArn"), e.get("stateMachineAliasArn"))]
        page = found[: int(data.get("maxResults") or 1000)]
        rest = {"nextToken": stepfunctions._encode_execution_token(page[-1])} if len(found) > len(page) else {}
        return json_response({"executions": page, **rest})

    stepfunctions._list_executions = list_by_version


def _with_version(item: dict[str, Any]) -> dict[str, Any]:
    execution = stepfunctions._executions.get(item["executionArn"]) or {}
    return {**item, **_told(execution, "stateMachineVersionArn", "stateMachineAliasArn", "redriveCount", "redriveDate")}


def _status_changes_tell_the_version() -> None:
    """The event of a status change names the unqualified state machine, and the version and alias beside it.

    AWS: so. MiniStack: leaves version and alias empty.
    """
    emit, put_events = stepfunctions._emit_execution_status_event, eventbridge._put_events

    def emit_with_version(execution: Any) -> None:
        _note_start(execution)  # the first that is heard of an execution, before its thread starts
        emit(execution)

    def put_with_version(data: Any, *args: Any, **more: Any) -> Any:
        entries = [_entry_with_version(entry) for entry in data.get("Entries") or []]
        return put_events({**data, "Entries": entries} if more.get("allow_aws_source") else data, *args, **more)

    stepfunctions._emit_execution_status_event = emit_with_version
    eventbridge._put_events = put_with_version


def _entry_with_version(entry: Any) -> Any:
    if entry.get("DetailType") != "Step Functions Execution Status Change":
        return entry
    detail = json.loads(entry["Detail"])
    execution = stepfunctions._executions.get(detail["executionArn"]) or {}
    known = _told(execution, "stateMachineVersionArn", "stateMachineAliasArn", "redriveCount")
    return {**entry, "Detail": json.dumps({**detail, **known})}


def _a_revision_changes_with_the_machine() -> None:
    """A state machine gets a new revision when its definition, role, logging or encryption changes.

    AWS: then only. MiniStack: at each update, also of a tag, so that a stack publishes a version that is the last one.
    """
    update = stepfunctions._update_state_machine

    def update_with_revision(data: Any) -> Any:
        machine = stepfunctions._state_machines.get(data.get("stateMachineArn"))
        before = dict(machine or {})
        answer = update(data)
        if machine and all(before.get(key) == machine.get(key) for key in _REVISED):
            machine["revisionId"] = before["revisionId"]
        return answer

    stepfunctions._update_state_machine = update_with_revision


def _a_revision_is_published_once() -> None:
    """PublishStateMachineVersion answers with the version that holds the current revision, if there is one.

    AWS: so; publishing twice makes one version. MiniStack: makes two.
    """
    publish = stepfunctions._publish_state_machine_version

    def publish_once(data: Any) -> Any:
        machine = stepfunctions._state_machines.get(data.get("stateMachineArn")) or {}
        if data.get("revisionId") in (None, "", machine.get("revisionId")):
            for arn, version in stepfunctions._state_machine_versions.items():
                same_machine = version["stateMachineArn"] == machine.get("stateMachineArn")
                if same_machine and version["stateMachineRevisionId"] == machine["revisionId"]:
                    return json_response({"stateMachineVersionArn": arn, "creationDate": version["creationDate"]})
        return publish(data)

    stepfunctions._publish_state_machine_version = publish_once


def _versions_go_with_their_machine() -> None:
    """A state machine that is deleted takes its versions and aliases along, also those that a stack retains.

    AWS: so. MiniStack: keeps them, and a state machine of the same name has them again.
    """
    delete = stepfunctions._delete_state_machine
    handler = provisioners._RESOURCE_HANDLERS["AWS::StepFunctions::StateMachine"]
    delete_in_stack = handler["delete"]

    def delete_with_versions(data: Any) -> Any:
        _forget_versions(data.get("stateMachineArn") or "")
        return delete(data)

    def delete_in_stack_with_versions(arn: str, properties: Any) -> None:
        _forget_versions(arn)
        delete_in_stack(arn, properties)

    stepfunctions._delete_state_machine = delete_with_versions
    handler["delete"] = delete_in_stack_with_versions


def _forget_versions(machine: str) -> None:
    for store in (stepfunctions._state_machine_versions, stepfunctions._state_machine_aliases):
        for arn in [arn for arn in store if arn.rpartition(":")[0] == machine]:
            store.pop(arn, None)
