"""CloudFormation: versions and aliases of state machines, and the gradual shift of an alias to a new version."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import stepfunctions
from ministack.services.cloudformation import provisioners, stacks

from local.ministack_ext.gradual_deployment import goes_back, shift, steps

_VERSION, _ALIAS = "AWS::StepFunctions::StateMachineVersion", "AWS::StepFunctions::StateMachineAlias"


def install() -> None:
    """Apply this module's patches."""
    _stacks_publish_versions()
    _stacks_shift_aliases()


def _stacks_publish_versions() -> None:
    """AWS::StepFunctions::StateMachineVersion publishes a version; any change publishes another one.

    AWS: so; what becomes of the old one is for UpdateReplacePolicy and DeletionPolicy to say, and a version that an
    alias names cannot be deleted. MiniStack: does not know the type, and refuses the whole template.
    """

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        request = {"stateMachineArn": properties["StateMachineArn"]}
        if "StateMachineRevisionId" in properties:
            request["revisionId"] = properties["StateMachineRevisionId"]
        if "Description" in properties:
            request["description"] = properties["Description"]
        arn = _answer(stepfunctions._publish_state_machine_version(request))["stateMachineVersionArn"]
        return arn, {"Arn": arn}

    def delete(arn: str, properties: dict[str, Any]) -> None:
        _answer(stepfunctions._delete_state_machine_version({"stateMachineVersionArn": arn}))

    provisioners._RESOURCE_HANDLERS[_VERSION] = {"create": create, "delete": delete}
    provisioners._REPLACING_PROPERTIES[_VERSION] = ("Description", "StateMachineArn", "StateMachineRevisionId")


def _stacks_shift_aliases() -> None:
    """AWS::StepFunctions::StateMachineAlias names versions; DeploymentPreference shifts it to a new one in steps.

    AWS: ALL_AT_ONCE, CANARY or LINEAR. Each step lasts Interval minutes; an alarm in ALARM brings the alias back to
    the old version, and the update of the stack fails and rolls back, at once and without steps.
    MiniStack: does not know the type, and refuses the whole template.
    """
    provisioners._RESOURCE_HANDLERS[_ALIAS] = {
        "create": _create_alias,
        "update": _update_alias,
        "delete": _delete_alias,
    }
    provisioners._REPLACING_PROPERTIES[_ALIAS] = ("Name",)
    blocks = stacks._runs_on_worker_thread
    stacks._runs_on_worker_thread = lambda kind: kind == _ALIAS or blocks(kind)


def _create_alias(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    request = {"name": properties["Name"], "routingConfiguration": _routes(properties)}
    if "Description" in properties:
        request["description"] = properties["Description"]
    arn = _answer(stepfunctions._create_state_machine_alias(request))["stateMachineAliasArn"]
    return arn, {"Arn": arn}


def _update_alias(arn: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
    def point(routes: list[dict[str, Any]]) -> None:
        request = {"stateMachineAliasArn": arn, "routingConfiguration": routes}
        _answer(stepfunctions._update_state_machine_alias({**request, "description": new.get("Description", "")}))

    alias = stepfunctions._state_machine_aliases.get(arn)
    preference = new.get("DeploymentPreference")
    if alias is None:
        raise ValueError(f"There is no alias {arn}")
    before = max(alias["routingConfiguration"], key=lambda route: route["weight"])["stateMachineVersionArn"]
    if not preference or preference["StateMachineVersionArn"] == before or goes_back(stack):
        point(_routes(new))
        return arn, {"Arn": arn}
    after = preference["StateMachineVersionArn"]

    def give(share: int) -> None:
        shares = {before: 100 - share, after: share}
        point([{"stateMachineVersionArn": version, "weight": weight} for version, weight in shares.items() if weight])

    shares = steps(preference["Type"], int(preference.get("Percentage", 100)))
    shift(give, shares, float(preference.get("Interval", 0)), preference.get("Alarms") or [], stack)
    return arn, {"Arn": arn}


def _delete_alias(arn: str, properties: dict[str, Any]) -> None:
    stepfunctions._delete_state_machine_alias({"stateMachineAliasArn": arn})


def _routes(properties: dict[str, Any]) -> list[dict[str, Any]]:
    """The routing that an alias ends with: it has a RoutingConfiguration or a DeploymentPreference."""
    if "DeploymentPreference" in properties:
        return [{"stateMachineVersionArn": properties["DeploymentPreference"]["StateMachineVersionArn"], "weight": 100}]
    return [
        {"stateMachineVersionArn": route["StateMachineVersionArn"], "weight": int(route["Weight"])}
        for route in properties["RoutingConfiguration"]
    ]


def _answer(response: Any) -> dict[str, Any]:
    """The body of a service's answer; an error of the service fails the resource."""
    status, _, body = response
    if status >= 400:
        raise ValueError(body.decode() if isinstance(body, bytes) else str(body))
    found: dict[str, Any] = json.loads(body or "{}")
    return found
