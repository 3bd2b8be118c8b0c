"""Three known pictures, sent the way clients send them, followed to their folders, and removed again.

Each gets a comment of its own among its bytes, so that no stored analysis answers for Rekognition. They are removed
with the parts of an erasure, but without its ledger, which has no end: the marks that they leave, so that a late event
of theirs starts nothing, expire in a day.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ops import check_judge
from ops.check_api import UnreachableError, request
from ops.check_lines import Line, Subject, not_ok, ok
from ops.check_picture import FORM, INLINE, S3, VERSION, Picture, described, pictures
from ops.errors import KNOWN, sentence
from pet_detector.aws import analyses, detection_logs, erased_records, image_bucket, image_versions, reviews
from pet_detector.aws.clients import client
from pet_detector.rules.execution_input import ImageRef, text_for
from pet_detector.rules.models import ERASED, Status

# For pictures that are started on a version: no rule watches it.
PREFIX = "samples/check"
MARK_SECONDS = 24 * 60 * 60
_FINAL = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.REJECTED, Status.FAILED, Status.HELD)
_LOOK_EVERY = 0.5  # seconds
# An event takes a second or two, or S3 does not send any yet.
_EVENT_SECONDS = 30.0


def check(subject: Subject, key: str | None, *, seconds: float, is_deaf: bool, is_new: bool = False) -> Iterator[Line]:
    """Send, follow for at most so many seconds, judge, and remove, whatever happens in between.

    `key`: the value of an API key, None when there is none. `is_deaf`: no upload can start the workflow. `is_new`: the
    bucket may send no events yet; what none has started is started by its alias, so that the rest is judged.
    """
    chosen = pictures(subject)
    lines: list[Line] = []
    try:
        for picture in chosen:
            with _undivided():  # else there is an image whose ID nobody knows
                _send(subject, picture, key, is_deaf=is_deaf)
        patience = min(seconds / 2, _EVENT_SECONDS) if is_new else 0
        if is_new:
            _follow(subject, chosen, patience)
            with _undivided():
                _start_late(subject, chosen)
        _follow(subject, chosen, seconds - patience)
        for picture in chosen:
            lines += check_judge.judge(subject, picture, key)
        lines.append(check_judge.trace(subject, next((one for one in chosen if one.execution), chosen[0])))
    except KNOWN as error:
        lines.append(not_ok("pictures", sentence(error)))
    finally:
        with contextlib.suppress(KeyboardInterrupt), _undivided():  # a second Ctrl-C leaves no half of it
            removed = list(_remove(subject, chosen))
        if isinstance(sys.exception(), KeyboardInterrupt):  # nobody shows the lines
            print("\n".join(f"{line.name}: {line.says}" for line in removed), file=sys.stderr)
    yield from lines + removed


@contextlib.contextmanager
def _undivided() -> Iterator[None]:
    """Ctrl-C and SIGTERM inside the block raise KeyboardInterrupt behind it."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _send(subject: Subject, picture: Picture, key: str | None, *, is_deaf: bool) -> None:
    picture.sent = time.monotonic()
    if picture.way == VERSION:
        _start(subject, picture)
    elif is_deaf:
        picture.skipped = "The rule ImageUploadedRule would not start it: see its line."
    elif picture.way == S3:
        picture.image_id = uuid.uuid4().hex
        picture.key = f"input/{picture.image_id}.jpg"
        _put(subject, picture)
    elif key is None:
        picture.skipped = "There is no API key that works: see the line API key."
    else:
        _upload(subject, picture, key)


def _put(subject: Subject, picture: Picture) -> str:
    """As somebody does who wants their bucket encrypted by KMS, whose objects have no MD5 for an ETag."""
    aws_key = subject.deployment.parameter("DataKey") == "aws" and not subject.is_local
    encrypted: Any = {"ServerSideEncryption": "aws:kms"} if aws_key else {}
    answer = client("s3").put_object(Bucket=subject.deployment.bucket, Key=picture.key, Body=picture.data, **encrypted)
    return answer.get("VersionId", "null")


def _start(subject: Subject, picture: Picture) -> None:
    picture.image_id = uuid.uuid4().hex
    picture.key = f"{PREFIX}/{picture.image_id}.jpg"
    _execute(subject, picture, _put(subject, picture))


def _start_late(subject: Subject, chosen: list[Picture]) -> None:
    """Start what lies there and no event has started. Should one come after all, its execution finds it claimed."""
    for picture in chosen:
        if picture.image_id and not picture.problem and not picture.execution:
            version = image_bucket.present_version(subject.deployment.bucket, picture.key)
            if version:
                picture.is_late = True
                _execute(subject, picture, version)


def _execute(subject: Subject, picture: Picture, version: str) -> None:
    started = client("stepfunctions").start_execution(
        stateMachineArn=subject.machine_arn,
        name=f"check-{picture.image_id}",
        input=text_for(ImageRef(picture.image_id, picture.key, version)),
    )
    picture.execution = started["executionArn"]


def _upload(subject: Subject, picture: Picture, key: str) -> None:
    url = f"{subject.api_url}/upload"
    document = {"fileName": f"petdetect-check-{picture.name}.jpg", "contentType": "image/jpeg"}
    if picture.way == INLINE:
        document["image"] = base64.b64encode(picture.data).decode()
    try:
        answer = request("POST", url, json=document, headers={"x-api-key": key})
        picture.image_id = str(answer.body.get("imageId", ""))
        picture.key = f"input/{picture.image_id}.jpg"
        if answer.status != (201 if picture.way == FORM else 202):
            picture.problem = f"POST /upload answers {answer.status} {answer.code}: {answer.body.get('message')}"
        elif picture.way == FORM:
            form = answer.body["upload"]
            stored = request("POST", form["url"], data=form["fields"], files={"file": ("picture", picture.data)})
            if stored.status != 204:
                picture.problem = f"S3 answers the form with {stored.status}: may UploadApi put objects into input/?"
    except UnreachableError as error:
        picture.problem = str(error)


def _follow(subject: Subject, chosen: list[Picture], seconds: float) -> None:
    """Wait until each has its final status, and its execution has ended, or the time is over."""
    deadline = time.monotonic() + seconds
    waiting = [picture for picture in chosen if picture.image_id and not picture.problem and not picture.seconds]
    while waiting and time.monotonic() < deadline:
        for picture in list(waiting):
            picture.record = detection_logs.find(subject.deployment.table, picture.image_id)
            record = picture.record or {}
            picture.execution = record.get("ExecutionArn", picture.execution)
            ended = picture.execution and described(picture.execution).get("status") != "RUNNING"
            if ended and (record.get("ProcessingStatus") in _FINAL or picture.way == VERSION):
                picture.seconds = time.monotonic() - picture.sent
                picture.record = detection_logs.find(subject.deployment.table, picture.image_id)
                waiting.remove(picture)
        if waiting:
            time.sleep(_LOOK_EVERY)


def _remove(subject: Subject, chosen: list[Picture]) -> Iterator[Line]:
    left = []
    for picture in chosen:
        if picture.image_id:
            try:
                _remove_one(subject, picture)
            except KNOWN as error:
                left.append(f"{picture.image_id}: {sentence(error)}")
            if picture.stopped:
                left.append(f"{picture.image_id}: its execution was stopped, and a function of it may still file it")
    if left:
        yield not_ok("clean-up", f"{'; '.join(left)}. In a minute: petdetect erase {' '.join(_ids(chosen))}")
    elif _ids(chosen):
        yield ok(
            "clean-up",
            f"{len(_ids(chosen))} pictures, records, reviews and analyses removed; their marks expire in a day",
        )


def _ids(chosen: list[Picture]) -> list[str]:
    return [picture.image_id for picture in chosen if picture.image_id]


def _remove_one(subject: Subject, picture: Picture) -> None:
    """The record out of everybody's reach first, then what runs, the bytes and what is known of them."""
    deployment = subject.deployment
    record = detection_logs.all_known(deployment.table, picture.image_id)
    while (record or {}).get("ProcessingStatus") != ERASED and not erased_records.hide(
        deployment.table, picture.image_id, record
    ):
        record = detection_logs.all_known(deployment.table, picture.image_id)  # an execution has changed it meanwhile
    arn = str((record or {}).get("ExecutionArn", picture.execution))
    picture.execution = arn
    if arn and described(arn).get("status") == "RUNNING":
        with contextlib.suppress(client("stepfunctions").exceptions.ExecutionDoesNotExist):
            client("stepfunctions").stop_execution(executionArn=arn, cause="petdetect check was interrupted")
        picture.stopped = check_judge.last_state(picture) == "Move Image"  # else nothing writes an object any more
    reviews.forget(deployment.output("ReviewsTableName"), picture.image_id)  # nobody is asked about what is gone
    analyses.forget(deployment.output("AnalysesTableName"), hashlib.sha256(picture.data).hexdigest(), picture.image_id)
    found = image_versions.versions_of(deployment.bucket, picture.image_id, None, None)
    found += _versions_at(deployment.bucket, picture.key)
    image_versions.delete_versions(deployment.bucket, sorted(set(found), key=lambda one: (one.key, one.version_id)))
    expires = int(datetime.now(UTC).timestamp()) + MARK_SECONDS
    erased_records.leave_mark(deployment.table, picture.image_id, expires)


def _versions_at(bucket: str, key: str) -> list[image_versions.StoredVersion]:
    """Every version and delete marker of one key."""
    page = client("s3").list_object_versions(Bucket=bucket, Prefix=key)
    return [
        image_versions.StoredVersion(entry["Key"], entry["VersionId"])
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    ]
