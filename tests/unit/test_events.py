"""The events that tests, `sam local invoke` and the docs share: each does what its name says, against moto's AWS."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from local.samples import SAMPLES
from pet_detector.aws import rekognition, reviews
from pet_detector.rules import image_ids, models, prices
from pet_detector.rules.errors import ImageNotFoundError
from pet_detector.rules.models import Label
from tests.support.moto_world import BUCKET, REVIEWS, SOURCE, Cloud
from tests.support.paths import REPOSITORY

EVENTS = REPOSITORY / "events"
ANIMALS = {"samples/cat.jpg": "Cat", "samples/dog.jpg": "Dog"}
CAT = "c0ffee00000000000000000000000001"


def event(name: str) -> dict[str, Any]:
    """The event of a file in events/."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


class Samples:
    """AWS with the pictures that the events name, and the functions in it; `printed` is their standard output."""

    def __init__(self, aws: Cloud, context: LambdaContext, printed: Callable[[], str]) -> None:
        self.aws, self.context, self.printed = aws, context, printed
        self.stored = {key: aws.put(key, data) for key, data in SAMPLES.items()}

    def run(self, folder: str, happened: dict[str, Any]) -> dict[str, Any]:
        """What a function answers to an event."""
        answer: dict[str, Any] = importlib.import_module(f"{folder}.app").lambda_handler(happened, self.context)
        return answer


@pytest.fixture
def samples(
    aws: Cloud,
    people: None,
    policy: None,
    workflow: None,
    context: LambdaContext,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Samples:
    """An AWS of its own for each test, and a Rekognition that knows the samples."""

    def recognize(bucket: str, key: str, version_id: str) -> models.Recognition:
        return models.Recognition((Label(ANIMALS[key], 98.0),), "3.0")

    monkeypatch.setattr(rekognition, "recognize", recognize)
    monkeypatch.setenv("OVERDUE_MINUTES", "0")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return Samples(aws, context, lambda: capsys.readouterr().out)


def convert_image_heic(samples: Samples) -> None:
    happened = event("convert_image_heic")
    version_id, etag = samples.stored[happened["key"]]
    assert happened["etag"] == etag, "the file names another picture"
    answer = samples.run("convert_image", happened | {"versionId": version_id})  # only S3 knows it
    made = f"converted/{happened['imageId']}.jpg"
    assert (answer.get("outcome"), answer["converted"]["key"]) == ("converted", made), answer
    stored = samples.aws.keys()
    assert {made, happened["key"]} <= set(stored)


def file_away(samples: Samples, name: str) -> list[str]:
    happened = event(name)
    version_id, etag = samples.stored[happened["key"]]
    assert happened["etag"] == etag, "the file names another picture"
    samples.run("file_manager", happened | {"versionId": version_id})  # only S3 knows it
    return samples.aws.keys()


def image_processor_cat(samples: Samples) -> None:
    answer = samples.run("image_processor", event("image_processor_cat"))
    assert (answer["animal"], answer["certain"], answer["extension"]) == ("cat", True, "jpg")


def image_processor_dog(samples: Samples) -> None:
    assert samples.run("image_processor", event("image_processor_dog"))["animal"] == "dog"


def image_processor_not_an_image(samples: Samples) -> None:
    answer = samples.run("image_processor", event("image_processor_not_an_image"))
    assert (answer["outcome"], answer["reasonCode"]) == ("rejected", "NOT_AN_IMAGE")


def file_manager_dog(samples: Samples) -> None:
    happened = event("file_manager_dog")
    keys = file_away(samples, "file_manager_dog")
    assert f"dogs/{happened['imageId']}.jpg" in keys
    assert happened["key"] not in keys


def file_manager_rejected(samples: Samples) -> None:
    happened = event("file_manager_rejected")
    keys = file_away(samples, "file_manager_rejected")
    assert f"rejected/{happened['imageId']}.bin" in keys
    assert happened["key"] not in keys


def file_manager_verdict(samples: Samples) -> None:
    happened = event("file_manager_verdict")
    with pytest.raises(ImageNotFoundError):
        samples.run("file_manager", happened)
    samples.aws.put(f"cats/{happened['imageId']}.jpg", b"a picture")
    answer = samples.run("file_manager", happened)
    assert answer["key"] == f"dogs/{happened['imageId']}.jpg"
    stored = samples.aws.keys()
    assert answer["key"] in stored


def notification_service_uncertain(samples: Samples) -> None:
    happened = event("notification_service_uncertain")
    assert samples.run("notification_service", happened) == {"notice": "sent"}
    assert samples.run("notification_service", happened) == {"notice": "already_sent"}
    assert samples.aws.item(happened["imageId"])["Notices"] == {"SS": ["uncertain"]}


def record_failure(samples: Samples, name: str, error: str) -> None:
    happened = event(name)
    assert samples.run("failure_recorder", happened) == {"recorded": True, "notice": "sent"}
    assert samples.run("failure_recorder", happened) == {"recorded": False, "notice": "already_sent"}
    found = json.loads(happened["detail"]["input"])["detail"]["object"]["key"]
    record = samples.aws.item(found.removeprefix("input/").removesuffix(".jpg"))
    assert (record["ProcessingStatus"], record["Error"]["M"]["Error"]) == ({"S": "failed"}, {"S": error})
    assert record["ExecutionArn"] == {"S": happened["detail"]["executionArn"]}


def failure_recorder_caught(samples: Samples) -> None:
    record_failure(samples, "failure_recorder_caught", "AccessDeniedError")


def failure_recorder_timed_out(samples: Samples) -> None:
    record_failure(samples, "failure_recorder_timed_out", "States.Timeout")


def failure_recorder_stopped(samples: Samples) -> None:
    record_failure(samples, "failure_recorder_stopped", "Maintenance")


def reconciler_schedule(samples: Samples) -> None:
    samples.aws.put(f"input/{CAT}.jpg", b"a lost upload")
    assert samples.run("reconciler", event("reconciler_schedule")) == {"gap": 1, "started": 1, "closed": 0}
    (name,) = samples.aws.started()
    assert CAT in name


def review_keeper_schedule(samples: Samples) -> None:
    answer = samples.run("review_keeper", event("review_keeper_schedule"))
    assert answer == {"pending": 0, "started": 0, "closed": 0, "queued": 0, "waiting": 0}


def register_images_batch(samples: Samples) -> None:
    happened = event("register_images_batch") | {"bucket": SOURCE}  # the one that its role may read
    assert samples.run("register_images", happened)["counts"] == {"missing": 1, "skipped": 1}  # no such bucket
    happened["items"][0]["key"] = "2024/another.jpg"  # the first one is announced, and may be being copied
    samples.aws.put_source("2024/another.jpg", SAMPLES["samples/cat.jpg"])
    assert samples.run("register_images", happened)["counts"] == {"registered": 1, "skipped": 1}


def metrics_in(text: str) -> dict[str, float]:
    """Sum by name of the metrics that functions printed, in CloudWatch's embedded format."""
    found: dict[str, float] = {}
    for line in filter(lambda line: '"_aws"' in line, text.splitlines()):
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                found[metric["Name"]] = found.get(metric["Name"], 0) + sum(document[metric["Name"]])
    return found


def metrics_publisher_stream(samples: Samples) -> None:
    samples.run("metrics_publisher", event("metrics_publisher_stream"))
    assert metrics_in(samples.printed()) == {
        "ImageReceived": 1,
        "ImageClassified": 1,
        "ConfidenceScore": 97.31,
        "ProcessingTime": 2500,
        "EstimatedCost": pytest.approx(prices.image_cost(analysed=True, uncertain=False)),
    }


def metrics_publisher_duplicate(samples: Samples) -> None:
    samples.run("metrics_publisher", event("metrics_publisher_duplicate"))
    assert metrics_in(samples.printed()) == {"DuplicateIgnored": 1}


def upload_api_form(samples: Samples) -> None:
    answer = samples.run("upload_api", event("upload_api_form"))
    body = json.loads(answer["body"])
    assert (answer["statusCode"], body["status"]) == (201, "uploading")
    assert body["upload"]["fields"]["key"] == f"input/{body['imageId']}.jpg"


def upload_api_inline(samples: Samples) -> None:
    answer = samples.run("upload_api", event("upload_api_inline"))
    assert answer["statusCode"] == 202
    stored = samples.aws.keys()
    assert f"input/{json.loads(answer['body'])['imageId']}.png" in stored


def finished(samples: Samples) -> None:
    """What an execution of console_execution.json leaves in the table."""
    shard, moment = image_ids.shard_of(CAT), "2026-11-21T09:30:00.000Z"
    samples.aws.write(
        CAT,
        ProcessingStatus="completed",
        DetectedAnimal="cat",
        UploadedBy="k1e2y3i4d5",  # the key of the events
        S3Location=f"s3://{BUCKET}/cats/{CAT}.jpg",
        AnimalShard=f"cat#{shard}",
        ListedAt=f"{moment}#{CAT}",
        CreatedAt=moment,
    )


def images_api_one(samples: Samples) -> None:
    assert samples.run("images_api", event("images_api_one"))["statusCode"] == 404
    finished(samples)
    answer = samples.run("images_api", event("images_api_one"))
    assert answer["statusCode"] == 200
    assert f"cats/{CAT}.jpg" in json.loads(answer["body"])["viewUrl"]


def images_api_person(samples: Samples) -> None:
    finished(samples)
    answer = samples.run("images_api", event("images_api_person"))
    assert answer["statusCode"] == 200  # a reviewer sees everybody's
    assert json.loads(answer["body"])["imageId"] == CAT


def page_api_page(samples: Samples) -> None:
    answer = page(event("page_api_page"))
    assert (answer["statusCode"], answer["headers"]["Content-Type"]) == (200, "text/html; charset=utf-8")


def page_api_config(samples: Samples) -> None:
    happened = event("page_api_config")
    config = json.loads(page(happened)["body"])
    assert config["clientId"] == happened["stageVariables"]["ClientId"]


def page(happened: dict[str, Any]) -> dict[str, Any]:
    """What PageApi answers; it is app.py itself."""
    answer: dict[str, Any] = importlib.import_module("web.app").lambda_handler(happened, None)
    return answer


def images_api_list(samples: Samples) -> None:
    finished(samples)
    body = json.loads(samples.run("images_api", event("images_api_list"))["body"])
    assert ([image["imageId"] for image in body["images"]], body["nextToken"]) == ([CAT], None)


def erasure_api_one(samples: Samples) -> None:
    happened = event("erasure_api_one")
    assert samples.run("erasure_api", happened)["statusCode"] == 404
    samples.aws.make_queues()
    (image_id,) = happened["pathParameters"].values()
    key_id = happened["requestContext"]["identity"]["apiKeyId"]
    samples.aws.put(f"cats/{image_id}.jpg", b"a cat")
    samples.aws.write(image_id, ProcessingStatus="completed", UploadedBy=key_id)
    answer = samples.run("erasure_api", happened)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"imageId": image_id, "status": "erased"})
    stored = samples.aws.keys()
    assert not [key for key in stored if image_id in key]


def images_api_health(samples: Samples) -> None:
    answer = samples.run("images_api", event("images_api_health"))
    parts = dict.fromkeys(["storage", "records", "workflow", "policy"], "ok")
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok", "dependencies": parts})


def uncertain(samples: Samples, image_id: str) -> None:
    """A record as the workflow leaves it."""
    scores = {"cat": Decimal("61.5"), "dog": Decimal(12)}
    samples.aws.write(
        image_id,
        ProcessingStatus="needs_review",
        DetectedAnimal="other",
        ConfidenceScore=Decimal("38.5"),
        Scores=scores,
        ContentHash="9f" * 32,
        UpdatedAt="2026-11-21T09:30:02.500Z",
        S3Location=f"s3://{BUCKET}/others/{image_id}.jpg",
    )


def review_queue_stream(samples: Samples) -> None:
    happened = event("review_queue_stream")
    image_id = happened["Records"][0]["dynamodb"]["Keys"]["ImageID"]["S"]
    uncertain(samples, image_id)
    for _ in range(2):
        assert samples.run("review_queue", happened) == {"batchItemFailures": []}
        (head,) = reviews.every_head(REVIEWS)
        assert (head["ImageID"], head["Queue"], head["Leaning"]) == (image_id, "uncertain", "cat")


def review_api_next(samples: Samples) -> None:
    review_queue_stream(samples)
    body = json.loads(samples.run("review_api", event("review_api_next"))["body"])
    assert [(picture["leaning"], picture["blind"]) for picture in body["pictures"]] == [("cat", False)]


def review_api_verdict(samples: Samples) -> None:
    assert samples.run("review_api", event("review_api_verdict"))["statusCode"] == 404
    uncertain(samples, CAT)
    for _ in range(2):
        answer = samples.run("review_api", event("review_api_verdict"))
        body = json.loads(answer["body"])
        assert (answer["statusCode"], body["sequence"], body["animal"]) == (200, 1, "dog")


def figures_api_figures(samples: Samples) -> None:
    body = json.loads(samples.run("figures_api", event("figures_api_figures"))["body"])
    assert (len(body["days"]), body["accuracy"], body["waiting"]["uncertain"]) == (7, None, 0)


def figures_api_policy(samples: Samples) -> None:
    samples.aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})
    body = json.loads(samples.run("figures_api", event("figures_api_policy"))["body"])
    assert (body["policy"]["minimum"], body["history"][0]["by"]) == (75, "ada@pets.example")
    assert samples.run("figures_api", event("figures_api_policy"))["statusCode"] == 409


FUNCTION_EVENTS: list[Callable[[Samples], None]] = [
    image_processor_cat,
    image_processor_dog,
    image_processor_not_an_image,
    convert_image_heic,
    file_manager_dog,
    file_manager_rejected,
    file_manager_verdict,
    notification_service_uncertain,
    failure_recorder_caught,
    failure_recorder_timed_out,
    failure_recorder_stopped,
    reconciler_schedule,
    review_keeper_schedule,
    register_images_batch,
    metrics_publisher_stream,
    metrics_publisher_duplicate,
    upload_api_form,
    upload_api_inline,
    images_api_one,
    images_api_list,
    images_api_health,
    images_api_person,
    page_api_page,
    page_api_config,
    erasure_api_one,
    review_queue_stream,
    review_api_next,
    review_api_verdict,
    figures_api_figures,
    figures_api_policy,
]
WORKFLOW_EVENTS = ["console_execution", "s3_object_created"]


@pytest.mark.parametrize("expectation", FUNCTION_EVENTS, ids=lambda expectation: expectation.__name__)
def test_function_answers_its_event(expectation: Callable[[Samples], None], samples: Samples) -> None:
    expectation(samples)


def test_no_event_is_in_the_way_of_another(samples: Samples) -> None:
    """`sam local invoke` runs them in one AWS, in any order: what one moves or records is no other's."""
    file_manager_dog(samples)
    file_manager_rejected(samples)
    image_processor_dog(samples)
    image_processor_not_an_image(samples)
    failure_recorder_caught(samples)
    failure_recorder_timed_out(samples)
    failure_recorder_stopped(samples)


def test_every_event_is_tested() -> None:
    tested = {expectation.__name__ for expectation in FUNCTION_EVENTS} | set(WORKFLOW_EVENTS)
    assert {file.stem for file in EVENTS.iterdir()} == tested
