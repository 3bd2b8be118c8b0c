"""FiguresApi: GET /people/figures, GET and POST /people/policy."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import daily_counts, review_figures
from pet_detector.aws.detection_logs import format_time
from pet_detector.rules import figures
from pet_detector.rules.errors import RequestError
from pet_detector.rules.people import Group, Person, unauthorized
from pet_detector.rules.policy import Policy
from pet_detector.rules.review import filed_since
from pet_detector.runtime import http_api, settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import policy_changes

DEFAULT_DAYS = 30
MAX_DAYS = 90

app = http_api.resolver()


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    return app.resolve(event, context)


@app.get("/people/figures")
def all_figures() -> Response[str]:
    """Volume of the last days, what waits for people, how often the machine is right, and the cost so far."""
    person_in(Group.REVIEWER)
    days = days_of((app.current_event.query_string_parameters or {}).get("days"))
    now = datetime.now(UTC)
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    counts = daily_counts.counts(settings.required("POWERTOOLS_SERVICE_NAME"), since, days)
    table = settings.required("REVIEWS_TABLE_NAME")
    volume = figures.volume_document(counts, [f"{since + timedelta(days=day):%Y-%m-%d}" for day in range(days)])
    accuracy = review_figures.stored(table, review_figures.ACCURACY)
    kept = filed_since(float(settings.required("IMAGE_RETENTION_DAYS")), now.timestamp())
    more = {"waiting": review_figures.waiting(table, kept), "accuracy": accuracy, "computedAt": format_time(now)}
    logger.info("Figures shown", days=days)
    return http_api.answer(200, volume | more)


@app.get("/people/policy")
def policy() -> Response[str]:
    """The numbers of the decision, who set which and why, and what other thresholds would do."""
    person_in(Group.REVIEWER)
    return http_api.answer(200, policy_document())


@app.post("/people/policy")
def set_policy() -> Response[str]:
    """Change the numbers, or take the last change back, by its number; `because` says why. For operators.

    By its number, because the same request sent again would take back the taking back.
    """
    person = person_in(Group.OPERATOR)
    body = body_of_request()
    if not isinstance(body.get("because"), str):
        raise RequestError(400, "REASON_MISSING", "Say why, as text in `because`.")
    parameter = settings.required("POLICY_PARAMETER_NAME")
    last = body.get("takeBack")
    if isinstance(last, int) and not isinstance(last, bool):
        changed = policy_changes.take_back(parameter, by=person.name, because=body["because"], last=last)
    elif isinstance(body.get("policy"), dict):
        changed = policy_changes.change(parameter, body["policy"], by=person.name, because=body["because"])
    else:
        raise RequestError(
            400, "POLICY_INVALID", "Give the numbers in `policy`, or in `takeBack` the last change's number."
        )
    logger.info("Policy changed", policy=changed.version)
    return http_api.answer(200, policy_document())


def body_of_request() -> dict[str, Any]:
    """What was sent. Raises RequestError when it is no JSON object."""
    try:
        body = json.loads(app.current_event.decoded_body or "")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise RequestError(400, "INVALID_BODY", "Send a JSON object with `because`, and `policy` or `takeBack`.")
    return body


def policy_document() -> dict[str, Any]:
    """The answer about the policy."""
    history = policy_changes.history(settings.required("POLICY_PARAMETER_NAME"))
    thresholds = review_figures.stored(settings.required("REVIEWS_TABLE_NAME"), review_figures.THRESHOLDS)
    if thresholds:  # computed once a day, and perhaps from pictures of another policy
        thresholds["current"] = history[0].policy.minimum if history[0].policy else None
    return {
        "policy": numbers(history[0].policy),
        "history": [
            {
                "number": one.number,
                "policy": numbers(one.policy),
                "by": one.by,
                "at": one.at,
                "because": one.because,
            }
            for one in history
        ],
        "thresholds": thresholds,
    }


def numbers(policy: Policy | None) -> dict[str, float] | None:
    """A policy's numbers by their names; None for what is no policy."""
    return dataclasses.asdict(policy) if policy else None


def person_in(group: Group) -> Person:
    """Who asks. Raises RequestError unless they are in this group, or an operator."""
    person = http_api.person_of(app)
    if person is None:
        raise unauthorized()
    person.needs(group)
    return person


def days_of(text: str | None) -> int:
    """How many days to show. Raises RequestError when it is not a number from 1 to MAX_DAYS."""
    if text is None:
        return DEFAULT_DAYS
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MAX_DAYS:
        raise RequestError(400, "INVALID_DAYS", f"days must be a number from 1 to {MAX_DAYS}.")
    return int(text)
