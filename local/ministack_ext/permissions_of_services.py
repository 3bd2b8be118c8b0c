"""Permissions of services: what Step Functions, EventBridge, Scheduler, API Gateway and Lambda do needs a right too.

AWS: each acts with the role that it was given, or its target's policy lets it in. MiniStack: each does as it likes.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from ministack.core.arn import execute_api_arn
from ministack.core.responses import get_account_id, get_region
from ministack.services import apigateway_v1, eventbridge, lambda_svc, sqs, stepfunctions

from local.ministack_ext.permissions import note, refusal_of_policy, refusal_of_role

_LAMBDA, _STATES, _EVENTS, _SCHEDULER, _GATEWAY = (
    f"{name}.amazonaws.com" for name in ("lambda", "states", "events", "scheduler", "apigateway")
)

_STREAM_ACTIONS = ("GetRecords", "GetShardIterator", "DescribeStream", "ListStreams")

# The role of the state machine whose execution this thread runs.
_machine_role: contextvars.ContextVar[str] = contextvars.ContextVar("machine_role", default="")


def install() -> None:
    """Apply this module's patches."""
    _a_state_machine_acts_with_its_role()
    _a_distributed_map_acts_with_its_role()
    _targets_are_reached_by_right()
    _the_api_invokes_by_right()
    _a_function_reads_and_sends_with_its_role()


def _a_state_machine_acts_with_its_role() -> None:
    """A task is denied what its state machine's role may not do.

    AWS: so; the error has the name of the integration's base exception. MiniStack: runs every task.
    """
    run = stepfunctions._run_execution

    def run_with_role(execution_arn: str) -> None:
        execution = stepfunctions._executions.get(execution_arn)
        machine = stepfunctions._state_machines.get(execution["stateMachineArn"]) if execution else None
        token = _machine_role.set((machine or {}).get("roleArn", ""))
        try:
            run(execution_arn)
        finally:
            _machine_role.reset(token)

    def checked(invoke: Callable[..., Any]) -> Callable[..., Any]:
        def invoke_by_right(resource: str, arguments: Any, *more: Any) -> Any:
            action, target, error = _right_of_task(resource, arguments)
            refusal = refusal_of_role(_machine_role.get(), _STATES, action, target) if _machine_role.get() else None
            if refusal:
                raise stepfunctions._ExecutionError(error, refusal)
            return invoke(resource, arguments, *more)

        return invoke_by_right

    stepfunctions._run_execution = run_with_role
    stepfunctions._invoke_resource = checked(stepfunctions._invoke_resource)
    stepfunctions._invoke_with_callback = checked(stepfunctions._invoke_with_callback)


def _right_of_task(resource: str, arguments: Any) -> tuple[str, str, str]:
    """The action that a task needs, on what, and the name of the error without it.

    An integration that is not named here needs its action on everything, so that it fails unless the role says `*`.
    """
    parts = resource.split(":")
    given = arguments if isinstance(arguments, dict) else {}
    if parts[2] == "lambda":
        return "lambda:InvokeFunction", resource, "Lambda.AWSLambdaException"
    service, operation = (parts[6:8] if parts[5] == "aws-sdk" else parts[5:7])[:2]
    operation = operation.partition(".")[0]
    if service == "lambda":
        function = _arn("lambda", "function:", given["FunctionName"])
        qualified = f"{function}:{given['Qualifier']}" if "Qualifier" in given else function
        return "lambda:InvokeFunction", qualified, "Lambda.AWSLambdaException"
    action = f"{service}:{operation[0].upper()}{operation[1:]}"
    if service == "dynamodb":
        return action, _arn("dynamodb", "table/", given["TableName"]), "DynamoDB.AmazonDynamoDBException"
    target = given.get("TopicArn") or given.get("StateMachineArn") or "*"
    if "QueueUrl" in given:
        target = _arn("sqs", "", given["QueueUrl"].rpartition("/")[2])
    return action, target, f"{service.capitalize()}.{service.capitalize()}Exception"


def _arn(service: str, kind: str, name: str) -> str:
    return name if name.startswith("arn:") else f"arn:aws:{service}:{get_region()}:{get_account_id()}:{kind}{name}"


def _a_distributed_map_acts_with_its_role() -> None:
    """A Distributed Map lists or reads its items, and starts, sees and ends its children, with its machine's role.

    AWS: so. MiniStack: asks nobody.
    """
    read, run = stepfunctions._read_map_items, stepfunctions._run_distributed_map

    def require(error: str, action: str, resource: str) -> None:
        refusal = refusal_of_role(_machine_role.get(), _STATES, action, resource) if _machine_role.get() else None
        if refusal:
            raise stepfunctions._ExecutionError(error, refusal)

    def read_by_right(reader: Any, effective: Any, context: Any) -> Any:
        given = stepfunctions._resolve_params_obj(
            reader.get("Parameters") or reader.get("Arguments") or {}, effective, context
        )
        bucket = f"arn:aws:s3:::{given['Bucket']}"
        listing = reader["Resource"].endswith("s3:listObjectsV2")
        right = ("s3:ListBucket", bucket) if listing else ("s3:GetObject", f"{bucket}/{given['Key']}")
        require("States.ItemReaderFailed", *right)
        return read(reader, effective, context)

    def run_by_right(state: Any, data: Any, effective: Any, iterator: Any, execution: Any, context: Any) -> Any:
        machine = execution["stateMachineArn"]
        children = machine.replace(":stateMachine:", ":execution:") + "/"
        require("States.Permissions", "states:StartExecution", machine)
        for action in ("states:DescribeExecution", "states:StopExecution"):
            require("States.Permissions", action, children)
        return run(state, data, effective, iterator, execution, context)

    stepfunctions._read_map_items, stepfunctions._run_distributed_map = read_by_right, run_by_right


def _targets_are_reached_by_right() -> None:
    """EventBridge and Scheduler reach a target with the role that is named beside it, or by the target's own policy.

    AWS: so. What may not be delivered goes to the target's dead-letter queue at once, if that may be sent to; so does
    what is for a state machine, version or alias that does not exist.
    MiniStack: delivers all, and has no such queues.
    """
    invoke = eventbridge._invoke_target

    def invoke_by_right(target: Any, event: Any, rule: Any, view: Any = None) -> None:
        service = _SCHEDULER if "Target" in rule else _EVENTS
        refusal = _refusal_of_target(target, service, rule["Arn"])
        if refusal is None:
            invoke(target, event, rule, view)
            return
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if queue and _refusal_of_target({**target, "Arn": queue}, service, rule["Arn"]) is None:
            invoke({"Arn": queue}, event, rule, view)

    eventbridge._invoke_target = invoke_by_right


def _refusal_of_target(target: Any, service: str, source: str) -> str | None:
    arn = target["Arn"]
    kind = arn.split(":")[2]
    if kind == "states" and stepfunctions._resolve_state_machine_arn(arn) is None:
        return f"State Machine Does Not Exist: '{arn}'"
    action = {"states": "states:StartExecution", "lambda": "lambda:InvokeFunction", "sqs": "sqs:SendMessage"}.get(kind)
    if action is None:
        return None  # a topic: MiniStack asks its policy; a bus, an API destination: not in this application
    # A rule's role is for its target alone; a schedule's also for its dead-letter queue.
    if target.get("RoleArn") and (service == _SCHEDULER or kind == "states"):
        return refusal_of_role(target["RoleArn"], service, action, arn)
    policy = _policy_of_function(arn) if kind == "lambda" else (sqs.queue_policy_for_arn(arn) or ("",))[0]
    refusal = refusal_of_policy(policy, service, action, arn, source)
    if refusal:
        note(refusal)
    return refusal


def _policy_of_function(arn: str) -> Any:
    found = lambda_svc.function_policy_for_arn(arn)
    return found[0] if found else {}


def _the_api_invokes_by_right() -> None:
    """A REST API invokes a function that has given it permission.

    AWS: without it the client gets 500, and the API's log says why. MiniStack: invokes any function.
    """
    invoke = apigateway_v1._invoke_lambda_proxy_v1

    async def invoke_by_right(
        integration: Any,
        api: str,
        stage: str,
        settings: Any,
        resource: Any,
        path: str,
        method: str,
        *more: Any,
        **rest: Any,
    ) -> Any:
        function = apigateway_v1._extract_lambda_ref_from_integration_uri(integration.get("uri", ""))
        source = execute_api_arn(get_region(), get_account_id(), api, stage, method, path)
        refusal = refusal_of_policy(_policy_of_function(function), _GATEWAY, "lambda:InvokeFunction", function, source)
        if refusal:
            note(refusal)
            return apigateway_v1._gw_error("API_CONFIGURATION_ERROR", "Internal server error")
        return await invoke(integration, api, stage, settings, resource, path, method, *more, **rest)

    apigateway_v1._invoke_lambda_proxy_v1 = invoke_by_right


def _a_function_reads_and_sends_with_its_role() -> None:
    """A mapping reads the table's stream with the function's role, and so is a failed event sent to its destination.

    AWS: so. MiniStack: asks nobody.
    """
    mappings, route = lambda_svc._iter_all_esms, lambda_svc._route_async_failure

    def mappings_by_right() -> Any:
        for account, region, mapping in mappings():
            refusal = _refusal_of_mapping(mapping)
            if refusal is None:
                yield account, region, mapping
            else:
                mapping["LastProcessingResult"] = f"PROBLEM: {refusal}"

    def route_by_right(target: str, function: str, event: Any, result: Any) -> None:
        action = {"sqs": "sqs:SendMessage", "sns": "sns:Publish"}.get(target.split(":")[2])
        role = (lambda_svc._functions.get(function) or {}).get("config", {}).get("Role")
        if not (action and role) or refusal_of_role(role, _LAMBDA, action, target) is None:
            route(target, function, event, result)

    lambda_svc._iter_all_esms, lambda_svc._route_async_failure = mappings_by_right, route_by_right


def _refusal_of_mapping(mapping: Any) -> str | None:
    """Why a mapping may not read its stream; None if it may, or reads something else."""
    source = mapping.get("EventSourceArn", "")
    _, _, service, _, account, *_ = f"{source}:::::".split(":")
    if service != "dynamodb" or not mapping.get("Enabled", True):
        return None
    found, _ = lambda_svc._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
    role = ((found or {}).get("config") or {}).get("Role", "")
    if account not in role:
        return None  # the function is gone, or another account's
    refusals = (refusal_of_role(role, _LAMBDA, f"dynamodb:{action}", source) for action in _STREAM_ACTIONS)
    return next(filter(None, refusals), None)
