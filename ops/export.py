"""`petdetect export`: what is held about a picture, for the person who asks for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops import output, records, story
from ops.environment import Deployment
from ops.erase_command import resources_of
from ops.errors import OperatorError
from pet_detector.aws import detection_logs, erasures
from pet_detector.aws.clients import client
from pet_detector.aws.erasures import Source
from pet_detector.rules.models import ERASED, Record
from pet_detector.use_cases import erasure


def run(deployment: Deployment, image_id: str, folder: Path | None) -> None:
    """Print one JSON document, and save the picture in a folder if one is given."""
    resources = resources_of(deployment)
    found = erasure.look(resources, image_id, Source.OPERATOR)
    row = erasures.find(resources.ledger, image_id)
    if found.is_nothing and row is None:
        raise OperatorError(f"Nothing is held about an image {image_id} in {deployment.environment}: look at the ID.")
    record = found.record
    document: dict[str, Any] = {
        "imageId": image_id,
        "environment": deployment.environment,
        "exportedAt": detection_logs.format_time(datetime.now(UTC)),
        "record": record,
        "executions": story.runs_of(record) if record else [],
        "objects": [{"key": v.key, "versionId": v.version_id, "deleted": v.is_marker} for v in found.versions],
        "review": {"head": found.review.head, "rows": found.review.rows} if found.review else None,
        "erasure": row,
        "picture": _save(deployment, record, folder) if record and folder else None,
        "elsewhere": "docs/erasure.md lists what AWS keeps of an image, and for how many days",
    }
    output.say_json(document)


def _save(deployment: Deployment, record: Record, folder: Path) -> str | None:
    """Where the picture is saved; None when it is gone."""
    place = records.place_of(deployment, record) if record.get("ProcessingStatus") != ERASED else None
    if place is None:
        return None
    key, version_id = place
    file = folder / f"{record['ImageID']}.{key.rpartition('.')[2]}"
    answer = client("s3").get_object(Bucket=deployment.bucket, Key=key, VersionId=version_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(answer["Body"].read())
    except OSError as error:
        raise OperatorError(f"{file} cannot be written: {error.strerror}.") from error
    return str(file)
