"""Decisions from a browser to the picture in its folder, on the local AWS, while a third of the requests is lost.

VERDICTS=500 takes 500 pictures instead of a few.
"""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from local.people import PASSWORD, PEOPLE
from pet_detector.rules import review
from tests.support.deployment import UNCERTAIN_CAT, Deployment, never_seen
from tests.support.fake_reviews import Desk, Fault, decide, truth, unsaved
from tests.support.lossy_proxy import losing
from tests.support.people import sign_in
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from local.engine import Engine

VERDICTS = int(os.environ.get("VERDICTS", "42"))
UNDONE = VERDICTS // 10
FOLDERS = {"cat": "cats", "dog": "dogs", "other": "others"}
SECONDS = 60 + 2.0 * VERDICTS


def test_every_decision_moves_its_picture_once(browser: Browser, deployed_application: Engine) -> None:
    application = Deployment(deployed_application)
    image_ids = uncertain_pictures(application, VERDICTS)
    chance = random.Random(500)
    kinds = [Fault.BEFORE] * 12 + [Fault.AFTER] * 12 + [Fault.UNAVAILABLE] * 5 + [Fault.HANGS]

    def fault(method: str, path: str) -> Fault:
        return chance.choice(kinds) if "/people/" in path and chance.random() < 0.3 else Fault.NONE

    page_url = application.outputs["PageUrl"]
    tokens = sign_in(page_url, PEOPLE["reviewer"], PASSWORD)
    with losing(page_url.split("/")[2]) as proxy:
        desk = Desk(browser, proxy.own(page_url), patience=6)
        page = desk.tab(token=tokens["id_token"])
        for _ in range(2):
            proxy.fault = fault
            decide(page, VERDICTS // 3)
            proxy.fault = lambda method, path: Fault.HANGS if method == "POST" else Fault.NONE
            decide(page, 5)
            assert unsaved(page) >= 5
            desk.kill(page)
            proxy.fault = fault
            page = desk.tab(token=tokens["id_token"])
        for _ in range(UNDONE):
            page.keyboard.press("u")
        rows = application.engine.client("dynamodb").get_paginator("scan")

        def rows_of(kind: str) -> list[dict[str, Any]]:
            pages = rows.paginate(TableName=application.outputs["ReviewsTableName"])
            items = (item for found in pages for item in found["Items"] if item["ImageID"]["S"] in image_ids)
            return [item for item in items if item.get("Kind", {}).get("S") == kind]

        eventually(lambda: len(rows_of("undo")) >= UNDONE, "all are undone", SECONDS)
        eventually(lambda: unsaved(page) == 0, "all is saved", SECONDS)
        decided = VERDICTS // 3 * 2 + 10
        assert len(rows_of("verdict")) == decided
        decide(page, VERDICTS - decided + UNDONE)
        eventually(lambda: unsaved(page) == 0, "all is saved", SECONDS)
        assert desk.errors == []
        assert set(proxy.faults) >= set(kinds)
        desk.close()

    def is_carried_out() -> bool:
        table = application.outputs["ReviewsTableName"]
        answer = application.dynamodb.query(
            TableName=table, IndexName="QueueIndex", Select="COUNT", KeyConditionExpression="#Queue = :pending",
            ExpressionAttributeNames={"#Queue": "Queue"}, ExpressionAttributeValues={":pending": {"S": "pending"}},
        )  # fmt: skip
        return int(answer["Count"]) == 0

    eventually(is_carried_out, "all verdicts are carried out", SECONDS)
    verdicts, undos = rows_of("verdict"), rows_of("undo")
    assert len(undos) == len({undo["ImageID"]["S"] + undo["Undoes"]["N"] for undo in undos}) == UNDONE
    assert len(verdicts) == VERDICTS + UNDONE
    assert len({row["Key"]["S"] for row in verdicts + undos}) == len(verdicts) + UNDONE
    assert Counter(Counter(row["ImageID"]["S"] for row in verdicts).values()) == {1: VERDICTS - UNDONE, 2: UNDONE}
    where = Counter(
        key
        for folder in FOLDERS.values()
        for key, _ in application.objects(f"{folder}/")
        if key.split("/")[1][:32] in image_ids
    )
    assert where == {f"{FOLDERS[truth(image_id)]}/{image_id}.jpg": 1 for image_id in image_ids}
    for image_id in image_ids:
        record = application.item(image_id)
        assert (record["DetectedAnimal"]["S"], record["ProcessingStatus"]["S"]) == (truth(image_id), "completed")


def uncertain_pictures(application: Deployment, number: int) -> set[str]:
    """So many images that wait for a person: one as the workflow leaves it, and copies of it.

    None is drawn to be judged blind: the address of such a picture does not tell which one it is.
    """
    first = application.upload(UNCERTAIN_CAT)
    assert application.settled(first) == "needs_review"
    record, key = application.item(first), f"others/{first}.jpg"
    assert not _is_drawn(record["ContentHash"]["S"])
    new_ids = (uuid.uuid4().hex for _ in count())
    image_ids = {first, *islice((image_id for image_id in new_ids if not _is_drawn(image_id * 2)), number - 1)}
    for image_id in image_ids - {first}:
        application.put_object(key.replace(first, image_id), never_seen(UNCERTAIN_CAT, image_id.encode()))
        copy = _replaced(record, first, image_id) | {"ContentHash": {"S": image_id * 2}}
        application.dynamodb.put_item(TableName=application.table, Item=copy)

    def heads() -> int:
        pages = application.dynamodb.get_paginator("scan").paginate(TableName=application.outputs["ReviewsTableName"])
        return sum(
            item["Entry"]["S"] == "review"
            for page in pages
            for item in page["Items"]
            if item["ImageID"]["S"] in image_ids
        )

    eventually(lambda: heads() == number, "every picture waits for a person", SECONDS)
    return image_ids


def _is_drawn(content_hash: str) -> bool:
    """With the shares of samconfig.toml, or larger ones."""
    return review.sampled(content_hash, 10) or review.second_look(content_hash, 10)


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(part, old, new) for name, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, old, new) for part in value]
    return value.replace(old, new) if isinstance(value, str) else value
