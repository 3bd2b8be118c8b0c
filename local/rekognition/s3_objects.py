"""Reads pictures from the local S3, as Amazon Rekognition does for Image.S3Object."""

from __future__ import annotations

import os
from typing import Any

import boto3  # type: ignore[import-untyped, unused-ignore]
from botocore.config import Config  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped, unused-ignore]

# developer guide, "Guidelines and quotas in Amazon Rekognition": 15 MB from S3
MAX_OBJECT_BYTES = 15 * 1024 * 1024


class ObjectUnavailableError(Exception):
    """S3 has no such object or version, or does not hand it out."""


class ObjectTooLargeError(Exception):
    """The object is larger than `MAX_OBJECT_BYTES`."""


class StorageUnreachableError(Exception):
    """S3 did not answer."""


class S3Objects:
    """A read-only S3 client. Safe to share between threads.

    Args:
        endpoint: URL of the local S3, such as http://127.0.0.1:4566.
        region: region that requests are signed for.
    """

    def __init__(self, endpoint: str, region: str):
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            # A local S3 that checks signatures gets its keys through the environment, any other takes what it gets.
            # Named here so that boto3 never looks for a profile or an instance role: those belong to the real AWS.
            aws_access_key_id=os.environ.get("AWS_ACCESS_KEY_ID", "local"),
            aws_secret_access_key=os.environ.get("AWS_SECRET_ACCESS_KEY", "local"),
            aws_session_token=os.environ.get("AWS_SESSION_TOKEN"),
            config=Config(
                s3={"addressing_style": "path"},
                proxies={},  # the endpoint is on this machine: a proxy from the environment could not reach it
                retries={"total_max_attempts": 1},  # the caller retries; twice as often would hide that S3 is down
                connect_timeout=3,
                read_timeout=10,
            ),
        )

    def read(self, bucket: str, key: str, version: str | None) -> bytes:
        """Returns the object's bytes; of the latest version if `version` is None.

        Raises:
            ObjectUnavailableError, ObjectTooLargeError, StorageUnreachableError.
        """
        request = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
        try:
            response = self._s3.get_object(**request)
            with response["Body"] as body:
                if response["ContentLength"] > MAX_OBJECT_BYTES:
                    raise ObjectTooLargeError(f"{response['ContentLength']} bytes")
                data: bytes = body.read()
                return data
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise StorageUnreachableError(str(error)) from error
            raise ObjectUnavailableError(str(error)) from error
        except BotoCoreError as error:
            raise StorageUnreachableError(str(error)) from error
