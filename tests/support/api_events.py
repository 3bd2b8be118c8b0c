"""Requests to the API, as API Gateway hands them to a function."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from tests.support.moto_world import CORRELATION, ORIGIN

API_KEY = "the-value-of-the-api-key"
API_KEY_ID = "key-id"
OPERATOR_KEY_ID = "operator-key-id"  # for a test that makes it one
PERSON_ID = "6d1f3c1a-3e0c-4a43-9d5f-0c6f6a2f6d11"
EMAIL = "ada@pets.example"
ID_TOKEN = "header.the-claims-of-a-person.signature"
REQUEST_ID = CORRELATION  # what the API is asked first names the image's story


def request(
    method: str,
    path: str,
    *,
    body: object = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    api_key_id: str | None = API_KEY_ID,
    groups: Sequence[str] | None = None,
    sub: str = PERSON_ID,
) -> dict[str, Any]:
    """A REST API proxy event, as of a web page of our origin. A `body` that is no text is sent as JSON.

    With `groups`: of a person in them who has signed in, as the pool's authorizer hands it on; without an API key.
    """
    if groups is not None:
        sent = {"Content-Type": "application/json", "Authorization": ID_TOKEN} | (headers or {})
        claims = {"sub": sub, "email": EMAIL, "cognito:username": sub, "token_use": "id"}
        if groups:
            claims["cognito:groups"] = ",".join(groups)
        event = request(method, path, body=body, query=query, headers=sent, api_key_id=None)
        del event["headers"]["x-api-key"], event["requestContext"]["identity"]["apiKey"]
        event["requestContext"]["authorizer"] = {"claims": claims}
        return event
    sent = {"Content-Type": "application/json", "x-api-key": API_KEY, "Origin": ORIGIN} | (headers or {})
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} if query else None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "an-id-that-the-client-may-have-chosen",
            "extendedRequestId": REQUEST_ID,
            "stage": "dev",
            "path": f"/dev{path}",
            "httpMethod": method,
            "identity": {"apiKey": API_KEY, "apiKeyId": api_key_id, "sourceIp": "192.0.2.1"},
        },
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def upload(
    data: bytes | None = None,
    *,
    file_name: str = "tom.jpg",
    content_type: str = "image/jpeg",
    idempotency_key: str | None = None,
    api_key_id: str | None = API_KEY_ID,
) -> dict[str, Any]:
    """POST /upload, with the picture's bytes or for a form."""
    body = {"fileName": file_name, "contentType": content_type}
    if data is not None:
        body["image"] = base64.b64encode(data).decode()
    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    return request("POST", "/upload", body=body, headers=headers, api_key_id=api_key_id)


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The JSON that the client gets."""
    body = json.loads(answer["body"])
    assert isinstance(body, dict)
    return body


def refused(answer: dict[str, Any]) -> tuple[int, str]:
    """Status and code of an error; its message is a sentence, and it names the request."""
    body = body_of(answer)
    assert set(body) == {"code", "message", "requestId"}
    assert body["message"].endswith(".")
    assert body["requestId"] == REQUEST_ID
    return answer["statusCode"], body["code"]
