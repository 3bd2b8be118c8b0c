"""What the table and the bucket say of an image."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest

from ops import records
from ops.environment import Deployment
from ops.errors import OperatorError
from pet_detector.aws import detection_logs
from pet_detector.aws.clients import client
from pet_detector.rules import image_ids
from pet_detector.rules.models import Status
from tests.operator.fast import images
from tests.support.moto_world import EXECUTION, IMAGE_ID, KEY, TABLE, Cloud


def _ids(count: int) -> list[str]:
    """Of every shard in turn."""
    return [f"{number % 16:x}{number:031x}" for number in range(count)]


def test_several_are_asked_at_a_time_in_order_and_the_first_one_alone() -> None:
    together, alone = threading.Barrier(2, timeout=10), list[int]()

    def ask(item: int) -> int:
        if item == 0:
            alone.append(threading.active_count())
        else:
            together.wait()  # breaks unless another one is asked at the same time
        return item

    before = threading.active_count()

    assert list(records.for_each(ask, range(5))) == [0, 1, 2, 3, 4]
    assert alone == [before]


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_an_upload_that_no_execution_has_claimed_is_found_under_input(
    aws: Cloud, deployment: Deployment, extension: str
) -> None:
    version, _ = aws.put(f"input/{IMAGE_ID}.{extension}", b"picture")
    aws.write(ProcessingStatus="uploading")

    assert records.place_of(deployment, {"ImageID": IMAGE_ID}) == (f"input/{IMAGE_ID}.{extension}", version)


def test_what_lies_under_the_key_of_a_failed_image_was_put_back(aws: Cloud, deployment: Deployment) -> None:
    images.gone(aws)
    version, _ = aws.put(KEY, b"picture")
    record = records.read(deployment, IMAGE_ID)

    place = records.place_of(deployment, record)

    assert place == (KEY, version)
    assert records.replaced_version(record, place) == "gone"


@pytest.mark.parametrize("status", ["processing", "held", "completed", "needs_review", "rejected"])
def test_what_lies_under_the_key_of_any_other_image_is_another_upload(
    aws: Cloud, deployment: Deployment, status: str
) -> None:
    images.gone(aws, status=status)
    aws.put(KEY, b"picture")

    assert records.place_of(deployment, records.read(deployment, IMAGE_ID)) is None


def test_an_image_whose_record_names_no_version_was_not_replaced(aws: Cloud, deployment: Deployment) -> None:
    aws.write(ProcessingStatus="failed", SourceKey=KEY, SourceVersion=image_ids.NEWEST)
    aws.put(KEY, b"picture")
    record = records.read(deployment, IMAGE_ID)
    place = records.place_of(deployment, record)

    assert place is not None
    assert records.replaced_version(record, place) is None


def test_a_record_is_read_as_of_now_whatever_it_holds(aws: Cloud, deployment: Deployment) -> None:
    asked: list[Any] = []
    client("dynamodb").meta.events.register(
        "provide-client-params.dynamodb.GetItem", lambda params, **_: asked.append(params.get("ConsistentRead"))
    )
    with pytest.raises(OperatorError, match=f"There is no image {IMAGE_ID} in dev"):
        records.read(deployment, IMAGE_ID)
    aws.dynamodb.put_item(TableName=TABLE, Item={"ImageID": {"S": IMAGE_ID}, "Notices": {"SS": [EXECUTION]}})
    assert records.read(deployment, IMAGE_ID) == {"ImageID": IMAGE_ID, "Notices": {EXECUTION}}
    aws.write(ProcessingStatus="uploading", ExpiresAt=1)  # it never came, and will be deleted some day
    assert records.read(deployment, IMAGE_ID)["ExpiresAt"] == Decimal(1)
    assert asked == [True] * 3


def test_counts_are_those_of_one_status_over_all_shards(aws: Cloud) -> None:
    for number, image_id in enumerate(_ids(8)):
        status = "failed" if number % 4 == 3 else "processing"
        aws.write(image_id, ProcessingStatus=status, ListedAt=f"2026-11-2{8 - number}T09:00:00.000Z#{image_id}")

    assert detection_logs.count(TABLE, Status.PROCESSING) == 6
    assert detection_logs.count(TABLE, Status.FAILED) == 2
    assert detection_logs.count(TABLE, Status.HELD) == 0
