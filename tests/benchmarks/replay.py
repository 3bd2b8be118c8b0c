"""`petdetect replay` on a table of 10,000 records in the local AWS: seconds, and no call of Rekognition."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from rich.table import Table

from ops import replay
from pet_detector.aws import clients
from pet_detector.aws.detection_logs import serialized
from pet_detector.rules.policy import Policy
from tests.benchmarks.measure import Measure
from tests.support import local_aws
from tests.support.moto_world import create_table

RECORDS, BATCH = 10_000, 25
MOST_SECONDS = 30.0
_TABLE = "detection-logs"
_OTHERS = ("Animal", "Mammal", "Pet", "Chair", "Furniture", "Outdoors", "Grass", "Person", "Plant", "Indoors")


def measure(scratch: Path) -> tuple[list[Table], list[Measure]]:
    """Write the records, and decide them again with another minimum."""
    with local_aws.running(scratch) as url, mock.patch.dict(os.environ, _reached(url)):
        dynamodb: Any = local_aws.client(url, "dynamodb")
        create_table(dynamodb, _TABLE)
        items = list(records())
        batches = [items[start : start + BATCH] for start in range(0, RECORDS, BATCH)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda batch: _write(dynamodb, batch), batches))
        clients.forget()
        with mock.patch.object(boto3, "client", wraps=boto3.client) as make:
            found = replay.replay(_TABLE, Policy(75, 15, 50), limit=20)
        clients.forget()
    made = [call.args[0] for call in make.call_args_list]
    return [], [
        Measure(
            f"replay of {RECORDS:,} records",
            f"{found.seconds:.1f} s, {found.changed:,} decided otherwise, clients: {', '.join(made)}",
            target=f"<= {MOST_SECONDS:g} s, all, no rekognition",
            is_met=found.seconds <= MOST_SECONDS and found.records == RECORDS and made == ["dynamodb"],
        )
    ]


def _reached(url: str) -> dict[str, str]:
    """What leads the clients of petdetect there, and nowhere else."""
    keys = {"AWS_ACCESS_KEY_ID": local_aws.ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test"}
    return keys | {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": local_aws.REGION, "NO_PROXY": "127.0.0.1"}


def _write(dynamodb: Any, items: list[dict[str, Any]]) -> None:
    requests = [{"PutRequest": {"Item": {name: serialized(value) for name, value in item.items()}}} for item in items]
    assert not dynamodb.batch_write_item(RequestItems={_TABLE: requests})["UnprocessedItems"]


def records() -> Iterator[dict[str, Any]]:
    """Records as the workflow leaves them, with 15 labels; every other one of version 1 of the rules, some judged."""
    source = random.Random(10)
    for number in range(RECORDS):
        image_id = f"{number:032x}"
        cat, dog = source.uniform(0, 100), source.uniform(0, 40)
        labels = {"Cat": cat, "Dog": dog} | {name: source.uniform(40, 100) for name in _OTHERS}
        certain = cat >= 80 and cat - dog >= 15
        record = {
            **{"ImageID": image_id, "ProcessingStatus": "completed", "DetectedAnimal": "cat" if certain else "other"},
            **{"Certain": certain, "ConfidenceScore": Decimal(f"{cat:.2f}"), "Reason": "r" * 80},
            **{"Labels": [{"Name": name, "Confidence": Decimal(f"{value:.4f}")} for name, value in labels.items()]},
            **{"PolicyVersion": "1:80/15/50" if number % 2 else "2:80/15/50/55", "ContentHash": image_id * 2},
            **{"S3Location": f"s3://a-bucket/cats/{image_id}.jpg", "OriginalFilename": f"IMG_{number}.jpg"},
            **{"ListedAt": f"2026-11-30T00:00:00.000Z#{image_id}", "Shard": str(number % 4)},
        }
        yield record | ({"VerdictSequence": 1, "MachineAnimal": "other"} if number % 50 == 0 else {})
