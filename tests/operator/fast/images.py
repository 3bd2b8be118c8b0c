"""Images on moto as the workflow leaves them: failed or held, with their object or without."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.moto_world import BUCKET, EXECUTION, IMAGE_ID, TABLE, Cloud

OTHER_ID = "f" * 32


def write(aws: Cloud, image_id: str, status: str, reason: str = "ServiceError", **more: Any) -> None:
    """Put a record of this status; `reason` is the error of a failed image."""
    error = {"Error": reason, "Cause": "a test"}
    record = {
        "ExecutionArn": EXECUTION,
        "ListedAt": f"2026-11-21T09:00:00.000Z#{image_id}",
        "UpdatedAt": datetime.now(UTC).isoformat(),
    } | ({"Error": error} if status == "failed" else {})
    aws.write(image_id, ProcessingStatus=status, **(record | more))


def present(aws: Cloud, image_id: str = IMAGE_ID, status: str = "failed", **more: Any) -> str:
    """An image whose object is there -> its ID."""
    key = f"input/{image_id}.jpg"
    version, _ = aws.put(key, b"picture")
    write(aws, image_id, status, SourceKey=key, SourceVersion=version, **more)
    return image_id


def gone(aws: Cloud, image_id: str = IMAGE_ID, status: str = "failed", **more: Any) -> str:
    """An image whose object version is gone -> its ID."""
    place = {"SourceKey": f"input/{image_id}.jpg", "SourceVersion": "gone"}
    write(aws, image_id, status, "ImageNotFoundError", **(place | more))
    return image_id


def snapshot(aws: Cloud) -> object:
    """All that a command could change: records, object versions, executions."""
    items = aws.dynamodb.scan(TableName=TABLE)["Items"]
    versions = aws.s3.list_object_versions(Bucket=BUCKET).get("Versions", [])
    return (
        sorted(json.dumps(item, sort_keys=True, default=sorted) for item in items),
        sorted((version["Key"], version["VersionId"]) for version in versions),
        aws.started(),
    )
