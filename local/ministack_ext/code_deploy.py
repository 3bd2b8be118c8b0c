"""CodeDeploy: a stack's new version of a function gets an alias's calls step by step (SAM's DeploymentPreference)."""

from __future__ import annotations

import contextvars
import copy
import json
import re
from typing import Any

from ministack.core import iam_actions, router
from ministack.core.responses import AccountRegionScopedDict, new_uuid
from ministack.services import cloudformation, lambda_svc
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

from local.ministack_ext.gradual_deployment import DeploymentError, goes_back, shift, steps
from local.ministack_ext.permissions import refusal_of_role

_APPLICATION, _GROUP, _ALIAS = (
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Lambda::Alias",
)

_PREDEFINED = re.compile(r"CodeDeployDefault\.Lambda(?:AllAtOnce|(Canary|Linear)(\d+)Percent(?:Every)?(\d+)Minutes?)")

# The deployment groups by name, with the properties of their resource.
_groups = AccountRegionScopedDict()

# What a hook has answered, by the id of its execution.
_answers: dict[str, str] = {}

# The stack that this task deploys: its name, its template and its parameters.
_deploying: contextvars.ContextVar[tuple[str, dict[str, Any], dict[str, Any]] | None] = contextvars.ContextVar(
    "deploying", default=None
)


def install() -> None:
    """Apply this module's patches."""
    _stacks_have_deployment_groups()
    _an_update_policy_needs_what_it_names()
    _a_stack_knows_its_template_while_it_deploys()
    _an_alias_with_an_update_policy_shifts()
    _hooks_answer()


def _stacks_have_deployment_groups() -> None:
    """AWS::CodeDeploy::Application and DeploymentGroup; Ref gives their names.

    AWS: has both. MiniStack: does not know the types, and refuses the whole template.
    """

    def create_application(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        return properties.get("ApplicationName") or f"{stack}-{logical_id}-{new_uuid()[:12]}", {}

    def create_group(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        name = properties.get("DeploymentGroupName") or f"{stack}-{logical_id}-{new_uuid()[:12]}"
        _groups[name] = properties
        return name, {}

    def update_group(name: str, old: Any, new: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        _groups[name] = new
        return name, {}

    provisioners._RESOURCE_HANDLERS[_APPLICATION] = {
        "create": create_application,
        "update": lambda name, old, new, stack: (name, {}),
        "delete": lambda name, properties: None,
    }
    provisioners._RESOURCE_HANDLERS[_GROUP] = {
        "create": create_group,
        "update": update_group,
        "delete": lambda name, properties: _groups.pop(name, None),
    }
    provisioners._REPLACING_PROPERTIES[_APPLICATION] = ("ApplicationName", "ComputePlatform")
    provisioners._REPLACING_PROPERTIES[_GROUP] = ("ApplicationName", "DeploymentGroupName")


def _an_update_policy_needs_what_it_names() -> None:
    """A resource is made after what its UpdatePolicy refers to.

    AWS: so. MiniStack: does not read UpdatePolicy.
    """
    needs = engine._extract_deps

    def needs_with_policy(resource: dict[str, Any], names: Any) -> Any:
        return needs(resource, names) | needs({"Properties": resource.get("UpdatePolicy", {})}, names)

    engine._extract_deps = needs_with_policy


def _a_stack_knows_its_template_while_it_deploys() -> None:
    """The template that is being deployed is at hand for the resource that needs more of it than its properties."""
    deploy = stacks._deploy_stack_async

    async def deploy_knowingly(
        stack: str, identifier: str, template: Any, parameters: Any, *rest: Any, **more: Any
    ) -> Any:
        token = _deploying.set((stack, template, parameters))
        try:
            return await deploy(stack, identifier, template, parameters, *rest, **more)
        finally:
            _deploying.reset(token)

    for module in (stacks, handlers, changesets):
        module._deploy_stack_async = deploy_knowingly


def _an_alias_with_an_update_policy_shifts() -> None:
    """CodeDeployLambdaAliasUpdate shifts an alias to its new version as its deployment group says.

    AWS: CodeDeploy runs the hook before, gives the new version its share step by step, watches the group's alarms, and
    runs the hook after. What fails brings the calls back to the old version, and the update of the stack rolls back. It
    acts with the group's role. A new alias is not shifted. An alias that is not where the last deployment left it, or
    that has two versions, fails the deployment.
    MiniStack: does not read the policy, and points the alias to the new version at once.
    (Here a hook must have answered when its function ends; AWS waits an hour. An update that rolls back goes back at
    once.)
    """
    handler = provisioners._RESOURCE_HANDLERS[_ALIAS]
    update = handler["update"]

    def update_or_shift(arn: str, old: dict[str, Any], new: dict[str, Any], stack: str, logical_id: str) -> Any:
        policy = _policy(stack, logical_id)
        if policy and old.get("FunctionVersion") != new.get("FunctionVersion") and not goes_back(stack):
            _deploy(arn, str(old["FunctionVersion"]), str(new["FunctionVersion"]), policy, stack)
        return update(arn, old, new, stack, logical_id)

    handler["update"] = update_or_shift
    blocks = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda kind: kind == _ALIAS or blocks(kind)


def _policy(stack: str, logical_id: str) -> dict[str, Any] | None:
    """The CodeDeployLambdaAliasUpdate of a resource in the stack that is being deployed."""
    deploying = _deploying.get()
    if deploying is None or deploying[0] != stack:
        return None
    _, template, parameters = deploying
    resource = template["Resources"].get(logical_id) or {}
    policy = (resource.get("UpdatePolicy") or {}).get("CodeDeployLambdaAliasUpdate")
    if not policy:
        return None
    record = cloudformation._stacks[stack]
    conditions = engine._evaluate_conditions(template, parameters)
    resolved: dict[str, Any] = engine._resolve_refs(
        copy.deepcopy(policy), record["_resources"], parameters, conditions, template.get("Mappings", {}), stack,
        record["StackId"],
    )  # fmt: skip
    return resolved


def _deploy(arn: str, old: str, new: str, policy: dict[str, Any], stack: str) -> None:
    """Shift an alias from one version to another; DeploymentError if it stays where it was."""
    group = _groups.get(policy["DeploymentGroupName"])
    if group is None:
        raise DeploymentError(f"There is no deployment group {policy['DeploymentGroupName']}")
    deployment = f"d-{new_uuid()[:9].upper()}"
    function, alias = arn.rsplit(":", 1)
    found = (lambda_svc._functions.get(function.rpartition(":")[2]) or {}).get("aliases", {}).get(alias) or {}
    if found.get("FunctionVersion") != old or found.get("RoutingConfig"):
        raise DeploymentError(f"Deployment {deployment} failed: alias {alias} does not point to version {old} alone")
    watched = group.get("AlarmConfiguration") or {}
    alarms = [entry["Name"] for entry in watched.get("Alarms") or []]
    alarms = alarms if str(watched.get("Enabled", bool(alarms))).lower() == "true" else []
    for action, resource in (
        ("lambda:GetAlias", function),
        ("lambda:UpdateAlias", function),
        *([("cloudwatch:DescribeAlarms", "*")] if alarms else []),
    ):
        _require(group, action, resource)

    def give(share: int) -> None:
        weights = {} if share in (0, 100) else {new: share / 100}
        request = {
            "FunctionVersion": new if share == 100 else old,
            "RoutingConfig": {"AdditionalVersionWeights": weights},
        }
        status, _, body = lambda_svc._update_alias(function.rpartition(":")[2], alias, request)
        if status >= 400:
            raise DeploymentError(f"Deployment {deployment} failed: {body!r}")

    _run_hook(policy.get("BeforeAllowTrafficHook"), group, deployment)
    shares, interval = _plan(str(group.get("DeploymentConfigName", "CodeDeployDefault.LambdaAllAtOnce")))
    shift(give, shares, interval, alarms, stack)
    try:
        _run_hook(policy.get("AfterAllowTrafficHook"), group, deployment)
    except DeploymentError:
        give(0)
        raise


def _plan(configuration: str) -> tuple[list[int], float]:
    """The shares of a predefined deployment configuration, and the minutes between them."""
    found = _PREDEFINED.fullmatch(configuration)
    if found is None:
        raise DeploymentError(f"The local AWS does not know the deployment configuration {configuration}")
    if found[1] is None:
        return steps("ALL_AT_ONCE", 100), 0
    return steps(found[1].upper(), int(found[2])), float(found[3])


def _require(group: dict[str, Any], action: str, resource: str) -> None:
    refusal = refusal_of_role(group["ServiceRoleArn"], "codedeploy.amazonaws.com", action, resource)
    if refusal:
        raise DeploymentError(refusal)


def _run_hook(function: str | None, group: dict[str, Any], deployment: str) -> None:
    """Call a hook, which must report `Succeeded` by PutLifecycleEventHookExecutionStatus."""
    if not function:
        return
    record, config, name = lambda_svc._get_func_record_for_ref(function)
    if record is None:
        raise DeploymentError(f"Deployment {deployment} failed: there is no function {name}")
    _require(group, "lambda:InvokeFunction", config["FunctionArn"])
    execution = new_uuid()
    _answers[execution] = "no answer"
    event = {"DeploymentId": deployment, "LifecycleEventHookExecutionId": execution}
    lambda_svc._execute_function_with_config_scope(lambda_svc._execution_record_for_config(record, config), event)
    answer = _answers.pop(execution)
    if answer != "Succeeded":
        raise DeploymentError(f"Deployment {deployment} failed: the hook {name} reported: {answer}")


def _hooks_answer() -> None:
    """PutLifecycleEventHookExecutionStatus takes what a hook reports.

    AWS: a service of its own, of which a hook needs this operation. MiniStack: does not know the service.
    """
    from ministack import app  # late: it reads the environment when it is imported

    async def serve(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Any:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        kind = {"Content-Type": "application/x-amz-json-1.1"}
        request = json.loads(body or b"{}")
        execution = request.get("lifecycleEventHookExecutionId")
        if operation != "PutLifecycleEventHookExecutionStatus":
            sentence = f"The local AWS has no {operation} of CodeDeploy"
            return 400, kind, json.dumps({"__type": "UnsupportedOperation", "message": sentence}).encode()
        if execution not in _answers:
            refusal = {"__type": "InvalidLifecycleEventHookExecutionIdException", "message": str(execution)}
            return 400, kind, json.dumps(refusal).encode()
        _answers[execution] = request["status"]
        return 200, kind, json.dumps({"lifecycleEventHookExecutionId": execution}).encode()

    app.SERVICE_HANDLERS["codedeploy"] = serve
    router.SERVICE_PATTERNS["codedeploy"] = {
        "host_patterns": [r"codedeploy\."],
        "target_prefixes": ["CodeDeploy_20141006"],
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE["codedeploy"] = "codedeploy"
