"""`petdetect rebuild`: the record of a filed picture whose row is gone, made again from what is left of the image.

    the object       folder (so the animal and the status), key, size, hash and format of the upload, times
    the analyses     what Rekognition saw in these bytes, as long as the cache has it: labels and scores, or that it was
                     unsafe
    the reviews      the scores, if the cache has none, and what people decided

What nobody can know any more stays out: who uploaded it, its file name, its executions. The record says RebuiltAt.
A record that is there is never overwritten, and what was erased is not brought back.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from ops import records
from pet_detector.aws import analyses, detection_logs, erasures, image_bucket, policy_parameter, reviews
from pet_detector.aws.clients import client
from pet_detector.aws.erasures import Stage
from pet_detector.aws.errors import refused_item, translated
from pet_detector.aws.image_bucket import StoredImage
from pet_detector.rules import content_safety, image_format, image_ids
from pet_detector.rules.errors import PetDetectorError
from pet_detector.rules.models import Animal, Decision, ImageHeader, Moderation, Recognition, Record, Rejection, Status
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.review import Head
from pet_detector.use_cases.erasure import Resources

_ANIMALS = {"cats": Animal.CAT, "dogs": Animal.DOG, "others": Animal.OTHER}
_DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Filed:
    """A filed picture: where it lies, when it was stored there, and when the first that is left of it was.

    Both times are S3's, in whole seconds: the first is the Timestamp, or when a person had it moved.
    """

    bucket: str
    key: str
    version_id: str
    stored_at: datetime
    first_at: datetime

    @property
    def folder(self) -> str:
        """One of FOLDERS."""
        return self.key.partition("/")[0]


@dataclass(frozen=True)
class Known:
    """What is left of an image beside the object itself."""

    stored: StoredImage
    recognition: Recognition | None = None
    head: Head | None = None
    moderation: Moderation | None = None


@dataclass(frozen=True)
class Plan:
    """What would be written for one image; `refusal`: why nothing."""

    image_id: str
    key: str = ""
    record: Record | None = None
    refusal: str = ""


def rebuilt(image_id: str, filed: Filed, known: Known, policy: Policy, retention_days: int, now: str) -> Record:
    """The record of a filed picture. Pure: `now` is when (in the format of records)."""
    shard = image_ids.shard_of(image_id)
    created, stored_at = detection_logs.format_time(filed.first_at), detection_logs.format_time(filed.stored_at)
    animal = _ANIMALS.get(filed.folder)
    facts = _rejected(known) if animal is None else _classified(animal, known, policy)
    record: dict[str, Any] = {
        "ImageID": image_id,
        "S3Location": f"s3://{filed.bucket}/{filed.key}",
        "FileSize": known.stored.size,
        "ContentHash": known.stored.content_hash,
        "ImageFormat": _format(known.stored),
        "CorrelationId": f"rebuild-{image_id}",
        "Timestamp": stored_at,
        "CreatedAt": created,
        "UpdatedAt": now,
        "RebuiltAt": now,
        "ListedAt": f"{created}#{image_id}",
        "Shard": shard,
        "ExpiresAt": int(filed.first_at.timestamp()) + retention_days * _DAY_SECONDS,
        **facts,
        "StatusShard": f"{facts['ProcessingStatus']}#{shard}",
    }
    if known.stored.source_version:
        record["SourceVersion"] = known.stored.source_version
    if animal is not None:
        record["AnimalShard"] = f"{animal.value}#{shard}"
    return record  # type: ignore[return-value]  # its attributes are those of Record


def _format(stored: StoredImage) -> str:
    if stored.converted_from:
        return stored.converted_from
    header = image_format.inspect(stored.data or b"")
    return header.format.value if isinstance(header, ImageHeader) else "unknown"


def _rejected(known: Known) -> dict[str, Any]:
    """The checks of today say why, or what content moderation saw; else nobody knows.

    It was rejected, so the least confidence will do that ContentSafetyConfidence may have had then.
    """
    stored = known.stored
    found = image_format.too_large(stored.size) if stored.data is None else image_format.inspect(stored.data)
    if not isinstance(found, Rejection) and known.moderation:
        found = content_safety.violation(known.moderation, content_safety.LOWEST_CONFIDENCE) or found
    facts: dict[str, Any] = {"ProcessingStatus": Status.REJECTED.value}
    if isinstance(found, Rejection):
        return facts | {"ReasonCode": found.code.value, "Reason": found.reason}
    return facts | {"Reason": "It was rejected; the record that said why was lost."}


def _classified(animal: Animal, known: Known, policy: Policy) -> dict[str, Any]:
    """The folder says which animal; the rest is as sure as what is left."""
    head = known.head or Head()
    scores, facts = head.get("Scores", {}), dict[str, Any]()
    decision: Decision | None = None
    if known.recognition:
        decision = decide(known.recognition.labels, policy)
        scores = {"cat": _percent(decision.scores.cat), "dog": _percent(decision.scores.dog)}
        facts = {
            "Labels": [
                {"Name": label.name, "Confidence": _percent(label.confidence)} for label in known.recognition.labels
            ],
            "PolicyVersion": policy.version,
            "ModelVersion": known.recognition.model_version,
            "AnalysisReused": True,
        }
    elif known.head:
        facts = {name: head[name] for name in ("PolicyVersion", "ModelVersion") if head.get(name)}
    is_certain = decision is not None and decision.certain and decision.animal is animal
    # The workflow files as a cat or a dog only what is certain, or what a person said.
    is_settled = animal is not Animal.OTHER or is_certain or "Verdict" in head
    status = Status.COMPLETED if is_settled else Status.NEEDS_REVIEW
    if "Verdict" in head and "VerdictSequence" in head:
        facts |= {"VerdictSequence": head["VerdictSequence"], "MachineAnimal": head.get("Guess", animal.value)}
        facts |= {"ReviewedBy": head.get("DecidedBy", ""), "ReviewedAt": head.get("DecidedAt", "")}
    if scores:
        facts["Scores"] = scores
    return facts | {
        "ProcessingStatus": status.value,
        "DetectedAnimal": animal.value,
        "Certain": is_certain,
        "ConfidenceScore": _confidence(animal, scores),
        "Reason": _reason(animal, decision, scores),
    }


def _confidence(animal: Animal, scores: Any) -> Decimal:
    """Percent, as the workflow counts it for the animal of the folder; 0 when nothing is known."""
    if not scores:
        return Decimal(0)
    cat, dog = Decimal(scores.get("cat", 0)), Decimal(scores.get("dog", 0))
    return {Animal.CAT: cat, Animal.DOG: dog, Animal.OTHER: 100 - max(cat, dog)}[animal]


def _reason(animal: Animal, decision: Decision | None, scores: Any) -> str:
    if decision and decision.animal is animal:
        return decision.reason
    why = "what the machine saw was lost" if not scores else "the numbers, or a person, have decided otherwise since"
    return f"The record was rebuilt, and the folder says {animal.value}: {why}."


def _percent(number: float) -> Decimal:
    return Decimal(str(round(number, 2)))


# --- What is there ----------------------------------------------------------------------------------------------------


def plan(resources: Resources, policy: Policy, image_id: str) -> Plan:
    """What would be written for an image. Raises the errors of AWS."""
    erasure = erasures.find(resources.ledger, image_id)
    if erasure is not None and erasure.stage != Stage.REFUSED:
        return Plan(image_id, refusal="It was erased: nothing brings it back.")
    record = detection_logs.all_known(resources.table, image_id)
    if record is not None and "ProcessingStatus" in record:
        return Plan(image_id, refusal=f"It has a record ({record['ProcessingStatus']}), which stays as it is.")
    found = list(_filed(resources.bucket, image_id))
    if not found:
        return Plan(
            image_id,
            refusal="No picture of it is filed: what lies under input/ is started by petdetect reconcile, and what was "
            "deleted may have a version left (docs/operations.md#an-object-version).",
        )
    if len(found) > 1:
        keys = " and ".join(filed.key for filed in found)
        return Plan(image_id, refusal=f"It lies at {keys}: delete the one that is wrong, by hand.")
    (filed,) = found
    stored = image_bucket.read(resources.bucket, filed.key, filed.version_id)
    recognition = moderation = None
    if stored.content_hash:
        recognition, moderation = analyses.known(resources.analyses, stored.content_hash)
    review = reviews.review(resources.reviews, image_id)
    known = Known(stored, recognition, review.head if review else None, moderation)
    record = rebuilt(image_id, filed, known, policy, resources.retention_days, detection_logs.now())
    if record["ExpiresAt"] <= time.time():
        return Plan(image_id, filed.key, refusal="The time of its record is over (RecordRetentionDays).")
    return Plan(image_id, filed.key, record)


def _filed(bucket: str, image_id: str) -> Iterator[Filed]:
    """Where the image's picture lies now: one place, unless something went wrong."""
    newest: list[tuple[str, str, datetime]] = []
    times: list[datetime] = []
    pages = client("s3").get_paginator("list_object_versions")
    for folder in image_ids.FOLDERS:
        with translated("s3:ListObjectVersions"):
            for page in pages.paginate(Bucket=bucket, Prefix=f"{folder}/{image_id}."):
                for entry in page.get("Versions", []):
                    times.append(entry["LastModified"].astimezone(UTC))
                    if entry["IsLatest"]:
                        newest.append((entry["Key"], entry["VersionId"], times[-1]))
    return (Filed(bucket, key, version, stored_at, min(times)) for key, version, stored_at in newest)


def without_record(resources: Resources) -> Iterator[str]:
    """The ids of filed pictures that have no record. It reads the name of every filed object, and its record."""
    keys = (
        entry["Key"]
        for folder in image_ids.FOLDERS
        for page in client("s3").get_paginator("list_objects_v2").paginate(Bucket=resources.bucket, Prefix=f"{folder}/")
        for entry in page.get("Contents", [])
    )
    names = (key.rpartition("/")[2].partition(".")[0] for key in keys)
    rest = (name for name in names if image_ids.IMAGE_ID.fullmatch(name))
    while batch := list(itertools.islice(rest, detection_logs.BATCH)):
        known = detection_logs.read_batch(resources.table, batch, "ImageID, ProcessingStatus", consistent=True)
        recorded = {item["ImageID"]["S"] for item in known if "ProcessingStatus" in item}
        yield from dict.fromkeys(image_id for image_id in batch if image_id not in recorded)


def write(table: str, record: Record) -> bool:
    """Write a rebuilt record, unless the image has one by now: then False. Notices that are remembered stay."""
    attributes = {name: value for name, value in record.items() if name != "ImageID"}
    names = {f"#{name}": name for name in attributes}
    values = {f":{name}": detection_logs.serialized(value) for name, value in attributes.items()}
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": record["ImageID"]}},
                UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
                ConditionExpression="attribute_not_exists(ProcessingStatus)",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            # When DynamoDB's answer is lost, the SDK calls again, and finds what the first attempt wrote.
            return bool(refused_item(error).get("RebuiltAt") == values[":RebuiltAt"])
    return True


def carry_out(resources: Resources, plans: Iterable[Plan]) -> list[Plan]:
    """Write what is not refused -> the same plans; one that has a record by now says so."""
    done = []
    for one in plans:
        if one.record is not None and not write(resources.table, one.record):
            one = Plan(one.image_id, one.key, refusal="It has got a record in this moment, which stays as it is.")
        done.append(one)
    return done


def plans_of(resources: Resources, parameter: str, image_ids_: Iterable[str]) -> Iterator[Plan]:
    """The plans of several images, by the policy of today (`parameter` is its name in Systems Manager)."""
    return records.for_each(partial(_plan_or_error, resources, policy_parameter.current(parameter)), image_ids_)


def _plan_or_error(resources: Resources, policy: Policy, image_id: str) -> Plan:
    """What AWS refuses about one image, or what was moved meanwhile, does not end a run about thousands."""
    try:
        return plan(resources, policy, image_id)
    except PetDetectorError as error:
        return Plan(image_id, refusal=f"It could not be read ({error}): try again.")
