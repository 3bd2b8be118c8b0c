"""What CloudFormation refuses before it deploys anything: the template's Rules, evaluated for samconfig.toml.

The evaluator knows what the rules use. The local AWS evaluates them too (tests/laptop).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.definitions import translated

from .test_resources import STAGES, values_of

VAULT = "arn:aws:backup:us-west-2:123456789012:backup-vault:copies"
YOURS = {"AlarmEmail": "alarms@pets.example.org", "AllowedOrigin": "https://pets.example.org"}


def value(expression: Any, parameters: dict[str, str]) -> Any:
    """What an expression of a rule comes to."""
    if not isinstance(expression, dict):
        return expression
    ((function, argument),) = expression.items()
    if function == "Ref":
        return parameters[argument]
    if function == "Fn::Contains":
        texts, text = argument
        return value(text, parameters) in texts
    arguments = [value(found, parameters) for found in argument]
    match function:
        case "Fn::Equals":
            return arguments[0] == arguments[1]
        case "Fn::Not":
            return not arguments[0]
        case "Fn::And":
            return all(arguments)
        case "Fn::Or":
            return any(arguments)
    raise AssertionError(f"the tests do not know {function}")


def refusals(stage: str, region: str = "us-east-1", **overrides: str) -> list[str]:
    """The messages with which `sam deploy --config-env` ends in this region, with these overrides besides."""
    parameters = values_of(stage) | overrides | {"AWS::Region": region}
    return [
        assertion["AssertDescription"]
        for rule in translated()["Rules"].values()
        if value(rule["RuleCondition"], parameters)
        for assertion in rule["Assertions"]
        if not value(assertion["Assert"], parameters)
    ]


@pytest.mark.parametrize("stage", ["local", "dev"])
def test_local_and_dev_may_be_deployed_as_they_are(stage: str) -> None:
    assert refusals(stage) == []


@pytest.mark.parametrize("stage", ["staging", "prod"])
def test_staging_and_prod_need_what_no_repository_can_know_and_nothing_else(stage: str) -> None:
    assert [word for message in refusals(stage) for word in YOURS if f"set {word}" in message] == list(YOURS)
    assert len(refusals(stage)) == 2
    assert refusals(stage, **YOURS) == []


@pytest.mark.parametrize("stage", ["staging", "prod"])
@pytest.mark.parametrize(
    ("parameter", "bad"),
    [
        ("DailyAnalysisLimit", "0"),
        ("DailyAnalysisLimitPerKey", "0"),
        ("MonthlyBudgetUsd", "0"),
        ("CostAnomalyUsd", "0"),
        ("Observability", "false"),
        ("AlarmEmail", ""),
        ("AllowedOrigin", "*"),
        ("AllowedOrigin", "http://localhost:3000"),
        ("AllowedOrigin", "https://example.com"),
    ],
)
def test_staging_and_prod_are_not_deployed_without_limits_and_somebody_who_hears(
    stage: str, parameter: str, bad: str
) -> None:
    (message,) = refusals(stage, **YOURS | {parameter: bad, "ReleaseShift": "AllAtOnce"})
    assert parameter in message, "it says what to set"
    assert refusals("dev", **{parameter: bad}) == []


def test_a_second_region_needs_no_budget_of_its_own() -> None:
    """Budgets and Cost Explorer take changes in us-east-1 alone, which is lost then; prod's see the whole account."""
    given = YOURS | {"MonthlyBudgetUsd": "0", "CostAnomalyUsd": "0"}
    assert refusals("prod", region="us-west-2", **given) == []
    assert refusals("recovery", region="us-west-2", **YOURS) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("shift", ["Canary10Percent10Minutes", "Linear10PercentEvery2Minutes"])
def test_no_release_shifts_without_alarms_that_send_it_back(stage: str, shift: str) -> None:
    given = (YOURS if stage in ("staging", "prod") else {}) | {"ReleaseShift": shift}
    assert refusals(stage, **given | {"Observability": "true"}) == []
    said = refusals(stage, **given | {"Observability": "false"})
    assert any("ReleaseShift=AllAtOnce" in message for message in said)


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_local_aws_has_a_stand_in_for_rekognition(stage: str) -> None:
    """Elsewhere no function gets the URL: a version with another description and nothing else, which Lambda refuses."""
    said = refusals(stage, **(YOURS if stage in ("staging", "prod") else {}), RekognitionEndpoint="http://127.0.0.1:1")
    assert [message.rpartition(": ")[2] for message in said] == (
        [] if stage == "local" else ["leave RekognitionEndpoint empty."]
    )


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_an_edge_that_refuses_has_a_name(stage: str) -> None:
    """Else the sign-in would lead back to an address that is closed."""
    given = YOURS if stage == "prod" else {}
    zone, name = {"EdgeHostedZoneId": "Z123"}, {"EdgeDomain": "pets.example.com"}
    for refused in ({"Edge": "block"}, {"Edge": "count"} | zone):
        (message,) = refusals(stage, **given | refused)
        assert "set EdgeDomain" in message
    for allowed in ({}, {"Edge": "count"}, {"Edge": "block"} | name, {"Edge": "block"} | zone | name):
        assert refusals(stage, **given | allowed) == []


@pytest.mark.parametrize("wanted", [{"Edge": "count"}, {"OutsideLook": "health_check"}], ids="-".join)
def test_edge_and_outside_look_are_for_us_east_1_alone(wanted: dict[str, str]) -> None:
    """Elsewhere AWS refuses the one after a quarter of an hour, and the other pages somebody for ever."""
    assert refusals("dev", **wanted) == []
    (message,) = refusals("dev", "eu-west-1", **wanted)
    assert "us-east-1" in message
    assert refusals("dev", "eu-west-1") == []


@pytest.mark.parametrize("stage", ["staging", "prod"])
def test_one_key_cannot_use_up_the_day_of_all(stage: str) -> None:
    found = values_of(stage)
    assert 0 < int(found["DailyAnalysisLimitPerKey"]) <= int(found["DailyAnalysisLimit"]) / 2


@pytest.mark.parametrize(
    ("given", "allowed", "said"),
    [
        ({"CopyBucketName": "copies"}, {"Recovery": "true"}, "Recovery=true"),
        ({"CopyBucketName": "copies", "Recovery": "true", "DataKey": "customer"}, {"DataKey": "aws"}, "DataKey=aws"),
        ({"CopyVaultArn": VAULT}, {"Recovery": "true"}, "CopyVaultArn and BackupLock need Recovery=true"),
        ({"BackupLock": "compliance"}, {"Recovery": "true"}, "CopyVaultArn and BackupLock need Recovery=true"),
        ({"CopyTables": "hourly"}, {"CopyVaultArn": VAULT, "Recovery": "true"}, "set CopyVaultArn"),
        ({"NetworkSubnets": "subnet-1,subnet-2"}, {"NetworkSecurityGroup": "sg-1"}, "NetworkSecurityGroup"),
        ({"NetworkSecurityGroup": "sg-1"}, {"NetworkSubnets": "subnet-1,subnet-2"}, "NetworkSubnets"),
    ],
)
def test_half_of_an_optional_part_is_refused(given: dict[str, str], allowed: dict[str, str], said: str) -> None:
    (message,) = refusals("dev", **given)
    assert said in message
    assert refusals("dev", **given | allowed) == []
