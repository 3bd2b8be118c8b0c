"""The stacks as `sam deploy` hands them to CloudFormation, deployed whole, nested stacks and all, on the local AWS.

There alarms, composites, topics, queues and dashboards are made as on AWS, and what rings there rings; budgets, saved
queries and X-Ray's groups and rules are stored without effect (cfn-lint checks their properties).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samcli.yamlhelper import yaml_dump, yaml_parse

from tests.support import local_aws
from tests.support.paths import REPOSITORY
from tests.support.stacks import STACK_FILE, observability
from tests.support.templates import load
from tests.support.waiting import eventually

STACKS = sorted((REPOSITORY / "stacks").glob("*.yaml"))
STACK = observability()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")
# Compared apart: which topic it is, and queries, to which the API adds what they leave out.
NOT_COMPARED = {"AlarmActions", "OKActions", "Metrics"}
MINUTE_SECONDS = 2


@pytest.mark.parametrize("file", STACKS, ids=lambda file: file.stem)
def test_what_sam_uploads_has_neither_anchors_nor_merge_keys(file: Path) -> None:
    """CloudFormation refuses them; `sam build` and `sam deploy` write each template anew, with these functions."""
    uploaded = yaml_dump(yaml_parse(file.read_text()))
    assert not re.search(r"(^|[\s\[{,])[&*]\w|<<:", re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|\"[^\"]*\"", '""', uploaded))
    assert json.loads(json.dumps(yaml_parse(uploaded))) == load(file)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a local AWS to which stacks/observability.yaml is deployed, with every optional part."""
    with local_aws.running(tmp_path_factory.mktemp("aws"), CLOCK_MINUTE_SECONDS=str(MINUTE_SECONDS)) as url:
        local_aws.client(url, "logs").create_log_group(logGroupName=STACK.values["FunctionsLogGroupName"])
        s3 = local_aws.client(url, "s3", s3={"addressing_style": "path"})
        s3.create_bucket(Bucket="templates")
        for file in STACKS:
            template = load(file)
            for resource in template["Resources"].values():
                if resource["Type"] == "AWS::CloudFormation::Stack":  # as `sam deploy` does
                    nested = resource["Properties"]["TemplateURL"]
                    resource["Properties"]["TemplateURL"] = f"https://s3.us-east-1.amazonaws.com/templates/{nested}"
            s3.put_object(Bucket="templates", Key=file.name, Body=json.dumps(template))
        cloudformation = local_aws.client(url, "cloudformation")
        cloudformation.create_stack(
            StackName=STACK_FILE.stem,
            TemplateURL=f"https://s3.us-east-1.amazonaws.com/templates/{STACK_FILE.name}",
            Parameters=[{"ParameterKey": key, "ParameterValue": str(value)} for key, value in STACK.values.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )

        def status() -> str | None:
            found = cloudformation.describe_stacks(StackName=STACK_FILE.stem)["Stacks"][0]
            done = not found["StackStatus"].endswith("IN_PROGRESS")
            return f"{found['StackStatus']} {found.get('StackStatusReason', '')}".strip() if done else None

        assert eventually(status, "the stack is deployed") == "CREATE_COMPLETE"
        yield url


def described(url: str) -> dict[str, dict[str, Any]]:
    """Every alarm by name, as DescribeAlarms shows it."""
    pages = local_aws.client(url, "cloudwatch").get_paginator("describe_alarms")
    found = list(pages.paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"]))
    return {alarm["AlarmName"]: alarm for page in found for alarm in page["MetricAlarms"] + page["CompositeAlarms"]}


def test_cloudformation_makes_the_alarms_that_the_other_tests_evaluate(deployed: str) -> None:
    found = described(deployed)
    expected = {alarm["AlarmName"]: alarm for alarm in [*ALARMS.values(), *COMPOSITES.values()]}
    assert found.keys() == expected.keys()
    for name, alarm in expected.items():
        assert found[name]["AlarmActions"] == found[name]["OKActions"] != []
        for key in alarm.keys() - NOT_COMPARED:
            actual = found[name][key]
            number = isinstance(actual, int | float) and not isinstance(actual, bool)
            assert actual == (float(alarm[key]) if number else alarm[key]), f"{name}: {key}"
        for actual, query in zip(found[name].get("Metrics", []), alarm.get("Metrics", []), strict=True):
            assert actual["Id"] == query["Id"]
            assert actual.get("Expression") == query.get("Expression")
            assert actual.get("MetricStat", {}).get("Metric") == query.get("MetricStat", {}).get("Metric")


def test_outputs_name_what_sends_a_release_back(deployed: str) -> None:
    (stack,) = local_aws.client(deployed, "cloudformation").describe_stacks(StackName=STACK_FILE.stem)["Stacks"]
    names = {o["OutputKey"]: o["OutputValue"] for o in stack["Outputs"] if o["OutputKey"].endswith("AlarmName")}
    assert names == {
        name: STACK.resolve(output["Value"])
        for name, output in STACK.template["Outputs"].items()
        if name.endswith("AlarmName")
    }
    answer = local_aws.client(deployed, "cloudwatch").describe_alarms(AlarmNames=list(names.values()))
    assert {alarm["AlarmName"] for alarm in answer["MetricAlarms"]} == set(names.values())


def test_failed_images_ring_through_to_the_pager_and_back(deployed: str) -> None:
    """A metric, its alarm in metric math, a composite alarm, its topic; and the end of each."""
    sqs, sns = local_aws.client(deployed, "sqs"), local_aws.client(deployed, "sns")
    queue = sqs.create_queue(QueueName="pager")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": arn}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [allowed]})})
    (pages,) = described(deployed)[page_a_person()]["AlarmActions"]
    sns.subscribe(TopicArn=pages, Protocol="sqs", Endpoint=arn)
    heard: list[tuple[str, str]] = []

    def put(metric: str, count: int, value: float) -> None:
        dimensions = [{"Name": "service", "Value": STACK.values["ApplicationName"]}]
        datum = {"MetricName": metric, "Dimensions": dimensions, "Values": [value], "Counts": [count]}
        local_aws.client(deployed, "cloudwatch").put_metric_data(Namespace="PetDetector", MetricData=[datum])

    def has_heard(state: str) -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            notice = json.loads(json.loads(message["Body"])["Message"])
            heard.append((notice["AlarmName"], notice["NewStateValue"]))
        return (page_a_person(), state) in heard

    put("EstimatedCost", 94, 0.0012)
    put("ImageFailed", 6, 1)

    eventually(lambda: has_heard("ALARM"), "the pager hears that images fail")
    eventually(lambda: has_heard("OK"), "and that no more do")


def page_a_person() -> str:
    return str(COMPOSITES["PageAPerson"]["AlarmName"])
