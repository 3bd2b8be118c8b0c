"""Errors become sentences that say what to do: an operator gets no traceback."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from pet_detector.aws.errors import DENIALS, THROTTLES, code_of
from pet_detector.rules.errors import PetDetectorError

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
)
_EXPIRED = frozenset(["ExpiredToken", "ExpiredTokenException", "RequestExpired"])


class OperatorError(Exception):
    """Something that the operator can fix; the message says what and how."""


# What `sentence` can put into words.
KNOWN = (ClientError, BotoCoreError, PetDetectorError, OperatorError)


def sentence(error: BaseException) -> str:
    """What happened, and what to do about it."""
    if isinstance(error, PetDetectorError) and isinstance(error.__cause__, ClientError | BotoCoreError):
        error = error.__cause__  # the domain's error keeps the code for machines; AWS's own says more to a person
    if isinstance(error, _NO_CREDENTIALS):
        return (
            "There are no usable AWS credentials: sign in (`aws sso login`, `aws configure`), or name a profile with "
            f"AWS_PROFILE. ({error})"
        )
    if isinstance(error, ProfileNotFound):
        return f"{error}: name one of ~/.aws/config in AWS_PROFILE, or unset it."
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
        return f"AWS cannot be reached: look at the network and at AWS_ENDPOINT_URL, then try again. ({error})"
    if isinstance(error, ClientError):
        return _refusal(error)
    if isinstance(error, BotoCoreError):
        return f"AWS did not answer as expected; try again. ({error})"
    return str(error)


def _refusal(error: ClientError) -> str:
    code, operation = code_of(error), error.operation_name
    if code in _EXPIRED:
        return f"The AWS credentials have expired: sign in again. ({operation}: {code})"
    if code in DENIALS:
        return (
            f"AWS does not allow {operation} ({code}): use credentials that may read and restart the application, of "
            "the account in which it is deployed."
        )
    if code in THROTTLES:
        return f"AWS asks to slow down ({operation}: {code}): wait a minute and run the command again."
    return f"AWS refused {operation} ({code}): {error.response.get('Error', {}).get('Message', '')}"
