"""Amazon DynamoDB: what the table ReviewsTable holds of a person, for who wants to know it or to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import refused_item, translated
from pet_detector.rules.review import Row

# Stands in the rows of who was forgotten.
NOBODY = "somebody who was removed"

_deserialize = TypeDeserializer().deserialize


def said_by(table: str, person_id: str) -> Iterator[Row]:
    """Every row of a person, newest first, with those that were carried over to the same bytes.

    The index lags behind the table by moments.
    """
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            IndexName="PersonIndex",
            KeyConditionExpression="#person = :person",
            ExpressionAttributeNames={"#person": "Person"},
            ExpressionAttributeValues={":person": {"S": person_id}},
            ScanIndexForward=False,
        )
    )
    with translated("dynamodb:Query Reviews"):
        for page in pages:
            for item in page["Items"]:
                values: Any = {name: _deserialize(value) for name, value in item.items()}
                yield cast(Row, values)


def forget_name(table: str, person_id: str) -> int:
    """Take a person's name out of all that they said, which stays -> of how many rows."""
    forgotten = 0
    for row in said_by(table, person_id):
        if row["PersonName"] == NOBODY:
            continue
        with translated("dynamodb:UpdateItem Reviews"):
            try:
                client("dynamodb").update_item(
                    TableName=table,
                    Key={"ImageID": {"S": row["ImageID"]}, "Entry": {"S": row["Entry"]}},
                    UpdateExpression="SET PersonName = :nobody",
                    ConditionExpression="attribute_exists(ImageID)",
                    ExpressionAttributeValues={":nobody": {"S": NOBODY}},
                )
                forgotten += 1
            except ClientError as error:
                refused_item(error)  # erased in this moment
    return forgotten
