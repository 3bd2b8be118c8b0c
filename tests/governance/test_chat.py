"""stacks/chat.yaml: which channel hears of what, and that nobody in it can do anything."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ops import monthly_cost
from tests.support.definitions import source
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, Stack, governance, observability

SLACK = "T0123ABCD/C0456EFGH"
TENANT, TEAM = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
CHANNEL = "19%3ab6ef35dc342d56ba5654e6fc6d25a071%40thread.tacv2"
TEAMS = f"{TENANT}/{TEAM}/{CHANNEL}"
TOPICS = {name: f"arn:aws:sns:us-east-1:123456789012:{name}" for name in ("Notices", "Alarms", "Pages", "Security")}


def chat(**parameters: str) -> Stack:
    """The stack with every topic, unless a parameter says otherwise."""
    arns = {f"{name}TopicArn": arn for name, arn in TOPICS.items()}
    return Stack(REPOSITORY / "stacks" / "chat.yaml", {"ApplicationName": APPLICATION} | arns | parameters)


def channels(stack: Stack) -> list[dict[str, Any]]:
    kinds = ("SlackChannelConfiguration", "MicrosoftTeamsChannelConfiguration")
    return [found for kind in kinds for found in stack.of_type(f"AWS::Chatbot::{kind}").values()]


def test_a_channel_of_slack_and_one_of_teams_are_named_by_their_ids() -> None:
    (slack,) = channels(chat(SlackChannel=SLACK))
    assert (slack["SlackWorkspaceId"], slack["SlackChannelId"]) == ("T0123ABCD", "C0456EFGH")
    (teams,) = channels(chat(TeamsChannel=TEAMS))
    assert (teams["TeamsTenantId"], teams["TeamId"], teams["TeamsChannelId"]) == (TENANT, TEAM, CHANNEL)
    assert len(channels(chat(SlackChannel=SLACK, TeamsChannel=TEAMS))) == 2


@pytest.mark.parametrize(
    ("off", "heard"),
    [
        ({}, ["Notices", "Alarms", "Pages", "Security"]),
        ({"AlarmsTopicArn": "", "PagesTopicArn": ""}, ["Notices", "Security"]),
        ({"SecurityTopicArn": ""}, ["Notices", "Alarms", "Pages"]),
    ],
)
def test_a_channel_hears_of_every_topic_that_there_is(off: dict[str, str], heard: list[str]) -> None:
    for channel in channels(chat(SlackChannel=SLACK, TeamsChannel=TEAMS, **off)):
        assert channel["SnsTopicArns"] == [TOPICS[name] for name in heard]


def test_the_root_hands_over_the_topics_of_its_stacks() -> None:
    stack = source()["Resources"]["ChatStack"]
    assert stack["Condition"] == "HasChat"
    handed = stack["Properties"]["Parameters"]
    assert handed.keys() == chat().template["Parameters"].keys()
    assert handed["NoticesTopicArn"] == {"Ref": "NoticesTopic"}
    for name, condition, owner, found in (
        ("AlarmsTopicArn", "HasObservability", "ObservabilityStack", observability()),
        ("PagesTopicArn", "HasObservability", "ObservabilityStack", observability()),
        ("SecurityTopicArn", "HasGovernance", "GovernanceStack", governance()),
    ):
        assert handed[name] == {"Fn::If": [condition, {"Fn::GetAtt": [owner, f"Outputs.{name}"]}, ""]}
        assert found.resolve(found.template["Outputs"][name]["Value"]).startswith("arn:aws:sns:")


def test_whoever_is_in_a_channel_can_do_nothing() -> None:
    """Members can give commands, with the rights of the role within the guardrails: AdministratorAccess by default."""
    stack = chat(SlackChannel=SLACK, TeamsChannel=TEAMS, PermissionsBoundary="arn:aws:iam::123456789012:policy/b")
    (role,) = stack.of_type("AWS::IAM::Role").values()
    assert role.keys() == {"AssumeRolePolicyDocument", "PermissionsBoundary"}
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "chatbot.amazonaws.com"}
    for channel in channels(stack):
        assert channel["GuardrailPolicies"] == ["arn:aws:iam::aws:policy/AWSDenyAll"]
        assert channel["IamRoleArn"].endswith(":ChannelRole")


@pytest.mark.parametrize("parameter", ["SlackChannel", "TeamsChannel"])
def test_a_channel_that_cannot_be_is_refused_before_anything_is_deployed(parameter: str) -> None:
    pattern = source()["Parameters"][parameter]["AllowedPattern"]
    good = {"SlackChannel": SLACK, "TeamsChannel": TEAMS}[parameter]
    assert re.search(pattern, "")
    assert re.search(pattern, good)
    for bad in (good.partition("/")[2], f"{good}/more", "https://hooks.slack.com/services/T0/B0/secret", f"{good} "):
        assert not re.search(pattern, bad), bad


def test_the_keys_of_the_topics_let_the_senders_use_them() -> None:
    """The subscriber of an encrypted topic needs no right on its key; without the sender's nothing is sent at all."""
    for stack, senders in (
        (observability(), {"cloudwatch.amazonaws.com", "budgets.amazonaws.com", "costalerts.amazonaws.com"}),
        (governance(), {"cloudwatch.amazonaws.com", "events.amazonaws.com"}),
    ):
        may: set[str] = set()
        for key in stack.of_type("AWS::KMS::Key").values():
            for statement in key["KeyPolicy"]["Statement"]:
                services = statement["Principal"].get("Service", []) if isinstance(statement["Principal"], dict) else []
                if {"kms:Decrypt", "kms:GenerateDataKey*"} <= set(statement["Action"]):
                    may |= {services} if isinstance(services, str) else set(services)
        assert senders <= may


def test_chat_costs_the_messages_that_sns_delivers() -> None:
    assert [line.per_month for line in monthly_cost._chat({"SlackChannel": SLACK, "TeamsChannel": ""})] == [
        1000 * 0.0000006
    ]
    assert list(monthly_cost._chat({})) == []
