"""What was loaded, and what can be known of it: of any stage what its API tells, of the local AWS more."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from local.demo import Inbox
from tests.load import answers
from tests.support.deployment import Deployment

LOOK_SECONDS = 60.0
SETTLE_SECONDS = 180.0  # after the load, for what was accepted: far more than the local AWS needs for all of a burst
POLL_SECONDS = 1.0
SAMPLE_SECONDS = 2.0

FINISHED = ("completed", "needs_review", "rejected", "held")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Look:
    """An image as GET /images/{id} shows it. `status` is empty when there is no record."""

    status: str
    turn_at: float = 0.0  # when its turn to be analysed is expected, in seconds since 1970; 0: it waits for none
    seconds: float = 0.0  # from its record's creation to its end

    @classmethod
    def of(cls, document: dict[str, Any]) -> Look:
        """The look for an answer's body."""
        created, ended, turn = (_seconds(document.get(name)) for name in ("createdAt", "timestamp", "turnAt"))
        return cls(str(document["status"]), turn, max(0.0, ended - created) if ended else 0.0)

    @property
    def fate(self) -> str:
        """What this means once the time to finish is over: finished, failed, lost, stuck or waiting."""
        if self.status in FINISHED:
            return "finished"
        if self.status == "failed":
            return "failed"
        if self.status in ("", "uploading"):  # accepted, and nothing came of it
            return "lost"
        return "waiting" if self.turn_at > time.time() else "stuck"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it by itself today."""
        return self.fate in ("finished", "failed")


# Neither finished nor lost: it is looked at again, and is stuck if the API never says.
NOT_TOLD = Look("not told")


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


class Stage:
    """A stage behind the URL of its API. What only AWS itself would tell is None."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url.rstrip("/"), key
        self.is_local = urlsplit(url).hostname in LOOPBACK
        self._session = requests.Session()
        self._session.trust_env = not self.is_local  # no proxy knows this machine
        self._session.headers["x-api-key"] = key

    def health(self) -> str:
        """What GET /health answers: a status, or what went wrong."""
        try:
            answer = self._session.get(f"{self.url}/health", timeout=LOOK_SECONDS)
        except requests.RequestException as error:
            return str(error)
        return f"{answer.status_code} {answer.text[:200]}" if answer.status_code != 200 else "ok"

    def look(self, image_id: str) -> Look:
        """The image now; NOT_TOLD when the API does not say."""
        for attempt in range(1, answers.THROTTLED_ATTEMPTS + 1):
            try:
                answer = self._session.get(f"{self.url}/images/{image_id}", timeout=LOOK_SECONDS)
            except requests.RequestException:
                return NOT_TOLD
            if not answers.asks_to_wait(answer.status_code, answer.content):
                break
            time.sleep(answers.pause_before(attempt, answer.headers))
        if answer.status_code == 404:
            return Look("")
        return Look.of(answer.json()) if answer.status_code == 200 else NOT_TOLD

    def notices(self, expected: int) -> Counter[str] | None:
        """Notices by kind since the last question, or None where nobody can know."""
        return None

    def calls(self, since: float) -> list[tuple[float, str]] | None:
        """Calls to Rekognition since then, each with its time and its answer, or None where nobody can know."""
        return None

    @contextlib.contextmanager
    def watched(self) -> Iterator[Environments | None]:
        """How many environments run functions inside the block, or None where nobody can know."""
        yield None

    def limits(self) -> list[str]:
        """What bounds these numbers, in sentences."""
        return [
            "Notices and calls to Rekognition are not known here: the API does not tell. The stage's dashboards do.",
            "The clients and the way to the stage are part of every time; so are Lambda's cold starts.",
        ]


@dataclass
class Environments:
    """The most Lambda environments (processes) that were seen at once, and their memory."""

    number: int = 0
    megabytes: int = 0


class LocalAws(Stage):
    """The application on a local AWS that nobody else uses."""

    def __init__(self, application: Deployment) -> None:
        super().__init__(application.outputs["ApiUrl"], application.api_key)
        self._application = application
        self._inbox = Inbox(application.engine, application.outputs["NoticesTopicArn"])

    def notices(self, expected: int) -> Counter[str]:
        """Waits a moment for as many as are expected: some may be on their way."""
        return Counter(kind_of(notice) for notice in self._inbox.read(expected))

    def calls(self, since: float) -> list[tuple[float, str]]:
        answer = self._session.get(f"{self._application.engine.rekognition_url}/calls?since={since}", timeout=60)
        answer.raise_for_status()
        return [(float(at), str(outcome)) for at, outcome in answer.json()["calls"]]

    @contextlib.contextmanager
    def watched(self) -> Iterator[Environments]:
        """Memory is the sum of resident sets, and counts what processes share once for each."""
        seen, stop = Environments(), threading.Event()

        def sample() -> None:
            while not stop.wait(SAMPLE_SECONDS):
                memory = [_resident_megabytes(place) for place, _ in self._application.workers()]
                seen.number, seen.megabytes = max(seen.number, len(memory)), max(seen.megabytes, sum(memory))

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield seen
        finally:
            stop.set()
            thread.join()

    def limits(self) -> list[str]:
        client = self._application.engine.client
        at_once = client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
        throttles = [plan["throttle"] for plan in client("apigateway").get_usage_plans()["items"] if "throttle" in plan]
        plans = [f"{plan['rateLimit']:g} requests a second, {plan['burstLimit']} at once" for plan in throttles]
        return [
            f"This is no measure of AWS. All of it shares this machine's {os.cpu_count()} processors, the clients too.",
            "The local AWS is one Python process with everything in memory.",
            f"Lambda runs at most {at_once} functions at once, each in a process of its own with a cold start.",
            f"The usage plan of the API key allows {'; '.join(plans) or 'any number of requests'}.",
            "The local Rekognition looks at one picture at a time.",
            "Notices are those that came until the images had ended; a digest of withheld ones may come later.",
        ]


def kind_of(notice: dict[str, Any]) -> str:
    """The attribute Kind; of a list of them, which a digest has, the first."""
    kind = notice["MessageAttributes"]["Kind"]
    return str(json.loads(kind["Value"])[0] if kind["Type"] == "String.Array" else kind["Value"])


def _resident_megabytes(process: Path) -> int:
    """0 for a process that has just ended."""
    with contextlib.suppress(OSError):
        if found := re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text()):
            return int(found[1]) // 1024
    return 0


def follow(
    image_ids: Collection[str],
    look: Callable[[str], Look],
    seconds: float = SETTLE_SECONDS,
    pause: float = POLL_SECONDS,
) -> dict[str, Look]:
    """Look at images until each has ended or the time is over; the last look at each.

    One that waits for a turn beyond that time is not waited for.
    """
    deadline = time.monotonic() + seconds
    looks = {image_id: look(image_id) for image_id in image_ids}
    while True:
        end = time.time() + deadline - time.monotonic()
        open_ones = [image_id for image_id, last in looks.items() if not last.has_ended and last.turn_at <= end]
        if not open_ones or time.monotonic() > deadline:
            return looks
        time.sleep(pause)
        looks.update({image_id: look(image_id) for image_id in open_ones})


def today() -> str:
    """The day and time of a report, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
