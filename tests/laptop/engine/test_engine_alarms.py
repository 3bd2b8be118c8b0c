"""CloudWatch: an alarm is evaluated as it is written, rings, tells, and ends; what services count can ring one."""

from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

from botocore.exceptions import ClientError

from tests.support.local_aws import local_aws_python
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

from .conftest import ROLE

RAISES = "def handler(event, context):\n    raise RuntimeError"


def metric(of: str, name: str = "Barks") -> dict[str, Any]:
    return {"Namespace": "Pets", "MetricName": name, "Dimensions": [{"Name": "dog", "Value": of}]}


def put_alarm(engine: Any, watched: dict[str, Any], **more: Any) -> str:
    """An alarm on more than zero in a minute, unless `more` says otherwise; returns its name."""
    name = f"a-{uuid.uuid4().hex[:8]}"
    usual = {
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    if "ExtendedStatistic" in more:
        del usual["Statistic"]
    engine.client("cloudwatch").put_metric_alarm(AlarmName=name, **{**usual, **watched, **more})
    return name


def put(engine: Any, watched: dict[str, Any], *values: float) -> None:
    data = {key: value for key, value in watched.items() if key != "Namespace"}
    engine.client("cloudwatch").put_metric_data(
        Namespace=watched["Namespace"], MetricData=[{**data, "Value": value} for value in values]
    )


def states(engine: Any, alarm: str) -> list[str]:
    """The states that an alarm has had, the oldest first."""
    history = engine.client("cloudwatch").describe_alarm_history(
        AlarmName=alarm,
        AlarmTypes=["MetricAlarm", "CompositeAlarm"],
        HistoryItemType="StateUpdate",
        ScanBy="TimestampAscending",
    )
    changes = [json.loads(item["HistoryData"]) for item in history["AlarmHistoryItems"]]
    return [change["newState"]["stateValue"] for change in changes]


def wait_for_states(engine: Any, alarm: str, *expected: str) -> None:
    """Wait until an alarm has gone through these states after its creation."""
    eventually(
        lambda: states(engine, alarm)[1:] == list(expected), f"{alarm} goes through {', '.join(expected)}", seconds=15
    )


def test_an_alarm_rings_tells_ends_and_tells(gap_engine: Any) -> None:
    url, queue = gap_engine.create_queue("sns")
    sns = gap_engine.client("sns")
    topic = sns.create_topic(Name=f"t-{uuid.uuid4().hex[:8]}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    alarm = put_alarm(gap_engine, metric("rex"), AlarmActions=[topic], OKActions=[topic])
    wait_for_states(gap_engine, alarm, "OK")

    put(gap_engine, metric("rex"), 1)

    wait_for_states(gap_engine, alarm, "OK", "ALARM", "OK")
    heard: list[str] = []

    def all_heard() -> bool:
        answer = gap_engine.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            heard.append(json.loads(json.loads(message["Body"])["Message"])["NewStateValue"])
        return len(heard) >= 3

    eventually(all_heard, "three notices arrive", seconds=10)
    assert sorted(heard) == ["ALARM", "OK", "OK"]


def test_an_alarm_is_not_told_of_other_dimensions(engine: Any) -> None:
    rex = put_alarm(engine, metric("rex", "Growls"))
    bello = put_alarm(engine, metric("bello", "Growls"))
    everyone = put_alarm(engine, {**metric("", "Growls"), "Dimensions": []})

    put(engine, metric("bello", "Growls"), 1)

    wait_for_states(engine, bello, "OK", "ALARM", "OK")
    assert states(engine, rex)[1:] == ["OK"]
    assert states(engine, everyone)[1:] == ["OK"]


def test_one_datapoint_of_two_that_are_needed_does_not_ring(engine: Any) -> None:
    one = put_alarm(engine, metric("one"), EvaluationPeriods=3, DatapointsToAlarm=1)
    two = put_alarm(engine, metric("one"), EvaluationPeriods=3, DatapointsToAlarm=2)

    put(engine, metric("one"), 1)

    wait_for_states(engine, one, "OK", "ALARM", "OK")  # three periods passed
    assert states(engine, two)[1:] == ["OK"]


def test_two_datapoints_of_two_that_are_needed_ring(engine: Any) -> None:
    two = put_alarm(engine, metric("two"), EvaluationPeriods=3, DatapointsToAlarm=2)
    wait_for_states(engine, two, "OK")

    def rings_under_data_that_goes_on() -> bool:
        put(engine, metric("two"), 1)
        return "ALARM" in states(engine, two)

    eventually(rings_under_data_that_goes_on, "the alarm rings", seconds=15)


def test_silence_means_what_the_alarm_says(engine: Any) -> None:
    silent = {
        treatment: put_alarm(engine, metric("silent"), TreatMissingData=treatment)
        for treatment in ("breaching", "notBreaching", "missing", "ignore")
    }
    wait_for_states(engine, silent["breaching"], "ALARM")
    wait_for_states(engine, silent["notBreaching"], "OK")

    put(engine, metric("silent"), 0)

    wait_for_states(engine, silent["breaching"], "ALARM", "OK", "ALARM")
    wait_for_states(engine, silent["notBreaching"], "OK")
    wait_for_states(engine, silent["missing"], "OK", "INSUFFICIENT_DATA")
    wait_for_states(engine, silent["ignore"], "OK")


def test_a_percentile_rings_without_the_average(engine: Any) -> None:
    p95 = put_alarm(engine, metric("slow"), ExtendedStatistic="p95", Threshold=10)
    average = put_alarm(engine, metric("slow"), Statistic="Average", Threshold=10)

    put(engine, metric("slow"), *[1] * 18, 20, 20)

    wait_for_states(engine, p95, "OK", "ALARM", "OK")
    assert states(engine, average)[1:] == ["OK"]


def test_an_alarm_of_the_api_may_be_on_an_expression(gap_engine: Any) -> None:
    bad, all_ = (metric("share", name) for name in ("Bad", "All"))
    queries = [
        {"Id": "share", "Expression": "IF(all >= 4, 100 * FILL(bad, 0) / all, 0)"},
        *(
            {"Id": name, "ReturnData": False, "MetricStat": {"Metric": watched, "Period": 60, "Stat": "Sum"}}
            for name, watched in (("bad", bad), ("all", all_))
        ),
    ]
    name = f"a-{uuid.uuid4().hex[:8]}"
    gap_engine.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Metrics=queries,
        EvaluationPeriods=1,
        Threshold=20,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    (described,) = gap_engine.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert [query["Id"] for query in described.get("Metrics", [])] == ["share", "bad", "all"]

    put(gap_engine, bad, 1)
    put(gap_engine, all_, 4)

    wait_for_states(gap_engine, name, "OK", "ALARM", "OK")


def test_templates_have_alarms_on_expressions_and_composite_alarms(gap_engine: Any) -> None:
    prefix = f"a-{uuid.uuid4().hex[:8]}"
    watched = metric(prefix)
    share = {
        "AlarmName": f"{prefix}-share",
        "Metrics": [
            {"Id": "doubled", "Expression": "2 * FILL(barks, 0)"},
            {
                "Id": "barks",
                "ReturnData": "false",
                "MetricStat": {"Metric": watched, "Period": {"Ref": "Seconds"}, "Stat": "Sum"},
            },
        ],
        "EvaluationPeriods": 1,
        "Threshold": {"Ref": "Two"},
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    both = {"AlarmName": f"{prefix}-both", "AlarmRule": {"Fn::Sub": 'ALARM("${Share}") AND NOT OK("${Share}")'}}
    template: dict[str, Any] = {
        "Parameters": {"Seconds": {"Type": "Number", "Default": 60}, "Two": {"Type": "Number", "Default": 2}},
        "Resources": {
            "Share": {"Type": "AWS::CloudWatch::Alarm", "Properties": share},
            "Both": {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": both},
        },
        "Outputs": {"Both": {"Value": {"Ref": "Both"}}},
    }
    try:
        outputs = gap_engine.create_stack(template)
    except ClientError as error:
        raise AssertionError(str(error)) from error
    assert outputs["Both"] == f"{prefix}-both"

    put(gap_engine, watched, 1)

    wait_for_states(gap_engine, f"{prefix}-share", "OK", "ALARM", "OK")
    assert states(gap_engine, f"{prefix}-both") == ["OK", "ALARM", "OK"]
    cloudwatch = gap_engine.client("cloudwatch")
    assert cloudwatch.describe_alarms(AlarmNames=[outputs["Both"]])["CompositeAlarms"] == []

    template["Resources"]["Both"]["Properties"] = {**both, "AlarmRule": {"Fn::Sub": 'OK("${Share}")'}}
    gap_engine.update_stack(outputs["StackName"], template)

    wait_for_states(gap_engine, f"{prefix}-both", "ALARM", "OK", "ALARM")
    gap_engine.client("cloudformation").delete_stack(StackName=outputs["StackName"])
    eventually(
        lambda: (
            not cloudwatch.describe_alarms(AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"])[
                "CompositeAlarms"
            ]
        ),
        "the composite alarm is gone",
        seconds=10,
    )


def test_what_a_workflow_fails_at_rings_the_alarms_on_executions_and_on_its_function(gap_engine: Any) -> None:
    function = gap_engine.create_function(RAISES)
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
    work = {**task, "Parameters": {"FunctionName": function}}
    stepfunctions = gap_engine.client("stepfunctions")
    machine = stepfunctions.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:8]}",
        definition=json.dumps({"StartAt": "Work", "States": {"Work": work}}),
        roleArn=ROLE,
    )["stateMachineArn"]
    errors = {"Namespace": "AWS/Lambda", "MetricName": "Errors", "Dimensions": [named("FunctionName", function)]}
    failed, started, ended_well = (
        {
            "Namespace": "AWS/States",
            "MetricName": f"Executions{what}",
            "Dimensions": [named("StateMachineArn", machine)],
        }
        for what in ("Failed", "Started", "Succeeded")
    )
    alarms = [put_alarm(gap_engine, watched) for watched in (errors, failed, started)]
    quiet = put_alarm(gap_engine, ended_well)

    execution = stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]

    eventually(lambda: stepfunctions.describe_execution(executionArn=execution)["status"] == "FAILED", "it fails", 10)
    listed = gap_engine.client("cloudwatch").list_metrics(Namespace="AWS/States", Dimensions=failed["Dimensions"])
    assert {found["MetricName"] for found in listed["Metrics"]} >= {"ExecutionsStarted", "ExecutionsFailed"}
    for alarm in alarms:
        wait_for_states(gap_engine, alarm, "OK", "ALARM", "OK")
    assert states(gap_engine, quiet)[1:] == ["OK"]


def named(name: str, value: str) -> dict[str, str]:
    return {"Name": name, "Value": value}


RINGING = """
import json, os
os.environ["CLOCK_MINUTE_SECONDS"] = "3600"  # the clock is too slow to help
from local.ministack_ext import alarms, install
from ministack.services import cloudwatch
install()
usual = {"Namespace": "Pets", "EvaluationPeriods": 1, "Threshold": 0, "ComparisonOperator": "GreaterThanThreshold"}
for name in ("bad", "good"):
    request = {**usual, "AlarmName": name, "MetricName": name, "Statistic": "Sum"}
    cloudwatch._put_metric_alarm({}, request, is_cbor=False, is_json=True)
cloudwatch._put_composite_alarm({}, {"AlarmName": "all", "AlarmRule": "ALARM(bad)"}, is_cbor=False, is_json=True)
cloudwatch.record_metric("Pets", "bad", 1)
print(json.dumps(alarms.ringing(["good", "bad", "all", "nobody"])), cloudwatch._composite_alarms["all"]["StateValue"])
"""


def test_a_deployment_hears_of_metric_alarms_that_ring() -> None:
    """Nothing of a name that no alarm has, nor of a composite alarm's."""
    done = subprocess.run(
        [local_aws_python(), "-c", RINGING], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == '["bad"] ALARM'
