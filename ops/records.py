"""Images as an operator needs them: one of them or all that failed or are held, where their objects lie, and the end
of those whose objects are gone for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError

from ops.environment import Deployment
from ops.errors import OperatorError
from pet_detector.aws import detection_logs, image_bucket, listing
from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of
from pet_detector.aws.listing import Query
from pet_detector.rules import image_ids
from pet_detector.rules.models import ERASED, Record, Status
from pet_detector.rules.text import message_of

if TYPE_CHECKING:
    from mypy_boto3_stepfunctions.type_defs import DescribeExecutionOutputTypeDef

T = TypeVar("T")
R = TypeVar("R")

PAGE = 100
# Looking for an object takes up to 13 requests; several images at a time.
WORKERS = 8


def for_each(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The results of a function that asks AWS, in order, several at a time."""
    rest = iter(items)
    for item in rest:  # the first one alone: boto3 must not make the same client in two threads at once
        yield function(item)
        break
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(function, rest)


@dataclass(frozen=True)
class FailedImage:
    """A failed image: `reason` is the name of its error, `object` the key at which its object lies, None if nowhere."""

    image_id: str
    reason: str
    cause: str
    failed_at: datetime | None  # what a person wrote by hand may not say it
    file_name: str
    object: str | None


def moment(text: object) -> datetime | None:
    """A time as records hold it (RFC 3339 in UTC); None for what people may have written instead."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None


def read(deployment: Deployment, image_id: str) -> Record:
    """All that the table knows of an image, also of an upload that never came, or of notices alone.

    Raises OperatorError when it knows nothing.
    """
    record = detection_logs.all_known(deployment.table, image_id)
    if record is None:
        raise OperatorError(
            f"There is no image {image_id} in {deployment.environment}: look at the ID, or name another environment "
            "with --env. (An object under input/ that `petdetect reconcile --dry-run` lists may have no "
            "record yet: it gets one when it is started.)"
        )
    if record.get("ProcessingStatus") == ERASED:
        raise OperatorError(f"The image {image_id} was erased; petdetect export {image_id} shows when.")
    return record


def whole_id(deployment: Deployment, digits: str) -> str:
    """The ImageID that begins with these digits, by the keys under which objects of images lie.

    The table has no order by ImageID, and to read all of it costs; so an image whose object is gone, or that waits
    under input/ by another name, is not found by a part of its ID. Raises OperatorError unless there is exactly one.
    """
    if image_ids.IMAGE_ID.fullmatch(digits):
        return digits
    found = set()
    for folder in (image_ids.INPUT_FOLDER, *image_ids.FOLDERS):
        page = client("s3").list_objects_v2(Bucket=deployment.bucket, Prefix=f"{folder}/{digits}")
        names = (entry["Key"].removeprefix(f"{folder}/").partition(".")[0] for entry in page.get("Contents", []))
        found |= {name for name in names if image_ids.IMAGE_ID.fullmatch(name)}
    if not found:
        raise OperatorError(
            f"No stored image in {deployment.environment} has an ID that begins with {digits}: check it, give all 32 "
            "digits (petdetect failed lists them), or name another environment with --env."
        )
    if len(found) > 1:
        raise OperatorError(f"{len(found)} images have an ID that begins with {digits}: give more digits of it.")
    return found.pop()


def place_of(deployment: Deployment, record: Record) -> tuple[str, str] | None:
    """(key, version) at which an image's object lies now, or None.

    When a failed image's own version is gone, it is what somebody put back under its key (see `replaced_version`).
    """
    image_id = record["ImageID"]
    # An upload that no execution has claimed has no key in its record; the API makes keys of this form.
    keys = [record["SourceKey"]] if "SourceKey" in record else [f"input/{image_id}.{end}" for end in ("jpg", "png")]
    version = record.get("SourceVersion", image_ids.NEWEST)
    places = (image_bucket.locate(deployment.bucket, image_id, key, version) for key in keys)
    return next(filter(None, places), None) or _put_back(deployment, record)


def _put_back(deployment: Deployment, record: Record) -> tuple[str, str] | None:
    """What lies under the key of a failed image, unless that is an image of its own."""
    image_id, key = record["ImageID"], record.get("SourceKey")
    if key is None or record.get("ProcessingStatus") != Status.FAILED:
        return None
    version = image_bucket.present_version(deployment.bucket, key)
    if version is None or image_ids.image_id_of(key, version) != image_id:
        return None
    is_taken = detection_logs.find(deployment.table, image_ids.hashed_image_id(key, version)) is not None
    return None if is_taken else (key, version)


def replaced_version(record: Record, place: tuple[str, str]) -> str | None:
    """The version that is gone, if the object at this place was put back instead of it."""
    known = str(record.get("SourceVersion", image_ids.NEWEST))
    is_other = place[0] == record.get("SourceKey") and known not in (image_ids.NEWEST, place[1])
    return known if is_other else None


def executions_of(record: Record) -> set[str]:
    """ARNs of those that claimed the image, and those that failed before they could (a notice names them)."""
    facts = {fact for fact in record.get("Notices", set()) if fact.startswith("arn:")}
    owner = {record["ExecutionArn"]} if "ExecutionArn" in record else set()
    return set(record.get("Executions", set())) | facts | owner


def execution(arn: str) -> DescribeExecutionOutputTypeDef | None:
    """What Step Functions knows of an execution; None when it has deleted it (90 days after its end)."""
    try:
        return client("stepfunctions").describe_execution(executionArn=arn)
    except ClientError as error:
        if code_of(error) != "ExecutionDoesNotExist":
            raise
        return None


def failed_records(deployment: Deployment, reason: str | None = None) -> Iterator[Record]:
    """Records of failed images, newest upload first; only those whose error is `reason`, if it is given."""
    failed = records_with(deployment, Status.FAILED)
    return (record for record in failed if reason is None or error_of(record)[0] == reason)


def records_with(deployment: Deployment, status: Status) -> Iterator[Record]:
    """Records of this status, newest upload first.

    The index lags behind the table by moments: what is about to act on an image reads its record again.
    """
    token = None
    while True:
        page = listing.list_images(deployment.table, Query(status=status), PAGE, token)
        yield from page.records
        token = page.next_token
        if token is None:
            return


def failed_images(deployment: Deployment, failed: Iterable[Record]) -> list[FailedImage]:
    """The same, with the places of their objects."""

    def image(record: Record) -> FailedImage:
        place = place_of(deployment, record)
        reason, cause = error_of(record)
        return FailedImage(
            record["ImageID"],
            reason,
            message_of(cause, reason),
            moment(record.get("UpdatedAt")),
            record.get("OriginalFilename", ""),
            place[0] if place else None,
        )

    return list(for_each(image, failed))


def error_of(record: Record) -> tuple[str, str]:
    """(name, cause) of a failed record's error."""
    error = record.get("Error", {})
    return str(error.get("Error", "unknown")), str(error.get("Cause", ""))


def dismissible(deployment: Deployment, image_id: str) -> Record:
    """The record of an image that may be dismissed. Raises OperatorError when it may not."""
    record = read(deployment, image_id)
    status = record.get("ProcessingStatus", "unrecorded")
    if status != Status.FAILED:
        raise OperatorError(f"It is {status}, and only failed images are dismissed.")
    if detection_logs.is_dismissed(record):
        raise OperatorError("It is dismissed already.")
    if place := place_of(deployment, record):
        raise OperatorError(
            f"Its object is there, at {place[0]}: petdetect redrive {image_id} starts it again. Only images whose "
            "object is gone are dismissed."
        )
    return record


def dismiss(deployment: Deployment, record: Record) -> datetime:
    """Dismiss it -> when its record expires. Raises OperatorError when it was started again in the meantime."""
    days = int(deployment.parameter("RecordRetentionDays"))  # as long as the workflow keeps one
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    image_id, execution = record["ImageID"], str(record.get("ExecutionArn", ""))
    seconds = int(expires.timestamp())
    if not detection_logs.dismiss(deployment.table, image_id, execution_arn=execution, expires_at=seconds):
        raise OperatorError(f"It was started again in the meantime: look at petdetect explain {image_id}.")
    return expires
