"""The account's quotas against the parameters that count on them."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ops import definitions, pace
from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG

# Lambda keeps so many concurrent executions for functions that reserve none.
UNRESERVED = 100
# Functions that have the reserved concurrency of ApiReservedConcurrency.
RESERVING = 4
_LOCAL = "The local AWS has no quotas."
_UNREADABLE = "The quota cannot be read with these credentials (servicequotas:ListServiceQuotas)."


def rekognition(subject: Subject) -> Iterator[Line]:
    """DetectLabels calls a second, and Lambda's concurrency, against RekognitionCallsPerSecond."""
    name = "quota of Rekognition"
    if subject.is_local:
        yield not_checked(name, _LOCAL)
        return
    found = pace.pace_of(subject.deployment)
    if found.advice:
        yield not_ok(name, " ".join(found.advice))
    elif found.quota is None:
        yield not_checked(name, _UNREADABLE)
    else:
        yield ok(name, f"{found.quota:g} calls a second, and images take {found.calls_per_second:g}")


def concurrency(subject: Subject) -> Iterator[Line]:
    """Lambda's concurrent executions against what is reserved, and what the alarm waits for."""
    name, deployment = "concurrency of Lambda", subject.deployment
    account = None if subject.is_local else pace.concurrency_of(deployment)
    if account is None:
        yield not_checked(name, _LOCAL if subject.is_local else _UNREADABLE)
        return
    alarm, reserved = (
        int(deployment.parameter("ConcurrentExecutions")),
        int(deployment.parameter("ApiReservedConcurrency")),
    )
    fitting = max(0, (account - UNRESERVED) // RESERVING)
    if reserved > fitting:
        yield not_ok(
            name,
            f"ApiReservedConcurrency is {reserved} for each of {RESERVING} functions, and of {account} "
            f"Lambda keeps {UNRESERVED} unreserved: set it to {fitting}, or ask AWS for more.",
        )
    elif alarm >= account and deployment.parameter("Observability") == "true":
        yield not_ok(
            name,
            f"ConcurrentExecutions is {alarm}, and the account may have {account}: the alarm can never ring. Set it to "
            f"{account * 8 // 10}.",
        )
    else:
        yield ok(name, f"{account} in the account")


def step_functions(subject: Subject) -> Iterator[Line]:
    """How fast executions may be started and move on, against the pace of the images."""
    name = "quotas of Step Functions"
    if subject.is_local:
        yield not_checked(name, _LOCAL)
        return
    calls = float(subject.deployment.parameter("RekognitionCallsPerSecond"))
    transitions = definitions.transitions(definitions.UNCERTAIN) + len(definitions.states_of_a_wait())
    needs = {"StartExecution": calls, "StateTransition": calls * transitions}
    found = _refill_rates()
    low = [
        f"{kind} refills {found[kind]:g} a second, and RekognitionCallsPerSecond {calls:g} needs {need:g}"
        for kind, need in needs.items()
        if kind in found and found[kind] < need
    ]
    if low:
        yield not_ok(name, f"{'; '.join(low)}: ask AWS for more in Service Quotas, or lower the parameter.")
    elif not found:
        yield not_checked(name, _UNREADABLE)
    else:
        yield ok(name, ", ".join(f"{kind} {rate:g} a second" for kind, rate in sorted(found.items())))


def _refill_rates() -> dict[str, float]:
    """Tokens a second by what they are for; nothing when they cannot be read."""
    quotas = boto3.client("service-quotas", config=CLIENT_CONFIG)
    rates: dict[str, float] = {}
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):  # the account's own come last
        try:
            pages = list(quotas.get_paginator(operation).paginate(ServiceCode="states"))
        except (ClientError, BotoCoreError):  # it is no part of the application: the caller may lack the right
            continue
        for quota in (quota for page in pages for quota in page["Quotas"]):
            words = quota["QuotaName"].replace(" ", "").lower()
            for kind in ("StartExecution", "StateTransition"):
                if kind.lower() in words and "refill" in words and "express" not in words:
                    rates[kind] = float(quota["Value"])
    return rates
