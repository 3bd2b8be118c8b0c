"""What people decide about images of the deployed application, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from pet_detector.aws import detection_logs
from tests.support.deployment import CERTAIN_CAT, Deployment
from tests.support.waiting import eventually

FOLDER_OF = {"cat": "cats", "dog": "dogs", "other": "others"}


class Verdicts:
    """Images that were filed without a workflow, and verdicts on them."""

    def __init__(self, application: Deployment) -> None:
        self.application = application
        self.reviews = application.outputs["ReviewsTableName"]
        self.workflow = application.outputs["ReviewWorkflowArn"]
        self.function = application.functions["ReviewKeeperFunction"]

    # --- What was before ----------------------------------------------------------------------------------------------

    def filed(self, *, certain: bool = False, head: bool = True) -> str:
        """An image as the workflow leaves it (an uncertain one, or a certain cat), and its head -> its ImageID."""
        image_id = uuid.uuid4().hex
        animal, status = ("cat", "completed") if certain else ("other", "needs_review")
        key = f"{FOLDER_OF[animal]}/{image_id}.jpg"
        application, now = self.application, detection_logs.now()
        application.s3.put_object(
            Bucket=application.bucket,
            Key=key,
            Body=CERTAIN_CAT.read_bytes(),
            ContentType="image/jpeg",
            Metadata={
                "source-version": "v1",
                "source-etag": "e",
                "uploaded-bytes": "7",
                "uploaded-sha256": image_id * 2,
            },
        )
        shard = str(int(image_id[0], 16) % 4)
        texts = {
            **{"ImageID": image_id, "ProcessingStatus": status, "DetectedAnimal": animal, "Shard": shard},
            **{"StatusShard": f"{status}#{shard}", "AnimalShard": f"{animal}#{shard}", "OwnerShard": f"s3#{shard}"},
            **{"S3Location": f"s3://{application.bucket}/{key}", "ContentHash": image_id * 2, "CorrelationId": "c"},
            **{"SourceKey": f"input/{image_id}.jpg", "SourceVersion": "v1", "UploadedBy": "s3", "ImageFormat": "jpg"},
            **{"CreatedAt": now, "UpdatedAt": now, "Timestamp": now, "ListedAt": f"{now}#{image_id}", "Reason": "r"},
            **{
                "PolicyVersion": "2:80/15/50/55",
                "ModelVersion": "3.0",
                "OriginalFilename": "a.jpg",
                "ExecutionArn": "e",
            },
        }
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items()}
        scores = {"cat": {"N": "97" if certain else "70"}, "dog": {"N": "2"}}
        item |= {"Certain": {"BOOL": certain}, "Scores": {"M": scores}, "ConfidenceScore": {"N": "30"}}
        item |= {"ExpiresAt": {"N": str(int(datetime.now(UTC).timestamp()) + 86400)}, "Labels": {"L": []}}
        application.dynamodb.put_item(TableName=application.table, Item=item)
        if head:
            self.put_head(image_id)
        return image_id

    def in_no_queue(self) -> str:
        """An uncertain image that the stream has lost, or that is from before there were reviews."""
        image_id = self.filed(head=False)
        eventually(lambda: self.head(image_id), f"the stream puts {image_id} into a queue")
        key = {"ImageID": {"S": image_id}, "Entry": {"S": "review"}}
        self.application.dynamodb.delete_item(TableName=self.reviews, Key=key)
        return image_id

    def put_head(self, image_id: str) -> None:
        """The head of an image about which nobody has decided, whatever the stream has made of it."""
        queue, order = "uncertain", f"040.00#{image_id}"
        texts = {"ImageID": image_id, "Entry": "review", "Queue": queue, "Order": order, "HomeQueue": queue}
        texts |= {"HomeOrder": order, "ContentHash": image_id * 2, "Guess": "other", "Leaning": "cat"}
        item: dict[str, Any] = {name: {"S": text} for name, text in texts.items()}
        self.application.dynamodb.put_item(TableName=self.reviews, Item={**item, "Sequence": {"N": "0"}})

    # --- What people do -----------------------------------------------------------------------------------------------

    def decide(self, image_id: str, animal: str | None, *, start: bool = True, minutes_ago: float = 0) -> int:
        """A verdict, or (None) the undo of the only one, as ReviewApi writes it on the head -> its sequence."""
        at = detection_logs.format_time(datetime.now(UTC) - timedelta(minutes=minutes_ago))
        head = self.head(image_id)
        queue = head["HomeQueue"] if animal is None else "done"
        values = {
            ":pending": {"S": "pending"},
            ":at": {"S": at},
            ":order": {"S": f"{at}#{image_id}"},
            ":one": {"N": "1"},
        }
        values |= {":next": {"S": queue}, ":nextOrder": {"S": head["HomeOrder"] if animal is None else at}}
        update = "SET #queue = :pending, #order = :order, PendingSince = :at, NextQueue = :next, NextOrder = :nextOrder"
        if animal is None:
            update += " REMOVE Verdict, DecidedBy, DecidedAt"
        else:
            update += ", Verdict = :animal, DecidedBy = :person, DecidedAt = :at"
            values |= {":animal": {"S": animal}, ":person": {"S": "person-1"}}
        changed = self.application.dynamodb.update_item(
            TableName=self.reviews,
            Key={"ImageID": {"S": image_id}, "Entry": {"S": "review"}},
            UpdateExpression=f"{update} ADD #sequence :one",
            ExpressionAttributeNames={"#queue": "Queue", "#order": "Order", "#sequence": "Sequence"},
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        sequence = int(changed["Attributes"]["Sequence"]["N"])
        if start:
            self.start(image_id, sequence)
        return sequence

    def start(self, image_id: str, sequence: int, again: str = "", test_case: str = "") -> str:
        """Start the review workflow -> the execution's ARN."""
        name = "-".join(filter(None, [image_id, str(sequence), again]))
        document = json.dumps({"imageId": image_id, "sequence": sequence})
        machine = f"{self.workflow}#{test_case}" if test_case else self.workflow
        started = self.application.sfn.start_execution(stateMachineArn=machine, name=name, input=document)
        return str(started["executionArn"])

    # --- What is then -------------------------------------------------------------------------------------------------

    def head(self, image_id: str) -> dict[str, Any]:
        """The head of an image's reviews; empty when there is none."""
        key = {"ImageID": {"S": image_id}, "Entry": {"S": "review"}}
        answer = self.application.dynamodb.get_item(TableName=self.reviews, Key=key, ConsistentRead=True)
        return {name: next(iter(value.values())) for name, value in answer.get("Item", {}).items()}

    def record(self, image_id: str) -> dict[str, Any]:
        """The record of an image."""
        return {name: next(iter(value.values())) for name, value in self.application.item(image_id).items()}

    def places(self, image_id: str) -> list[str]:
        """The folders in which a reader finds the picture, and any older version of it."""
        found = self.application.objects(delete_markers=True)
        return sorted({key.partition("/")[0] for key, _ in found if image_id in key})

    def settled(self, image_id: str) -> dict[str, Any]:
        """Wait until nothing is to be carried out -> the record."""
        eventually(lambda: self.head(image_id)["Queue"] != "pending", f"the verdict on {image_id} is carried out")
        return self.record(image_id)

    def executions(self, image_id: str) -> list[str]:
        """ARNs of the executions about an image, the oldest first."""
        pages = self.application.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.workflow)
        arns = [found["executionArn"] for page in pages for found in page["executions"] if image_id in found["name"]]
        return arns[::-1]

    def ended(self, image_id: str) -> list[str]:
        """Wait for the end of every execution about an image -> the last states that they entered."""
        return [self.application.ended(arn) for arn in self.executions(image_id)]

    def transitions(self, execution: str) -> int:
        """What AWS would bill of an execution: the states that it entered, and every further attempt."""
        events = [event["type"] for event in self.application.history(execution)]
        entered: int = sum(kind.endswith("StateEntered") for kind in events)
        return entered + events.count("TaskScheduled") - events.count("TaskStateEntered")

    def keep(self) -> dict[str, Any]:
        """Run ReviewKeeper -> its answer."""
        return self.application.invoke("ReviewKeeperFunction")

    def age(self, image_id: str, minutes: float = 20) -> None:
        """Let a verdict wait, and the claim on its picture stand, since so many minutes."""
        at = detection_logs.format_time(datetime.now(UTC) - timedelta(minutes=minutes))
        dynamodb = self.application.dynamodb
        with contextlib.suppress(dynamodb.exceptions.ConditionalCheckFailedException):
            dynamodb.update_item(
                TableName=self.reviews,
                Key={"ImageID": {"S": image_id}, "Entry": {"S": "review"}},
                UpdateExpression="SET #order = :at",
                ConditionExpression="#queue = :pending",
                ExpressionAttributeNames={"#order": "Order", "#queue": "Queue"},
                ExpressionAttributeValues={":at": {"S": at}, ":pending": {"S": "pending"}},
            )
        if "ReviewClaimedAt" in self.record(image_id):
            self.application.change_record(image_id, ReviewClaimedAt=at)

    def reopen(self, image_id: str) -> None:
        """As if Close Review had never been."""
        at = detection_logs.now()
        self.application.dynamodb.update_item(
            TableName=self.reviews,
            Key={"ImageID": {"S": image_id}, "Entry": {"S": "review"}},
            UpdateExpression="SET #queue = :pending, #order = :at REMOVE CarriedOut",
            ExpressionAttributeNames={"#order": "Order", "#queue": "Queue"},
            ExpressionAttributeValues={":at": {"S": at}, ":pending": {"S": "pending"}},
        )

    def forget_today(self) -> None:
        """As if nothing of what is done once a day had been done today."""
        for what in ("digest", "overdue", "accuracy"):
            key = {"ImageID": {"S": "keeper"}, "Entry": {"S": what}}
            self.application.dynamodb.delete_item(TableName=self.reviews, Key=key)

    def digests(self) -> list[dict[str, Any]]:
        """The daily digests that went out."""
        return [notice for notice in self.application.digests() if "wait" in notice["Subject"]]
