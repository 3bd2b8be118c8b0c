"""What the API functions share: JSON, CORS, and one place where errors become answers."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.rules.errors import (
    AccessDeniedError,
    ImageNotFoundError,
    PolicyInvalidError,
    RequestError,
    ServiceError,
    SettingMissingError,
    ThrottledError,
)
from pet_detector.runtime import http_api
from tests.support.api_events import API_KEY_ID, body_of, refused, request
from tests.support.moto_world import ORIGIN


def answer_to(error: Exception, context: LambdaContext) -> dict[str, Any]:
    """What a route that raises `error` answers."""
    app = http_api.resolver()

    @app.get("/route")
    def route() -> Response[str]:
        raise error

    return app.resolve(request("GET", "/route"), context)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestError(418, "TEAPOT", "Take coffee."), 418, "TEAPOT"),
        (ThrottledError("x"), 503, "BUSY"),
        (ServiceError("x"), 503, "UNAVAILABLE"),
        (AccessDeniedError("x"), 500, "INTERNAL_ERROR"),
        (ImageNotFoundError("x"), 500, "INTERNAL_ERROR"),
        (PolicyInvalidError("x"), 500, "INTERNAL_ERROR"),
        (SettingMissingError("x"), 500, "INTERNAL_ERROR"),
        (KeyError("x"), 500, "INTERNAL_ERROR"),
        (RecursionError(), 500, "INTERNAL_ERROR"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_error_has_one_answer(context: LambdaContext, error: Exception, status: int, code: str) -> None:
    answer = answer_to(error, context)
    assert refused(answer) == (status, code)
    assert answer["multiValueHeaders"]["Access-Control-Allow-Origin"] == [ORIGIN]
    assert answer["multiValueHeaders"]["Cache-Control"] == ["no-store"]


def test_the_caller_learns_nothing_of_an_internal_error_and_the_log_all(
    context: LambdaContext, logs: io.StringIO
) -> None:
    answer = answer_to(KeyError("the table's name"), context)
    assert "table" not in answer["body"]
    assert "Traceback" not in answer["body"]
    (line,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (line["level"], line["message"], line["code"]) == ("ERROR", "Request failed", "INTERNAL_ERROR")
    assert "the table's name" in line["exception"]


def test_a_fault_of_the_caller_is_no_error_in_the_log(context: LambdaContext, logs: io.StringIO) -> None:
    answer_to(RequestError(400, "X", "Change it."), context)
    assert logs.getvalue() == ""


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("POST", "/route"), ("DELETE", "/route/x")])
def test_a_path_that_is_not_there_is_answered_in_the_same_form(context: LambdaContext, method: str, path: str) -> None:
    app = http_api.resolver()
    answer = app.resolve(request(method, path), context)
    assert refused(answer) == (404, "NOT_FOUND")


def test_an_answer_names_the_origin_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_ORIGIN", "https://another.example.com")
    assert http_api.answer(200, {}).headers["Access-Control-Allow-Origin"] == "https://another.example.com"
    monkeypatch.delenv("ALLOWED_ORIGIN")
    with pytest.raises(SettingMissingError, match="ALLOWED_ORIGIN"):
        http_api.answer(200, {})


@pytest.mark.parametrize(
    ("number", "text"),
    [("12345", "12345"), ("1E+3", "1000"), ("98.77", "98.77"), ("0", "0"), ("0.10", "0.1"), ("-3", "-3")],
)
def test_numbers_of_the_table_are_numbers_in_json(number: str, text: str) -> None:
    assert http_api.answer(200, {"n": Decimal(number)}).body == f'{{"n": {text}}}'


@pytest.mark.parametrize(("api_key_id", "caller"), [(API_KEY_ID, API_KEY_ID), (None, "unknown"), ("", "unknown")])
def test_a_caller_is_the_id_of_an_api_key(context: LambdaContext, api_key_id: str | None, caller: str) -> None:
    app = http_api.resolver()
    app.get("/route")(lambda: http_api.answer(200, {"caller": http_api.caller_of(app)}))
    event = request("GET", "/route", api_key_id=api_key_id)
    assert body_of(app.resolve(event, context)) == {"caller": caller}
