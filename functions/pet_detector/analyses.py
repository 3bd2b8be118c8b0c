"""The boundary to Amazon DynamoDB: the table Analyses, what Rekognition saw in which bytes, so that nobody pays twice.

One item per content hash holds either a lease (an execution is asking Rekognition right now) or the labels. The item
`newest-model` holds the model version of the latest answer: labels of another version are not used again. An item a day
counts the analyses (the spend brake).
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from pet_detector.aws_errors import refused_item, translated
from pet_detector.errors import AnalysisInProgressError, PetDetectorError
from pet_detector.models import Label
from pet_detector.recognizer import Recognition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Longer than ImageProcessor may run (its Timeout in template.yaml): after that the owner of a lease is dead.
LEASE_SECONDS = 30
# The same picture comes again soon or never; in three months Rekognition's model will have changed anyway.
KEPT_SECONDS = 90 * 24 * 60 * 60

# A day's counter: long enough to look back at a bad week.
COUNTER_KEPT_SECONDS = 7 * 24 * 60 * 60

_NEWEST_MODEL = "newest-model"
_CONFIG = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})


@cache
def _client() -> DynamoDBClient:
    return boto3.client("dynamodb", config=_CONFIG)


def begin(table: str, content_hash: str, owner: str) -> Recognition | None:
    """The stored recognition of these bytes; or None, and `owner` (an execution) must ask Rekognition and `finish`.

    Of several owners at the same moment one gets None, the others AnalysisInProgressError, until the answer is there
    or LEASE_SECONDS have passed. The same owner may begin again: it crashed, or an answer to it was lost.
    """
    now = int(time.time())
    with translated("dynamodb:UpdateItem Analyses"):
        newest = _newest_model(table)
        try:
            _client().update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression="SET LeaseOwner = :owner, LeaseEnds = :ends, ExpiresAt = :expires",
                ConditionExpression=(
                    "(attribute_not_exists(ModelVersion) OR ModelVersion <> :newest)"
                    " AND (attribute_not_exists(LeaseEnds) OR LeaseEnds < :now OR LeaseOwner = :owner)"
                ),
                ExpressionAttributeValues={
                    ":owner": {"S": owner},
                    ":ends": {"N": str(now + LEASE_SECONDS)},
                    ":now": {"N": str(now)},
                    ":expires": {"N": str(now + KEPT_SECONDS)},
                    ":newest": newest.get("ModelVersion", {"S": "none"}),
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            item = refused_item(error)
        else:
            return None
    if "ModelVersion" not in item or item["ModelVersion"] != newest.get("ModelVersion"):
        raise AnalysisInProgressError("Another execution is asking Rekognition about the same bytes.")
    labels = (
        Label(label["M"]["Name"]["S"], float(Decimal(label["M"]["Confidence"]["N"]))) for label in item["Labels"]["L"]
    )
    return Recognition(tuple(labels), item["ModelVersion"]["S"])


def finish(table: str, content_hash: str, recognition: Recognition) -> None:
    """Store what Rekognition said, which ends the lease."""
    labels: list[Any] = [
        {"M": {"Name": {"S": label.name}, "Confidence": {"N": str(label.confidence)}}} for label in recognition.labels
    ]
    version = {"S": recognition.model_version}
    with translated("dynamodb:PutItem Analyses"):
        # This order: labels of a version that is not known as the newest would be asked for again.
        _note_model(table, recognition.model_version)
        _client().put_item(
            TableName=table,
            Item={
                "ContentHash": {"S": content_hash},
                "ModelVersion": version,
                "Labels": {"L": labels},
                "ExpiresAt": {"N": str(int(time.time()) + KEPT_SECONDS)},
            },
        )


def _newest_model(table: str) -> dict[str, Any]:
    key = {"ContentHash": {"S": _NEWEST_MODEL}}
    return dict(_client().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def _note_model(table: str, version: str) -> None:
    """Remember a model's version unless a newer one is known: while AWS rolls one out, both of them answer."""
    order = {"N": str(_order(version))}
    try:
        _client().put_item(
            TableName=table,
            Item={"ContentHash": {"S": _NEWEST_MODEL}, "ModelVersion": {"S": version}, "ModelOrder": order},
            ConditionExpression="attribute_not_exists(ModelOrder) OR ModelOrder <= :order",
            ExpressionAttributeValues={":order": order},
        )
    except ClientError as error:
        refused_item(error)


def _order(version: str) -> int:
    """A number that is larger for newer versions, such as "3.0"; 0 for one of another form."""
    major, _, minor = version.partition(".")
    return int(major) * 1000 + int(minor) if major.isdecimal() and minor.isdecimal() else 0


def give_up(table: str, content_hash: str, owner: str) -> None:
    """End the lease without an answer: nobody needs to wait for one. Nothing when it is another's by now."""
    with translated("dynamodb:UpdateItem Analyses"):
        try:
            _client().update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression="REMOVE LeaseOwner, LeaseEnds",
                ConditionExpression="LeaseOwner = :owner",
                ExpressionAttributeValues={":owner": {"S": owner}},
            )
        except ClientError as error:
            refused_item(error)


def spend(table: str, limit: int) -> bool:
    """Count one image to be analysed today (UTC). False: `limit` were counted already, and this one was not.

    `limit` 0 switches the brake off, and costs no call. A retry counts again, as the call that failed may be billed;
    one that was throttled is not (`take_back`).
    """
    if limit == 0:
        return True
    with translated("dynamodb:UpdateItem Analyses"):
        try:
            _client().update_item(
                TableName=table,
                Key=_counter_of_today(),
                UpdateExpression="ADD Images :one SET ExpiresAt = :expires",
                ConditionExpression="attribute_not_exists(Images) OR Images < :limit",
                ExpressionAttributeValues={
                    ":one": {"N": "1"},
                    ":limit": {"N": str(limit)},
                    ":expires": {"N": str(int(time.time()) + COUNTER_KEPT_SECONDS)},
                },
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True


def take_back(table: str, limit: int) -> None:
    """Count one image less, as Rekognition refused the call that was counted. Never raises: then it stays counted."""
    if limit == 0:
        return
    with contextlib.suppress(PetDetectorError), translated("dynamodb:UpdateItem Analyses"):
        _client().update_item(
            TableName=table,
            Key=_counter_of_today(),
            UpdateExpression="ADD Images :less",
            ConditionExpression="Images > :none",  # a day that began since has nothing to take back
            ExpressionAttributeValues={":less": {"N": "-1"}, ":none": {"N": "0"}},
        )


def spent(table: str) -> int:
    """Images that `spend` counted today; an operator wants to know."""
    with translated("dynamodb:GetItem Analyses"):
        item = _client().get_item(TableName=table, Key=_counter_of_today(), ConsistentRead=True).get("Item", {})
    return int(item["Images"]["N"]) if item else 0


def _counter_of_today() -> Any:
    return {"ContentHash": {"S": f"analysed#{datetime.now(UTC):%Y-%m-%d}"}}
