"""Sixty clients at once: a laptop says that it is busy, and loses nothing."""

from __future__ import annotations

import base64
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.support import starter
from tests.support.deployment import FINAL, FINISHED, Deployment, never_seen
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

CLIENTS = 60
UPLOADS_PER_CLIENT = 5
UPLOADS = CLIENTS * UPLOADS_PER_CLIENT
MOST_MEGABYTES = 2000
# Far more than the images need: a lost one is what the wait is for.
SECONDS = 900.0
PICTURE = REPOSITORY / "photos" / "cat_gcompris_kitten.jpg"


class Fleet:
    """The processes of functions: the most at any one time, and the most memory that they had together."""

    def __init__(self, application: Deployment) -> None:
        self.processes = 0
        self.megabytes = 0.0
        self._application = application
        self._ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again until the block ends."""
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._ended.set()
            watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            sizes = [self._megabytes(process) for process, _ in self._application.workers()]
            self.processes = max(self.processes, len(sizes))
            self.megabytes = max(self.megabytes, sum(sizes))

    @staticmethod
    def _megabytes(process: Path) -> float:
        with suppress(OSError):  # it has just ended
            if resident := re.search(r"^VmRSS:\s+(\d+)", (process / "status").read_text(), re.MULTILINE):
                return int(resident[1]) / 1024
        return 0.0


class Clients:
    """Send pictures inline, each again while it is throttled; `statuses` and `bodies` are what they were told."""

    def __init__(self, application: Deployment) -> None:
        self._url = application.outputs["ApiUrl"] + "/upload"
        self._key = application.api_key
        self._lock = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.bodies: list[str] = []
        self.ids: list[str] = []

    def send(self, number: int) -> None:
        """Send one picture until it is accepted, or refused for good."""
        image = base64.b64encode(never_seen(PICTURE)).decode()
        document = {"fileName": f"{number}.jpg", "contentType": "image/jpeg", "image": image}
        pause = 0.5
        while True:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.post(self._url, json=document, headers={"x-api-key": self._key}, timeout=120)
            with self._lock:
                self.statuses[answer.status_code] += 1
                if answer.status_code == 202:
                    self.ids.append(answer.json()["imageId"])
                else:
                    self.bodies.append(answer.text)
            if answer.status_code != 429:
                return
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 2, 5)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_sixty_clients_lose_nothing_and_the_functions_stay_below_two_gigabytes(tmp_path: Path) -> None:
    with starter.running(tmp_path / "engine", SFN_WAIT_SCALE="1") as engine:
        application = Deployment(engine)
        clients, fleet = Clients(application), Fleet(application)
        start = time.monotonic()
        with fleet.watched():
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(clients.send, range(UPLOADS)))
            sent = time.monotonic()

            def all_ended() -> bool:
                return all(item["ProcessingStatus"]["S"] in FINAL for item in application.records())

            eventually(all_ended, "every image reaches its end", SECONDS)
        ended = time.monotonic()
        records = {item["ImageID"]["S"]: item["ProcessingStatus"]["S"] for item in application.records()}

    print(
        f"\n{dict(clients.statuses)}, accepted in {sent - start:.0f} s, ended in {ended - start:.0f} s: "
        f"{dict(Counter(records.values()))}; {fleet.processes} processes, {fleet.megabytes:.0f} MB"
    )
    assert set(clients.statuses) <= {202, 429}, clients.bodies
    assert all(json.loads(body)["code"] == "THROTTLED" for body in clients.bodies)
    assert len(clients.ids) == UPLOADS
    assert sorted(records) == sorted(clients.ids)  # a refused request leaves no record
    assert set(records.values()) <= set(FINISHED), Counter(records.values())
    assert fleet.processes > 1
    assert fleet.megabytes < MOST_MEGABYTES
