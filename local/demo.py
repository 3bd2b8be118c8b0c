"""Sort a folder of pictures on this machine and show what became of each: `python -m local.demo [--photos FOLDER]`.

Starts the embedded AWS if it does not run, deploys the application, sends every picture through the API the way a
client does, waits for all of them, and prints a table. The embedded AWS keeps running afterwards, so that a person can
go on; if the command is interrupted or fails before that, it stops what it started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from local.api_client import ApiClient, RefusedError
from local.deploy import deploy
from local.engine import REPOSITORY, Engine, UserError, engine_from_environment, run_command, stopped_unless_finished

CLIENTS = 4
IMAGE_SECONDS = 120.0  # from sending a picture to its final status; far more than the workflow ever needs here
NOTICE_SECONDS = 10.0  # a notice follows the final status within moments
# A form takes 15 MB. A file beyond this size is not sent just to hear so.
LARGEST_SENT_BYTES = 64 * 1024 * 1024

FINAL = {"completed", "needs_review", "rejected", "failed"}

# What S3 says when it refuses the picture in a form, in the words of the workflow's reason codes.
_REFUSALS = {"EntityTooLarge": "TOO_LARGE", "EntityTooSmall": "EMPTY"}


@dataclass
class Outcome:
    """What became of one picture."""

    name: str
    status: str
    milliseconds: int = 0
    reason_code: str = ""
    remark: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder the picture lies in, as its S3 location says; `-` when it lies nowhere."""
        location = self.record.get("location") or ""
        return location.removeprefix("s3://").split("/")[1] + "/" if location.count("/") >= 4 else "-"


def pictures_in(folder: Path) -> list[Path]:
    """The files to send: every regular file that is neither hidden nor a Markdown document, by name.

    Raises UserError when there is none.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name one with pictures, as in `make run PHOTOS=~/pictures`.")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() != ".md"
    )
    if not files:
        raise UserError(f"There are no pictures in {folder}: put some there, or name another folder with PHOTOS=.")
    return files


class Sender:
    """Sends pictures through the API and follows each to its end."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._finished = 0
        self.stopped = threading.Event()

    def process(self, file: Path) -> Outcome:
        """Upload one file and wait for its final status."""
        name = file.name.encode(errors="replace").decode()  # a name that is not UTF-8 cannot be said in JSON
        if self.stopped.is_set():
            return Outcome(name, "stuck", remark="not sent, because others are stuck")
        start = time.monotonic()
        try:
            if file.stat().st_size > LARGEST_SENT_BYTES:
                return Outcome(name, "rejected", reason_code="TOO_LARGE", remark="not sent")
            image_id = self._api.upload(name, _declared_type(file), file.read_bytes())
        except RefusedError as refusal:
            if refusal.code in _REFUSALS:
                code = _REFUSALS[refusal.code]
                return Outcome(name, "rejected", _milliseconds(start), code, "refused at upload")
            return Outcome(name, "failed", _milliseconds(start), refusal.code, refusal.message)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or error
            return Outcome(name, "failed", _milliseconds(start), remark=f"cannot be read or sent: {reason}")
        return self._follow(name, image_id, start)

    def _follow(self, name: str, image_id: str, start: float) -> Outcome:
        pause = 0.1
        remark = f"{image_id} was not looked at"
        finished_before = self._finished
        while time.monotonic() - start < IMAGE_SECONDS and not self.stopped.wait(pause):
            pause = min(pause * 1.2, 0.5)
            try:
                record = self._api.image(image_id)
            except (RefusedError, OSError, HTTPException) as error:
                if isinstance(error, RefusedError) and error.status < 500:
                    return Outcome(name, "failed", _milliseconds(start), error.code, error.message)
                remark = f"{image_id} cannot be looked at: {error}"  # for now
                continue
            if record["status"] in FINAL:
                code = record.get("reasonCode") or ""
                self._finished += 1
                return Outcome(name, record["status"], _milliseconds(start), code, record=record)
            remark = f"{image_id} is still {record['status']}"
        if self._finished == finished_before:  # nothing moves any more: do not wait for each picture in turn
            self.stopped.set()
        return Outcome(name, "stuck", _milliseconds(start), remark=remark)


def _declared_type(file: Path) -> str:
    """What a client that goes by the name would declare; the workflow judges the bytes."""
    return "image/png" if file.suffix.lower() == ".png" else "image/jpeg"


def _milliseconds(start: float) -> int:
    return round((time.monotonic() - start) * 1000)


class Inbox:
    """The notices that are sent while it is open: a queue subscribed to the topic."""

    def __init__(self, engine: Engine, topic_arn: str) -> None:
        self._sqs, self._sns = engine.client("sqs"), engine.client("sns")
        self._queue = self._sqs.create_queue(QueueName=f"serverlessapp-demo-{uuid.uuid4().hex[:8]}")["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]
        self._subscription = self._sns.subscribe(
            TopicArn=topic_arn, Protocol="sqs", Endpoint=attributes["QueueArn"], ReturnSubscriptionArn=True
        )["SubscriptionArn"]

    def read(self, expected: int) -> list[dict[str, Any]]:
        """The notices received; waits a while for the expected number of them."""
        notices: list[dict[str, Any]] = []
        deadline = time.monotonic() + NOTICE_SECONDS
        while True:
            batch = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", [])
            notices += [json.loads(message["Body"]) for message in batch]
            for message in batch:
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            if not batch and (len(notices) >= expected or time.monotonic() > deadline):
                return notices
            if not batch:
                time.sleep(0.2)

    def close(self) -> None:
        """Take the subscription and the queue away again."""
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._queue)


def run(engine: Engine, folder: Path, console: Console) -> int:
    """The whole demonstration; returns the exit code: 1 when a picture is stuck or failed, else 0."""
    files = pictures_in(folder)
    with stopped_unless_finished(engine):
        console.print(f"Starting the local AWS on {engine.url} ...", highlight=False)
        console.print("Started." if engine.up() else "It was already running.")
        outputs = deploy(engine)
        key = engine.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
        api = ApiClient(outputs["ApiUrl"], key)
        with contextlib.closing(Inbox(engine, outputs["NoticesTopicArn"])) as inbox:
            start = time.monotonic()
            outcomes = _process_all(Sender(api), files, console)
            seconds = time.monotonic() - start
            console.print(_table(outcomes))
            console.print(_totals(outcomes, seconds), highlight=False)
            expected = [outcome for outcome in outcomes if outcome.record.get("status") in ("needs_review", "failed")]
            notices = inbox.read(len(expected))
    _print_notices(console, notices)
    _print_how_to_go_on(console, engine, api)
    return _verdict(outcomes)


def _process_all(sender: Sender, files: list[Path], console: Console) -> list[Outcome]:
    """Send all files with a few clients at once, and show how far they are; outcomes in the files' order."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ThreadPoolExecutor(CLIENTS)
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("Sorting", total=len(files))
            futures = {pool.submit(sender.process, file): file for file in files}
            outcomes = {}
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                progress.advance(task)
    finally:
        sender.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return [outcomes[file] for file in files]


def _table(outcomes: list[Outcome]) -> Table:
    table = Table()
    table.add_column("file", overflow="fold")
    for name in ("animal", "confidence", "certain", "folder", "status", "ms"):
        table.add_column(
            name, justify="right" if name in ("confidence", "ms") else "left", no_wrap=name != "status", overflow="fold"
        )
    for outcome in outcomes:
        record = outcome.record
        confidence, certain = record.get("confidence"), record.get("certain")
        details = [text for text in (outcome.reason_code, outcome.remark) if text]
        table.add_row(
            Text(outcome.name),
            record.get("animal") or "-",
            "-" if confidence is None else f"{float(confidence):.1f}",
            "-" if certain is None else "yes" if certain else "no",
            outcome.folder,
            Text(": ".join([outcome.status, ", ".join(details)]) if details else outcome.status),
            str(outcome.milliseconds),
        )
    return table


def _totals(outcomes: list[Outcome], seconds: float) -> str:
    counted = Counter(outcome.status for outcome in outcomes)
    animals = Counter(outcome.record["animal"] for outcome in outcomes if outcome.record.get("animal"))
    found = ", ".join(f"{animals[animal]} {animal}" for animal in ("cat", "dog", "other") if animals[animal])
    ended = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in sorted(counted.items()))
    return f"{len(outcomes)} pictures in {seconds:.1f} s: {'; '.join(filter(None, [found, ended]))}."


def _print_notices(console: Console, notices: list[dict[str, Any]]) -> None:
    console.print(f"\nNotices sent to people: {len(notices)}")
    for notice in notices:
        lines = [line for line in notice["Message"].splitlines() if line.strip()]
        text = f"  {notice.get('Subject') or '(no subject)'}: {lines[0] if lines else ''}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_how_to_go_on(console: Console, engine: Engine, api: ApiClient) -> None:
    key = f"-H 'x-api-key: {api.key}'"
    picture = shlex.quote(str(REPOSITORY / "photos" / "cat_chelsea.jpg"))
    picture_text = f"$(base64 < {picture} | tr -d '\\n')"
    body = json.dumps({"fileName": "cat.jpg", "contentType": "image/jpeg", "image": "PICTURE"})
    body = body.replace('"', '\\"').replace("PICTURE", picture_text)
    lines = [
        "",
        "The local AWS keeps running. To go on:",
        f"  API      {api.url}",
        f"  API key  {api.key}",
        f"  upload   curl {api.url}/upload {key} -H 'content-type: application/json' -d \"{body}\"",
        f"  look     curl {api.url}/images/<imageId> {key}",
        f"  list     curl '{api.url}/images?limit=5' {key}",
        f"  AWS      {engine.url}, for any SDK or CLI: AWS_ENDPOINT_URL={engine.url} and made-up credentials",
        "  operate  .venv/bin/petdetect status (also: explain <imageId>, cost --actual)",
        f"  logs     {engine.logs}",
        "  stop     make down",
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _verdict(outcomes: list[Outcome]) -> int:
    stuck = [outcome for outcome in outcomes if outcome.status == "stuck"]
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if stuck:
        names = "".join(f"\n  {outcome.name}: {outcome.remark}" for outcome in stuck)
        print(
            f"\nError: {len(stuck)} of {len(outcomes)} pictures did not finish within {IMAGE_SECONDS:.0f} s:{names}\n"
            "The engine's log says why; look there, then `make down` and try again.",
            file=sys.stderr,
        )
    if failed:
        names = ", ".join(outcome.name for outcome in failed)
        print(f"\nError: {len(failed)} of {len(outcomes)} pictures failed: {names}.", file=sys.stderr)
    return 1 if stuck or failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration for a person; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", help="the folder with pictures; default: the variable PHOTOS, or photos/")
    photos = parser.parse_args(arguments).photos or os.environ.get("PHOTOS") or str(REPOSITORY / "photos")
    # A pipe has no width; a table that is cut to 80 columns helps nobody.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    return run_command(lambda: run(engine_from_environment(), Path(photos).expanduser(), console))


if __name__ == "__main__":
    sys.exit(main())
