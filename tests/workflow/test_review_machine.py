"""The review machine, judged by the reference implementation of JSONata, and by a second validator of its graph.

Its paths on an engine are in tests/integration (test_verdicts.py) and in tests/faults (review_cells.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import REPOSITORY
from tests.support.templates import load

from .evaluations import Evaluation, reference
from .test_reference import _node, expressions, problems_of

__all__ = ["_node"]  # skips where node is missing

DEFINITION = load(REPOSITORY / "statemachine" / "review.asl.yaml")
STATES = DEFINITION["States"]
IMAGE_ID, EXECUTION, NOW = "7" * 32, "arn:aws:states:execution", "2026-11-30T12:00:00.000Z"
CONTEXT = {"Execution": {"Id": EXECUTION, "Input": {"imageId": IMAGE_ID, "sequence": 3}}, "State": {"EnteredTime": NOW}}
HEAD = {
    "Queue": {"S": "pending"},
    "Sequence": {"N": "3"},
    "Verdict": {"S": "dog"},
    "DecidedBy": {"S": "person"},
    "DecidedAt": {"S": "2026-11-30T11:00:00.000Z"},
    "NextQueue": {"S": "second"},
    "NextOrder": {"S": "hash"},
    "ExpiresAt": {"N": "2000000000"},
}
REVIEW = {
    "pending": True,
    "sequence": "3",
    "animal": "dog",
    "person": "person",
    "at": "2026-11-30T11:00:00.000Z",
    "expires": "2000000000",
    "queue": "second",
    "order": "hash",
}
UNDONE = REVIEW | {"animal": "undone", "person": "nobody", "at": NOW, "queue": "uncertain", "order": "070"}
RECORD = {
    "ImageID": {"S": IMAGE_ID},
    "Shard": {"S": "3"},
    "S3Location": {"S": f"s3://images/others/{IMAGE_ID}.jpg"},
    "CorrelationId": {"S": "c"},
    "ReviewClaimedAt": {"S": NOW},
    "MachineAnimal": {"S": "other"},
    "Certain": {"BOOL": False},
}
IMAGE = {
    "id": IMAGE_ID,
    "shard": "3",
    "location": f"s3://images/others/{IMAGE_ID}.jpg",
    "correlationId": "c",
    "claimEnds": "2026-11-30T12:15:00.000Z",
    "animal": "dog",
    "folder": "dogs",
    "status": "completed",
}
FAILURE = {"Error": "E", "Cause": "c" * 1001}


def evaluated(expression: str, states: dict[str, Any] | None = None, **variables: Any) -> Any:
    """What the reference implementation makes of `{% expression %}`: a value, or what is wrong."""
    text = expression.strip().removeprefix("{%").removesuffix("%}").strip()
    (answer,) = reference([Evaluation(text, {"context": CONTEXT} | (states or {}), variables, {})])
    return answer.get("value", answer)


def test_the_head_is_asked_for_by_the_image() -> None:
    asked = evaluated(STATES["Read Review"]["Arguments"])
    assert asked["Key"] == {"ImageID": {"S": IMAGE_ID}, "Entry": {"S": "review"}}
    assert asked["ConsistentRead"] is True


@pytest.mark.parametrize("image_id", ["7" * 31, "7" * 32 + "\n", "G" * 32, 7, None])
def test_what_is_no_image_is_not_asked_for(image_id: object) -> None:
    context = CONTEXT | {"Execution": {"Id": EXECUTION, "Input": {"imageId": image_id}}}
    assert "code" in evaluated(STATES["Read Review"]["Arguments"], {"context": context})


@pytest.mark.parametrize(
    ("item", "review"),
    [
        (HEAD, REVIEW),
        (
            {name: value for name, value in HEAD.items() if not name.startswith("Next")},
            REVIEW | {"queue": "done", "order": REVIEW["at"]},
        ),
        (HEAD | {"Queue": {"S": "done"}}, REVIEW | {"pending": False}),
        (
            {
                "Queue": {"S": "pending"},
                "Sequence": {"N": "3"},
                "NextQueue": {"S": "uncertain"},
                "NextOrder": {"S": "070"},
            },
            UNDONE | {"expires": ""},
        ),
        (
            None,  # of an erased image
            {
                "pending": False,
                "sequence": "0",
                "animal": "undone",
                "person": "nobody",
                "at": NOW,
                "expires": "",
                "queue": "done",
                "order": NOW,
            },
        ),
    ],
)
def test_the_head_says_what_is_to_be_carried_out(item: dict[str, Any] | None, review: dict[str, Any]) -> None:
    states = {"result": {"Item": item} if item else {}}
    assert evaluated(STATES["Read Review"]["Assign"]["review"], states) == review


def test_the_claim_says_what_it_was_read_for_and_when_others_expire() -> None:
    claim = evaluated(STATES["Claim Picture"]["Arguments"], review=REVIEW)
    values = claim["ExpressionAttributeValues"]
    assert (values[":pending"], values[":sequence"]) == ({"BOOL": True}, {"N": "3"})
    assert (values[":execution"], values[":now"]) == ({"S": EXECUTION}, {"S": NOW})
    assert values[":expired"] == {"S": "2026-11-30T11:45:00.000Z"}


@pytest.mark.parametrize(
    ("review", "record", "changes"),
    [
        (REVIEW, {}, {}),
        (REVIEW | {"animal": "cat"}, {}, {"animal": "cat", "folder": "cats"}),
        (REVIEW | {"animal": "other"}, {}, {"animal": "other", "folder": "others"}),
        (UNDONE, {}, {"animal": "other", "folder": "others", "status": "needs_review"}),
        (UNDONE, {"MachineAnimal": {"S": "cat"}, "Certain": {"BOOL": True}}, {"animal": "cat", "folder": "cats"}),
    ],
)
def test_the_folder_and_the_status_follow_the_verdict_or_after_an_undo_the_machine(
    review: dict[str, Any], record: dict[str, Any], changes: dict[str, Any]
) -> None:
    states = {"result": {"Attributes": RECORD | record}}
    assert evaluated(STATES["Claim Picture"]["Assign"]["image"], states, review=review) == IMAGE | changes


def test_the_record_gets_the_verdict_and_loses_the_claim() -> None:
    written = evaluated(
        STATES["Log Verdict"]["Arguments"], review=REVIEW, image=IMAGE, location="s3://images/dogs/x.jpg"
    )
    values = written["ExpressionAttributeValues"]
    assert (values[":animalShard"], values[":statusShard"]) == ({"S": "dog#3"}, {"S": "completed#3"})
    assert (values[":person"], values[":sequence"]) == ({"S": "person"}, {"N": "3"})
    assert written["UpdateExpression"].endswith("REMOVE ReviewClaim, ReviewClaimedAt")
    assert set(values) <= set(words_of(written))


def test_after_an_undo_nobody_has_reviewed_it() -> None:
    written = evaluated(
        STATES["Log Verdict"]["Arguments"], review=UNDONE, image=IMAGE, location="s3://images/dogs/x.jpg"
    )
    assert written["UpdateExpression"].endswith("REMOVE ReviewedBy, ReviewedAt, ReviewClaim, ReviewClaimedAt")
    assert ":person" not in written["ExpressionAttributeValues"]
    assert set(written["ExpressionAttributeValues"]) <= set(words_of(written))


@pytest.mark.parametrize("review", [REVIEW, UNDONE], ids=["verdict", "undo"])
def test_the_record_is_kept_as_long_as_its_review(review: dict[str, Any]) -> None:
    """The picture's time in the bucket has begun again: its record must not go first."""

    def written(review: dict[str, Any]) -> Any:
        return evaluated(STATES["Log Verdict"]["Arguments"], review=review, image=IMAGE, location="s3://images/x.jpg")

    kept, old = written(review), written(review | {"expires": ""})
    assert kept["ExpressionAttributeValues"][":expires"] == {"N": "2000000000"}
    assert ", ExpiresAt = :expires" in kept["UpdateExpression"].split(" REMOVE ")[0]
    assert set(kept["ExpressionAttributeValues"]) <= set(words_of(kept))
    assert "ExpiresAt" not in old["UpdateExpression"]
    assert ":expires" not in old["ExpressionAttributeValues"]


def words_of(written: dict[str, Any]) -> list[str]:
    """The words of an update: DynamoDB refuses a value that is not used."""
    text: str = written["UpdateExpression"] + " " + written["ConditionExpression"]
    return text.replace(",", " ").replace("(", " ").replace(")", " ").split()


def test_every_other_expression_gives_what_it_should() -> None:
    states = {
        "result": {"Payload": {"s3Location": "s3://images/dogs/x.jpg"}},
        "errorOutput": FAILURE,
    }
    expected = {
        "$states.errorOutput": FAILURE,
        "$image.id": IMAGE_ID,
        "$states.context.Execution.Id": EXECUTION,
        "$image.correlationId": "c",
        "$image.location": IMAGE["location"],
        "$image.folder": "dogs",
        "$image.claimEnds": IMAGE["claimEnds"],
        "$states.result.Payload.s3Location": "s3://images/dogs/x.jpg",
        "$review.sequence": "3",
        "$review.queue": "second",
        "$review.order": "hash",
        "$fromMillis($toMillis($states.context.State.EnteredTime) + 1000)": "2026-11-30T12:00:01.000Z",
        "$string($states.context.Execution.Input)": f'{{"imageId":"{IMAGE_ID}","sequence":3}}',
        "$failure.Error": "E",
        "$type($failure.Cause) = 'string' ? $failure.Cause : ''": "c" * 1001,
    }
    rest = [text for text in dict.fromkeys(expressions(DEFINITION)) if not text.startswith("(")]
    (cause,) = [text for text in rest if "QueryEvaluationError" in text]
    assert set(rest) == {*expected, cause}
    for text, value in (expected | {cause: "c" * 1000}).items():
        assert evaluated(text, states, review=REVIEW, image=IMAGE, failure=FAILURE) == value, text
    assert evaluated(cause, failure={"Error": "States.Timeout"}) == ""


def test_asl_validator_finds_nothing(tmp_path: Path) -> None:
    assert problems_of(DEFINITION, tmp_path) == ""
