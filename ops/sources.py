"""What a backfill can take: a prefix of a bucket, or a folder of this machine."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from ops.environment import CLIENT_CONFIG, LOCAL, Deployment, region
from ops.errors import OperatorError
from ops.records import WORKERS, R, T, for_each, moment
from pet_detector.aws import clients, registrations
from pet_detector.aws.errors import ABSENCES, code_of
from pet_detector.aws.image_bucket import UPLOADED_BYTES
from pet_detector.rules import backfill, image_ids
from pet_detector.rules.backfill import Skip, Source
from pet_detector.rules.models import Record, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

S3_SCHEME = "s3://"
_IDS_A_CALL = 100  # of BatchGetItem
_FINISHED = (Status.COMPLETED, Status.NEEDS_REVIEW)


@dataclass(frozen=True)
class Candidate:
    """An object or file that is or can become an image.

    `content` is equal for equal bytes: an ETag, or a hash. `name` is its key, or its path.
    """

    image_id: str
    name: str
    size: int
    content: str


# One whose image is finished, and where its record says that the picture lies: s3://bucket/key, or nothing.
Finished = tuple[Candidate, str]


@dataclass(frozen=True)
class Skipped:
    """Something that cannot become an image."""

    reason: Skip
    size: int


@dataclass(frozen=True)
class Prefix:
    """Objects of a bucket whose keys begin with `prefix`."""

    bucket: str
    prefix: str
    is_folder: bool = False

    @property
    def name(self) -> str:
        """Its URL."""
        return f"{S3_SCHEME}{self.bucket}/{self.prefix}"

    def found(self) -> Iterator[Candidate | Skipped]:
        """What the bucket lists now."""
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        try:
            for entry in (entry for page in pages for entry in page.get("Contents", [])):
                reason = backfill.reason_to_skip(entry["Key"], entry["Size"], entry.get("StorageClass", "STANDARD"))
                if reason:
                    yield Skipped(reason, entry["Size"])
                    continue
                etag = entry["ETag"].strip('"')
                source = Source(self.bucket, entry["Key"], etag, entry["Size"])
                yield Candidate(source.image_id, entry["Key"], entry["Size"], etag)
        except ClientError as error:
            if code_of(error) == "NoSuchBucket":
                raise OperatorError(f"There is no bucket {self.bucket}: look at the name.") from error
            raise

    def remove(self, candidate: Candidate) -> bool:
        """Delete the object unless it has changed; a versioned bucket keeps it as an old version."""
        etag = f'"{candidate.content}"'
        try:
            if _s3().head_object(Bucket=self.bucket, Key=candidate.name)["ETag"] != etag:
                return False
            _s3().delete_object(Bucket=self.bucket, Key=candidate.name, IfMatch=etag)
        except ClientError as error:
            if code_of(error) in ("404", "NoSuchKey", "PreconditionFailed", "412"):
                return False
            raise
        return True


@dataclass(frozen=True)
class Folder:
    """Files of this machine below a folder. The same bytes are the same image, whatever the file's name."""

    path: Path
    is_folder: bool = True

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def found(self) -> Iterator[Candidate | Skipped]:
        """Every file below it; links to other folders are not followed. A folder that cannot be read counts as one."""
        unreadable: list[OSError] = []
        for directory, folders, files in os.walk(self.path, onerror=unreadable.append):
            folders.sort()
            for file in sorted(Path(directory) / name for name in files):
                if file.is_file():
                    yield self._judged(file)
        for _ in unreadable:
            yield Skipped(Skip.UNREADABLE, 0)

    @staticmethod
    def _judged(file: Path) -> Candidate | Skipped:
        try:
            size = file.stat().st_size
            reason = backfill.reason_to_skip(file.name, size)
            if reason:
                return Skipped(reason, size)
            digest = _digest(file)
        except OSError:  # of another user, or gone since it was listed
            return Skipped(Skip.UNREADABLE, 0)
        return Candidate(digest[:32], str(file), size, digest)

    def remove(self, candidate: Candidate) -> bool:
        """Delete the file, if it still holds those bytes."""
        file = Path(candidate.name)
        if not file.is_file() or _digest(file) != candidate.content:
            return False
        file.unlink()
        return True


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


Place = Prefix | Folder


@cache
def _s3() -> S3Client:
    return boto3.client("s3", config=CLIENT_CONFIG)


clients.on_forget(_s3.cache_clear)


def place_of(deployment: Deployment, text: str) -> Prefix | Folder:
    """What the operator named. Raises OperatorError when it is no source, or when the stack may not read it."""
    if not text.startswith(S3_SCHEME):
        path = Path(text).expanduser()
        if not path.is_dir():
            raise OperatorError(f"{text} is neither a folder nor a URL such as s3://bucket/prefix.")
        return Folder(path.resolve())
    bucket, _, prefix = text.removeprefix(S3_SCHEME).partition("/")
    if not bucket:
        raise OperatorError(f"{text} names no bucket: write s3://bucket/prefix.")
    if bucket == deployment.bucket:
        if backfill.covers_own(prefix):
            folders = ", ".join(backfill.OWN_FOLDERS)
            raise OperatorError(f"{text} holds what the application made ({folders}): name another prefix.")
    elif deployment.environment != LOCAL and bucket != deployment.parameter("BackfillBucket"):
        # The local AWS enforces no permissions.
        raise OperatorError(
            f"The stack {deployment.stack} may not read {bucket}: deploy it with BackfillBucket={bucket} first "
            f"(`sam deploy --config-env {deployment.environment} --parameter-overrides ...`)."
        )
    else:
        _refuse_another_region(deployment, bucket)
    return Prefix(bucket, prefix)


def _refuse_another_region(deployment: Deployment, bucket: str) -> None:
    """Step Functions lists no bucket of another region. What cannot be asked is left to the listing to say."""
    if deployment.environment == LOCAL:
        return
    try:
        place = _s3().head_bucket(Bucket=bucket).get("BucketRegion", region())
    except ClientError:
        return
    if place != region():
        raise OperatorError(
            f"{bucket} is in {place}, and the stack in {region()}: copy the pictures to a bucket in {region()} first."
        )


# --- What is known of it ----------------------------------------------------------------------------------------------


@dataclass
class Survey:
    """What lies at a place, and what became of it so far. Sizes are in bytes."""

    skipped: Counter[Skip] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)  # of those that are images already
    to_do: int = 0
    to_do_bytes: int = 0
    to_convert: int = 0  # part of `to_do`: a JPEG is made of them first, if they are what their names say
    distinct: int = 0  # pictures to do, the same bytes once: what Rekognition is asked about at most
    announced: int = 0  # part of `to_do`: on the way
    unsure: int = 0  # part of `to_do`: announced, and its attempt is over; perhaps its copy never came
    size: int = 0  # bytes of all of them
    repeated: int = 0  # files that hold the same bytes as another one of the folder: no image of their own
    last_turn: datetime | None = None  # of those that wait, as far as their records say

    @property
    def known(self) -> int:
        """How many are images already."""
        return sum(self.statuses.values())

    @property
    def objects(self) -> int:
        """All of them."""
        return self.known + self.to_do + self.repeated + sum(self.skipped.values())


def survey(
    deployment: Deployment,
    place: Place,
    each: Callable[[int], None] = lambda _: None,
    to_do: Callable[[Candidate], None] = lambda _: None,
    finished: Callable[[list[Finished]], None] = lambda _: None,
) -> Survey:
    """Look at everything and compare it with the records.

    Calls `each` with the number of objects as they are looked at, `to_do` with each that is to be registered, and
    `finished` with those whose images are finished, a few at a time.
    """
    found = Survey()
    seen: set[str] = set()
    contents: set[str] = set()

    def known(batch: list[Candidate | Skipped]) -> tuple[list[Candidate | Skipped], dict[str, Record]]:
        ids = [entry.image_id for entry in batch if isinstance(entry, Candidate)]
        return batch, registrations.known(deployment.table, list(dict.fromkeys(ids))) if ids else {}

    for batch, records in _a_few_at_once(known, _batches(place.found())):
        ended: list[Finished] = []
        for entry in batch:
            found.size += entry.size
            if isinstance(entry, Skipped):
                found.skipped[entry.reason] += 1
                continue
            if place.is_folder:
                if entry.image_id in seen:
                    found.repeated += 1
                    continue
                seen.add(entry.image_id)
            record = records.get(entry.image_id)
            if record is None or _is_only_announced(record):
                found.to_do += 1
                found.to_do_bytes += entry.size
                format = backfill.format_of(entry.name)
                found.to_convert += format is not None and format.is_converted
                if record is not None:
                    is_on_the_way = float(record.get("CopyEnds", 0)) > time.time()
                    found.announced += is_on_the_way
                    found.unsure += not is_on_the_way
                contents.add(entry.content)
                to_do(entry)
                continue
            found.statuses[record["ProcessingStatus"]] += 1
            turn = moment(record["TurnAt"]) if "TurnAt" in record else None
            if turn and record["ProcessingStatus"] == Status.PROCESSING:
                found.last_turn = max(found.last_turn or turn, turn)
            if record["ProcessingStatus"] in _FINISHED:
                ended.append((entry, str(record.get("S3Location", ""))))
        finished(ended)
        each(len(batch))
    found.distinct = len(contents)
    return found


def move(deployment: Deployment, place: Place, finished: list[Finished]) -> int:
    """Delete the sources of those images whose pictures are filed, made of as many bytes -> how many it were."""

    def remove(one: Finished) -> bool:
        candidate, location = one
        return (
            bool(location)
            and _size(deployment.bucket, image_ids.key_in(location)) == candidate.size
            and place.remove(candidate)
        )

    return sum(for_each(remove, finished))


def _size(bucket: str, key: str) -> int | None:
    """Bytes of what was uploaded: a filed picture has fewer without its metadata."""
    try:
        head = _s3().head_object(Bucket=bucket, Key=key)
        return int(head["Metadata"].get(UPLOADED_BYTES, head["ContentLength"]))
    except ClientError as error:
        if code_of(error) not in ABSENCES:
            raise
        return None


def _is_only_announced(record: Record) -> bool:
    """Whether its copy may never have come: registering it again finds out."""
    return record.get("ProcessingStatus", Status.UPLOADING) == Status.UPLOADING


def _batches(entries: Iterator[Candidate | Skipped]) -> Iterator[list[Candidate | Skipped]]:
    while batch := list(itertools.islice(entries, _IDS_A_CALL)):
        yield batch


def _a_few_at_once(function: Callable[[T], R], items: Iterator[T]) -> Iterator[R]:
    """`for_each` for more items than should be read in advance."""
    while group := list(itertools.islice(items, 5 * WORKERS)):
        yield from for_each(function, group)
