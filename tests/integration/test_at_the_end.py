"""What must be true when all else is done. `conftest.py` puts these last."""

from __future__ import annotations

import re

from .application import FINAL, Application
from .gallery import Gallery


def test_nothing_is_left_in_input(application: Application, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    assert [key for key, _ in application.versions("") if key.startswith("input/")] == []


def test_every_image_that_came_has_a_final_record_and_its_object(
    application: Application, quiet_gallery: Gallery
) -> None:
    assert quiet_gallery
    scan = application.dynamodb.get_paginator("scan").paginate(TableName=application.table)
    items = [item for page in scan for item in page["Items"]]
    came = [item for item in items if item["ProcessingStatus"]["S"] != "uploading"]  # forms that nobody used

    assert {item["ProcessingStatus"]["S"] for item in came} <= FINAL - {"failed"}
    locations = sorted(item["S3Location"]["S"] for item in came)
    assert locations == sorted(f"s3://{application.bucket}/{key}" for key, _ in application.versions(""))


def test_no_execution_is_still_running(application: Application, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    assert (
        application.sfn.list_executions(stateMachineArn=application.workflow, statusFilter="RUNNING")["executions"]
        == []
    )


def test_every_name_in_the_bucket_is_our_own(application: Application, quiet_gallery: Gallery) -> None:
    assert quiet_gallery

    strange = [
        key
        for key, _ in application.versions("")
        if not re.fullmatch(r"(cats|dogs|others|rejected)/[0-9a-f]{32}\.(jpg|png|bin)", key)
    ]

    assert strange == []
