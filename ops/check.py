"""Asks a deployment whether it works: every check in its order, each as lines (`check_lines.Line`).

What goes wrong within a check ends that check, as a line: a refusal of AWS to let the caller look is `not checked`,
everything else `not ok`. So one thing that is broken hides no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import boto3
from botocore.exceptions import ClientError

from ops import (
    check_alarms,
    check_api,
    check_drift,
    check_people,
    check_pictures,
    check_quotas,
    check_rights,
    check_settings,
    check_unknowns,
)
from ops.check_lines import Line, Subject, Verdict, not_checked, not_ok
from ops.environment import CLIENT_CONFIG
from ops.errors import KNOWN, sentence
from pet_detector.aws.errors import DENIALS, code_of

DRIFT_SECONDS = 300.0
Check = Callable[[Subject], Iterable[Line]]

# By what they are about, which `--only` chooses.
_BEFORE: dict[str, dict[str, Check]] = {
    "settings": {
        "stack": check_settings.stack,
        "definitions": check_settings.definitions,
        "alias live": check_settings.alias,
        "aliases of functions": check_settings.function_aliases,
        "rules": check_settings.rules,
        "schedules": check_settings.schedules,
        "streams": check_settings.mappings,
        "bucket": check_settings.bucket,
        "age of the bucket": check_settings.age_of_bucket,
        "detection policy": check_settings.policy,
        "logs": check_settings.log_groups,
        "log role of API Gateway": check_settings.gateway_role,
        "user pool": check_people.pool,
    },
    "rights": {"rights": check_rights.rights},
    "alarms": {
        "alarms": check_alarms.alarms,
        "subscribers": check_alarms.subscriptions,
        "metrics of Step Functions": check_unknowns.metrics,
        "metrics of executions": check_unknowns.executions,
        "alarms of shifts": check_unknowns.shifts,
    },
    "quotas": {
        "quota of Rekognition": check_quotas.rekognition,
        "concurrency of Lambda": check_quotas.concurrency,
        "quotas of Step Functions": check_quotas.step_functions,
    },
    "api": {
        "API key": check_settings.api_key,
        "GET /health": check_api.health,
        "way around the edge": check_api.way_around,
        "wrong key, no key": check_api.refusals,
        "preflights": check_api.preflights,
        "page": check_people.page,
    },
}
SUBJECTS = (*_BEFORE, "pictures", "drift")


@dataclass(frozen=True)
class Found:
    """All lines of a check, in order. `is_strict`: what was not checked needs attention too."""

    lines: list[Line]
    is_strict: bool = False

    def number(self, verdict: Verdict) -> int:
        """How many lines came to this."""
        return sum(line.verdict is verdict for line in self.lines)

    @property
    def needs_attention(self) -> bool:
        """Whether anything is not as it should be, or was asked for and not seen (but for what chance shows)."""
        unseen = any(line.verdict is Verdict.NOT_CHECKED and not line.by_chance for line in self.lines)
        return self.number(Verdict.NOT_OK) > 0 or (self.is_strict and unseen)


def run(subject: Subject, seconds: float, begin: Callable[[str], None], only: Collection[str] = SUBJECTS) -> Found:
    """Ask everything, or what is about `only` these SUBJECTS. `begin` is told what comes next.

    Pictures are followed for at most so many seconds. Who asks for a part wants to know it: the answer is strict.
    """
    lines: list[Line] = []
    is_part = set(only) != set(SUBJECTS)

    def ask(name: str, check: Check) -> None:
        begin(name)
        lines.extend(guarded(name, check, subject))

    for about, checks in _BEFORE.items():
        for name, check in checks.items():
            # The pictures need a key, and a rule that starts them.
            if about in only or ("pictures" in only and name in ("rules", "API key")):
                ask(name, check)
    key = _value_of_key(subject, lines)
    is_deaf = any(line.name == "rule ImageUploadedRule" and line.verdict is Verdict.NOT_OK for line in lines)
    if "api" in only:
        ask("wrong body", lambda subject: check_api.wrong_bodies(subject, key))
    if "pictures" in only:
        is_new = check_settings.is_new(subject)
        ask("pictures", lambda it: check_pictures.check(it, key, seconds=seconds, is_deaf=is_deaf, is_new=is_new))
    if "drift" in only:
        ask("drift", lambda subject: check_drift.drift(subject, DRIFT_SECONDS))
    if not is_part:
        ask("the rest", check_unknowns.unknowable)
    return Found(lines, is_strict=is_part)


def guarded(name: str, check: Check, subject: Subject) -> Iterator[Line]:
    """The lines of a check; its error is its last."""
    try:
        yield from check(subject)
    except KNOWN as error:
        if isinstance(error, ClientError) and code_of(error) in DENIALS:
            yield not_checked(
                name, f"These credentials may not ask: {error.operation_name} ({code_of(error)}). See CheckPolicy."
            )
        else:
            yield not_ok(name, sentence(error))


def _value_of_key(subject: Subject, lines: list[Line]) -> str | None:
    """The value of an API key that works, of which the line API key has told."""
    if not any(line.name == "API key" and line.verdict is Verdict.OK for line in lines):
        return None
    key = check_settings.working_key(subject)
    if key is None:
        return None
    gateway = boto3.client("apigateway", config=CLIENT_CONFIG)
    return str(gateway.get_api_key(apiKey=key.key_id, includeValue=True)["value"])
