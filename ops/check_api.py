"""The API and the bucket as a client and a browser meet them: documented errors, preflights, health."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.errors import OperatorError
from pet_detector.aws.clients import client

SECONDS = 30.0
OTHER_ORIGIN = "https://somebody-else.example"
# The local AWS refuses pages from other machines before it looks at CORS; this is another origin on this one.
OTHER_LOCAL_ORIGIN = "http://localhost:1"
# In base64, a picture of 4 MB: the largest that the API takes with a request.
_LARGEST_BODY = 5_592_408
# Seconds before each look at /health, which keeps its answer for 5 seconds.
_HEALTH_PAUSES = (0.0, 6.0, 6.0)
_DEPLOY = "deploy again, which makes a new deployment of the API's stage"


@dataclass(frozen=True)
class Answer:
    """What came back; `body` is empty when it is no JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The API's own word for an error."""
        return str(self.body.get("code", "no code"))


class UnreachableError(OperatorError):
    """There is no answer; the message says from whom."""


def request(method: str, url: str, **content: Any) -> Answer:
    """Send one request, and follow no redirection. Raises UnreachableError."""
    try:
        found = requests.request(method, url, timeout=SECONDS, allow_redirects=False, **content)
    except requests.RequestException as error:
        raise UnreachableError(
            f"{url.partition('?')[0]} does not answer ({type(error).__name__}): look at the network, and whether the "
            "stage is deployed."
        ) from error
    try:
        body = found.json()
    except ValueError:
        body = {}
    return Answer(found.status_code, found.headers, body if isinstance(body, dict) else {})


def health(subject: Subject) -> Iterator[Line]:
    """GET /health, without a key: a service may be slow once, so what is down is asked for again."""
    for pause in _HEALTH_PAUSES:
        time.sleep(pause)
        answer = request("GET", f"{subject.api_url}/health")
        if answer.status == 200:
            yield ok("GET /health", "200")
            return
    parts = answer.body.get("dependencies") or {}
    down = ", ".join(sorted(name for name, state in parts.items() if state != "ok")) or "unknown"
    yield not_ok("GET /health", f"{answer.status}; down: {down}. The log of ImagesApi has the error of each.")


def own_address(subject: Subject) -> str:
    """That of the API's stage, which it has whether or not the edge stands before it."""
    region, stage = client("s3").meta.region_name, subject.deployment.parameter("Stage")
    return f"https://{subject.named('PetDetectorApi')}.execute-api.{region}.amazonaws.com/{stage}"


def way_around(subject: Subject) -> Iterator[Line]:
    """Whether the API refuses who calls it by its own address, where the edge stands before it. Else no line."""
    if subject.deployment.parameter("Edge") != "block":
        return
    url = f"{own_address(subject)}/health"
    answer = request("GET", url)
    if answer.status == 403:
        yield ok("way around the edge", "403")
    else:
        yield not_ok(
            "way around the edge",
            f"{url} answers {answer.status} instead of 403: is the web ACL still associated with the stage, and "
            "does its rule CameByTheEdge block? Deploy again, as an administrator.",
        )


def refusals(subject: Subject) -> Iterator[Line]:
    """What a caller without a key is told."""
    url, upload = subject.api_url, {"fileName": "cat.jpg", "contentType": "image/jpeg"}
    answer = request("POST", f"{url}/upload", json=upload, headers={"x-api-key": "no-key-of-anybody-0000000000"})
    yield _expected("wrong key", answer, 403, "INVALID_API_KEY", "Does the method POST /upload still need a key?")
    answer = request("POST", f"{url}/upload", json=upload)
    yield _expected(
        "no key",
        answer,
        403,
        "INVALID_API_KEY",
        f"AWS answers a missing key as another type ({answer.headers.get('x-amzn-ErrorType', 'unnamed')}): give that "
        "type its own entry under GatewayResponses.",
    )
    wanted = subject.deployment.parameter("AllowedOrigin")
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    yield (
        ok("errors can be read by the page", wanted)
        if allowed == wanted
        else not_ok(
            "errors can be read by the page", f"They allow {allowed}, and AllowedOrigin is {wanted}: {_DEPLOY}."
        )
    )


def wrong_bodies(subject: Subject, key: str | None) -> Iterator[Line]:
    """What a caller with a key is told of a body that is no upload, a small and the largest one."""
    if key is None:
        yield not_checked("wrong body", "There is no API key that works: see the line API key.")
        return
    url = f"{subject.api_url}/upload"
    for name, body in (
        ("wrong body", {"fileName": 1}),
        ("wrong body of 5.6 MB", {"fileName": 1, "image": "A" * _LARGEST_BODY}),
    ):
        answer = request("POST", url, json=body, headers={"x-api-key": key})
        if answer.status == 403:
            yield not_ok(
                name,
                "403: API Gateway does not take a key that the table calls valid. Is it in a usage plan of this stage?",
            )
        else:
            remark = "API Gateway's model or the function's own check does not hold: see PetDetectorApi, Models."
            yield _expected(name, answer, 400, "INVALID_BODY", remark)


def _expected(name: str, answer: Answer, status: int, code: str, remark: str) -> Line:
    if (answer.status, answer.code) == (status, code):
        return ok(name, f"{status} {code}")
    return not_ok(name, f"{answer.status} {answer.code} instead of {status} {code}. {remark}")


def preflights(subject: Subject) -> Iterator[Line]:
    """What a browser asks before the page may upload: of the API, and of the bucket."""
    wanted = subject.deployment.parameter("AllowedOrigin")
    other = OTHER_LOCAL_ORIGIN if subject.is_local else OTHER_ORIGIN
    form = client("s3").generate_presigned_post(Bucket=subject.deployment.bucket, Key="input/preflight")["url"]
    places = (
        ("API", f"{subject.api_url}/upload", "content-type,x-api-key", _DEPLOY),
        ("bucket", form, "", "set the bucket's CORS back as template.yaml has it (ImageBucket), or deploy"),
    )
    for place, url, names, remedy in places:
        name = f"preflight of the {place}"
        own = other if wanted == "*" else wanted
        answer = _preflight(url, own, names)
        allowed = answer.headers.get("Access-Control-Allow-Origin")
        if answer.status in (200, 204) and allowed in ("*", own):
            yield ok(name, wanted)
        else:
            yield not_ok(
                name,
                f"From AllowedOrigin {wanted} it answers {answer.status} and allows {allowed}: no browser can upload. "
                f"{remedy[0].upper()}{remedy[1:]}.",
            )
        name = f"{name} from another origin"
        if wanted == "*":
            yield not_checked(name, "AllowedOrigin is *: every page may call.")
            continue
        allowed = _preflight(url, other, names).headers.get("Access-Control-Allow-Origin")
        yield (
            not_ok(name, f"It allows {allowed} to {other}: any page may call with a key it has. {remedy}.")
            if allowed in ("*", other)
            else ok(name, f"not allowed (it names {allowed})" if allowed else "not allowed")
        )


def _preflight(url: str, origin: str, names: str) -> Answer:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return request("OPTIONS", url, headers=headers | ({"Access-Control-Request-Headers": names} if names else {}))
