"""Sort pictures on this machine and show what became of each: `python -m local.demo [--photos PLACE] [--json FILE]`.

Starts the local AWS if it does not run, deploys the application, sends every picture through the API the way a client
does, waits for all of them, and prints a table. The local AWS keeps running afterwards, so that a person can go on; if
the command is interrupted or fails before that, it stops what it started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local import report
from local.api_client import ApiClient
from local.denials import Denials
from local.deploy import deploy, stack_name, stack_outputs
from local.engine import (
    REPOSITORY,
    Engine,
    UserError,
    engine_from_environment,
    home_from_environment,
    stopped_unless_finished,
)
from local.engine_command import start_engine
from local.lock import locked
from local.next_steps import api_key, next_steps
from local.page_offer import is_for_a_person, offer_to_open
from local.pictures import Pictures, pictures_at
from local.sender import Outcome, Sender
from local.subscribed_queue import subscribed_queue
from local.terminal import Terminal, run_command, say

CLIENTS = 4
NOTICE_SECONDS = 10.0  # a notice follows the final status within moments


class Inbox:
    """The notices that are sent while it is open: a queue subscribed to the topic."""

    def __init__(self, engine: Engine, topic_arn: str) -> None:
        self._sqs, self._sns = engine.client("sqs"), engine.client("sns")
        name = f"serverlessapp-demo-{uuid.uuid4().hex[:8]}"
        self._queue, self._subscription = subscribed_queue(engine, name, topic_arn)

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


def run(engine: Engine, found: Pictures, console: Console, json_file: Path | None = None) -> int:
    """The whole demonstration; returns the exit code: 1 when a picture is stuck or failed, or a right is missing."""
    with stopped_unless_finished(engine):
        start_engine(engine)
        outputs = deploy(engine)
        denials = Denials(engine)
        sender = Sender(ApiClient(outputs["ApiUrl"], api_key(engine, outputs)))
        with contextlib.closing(Inbox(engine, outputs["NoticesTopicArn"])) as inbox:
            start = time.monotonic()
            outcomes = _process_all(sender, found, console)
            seconds = time.monotonic() - start
            for outcome in outcomes:
                if outcome.record.get("status") == "failed":
                    outcome.reason_code = _error_of(engine, outputs["DetectionLogsTableName"], outcome.image_id)
            console.print(report.table(outcomes))
            say("\n".join(["", *report.reasons(outcomes)]))
            lines = [report.totals(outcomes, seconds), report.skipped(found.skipped), report.held(outcomes)]
            say("\n".join(filter(None, lines)))
            expected = [outcome for outcome in outcomes if outcome.record.get("status") in ("needs_review", "failed")]
            notices = inbox.read(len(expected))
    say("\n".join(report.notices(notices, outcomes)))
    if json_file:
        _write(json_file, report.document(outcomes, seconds))
    say("\n".join(next_steps(engine, outputs, stack_name())))
    if errors := report.errors(outcomes, denials.read()):
        print(f"\n{errors}", file=sys.stderr)
    return 1 if errors else 0


def _process_all(sender: Sender, found: Pictures, console: Console) -> list[Outcome]:
    """Send all files with a few clients at once, and show how far they are; outcomes in the files' order."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    pool = ThreadPoolExecutor(CLIENTS)
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("Sorting", total=len(found.files))
            futures = {pool.submit(sender.process, file, found.name(file)): file for file in found.files}
            outcomes = {}
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                progress.advance(task)
    finally:
        sender.stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return [outcomes[file] for file in found.files]


def _error_of(engine: Engine, table: str, image_id: str) -> str:
    """The name of the error of a failed image, which the API keeps to itself."""
    item = engine.client("dynamodb").get_item(TableName=table, Key={"ImageID": {"S": image_id}})["Item"]
    return str(item.get("Error", {}).get("M", {}).get("Error", {}).get("S", ""))


def _write(file: Path, document: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"The table cannot be written to {file} ({error.strerror}): name another file.") from None
    say(f"The table as JSON: {file}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration for a person; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", help="a picture, or a folder of them; default: the variable PHOTOS, or photos/")
    parser.add_argument("--json", help="a file to which the table is written too; default: the variable JSON, or none")
    given = parser.parse_args(arguments)
    photos = given.photos or os.environ.get("PHOTOS") or str(REPOSITORY / "photos")
    json_file = given.json or os.environ.get("JSON")

    def command() -> int:
        if json_file and not Path(json_file).expanduser().absolute().parent.is_dir():
            raise UserError(f"There is no folder for {json_file}: name a file in one that exists.")
        found = pictures_at(Path(photos).expanduser())
        with locked(home_from_environment() / "run.lock", "make run"):
            engine = engine_from_environment()
            code = run(engine, found, Terminal(), Path(json_file).expanduser() if json_file else None)
        if is_for_a_person():
            offer_to_open(stack_outputs(engine)["PageUrl"])
        return code

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
