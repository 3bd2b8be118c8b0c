"""What operators look at: the health of the service, and one id that leads through all of an image's story."""

from __future__ import annotations

from typing import Any

from tests.support.deployment import UNCERTAIN_CAT

from .application import HttpApplication
from .gallery import Gallery

PARTS = ("storage", "records", "workflow", "policy")


def health(application: HttpApplication) -> tuple[int, Any]:
    """What anybody is told, without a key."""
    answer = application.call("GET", "/health", key=None)
    return answer.status, answer.json


def said(**down: str) -> Any:
    """The answer when these parts are down."""
    return {"status": "down" if down else "ok", "dependencies": dict.fromkeys(PARTS, "ok") | down}


def test_health_needs_no_key_and_names_every_part(application: HttpApplication) -> None:
    assert health(application) == (200, said())


def test_every_part_that_cannot_be_reached_is_named(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery
    no_workflow = "arn:aws:states:us-east-1:000000000000:stateMachine:none"
    with application.configured(
        "ImagesApiFunction",
        DETECTION_LOGS_TABLE_NAME="no-such-table",
        IMAGE_BUCKET_NAME="no-such-bucket",
        IMAGE_WORKFLOW_ARN=no_workflow,
        POLICY_PARAMETER_NAME="no-such-parameter",
    ):
        assert health(application) == (503, said(**dict.fromkeys(PARTS, "down")))
    assert health(application) == (200, said())


def test_one_id_leads_from_the_request_to_the_notice(application: HttpApplication, quiet_gallery: Gallery) -> None:
    event = application.input_of(application.item(quiet_gallery["uncertain"].id)["ExecutionArn"]["S"])
    with application.uploads_ignored():
        ticket = application.call("POST", "/upload", {"fileName": "cat.jpg", "contentType": "image/jpeg"}).json
        image_id, form = ticket["imageId"], ticket["upload"]
        assert application.post_form(form["url"], form["fields"], UNCERTAIN_CAT.read_bytes()).status == 204
        key = form["fields"]["key"]
        stored = application.s3.head_object(Bucket=application.bucket, Key=key)
        event["detail"]["object"] |= {"key": key, "version-id": stored["VersionId"]}
        (execution,) = application.deliver(event, 1)
        assert application.ended(execution) == "Log Detection"

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
    application: HttpApplication, gallery: Gallery
) -> None:
    image = gallery["spaces and plus"]

    event = application.input_of(application.item(image.id)["ExecutionArn"]["S"])

    assert image.record["correlationId"] == event["id"]
    assert {line.get("correlation_id") for line in application.log_lines(image.id) if "execution_id" in line} == {
        event["id"]
    }
