"""A service for the page that keeps its reviews in memory: answers of docs/api.md, and faults as a test wants."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
ANIMALS = ("cat", "dog", "other")
LEASE_SECONDS = 300
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
# As the page is served: see web/app.py.
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'"


class Fault(StrEnum):
    """What happens to one request."""

    NONE = "answered"
    BEFORE = "connection closed before it was handled"
    AFTER = "connection closed after it was handled"
    UNAVAILABLE = "503 before it was handled"
    HANGS = "no answer until the client gives up, after it was handled"


@dataclass
class Review:
    """A picture, and what people said of it."""

    image_id: str
    photo: Path
    leaning: str
    blind: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    leased_by: str = ""
    leased_until: float = 0

    @property
    def standing(self) -> dict[str, Any] | None:
        """The verdict that holds."""
        undone = {row["undoes"] for row in self.rows if row["kind"] == "undo"}
        verdicts = [row for row in self.rows if row["kind"] == "verdict" and row["key"] not in undone]
        return verdicts[-1] if verdicts else None

    def is_leased_to_another(self, person: str) -> bool:
        return self.leased_by not in ("", person) and self.leased_until > time.time()


class FakeService:
    """`fault` chooses what happens to a request, by method and path; `hang` ends those that hang."""

    def __init__(self, pictures: int, photos: list[Path]) -> None:
        chooser = random.Random(12)
        self.reviews = {
            image_id: Review(image_id, photos[number % len(photos)], chooser.choice(ANIMALS))
            for number in range(pictures)
            for image_id in [f"{chooser.getrandbits(128):032x}"]
        }
        self.fault: Callable[[str, str], Fault] = lambda method, path: Fault.NONE
        self.requests: list[tuple[str, str, Fault]] = []
        self.questions: list[dict[str, str]] = []  # GET /people/reviews
        self.passed: list[str] = []  # ids of pictures that somebody skipped
        self.pictures_sent: list[str] = []
        self.picture_fault: Callable[[str], bool] = lambda image_id: False
        self.hang = threading.Event()
        self.lock = threading.Lock()
        self.address = ""

    # --- What the real handlers do -----------------------------------------------------------------------------------

    def lease(self, person: str, query: dict[str, str]) -> tuple[int, Any]:
        """GET /people/reviews."""
        self.questions.append(query)
        passed = [image_id for image_id in query.get("skipped", "").split(",") if image_id]
        assert set(passed) <= self.reviews.keys()
        self.passed += passed
        excepted = set(query.get("except", "").split(","))
        guess = query.get("guess", "")
        with self.lock:
            free = [
                review
                for review in self.reviews.values()
                if not review.standing and not review.is_leased_to_another(person) and review.image_id not in excepted
                if not guess or (review.leaning == guess and not review.blind)
            ]
            free.sort(key=lambda review: review.leased_by != person)
            chosen = free[: int(query["limit"])]
            for review in chosen:
                review.leased_by, review.leased_until = person, time.time() + LEASE_SECONDS
            waiting = sum(not review.standing for review in self.reviews.values())
        return 200, {
            "pictures": [self._picture(review) for review in chosen],
            "waiting": {"uncertain": min(1000, waiting), "sample": 0, "second": 0, "disagreed": 0},
            "pending": 0,
        }

    def _picture(self, review: Review) -> dict[str, Any]:
        shown = {
            "imageId": review.image_id,
            "viewUrl": f"{self.address}/pictures/{review.image_id}.jpg?signed={time.time()}",
            "viewUrlExpiresInSeconds": 300,
            "leasedUntil": review.leased_until,
            "blind": review.blind,
            "sequence": len(review.rows),
        }
        if review.blind:
            return shown
        scores = {animal: 62.5 if animal == review.leaning else 48.0 for animal in ("cat", "dog")}
        return shown | {
            "guess": "other",
            "leaning": review.leaning,
            "scores": scores,
            "reason": "Cat and dog are less than 15 apart.",
            "labels": [{"name": "Animal", "confidence": 93.1}, {"name": "Pet", "confidence": 88.0}],
            "fileName": f"{review.photo.name}",
        }

    def decide(self, person: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        """POST /people/reviews."""
        with self.lock:
            review = self.reviews.get(body["imageId"])
            if review is None:
                return _error(404, "IMAGE_NOT_FOUND", "There is no such image: it was erased, or it never existed.")
            for sequence, row in enumerate(review.rows, start=1):
                if row["key"] == key and row["person"] != person:
                    return _error(409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was sent with something else.")
                if row["key"] == key:
                    return 200, {"imageId": review.image_id, "key": key, "sequence": sequence, "animal": row["animal"]}
            row = {"key": key, "person": person, "at": time.time(), "animal": None, **body}
            if "undoes" in body:
                undone = next((row for row in review.rows if row["key"] == body["undoes"]), None)
                if undone is None or undone["person"] != person or review.standing is not undone:
                    return _error(409, "NOTHING_TO_UNDO", "It was undone before, or decided anew since.")
                row["kind"] = "undo"
                review.leased_by, review.leased_until = person, time.time() + LEASE_SECONDS
            else:
                if body.get("sequence", len(review.rows)) != len(review.rows) or review.standing:
                    return _error(409, "DECIDED_ALREADY", "Somebody has decided about this picture since it was shown.")
                if review.is_leased_to_another(person):
                    return _error(409, "SOMEBODY_DECIDES", "Somebody else has this picture before them.")
                row["kind"] = "verdict"
                review.leased_by = ""
            review.rows.append(row)
            return 200, {
                "imageId": review.image_id, "key": key, "sequence": len(review.rows), "animal": row["animal"],
            }  # fmt: skip

    def mine(self, person: str, query: dict[str, str]) -> tuple[int, Any]:
        """GET /people/reviews/mine."""
        with self.lock:
            verdicts = [
                {
                    "key": row["key"], "imageId": review.image_id, "sequence": sequence, "animal": row["animal"],
                    "mode": row["mode"], "blind": row["blind"], "undone": review.standing is not row, "at": row["at"],
                }
                for review in self.reviews.values()
                for sequence, row in enumerate(review.rows, start=1)
                if row["kind"] == "verdict" and row["person"] == person
            ]  # fmt: skip
        verdicts.sort(key=lambda verdict: verdict["at"], reverse=True)
        start = int(query.get("before", 0))
        end = start + int(query["limit"])
        return 200, {"verdicts": verdicts[start:end], "before": str(end) if end < len(verdicts) else None}

    def answer(
        self, method: str, path: str, query: dict[str, str], person: str, key: str, body: Any
    ) -> tuple[int, Any]:
        """The answer of the people's API."""
        match method, path.split("/")[2:]:
            case "GET", ["people", "reviews"]:
                return self.lease(person, query)
            case "POST", ["people", "reviews"]:
                return self.decide(person, key, body)
            case "GET", ["people", "reviews", "mine"]:
                return self.mine(person, query)
            case "GET", ["people", "images", image_id] if image_id in self.reviews:
                review = replace(self.reviews[image_id], blind=False)
                hidden = (
                    "blind",
                    "sequence",
                    "leasedUntil",
                    "leaning",
                    "guess",
                )  # this answer knows nothing of reviews
                shown = {name: value for name, value in self._picture(review).items() if name not in hidden}
                return 200, shown | {"status": "needs_review", "animal": "other"}
        return _error(404, "NOT_FOUND", "There is nothing here.")

    # --- What tests ask ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for review in self.reviews.values() for row in review.rows]

    @property
    def verdicts(self) -> dict[str, str]:
        """The animal that holds, by image."""
        return {image_id: review.standing["animal"] for image_id, review in self.reviews.items() if review.standing}


def _error(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"code": code, "message": message, "requestId": "made-up"}


def token_of(person: str, groups: tuple[str, ...] = ("reviewer",), name: str = "") -> str:
    """An ID token as the page reads it; nobody signed it."""
    claims = {"sub": person, "email": f"{name or person}@example.com", "cognito:groups": list(groups)}
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, claims, {})
    )


def _person_of(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


@contextmanager
def serving(service: FakeService) -> Iterator[str]:
    """The address of the page, at which `service` answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/pictures/"):
                image_id = Path(path).stem
                if service.picture_fault(image_id):
                    return self._send(403, "application/xml", b"<Code>AccessDenied</Code>")
                service.pictures_sent.append(image_id)
                self._send(200, "image/jpeg", service.reviews[image_id].photo.read_bytes())
            elif path.startswith("/local/app"):
                self._page(path.removeprefix("/local/app").lstrip("/") or "index.html")
            elif path.startswith("/sign-in/"):
                self._send(200, "text/html", b"<title>Signed out</title>")
            else:
                self._api()

        def do_POST(self) -> None:
            if self.path.startswith("/sign-in/"):
                return self._send(200, "application/json", b"{}")
            self._api()

        def _page(self, name: str) -> None:
            if name == "config.json":
                config = {
                    "signInUrl": f"{service.address}/sign-in",
                    "clientId": "page",
                    "environment": "local",
                }
                return self._send(200, "application/json", json.dumps(config).encode())
            file = ROOT / "web" / name
            if not file.is_file():
                return self._send(404, "text/plain", b"There is no such file.")
            self._send(200, _TYPES[file.suffix], file.read_bytes())

        def _api(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            fault = service.fault(self.command, parts.path)
            service.requests.append((self.command, parts.path, fault))
            if fault is Fault.BEFORE:
                return self._close()
            if fault is Fault.UNAVAILABLE:
                return self._send(
                    503, "application/json", b'{"code": "UNAVAILABLE", "message": "Try again.", "requestId": ""}'
                )
            person = _person_of(self.headers["Authorization"])
            key = self.headers["Idempotency-Key"] or ""
            status, answer = service.answer(self.command, parts.path, query, person, key, body)
            if fault is Fault.HANGS:
                service.hang.wait()
            if fault in (Fault.AFTER, Fault.HANGS):
                return self._close()
            self._send(status, "application/json", json.dumps(answer).encode())

        def _close(self) -> None:
            self.close_connection = True

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(HTTPStatus(status))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Cache-Control", "no-store" if "json" in kind else "max-age=300")
            self.end_headers()
            self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # a killed tab closes its connections
                super().handle_error(request, client_address)  # type: ignore[arg-type]

    server = Server(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{service.address}/local/app/"
    finally:
        service.hang.set()
        server.shutdown()
        server.server_close()
        thread.join()


# The page waits twenty seconds for an answer: here some.
_IMPATIENT = """
const { timeout } = AbortSignal;
AbortSignal.timeout = () => timeout.call(AbortSignal, %d * 1000);
"""


class Desk:
    """A browser's profile, in which people are signed in, tab by tab; what it stores outlives its tabs."""

    service: FakeService  # where there is one

    def __init__(self, browser: Browser, address: str, *, patience: int = 1, **settings: Any) -> None:
        self._browser = browser
        self._address = address
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self._context.set_default_timeout(60_000)
        self._context.add_init_script(_IMPATIENT % patience)
        self.errors: list[str] = []
        self._context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def tab(self, view: str = "review", person: str = "rita", token: str = "", clock: bool = False) -> Page:
        """A new tab, in which the view has its first picture, or says that there is none.

        `token`: an ID token. `clock`: the test moves the page's clock.
        """
        page = self._context.new_page()
        if clock:
            page.clock.install()
        tokens = json.dumps({"id": token or token_of(person), "refresh": None, "since": 0, "until": 9e15})
        page.add_init_script(f"sessionStorage.setItem('pet-detector.tokens', {json.dumps(tokens)})")
        page.goto(f"{self._address}#/{view}")
        page.locator(".stage :is(img, button)" if view.startswith("review") else "main h1").first.wait_for()
        return page

    def kill(self, page: Page) -> None:
        """The tab dies as it does when the system kills it: at once, with nothing said to the page."""
        session = self._browser.new_browser_cdp_session()
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        with page.expect_event("crash"):
            for process in processes:
                if process["type"] == "renderer":
                    os.kill(process["id"], signal.SIGKILL)
        session.detach()
        page.close()

    def close(self) -> None:
        self._context.close()


KEYS = {"cat": "c", "dog": "d", "other": "o"}


def truth(image_id: str) -> str:
    """What a made-up picture shows."""
    return ANIMALS[int(image_id[-1], 16) % 3]


def decide(page: Page, times: int) -> None:
    """Decides the next pictures as they are; each was on the screen."""
    for _ in range(times):
        image_id = image_of(page)
        page.keyboard.press(KEYS[truth(image_id)])
        page.wait_for_function("id => !document.querySelector('.stage img')?.src.includes(id)", arg=image_id)


def image_of(page: Page) -> str:
    """The ImageID of the single picture that is shown, and can be decided."""
    return str(page.locator(".stage img").get_attribute("src")).partition(".jpg")[0].rpartition("/")[2]


def unsaved(page: Page) -> int:
    """How many entries the browser keeps as not saved."""
    kept = "Object.entries(localStorage).filter(([name]) => name.startsWith('petdetect.outbox.'))"
    return int(page.evaluate(f"{kept}.filter(([, text]) => !JSON.parse(text).refused).length"))
