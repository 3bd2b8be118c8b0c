"""Amazon S3: a filed picture goes to another folder, because a person says what it shows."""

from __future__ import annotations

from botocore.exceptions import ClientError

from pet_detector.aws import image_bucket, image_versions
from pet_detector.aws.clients import client
from pet_detector.aws.errors import code_of, translated
from pet_detector.aws.image_versions import FiledVersion
from pet_detector.rules.errors import ImageNotFoundError
from pet_detector.rules.image_ids import PICTURE_FOLDERS


def refile(bucket: str, name: str, folder: str) -> str:
    """Move the picture `name` (<ImageID>.<extension>) to a folder, from whichever it lies in -> its key there.

    Copied with all that is noted of it, verified, and only then deleted where it was: every version that was there
    before the copy, as one that is left would come to light. So it is safe to run again after any crash, and what
    another run puts back meanwhile stays. In its folder already, it only is looked for. Raises ImageNotFoundError when
    it is in no folder, and the errors of AWS.
    """
    destination = f"{folder}/{name}"
    elsewhere = [f"{other}/{name}" for other in PICTURE_FOLDERS if other != folder]
    versions = [version for key in elsewhere for version in image_versions.filed_versions(bucket, key)]
    sources = [version for version in versions if version.is_newest]
    is_there = image_bucket.present_version(bucket, destination)
    if sources and not is_there:
        _copy(bucket, sources[0], destination)
        is_there = image_bucket.present_version(bucket, destination)
    if not is_there:
        raise ImageNotFoundError(f"{name} is in none of the folders {', '.join(PICTURE_FOLDERS)}.")
    if sources:
        image_versions.delete_versions(bucket, versions)
    return destination


def _copy(bucket: str, source: FiledVersion, destination: str) -> None:
    """Its bytes, its type, and of what upload it was made. A source that is gone was moved by an earlier run."""
    with translated("s3:CopyObject"):
        try:
            client("s3").copy_object(
                Bucket=bucket,
                Key=destination,
                CopySource={"Bucket": bucket, "Key": source.key, "VersionId": source.version_id},
                MetadataDirective="COPY",
                TaggingDirective="REPLACE",
            )
        except ClientError as error:
            if code_of(error) not in ("NoSuchKey", "NoSuchVersion"):
                raise
