"""Amazon DynamoDB: the schedule of the calls to Rekognition, one item a lane in the table Analyses."""

from __future__ import annotations

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translated
from pet_detector.rules.lanes import Lane


def next_turn(table: str, lane: Lane) -> float | None:
    """When the next turn of a lane would be, in seconds since 1970; None or in the past: at once."""
    with translated("dynamodb:GetItem Analyses"):
        answer = client("dynamodb").get_item(TableName=table, Key={"ContentHash": {"S": f"turns#{lane.value}"}})
    item = answer.get("Item", {})
    return float(item["NextTurn"]["N"]) if "NextTurn" in item else None
