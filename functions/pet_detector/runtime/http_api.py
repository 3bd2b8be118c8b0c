"""What the API functions share: a router, JSON answers with CORS, and errors mapped to HTTP in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from pet_detector.rules.errors import RequestError, ServiceError, ThrottledError
from pet_detector.rules.people import Person, unauthorized
from pet_detector.runtime import settings
from pet_detector.runtime.observability import logger


def resolver() -> APIGatewayRestResolver:
    """A router that answers in JSON and turns every exception into `{"code", "message", "requestId"}`."""
    app = APIGatewayRestResolver()

    def failed(status: int, code: str, message: str) -> Response[str]:
        if status >= 500:
            logger.exception("Request failed", code=code)
        body = {"code": code, "message": message, "requestId": request_id_of(app)}
        return answer(status, body)

    handled: dict[type[Exception], Callable[[Any], Response[str]]] = {
        RequestError: lambda error: failed(error.status, error.code, str(error)),
        NotFoundError: lambda _: failed(
            404,
            "NOT_FOUND",
            "There is nothing here. Use POST /upload, GET /images, GET or DELETE /images/{id}, GET /health.",
        ),
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
    """A JSON response that pages of ALLOWED_ORIGIN may read, and that no cache keeps: it may hold a link.

    API Gateway answers a browser's preflight (OPTIONS) itself, so this is all of CORS that is left.
    """
    text = json.dumps(body, default=_number)
    headers: dict[str, str | list[str]] = {
        "Access-Control-Allow-Origin": settings.required("ALLOWED_ORIGIN"),
        "Cache-Control": "no-store",
    }
    return Response(status, "application/json", text, headers=headers)


def _number(value: Decimal) -> int | float:
    """A number of DynamoDB for JSON: whole numbers, such as a size in bytes, stay whole."""
    return int(value) if value == int(value) else float(value)


def image_not_found() -> RequestError:
    """The answer about an unknown image, and about one that the client may not know of: they must not differ."""
    return RequestError(404, "IMAGE_NOT_FOUND", "There is no image with this id; ids come from POST /upload.")


def caller_of(app: APIGatewayRestResolver) -> str:
    """The id (never the value) of the API key that made the request.

    `unknown` where no key is checked: API Gateway asks for one, `sam local start-api` does not.
    """
    return app.current_event.request_context.identity.api_key_id or "unknown"


def person_of(app: APIGatewayRestResolver) -> Person | None:
    """The person who signed in; None for a machine with an API key.

    Paths of people begin with /people/. There API Gateway lets only ID tokens of the user pool through. From here on
    every line of log names the person's id, and never the name or the token. Raises RequestError (401).
    """
    if not app.current_event.path.startswith("/people/"):
        return None
    claims = (app.current_event["requestContext"].get("authorizer") or {}).get("claims")
    if not claims:  # the template has lost its authorizer, or it is `sam local`, which has none
        raise unauthorized()
    person = Person.of_claims(claims)
    logger.append_keys(person_id=person.id, correlation_id=request_id_of(app))
    return person


def request_id_of(app: APIGatewayRestResolver) -> str:
    """The id that API Gateway gave the request. Its `requestId` would not do: a client can choose that one.

    Lambda's own id of the call where there is none (`sam local`).
    """
    return app.current_event.request_context.extended_request_id or str(app.lambda_context.aws_request_id)
