"""RegisterImages: a batch of the backfill's Distributed Map."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws.clients import client
from pet_detector.rules.backfill import Source
from pet_detector.rules.errors import AccessDeniedError, ServiceError, ThrottledError
from register_images.app import lambda_handler
from tests.support.moto_world import ANALYSES, SOURCE, Cloud, conditional_copies, refusal
from tests.support.pictures import jpeg

KEYS = ("2024/a.jpg", "2024/b.png")


@pytest.fixture
def event(aws: Cloud) -> Iterator[dict[str, Any]]:
    """A batch of two pictures and a text, as the Distributed Map sends it."""
    items: list[dict[str, Any]] = [
        {"key": key, "size": 100, "etag": f'"{aws.put_source(key, jpeg())}"', "storageClass": "STANDARD"}
        for key in KEYS
    ]
    items.append({"key": "2024/notes.txt", "size": 1, "etag": '"0"', "storageClass": "STANDARD"})
    with conditional_copies(client("s3")):
        yield {"bucket": SOURCE, "backfill": "backfill-1", "items": items}


def stored(aws: Cloud) -> list[str]:
    """Keys of what the function stored."""
    return aws.keys()


def run(event: Any, context: LambdaContext) -> dict[str, Any]:
    return dict(lambda_handler(event, context))


def test_a_batch_is_registered_and_counted(
    aws: Cloud, event: dict[str, Any], context: LambdaContext, logs: io.StringIO
) -> None:
    assert run(event, context) == {"outcome": "registered", "counts": {"registered": 2, "skipped": 1}}
    assert sorted(key.rpartition(".")[2] for key in stored(aws)) == ["jpg", "png"]
    line = json.loads(logs.getvalue().splitlines()[-1])
    assert (line["correlation_id"], line["counts"]) == ("backfill-1", {"registered": 2, "skipped": 1})


def test_the_same_batch_again_finds_everything_known(event: dict[str, Any], context: LambdaContext) -> None:
    run(event, context)
    assert run(event, context)["counts"] == {"known": 2, "skipped": 1}


def test_a_batch_waits_for_the_schedule(aws: Cloud, event: dict[str, Any], context: LambdaContext) -> None:
    turn = {"ContentHash": {"S": "turns#backfill"}, "NextTurn": {"N": "1800000600.25"}}
    aws.dynamodb.put_item(TableName=ANALYSES, Item=turn)
    assert run(event, context) == {"outcome": "wait", "until": "2027-01-15T08:00:00.250Z"}
    assert aws.keys() == []


def test_a_batch_waits_for_an_attempt_that_may_still_be_copying(
    aws: Cloud, event: dict[str, Any], context: LambdaContext
) -> None:
    first = Source(SOURCE, KEYS[0], event["items"][0]["etag"].strip('"'), 100)
    ends = int(time.time()) + 100
    aws.write(first.image_id, ProcessingStatus="uploading", CopyClaim="another", CopyEnds=ends)
    answer = run(event, context)
    assert answer["outcome"] == "busy"
    assert time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ends)) == answer["until"]
    assert len(aws.keys()) == 1  # the other one


@pytest.mark.parametrize(("code", "error"), [("SlowDown", ThrottledError), ("InternalError", ServiceError)])
def test_a_fault_of_s3_is_for_the_state_machine_to_retry(
    event: dict[str, Any], context: LambdaContext, code: str, error: type[Exception]
) -> None:
    with refusal(client("s3"), "CopyObject", code), pytest.raises(error):
        run(event, context)


# As a ServiceError these would be tried again, find the first attempt busy, wait, and so on for days.
@pytest.mark.parametrize(
    ("code", "status"),
    [("AccessDenied", 403), ("InvalidObjectState", 403), ("InvalidRequest", 400), ("KMS.DisabledException", 400)],
)
def test_an_object_that_cannot_be_read_keeps_no_other_one_back(
    aws: Cloud, event: dict[str, Any], context: LambdaContext, code: str, status: int
) -> None:
    copy, denied = client("s3").copy_object, [KEYS[0]]

    def copied(**arguments: Any) -> Any:
        if arguments["CopySource"]["Key"] in denied:
            with refusal(client("s3"), "CopyObject", code, status):
                return copy(**arguments)
        return copy(**arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client("s3"), "copy_object", copied)
        denied.append(KEYS[1])
        with pytest.raises(AccessDeniedError):  # of all: a right is missing
            run(event, context)
        assert aws.records() == [], "the announcements are withdrawn"
        denied.pop()
        first, again = run(event, context), run(event, context)
    assert first == {"outcome": "registered", "counts": {"denied": 1, "registered": 1, "skipped": 1}}
    assert again == {"outcome": "registered", "counts": {"denied": 1, "known": 1, "skipped": 1}}
    assert [key.rpartition(".")[2] for key in stored(aws)] == ["png"]
    assert len(aws.records()) == 1
