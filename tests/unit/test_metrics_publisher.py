"""MetricsPublisher: what the stream says becomes metrics in CloudWatch's embedded format, in few documents."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.types import TypeSerializer

from metrics_publisher.app import lambda_handler

_serialize = TypeSerializer().serialize


def image(status: str, **attributes: Any) -> dict[str, Any]:
    """A record as the stream shows it."""
    item = {"ImageID": "0" * 32, "ProcessingStatus": status, "ReceivedAt": "2026-11-21T09:30:00Z"}
    item |= {"UpdatedAt": "2026-11-21T09:30:02Z", **attributes}
    return {name: _serialize(value) for name, value in item.items()}


def change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    images = {"OldImage": old, "NewImage": new}
    return {"eventName": "MODIFY", "dynamodb": {name: item for name, item in images.items() if item is not None}}


def classified(animal: str) -> dict[str, Any]:
    return image("completed", DetectedAnimal=animal, ConfidenceScore="97.5")


def published(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The EMF documents that a handler wrote."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


def test_a_batch_becomes_one_document_per_dimension(context: LambdaContext, capsys: pytest.CaptureFixture[str]) -> None:
    processing = image("processing")
    records = [change(processing, classified(animal)) for animal in ("cat", "dog", "cat")]
    records += [change(None, processing), change(processing, image("rejected", ReasonCode="EMPTY"))]
    lambda_handler({"Records": records}, context)
    documents = published(capsys)
    assert len(documents) == 4  # cats, dogs, EMPTY, and all that has no dimension of its own
    (cats,) = [document for document in documents if document.get("Animal") == "cat"]
    assert cats["ImageClassified"] == [1.0, 1.0]
    (empty,) = [document for document in documents if document.get("ReasonCode") == "EMPTY"]
    assert empty["ImageRejected"] == [1.0]
    (plain,) = [document for document in documents if not {"Animal", "ReasonCode"} & set(document)]
    assert plain["ImageReceived"] == [1.0]
    assert plain["ConfidenceScore"] == [97.5] * 3
    assert plain["ProcessingTime"] == [2000.0] * 4
    assert len(plain["EstimatedCost"]) == 4


def test_counts_of_notices_in_the_same_table_are_no_images(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    count = {"ImageID": {"S": "notice-burst#ImageUncertain"}, "Withheld": {"N": "7"}}
    lambda_handler({"Records": [change(None, count), change(count, count), change(count, None)]}, context)
    assert published(capsys) == []


def test_documents_have_our_namespace_and_the_service_and_no_identifier(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    lambda_handler({"Records": [change(image("processing"), classified("cat"))]}, context)
    for document in published(capsys):
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "PetDetector"
        (dimensions,) = directive["Dimensions"]
        assert "service" in dimensions
        assert set(dimensions) <= {"service", "Animal"}
        assert "0" * 32 not in json.dumps(document)


def test_units_are_those_of_the_measurements(context: LambdaContext, capsys: pytest.CaptureFixture[str]) -> None:
    lambda_handler({"Records": [change(image("processing"), classified("cat"))]}, context)
    metrics = [m for document in published(capsys) for m in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert {metric["Name"]: metric["Unit"] for metric in metrics} == {
        "ImageClassified": "Count",
        "ConfidenceScore": "Percent",
        "ProcessingTime": "Milliseconds",
        "EstimatedCost": "None",
    }


def test_more_values_than_a_document_holds_are_all_published(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """EMF takes 100 values of a metric in a document; a batch has up to 100 changes, and one more must not be lost."""
    lambda_handler({"Records": [change(None, image("processing")) for _ in range(101)]}, context)
    counted: Counter[str] = Counter()
    for document in published(capsys):
        values = document["ImageReceived"]
        assert len(values) <= 100
        counted["ImageReceived"] += len(values)
    assert counted == {"ImageReceived": 101}


@pytest.mark.parametrize(
    "records",
    [
        [],
        [change(image("completed"), None)],
        [change(image("processing"), image("processing", Notices={"uncertain"}))],
    ],
    ids=["empty batch", "expired record", "same status"],
)
def test_changes_that_mean_nothing_publish_nothing(
    records: list[dict[str, Any]], context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    lambda_handler({"Records": records}, context)
    assert published(capsys) == []


def test_an_execution_that_found_its_image_claimed_is_a_duplicate(
    context: LambdaContext, capsys: pytest.CaptureFixture[str]
) -> None:
    event = {"detail-type": "Step Functions Execution Status Change", "detail": {"status": "SUCCEEDED"}}
    lambda_handler(event, context)
    (document,) = published(capsys)
    assert document["DuplicateIgnored"] == [1.0]


def test_a_change_that_cannot_be_read_fails_the_batch(context: LambdaContext) -> None:
    """The stream bisects the batch, and the bad change ends in the dead-letter queue: no metric is made up."""
    with pytest.raises(ValueError, match="unheard of"):
        lambda_handler({"Records": [change(None, image("unheard of"))]}, context)
