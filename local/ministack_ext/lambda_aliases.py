"""Lambda: an alias splits its calls by weight, has settings and metrics of its own, and calls what it points to."""

from __future__ import annotations

import contextlib
import contextvars
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from ministack.services import cloudwatch, lambda_svc
from ministack.services.cloudformation import provisioners

# Whether this thread describes a function: it is told the alias's main version, not one that a call would get.
_describing: contextvars.ContextVar[bool] = contextvars.ContextVar("describing", default=False)

# Whether this is a call of Invoke, for which a version is drawn.
_invoking: contextvars.ContextVar[bool] = contextvars.ContextVar("invoking", default=False)


class _Alias(dict[str, Any]):
    """An alias; MiniStack's Invoke asks it for its FunctionVersion, and is given one that is drawn by the weights."""

    def get(self, key: Any, default: Any = None) -> Any:
        if key == "FunctionVersion" and _invoking.get():
            return drawn_version(self)
        return super().get(key, default)


def install() -> None:
    """Apply this module's patches."""
    _an_alias_splits_its_calls()
    _an_alias_is_described_by_its_main_version()
    _an_alias_has_its_own_settings_for_events()
    _a_stack_keeps_a_version_that_an_alias_names()
    _versions_share_the_reserved_concurrency()
    _calls_are_counted_by_alias_and_version()


def drawn_version(alias: dict[str, Any]) -> str:
    """The version that a call of the alias gets: each additional one in its share of the calls."""
    place = random.random()  # noqa: S311 - a share, not a secret
    for version, weight in ((alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}).items():
        place -= float(weight)
        if place < 0:
            return str(version)
    return str(alias["FunctionVersion"])


def _an_alias_splits_its_calls() -> None:
    """A call of an alias runs one of its two versions, by the weights of its RoutingConfig; so does every event source.

    AWS: so; the function is told the alias's ARN. MiniStack: always runs the main version, and all but Invoke tell
    the function the version's ARN.
    """
    invoke, record_of = lambda_svc._invoke, lambda_svc._effective_func_record_for_qualifier

    async def invoke_by_weight(name: str, event: Any, headers: Any, qualifier: Any = None, query: Any = None) -> Any:
        aliases = (lambda_svc._functions.get(name) or {}).get("aliases") or {}
        for found, alias in list(aliases.items()):
            if not isinstance(alias, _Alias):
                aliases[found] = _Alias(alias)
        with _set(_invoking):
            return await invoke(name, event, headers, qualifier, query)

    def record_by_weight(function: Any, qualifier: Any) -> tuple[Any, Any]:
        alias = ((function or {}).get("aliases") or {}).get(qualifier)
        if alias is None:
            found: tuple[Any, Any] = record_of(function, qualifier)
            return found
        version = alias["FunctionVersion"] if _describing.get() else drawn_version(alias)
        record, config = record_of(function, version)
        if record is None:
            return None, None
        named = {**config, "FunctionArn": f"{function['config']['FunctionArn']}:{qualifier}"}
        return {**record, "config": named}, named

    lambda_svc._invoke = invoke_by_weight
    lambda_svc._effective_func_record_for_qualifier = record_by_weight


def _an_alias_is_described_by_its_main_version() -> None:
    """GetFunction and GetFunctionConfiguration of an alias show its main version, whatever its weights."""

    def described(describe: Callable[..., Any]) -> Callable[..., Any]:
        def describe_main(*arguments: Any, **more: Any) -> Any:
            with _set(_describing):
                return describe(*arguments, **more)

        return describe_main

    lambda_svc._get_function = described(lambda_svc._get_function)
    lambda_svc._get_function_config = described(lambda_svc._get_function_config)


@contextlib.contextmanager
def _set(flag: contextvars.ContextVar[bool]) -> Iterator[None]:
    token = flag.set(True)
    try:
        yield
    finally:
        flag.reset(token)


def _an_alias_has_its_own_settings_for_events() -> None:
    """An asynchronous call has the retries and destinations of the version or alias that it names, and no others.

    AWS: so. MiniStack: always those of the unqualified function, which a version does not have, so that a failed event
    of an alias is lost.
    """
    invoke = lambda_svc.invoke_async_with_retry

    def invoke_with_own_settings(function: dict[str, Any], event: Any) -> None:
        config = function.get("config") or function
        qualifier = _qualifier(config)
        known = lambda_svc._functions.get(config.get("FunctionName")) or {}
        settings = lambda_svc._event_invoke_config(known, qualifier)
        if not qualifier:  # a stack names the unqualified function $LATEST
            settings = settings or lambda_svc._event_invoke_config(known, "$LATEST")
        invoke({**function, "config": config, "event_invoke_config": settings, "event_invoke_configs": {}}, event)

    lambda_svc.invoke_async_with_retry = invoke_with_own_settings


def _qualifier(config: dict[str, Any]) -> str:
    """The version or alias by which a function is called; empty without one."""
    parts = str(config.get("FunctionArn", "")).split(":")
    return parts[7] if len(parts) > 7 else ""


def _a_stack_keeps_a_version_that_an_alias_names() -> None:
    """A stack cannot delete a version that gets calls of an alias: the version's deletion fails.

    AWS: so, as for DeleteFunction. MiniStack: refuses DeleteFunction only, and the alias then calls nothing.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Version"]
    delete = handler["delete"]

    def delete_unless_named(arn: str, properties: dict[str, Any]) -> None:
        name, _, version = arn.partition(":function:")[2].partition(":")
        for alias in ((lambda_svc._functions.get(name) or {}).get("aliases") or {}).values():
            shares = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
            if version == alias["FunctionVersion"] or version in shares:
                raise ValueError(f"Version {version} of {name} cannot be deleted: the alias {alias['Name']} names it")
        delete(arn, properties)

    handler["delete"] = delete_unless_named


def _versions_share_the_reserved_concurrency() -> None:
    """The reserved concurrency of a function is for all of its versions and aliases together.

    AWS: so. MiniStack: counts them together, but limits only calls without a qualifier.
    """
    reserved = lambda_svc._reserved_concurrency

    def reserved_for_all(function: Any, config: dict[str, Any]) -> Any:
        known = lambda_svc._functions.get(config.get("FunctionName")) or function
        return reserved(known, config)

    lambda_svc._reserved_concurrency = reserved_for_all


def _calls_are_counted_by_alias_and_version() -> None:
    """Every call counts in AWS/Lambda by version and alias too; `cloudwatch.py` counts it under FunctionName alone.

    AWS: under FunctionName and Resource (`name`, `name:alias` or `name:3`), as it was called; under those and
    ExecutedVersion, when it was called by an alias; and under no dimension. A throttled call is no invocation.
    MiniStack: has none of these.
    """
    execute = lambda_svc._execute_function

    def execute_and_count(function: Any, event: Any) -> Any:
        config = function.get("config") or function
        if lambda_svc._function_config_scope_mismatch(config):
            return execute(function, event)  # comes back here, in the function's own account and region
        began = time.monotonic()
        result = execute(function, event)
        data = _data(result, (time.monotonic() - began) * 1000)
        for dimensions in _dimensions(config):
            for metric, value, unit in data:
                cloudwatch.record_metric("AWS/Lambda", metric, value, unit, dimensions)
        return result

    lambda_svc._execute_function = execute_and_count


def _data(result: dict[str, Any], milliseconds: float) -> list[tuple[str, float, str]]:
    """The data points of a call."""
    if result.get("throttle"):
        return [("Throttles", 1, "Count")]
    errors = 1 if result.get("error") else 0
    return [
        ("Invocations", 1, "Count"),
        ("Errors", errors, "Count"),
        ("Throttles", 0, "Count"),
        ("Duration", milliseconds, "Milliseconds"),
    ]


def _dimensions(config: dict[str, Any]) -> list[dict[str, str]]:
    """The sets of dimensions under which a call counts."""
    name, qualifier = config.get("FunctionName", "unknown"), _qualifier(config)
    resource = {"FunctionName": name, "Resource": f"{name}:{qualifier}" if qualifier else name}
    by_alias = bool(qualifier) and not qualifier.isdigit() and qualifier != "$LATEST"
    executed = [{**resource, "ExecutedVersion": str(config.get("Version"))}] if by_alias else []
    return [{}, resource, *executed]
