"""What is erased is gone: a canary in every store of the local AWS, through every end that an image has.

Of each image its file name, a text in its EXIF, the SHA-256 of its bytes and its id are looked for afterwards. The id
is left in the ledger and in the mark, and in logs and executions, which nobody can delete one by one: docs/erasure.md
says for how many days.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from PIL import Image
from PIL.ExifTags import Base

from local.people import PASSWORD, PEOPLE
from pet_detector.rules import image_ids
from tests.operator.application import CAT, Application, eventually
from tests.support.deployment import UNCERTAIN_CAT, never_seen
from tests.support.people import sign_in
from tests.support.verdicts import Verdicts

LONG_AGO = "2026-01-01T00:00:00.000Z"


@pytest.fixture(autouse=True)
def _key_of_a_client(application: Application) -> Iterator[None]:
    """The key that uploads here sees its own images alone, as every client's."""
    item = {"ImageID": {"S": f"key#{application.outputs['ApiKeyId']}"}}
    application.dynamodb.delete_item(TableName=application.table, Key=item)
    yield
    application.let_the_key_see_all()


@dataclasses.dataclass
class Canary:
    """An image with what nobody else has: in its name, in its bytes, and their hash."""

    text: str
    data: bytes
    image_id: str = ""

    @property
    def name(self) -> str:
        return f"anna-{self.text}.jpg"

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def address(self) -> str:
        """Its uploader's, as AWS puts it into events."""
        return f"2001:db8::{self.hash[:4]}:{self.hash[4:8]}:{self.hash[8:12]}"

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.text, self.hash, self.address


def with_gps(picture: bytes, text: str) -> bytes:
    """A JPEG with this text as description and a place in its EXIF, and pixels as before."""
    exif = Image.Exif()
    exif[Base.ImageDescription] = text
    exif[Base.GPSInfo] = {1: "N", 2: (47.0, 22.0, 0.0), 3: "E", 4: (8.0, 32.0, 0.0)}
    segment = exif.tobytes()
    with Image.open(io.BytesIO(picture)) as before:
        assert before.format == "JPEG"
    return picture[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + picture[2:]


def canary(picture: bytes | None = None) -> Canary:
    text = f"canary{uuid.uuid4().hex}"
    if picture is None:
        picture = never_seen(CAT)
    return Canary(text, with_gps(picture, text) if picture[:2] == b"\xff\xd8" else picture + text.encode())


# --- Every end --------------------------------------------------------------------------------------------------------


def uploaded(application: Application, found: Canary, status: str) -> Canary:
    """Send it through a form, and wait until it has this status."""
    found.image_id = application.client.upload(found.name, "image/jpeg", found.data)
    eventually(lambda: application.status(found.image_id) == status, f"it is {status}")
    if status != "held":
        assert application.settled(found.image_id) == status
    return found


def completed(application: Application) -> Canary:
    return uploaded(application, canary(), "completed")


def needs_review(application: Application) -> Canary:
    return uploaded(application, canary(never_seen(UNCERTAIN_CAT)), "needs_review")


def rejected(application: Application) -> Canary:
    return uploaded(application, canary(b"a letter to "), "rejected")


def failed(application: Application) -> Canary:
    with application.broken_policy():
        found = uploaded(application, canary(), "failed")
    application.change_record(found.image_id, UpdatedAt=LONG_AGO)  # a minute later
    return found


def held(application: Application) -> Canary:
    with application.daily_limit_reached():
        return uploaded(application, canary(), "held")


def redriven(application: Application) -> Canary:
    found = failed(application)
    assert application.petdetect("redrive", found.image_id).code == 0
    assert application.status(found.image_id) == "completed"
    return found


def parked(application: Application) -> Canary:
    """With dead letters: its event with the uploader's address, its failed execution, and a notice with its name."""
    found = failed(application)
    item = application.item(found.image_id)
    key, version = item["SourceKey"]["S"], item["SourceVersion"]["S"]
    event = {
        "source": "aws.s3",
        "detail": {"source-ip-address": found.address, "object": {"key": key, "version-id": version}},
    }
    ended = {"source": "aws.states", "detail": {"executionArn": item["ExecutionArn"]["S"], "input": json.dumps(event)}}
    notice = {"Subject": "Review", "Message": f"{found.name} {found.image_id}"}
    for name, message in (("ImageEvents", event), ("ImageEvents", ended), ("Reports", notice)):
        url = application.outputs[f"{name}DeadLetterQueueUrl"]
        application.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
    return found


def by_its_own_name(application: Application) -> Canary:
    """Put straight into S3, twice, and failed: it waits under its name."""
    found = canary()
    key = f"input/albums/{found.name}"
    with application.broken_policy():
        version = application.put_object(key, found.data)
        found.image_id = image_ids.hashed_image_id(key, version)
        assert application.settled(found.image_id) == "failed"
    application.change_record(found.image_id, UpdatedAt=LONG_AGO)
    return found


def by_its_own_name_and_filed(application: Application) -> Canary:
    found = canary()
    key = f"input/albums/{found.name}"
    found.image_id = image_ids.hashed_image_id(key, application.put_object(key, found.data))
    assert application.settled(found.image_id) == "completed"
    return found


def announced(application: Application) -> Canary:
    """An upload that never came."""
    found = canary()
    body = {"fileName": found.name, "contentType": "image/jpeg"}
    answer = http(application, "POST", "/upload", body)
    found.image_id = answer.json()["imageId"]
    assert http(application, "DELETE", f"/images/{found.image_id}").json()["code"] == "IMAGE_NOT_FINISHED"
    application.change_record(found.image_id, CreatedAt=LONG_AGO)
    return found


ENDS: tuple[Callable[[Application], Canary], ...] = (
    *(completed, needs_review, rejected, failed, held, redriven, parked),
    *(by_its_own_name, by_its_own_name_and_filed, announced),
)
OF_OPERATORS = (by_its_own_name, by_its_own_name_and_filed)  # no key of the API has uploaded them


def http(application: Application, verb: str, path: str, document: Any = None) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        url, headers = application.outputs["ApiUrl"] + path, {"x-api-key": application.api_key}
        return session.request(verb, url, headers=headers, json=document, timeout=60)


# --- Every store ------------------------------------------------------------------------------------------------------


def stores(application: Application) -> Iterator[tuple[str, str]]:
    """(where, what): everything that this local AWS keeps and that can be deleted."""
    client = application.engine.client
    for bucket in client("s3").list_buckets()["Buckets"]:
        pages = client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket["Name"])
        for page in pages:
            for entry in page.get("Versions", []):
                stored = client("s3").get_object(Bucket=bucket["Name"], Key=entry["Key"], VersionId=entry["VersionId"])
                data = stored["Body"].read()
                digest = hashlib.sha256(data).hexdigest()
                yield f"s3 {entry['Key']}", f"{entry['Key']} {stored['Metadata']} {digest} {data.decode('latin-1')}"
            for entry in page.get("DeleteMarkers", []):
                yield f"s3 {entry['Key']}", entry["Key"]
    for table in client("dynamodb").list_tables()["TableNames"]:
        described = client("dynamodb").describe_table(TableName=table)["Table"]
        indexes = [{"IndexName": index["IndexName"]} for index in described.get("GlobalSecondaryIndexes", [])]
        for index in ({}, *indexes):
            for page in client("dynamodb").get_paginator("scan").paginate(TableName=table, **index):
                for item in page["Items"]:
                    yield f"dynamodb {table} {index.get('IndexName', '')}".strip(), json.dumps(item, default=str)
    for url in (url for name, url in application.outputs.items() if name.endswith("QueueUrl")):
        received = client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        yield from ((f"sqs {url}", message["Body"]) for message in received.get("Messages", []))
    for group in client("logs").describe_log_groups()["logGroups"]:
        pages = client("logs").get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for page in pages:
            yield from ((f"logs {group['logGroupName']}", event["message"]) for event in page["events"])
    for parameter in client("ssm").describe_parameters()["Parameters"]:
        yield "ssm", json.dumps(client("ssm").get_parameter(Name=parameter["Name"])["Parameter"], default=str)


def histories(application: Application) -> Iterator[tuple[str, str]]:
    """(execution, input, output and history) of all: Step Functions keeps them for 90 days."""
    for arn in application.execution_arns():
        described = application.sfn.describe_execution(executionArn=arn)
        yield arn, json.dumps([described.get("input"), described.get("output"), application.history(arn)], default=str)


def traces(everything: list[tuple[str, str]], found: Canary) -> set[str]:
    """The stores in which something of the image is; logs may name its id."""
    return {
        where
        for where, what in everything
        if any(secret in what for secret in found.secrets) or (found.image_id in what and not where.startswith("logs"))
    }


def test_an_erased_image_is_in_no_store_whatever_its_end_was(application: Application) -> None:
    application.listen()
    kept = completed(application)
    canaries = {end.__name__: end(application) for end in ENDS}
    tables = {f"dynamodb {application.outputs['ErasuresTableName']}", f"dynamodb {application.table}"}
    everything = list(stores(application))
    for end, found in canaries.items():
        there = traces(everything, found)
        assert there, f"{end}: the search finds nothing that is there"
        assert any(where.startswith("sqs") for where in there) is (end == "parked"), there

    for end, found in canaries.items():
        if end in {function.__name__ for function in OF_OPERATORS}:
            assert http(application, "DELETE", f"/images/{found.image_id}").status_code == 404
            erased = application.petdetect("erase", found.image_id, "--yes")
            assert (erased.code, erased.err) == (0, ""), end
        else:
            answer = http(application, "DELETE", f"/images/{found.image_id}")
            assert (answer.status_code, answer.json().get("status")) == (200, "erased"), (end, answer.text)

    # What may still come for it: its event again, a restart, the Reconciler, the same request.
    inputs = {arn: application.input_of(arn) for arn in application.execution_arns()}
    for found in canaries.values():
        its_own = [e for e in inputs.values() if found.image_id in json.dumps(e) or found.text in json.dumps(e)]
        assert its_own or found is canaries["announced"]
        for event in its_own:
            late = application.start_execution(event | {"restart": True})
            assert application.ended(late) == "Already Claimed"
        assert http(application, "GET", f"/images/{found.image_id}").status_code == 404
        assert http(application, "DELETE", f"/images/{found.image_id}").status_code == 404
        assert application.petdetect("redrive", found.image_id).code == 1
    done = application.reconcile()
    assert (done["gap"], done["started"], done["closed"]) == (0, 0, 0)

    everything = list(stores(application))
    for end, found in canaries.items():
        assert traces(everything, found) == tables, end
        assert application.item(found.image_id).keys() == {"ImageID", "ProcessingStatus", "ErasedAt", "ExpiresAt"}
        row = application.dynamodb.get_item(
            TableName=application.outputs["ErasuresTableName"], Key={"ImageID": {"S": found.image_id}}
        )["Item"]
        assert row.keys() == {
            *("ImageID", "Stage", "RequestedBy", "BegunAt", "ErasedAt", "Versions", "Analyses", "Reviews", "Messages")
        }
        assert row["Stage"] == {"S": "done"}, end
    messages = application.dynamodb.get_item(
        TableName=application.outputs["ErasuresTableName"], Key={"ImageID": {"S": canaries["parked"].image_id}}
    )["Item"]["Messages"]
    assert messages == {"N": "3"}

    # Histories stay: names and hashes are in them, addresses and pictures are not.
    for arn, text in histories(application):
        assert not [found for found in canaries.values() if found.address in text]
        assert "source-ip-address" not in text, arn
        assert not [found for found in canaries.values() if found.data[:64].decode("latin-1") in text]

    # And nobody else's image has suffered.
    assert application.client.image(kept.image_id)["status"] == "completed"
    assert traces(everything, kept) > {f"dynamodb {application.table}"}


def test_what_a_person_said_of_an_image_goes_with_it(application: Application) -> None:
    """Two images of the same bytes: what is said of one is carried over to the other, which names the first."""
    found = needs_review(application)
    same = uploaded(application, dataclasses.replace(found), "needs_review")
    reviews = application.outputs["ReviewsTableName"]
    token = sign_in(application.outputs["PageUrl"], PEOPLE["reviewer"], PASSWORD)["id_token"]
    said = {"imageId": found.image_id, "animal": "dog", "mode": "gallery", "milliseconds": 9, "sequence": 0}
    headers = {"Authorization": token, "Idempotency-Key": f"key-of-{found.text}"}
    url = f"{application.outputs['ApiUrl']}/people/reviews"
    answer = requests.post(url, json=said, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text

    def entries(image: Canary) -> dict[str, dict[str, Any]]:
        question = {":image": {"S": image.image_id}}
        answer = application.dynamodb.query(
            TableName=reviews, KeyConditionExpression="ImageID = :image", ExpressionAttributeValues=question
        )
        return {item["Entry"]["S"]: item for item in answer["Items"]}

    for image in (found, same):
        eventually(lambda image=image: "CarriedOut" in entries(image).get("review", {}), "the verdict is carried out")
        assert entries(image)["verdict#000001"]["PersonName"] == {"S": PEOPLE["reviewer"]}
        assert application.keys(image.image_id) == [f"dogs/{image.image_id}.jpg"]
    assert entries(same)["verdict#000001"]["SameAs"] == {"S": found.image_id}
    indexes = {f"dynamodb {reviews} {index}" for index in ("QueueIndex", "ContentIndex", "PersonIndex")}
    assert traces(list(stores(application)), found) >= {f"dynamodb {reviews}", *indexes}

    tables = {f"dynamodb {application.outputs['ErasuresTableName']}", f"dynamodb {application.table}"}
    for image in (found, same):
        eventually(
            lambda image=image: http(application, "DELETE", f"/images/{image.image_id}").status_code == 200, "erased"
        )
        assert entries(image) == {}
    left = list(stores(application))
    assert traces(left, found) == traces(left, same) == tables
    # What Step Functions keeps for 90 days has the person's id, and no address.
    verdicts = Verdicts(application)
    histories_of_verdicts = [
        json.dumps(application.history(arn), default=str)
        for image in (found, same)
        for arn in verdicts.executions(image.image_id)
    ]
    assert len(histories_of_verdicts) == 2
    for text in histories_of_verdicts:
        assert found.hash in text
        assert PEOPLE["reviewer"] not in text


def test_what_a_restore_brings_back_is_erased_again(application: Application) -> None:
    found, kept = completed(application), completed(application)
    item = application.item(found.image_id)
    (filed,) = application.keys(found.image_id)
    picture = application.s3.get_object(Bucket=application.bucket, Key=filed)["Body"].read()
    assert http(application, "DELETE", f"/images/{found.image_id}").status_code == 200
    assert application.petdetect("erase", "--replay", "--yes").out.startswith("There is nothing to erase.")

    application.dynamodb.put_item(TableName=application.table, Item=item)  # as a restored table has it
    application.put_object(filed, picture)
    assert application.client.image(found.image_id)["status"] == "completed"

    shown = application.petdetect("erase", "--replay", "--dry-run", "--json").json["images"]
    replayed = application.petdetect("erase", "--replay", "--yes")

    assert [image["imageId"] for image in shown] == [found.image_id]
    assert replayed.code == 0
    assert application.keys(found.image_id) == []
    assert http(application, "GET", f"/images/{found.image_id}").status_code == 404
    assert application.status(kept.image_id) == "completed"


def test_a_person_gets_what_is_held_and_all_of_it_goes(application: Application, tmp_path: Any) -> None:
    mine = [completed(application), rejected(application)]
    exported = application.petdetect("export", mine[0].image_id, "--folder", str(tmp_path)).json
    assert exported["record"]["OriginalFilename"] == mine[0].name
    assert exported["executions"][0]["status"] == "SUCCEEDED"
    assert len(exported["objects"]) == 1
    assert (tmp_path / f"{mine[0].image_id}.jpg").read_bytes()[:2] == b"\xff\xd8"

    uploader = application.item(mine[0].image_id)["UploadedBy"]["S"]
    erased = application.petdetect("erase", "--uploader", uploader, "--yes")

    assert erased.code == 0
    assert "2 erased" in erased.out
    assert application.objects(delete_markers=True) == []
    assert application.petdetect("export", mine[0].image_id).json["erasure"]["stage"] == "done"


@pytest.mark.parametrize("status", ["processing"])
def test_an_image_at_work_is_left_alone(application: Application, status: str) -> None:
    with application.analysis_taken(CAT):
        image_id = application.put()
        execution = application.retried(image_id)
        refused = application.petdetect("erase", image_id, "--yes")
        assert refused.code == 3
        assert f"aws stepfunctions stop-execution --execution-arn {execution}" in refused.out.replace("\n", "")
        assert application.status(image_id) == status
    assert application.settled(image_id) == "completed"
