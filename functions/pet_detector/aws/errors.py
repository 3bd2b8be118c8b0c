"""AWS's errors become the domain's own, by code and never by message text.

Most errors of S3 have no class of their own in botocore. Unwrapped, they would all reach the state machine as
`ClientError`, and its retriers could not distinguish them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from pet_detector.rules.errors import (
    AccessDeniedError,
    ImageChangedError,
    ImageNotFoundError,
    PetDetectorError,
    PolicyInvalidError,
    ServiceError,
    ThrottledError,
)

THROTTLES = frozenset(
    [
        "Throttling",
        "ThrottlingException",
        "Throttled",  # Amazon SNS
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceededException",
        "TooManyRequestsException",
        "LimitExceededException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "KMSThrottling",  # Amazon SNS, for the key of an encrypted topic
        "429",
    ]
)
DENIALS = frozenset(
    [
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "AuthorizationError",
        "AuthorizationErrorException",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "KMSAccessDenied",
        "KMSAccessDeniedException",
        "Forbidden",
        "401",
        "403",
    ]
)
# 405 is S3's answer to a read of a version that is a delete marker.
ABSENCES = frozenset(["NoSuchKey", "NoSuchVersion", "InvalidS3ObjectException", "MethodNotAllowed", "404", "405"])
CHANGES = frozenset(["PreconditionFailed", "412"])
# The detection policy is the only parameter that is read.
POLICY_ABSENCES = frozenset(["ParameterNotFound"])


def code_of(error: ClientError) -> str:
    """The service's error code, for example `NoSuchKey`; for HEAD requests, which have no body, the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refused_item(error: ClientError) -> dict[str, Any]:
    """The item that a failed condition of DynamoDB protected; empty when there is none, or the call did not ask for it.

    Raises the error again when it is another one.
    """
    if code_of(error) != "ConditionalCheckFailedException":
        raise error
    item: dict[str, Any] = cast(dict[str, Any], error.response).get("Item", {})  # not in botocore's general error
    return item


def translate(error: BaseException | None, call: str) -> PetDetectorError:
    """The domain's error for what `call` (for example `s3:CopyObject`) ran into."""
    if isinstance(error, NoCredentialsError):
        return AccessDeniedError(f"{call}: no credentials")
    if not isinstance(error, ClientError):  # timeouts, resets, unreadable answers
        return ServiceError(f"{call}: {type(error).__name__}")
    code = code_of(error)
    for codes, kind in (
        (THROTTLES, ThrottledError),
        (DENIALS, AccessDeniedError),
        (ABSENCES, ImageNotFoundError),
        (CHANGES, ImageChangedError),
        (POLICY_ABSENCES, PolicyInvalidError),
    ):
        if code in codes:
            return kind(f"{call}: {code}")
    return ServiceError(f"{call}: {code or 'unknown error'}")


@contextmanager
def translated(call: str) -> Iterator[None]:
    """Run a block of AWS calls so that its errors come out as the domain's own."""
    try:
        yield
    except (ClientError, BotoCoreError, ResponseParserError) as error:
        raise translate(error, call) from error
