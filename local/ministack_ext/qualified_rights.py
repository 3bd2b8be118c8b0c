"""Rights on versions and aliases: of a state machine by a condition on its own ARN, of a function by the full ARN."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from ministack.core import iam_actions

_QUALIFIER = "states:StateMachineQualifier"

# The fields of a request that may name a version or an alias of a state machine.
_NAMES = ("stateMachineArn", "stateMachineAliasArn", "stateMachineVersionArn", "resourceArn")


def install() -> None:
    """Apply this module's patches."""
    _a_state_machine_is_named_without_its_qualifier()
    _a_function_is_named_with_its_qualifier()


def without_qualifier(arn: str) -> tuple[str, dict[str, list[str]]]:
    """The ARN that a right is asked for when this is the resource, and the condition keys that come with it.

    For a version or an alias of a state machine that is the state machine and its qualifier; anything else is itself.
    A test case of the mocks (`#case`) belongs to neither.
    """
    parts = arn.partition("#")[0].split(":")
    if len(parts) < 7 or parts[2] != "states" or parts[5] != "stateMachine":
        return arn, {}
    return ":".join(parts[:7]), {_QUALIFIER: parts[7:8]} if len(parts) > 7 else {}


def _a_state_machine_is_named_without_its_qualifier() -> None:
    """What is done to a version or an alias of a state machine needs the right on the state machine.

    AWS: so, and a policy may set a condition on the key states:StateMachineQualifier, a list that holds the version's
    number or the alias's name, and is absent when the request names the state machine itself.
    MiniStack: asks for a right on the version or alias, does not know the key, and takes the name of a new alias for a
    state machine's.
    """
    resource_of, context_of = iam_actions.extract_resource_arn, iam_actions.request_tag_context

    def resource_without_qualifier(service: str, method: str, path: str, headers: Any, body: bytes, *more: Any) -> str:
        named = _named_state_machine(body) if service == "states" else ""
        found: str = without_qualifier(named)[0] or resource_of(service, method, path, headers, body, *more)
        return found

    def context_with_qualifier(service: str, action: str, body: bytes, parameters: Any) -> dict[str, Any]:
        qualifier = without_qualifier(_named_state_machine(body))[1] if service == "states" else {}
        return {**context_of(service, action, body, parameters), **qualifier}

    iam_actions.extract_resource_arn = resource_without_qualifier
    iam_actions.request_tag_context = context_with_qualifier


def _named_state_machine(body: bytes) -> str:
    """The state machine, version or alias that a request is about; empty if it is about none."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        return ""
    if not isinstance(request, dict):
        return ""
    routes = request.get("routingConfiguration")
    if "name" in request and isinstance(routes, list) and routes:  # CreateStateMachineAlias
        version = str(routes[0].get("stateMachineVersionArn", ""))
        return f"{version.rpartition(':')[0]}:{request['name']}"
    return next((str(request[name]) for name in _NAMES if request.get(name)), "")


def _a_function_is_named_with_its_qualifier() -> None:
    """What is done to a version or an alias of a function needs the right on that ARN.

    AWS: so: a right on `f` is for calls without a qualifier only, one on `f:*` for those with one.
    MiniStack: so when the qualifier stands in the path, but overlooks the parameter Qualifier.
    """
    resource_of = iam_actions.extract_resource_arn

    def resource_with_qualifier(
        service: str, method: str, path: str, headers: Any, body: bytes, query: Any, *more: Any
    ) -> str:
        found: str = resource_of(service, method, path, headers, body, query, *more)
        qualifier = query.get("Qualifier") if service == "lambda" else None
        name = qualifier[0] if isinstance(qualifier, list) and qualifier else qualifier
        if name and ":function:" in found and found.count(":") == 6:
            return f"{found}:{unquote(str(name))}"
        return found

    iam_actions.extract_resource_arn = resource_with_qualifier
