"""A stand-in for the deployed application and for the sign-in page: the contract of docs/api.md with made-up pictures.

It serves web/ as the application does, and fails where it is told to, so that the page's bad moments can be seen.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.support.paths import REPOSITORY

WEB = REPOSITORY / "web"
PHOTOS = sorted((REPOSITORY / "photos").glob("*.jpg"))
STAGE = "/stage"
BEGUN = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
DROP, HANG = "drop", "hang"
Answer = tuple[int, dict[str, Any]]


def _web_app() -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """The handler that serves the page on AWS: another `app` than those of functions/, so loaded by its path."""
    os.environ["AWS_REGION"] = "us-east-1"
    spec = importlib.util.spec_from_file_location("web_app", WEB / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    handler: Callable[[dict[str, Any], Any], dict[str, Any]] = module.lambda_handler
    return handler


@dataclass
class Fault:
    """What happens to the next `times` requests that `pattern` matches ("POST /people/upload"): a status, DROP or HANG.

    `before` is False when the request is carried out first, and only its answer is lost.
    """

    pattern: str
    kind: int | str
    times: int
    before: bool = True
    body: dict[str, Any] | None = None


@dataclass
class StandIn:
    """The application's state. Tests change it as they like, and look at `asked`: the requests so far."""

    groups: list[str] = field(default_factory=lambda: ["operator"])
    may_erase: bool = True
    person: str = "olga@example.com"
    environment: str = "local"
    token_seconds: int = 3600
    images: list[dict[str, Any]] = field(default_factory=list)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    policy: dict[str, float] = field(default_factory=lambda: {"minimum": 80, "margin": 15, "floor": 50, "evidence": 55})
    changes: list[dict[str, Any]] = field(default_factory=lambda: [_of_the_deployment()])
    figures: dict[str, Any] | None = None
    thresholds: dict[str, Any] | None = None
    asked: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    valid: set[str] = field(default_factory=set)  # ID tokens
    refresh: set[str] = field(default_factory=set)
    codes: dict[str, str] = field(default_factory=dict)  # code -> challenge
    keys: dict[str, str] = field(default_factory=dict)  # idempotency key -> image id
    becomes: dict[str, dict[str, Any]] = field(default_factory=dict)  # file name -> what the workflow makes of it
    looks: int = 1  # questions that an upload is answered "processing"
    ended: threading.Event = field(default_factory=threading.Event)

    def fault(self, pattern: str, kind: int | str, times: int = 1, *, before: bool = True, **body: Any) -> None:
        self.faults.append(Fault(pattern, kind, times, before, body or None))

    def next_fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, request):
                fault.times -= 1
                return fault
        return None

    def image(self, image_id: str) -> dict[str, Any] | None:
        return next((image for image in self.images if image["imageId"] == image_id), None)

    def expire(self, *, refresh: bool = True) -> None:
        """From now on no token is good; nor, with `refresh`, are the refresh tokens."""
        self.valid.clear()
        if refresh:
            self.refresh.clear()

    def token(self) -> dict[str, Any]:
        claims = {
            "sub": str(uuid.uuid5(uuid.NAMESPACE_URL, self.person)),
            "email": self.person,
            "cognito:username": self.person,
            "cognito:groups": self.groups,
            "jti": uuid.uuid4().hex,
        }
        token = ".".join(_base64url(json.dumps(part).encode()) for part in ({"alg": "none"}, claims)) + ".x"
        self.valid.add(token)
        return {"id_token": token, "access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"}


def _of_the_deployment() -> dict[str, Any]:
    numbers = {"minimum": 80, "margin": 15, "floor": 50, "evidence": 55}
    because = "a deployment wrote the numbers of the stack's parameters"
    return {"number": 1, "policy": numbers, "by": "deployer", "at": "2026-11-01T09:00:00Z", "because": because}


def pictures(number: int) -> list[dict[str, Any]]:
    """Made-up records, newest first, of every state; their pictures are those of photos/."""
    return [_record(n) for n in range(number)]


def _record(n: int) -> dict[str, Any]:
    photo = PHOTOS[(n * 7) % len(PHOTOS)].name
    animal = photo.partition("_")[0]
    created = (BEGUN - timedelta(hours=7 * n)).isoformat().replace("+00:00", "Z")
    record: dict[str, Any] = {
        "imageId": hashlib.sha256(str(n).encode()).hexdigest()[:32],
        "fileName": photo,
        "fileSize": 180_000 + 7919 * n,
        "imageFormat": "jpg",
        "createdAt": created,
        "timestamp": created,
        "photo": photo,
    }
    if n % 11 == 5:
        return record | {
            "status": "rejected",
            "reasonCode": "TOO_SMALL",
            "reason": "The picture has 64 x 48 px; each side needs at least 80.",
        }
    if n % 17 == 8:
        return record | {"status": "failed", "reason": "The picture could not be processed; operators were notified."}
    cat, dog = {"cat": (97.4, 3.1), "dog": (1.2, 93.8), "other": (4.0, 11.5)}[animal]
    sure = n % 6 != 4
    if not sure:
        cat, dog, animal = 71.5, 64.2, "other"
    reason = (
        f"{animal.capitalize()} at {max(cat, dog)} %, at or above the minimum of 80 %."
        if sure
        else "Cat at 71.5 % is below the minimum of 80 %."
    )
    return record | {
        "status": "completed" if sure else "needs_review",
        "animal": animal,
        "confidence": max(cat, dog),
        "certain": sure,
        "scores": {"cat": cat, "dog": dog},
        "reason": reason,
        "policyVersion": "2:80/15/50/55",
        "modelVersion": "3.0",
        "location": f"s3://images/{animal}s/{record['imageId']}.jpg",
        "labels": [
            {"name": "Animal", "confidence": 98.2},
            {"name": "Pet", "confidence": 97.9},
            {"name": "Whiskers", "confidence": 71.0},
        ],
    }


def figures() -> dict[str, Any]:
    """A month of figures, as GET /people/figures gives them."""
    days = []
    for n in range(30):
        busy = 40 + (n * 37) % 90
        days.append(
            {
                "day": (BEGUN - timedelta(days=n)).date().isoformat(),
                "cat": busy,
                "dog": busy // 2 + n % 7,
                "other": busy // 3 + busy // 8,
                "uncertain": busy // 8,
                "rejected": n % 5,
                "failed": int(n == 11),
            }
        )

    def estimate(value: float, low: float, high: float, judged: int) -> dict[str, Any]:
        return {
            "value": value,
            "low": low,
            "high": high,
            "judged": judged,
            "missing": 0,
            "text": f"{value} % ({low} to {high} %)",
        }

    missing = {"value": None, "low": None, "high": None, "judged": 16, "missing": 34, "text": "not enough yet: 34 more"}
    return {
        "days": days,
        "rejected": {"TOO_SMALL": 31, "NOT_AN_IMAGE": 18, "TRUNCATED": 4, "DAMAGED": 2},
        "waiting": {"uncertain": 118, "sample": 41, "second": 9, "disagreed": 2},
        "accuracy": {
            "computedAt": "2026-11-30T03:00:00Z",
            "days": 30,
            "least": 50,
            "classes": {
                "cat": {"precision": estimate(97.1, 94.0, 98.8, 212), "recall": estimate(91.4, 87.2, 94.6, 198)},
                "dog": {"precision": estimate(95.2, 90.1, 98.0, 131), "recall": estimate(88.0, 81.5, 92.8, 127)},
                "other": {"precision": estimate(93.6, 88.4, 96.9, 140), "recall": missing},
            },
            "agreement": {
                "value": 91.0,
                "low": 84.2,
                "high": 96.0,
                "judged": 64,
                "missing": 0,
                "text": "91 (84.2 to 96)",
            },
            "sample": {"drawn": 96, "judged": 83},
        },
        "cost": {"usd": 4.3127, "images": 3982, "since": "2026-11-01T00:00:00Z"},
        "computedAt": "2026-11-30T09:00:00Z",
    }


def thresholds() -> dict[str, Any]:
    """The table of thresholds, as GET /people/policy gives it."""
    rows: list[dict[str, Any]] = [
        {
            "minimum": minimum,
            "review": review,
            "reviewPercent": round(review / 39.8, 1),
            "errors": errors,
            "errorsAtMost": at_most,
            "missing": 0,
        }
        for minimum, review, errors, at_most in [
            (60, 61, 148.0, 201.0),
            (70, 130, 96.5, 139.2),
            (75, 202, 71.0, 108.4),
            (80, 288, 48.3, 80.1),
            (85, 391, 30.2, 57.7),
            (90, 560, 14.9, 37.0),
        ]
    ]
    rows.append(
        {"minimum": 98, "review": 1311, "reviewPercent": 32.9, "errors": None, "errorsAtMost": None, "missing": 12}
    )
    return {"computedAt": "2026-11-30T03:00:00Z", "days": 30, "current": 80, "least": 50, "rows": rows}


class Server(ThreadingHTTPServer):
    """Serves the page, the sign-in page, the bucket and the API at one address, as the local AWS does."""

    daemon_threads = True

    def __init__(self, application: StandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.application = application
        self.web_app = _web_app()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def page(self) -> str:
        return f"{self.origin}{STAGE}/app/"

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.application.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    @property
    def app(self) -> StandIn:
        return self.server.application

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: `asked` holds what was asked."""

    def do_GET(self) -> None:
        self.handle_one()

    do_POST = do_DELETE = do_GET

    def handle_one(self) -> None:
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query))
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = parts.path.removeprefix(STAGE)
        name = f"{self.command} {path}"
        self.app.asked.append(name)
        fault = self.app.next_fault(name)
        if fault and fault.before:
            return self.fail(fault)
        if path.startswith("/app"):
            return self.serve_page(path)
        if path.startswith("/pictures/"):
            return self.serve_picture(path)
        if path.startswith("/sign-in/"):
            return self.sign_in(path)
        if path == "/bucket":
            status, body = self.take_form()
        elif self.headers.get("Authorization") not in self.app.valid:
            status, body = 401, {"code": "UNAUTHORIZED", "message": "Sign in.", "requestId": "r-401"}
        else:
            status, body = self.answer(name)
        if fault:
            return self.fail(fault)
        self.send_json(status, body)

    def fail(self, fault: Fault) -> None:
        if fault.kind == HANG:
            self.app.ended.wait(30)
        if isinstance(fault.kind, str):
            self.close_connection = True
            return None
        body = fault.body or {
            "code": "UNAVAILABLE",
            "message": "A part of the service does not answer; try again shortly.",
            "requestId": "r-503",
        }
        self.send_json(fault.kind, body)

    def send_json(self, status: int, body: dict[str, Any]) -> None:
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, data: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def serve_page(self, path: str) -> None:
        """Through the application's own handler, with an event as API Gateway makes it."""
        file = path.removeprefix("/app").removeprefix("/")
        event = {
            "httpMethod": "GET",
            "path": path,
            "resource": "/app/{file}" if file else "/app",
            "pathParameters": {"file": file} if file else None,
            "queryStringParameters": self.query or None,
            "multiValueQueryStringParameters": {name: [value] for name, value in self.query.items()} or None,
            "headers": dict(self.headers.items()),
            "requestContext": {"path": f"{STAGE}{path}", "stage": self.app.environment},
            "stageVariables": {
                "ClientId": "client",
                "ImageBucketName": "images",
                "SignInUrl": f"{self.server.origin}/sign-in",
            },
        }
        answer = self.server.web_app(event, None)
        data = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer.get("body", "").encode()
        headers = dict(answer.get("headers") or {})
        self.send(answer["statusCode"], data, headers.pop("Content-Type", "text/plain"), **headers)

    def serve_picture(self, path: str) -> None:
        image = self.app.image(path.rpartition("/")[2])
        photo = WEB.parent / "photos" / (image or {}).get("photo", "cat_chelsea.jpg")
        self.send(200, photo.read_bytes(), "image/jpeg", Cache_Control="max-age=300")

    # --- the sign-in page -------------------------------------------------------------------------------------------

    def sign_in(self, path: str) -> None:
        if path.endswith("/authorize"):
            if "again" not in self.query:  # the person's own click
                address = "?" + urlencode({**self.query, "again": "1"})
                link = f'<a href="{escape(address)}">Sign in as {escape(self.app.person)}</a>'
                html = f"<!doctype html><title>Sign in</title>{link}"
                return self.send(200, html.encode(), "text/html")
            code = uuid.uuid4().hex
            self.app.codes[code] = self.query["code_challenge"]
            return self.redirect(
                self.query["redirect_uri"] + "?" + urlencode({"code": code, "state": self.query["state"]})
            )
        if path.endswith("/logout"):
            return self.redirect(self.query["logout_uri"])
        fields = {name: values[0] for name, values in parse_qs(self.data.decode()).items()}
        if path.endswith("/revoke"):
            self.app.refresh.discard(fields["token"])
            return self.send_json(200, {})
        if fields["grant_type"] == "refresh_token":
            good = fields["refresh_token"] in self.app.refresh
            return self.send_json(*((200, self.app.token()) if good else (400, {"error": "invalid_grant"})))
        challenge = _base64url(hashlib.sha256(fields["code_verifier"].encode()).digest())
        if self.app.codes.pop(fields["code"], None) != challenge:
            return self.send_json(400, {"error": "invalid_grant"})
        refresh = uuid.uuid4().hex
        self.app.refresh.add(refresh)
        self.send_json(200, self.app.token() | {"refresh_token": refresh})

    def redirect(self, address: str) -> None:
        self.send(302, b"", "text/plain", Location=address)

    # --- the API and the bucket ---------------------------------------------------------------------------------------

    def take_form(self) -> Answer:
        found = re.search(rb'name="key"\r\n\r\n(\w+)', self.data)
        assert found
        image = self.app.image(found[1].decode())
        assert image
        image |= self.app.becomes.get(image["fileName"], {}) | {"status": "processing", "left": self.app.looks}
        return 204, {}

    def answer(self, name: str) -> Answer:
        body = json.loads(self.data) if self.data else {}
        routes: list[tuple[str, Callable[..., Answer]]] = [
            (r"POST /people/upload", lambda: self.upload(body)),
            (r"GET /people/images", self.list_images),
            (r"GET /people/images/(\w+)", self.one_image),
            (r"DELETE /people/images/(\w+)", self.erase),
            (
                r"GET /people/images/(\w+)/reviews",
                lambda image_id: (
                    200,
                    {"imageId": image_id, "reviews": self.app.history.get(image_id, []), "carriedOut": True},
                ),
            ),
            (r"POST /people/reviews", lambda: self.decide(body)),
            (
                r"GET /people/reviews",
                lambda: (
                    200,
                    {
                        "pictures": [],
                        "waiting": {"uncertain": 0, "sample": 0, "second": 0, "disagreed": 0},
                        "pending": 0,
                    },
                ),
            ),
            (r"GET /people/reviews/mine", lambda: (200, {"verdicts": [], "before": None})),
            (r"GET /people/figures", lambda: (200, self.app.figures or figures())),
            (
                r"GET /people/policy",
                lambda: (
                    200,
                    {
                        "policy": self.app.policy,
                        "history": self.app.changes,
                        "thresholds": self.app.thresholds or thresholds(),
                    },
                ),
            ),
            (r"POST /people/policy", lambda: self.set_policy(body)),
        ]
        for pattern, route in routes:
            if found := re.fullmatch(pattern, name):
                return route(*found.groups())
        return 404, {"code": "NOT_FOUND", "message": "There is nothing here.", "requestId": "r-404"}

    def upload(self, body: dict[str, Any]) -> Answer:
        if body["contentType"] not in ("image/jpeg", "image/png", "image/webp", "image/avif", "image/heic"):
            return 400, {
                "code": "UNSUPPORTED_CONTENT_TYPE",
                "message": "contentType must be image/jpeg or image/png.",
                "requestId": "r-400",
            }
        key = self.headers["Idempotency-Key"]
        image_id = self.app.keys.setdefault(key, hashlib.sha256(key.encode()).hexdigest()[:32])
        image = self.app.image(image_id)
        if image and image["status"] != "uploading":
            return 200, {"imageId": image_id, "status": image["status"]}
        if image is None:
            made = _record(0)
            self.app.images.insert(
                0,
                made | {"imageId": image_id, "fileName": body["fileName"], "status": "uploading", "createdAt": _now()},
            )
        form = {"url": f"{self.server.origin}/bucket", "fields": {"key": image_id, "Content-Type": body["contentType"]}}
        return 201, {"imageId": image_id, "status": "uploading", "upload": form, "expiresInSeconds": 300}

    def one_image(self, image_id: str) -> Answer:
        image = self.app.image(image_id)
        if image is None:
            return 404, {"code": "IMAGE_NOT_FOUND", "message": "There is no image with this id.", "requestId": "r-404"}
        if image["status"] == "processing":
            if image["left"] == 0:
                image["status"] = self.app.becomes.get(image["fileName"], {}).get("status", "completed")
            image["left"] -= 1
        shown = image | {"mayErase": self.app.may_erase}
        if image["status"] in ("completed", "needs_review"):
            shown |= {"viewUrl": f"{self.server.origin}/pictures/{image_id}", "viewUrlExpiresInSeconds": 300}
        return 200, shown

    def list_images(self) -> Answer:
        begin, limit = int(self.query.get("nextToken", 0)), int(self.query.get("limit", 20))
        found = [
            image
            for image in self.app.images
            if all(image.get(name) == self.query[name] for name in ("animal", "status") if name in self.query)
            and self.query.get("from", "") <= image["createdAt"] < self.query.get("to", "9")
        ]
        end = begin + limit
        return 200, {"images": found[begin:end], "nextToken": str(end) if end < len(found) else None}

    def erase(self, image_id: str) -> Answer:
        self.app.images = [image for image in self.app.images if image["imageId"] != image_id]
        return 200, {"imageId": image_id, "status": "erased"}

    def decide(self, body: dict[str, Any]) -> Answer:
        rows = self.app.history.setdefault(body["imageId"], [])
        key = self.headers["Idempotency-Key"]
        if not any(row["key"] == key for row in rows):
            kind = "undo" if "undoes" in body else "verdict"
            for row in rows:
                row["undone"] = row["undone"] or row["key"] == body.get("undoes")
            rows.append(
                {
                    "key": key,
                    "kind": kind,
                    "animal": body.get("animal"),
                    "by": self.app.person,
                    "at": _now(),
                    "mode": body.get("mode"),
                    "blind": body.get("blind", False),
                    "milliseconds": body.get("milliseconds", 0),
                    "undone": False,
                }
            )
        image = self.app.image(body["imageId"])
        effective = [row["animal"] for row in rows if row["kind"] == "verdict" and not row["undone"]]
        if image and effective:
            image |= {"animal": effective[-1], "status": "completed"}
        return 200, {
            "imageId": body["imageId"],
            "key": key,
            "sequence": len(rows),
            "animal": effective[-1] if effective else None,
        }

    def set_policy(self, body: dict[str, Any]) -> Answer:
        if "takeBack" in body:
            if body["takeBack"] != self.app.changes[0]["number"]:
                message = "The policy was changed since: look at it again."
                return 409, {"code": "POLICY_CHANGED", "message": message, "requestId": "r-409"}
            self.app.policy = self.app.changes[1]["policy"]
        else:
            self.app.policy = self.app.policy | body["policy"]
        self.app.changes.insert(
            0,
            {
                "number": len(self.app.changes) + 1,
                "policy": self.app.policy,
                "by": self.app.person,
                "at": _now(),
                "because": body["because"],
            },
        )
        return 200, {"policy": self.app.policy}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
