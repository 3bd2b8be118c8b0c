"""Amazon DynamoDB: the table Analyses. What Rekognition saw in which bytes, so that the same bytes are paid for once.

One item per content hash holds either a lease (an execution is asking Rekognition right now) or the labels. The item
`newest-model` holds the model version of the latest answer: labels of another version are not used again.
`daily_limit` keeps a counter in the same table.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.errors import AnalysisInProgressError
from pet_detector.rules.models import Label, Recognition

# Longer than the Timeout of ImageProcessor in template.yaml: when a lease ends, its owner has ended before.
LEASE_SECONDS = 30
# The same picture comes again soon or never; in three months Rekognition's model will have changed anyway.
KEPT_SECONDS = 90 * 24 * 60 * 60

_NEWEST_MODEL = "newest-model"


def begin(table: str, content_hash: str, owner: str) -> Recognition | None:
    """The stored recognition of these bytes; or None, and `owner` (an execution) must ask Rekognition and `finish`.

    Of several owners at the same moment one gets None, the others AnalysisInProgressError, until the answer is there
    or LEASE_SECONDS have passed. The same owner may begin again: it crashed, or an answer to it was lost.
    """
    now = int(time.time())
    with translated("dynamodb:UpdateItem Analyses"):
        newest = _newest_model(table)
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression="SET LeaseOwner = :owner, LeaseEnds = :ends, ExpiresAt = :expires",
                ConditionExpression=(
                    "(attribute_not_exists(ModelVersion) OR (ModelVersion <> :newest AND :newest <> :none))"
                    " AND (attribute_not_exists(LeaseEnds) OR LeaseEnds < :now OR LeaseOwner = :owner)"
                ),
                ExpressionAttributeValues={
                    ":owner": {"S": owner},
                    ":ends": {"N": str(now + LEASE_SECONDS)},
                    ":now": {"N": str(now)},
                    ":expires": {"N": str(now + KEPT_SECONDS)},
                    ":newest": newest.get("ModelVersion", {"S": "none"}),
                    ":none": {"S": "none"},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            item = refused_item(error)
            # The very first answer may have come since: whoever gave it has noted its model before.
            newest = newest or _newest_model(table)
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
        # In this order: labels of a version that is not yet known as the newest would not be used.
        _note_model(table, recognition.model_version)
        client("dynamodb").put_item(
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
    return dict(client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {}))


def _note_model(table: str, version: str) -> None:
    """Remember a model's version unless a newer one is known: while AWS rolls one out, both of them answer."""
    order = {"N": str(_order(version))}
    try:
        client("dynamodb").put_item(
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
    """End the lease without an answer, so that no other execution waits. Does nothing to another owner's lease."""
    with translated("dynamodb:UpdateItem Analyses"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ContentHash": {"S": content_hash}},
                UpdateExpression="REMOVE LeaseOwner, LeaseEnds",
                ConditionExpression="LeaseOwner = :owner",
                ExpressionAttributeValues={":owner": {"S": owner}},
            )
        except ClientError as error:
            refused_item(error)
