"""`petdetect policy`, `replay`, `accuracy` and `thresholds`: the numbers of the decision, and what they do."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest import mock

import boto3
import pytest
from click.testing import Result

from pet_detector.aws import clients, review_figures
from pet_detector.aws.detection_logs import now
from tests.support.moto_world import REVIEWS, Cloud

Petdetect = Callable[..., Result]


@pytest.fixture(autouse=True)
def _policy(aws: Cloud) -> None:
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})


def record(aws: Cloud, number: int, cat: float, version: str = "2:80/15/50/55", **attributes: Any) -> str:
    """An image with a chair on it, decided by minimum 80."""
    image_id = f"{number:032x}"
    labels = [{"Name": "Cat", "Confidence": Decimal(str(cat))}, {"Name": "Chair", "Confidence": Decimal(90)}]
    certain = cat >= 80 or cat < 50
    animal = "cat" if cat >= 80 else "other"
    status = "completed" if certain else "needs_review"
    facts: dict[str, Any] = {"DetectedAnimal": animal, "Certain": certain, "Labels": labels, "PolicyVersion": version}
    aws.write(image_id, ProcessingStatus=status, ListedAt=f"{now()}#{image_id}", **facts | attributes)
    return image_id


def test_replay_says_what_would_be_decided_otherwise(aws: Cloud, petdetect: Petdetect) -> None:
    """Of records of both versions of the rules; what people said is compared with, wherever the picture lies now."""
    ids = [record(aws, number, cat) for number, cat in enumerate((95, 78, 70, 10))]
    judged = {"VerdictSequence": 1, "MachineAnimal": "other"}
    wrong = record(aws, 8, 76, "1:80/15/50", **judged, DetectedAnimal="dog")
    right = record(aws, 9, 77, "1:80/15/50", **judged, DetectedAnimal="cat")
    aws.write("f" * 32, ProcessingStatus="rejected", ListedAt="x", ReasonCode="EMPTY")

    answer = petdetect("replay", "--minimum", "75", "--json")
    found = json.loads(answer.stdout)

    assert (found["records"], found["changed"]) == (6, 3)
    assert found["changes"] == [{"was": "review", "wouldBe": "cat", "images": 3}]
    assert (found["reviewsBefore"], found["reviewsAfter"]) == (4, 1)
    assert (found["judged"], found["errorsBefore"], found["errorsAfter"]) == (2, 0, 1)
    assert {case["imageId"]: case["truth"] for case in found["cases"]} == {ids[1]: None, wrong: "dog", right: "cat"}
    text = petdetect("replay", "--minimum", "75", "--limit", "1").stdout
    assert "Pictures to review: 1 instead of 4." in text
    assert "Of 2 that people judged: 1 errors instead of 0." in text


def test_replay_of_the_policy_in_force_tells_what_newer_rules_change(aws: Cloud, petdetect: Petdetect) -> None:
    labels = [{"Name": "Nature", "Confidence": Decimal(90)}]
    record(aws, 1, 0, "1:80/15/50", Labels=labels)  # version 1 was certain of what shows nothing

    (change,) = json.loads(petdetect("replay", "--json").stdout)["changes"]

    assert change == {"was": "other", "wouldBe": "review", "images": 1}


def test_replay_never_asks_rekognition_and_changes_nothing(aws: Cloud, petdetect: Petdetect) -> None:
    record(aws, 1, 78)
    before = aws.records()
    clients.forget()

    with mock.patch.object(boto3, "client", wraps=boto3.client) as make:
        assert petdetect("replay", "--minimum", "75").exit_code == 0

    assert {call.args[0] for call in make.call_args_list} == {"dynamodb", "ssm"}
    assert aws.records() == before


@pytest.mark.parametrize(
    ("option", "says"),
    [("--minimum=40", "floor < minimum"), ("--floor=90", "floor < minimum"), ("--margin=nan", "from 0 to 100")],
)
def test_replay_refuses_what_is_no_policy(petdetect: Petdetect, option: str, says: str) -> None:
    answer = petdetect("replay", option)

    assert answer.exit_code == 1
    assert says in answer.stderr


def test_policy_from_the_terminal(aws: Cloud, petdetect: Petdetect) -> None:
    answer = petdetect("policy", "set", "minimum=75", "margin=10.5", "--because", "too many reviews")
    assert answer.stdout.startswith("Now minimum 75, margin 10.5, floor 50, evidence 55.")

    shown = petdetect("policy", "show").stdout
    assert "minimum 75, margin 10.5" in shown
    assert "too many reviews" in shown
    assert petdetect("policy", "take-back", "--because", "too many errors").exit_code == 0
    history = json.loads(petdetect("policy", "history", "--json").stdout)
    assert [change["because"] for change in history] == ["too many errors", "too many reviews", ""]
    assert history[0]["policy"]["minimum"] == 80
    assert history[0]["by"]
    assert "too many errors" in petdetect("policy", "history").stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["set", "minimum=30", "--because", "a reason"], 1, "floor < minimum"),
        (["set", "minimum=80", "--because", "a reason"], 1, "already"),
        (["set", "maximum=80", "--because", "a reason"], 1, "maximum is no number of the policy"),
        (["set", "minimum=75", "--because", " "], 1, "Say why"),
        (["set", "minimum=75"], 2, "--because"),
        (["set", "minimum", "--because", "a reason"], 2, "write it like minimum=75"),
        (["set", "minimum=nan", "--because", "a reason"], 2, "write it like minimum=75"),
        (["set", "margin=-inf", "--because", "a reason"], 2, "write it like minimum=75"),
        (["set", "evidence=1e400", "--because", "a reason"], 2, "write it like minimum=75"),
        (["set", "--because", "a reason"], 2, "NAME=PERCENT"),
        (["take-back", "--because", "a reason"], 1, "no earlier policy"),
    ],
)
def test_policy_refuses_nonsense_and_says_what_to_do(
    aws: Cloud, petdetect: Petdetect, words: list[str], code: int, says: str
) -> None:
    answer = petdetect("policy", *words)

    assert (answer.exit_code, len(json.loads(petdetect("policy", "history", "--json").stdout))) == (code, 1)
    assert says in answer.stderr


def judge(aws: Cloud, number: int, verdict: str) -> None:
    """A certain cat of the sample that people have judged."""
    head: dict[str, Any] = {"ImageID": f"{number:032x}", "Entry": "review", "Queue": "done", "Order": now()}
    head |= {"HomeOrder": f"{number:04}", "Guess": "cat", "Certain": True, "Purpose": "sample", "Verdict": verdict}
    head |= {"InTurn": True}
    head |= {"Scores": {"cat": Decimal(85), "dog": Decimal(0)}, "PolicyVersion": "2:80/15/50/55", "GuessedAt": now()}
    aws.put_review(head | {"Probability": Decimal("0.02"), "Sequence": 1})


def test_accuracy_and_thresholds_with_enough(aws: Cloud, petdetect: Petdetect) -> None:
    for number in range(100):
        judge(aws, number, "dog" if number < 10 else "cat")

    text = petdetect("accuracy").stdout
    found = json.loads(petdetect("thresholds", "--json").stdout)

    assert "90.0 % (83.0 to 94.8 %)" in text
    assert "not enough yet: 50 more pairs" in text
    assert {row["minimum"]: (row["review"], row["errors"]) for row in found["rows"]}[80] == (0, 500)
    kept = review_figures.stored(REVIEWS, review_figures.ACCURACY)
    assert kept is not None
    assert kept["classes"]["cat"]["precision"]["value"] == 90
    assert "80 % (now)" in petdetect("thresholds").stdout
    petdetect("policy", "set", "minimum=75", "--because", "too many reviews")
    text = petdetect("thresholds").stdout  # of pictures that were decided before
    assert "75 % (now)" in text
    assert "80 % (now)" not in text


def test_accuracy_with_too_little(aws: Cloud, petdetect: Petdetect) -> None:
    assert petdetect("thresholds").stdout == "not enough yet: 50 more\n"
    for number in range(16):
        judge(aws, number, "cat")

    assert "not enough yet: 34 more" in petdetect("accuracy").stdout
    assert json.loads(petdetect("accuracy", "--days", "7", "--json").stdout)["days"] == 7
