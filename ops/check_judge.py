"""What became of the pictures of `petdetect check`, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator

import boto3

from ops import records, story
from ops.check_api import request
from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.check_picture import FORM, Picture, described
from ops.environment import CLIENT_CONFIG
from pet_detector.aws import image_bucket
from pet_detector.aws.clients import client
from pet_detector.rules.models import REVIEW_FACT, Record, Status

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


def judge(subject: Subject, picture: Picture, key: str | None) -> Iterator[Line]:
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
        if problems:
            yield not_ok(picture.title, " ".join(problems))
        elif picture.is_late:
            yield not_checked(
                picture.title,
                f"The bucket is new, and S3 sent no event (it needs 5 minutes). Started by the alias: {told}.",
            )
        else:
            yield ok(picture.title, told)
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
        return not_ok(picture.title, f"It is still being processed: see {last_state(picture)}, and its log.")
    if picture.execution:
        return not_ok(picture.title, f"Its execution did not claim it: {last_state(picture)}. {explain}")
    return not_ok(
        picture.title,
        "No execution has started for it: look at the lines of the rules and the bucket, and at "
        "ImageEventsDeadLetterQueue (petdetect status).",
    )


def _failure(subject: Subject, picture: Picture, record: Record) -> str:
    """Where and why an image failed; of a right that is missing also whose, and on what."""
    error, cause = records.error_of(record)
    state = last_state(picture, before=("Record Failure", "Processing Failed"))
    text = f"It failed in {state} with {error}: {cause}"
    function = _FUNCTIONS.get(state)
    if error == "AccessDeniedError" and function:
        role = subject.resources.get(f"{function}Role")
        text += (
            f" The role {role.physical_id if role else function} lacks the right to this call: the line "
            f'"rights of {function}" names action and resource; sam deploy gives it back.'
        )
    return text


def last_state(picture: Picture, before: tuple[str, ...] = ()) -> str:
    """The state that a picture's execution entered last, of those that are not in `before`."""
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


def trace(subject: Subject, picture: Picture) -> Line:
    """Whether X-Ray has the execution's trace."""
    name = "X-Ray"
    if subject.is_local:
        return not_checked(name, "The local AWS has no X-Ray.", by_chance=True)
    header = str(described(picture.execution).get("traceHeader", "")) if picture.execution else ""
    parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
    if parts.get("Sampled") != "1":
        said = "The execution was not sampled, as most are not; a later check may be."
        return not_checked(name, said, by_chance=True)
    xray = boto3.client("xray", config=CLIENT_CONFIG)
    found = xray.batch_get_traces(TraceIds=[parts["Root"]])["Traces"]
    if not found:
        return not_checked(
            name, f"The trace {parts['Root']} is not there yet: look for it in a minute.", by_chance=True
        )
    return ok(name, f"trace {parts['Root']} with {len(found[0]['Segments'])} segments")
