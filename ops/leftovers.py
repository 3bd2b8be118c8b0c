"""Uploads under input/ whose picture is filed: what `petdetect reconcile --delete-filed` deletes.

The workflow deletes an upload when its picture is filed. S3 replicates no deletion of a version, so that the bucket of
a second region has all of them beside what they became, and the Reconciler counts each, run after run.
"""

from __future__ import annotations

from collections.abc import Iterable

from ops import records
from ops.environment import Deployment
from pet_detector.aws import detection_logs, image_bucket, image_versions
from pet_detector.aws.image_versions import StoredVersion
from pet_detector.rules import image_ids
from pet_detector.use_cases.reconciler import Action, Finding


def find(deployment: Deployment, findings: Iterable[Finding]) -> list[StoredVersion]:
    """The versions that a final record names as its upload, and whose filed object is there: never the last copy."""

    def filed(finding: Finding) -> StoredVersion | None:
        record = detection_logs.find(deployment.table, finding.image_id)
        if record is None or record.get("SourceVersion") != finding.version_id or not record.get("S3Location"):
            return None
        key = image_ids.key_in(record["S3Location"])
        if key.startswith(f"{image_ids.INPUT_FOLDER}/") or not image_bucket.present_version(deployment.bucket, key):
            return None
        return StoredVersion(finding.key, finding.version_id)

    reported = (finding for finding in findings if finding.action is Action.REPORT)
    return [one for one in records.for_each(filed, reported) if one is not None]


def delete(deployment: Deployment, versions: list[StoredVersion]) -> None:
    """Delete them for good. Raises the errors of AWS: run it again then."""
    image_versions.delete_versions(deployment.bucket, versions)
