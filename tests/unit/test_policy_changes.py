"""Changes of the policy: with who, when and why, refused when they make no policy, and taken back."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from pet_detector.rules import policy_changes as rules
from pet_detector.rules.errors import RequestError
from pet_detector.rules.policy import Policy
from pet_detector.rules.policy_changes import Version
from pet_detector.use_cases import policy_changes
from tests.support.moto_world import POLICY, POLICY_PARAMETER, Cloud
from tests.support.paths import REPOSITORY
from tests.support.templates import load

NUMBERS = {"minimum": 80, "margin": 15, "floor": 50}
ROLE = "arn:aws:sts::123456789012:assumed-role/figures/figures-api"
TEMPLATE = "Numbers of the decision in percent, seen by the functions within a minute."


def version(number: int, minimum: float, description: str, writer: str = ROLE) -> Version:
    value = json.dumps({**NUMBERS, "minimum": minimum})
    return Version(number, value, f"2026-11-30T0{number}:00:00.000Z", writer, description)


def told(history: list[rules.Change]) -> list[tuple[str, str]]:
    return [(change.by, change.because) for change in history]


@pytest.fixture
def parameter(aws: Cloud) -> str:
    """The parameter, as a deployment leaves it."""
    aws.ssm.put_parameter(Name=POLICY_PARAMETER, Type="String", Value=json.dumps(NUMBERS), Description=TEMPLATE)
    return POLICY_PARAMETER


def test_a_change_is_kept_with_who_when_and_why(parameter: str, aws: Cloud) -> None:
    policy = policy_changes.change(parameter, {"minimum": 75}, by="ada@pets.example", because="too many reviews")

    assert policy == replace(POLICY, minimum=75)
    newest, first = policy_changes.history(parameter)
    assert (newest.policy, newest.by, newest.because) == (policy, "ada@pets.example", "too many reviews")
    assert newest.at[:4].isdigit()
    assert (first.policy, first.because) == (POLICY, rules.DEPLOYMENT)
    assert json.loads(aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"])["minimum"] == 75


def test_the_hundred_and_first_version_is_taken_and_the_oldest_is_forgotten(parameter: str) -> None:
    for number in range(101):
        policy_changes.change(parameter, {"minimum": 75 + number % 2}, by="ada", because=f"reason {number}")

    history = policy_changes.history(parameter)
    assert [change.because for change in history] == [f"reason {number}" for number in range(100, 1, -1)]
    assert policy_changes.take_back(parameter, by="ada", because="it was better").minimum == 76


def test_a_number_at_its_default_is_left_out(parameter: str, aws: Cloud) -> None:
    """A release from before that number refuses its name; it may run during a shift, or after a rollback."""
    policy_changes.change(parameter, {"minimum": 75}, by="ada", because="too many reviews")
    assert json.loads(aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"]) == {**NUMBERS, "minimum": 75}

    policy_changes.change(parameter, {"evidence": 60}, by="ada", because="too few reviews")
    assert json.loads(aws.ssm.get_parameter(Name=parameter)["Parameter"]["Value"])["evidence"] == 60


def test_take_back_and_take_that_back(parameter: str) -> None:
    policy_changes.change(parameter, {"minimum": 75}, by="ada", because="too many reviews")

    assert policy_changes.take_back(parameter, by="bob", because="too many errors") == POLICY
    assert policy_changes.take_back(parameter, by="ada", because="they were no errors").minimum == 75
    reasons = ["they were no errors", "too many errors", "too many reviews", rules.DEPLOYMENT]
    assert [because for _, because in told(policy_changes.history(parameter))] == reasons


def test_nothing_to_take_back(parameter: str) -> None:
    with pytest.raises(RequestError, match="no earlier policy"):
        policy_changes.take_back(parameter, by="ada", because="why not")


@pytest.mark.parametrize(
    ("numbers", "code", "says"),
    [
        ({"minimum": 101}, "POLICY_INVALID", "from 0 to 100"),
        ({"minimum": 10**400}, "POLICY_INVALID", "from 0 to 100"),
        ({"margin": math.nan}, "POLICY_INVALID", "from 0 to 100"),
        ({"evidence": -math.inf}, "POLICY_INVALID", "from 0 to 100"),
        ({"minimum": 40}, "POLICY_INVALID", "floor < minimum"),
        ({"minimum": "75"}, "POLICY_INVALID", "must be numbers"),
        ({"minimum": True}, "POLICY_INVALID", "must be numbers"),
        ({"minimum": None}, "POLICY_INVALID", "must be numbers"),
        ({"maximum": 75}, "POLICY_INVALID", "maximum is no number of the policy: give minimum"),
        ({"minimum": 80}, "NOTHING_CHANGES", "already"),
        ({}, "NOTHING_CHANGES", "already"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(
    parameter: str, numbers: dict[str, object], code: str, says: str
) -> None:
    with pytest.raises(RequestError, match=says) as refused:
        policy_changes.change(parameter, numbers, by="ada", because="to see what happens")

    assert refused.value.code == code
    assert len(policy_changes.history(parameter)) == 1


@pytest.mark.parametrize("because", ["", "  ", "ok", "x" * 501])
def test_a_change_needs_a_reason(parameter: str, because: str) -> None:
    with pytest.raises(RequestError, match="Say why"):
        policy_changes.change(parameter, {"minimum": 75}, by="ada", because=because)

    assert len(policy_changes.history(parameter)) == 1


def test_a_broken_parameter_is_mended_by_giving_every_number(parameter: str, aws: Cloud) -> None:
    aws.set_policy("{")

    with pytest.raises(RequestError, match="give every number"):
        policy_changes.change(parameter, {"minimum": 75}, by="ada", because="mend it")
    assert policy_changes.history(parameter)[0].policy is None
    assert policy_changes.change(parameter, dict(NUMBERS), by="ada", because="mend it") == POLICY


def test_a_name_and_a_reason_of_any_length_and_kind_fit_into_a_description() -> None:
    """Systems Manager takes 1,024 characters."""
    text = rules.description("a" * 1000, "2026-11-30T04:00:00.000Z", "b" * 500)
    assert len(text) <= 1024
    (change,) = rules.changes(
        [version(1, 75, rules.description("Ann at: home", "2026-11-30T04:00:00.000Z", "x\ny: z"))]
    )
    assert (change.by, change.because) == ("Ann at: home", "x\N{REPLACEMENT CHARACTER}y: z")


def test_a_deployment_that_writes_over_what_people_set_can_be_seen() -> None:
    """CloudFormation writes the whole parameter when its value in the template changes; the description tells it."""
    set_by = rules.description("ada", "2026-11-30T02:00:00.000Z", "too many reviews")
    deployer = "arn:aws:sts::123456789012:assumed-role/deployer/github"

    history = rules.changes([version(1, 80, TEMPLATE), version(2, 75, set_by), version(3, 85, TEMPLATE, deployer)])

    assert told(history) == [
        ("github", rules.DEPLOYMENT),
        ("ada", "too many reviews"),
        ("figures-api", rules.DEPLOYMENT),
    ]
    assert rules.before_last(history) == replace(POLICY, minimum=75)


def test_who_writes_a_value_by_hand_has_not_the_words_of_somebody_else() -> None:
    """A value that is put without a description keeps the one before."""
    words = rules.description("ada", "2026-11-30T01:00:00.000Z", "too many reviews")
    hand = "arn:aws:iam::123456789012:user/mallory"

    history = rules.changes([version(1, 75, words), version(2, 51, words, hand), version(3, 52, "by hand", hand)])

    assert told(history) == [("mallory", "by hand"), ("mallory", ""), ("ada", "too many reviews")]


def test_the_template_says_what_is_looked_for() -> None:
    template = load(REPOSITORY / "template.yaml")
    described = template["Resources"]["DetectionPolicyParameter"]["Properties"]["Description"]

    assert described.startswith(rules.OF_THE_TEMPLATE)
    assert Policy.from_json(rules.value(POLICY)) == POLICY
