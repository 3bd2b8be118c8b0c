"""Three known pictures, sent the way clients send them, followed to their folders, and removed again.

Each gets a comment of its own among its bytes, so that no stored analysis answers for Rekognition. They are removed
with the parts of an erasure, but without its ledger, which has no end: the marks that they leave, so that a late event
of theirs starts nothing, expire in a day.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3

from ops import records, story
from ops.check_api import Answer, UnreachableError, request
from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.definitions import REPOSITORY
from ops.environment import CLIENT_CONFIG
from ops.errors import KNOWN, OperatorError, sentence
from pet_detector.aws import analyses, detection_logs, erased_records, image_bucket, image_versions
from pet_detector.aws.clients import client
from pet_detector.rules.execution_input import ImageRef, text_for
from pet_detector.rules.models import ERASED, REVIEW_FACT, Record, Status

# For pictures that are started on a version: no rule watches it.
PREFIX = "samples/check"
MARK_SECONDS = 24 * 60 * 60
_FINAL = (Status.COMPLETED, Status.NEEDS_REVIEW, Status.REJECTED, Status.FAILED, Status.HELD)
_LOOK_EVERY = 0.5  # seconds
# What every record of a classified image has: the first eight are promised to whoever reads the table.
FIELDS = (
    *("ImageID", "DetectedAnimal", "ConfidenceScore", "Timestamp", "S3Location", "ProcessingStatus"),
    *("FileSize", "ImageFormat"),
    *("Certain", "Scores", "Reason", "Labels", "PolicyVersion", "ModelVersion", "ContentHash", "OriginalFilename"),
    *("UploadedBy", "ExecutionArn", "SourceVersion", "CreatedAt", "UpdatedAt", "ExpiresAt"),
)
_FUNCTIONS = {
    "Analyze Image": "ImageProcessorFunction",
    "Move Image": "FileManagerFunction",
    "Notify Reviewers": "NotificationServiceFunction",
    "Record Failure": "FailureRecorderFunction",
}
FORM, INLINE, S3, VERSION = "form", "inline", "S3", "execution"


@dataclass
class Picture:
    """A picture, the folder in which it must end, and what is known of it since it was sent.

    `problem`: why it could not be sent. `skipped`: why it was not.
    """

    name: str
    file: Path
    folder: str
    way: str
    image_id: str = ""
    key: str = ""
    data: bytes = b""
    execution: str = ""
    sent: float = 0.0
    seconds: float = 0.0
    record: Record | None = None
    problem: str = ""
    skipped: str = ""
    stopped: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What its line is called."""
        return f"{self.name} by {self.way}"

    @property
    def is_uncertain(self) -> bool:
        """Whether people must be told of it."""
        return self.folder == "others"


def pictures(subject: Subject) -> list[Picture]:
    """The three, unsent. Raises OperatorError where the repository is not."""
    ways = [VERSION] * 3 if subject.version else [FORM, INLINE, S3]
    found = [
        Picture("cat", REPOSITORY / "photos" / "cat_chelsea.jpg", "cats", ways[0]),
        Picture("dog", REPOSITORY / "photos" / "dog_gcompris_german_shepherd.jpg", "dogs", ways[1]),
        Picture("cat and dog", REPOSITORY / "ops" / "pictures" / "cat_and_dog.jpg", "others", ways[2]),
    ]
    for picture in found:
        try:
            picture.data = never_seen(picture.file.read_bytes())
        except FileNotFoundError:
            remedy = "use the petdetect of the repository, after `make install`"
            raise OperatorError(f"There is no {picture.file.name} beside this program: {remedy}.") from None
    return found


def never_seen(jpeg: bytes) -> bytes:
    """The same picture with a comment that no other has."""
    comment = f"petdetect check {uuid.uuid4().hex}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def check(subject: Subject, key: str | None, *, seconds: float, is_deaf: bool) -> Iterator[Line]:
    """Send, follow for at most so many seconds, judge, and remove, whatever happens in between.

    `key`: the value of an API key, None when there is none. `is_deaf`: no upload can start the workflow.
    """
    chosen = pictures(subject)
    lines: list[Line] = []
    try:
        for picture in chosen:
            _send(subject, picture, key, is_deaf=is_deaf)
        _follow(subject, chosen, seconds)
        for picture in chosen:
            lines += _judge(subject, picture, key)
        lines.append(_trace(subject, chosen[0]))
    except KNOWN as error:
        lines.append(not_ok("pictures", sentence(error)))
    finally:
        lines += _remove(subject, chosen)
    yield from lines


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
    version = _put(subject, picture)
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
    waiting = [picture for picture in chosen if picture.image_id and not picture.problem]
    while waiting and time.monotonic() < deadline:
        for picture in list(waiting):
            picture.record = detection_logs.find(subject.deployment.table, picture.image_id)
            record = picture.record or {}
            picture.execution = record.get("ExecutionArn", picture.execution)
            ended = picture.execution and _described(picture.execution).get("status") != "RUNNING"
            if ended and (record.get("ProcessingStatus") in _FINAL or picture.way == VERSION):
                picture.seconds = time.monotonic() - picture.sent
                picture.record = detection_logs.find(subject.deployment.table, picture.image_id)
                waiting.remove(picture)
        if waiting:
            time.sleep(_LOOK_EVERY)


def _described(execution: str) -> dict[str, Any]:
    """What Step Functions knows of an execution; empty when it does not."""
    return dict(records.execution(execution) or {})


# --- Judge ------------------------------------------------------------------------------------------------------------


def _judge(subject: Subject, picture: Picture, key: str | None) -> Iterator[Line]:
    notice = f"notice of {picture.name}"
    if picture.skipped or picture.problem:
        yield not_checked(picture.title, picture.skipped) if picture.skipped else not_ok(picture.title, picture.problem)
        if picture.is_uncertain:
            yield not_checked(notice, "The picture was not processed.")
        return
    record = picture.record or {}
    status = record.get("ProcessingStatus")
    if status in (Status.COMPLETED, Status.NEEDS_REVIEW):
        problems = list(_problems(subject, picture, record))
        score = f"{float(record.get('ConfidenceScore', 0)):.1f} %"
        told = f"{picture.folder}/, {score}, source version gone, record complete, {picture.seconds:.1f} s"
        yield not_ok(picture.title, " ".join(problems)) if problems else ok(picture.title, told)
    else:
        yield _unfinished(subject, picture, record)
    if picture.is_uncertain:
        yield _notice(picture, notice, record)
    if picture.way == FORM:
        yield _answer(subject, picture, key)


def _problems(subject: Subject, picture: Picture, record: Record) -> Iterator[str]:
    """What is wrong with an image that is finished, in sentences."""
    bucket = subject.deployment.bucket
    wanted = f"s3://{bucket}/{picture.folder}/{picture.image_id}.jpg"
    location = str(record.get("S3Location"))
    if location != wanted:
        yield (
            f"It is at {location.removeprefix(f's3://{bucket}/')} and not in {picture.folder}/: {record.get('Reason')} "
            f"(policy {record.get('PolicyVersion')}). If the policy is meant so, nothing is wrong."
        )
    if not image_bucket.present_version(bucket, location.removeprefix(f"s3://{bucket}/")):
        yield f"The record says {location}, and there is nothing."
    if image_bucket.present_version(bucket, str(record.get("SourceKey")), record.get("SourceVersion")):
        yield (
            f"Its source, version {record.get('SourceVersion')} of {record.get('SourceKey')}, is still there: "
            "FileManager may not delete it (s3:DeleteObjectVersion; S3's documents differ on whether s3:DeleteObject "
            "is needed too)."
        )
    if missing := [name for name in FIELDS if name not in record]:
        yield f"Its record has no {', '.join(missing)}: Log Detection of the workflow writes it."
    if record.get("AnalysisReused"):
        yield "Rekognition was not asked: an analysis of other bytes answered for it."


def _unfinished(subject: Subject, picture: Picture, record: Record) -> Line:
    status = str(record.get("ProcessingStatus", ""))
    explain = f"petdetect explain {picture.image_id}"
    if status == Status.HELD:
        return not_checked(picture.title, "A daily limit of analyses is reached (DailyAnalysisLimit): try tomorrow.")
    if status == Status.REJECTED:
        return not_ok(picture.title, f"It was rejected as {record.get('ReasonCode')}: {record.get('Reason')}.")
    if status == Status.FAILED:
        return not_ok(picture.title, _failure(subject, picture, record))
    if status == Status.PROCESSING and "TurnAt" in record:
        return not_checked(picture.title, f"Images wait for their turn, this one until {record['TurnAt']}.")
    if status == Status.PROCESSING:
        return not_ok(picture.title, f"It is still being processed: see {_last_state(picture)}, and its log.")
    if picture.execution:
        return not_ok(picture.title, f"Its execution did not claim it: {_last_state(picture)}. {explain}")
    return not_ok(
        picture.title,
        "No execution has started for it: look at the lines of the rules and the bucket, and at "
        "ImageEventsDeadLetterQueue (petdetect status).",
    )


def _failure(subject: Subject, picture: Picture, record: Record) -> str:
    """Where and why an image failed; of a right that is missing also whose, and on what."""
    error, cause = records.error_of(record)
    state = _last_state(picture, before=("Record Failure", "Processing Failed"))
    text = f"It failed in {state} with {error}: {cause}"
    function = _FUNCTIONS.get(state)
    if error == "AccessDeniedError" and function:
        role = subject.resources.get(f"{function}Role")
        text += (
            f" The role {role.physical_id if role else function} lacks the right to this call: the line "
            f'"rights of {function}" names action and resource; sam deploy gives it back.'
        )
    return text


def _last_state(picture: Picture, before: tuple[str, ...] = ()) -> str:
    if not picture.execution:
        return "no state"
    pages = client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=picture.execution)
    steps = story.steps_of(event for page in pages for event in page["events"])
    names = [step.state for step in steps if step.state not in before]
    return names[-1] if names else "no state"


def _notice(picture: Picture, name: str, record: Record) -> Line:
    """What became of the notice: the answer of NotificationService, which has SNS's own."""
    status = record.get("ProcessingStatus")
    if status == Status.COMPLETED:
        return not_checked(
            name,
            f"Rekognition was certain of the picture ({record.get('Reason')}), so nobody is to be told. Send one that "
            "it is not certain of.",
        )
    if status != Status.NEEDS_REVIEW:
        return not_checked(name, "The picture was not processed to its end.")
    outcome = _outcome(picture.execution)
    if REVIEW_FACT not in record.get("Notices", set()):
        return not_ok(name, "Its record does not say that reviewers were told.")
    if outcome == "in_digest":
        return ok(name, "left to the digest: many notices come now (NoticeBurst)")
    if outcome in ("sent", "already_sent"):
        return ok(name, "SNS has taken it")
    return not_ok(name, f"NotificationService says {outcome}: its log says why.")


def _outcome(execution: str) -> str:
    pages = client("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=execution)
    state, outcome = "", "nothing"
    for event in (event for page in pages for event in page["events"]):
        state = event.get("stateEnteredEventDetails", {}).get("name", state)
        succeeded = event.get("taskSucceededEventDetails")
        if state == "Notify Reviewers" and succeeded:
            outcome = str(json.loads(succeeded.get("output", "{}")).get("Payload", {}).get("notice", "nothing"))
    return outcome


def _answer(subject: Subject, picture: Picture, key: str | None) -> Line:
    """What the client is told of the picture that it sent."""
    name = "GET /images/{id}"
    url = f"{subject.api_url}/images/{picture.image_id}"
    answer = request("GET", url, headers={"x-api-key": key or ""})
    status = (picture.record or {}).get("ProcessingStatus")
    if answer.status == 200 and answer.body.get("status") == status:
        return ok(name, f"200 {status}")
    return not_ok(name, f"{answer.status} {answer.body.get('status') or answer.code}, and the record says {status}.")


def _trace(subject: Subject, picture: Picture) -> Line:
    """Whether X-Ray has the execution's trace."""
    name = "X-Ray"
    if subject.is_local:
        return not_checked(name, "The local AWS has no X-Ray.")
    header = str(_described(picture.execution).get("traceHeader", "")) if picture.execution else ""
    parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
    if parts.get("Sampled") != "1":
        return not_checked(name, "The execution was not sampled, as most are not; a later check may be.")
    xray = boto3.client("xray", config=CLIENT_CONFIG)
    found = xray.batch_get_traces(TraceIds=[parts["Root"]])["Traces"]
    if not found:
        return not_checked(name, f"The trace {parts['Root']} is not there yet: look for it in a minute.")
    return ok(name, f"trace {parts['Root']} with {len(found[0]['Segments'])} segments")


# --- Remove -----------------------------------------------------------------------------------------------------------


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
        yield ok("clean-up", f"{len(_ids(chosen))} pictures, records and analyses removed; their marks expire in a day")


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
    if arn and _described(arn).get("status") == "RUNNING":
        with contextlib.suppress(client("stepfunctions").exceptions.ExecutionDoesNotExist):
            client("stepfunctions").stop_execution(executionArn=arn, cause="petdetect check was interrupted")
        picture.stopped = True
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
