"""Every error of the domain, one class per decision that the state machine or the API makes.

    PetDetectorError
    ├── ThrottledError          AWS asked us to slow down: the state machine retries; for Rekognition it waits its turn
    ├── ServiceError            AWS failed, timed out or hung up: the state machine retries, a few times
    ├── AnalysisInProgressError another execution is asking about the same bytes: the state machine waits for it
    ├── AccessDeniedError       a permission or a credential is missing: an operator must act, never retried
    ├── ImageNotFoundError      the object is not there, or not yet visible: the state machine retries, a few times
    ├── ClaimExpiredError       an execution comes too late: another may have the picture; the verdict is started again
    ├── ImageChangedError       the object is not the one that was analysed: never retried
    ├── ConversionFailedError   the decoder does not start: a fault of the deployment, never retried
    ├── PolicyInvalidError      the detection policy parameter cannot be used: an operator must act
    ├── SettingMissingError     a function lacks an environment variable: a fault of the deployment
    └── RequestError            the API's caller must change the request

A Python Lambda's `errorType` is the class name, which `Retry` and `Catch` compare with `ErrorEquals`: a rename here
is a change of `statemachine/image_workflow.asl.yaml` (`tests/template` compares the two).
"""

from __future__ import annotations


class PetDetectorError(Exception):
    """Root of all errors that this package raises on purpose."""


class ThrottledError(PetDetectorError):
    """An AWS service answered that we call too often."""


class ServiceError(PetDetectorError):
    """An AWS service failed, timed out, closed the connection, or refused for a reason that we do not know."""


class AnalysisInProgressError(PetDetectorError):
    """Another execution holds the lease on the analysis of the same bytes."""


class AccessDeniedError(PetDetectorError):
    """An AWS service refused the caller: missing permission, or expired credentials."""


class ImageNotFoundError(PetDetectorError):
    """The object (or that version of it) does not exist."""


class ImageChangedError(PetDetectorError):
    """The object's ETag differs from the one that was analysed."""


class ClaimExpiredError(PetDetectorError):
    """The claim on a picture is over, or nearly: another execution may be moving it."""


class ConversionFailedError(PetDetectorError):
    """The decoder of WebP, AVIF and HEIC did not start, or ended in a way that no picture can bring about."""


class PolicyInvalidError(PetDetectorError):
    """The SSM parameter with the detection policy is missing, not JSON, or out of range."""


class SettingMissingError(PetDetectorError):
    """A required environment variable is missing or empty."""


class RequestError(PetDetectorError):
    """A request to the API that its caller must change.

    `status` is the HTTP status (400 to 499), `code` a stable UPPER_SNAKE name, the message a sentence that says
    what to do.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


# The error's name of an execution that ended without one, by the status with which it ended.
ERROR_OF_STATUS = {"TIMED_OUT": "States.Timeout", "ABORTED": "ExecutionAborted"}
