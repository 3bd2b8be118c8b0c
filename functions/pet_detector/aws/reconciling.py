"""Amazon DynamoDB: what the Reconciler notes in the table DetectionLogs: where it stopped, and what it rejected."""

from __future__ import annotations

from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.models import Status

# Not a record: it has no ProcessingStatus.
_POSITION = "reconciler#position"


def position(table: str) -> str:
    """The key under input/ behind which the next run begins; empty for the first one."""
    with translated("dynamodb:GetItem"):
        answer = client("dynamodb").get_item(TableName=table, Key={"ImageID": {"S": _POSITION}}, ConsistentRead=True)
    return str(answer.get("Item", {}).get("Position", {}).get("S", ""))


def move_to(table: str, key: str) -> None:
    """Have the next run begin behind this key, or with the first one if it is empty."""
    with translated("dynamodb:UpdateItem"):
        client("dynamodb").update_item(
            TableName=table,
            Key={"ImageID": {"S": _POSITION}},
            UpdateExpression="SET #position = :key",
            ExpressionAttributeNames={"#position": "Position"},
            ExpressionAttributeValues={":key": {"S": key}},
        )


def count_superseded(table: str, image_id: str, version_id: str, number: int) -> bool:
    """Add to the later uploads of a final image that were rejected; False if it is not final, or of another version.

    When DynamoDB's answer is lost, the SDK calls again, and they count twice.
    """
    with translated("dynamodb:UpdateItem"):
        try:
            client("dynamodb").update_item(
                TableName=table,
                Key={"ImageID": {"S": image_id}},
                UpdateExpression="ADD Superseded :number",
                ConditionExpression=(
                    "ProcessingStatus IN (:completed, :needs_review, :rejected) AND SourceVersion = :version"
                ),
                ExpressionAttributeValues={
                    ":number": {"N": str(number)},
                    ":completed": {"S": Status.COMPLETED},
                    ":needs_review": {"S": Status.NEEDS_REVIEW},
                    ":rejected": {"S": Status.REJECTED},
                    ":version": {"S": version_id},
                },
            )
        except ClientError as error:
            refused_item(error)
            return False
    return True
