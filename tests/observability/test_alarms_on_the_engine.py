"""The alarms as the embedded AWS has them: deployed by CloudFormation, fed by PutMetricData, read by DescribeAlarms.

What it lacks: metric math (MATH_ALARMS), missing data, and composite alarms in CloudFormation; the latter it evaluates
when they are put by the API.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.observability.cases import CASES, Data, kind_of
from tests.observability.conftest import Clients
from tests.observability.evaluator import composite_state, metrics_of, rule_members
from tests.observability.stack import NAMES, observability
from tests.observability.test_alarms_evaluated import MATH_ALARMS

STACK = observability()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
OBJECTIVES = [name for name in COMPOSITES if name.endswith("Objective")]
ENGINE_ALARMS = [name for name in ALARMS if kind_of(name) not in MATH_ALARMS]
# What the embedded AWS cannot deploy; cfn-lint checks the properties of these.
NOT_DEPLOYED = {
    "AWS::Budgets::Budget",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::CloudFormation::Stack",  # those of NESTED are deployed by themselves
    "AWS::CloudWatch::CompositeAlarm",
    "AWS::Logs::QueryDefinition",
    "AWS::XRay::Group",
    "AWS::XRay::SamplingRule",
}
NESTED = {"function_alarms.yaml": "FunctionName", "dead_letters.yaml": "QueueName"}  # burn_rates.yaml is metric math
COMPARED = [
    "Namespace",
    "MetricName",
    "Dimensions",
    "Statistic",
    "ExtendedStatistic",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "ComparisonOperator",
    "TreatMissingData",
    "AlarmDescription",
]
PUT = (*COMPARED, "AlarmName", "Threshold")


@pytest.fixture(scope="module")
def deployed(client: Clients) -> dict[str, dict[str, Any]]:
    """The stack's alarms by name, after CloudFormation deployed what the engine knows of it."""
    account = "300000000000"
    cloudformation = client("cloudformation", account)
    for nested in STACK.nested.values():
        if nested.file.name in NESTED:
            resources = {
                name: r for name, r in nested.template["Resources"].items() if "Metrics" not in r["Properties"]
            }
            template = json.dumps({**nested.template, "Resources": resources})
            _create(cloudformation, nested.values[NESTED[nested.file.name]], template, nested.values)
    client("logs", account).create_log_group(logGroupName=STACK.values["FunctionsLogGroupName"])
    kept = {
        name: resource
        for name, resource in STACK.template["Resources"].items()
        if resource["Type"] not in NOT_DEPLOYED and "Metrics" not in resource["Properties"]
    }
    outputs = {"AlarmsTopicArn": STACK.template["Outputs"]["AlarmsTopicArn"]}
    template = json.dumps({**STACK.template, "Resources": kept, "Outputs": outputs})
    _create(cloudformation, "observability", template, STACK.values)
    pages = client("cloudwatch", account).get_paginator("describe_alarms").paginate()
    return {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}


def _create(cloudformation: Any, name: str, template: str, values: dict[str, Any]) -> None:
    parameters = [{"ParameterKey": key, "ParameterValue": str(value)} for key, value in values.items()]
    capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    cloudformation.create_stack(StackName=name, TemplateBody=template, Parameters=parameters, Capabilities=capabilities)
    deadline = time.monotonic() + 20
    while (stack := cloudformation.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith("PROGRESS"):
        assert time.monotonic() < deadline, f"{name} is not deployed in 20 s"
        time.sleep(0.05)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack.get("StackStatusReason")


def _feed(cloudwatch: Any, alarm: str, data: Data) -> None:
    (metric,) = metrics_of(ALARMS[alarm])
    now = time.time()
    for index, values in enumerate(data.get("", [])):
        counted = Counter(values)
        datum = {
            "MetricName": metric["MetricName"],
            "Dimensions": metric["Dimensions"],
            "Timestamp": now - index * int(metric["Period"]),
            "Values": list(counted),
            "Counts": list(counted.values()),
        }
        if counted:
            cloudwatch.put_metric_data(Namespace=metric["Namespace"], MetricData=[datum])


@pytest.mark.parametrize("alarm", ENGINE_ALARMS)
def test_deployed_alarm_is_the_one_in_the_template(alarm: str, deployed: dict[str, dict[str, Any]]) -> None:
    """What the other tests evaluate is what CloudFormation makes of it: their reading of the template is right."""
    expected = ALARMS[alarm]
    found = deployed[expected["AlarmName"]]
    assert {name: found.get(name) for name in COMPARED if name in expected} == {
        name: expected[name] for name in COMPARED if name in expected
    } | {name: int(expected[name]) for name in ("Period", "EvaluationPeriods")}
    assert found["Threshold"] == float(expected["Threshold"])
    assert found["AlarmActions"]
    assert found["OKActions"] == found["AlarmActions"]


@pytest.mark.parametrize("alarm", ENGINE_ALARMS)
def test_engine_fires_and_stays_quiet(
    alarm: str, deployed: dict[str, dict[str, Any]], client: Clients, new_account: Callable[[], str]
) -> None:
    definition = {name: value for name, value in deployed[ALARMS[alarm]["AlarmName"]].items() if name in PUT}
    if "ExtendedStatistic" in definition:
        definition.pop("Statistic", None)
    case = CASES[kind_of(alarm)]
    for state, data in {"ALARM": case.fires, "OK": case.quiet}.items():
        cloudwatch = client("cloudwatch", new_account())
        cloudwatch.put_metric_alarm(**definition)
        _feed(cloudwatch, alarm, data)
        (found,) = cloudwatch.describe_alarms()["MetricAlarms"]
        assert found["StateValue"] == state, data


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_follows_its_members(name: str, client: Clients, new_account: Callable[[], str]) -> None:
    """Every clause of the rule fires it on its own, no part of a pair does, and it ends with its cause."""
    composite = COMPOSITES[name]
    rule = composite["AlarmRule"]
    members = rule_members(rule)
    cloudwatch = client("cloudwatch", new_account())
    for member in members:
        cloudwatch.put_metric_alarm(
            AlarmName=member,
            Namespace="Test",
            MetricName="Any",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
        )
        cloudwatch.set_alarm_state(AlarmName=member, StateValue="OK", StateReason="test")
    cloudwatch.put_composite_alarm(AlarmName=composite["AlarmName"], AlarmRule=rule)

    def set_states(state: str, *names: str) -> str:
        for member in names:
            cloudwatch.set_alarm_state(AlarmName=member, StateValue=state, StateReason="test")
        (found,) = cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
        return str(found["StateValue"])

    clauses = [rule_members(clause) for clause in rule.split(" OR ")]
    for clause in clauses:
        for part in clause if len(clause) > 1 else []:
            assert set_states("ALARM", part) == "OK", f"{part} alone"
            set_states("OK", part)
        assert set_states("ALARM", *clause) == "ALARM", clause
        assert set_states("OK", *clause) == "OK", clause
        # And our own evaluator agrees.
        states = {member: "ALARM" if member in clause else "OK" for member in members}
        assert composite_state(rule, states) == "ALARM"
    assert composite_state(rule, dict.fromkeys(members, "OK")) == "OK"


@pytest.mark.parametrize(("name", "pairs"), [("PageAPerson", ["Fast"]), *[(o, ["Fast", "Slow"]) for o in OBJECTIVES]])
def test_a_window_speaks_only_together_with_the_other_of_its_pair(name: str, pairs: list[str]) -> None:
    windows = {alarm["AlarmName"]: logical.split(".")[0] for logical, alarm in ALARMS.items() if "Burn." in logical}
    found = []
    for clause in COMPOSITES[name]["AlarmRule"].split(" OR "):
        used = [windows[member] for member in rule_members(clause) if member in windows]
        found += [used] if used else []
    expected = [[f"{pair}LongBurn", f"{pair}ShortBurn"] for pair in pairs]
    assert [used for used in found if used not in expected] == []
    assert [pair for pair in expected if pair not in found] == []


def test_composites_name_alarms_of_this_stack() -> None:
    names = {alarm["AlarmName"] for alarm in ALARMS.values()}
    for composite in COMPOSITES.values():
        assert set(rule_members(composite["AlarmRule"])) <= names


def test_dashboards_are_deployed(client: Clients, deployed: dict[str, dict[str, Any]]) -> None:
    cloudwatch = client("cloudwatch", "300000000000")
    (queue,) = client("sqs", "300000000000").list_queues()["QueueUrls"]
    for dashboard in STACK.of_type("AWS::CloudWatch::Dashboard").values():
        body = cloudwatch.get_dashboard(DashboardName=dashboard["DashboardName"])["DashboardBody"]
        named = body.replace(queue.rpartition("/")[2], "UndeliveredAlarmsQueue")
        assert json.loads(named) == json.loads(dashboard["DashboardBody"])


def test_names_are_all_parameters_of_the_stack() -> None:
    assert set(NAMES) <= set(STACK.template["Parameters"])
