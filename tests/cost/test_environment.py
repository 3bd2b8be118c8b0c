"""What an environment costs without images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops import cost, definitions, monthly_cost
from tests.support.definitions import resources
from tests.support.handler_runs import observe
from tests.support.stories import STORIES

pytestmark = pytest.mark.usefixtures("pinned_prices")

STACK = """
Resources:
  Simple: {Type: AWS::CloudWatch::Alarm, Properties: {MetricName: Errors}}
  Ratio:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - {Id: result, Expression: failed / ended}
        - {Id: failed, MetricStat: {Metric: {MetricName: Failed}}}
        - {Id: ended, MetricStat: {Metric: {MetricName: Ended}}}
  Page: {Type: AWS::CloudWatch::CompositeAlarm, Properties: {AlarmRule: !Sub "ALARM(${Simple})"}}
  Nested: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: nested.yaml}}
  Again: {Type: AWS::CloudFormation::Stack, Properties: {TemplateURL: nested.yaml}}
  Key: {Type: AWS::KMS::Key, Properties: {}}
"""
NESTED = "Resources: {One: {Type: AWS::CloudWatch::Alarm, Properties: {MetricName: Errors}}}"


def _dashboard(name: str, metrics: int) -> str:
    """One with so many metrics, each of them twice with two statistics."""
    lines = [
        ["AWS/SQS", f"Metric{n}", "QueueName", "q", {"stat": stat}] for n in range(metrics) for stat in ("p50", "Sum")
    ]
    widgets = [{"type": "log", "properties": {"query": "q"}}, {"type": "metric", "properties": {"metrics": lines}}]
    body = {"Fn::ToJsonString": {"widgets": widgets}}
    resource = {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": body}}
    return f"  {name}: {json.dumps(resource)}\n"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nested.yaml").write_text(NESTED)
    path = tmp_path / "observability.yaml"
    monkeypatch.setattr(monthly_cost, "OBSERVABILITY", path)
    monkeypatch.setattr(definitions, "environments", lambda: {"prod": {"Observability": "true"}, "dev": {}})
    return path


def _dollars(environment: str) -> dict[str, float]:
    return {line.name: round(line.per_month, 6) for line in monthly_cost.fixed(environment)}


def test_observability_is_paid_where_it_is_on(stack: Path) -> None:
    stack.write_text(STACK)

    added = {name: price for name, price in _dollars("prod").items() if name not in _dollars("dev")}

    # Simple, two metrics of Ratio, the nested one twice
    assert added == {"Alarms": 0.5, "Composite alarms": 0.5, "KMS keys": 1.0}


@pytest.mark.parametrize(
    ("sizes", "paid"), [([50], 0), ([51], 3), ([50, 50, 50, 1, 1], 6), ([51, 50, 50, 50], 3), ([], None)]
)
def test_dashboards_are_free_up_to_three_and_fifty_metrics(stack: Path, sizes: list[int], paid: float | None) -> None:
    stack.write_text(STACK + "".join(_dashboard(f"D{number}", size) for number, size in enumerate(sizes)))

    assert _dollars("prod").get("Dashboards") == paid


NONE = {"AuditTrail": "none", "GuardDuty": "none", "ConfigRules": "none"}


@pytest.mark.parametrize(
    ("toggles", "dollars"),
    [
        ({}, {}),
        (
            {"AuditTrail": "own"},
            # nine alarms with a metric each, one on two of SQS;
            # keys of the alerts and of the trail; 100,000 lines of 1.5 KB, kept 90 days
            {"Security alarms": 3.8, "Security keys": 2.0, "Trail": 100_000 * 1.5 / 1024**2 * (0.50 + 3 * 0.03)},
        ),
        ({"AuditTrail": "the-accounts"}, {"Security alarms": 3.8, "Security keys": 1.0}),
        ({"GuardDuty": "alert"}, {"Security alarms": 0.6, "Security keys": 1.0}),
        ({"GuardDuty": "detector"}, {"Security alarms": 0.6, "Security keys": 1.0, "GuardDuty": 0.4}),
        ({"ConfigRules": "rules"}, {"Security alarms": 0.6, "Security keys": 1.0, "AWS Config": 10 * 5 * 0.001}),
        (
            {"ConfigRules": "recorder"},
            {"Security alarms": 0.6, "Security keys": 1.0, "AWS Config": 10 * (2 * 0.003 + 5 * 0.001)},
        ),
    ],
)
def test_governance_is_paid_by_its_toggles(toggles: dict[str, str], dollars: dict[str, float]) -> None:
    found = {line.name: line.per_month for line in monthly_cost.governance(NONE | toggles)}

    assert found == pytest.approx(dollars)
    text = (definitions.REPOSITORY / "docs" / "cost.md").read_text()
    for value in toggles.values():
        assert f"={value}`" in text or value == "the-accounts"
    if "AuditTrail" in toggles:
        assert f"| {sum(dollars.values()):.2f} |" in text


OFF = {"Edge": "none", "OutsideLook": "none", "Architecture": "arm64"}


@pytest.mark.parametrize("edge", ["none", "count", "block"])
@pytest.mark.parametrize("look", ["none", "health_check"])
def test_edge_and_outside_look_are_paid_by_their_toggles(edge: str, look: str) -> None:
    found = {line.name: line.per_month for line in monthly_cost.edge(OFF | {"Edge": edge, "OutsideLook": look})}

    wanted: dict[str, float] = {}
    if edge != "none":
        # two web ACLs, of five rules and of six, and one in the group; a secret, and alarms on three metrics
        wanted |= {"Edge: AWS WAF": 2 * 5 + 12 * 1.0, "Edge: the rest": 0.40 + 3 * 0.10}
    if look != "none":
        # 6 checkers each 30 s; a call of the API, 45 ms of ImagesApi
        call = 3.5 + 0.2 + 0.045 * 0.25 * 13.3334
        by_edge = 1 + 2 * 0.6 + 0.6 / 1024**2 * 0.50 * 1e6 if edge != "none" else 0
        wanted["Outside look"] = 0.50 + 1.00 + 0.10 + 518_400 * (call + by_edge) / 1e6
    assert found == pytest.approx(wanted, rel=1e-4)
    text = (definitions.REPOSITORY / "docs" / "cost.md").read_text()
    assert not wanted or f"| {sum(wanted.values()):.2f} |" in text


def test_a_request_by_the_edge_is_paid_by_the_image() -> None:
    parameters = definitions.parameters("prod") | OFF
    assert "Edge" not in {line.name for line in cost.bill(cost.Load(), parameters)}

    found = cost.line(cost.bill(cost.Load(), parameters | {"Edge": "count"}), "Edge")

    # an upload and two look-ups, each a request, judged twice, 0.6 KB of log
    assert found == pytest.approx(3 * (1e-6 + 2 * 0.6e-6 + 0.6 / 1024**2 * 0.50))
    assert f"| {100_000 * found:.2f} |" in (definitions.REPOSITORY / "docs" / "cost.md").read_text()


def test_so_many_checkers_ask_so_often() -> None:
    (check,) = (
        found["Properties"]["HealthCheckConfig"]
        for found in definitions.resources(definitions.REPOSITORY / "stacks" / "outside_look.yaml")
        if found["Type"] == "AWS::Route53::HealthCheck"
    )
    assert check["RequestInterval"] == monthly_cost.CHECK_SECONDS
    assert 2 * len(check["Regions"]) == monthly_cost.CHECKERS


@pytest.mark.parametrize(("zones", "dollars"), [(2, 86.4), (3, 129.6)])
def test_a_network_is_paid_by_endpoint_zone_and_hour(
    monkeypatch: pytest.MonkeyPatch, zones: int, dollars: float
) -> None:
    subnets = ",".join(f"subnet-{number}" for number in range(zones))
    monkeypatch.setattr(definitions, "environments", lambda: {"prod": {"NetworkSubnets": subnets}})

    # Rekognition, SSM, SNS, Step Functions, SQS, CloudWatch; 720 hours at a cent
    assert _dollars("prod")["Network"] == pytest.approx(dollars) == 6 * zones * 720 * 0.01
    # beside the switch too
    assert f"| {dollars:.2f} |" in (definitions.REPOSITORY / "docs" / "cost.md").read_text()
    switch = definitions.document(definitions.TEMPLATE)["Parameters"]["NetworkSubnets"]
    assert f"${dollars:.2f}" in switch["Description"]


def test_what_an_image_sends_through_a_network_is_paid() -> None:
    parameters = definitions.parameters("prod")
    assert "Network" not in {line.name for line in cost.bill(cost.Load(), parameters)}

    found = cost.line(cost.bill(cost.Load(), parameters | {"NetworkSubnets": "subnet-1,subnet-2"}), "Network")

    # 12 KB at a cent a GB; 7.2 KB of flow logs, written and kept a month
    assert found == pytest.approx((12 * 0.01 + 7.2 * (0.50 + 0.03)) / 1024**2)
    assert f"| {100_000 * found:.2f} |" in (definitions.REPOSITORY / "docs" / "cost.md").read_text()


def test_data_events_of_the_trail_are_paid_by_the_image() -> None:
    parameters = definitions.parameters("prod") | NONE
    load = cost.Load(uncertain=0.0, retried=0.0)
    own, detector = ({**parameters, "AuditTrail": "own", "GuardDuty": name} for name in ("none", "detector"))

    assert "CloudTrail" not in {line.name for line in cost.bill(load, parameters)}
    # of the picture: stored, copied, deleted, read three times, looked at; of the record: three writes, two look-ups
    event = 1e-6 + 1.5 / 1024**2 * (0.50 + 3 * 0.03)
    assert cost.line(cost.bill(load, own), "CloudTrail") == pytest.approx(12 * event)
    assert cost.line(cost.bill(load, detector), "CloudTrail") == pytest.approx(12 * event + 7 * 0.8e-6)
    usual = 100_000 * cost.line(cost.bill(cost.Load(), own), "CloudTrail")
    assert f"| {usual:.2f} |" in (definitions.REPOSITORY / "docs" / "cost.md").read_text()


SECOND_REGION = {
    "CopyBucketName": "copies",
    "CopyVaultArn": "arn:aws:backup:us-west-2:123456789012:backup-vault:copies",
}


@pytest.mark.parametrize(
    ("copies", "alarms"), [({}, 0.4), (SECOND_REGION, 0.6), (SECOND_REGION | {"CopyTables": "hourly"}, 0.6)]
)
def test_recovery_is_paid_by_its_alarms_and_by_the_image(copies: dict[str, str], alarms: float) -> None:
    parameters = definitions.parameters("prod") | {"Recovery": "true"} | copies
    lines = {line.name: line.per_image for line in cost.bill(cost.Load(), parameters)}

    assert not list(monthly_cost.recovery(definitions.parameters("prod")))
    assert "Backups" not in {line.name for line in cost.bill(cost.Load(), definitions.parameters("prod"))}
    assert sum(line.per_month for line in monthly_cost.recovery(parameters)) == pytest.approx(alarms)
    # 2 MB for 13 1/6 months, and 35 days more, at 0.05; 3 KB of record for 12 1/6 months, 35 times at 0.10
    picture, record = 2 / 1024, 3 / 1024**2 * 365 / 30
    assert lines["Backups"] == pytest.approx(picture * (395 + 35) / 30 * 0.05 + record * 35 * 0.10)
    # twice over the network with a promise of time; stored like the original, the upload a month; the record each day
    far = 2 * (picture * 0.035 + 5e-6) + picture * (395 / 30 + 1) * 0.023 + record * (35 * 0.10 + 30 * 0.02)
    if "CopyTables" in copies:  # 24 more over the network each day, kept a day in both vaults
        far += record * (24 * 30 * 0.02 + 2 * 24 * 0.10)
    assert lines.get("Second region", 0) == pytest.approx(far if copies else 0)
    text = (definitions.REPOSITORY / "docs" / "cost.md").read_text()
    assert f"{100_000 * (lines['Second region'] if copies else lines['Backups']):.2f} |" in text


def test_the_lines_of_the_deployed_environments_by_hand() -> None:
    assert list(definitions.environments()) == ["dev", "staging", "prod", "recovery"]
    dollars = _dollars("dev")

    assert set(dollars) == {"Business metrics", "Reconciler", "ReviewKeeper"}
    assert dollars["Business metrics"] == pytest.approx(0.3 * (18 + 3 + 8 + 3))  # without UNSAFE_CONTENT
    # the same without a listing and with fourteen read units, and a mail a day
    runs = 2880 * (1 + 0.2 + 0.25 * 13.3334 + 14 * 0.125) / 1e6
    assert dollars["ReviewKeeper"] == pytest.approx(runs + 30 * 20.5 / 1e6, rel=0.0005)
    # 2,880 runs, each a schedule, a request, 0.25 GB-s, a listing and four read units, in dollars a million
    assert dollars["Reconciler"] == pytest.approx(2880 * (1 + 0.2 + 0.25 * 13.3334 + 5 + 0.5) / 1e6, rel=0.0005)


def test_a_key_of_the_account_is_paid_by_the_month(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "environments", lambda: {"dev": {"DataKey": "customer"}})

    # 18 roles, each 12 times an hour
    assert _dollars("dev")["Data key"] == pytest.approx(1 + 18 * 12 * 24 * 30 * 3 / 1e6)


def test_every_role_that_may_use_the_key_is_counted() -> None:
    users = [
        role
        for role, properties in resources("AWS::IAM::Role", data_key="customer").items()
        if "kms:" in json.dumps(properties)
    ]

    assert len(users) == monthly_cost.KMS_ROLES


def test_traces_are_sampled_as_the_bill_says() -> None:
    rules = [
        found
        for found in definitions.resources(monthly_cost.OBSERVABILITY)
        if found["Type"] == "AWS::XRay::SamplingRule"
    ]

    assert {rule["Properties"]["SamplingRule"]["FixedRate"] for rule in rules} == {cost.TRACED}
    # Of a reservoir the first requests of each second are traced besides, in a quiet hour all of them.
    assert {rule["Properties"]["SamplingRule"]["ReservoirSize"] for rule in rules} == {0}


def test_every_metric_that_the_functions_publish_is_paid_for() -> None:
    published = set().union(*(observe(handler).metrics() for handler in STORIES))

    assert published == {*monthly_cost.METRICS, *monthly_cost.METRICS_BY_DIMENSION}
