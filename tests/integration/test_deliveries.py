"""An image is processed once, however often and however its workflow is started; a failed one can be restarted."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.support.deployment import CERTAIN_CAT, UNCERTAIN_CAT
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

from .application import HttpApplication
from .gallery import Gallery

DELIVERIES = 5


def test_the_same_event_five_times_at_once_is_one_image(application: HttpApplication, quiet_gallery: Gallery) -> None:
    event = application.input_of(application.item(quiet_gallery["uncertain"].id)["ExecutionArn"]["S"])
    with application.uploads_ignored():
        image_id = application.upload(UNCERTAIN_CAT)
        ((key, version),) = eventually(lambda: application.versions(image_id), "the upload is stored")
        event["detail"]["object"] |= {"key": key, "version-id": version}

        executions = application.deliver(event, DELIVERIES)
        ends = Counter(application.ended(execution) for execution in executions)

    assert ends == {"Log Detection": 1, "Already Claimed": DELIVERIES - 1}
    analyses = [application.attempts(execution)["Analyze Image"] for execution in executions]
    assert sum(analyses) == 1  # Amazon Rekognition is paid once
    assert application.status(image_id) == "needs_review"
    assert [key for key, _ in application.versions(image_id)] == [f"others/{image_id}.jpg"]
    assert len(application.executions_of_key(image_id)) == DELIVERIES
    assert len(application.notices(image_id)) == 1


@pytest.mark.parametrize(("name", "notices"), [("uncertain", 1), ("spaces and plus", 0)])
def test_an_event_that_comes_again_later_changes_nothing(
    application: HttpApplication, quiet_gallery: Gallery, name: str, notices: int
) -> None:
    image = quiet_gallery[name]
    before, versions = application.item(image.id), application.versions(image.id)

    again = application.deliver(application.input_of(before["ExecutionArn"]["S"]), DELIVERIES - 1)

    assert {application.ended(execution) for execution in again} == {"Already Claimed"}
    assert application.item(image.id) == before
    assert application.versions(image.id) == versions
    assert len(application.notices(image.id)) == notices


def test_a_person_may_start_it_from_the_console_and_again(application: HttpApplication, quiet_gallery: Gallery) -> None:
    assert quiet_gallery
    request = json.loads((REPOSITORY / "events" / "console_execution.json").read_text())
    key = request["detail"]["object"]["key"]
    image_id = request["imageId"]
    with application.uploads_ignored():
        application.put_object(key, UNCERTAIN_CAT.read_bytes())
        assert application.ended(application.start_execution(request)) == "Log Detection"
        before, versions = application.item(image_id), application.versions(image_id)

        assert application.ended(application.start_execution(request)) == "Already Claimed"
        assert application.ended(application.start_execution(request | {"restart": True})) == "Already Claimed"

    assert application.item(image_id) == before
    assert application.versions(image_id) == versions
    assert [key for key, _ in versions] == [f"others/{image_id}.jpg"]
    assert len(application.notices(image_id)) == 1


def test_an_image_that_was_missing_is_finished_by_a_restart(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    image_id = uuid.uuid4().hex
    request: dict[str, Any] = {"detail": {"object": {"key": f"input/{image_id}.jpg"}}}
    failed = application.start_execution(request)
    assert application.ended(failed) == "Processing Failed"
    assert application.sfn.describe_execution(executionArn=failed)["error"] == "ImageNotFoundError"
    assert application.item(image_id)["Error"]["M"]["Error"]["S"] == "ImageNotFoundError"
    with application.uploads_ignored():
        application.put_object(f"input/{image_id}.jpg", CERTAIN_CAT.read_bytes())

        assert application.ended(application.start_execution(request)) == "Already Claimed"  # not without being asked
        assert application.status(image_id) == "failed"
        assert application.ended(application.start_execution(request | {"restart": True})) == "Log Detection"

    assert application.client.image(image_id)["status"] == "completed"
    assert "Error" not in application.item(image_id)
    assert [key for key, _ in application.versions(image_id)] == [f"cats/{image_id}.jpg"]
    assert _kinds(application, image_id) == ["ImageProcessingFailed"]


def test_an_image_that_failed_is_kept_told_and_finished_by_a_restart(
    application: HttpApplication, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    with application.broken_policy():
        image_id = application.upload(UNCERTAIN_CAT)
        assert application.finished_image(image_id)["status"] == "failed"

    item = application.item(image_id)
    assert item["Error"]["M"]["Error"]["S"] == "PolicyInvalidError"
    assert [key for key, _ in application.versions(image_id)] == [f"input/{image_id}.jpg"]
    (notice,) = application.notices(image_id)
    assert notice["MessageAttributes"]["Kind"]["Value"] == "ImageProcessingFailed"
    assert notice["MessageAttributes"]["Error"]["Value"] == "PolicyInvalidError"
    assert item["ExecutionArn"]["S"] in notice["Message"]
    assert f"petdetect redrive {image_id}" in notice["Message"]
    assert "Traceback" not in notice["Message"]

    again = application.input_of(item["ExecutionArn"]["S"]) | {"restart": True}
    assert application.ended(application.start_execution(again)) == "Log Detection"
    assert application.ended(application.start_execution(again)) == "Already Claimed"

    assert application.client.image(image_id)["status"] == "needs_review"
    assert "Error" not in application.item(image_id)
    assert [key for key, _ in application.versions(image_id)] == [f"others/{image_id}.jpg"]
    assert _kinds(application, image_id) == ["ImageProcessingFailed", "ImageUncertain"]


def _kinds(application: HttpApplication, image_id: str) -> list[str]:
    return sorted(notice["MessageAttributes"]["Kind"]["Value"] for notice in application.notices(image_id))
