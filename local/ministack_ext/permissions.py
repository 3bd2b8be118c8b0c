"""Permissions: what `AUTH=true` leaves out, and one line in the log for every call that was denied.

With `AUTH=true` MiniStack judges a signed request as AWS does: IAM, signatures, resource policies, Block Public Access,
bucket CORS. What a service does with somebody's role, or by somebody's policy, it does not judge: that is here, and in
`permissions_of_services.py`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import iam

from local.ministack_ext.qualified_rights import without_qualifier

logger = logging.getLogger(__name__)

# `local/denials.py` looks for it in the log.
MARK = "Denied by the local AWS: "

# A mapping asks every second or so: the same refusal is written once in this time, in seconds.
_REPEATED_SECONDS = 10.0
_noted: dict[str, float] = {}


def install() -> None:
    """Apply this module's patches."""
    _loopback_counts_as_tls()
    _a_star_stands_for_every_character()
    _a_version_is_deleted_by_its_own_right()
    _a_batch_of_messages_needs_the_right_of_one()
    _denials_are_logged()


def _loopback_counts_as_tls() -> None:
    """A request from this very machine counts as one over TLS.

    AWS: has TLS, which our bucket policy demands. MiniStack: takes plain HTTP here, and then refuses every request to
    such a bucket. Nobody can listen in between.
    """
    from ministack import app  # late: it reads the environment when it is imported

    pin = app.pin_request_origin
    app.pin_request_origin = lambda address, _secure: pin(address, True)


def _a_star_stands_for_every_character() -> None:
    """A `*` of a policy also stands for the line break in a key.

    AWS: so. MiniStack: denies what is done to an object whose key has one.
    """
    compile_pattern = iam_evaluator._fnmatch_compile

    def compile_for_every_character(pattern: str, ignore_case: bool) -> re.Pattern[str]:
        line = compile_pattern(pattern, ignore_case)
        return re.compile(line.pattern, line.flags | re.DOTALL)

    iam_evaluator._fnmatch_compile = compile_for_every_character


def _a_version_is_deleted_by_its_own_right() -> None:
    """DeleteObjects needs s3:DeleteObjectVersion for each entry that names a version.

    AWS: so. MiniStack: so, but asks for s3:DeleteObject on the first entry.
    """
    action_of = iam_actions.extract_iam_action

    def action_of_first_entry(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        action = action_of(service, method, path, headers, body, query)
        if action == "s3:DeleteObject" and method == "POST":
            entries = iam_actions._s3_batch_delete_targets("", body)
            if entries and entries[0][1]:
                return "s3:DeleteObjectVersion"
        return action

    iam_actions.extract_iam_action = action_of_first_entry


def _a_batch_of_messages_needs_the_right_of_one() -> None:
    """SendMessageBatch, DeleteMessageBatch and ChangeMessageVisibilityBatch need the right without `Batch`.

    AWS: so. MiniStack: asks for a right of the batch's name, which AWS does not know.
    """
    action_of = iam_actions.extract_iam_action

    def action_of_one(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        action = action_of(service, method, path, headers, body, query)
        return action.removesuffix("Batch") if action and service == "sqs" else action

    iam_actions.extract_iam_action = action_of_one


def _denials_are_logged() -> None:
    """A denied call leaves a line that says who may not do what to what.

    AWS: CloudTrail has it. MiniStack: answers the caller, who may keep it to himself.
    """
    enforce = iam_evaluator.enforce

    def enforce_and_log(key: str, action: str, service: str, region: str, resource_arn: str = "*", **more: Any) -> Any:
        denied = enforce(key, action, service, region, resource_arn=resource_arn, **more)
        if isinstance(denied, iam_evaluator.EvalResult):
            note(_sentence(denied.principal_arn, action, resource_arn))
        return denied

    iam_evaluator.enforce = enforce_and_log


def note(refusal: str) -> None:
    """Write a refusal to the log; a repeated one not each time."""
    now = time.monotonic()
    if now - _noted.get(refusal, -_REPEATED_SECONDS) >= _REPEATED_SECONDS:
        _noted[refusal] = now
        logger.warning("%s%s", MARK, refusal)


def refusal_of_role(role: str, service: str, action: str, resource: str) -> str | None:
    """Why a service (its principal, such as `states.amazonaws.com`) may not do this with a role; None if it may.

    AWS's own sentence, which is also written to the log.
    """
    account, name = role.split(":")[4], role.rsplit("/", 1)[-1]
    session = f"arn:aws:sts::{account}:assumed-role/{name}/{service.partition('.')[0]}"
    known = iam._roles.get_scoped(account, None, name)
    if known is None or refusal_of_policy(known["AssumeRolePolicyDocument"], service, "sts:AssumeRole", role):
        refusal = f"{service} may not assume {role}: its trust policy does not say so, or there is no such role"
    else:
        resource, keys = without_qualifier(resource)
        context = _context(session, "AssumedRole", account, action, resource, keys)
        limits = iam_evaluator._permissions_boundary(iam._roles, name, account)
        result = iam_evaluator.evaluate(context, iam_evaluator._gather_role_policies(name, account), *limits)
        policy = iam_evaluator._resource_policy(action.partition(":")[0], resource)
        if policy is not None:
            result = iam_evaluator.combine_resource_policy(result, context, *policy, limits=limits)
        if result.decision == "Allow":
            return None
        refusal = _sentence(session, action, resource)
    note(refusal)
    return refusal


def refusal_of_policy(policy: Any, service: str, action: str, resource: str, source: str = "") -> str | None:
    """Why a resource's own policy does not let a service do this for the resource `source`; None if it does."""
    account = get_account_id()
    context = _context("*", "Service", "", action, resource, {"aws:sourceaccount": account, "aws:sourcearn": source})
    if policy and iam_evaluator.evaluate_resource_policy(policy, context, service=service).decision == "Allow":
        return None
    return f"{service} is not authorized to perform: {action} on resource: {resource} for {source or account}"


def refusals_of_key(access_key: str, token: str, rights: list[list[str]]) -> list[str | None]:
    """Why whoever has these credentials may not do each of these: `[action, resource]`; None if they may.

    A service that works with its caller's rights asks so. The signature is not looked at, the session token is.
    """
    credential = iam_evaluator.resolve_credential(access_key, get_account_id(), token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        return [f"{credential.code}: {credential.message}"] * len(rights)
    caller = iam_evaluator.resolve_principal(access_key, get_account_id(), credential)
    return list(_refusals_of_caller(caller, rights))


def _refusals_of_caller(caller: Any, rights: list[list[str]]) -> Iterator[str | None]:
    for action, resource in rights:
        if caller.policies is None:  # the account's root
            yield None
            continue
        resource, keys = without_qualifier(resource)
        context = _context(caller.arn, caller.type, caller.account, action, resource, keys)
        result = iam_evaluator.evaluate(context, caller.policies, *caller.limits)
        policy = iam_evaluator._resource_policy(action.partition(":")[0], resource)
        if policy is not None:
            result = iam_evaluator.combine_resource_policy(result, context, *policy, limits=caller.limits)
        refusal = None if result.decision == "Allow" else _sentence(caller.arn, action, resource)
        if refusal:
            note(refusal)
        yield refusal


def _context(
    principal: str, kind: str, account: str, action: str, resource: str, more: dict[str, Any] | None = None
) -> Any:
    keys = {name.lower(): value for name, value in (more or {}).items()}
    return iam_evaluator.EvalContext(
        principal, kind, account, action, resource, get_region(), secure_transport=True, service_context=keys
    )


def _sentence(principal: str, action: str, resource: str) -> str:
    return f"User: {principal} is not authorized to perform: {action} on resource: {resource}"
