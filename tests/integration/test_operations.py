"""What operators look at: the health of the service, and one id that leads through all of an image's story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .application import UNCERTAIN_CAT, Application, eventually
from .gallery import Gallery

PARTS = ("storage", "records", "workflow", "policy")


def health(application: Application) -> tuple[int, Any]:
    """What anybody is told, without a key."""
    answer = application.call("GET", "/health", key=None)
    return answer.status, answer.json


def said(**down: str) -> Any:
    """The answer when these parts are down."""
    return {"status": "down" if down else "ok", "dependencies": dict.fromkeys(PARTS, "ok") | down}


def test_health_needs_no_key_and_names_every_part(application: Application) -> None:
    assert health(application) == (200, said())


@pytest.mark.parametrize(
    ("part", "variable", "value"),
    [
        ("records", "DETECTION_LOGS_TABLE_NAME", "no-such-table"),
        ("storage", "IMAGE_BUCKET_NAME", "no-such-bucket"),
        ("workflow", "IMAGE_WORKFLOW_ARN", "arn:aws:states:us-east-1:000000000000:stateMachine:none"),
    ],
)
def test_a_part_that_cannot_be_reached_is_told(application: Application, part: str, variable: str, value: str) -> None:
    with application.configured("ImagesApiFunction", **{variable: value}):
        assert health(application) == (503, said(**{part: "down"}))


def test_a_part_that_goes_is_told_and_a_part_that_comes_back_too(
    application: Application, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    ssm, name = application.engine.client("ssm"), application.outputs["PolicyParameterName"]
    value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    assert health(application)[0] == 200
    ssm.delete_parameter(Name=name)
    try:
        assert eventually(_other_than(application, 200), "the answer is no older than some seconds", 10) == (
            503,
            said(policy="down"),
        )
    finally:
        ssm.put_parameter(Name=name, Value=value, Type="String")
    assert eventually(_other_than(application, 503), "it is well again", 10) == (200, said())


def _other_than(application: Application, status: int) -> Callable[[], Any]:
    def ask() -> Any:
        found = health(application)
        return found if found[0] != status else None

    return ask


def test_one_id_leads_from_the_request_to_the_notice(application: Application, quiet_gallery: Gallery) -> None:
    event = application.input_of(application.item(quiet_gallery["uncertain"].id)["ExecutionArn"]["S"])
    with application.deaf_to_uploads():
        ticket = application.call("POST", "/upload", {"fileName": "cat.jpg", "contentType": "image/jpeg"}).json
        image_id, form = ticket["imageId"], ticket["upload"]
        assert application.post_form(form["url"], form["fields"], UNCERTAIN_CAT.read_bytes()).status == 204
        key = form["fields"]["key"]
        stored = application.s3.head_object(Bucket=application.bucket, Key=key)
        event["detail"]["object"] |= {"key": key, "version-id": stored["VersionId"]}
        (execution,) = application.deliver(event, 1)
        assert application.ended(execution) == "Image Classified"

    correlation_id = application.client.image(image_id)["correlationId"]
    assert correlation_id
    assert form["fields"]["x-amz-meta-correlation-id"] == stored["Metadata"]["correlation-id"] == correlation_id
    (notice,) = application.notices(image_id)
    assert notice["MessageAttributes"]["CorrelationID"]["Value"] == correlation_id
    lines = [line for line in application.log_lines(image_id) if "execution_id" in line or "form" in line["message"]]
    assert {line["correlation_id"] for line in lines} == {correlation_id}
    senders = {line["function_name"] for line in lines}
    assert senders >= {
        application.functions[f"{name}Function"]
        for name in ("UploadApi", "ImageProcessor", "FileManager", "NotificationService")
    }


def test_an_object_from_elsewhere_is_traced_by_the_event_that_brought_it(
    application: Application, gallery: Gallery
) -> None:
    image = gallery["spaces and plus"]

    event = application.input_of(application.item(image.id)["ExecutionArn"]["S"])

    assert image.record["correlationId"] == event["id"]
    assert {line.get("correlation_id") for line in application.log_lines(image.id) if "execution_id" in line} == {
        event["id"]
    }
