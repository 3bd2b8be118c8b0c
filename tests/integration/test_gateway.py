"""Who may ask, and how: API keys, request bodies, routes and browsers of other origins."""

from __future__ import annotations

from typing import Any

import pytest

from .application import ORIGIN, Answer, HttpApplication

FORM = {"fileName": "cat.jpg", "contentType": "image/jpeg"}


def assert_says(answer: Answer, status: int, code: str) -> None:
    """The answer is an error in the API's own form, and a browser's script may read it."""
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json.keys() == {"code", "message", "requestId"}
    assert answer.json["message"]
    assert answer.json["requestId"]
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("key", ["wrong", None], ids=["wrong", "none"])
@pytest.mark.parametrize(("verb", "path"), [("POST", "/upload"), ("GET", "/images"), ("GET", "/images/" + "0" * 32)])
def test_without_the_right_key_nothing_is_told(
    application: HttpApplication, verb: str, path: str, key: str | None
) -> None:
    answer = application.call(verb, path, FORM if verb == "POST" else None, key=key)

    assert_says(answer, 403, "INVALID_API_KEY")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{}",
        {"fileName": "cat.jpg"},
        {"fileName": 1, "contentType": "image/jpeg"},
        FORM | {"image": None},
        FORM | {"key": "cats/mine.jpg"},
    ],
    ids=lambda body: str(body)[:50],
)
def test_the_gateway_refuses_a_wrong_body(application: HttpApplication, body: Any) -> None:
    assert_says(application.call("POST", "/upload", body), 400, "INVALID_BODY")


@pytest.mark.parametrize(
    ("document", "headers", "code"),
    [
        (FORM | {"fileName": ""}, {}, "INVALID_FILE_NAME"),
        (FORM | {"fileName": "c" * 256}, {}, "INVALID_FILE_NAME"),
        (FORM | {"contentType": "image/gif"}, {}, "UNSUPPORTED_CONTENT_TYPE"),
        (FORM | {"contentType": "image/jpg"}, {}, "UNSUPPORTED_CONTENT_TYPE"),
        (FORM | {"image": "not base64!"}, {}, "INVALID_IMAGE"),
        (FORM | {"image": ""}, {}, "EMPTY"),
        (FORM, {"Idempotency-Key": "k" * 256}, "INVALID_IDEMPOTENCY_KEY"),
    ],
)
def test_the_function_says_which_value_is_wrong(
    application: HttpApplication, document: dict[str, str], headers: dict[str, str], code: str
) -> None:
    assert_says(application.call("POST", "/upload", document, headers=headers), 400, code)


def test_a_request_for_which_lambda_has_no_place_is_throttled_and_leaves_no_record(
    application: HttpApplication,
) -> None:
    uploads, client = application.functions["UploadApiFunction"], application.functions_client
    headers = {"Origin": ORIGIN, "x-api-key": application.api_key}
    before = len(application.items())
    client.put_function_concurrency(FunctionName=uploads, ReservedConcurrentExecutions=0)
    try:
        answer = application.send("POST", application.url + "/upload", headers, json=FORM)
    finally:
        client.delete_function_concurrency(FunctionName=uploads)

    assert_says(answer, 429, "THROTTLED")
    assert len(application.items()) == before


def test_a_record_that_is_not_there_can_be_read_by_a_browser_too(application: HttpApplication) -> None:
    assert_says(application.call("GET", "/images/" + "0" * 32), 404, "IMAGE_NOT_FOUND")


@pytest.mark.parametrize(("verb", "path"), [("GET", "/nowhere"), ("GET", "/upload"), ("DELETE", "/images")])
def test_there_is_no_other_route(application: HttpApplication, verb: str, path: str) -> None:
    assert_says(application.call(verb, path), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/upload", "/images", "/images/" + "0" * 32, "/health"])
def test_a_browser_may_ask_before_it_asks(application: HttpApplication, path: str) -> None:
    headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}

    answer = application.call("OPTIONS", path, key=None, headers=headers)

    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["Access-Control-Allow-Methods"].split(","))
    allowed = {name.lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"content-type", "x-api-key", "idempotency-key"} <= allowed


def test_a_browser_may_read_what_went_well(application: HttpApplication) -> None:
    for answer in (application.call("GET", "/images"), application.call("POST", "/upload", FORM)):
        assert answer.status in (200, 201)
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_browser_may_send_the_form_to_the_bucket(application: HttpApplication) -> None:
    (rule,) = application.s3.get_bucket_cors(Bucket=application.bucket)["CORSRules"]

    assert rule["AllowedOrigins"] == [ORIGIN, "https://*.execute-api.us-east-1.amazonaws.com"]  # and the page's
    assert {"POST", "GET"} <= set(rule["AllowedMethods"])
