"""What a drill compares, without AWS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.drill import Facts
from ops.drill_compare import Agreement, Row, Stored, agreement, changes, digest, newest_fact, row_of
from pet_detector.rules.image_ids import hashed_image_id
from tests.support.moto_world import IMAGE_ID

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATELY, LONG_AGO = "2026-11-20T09:00:00.000Z", "2025-11-20T09:00:00.000Z"
HASH = "ab" * 32
CAT = f"cats/{IMAGE_ID}.jpg"


def stored(key: str = CAT, content_hash: str = HASH, *, is_whole: bool = True, version: str = "v") -> Stored:
    return Stored(key, version, NOW - timedelta(days=1), content_hash, is_whole=is_whole)


def row(status: str = "completed", key: str = CAT, **more: Any) -> Row:
    return Row("digest", status, key, **({"content_hash": HASH, "filed_at": LATELY} | more))


def differences(found: Agreement) -> set[str]:
    """The names of the lists that are not empty."""
    names = ("missing", "other_bytes", "unrecorded", "not_started", "damaged")
    return {name for name in names if getattr(found, name)}


OWN_KEY = "input/holiday/cat.jpg"
OWN_ID = hashed_image_id(OWN_KEY, "v")


@pytest.mark.parametrize(
    ("rows", "objects", "expected"),
    [
        ({IMAGE_ID: row()}, [stored()], set()),
        ({IMAGE_ID: row()}, [], {"missing"}),
        ({IMAGE_ID: row()}, [stored(content_hash="00" * 32)], {"other_bytes"}),
        ({IMAGE_ID: row(content_hash="")}, [stored()], set()),
        ({IMAGE_ID: row()}, [stored(is_whole=False)], {"damaged"}),
        ({}, [stored()], {"unrecorded"}),
        # Filed twice: the record names one of them.
        ({IMAGE_ID: row()}, [stored(), stored(f"dogs/{IMAGE_ID}.jpg")], {"unrecorded"}),
        # The lifecycle of the bucket deletes objects, of rejected files after 30 days, and records go later.
        ({IMAGE_ID: row(filed_at=LONG_AGO)}, [], set()),
        ({IMAGE_ID: row("rejected", filed_at="2026-10-20T09:00:00.000Z")}, [], set()),
        ({IMAGE_ID: row(filed_at="2026-10-20T09:00:00.000Z")}, [], {"missing"}),
        ({IMAGE_ID: row(filed_at="")}, [], {"missing"}),
        # Not final: at its source, or filed by an execution that had not written the record yet.
        ({IMAGE_ID: row("processing", f"input/{IMAGE_ID}.jpg")}, [stored(f"input/{IMAGE_ID}.jpg")], set()),
        ({IMAGE_ID: row("processing", f"input/{IMAGE_ID}.jpg")}, [stored()], set()),
        ({IMAGE_ID: row("processing", f"input/{IMAGE_ID}.jpg")}, [], {"missing"}),
        ({IMAGE_ID: row("failed", f"input/{IMAGE_ID}.jpg")}, [], {"missing"}),
        ({IMAGE_ID: row("failed", f"input/{IMAGE_ID}.jpg", is_dismissed=True)}, [], set()),
        ({IMAGE_ID: row("uploading", "")}, [], set()),
        ({}, [stored(f"input/{IMAGE_ID}.jpg")], {"not_started"}),
        # A key of the uploader's own: the original's version says which image it is.
        ({OWN_ID: row("held", OWN_KEY)}, [stored(OWN_KEY)], set()),
        ({OWN_ID: row("held", OWN_KEY)}, [stored(OWN_KEY, version="w")], {"not_started"}),
        # Erased: nothing of it may be there.
        ({IMAGE_ID: row("erased", "")}, [], set()),
        ({IMAGE_ID: row("erased", "")}, [stored()], {"unrecorded"}),
        ({IMAGE_ID: row("erased", "")}, [stored(f"input/{IMAGE_ID}.jpg")], {"not_started"}),
        # What belongs to an image, and what is none.
        ({IMAGE_ID: row()}, [stored(), stored(f"originals/{IMAGE_ID}.heic")], set()),
        ({}, [stored(f"originals/{IMAGE_ID}.heic")], {"unrecorded"}),
        ({}, [stored("samples/check/cat.jpg"), stored(f"converted/{IMAGE_ID}.jpg")], set()),
    ],
)
def test_every_record_has_its_object_and_every_object_its_record(
    rows: dict[str, Row], objects: list[Stored], expected: set[str]
) -> None:
    found = agreement(rows, objects, NOW, image_days=365)
    assert differences(found) == expected
    assert found.differences == len(expected)


def test_changes_are_removed_changed_and_added() -> None:
    found = changes({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert (found.removed, found.changed, found.added, found.number) == (["a"], ["c"], ["d"], 3)


def test_a_set_has_no_order_and_marks_of_erased_images_are_alike() -> None:
    one = {"ImageID": {"S": "x"}, "Notices": {"SS": ["b", "a"]}, "Labels": {"L": [{"S": "a"}, {"S": "b"}]}}
    assert digest(one) == digest(one | {"Notices": {"SS": ["a", "b"]}})
    assert digest(one) != digest(one | {"Labels": {"L": [{"S": "b"}, {"S": "a"}]}})
    marks = [
        {"ImageID": {"S": "x"}, "ProcessingStatus": {"S": "erased"}, "ErasedAt": {"S": time}}
        for time in (LATELY, LONG_AGO)
    ]
    assert row_of(marks[0]) == row_of(marks[1])


def test_a_row_knows_the_key_of_its_object_in_whichever_bucket() -> None:
    item = {"ProcessingStatus": {"S": "completed"}, "S3Location": {"S": f"s3://any-bucket/{CAT}"}}
    assert row_of(item).key == CAT
    assert row_of({"ProcessingStatus": {"S": "failed"}, "SourceKey": {"S": "input/x.jpg"}}).key == "input/x.jpg"
    assert row_of(item | {"StatusShard": {"S": "dismissed#1"}}).is_dismissed


def test_rpo_is_between_the_newest_fact_that_survived_and_the_newest_of_all() -> None:
    rows = {"a": row(updated_at=LONG_AGO), "b": row(updated_at=LATELY), "c": row()}
    assert newest_fact(rows) == (LATELY, "b")
    assert newest_fact({"c": row()}) is None
    assert Facts(LATELY, "2026-11-20T09:04:00.000Z").lost_seconds == 240
    assert Facts(LATELY, None).lost_seconds is None  # the original is gone
