"""AWS's errors, as the domain names them: what the state machine retries hangs on it."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from pet_detector.aws.errors import code_of, translate, translated
from pet_detector.rules.errors import (
    AccessDeniedError,
    ImageChangedError,
    ImageNotFoundError,
    PetDetectorError,
    PolicyInvalidError,
    ServiceError,
    ThrottledError,
)


def client_error(code: str, message: str = "whatever") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "AnOperation")


CODES: dict[type[PetDetectorError], list[str]] = {
    ThrottledError: [
        "Throttling",
        "ThrottlingException",
        "Throttled",  # Amazon SNS
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceededException",  # Amazon Rekognition, for a used-up quota
        "TooManyRequestsException",
        "LimitExceededException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "KMSThrottling",
        "429",
    ],
    AccessDeniedError: [
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
    ],
    ImageNotFoundError: [
        "NoSuchKey",
        "NoSuchVersion",
        "InvalidS3ObjectException",
        "MethodNotAllowed",  # a delete marker
        "404",
        "405",
    ],
    ImageChangedError: ["PreconditionFailed", "412"],
    PolicyInvalidError: ["ParameterNotFound"],
    ServiceError: [
        "InternalError",
        "InternalServerError",
        "ServiceUnavailable",
        "RequestTimeout",
        "503",
        "NoSuchBucket",
        "NotFound",  # Amazon SNS, for a topic that is gone
        "accessdenied",
        "",
    ],
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in CODES.items() for code in codes])
def test_a_code_has_one_meaning(kind: type[PetDetectorError], code: str) -> None:
    assert type(translate(client_error(code), "s3:GetObject")) is kind


def test_the_message_never_decides() -> None:
    error = translate(client_error("InternalError", "AccessDenied: NoSuchKey, Throttling, 412"), "s3:GetObject")
    assert type(error) is ServiceError


def test_says_which_call_ran_into_what_and_no_more() -> None:
    error = translate(client_error("NoSuchKey", "secret"), "s3:GetObject")
    assert str(error) == "s3:GetObject: NoSuchKey"
    assert str(translate(client_error(""), "s3:GetObject")) == "s3:GetObject: unknown error"


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://secret"),
        ConnectTimeoutError(endpoint_url="https://secret"),
        EndpointConnectionError(endpoint_url="https://secret"),
        ResponseParserError("secret"),
        ParamValidationError(report="secret"),
        None,
    ],
)
def test_what_has_no_code_is_a_failure_of_the_service_named_by_its_class(error: Exception | None) -> None:
    found = translate(error, "sns:Publish")
    assert type(found) is ServiceError
    assert str(found) == f"sns:Publish: {type(error).__name__}"


def test_missing_credentials_are_no_failure_of_the_service() -> None:
    assert type(translate(NoCredentialsError(), "s3:GetObject")) is AccessDeniedError


@pytest.mark.parametrize("response", [{}, {"Error": {}}])
def test_an_error_without_a_code_is_no_surprise(response: dict[str, object]) -> None:
    error = ClientError({"Error": {"Code": "x"}}, "AnOperation")
    error.response = response  # type: ignore[assignment]
    assert code_of(error) == ""
    assert type(translate(error, "s3:GetObject")) is ServiceError


@pytest.mark.parametrize("error", [client_error("SlowDown"), ReadTimeoutError(endpoint_url="x"), ResponseParserError()])
def test_a_block_of_calls_raises_the_domains_errors_and_keeps_the_cause(error: Exception) -> None:
    with pytest.raises(PetDetectorError) as found, translated("s3:GetObject"):
        raise error
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyError("x"), ThrottledError("x")])
def test_other_errors_pass_a_block_of_calls_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as found, translated("s3:GetObject"):
        raise error
    assert found.value is error
