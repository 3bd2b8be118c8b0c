"""What the API functions share: JSON in and out, CORS, and errors that say what to do, mapped to HTTP in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from pet_detector.rules.errors import RequestError, ServiceError, ThrottledError
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger

ALLOWED_HEADERS = ["Content-Type", "X-Api-Key", "Idempotency-Key"]


def resolver() -> APIGatewayRestResolver:
    """A router that answers in JSON and turns every exception into `{"code", "message", "requestId"}`."""
    app = APIGatewayRestResolver(
        cors=CORSConfig(allow_origin=settings.required("ALLOWED_ORIGIN"), allow_headers=ALLOWED_HEADERS, max_age=600)
    )

    def failed(status: int, code: str, message: str) -> Response[str]:
        if status >= 500:
            logger.exception("Request failed", code=code)
        body = {"code": code, "message": message, "requestId": app.current_event.request_context.request_id}
        return answer(status, body)

    handled: dict[type[Exception], Callable[[Any], Response[str]]] = {
        RequestError: lambda error: failed(error.status, error.code, str(error)),
        NotFoundError: lambda _: failed(404, "NOT_FOUND", "There is nothing here; the README lists the endpoints."),
        ThrottledError: lambda _: failed(503, "BUSY", "The service is busy; try again in a few seconds."),
        ServiceError: lambda _: failed(503, "UNAVAILABLE", "A part of the service does not answer; try again shortly."),
        Exception: lambda _: failed(
            500, "INTERNAL_ERROR", "Something went wrong on our side; try again, and quote the requestId."
        ),
    }
    for kind, handler in handled.items():
        app.exception_handler(kind)(handler)
    return app


def answer(status: int, body: dict[str, Any]) -> Response[str]:
    """A JSON response that no cache keeps: it may hold a link."""
    text = json.dumps(body, default=_number)
    return Response(status, "application/json", text, headers={"Cache-Control": "no-store"})


def _number(value: Decimal) -> int | float:
    """DynamoDB's numbers as JSON's: a size in bytes stays whole."""
    return int(value) if value == int(value) else float(value)


def caller_of(app: APIGatewayRestResolver) -> str:
    """The id (never the value) of the API key that made the request; it meters, it does not identify a person."""
    return app.current_event.request_context.identity.api_key_id or "unknown"
