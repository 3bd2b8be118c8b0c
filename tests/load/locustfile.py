"""What a client does. Locust runs this in an environment of its own, with the repository on its path.

Its clients wait side by side in `time.sleep` and in sockets, which Locust has replaced.

The command line gives it the API's address (--host); the environment gives the rest: LOAD_SCENARIO, LOAD_KEY and
LOAD_LEDGER, the file that the summary is made from.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from locust import HttpUser, between, events, task
from locust.exception import StopUser

from tests.load import answers
from tests.load.answers import Expected, Pictures, Refused
from tests.load.ledger import Image, Ledger, Request
from tests.load.scenarios import SCENARIOS

SCENARIO = SCENARIOS[os.environ["LOAD_SCENARIO"]]
KEY = {"x-api-key": os.environ["LOAD_KEY"]}
LEDGER = Ledger(Path(os.environ["LOAD_LEDGER"]))
PICTURES = Pictures(SCENARIO.images)

REQUEST_SECONDS = 60.0
FINAL = ("completed", "needs_review", "rejected", "failed", "held")
LIST_EVERY = 5  # pictures
SLOW_BODY = b'{"fileName": "slow.jpg", "contentType": "image/jpeg"}'
SLOW_SECONDS = 10.0  # that it takes to send
THROTTLED = " (429, sent again)"


@events.request.add_listener  # type: ignore[untyped-decorator]
def note(name: str, response_time: float, exception: Exception | None, start_time: float, **_: Any) -> None:
    """Keep what the summary needs of each request."""
    throttled = name.endswith(THROTTLED)
    error = str(exception or "")
    LEDGER.add(Request(name.removesuffix(THROTTLED), start_time, response_time, error, throttled))


class Client(HttpUser):  # type: ignore[misc]
    """Sends requests, and tries again when it is throttled."""

    abstract = True
    wait_time = between(*SCENARIO.pause)
    numbers = itertools.count()

    def on_start(self) -> None:
        self.number = next(self.numbers)

    def ask(self, name: str, verb: str, path: str, expected: Expected, **content: Any) -> Any:
        """The response if it was the expected one, else None, and the request counts as an error."""
        for attempt in range(1, answers.THROTTLED_ATTEMPTS + 1):
            with self.client.request(
                verb, path, name=name, catch_response=True, timeout=REQUEST_SECONDS, **content
            ) as response:
                status, body = response.status_code, response.content or b""
                wait = answers.asks_to_wait(status, body) and attempt < answers.THROTTLED_ATTEMPTS
                problem = expected.problem(status, body)
                if wait:
                    response.request_meta["name"] = name + THROTTLED
                    response.success()
                elif problem:
                    response.failure(f"{problem} {response.error or ''}".strip())
                else:
                    response.success()
            if not wait:
                return None if problem else response
            time.sleep(answers.pause_before(attempt, response.headers))
        return None


class Uploader(Client):
    """Uploads pictures in turns by a form and inline, looks each up until its end is known, and lists now and then."""

    fixed_count = SCENARIO.clients
    running = SCENARIO.clients

    @task  # type: ignore[untyped-decorator]
    def one_picture(self) -> None:
        picture = PICTURES.next()
        if picture is None:
            self._leave()
        turn = SCENARIO.images - PICTURES.left + self.number
        image_id = self._inline(*picture) if turn % 2 else self._by_form(*picture)
        if image_id:
            LEDGER.add(Image(image_id, time.time()))
            self._look(image_id)
        if turn % LIST_EVERY == 0:
            self.ask("GET /images", "GET", "/images?limit=20", answers.OK, headers=KEY)

    def _inline(self, name: str, data: bytes) -> str:
        document = {"fileName": name, "contentType": "image/jpeg", "image": base64.b64encode(data).decode()}
        answer = self.ask("POST /upload, inline", "POST", "/upload", answers.ACCEPTED, json=document, headers=KEY)
        return str(answer.json()["imageId"]) if answer else ""

    def _by_form(self, name: str, data: bytes) -> str:
        document = {"fileName": name, "contentType": "image/jpeg"}
        answer = self.ask("POST /upload, form", "POST", "/upload", answers.FORM, json=document, headers=KEY)
        if not answer:
            return ""
        ticket = answer.json()
        form, file = ticket["upload"], {"file": ("picture", data)}
        sent = self.ask("POST to S3", "POST", form["url"], answers.STORED, data=form["fields"], files=file)
        return str(ticket["imageId"]) if sent else ""

    def _look(self, image_id: str) -> None:
        for look in range(SCENARIO.looks):
            time.sleep(1 if look else 0)
            answer = self.ask("GET /images/{id}", "GET", f"/images/{image_id}", answers.OK, headers=KEY)
            if not answer or answer.json()["status"] in FINAL:
                return

    def _leave(self) -> NoReturn:
        """Everything is sent. The last one ends the run, if nobody else is to go on until its time is over."""
        type(self).running -= 1
        if self.running == 0 and not SCENARIO.hostile:
            self.environment.runner.quit()
        raise StopUser


class Hostile(Client):
    """Sends what must be refused, a kind after the other, and is slow."""

    abstract = not SCENARIO.hostile
    fixed_count = SCENARIO.hostile
    wait_time = between(0.2, 0.5)
    cases = answers.refusals() if SCENARIO.hostile else []

    def on_start(self) -> None:
        super().on_start()
        # The slow cases are first for some, so that several are slow at once.
        kinds = [self._slow, *[lambda case=case: self._refused(case) for case in self.cases]]
        start = self.number % len(kinds)
        self._turns = itertools.cycle(kinds[start:] + kinds[:start])

    @task  # type: ignore[untyped-decorator]
    def one_request(self) -> None:
        next(self._turns)()

    def _refused(self, case: Refused) -> None:
        headers = {"content-type": "application/json"}
        key = KEY["x-api-key"] if case.key is None else case.key
        if key:
            headers["x-api-key"] = key
        verb = "GET" if case.body is None else "POST"
        self.ask(f"refused: {case.name}", verb, case.path, case.expected, data=case.body, headers=headers)

    def _slow(self) -> None:
        """An honest request, byte by byte: it may be answered, or be cut off, but it must not break anything."""
        start, began, problem = time.time(), time.perf_counter(), ""
        try:
            answer = self._send_slowly()
            status = int(answer.split()[1]) if answer.startswith(b"HTTP/") else 0
            if status >= 500:
                problem = f"{status} to a slow client"
        except TimeoutError:
            problem = f"no answer in {REQUEST_SECONDS:.0f} s"
        except ConnectionRefusedError as error:
            problem = str(error)
        except OSError:
            pass  # cut off
        events.request.fire(
            request_type="POST",
            name="slow client",
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=RuntimeError(problem) if problem else None,
            start_time=start,
        )

    def _send_slowly(self) -> bytes:
        """The first line of the answer; empty when the server has closed the connection."""
        url = urlsplit(self.host)
        secure = url.scheme == "https"
        head = (
            f"POST {url.path.rstrip('/')}/upload HTTP/1.1\r\nHost: {url.netloc}\r\nx-api-key: {KEY['x-api-key']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(SLOW_BODY)}\r\nConnection: close\r\n\r\n"
        )
        address = (url.hostname, url.port or (443 if secure else 80))
        with socket.create_connection(address, timeout=REQUEST_SECONDS) as plain:
            connection = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=url.hostname) if secure else plain
            )
            connection.sendall(head.encode())
            for byte in SLOW_BODY:
                time.sleep(SLOW_SECONDS / len(SLOW_BODY))
                connection.sendall(bytes([byte]))
            return connection.recv(1024).partition(b"\r\n")[0]
