"""`petdetect erase` and `petdetect export`: which images, what they ask, and what they show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from pet_detector.aws import erasures
from pet_detector.aws.clients import client
from tests.operator.fast import images
from tests.operator.fast.images import OTHER_ID
from tests.support.moto_world import BUCKET, ERASURES, EVENTS_QUEUE, IMAGE_ID, TABLE, Cloud, refusal

Petdetect = Callable[..., Result]
LONG_AGO = "2026-01-01T00:00:00.000Z"


def filed(aws: Cloud, image_id: str = IMAGE_ID, **more: Any) -> str:
    """A finished image of a cat -> its ID."""
    aws.put(f"cats/{image_id}.jpg", b"a cat")
    place = {"SourceKey": f"input/{image_id}.jpg", "SourceVersion": "v", "S3Location": f"s3://{BUCKET}/cats/x.jpg"}
    known = {"OriginalFilename": "anna.jpg", "UploadedBy": "key-1", "UpdatedAt": LONG_AGO, "ContentHash": "0" * 64}
    images.write(aws, image_id, "completed", **(place | known | more))
    return image_id


def test_it_shows_first_what_it_would_do_and_asks(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    before = images.snapshot(aws)

    shown = petdetect("erase", IMAGE_ID, "--dry-run")
    document = json.loads(petdetect("erase", IMAGE_ID, "--dry-run", "--json").stdout)
    refused = petdetect("erase", IMAGE_ID, typed="n\n")

    assert (shown.exit_code, refused.exit_code) == (0, 1)
    assert "1 to erase, 0 not now." in shown.stdout
    assert "Erase 1 images in dev? Nothing brings them back." in refused.stderr
    assert document["images"] == [
        {"imageId": IMAGE_ID, "status": "completed", "objects": [f"cats/{IMAGE_ID}.jpg"], "refusal": None}
    ]
    assert images.snapshot(aws) == before
    assert list(erasures.every(ERASURES)) == []

    erased = petdetect("erase", IMAGE_ID, typed="y\n")

    assert erased.exit_code == 0
    assert "1 erased: 1 object versions and 0 dead letters deleted. 0 not now." in erased.stdout
    assert aws.keys() == []
    assert petdetect("erase", IMAGE_ID, "--yes").exit_code == 0  # again
    assert "was erased; petdetect export" in petdetect("explain", IMAGE_ID).stderr


def test_one_way_to_choose_at_a_time_and_whole_ids(aws: Cloud, petdetect: Petdetect) -> None:
    for arguments in (
        [],
        [IMAGE_ID, "--replay"],
        [IMAGE_ID, "--uploader", "k"],
        ["--uploader", "k", "--replay"],
        [IMAGE_ID[:8]],
        [IMAGE_ID, "--json"],
    ):
        assert petdetect("erase", *arguments).exit_code == 2, arguments


def test_an_id_that_nobody_knows_stops_it(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    refused = petdetect("erase", IMAGE_ID, OTHER_ID, "--yes")
    assert refused.exit_code == 1
    assert f"There is no image {OTHER_ID} in dev" in refused.stderr
    assert aws.keys() == [f"cats/{IMAGE_ID}.jpg"]


def test_objects_without_a_record_are_erased_too(aws: Cloud, petdetect: Petdetect) -> None:
    aws.put(f"input/{IMAGE_ID}.jpg", b"unrecorded")
    erased = petdetect("erase", IMAGE_ID, "--yes", "--json")
    assert erased.exit_code == 0
    assert json.loads(erased.stdout)["images"][0]["objects"] == 1
    assert aws.keys() == []
    assert aws.item()["ProcessingStatus"] == {"S": "erased"}  # its event, if it still comes, meets this


def test_all_images_of_an_uploader(aws: Cloud, petdetect: Petdetect) -> None:
    own = [filed(aws, f"{number:032x}") for number in range(30)]  # more than one batch
    key = {"ImageID": {"S": "key#key-2"}, "Owner": {"S": "key-1"}}  # replaces key-1
    aws.dynamodb.put_item(TableName=TABLE, Item=key)
    filed(aws, OTHER_ID, UploadedBy="another")

    erased = petdetect("erase", "--uploader", "key-2", "--yes")

    assert erased.exit_code == 0
    assert "30 erased: 30 object versions" in erased.stdout
    assert aws.keys() == [f"cats/{OTHER_ID}.jpg"]
    assert {row.image_id for row in erasures.every(ERASURES)} == set(own)
    assert petdetect("erase", "--uploader", "key-2", "--yes").stdout.startswith("There is nothing to erase.")


def test_killed_in_the_middle_the_same_command_does_the_rest(aws: Cloud, petdetect: Petdetect) -> None:
    for number in range(3):
        filed(aws, f"{number:032x}")
    with refusal(client("s3"), "DeleteObjects", "InternalError"):
        failed = petdetect("erase", "--uploader", "key-1", "--yes")
    assert failed.exit_code == 1
    assert "0 erased" in failed.stdout

    assert petdetect("erase", "--uploader", "key-1", "--yes").exit_code == 0

    assert aws.keys() == []
    assert {row.stage for row in erasures.every(ERASURES)} == {"done"}


def test_what_is_at_work_or_parked_needs_attention(aws: Cloud, petdetect: Petdetect) -> None:
    images.present(aws)  # it failed just now
    filed(aws, OTHER_ID)
    aws.sqs.send_message(QueueUrl=EVENTS_QUEUE, MessageBody="another")
    aws.sqs.receive_message(QueueUrl=EVENTS_QUEUE)

    result = petdetect("erase", IMAGE_ID, OTHER_ID, "--yes")

    assert result.exit_code == 3
    assert "1 erased" in result.stdout
    assert f"{IMAGE_ID}: Its picture may still be arriving or moving: try again in" in result.stdout
    assert "Later: petdetect erase --replay." in result.stdout
    assert petdetect("erase", IMAGE_ID, "--yes", "--json").exit_code == 3


def test_replay_erases_what_a_restore_brought_back(aws: Cloud, petdetect: Petdetect) -> None:
    filed(aws)
    filed(aws, OTHER_ID)
    petdetect("erase", IMAGE_ID, "--yes")
    assert petdetect("erase", "--replay", "--yes").stdout.startswith("There is nothing to erase.")

    filed(aws)  # restored: record and object

    shown = petdetect("erase", "--replay", "--dry-run")
    replayed = petdetect("erase", "--replay", "--yes")

    assert "1 to erase" in shown.stdout
    assert replayed.exit_code == 0
    assert aws.keys() == [f"cats/{OTHER_ID}.jpg"]
    assert aws.item()["ProcessingStatus"] == {"S": "erased"}
    assert json.loads(petdetect("erase", "--replay", "--yes", "--json").stdout)["images"] == []


# --- Export -----------------------------------------------------------------------------------------------------------


def test_export_gives_what_is_held_and_saves_the_picture(aws: Cloud, petdetect: Petdetect, tmp_path: Path) -> None:
    filed(aws)

    exported = petdetect("export", IMAGE_ID, "--folder", str(tmp_path / "anna"))

    document = json.loads(exported.stdout)
    assert exported.exit_code == 0
    assert (document["record"]["OriginalFilename"], document["record"]["UploadedBy"]) == ("anna.jpg", "key-1")
    assert [found["key"] for found in document["objects"]] == [f"cats/{IMAGE_ID}.jpg"]
    assert [run["status"] for run in document["executions"]] == ["GONE"]
    assert document["erasure"] is None
    assert Path(document["picture"]).read_bytes() == b"a cat"


def test_export_of_an_erased_image_shows_the_ledger_alone(aws: Cloud, petdetect: Petdetect, tmp_path: Path) -> None:
    filed(aws)
    petdetect("erase", IMAGE_ID, "--yes")

    document = json.loads(petdetect("export", IMAGE_ID, "--folder", str(tmp_path), "--json").stdout)

    assert document["record"].keys() == {"ImageID", "ProcessingStatus", "ErasedAt", "ExpiresAt"}
    assert (document["objects"], document["executions"], document["picture"]) == ([], [], None)
    assert (document["erasure"]["stage"], document["erasure"]["source"]) == ("done", "operator")


@pytest.mark.parametrize("what", ["unknown", "folder"])
def test_export_says_what_it_cannot_do(aws: Cloud, petdetect: Petdetect, tmp_path: Path, what: str) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    if what == "folder":
        filed(aws)
    refused = petdetect("export", IMAGE_ID, "--folder", str(file / "x"))
    assert refused.exit_code == 1
    assert ("Nothing is held about an image" if what == "unknown" else "cannot be written") in refused.stderr
