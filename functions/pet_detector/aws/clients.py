"""One client of each AWS service, made when it is first needed, and how long each waits for its service."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_rekognition import RekognitionClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_stepfunctions import SFNClient


class _Timeouts(NamedTuple):
    """Seconds to wait for a connection and for an answer, each time, and how often to try."""

    connect: int
    read: int
    attempts: int


# A call ends within the Timeout of every function that makes it, so that the function answers with an error of its own.
# One attempt: the state machine owns the retries, and their budget stands beside them in image_workflow.asl.yaml; a
# second attempt of sns:Publish, after an answer that was lost, would send a notice twice. DynamoDB's writes are
# conditional and StartExecution has a name: repeating them is safe.
_TIMEOUTS = {
    "cloudwatch": _Timeouts(1, 5, attempts=2),
    "dynamodb": _Timeouts(1, 3, attempts=3),
    "rekognition": _Timeouts(2, 12, attempts=1),
    "s3": _Timeouts(2, 8, attempts=1),
    "sns": _Timeouts(2, 8, attempts=1),
    "sqs": _Timeouts(1, 3, attempts=2),
    "ssm": _Timeouts(2, 5, attempts=1),
    "stepfunctions": _Timeouts(2, 8, attempts=3),
}
# For the count of notices, between the reservation of a notice and its sending: what cannot be counted is sent. One
# attempt: an ADD that is repeated counts twice.
_COUNTING = _Timeouts(1, 1, attempts=1)
# For /health: a service that takes longer is down, as far as its caller is concerned.
_QUICK = _Timeouts(1, 2, attempts=1)

if TYPE_CHECKING:

    @overload
    def client(service: Literal["cloudwatch"], *, quick: bool = False) -> Any: ...
    @overload
    def client(service: Literal["dynamodb"], *, quick: bool = False) -> DynamoDBClient: ...
    @overload
    def client(service: Literal["rekognition"], *, quick: bool = False) -> RekognitionClient: ...
    @overload
    def client(service: Literal["s3"], *, quick: bool = False) -> S3Client: ...
    @overload
    def client(service: Literal["sns"], *, quick: bool = False) -> SNSClient: ...
    @overload
    def client(service: Literal["sqs"], *, quick: bool = False) -> SQSClient: ...
    @overload
    def client(service: Literal["ssm"], *, quick: bool = False) -> SSMClient: ...
    @overload
    def client(service: Literal["stepfunctions"], *, quick: bool = False) -> SFNClient: ...


def client(service: str, *, quick: bool = False) -> Any:
    """The client of a service, the same one every time; a `quick` one gives up after 3 seconds."""
    return _made(service, _QUICK if quick else _TIMEOUTS[service])


def counting_client() -> DynamoDBClient:
    """The client of DynamoDB that counts notices, the same one every time; it gives up after 2 seconds."""
    made: DynamoDBClient = _made("dynamodb", _COUNTING)
    return made


@cache
def _made(service: str, timeouts: _Timeouts) -> Any:
    make: Any = boto3.client
    return make(
        service,
        config=Config(
            # By name: without it botocore presigns S3 requests for us-east-1 with the retired version 2.
            signature_version="s3v4" if service == "s3" else None,
            connect_timeout=timeouts.connect,
            read_timeout=timeouts.read,
            retries={"mode": "standard", "total_max_attempts": timeouts.attempts},
        ),
    )


_caches: list[Callable[[], None]] = [_made.cache_clear]


def on_forget(clear: Callable[[], None]) -> None:
    """Call `clear` when the clients are forgotten: it empties a cache of what they answered."""
    _caches.append(clear)


def forget() -> None:
    """Make new clients and read everything again: for tests, and for a command that changes to another account."""
    for clear in _caches:
        clear()
