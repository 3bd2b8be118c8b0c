"""The table DetectionLogs in memory: what the workflow's own Arguments do to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer
from moto import mock_aws

from tests.support.moto_world import create_table

from .executions import IMAGE_ID, TABLE


class DetectionLogs:
    """The table, which holds at most what a test has put there."""

    def __init__(self, client: Any) -> None:
        self._client = client
        create_table(client, TABLE)

    def update(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Do what a task sends to dynamodb:updateItem: the record afterwards, or None when its condition fails.

        Raises ClientError for anything that DynamoDB refuses otherwise, such as a value that an expression lacks.
        """
        condition = " ".join(arguments["ConditionExpression"].split())  # DynamoDB reads several lines, moto one
        try:
            answer = self._client.update_item(
                **{**arguments, "ConditionExpression": condition, "ReturnValues": "ALL_NEW"}
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return None
        return _plain(answer["Attributes"])

    def record(self) -> dict[str, Any]:
        """The image's record as it stands."""
        return _plain(self._client.get_item(TableName=TABLE, Key={"ImageID": {"S": IMAGE_ID}})["Item"])

    def change(self, **attributes: str) -> None:
        """Give the image's record these texts, whatever it holds; there is one afterwards."""
        self._client.update_item(
            TableName=TABLE,
            Key={"ImageID": {"S": IMAGE_ID}},
            AttributeUpdates={name: {"Value": {"S": text}} for name, text in attributes.items()},
        )


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    deserializer = TypeDeserializer()
    return {name: deserializer.deserialize(value) for name, value in item.items()}


@contextmanager
def detection_logs() -> Iterator[DetectionLogs]:
    """An empty table, until the block ends."""
    with mock_aws():
        session: Any = boto3.session.Session()
        yield DetectionLogs(
            session.client("dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        )
