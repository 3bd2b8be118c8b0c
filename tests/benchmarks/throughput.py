"""Images a second, end to end: from asking the API for a form to the final record, for one client and for eight."""

from __future__ import annotations

import itertools
import statistics
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tests.benchmarks.measure import Measure
from tests.integration.application import Application
from tests.support.deployment import CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER, FINAL
from tests.support.waiting import IMAGE_SECONDS

CLIENTS = 8
ROUNDS = 3
IMAGES_OF_ONE_CLIENT = 8  # a round; few seconds of work either way
IMAGES_OF_ALL_CLIENTS = 40
# Half of this is what a client learns too late, on average; a shorter one would keep the engine busy with answers.
POLL_SECONDS = 0.1


def measure(application: Application) -> list[Measure]:
    """One client and eight in turns, after a round that nobody counts, in which the functions become warm."""
    photos = itertools.cycle([CERTAIN_CAT, CERTAIN_DOG, CERTAIN_OTHER])
    _send(application, CLIENTS, 3 * CLIENTS, photos)
    alone, together, latencies = [], [], []
    for _ in range(ROUNDS):
        rate, _ids = _send(application, 1, IMAGES_OF_ONE_CLIENT, photos)
        alone.append(rate)
        rate, ids = _send(application, CLIENTS, IMAGES_OF_ALL_CLIENTS, photos)
        together.append(rate)
        latencies += [_seconds(application, image_id) for image_id in ids]
    one, eight = statistics.median(alone), statistics.median(together)
    middle, slowest = statistics.median(latencies), statistics.quantiles(latencies, n=20)[-1]
    return [
        Measure(
            f"images a second, {CLIENTS} clients",
            f"{eight:.2f} ({min(together):.2f} to {max(together):.2f})",
            f"1 client: {one:.2f} ({min(alone):.2f} to {max(alone):.2f})",
            eight / one,
        ),
        Measure(f"seconds an image, {CLIENTS} clients", f"median {middle:.2f}, 95 % {slowest:.2f}"),
    ]


def _send(application: Application, clients: int, images: int, photos: Iterator[Path]) -> tuple[float, list[str]]:
    """-> (images a second, their ids). Each client sends a picture, waits for its end, and sends the next."""

    def process(photo: Path) -> str:
        content = photo.read_bytes() + uuid.uuid4().bytes  # bytes of its own: what was analysed before is not again
        image_id = application.client.upload(photo.name, "image/jpeg", content)
        deadline = time.monotonic() + IMAGE_SECONDS
        # Asked of DynamoDB, not of the API: its usage plan would be what is measured.
        while (status := application.status(image_id)) not in FINAL:
            if time.monotonic() > deadline:
                raise AssertionError(f"{image_id} is {status} after {IMAGE_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        if status != "completed":
            raise AssertionError(f"{image_id} ({photo.name}) is {status}")
        return image_id

    sent = list(itertools.islice(photos, images))
    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        ids = list(pool.map(process, sent))
    return images / (time.monotonic() - start), ids


def _seconds(application: Application, image_id: str) -> float:
    """From the promise of a place to the final record, by the record's own times."""
    record = application.item(image_id)
    created, finished = (datetime.fromisoformat(record[name]["S"]) for name in ("CreatedAt", "Timestamp"))
    return (finished - created).total_seconds()
