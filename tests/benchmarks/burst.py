"""More images at once than Rekognition's quota allows, on the local AWS: does each one end, at the quota's pace?

The local Rekognition refuses what is beyond one call a second. Retries of the state machine wait a tenth of their time;
an image that waits for its turn waits as long as on AWS.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import itertools
import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.table import Table

from tests.benchmarks.measure import Measure
from tests.support.deployment import (
    CERTAIN_CAT,
    CERTAIN_DOG,
    CERTAIN_OTHER,
    FINAL,
    UNCERTAIN_CAT,
    Deployment,
    never_seen,
)
from tests.support.starter import running
from tests.support.waiting import wait_for

QUOTA = 1.0  # calls a second that the local Rekognition admits
PACE = 0.95  # RekognitionCallsPerSecond, a little below the quota
_IMAGES = os.environ.get("IMAGES", "")
IMAGES = int(_IMAGES) if _IMAGES.isdecimal() else 60
MOST = 1.1  # of the floor: the time in which Rekognition could be asked about all images at the pace
MOST_SECONDS_MORE = 5.0  # that a live upload may take in the middle of a backfill
# An image must end in this many times the floor, or the run is given up.
PATIENCE = 15


@dataclass(frozen=True)
class Result:
    """What became of the images of one scenario."""

    scenario: str
    images: int
    statuses: Counter[str]
    notices: Counter[str]
    seconds: float
    calls: list[tuple[float, str]]  # when Rekognition was called, and how it answered
    beside: str = ""  # what happened beside
    late: float = 0.0  # seconds that a live upload took longer than alone

    @property
    def unfinished(self) -> int:
        """Images without a good end."""
        return self.images - sum(self.statuses[status] for status in ("completed", "needs_review"))

    @property
    def unexpected_notices(self) -> int:
        """Notices but one for each uncertain image."""
        return sum(self.notices.values()) - self.statuses["needs_review"]

    @property
    def throttled(self) -> int:
        """Calls that Rekognition refused."""
        return sum(answer == "ProvisionedThroughputExceededException" for _, answer in self.calls)

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        return (
            self.scenario,
            str(self.images),
            ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items())),
            ", ".join(f"{count} {kind}" for kind, count in sorted(self.notices.items())) or "none",
            f"{self.seconds:.0f} s",
            f"{self.seconds / (self.images / PACE):.2f}",
            f"{self.seconds / (self.images / QUOTA):.2f}",
            f"{len(self.calls)}, {self.throttled} throttled",
            self.beside,
        )


def measure(scratch: Path) -> tuple[list[Table], list[Measure]]:
    """The scenarios one after the other, on a local AWS of their own in `scratch`: a table, and what must be true."""
    with running(scratch / "engine", calls_per_second=QUOTA) as engine:
        application = Deployment(engine)
        application.configure("ImageProcessorFunction", REKOGNITION_CALLS_PER_SECOND=str(PACE))
        application.listen()
        results = [scenario(application) for scenario in (_burst, _backfill, _shared)]
    title = f"Images at once on the local AWS, whose Rekognition admits {QUOTA:g} calls a second"
    table = Table(
        "scenario", "images", "ended", "notices", "took", "/ floor", "/ quota's", "calls", "beside", title=title
    )
    for result in results:
        table.add_row(*result.cells)
    return [table], [measure for result in results for measure in _judged(result)]


def _judged(result: Result) -> Iterator[Measure]:
    name = f"{result.images} images at once, {result.scenario}"
    yield Measure(
        f"{name}: failed, notices too many",
        f"{result.unfinished}, {result.unexpected_notices}",
        f"{result.throttled} of {len(result.calls)} calls throttled",
        target="0, 0",
        is_met=result.unfinished == 0 and result.unexpected_notices == 0,
    )
    floor = result.images / PACE
    ratio, shared = result.seconds / floor, result.scenario == _SHARED
    yield Measure(
        f"{name}: seconds",
        f"{result.seconds:.0f}",
        f"floor {floor:.0f}, at {PACE} calls a second",
        ratio,
        "" if shared else f"<= {MOST}",
        shared or ratio <= MOST,
    )
    if result.late:
        target = f"<= {MOST_SECONDS_MORE:g}"
        is_met = result.late <= MOST_SECONDS_MORE
        yield Measure(f"{name}: seconds more of a live upload", f"{result.late:.1f}", target=target, is_met=is_met)


# --- Scenarios --------------------------------------------------------------------------------------------------------

_BURST, _BACKFILL, _SHARED = "live", "backfill", "half of the quota used by others"


def _burst(application: Deployment) -> Result:
    return _measured(application, _BURST, "input")


def _backfill(application: Deployment) -> Result:
    """A live upload alone, and another one in the middle of a backfill."""
    alone = _seconds_of_upload(application)
    seen: list[float] = []

    def upload_in_the_middle() -> None:
        time.sleep(IMAGES / PACE / 3)
        seen.append(_seconds_of_upload(application))

    thread = threading.Thread(target=upload_in_the_middle)
    thread.start()
    result = _measured(application, _BACKFILL, "input/backfill")
    thread.join()
    return dataclasses.replace(
        result, beside=f"live upload: {seen[0]:.1f} s, {alone:.1f} s alone", late=seen[0] - alone
    )


def _shared(application: Deployment) -> Result:
    """Somebody else asks the same Rekognition half of what its quota admits."""
    with _another_consumer(application) as answers:
        result = _measured(application, _SHARED, "input")
    return dataclasses.replace(result, beside=f"others: {answers[200]} calls, {answers[400]} throttled")


@contextlib.contextmanager
def _another_consumer(application: Deployment) -> Iterator[Counter[int]]:
    answers: Counter[int] = Counter()
    stop = threading.Event()
    headers = {"X-Amz-Target": "RekognitionService.DetectLabels", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps({"Image": {"Bytes": base64.b64encode(CERTAIN_CAT.read_bytes()).decode()}})

    def consume() -> None:  # insists, as every SDK does, and catches up on what it was refused
        due = time.monotonic()
        with _session() as session:
            while not stop.wait(max(0.1, due - time.monotonic())):
                answer = session.post(application.engine.rekognition_url, data=body, headers=headers, timeout=60)
                answers[answer.status_code] += 1
                due += 2 / QUOTA if answer.ok else 0

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


# --- Measuring --------------------------------------------------------------------------------------------------------


def _measured(application: Deployment, scenario: str, folder: str) -> Result:
    """Put all images into the folder at once, and wait for their ends."""
    pictures = [CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, UNCERTAIN_CAT]
    keys = {uuid.uuid4().hex: picture for _, picture in zip(range(IMAGES), itertools.cycle(pictures), strict=False)}
    notices = len(application.notices())
    start = time.time()
    with ThreadPoolExecutor(8) as pool:
        for image_id, picture in keys.items():
            pool.submit(application.put_object, f"{folder}/{image_id}.jpg", never_seen(picture))

    def statuses() -> Counter[str]:
        records = (item for item in application.items() if item["ImageID"]["S"] in keys)
        return Counter(record.get("ProcessingStatus", {}).get("S", "") for record in records)

    def ended() -> bool:
        return sum(statuses()[status] for status in FINAL) == IMAGES

    wait_for(ended, PATIENCE * IMAGES / QUOTA, pause=0.5)
    seconds = time.time() - start
    sent = Counter(notice["MessageAttributes"]["Kind"]["Value"] for notice in application.notices()[notices:])
    return Result(scenario, IMAGES, statuses(), sent, seconds, _calls(application, start))


@contextlib.contextmanager
def _session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        yield session


def _calls(application: Deployment, start: float) -> list[tuple[float, str]]:
    with _session() as session:
        answer = session.get(f"{application.engine.rekognition_url}/calls", params={"since": start}, timeout=60)
    answer.raise_for_status()
    return [(at, outcome) for at, outcome in answer.json()["calls"]]


def _seconds_of_upload(application: Deployment) -> float:
    """How long one upload through the API takes, to its final record."""
    start = time.monotonic()
    image_id = application.client.upload("live.jpg", "image/jpeg", never_seen(CERTAIN_CAT))
    if not wait_for(lambda: application.status(image_id) in FINAL, PATIENCE * IMAGES / QUOTA, pause=0.1):
        raise AssertionError(f"{image_id} is {application.status(image_id)}")
    return time.monotonic() - start
