"""The stacks deployed: as `sam deploy` hands them to CloudFormation, and what CloudFormation makes of an alarm.

The local AWS deploys alarms on one metric, topics, queues, keys and filters. It has neither metric math, composite
alarms and nested stacks in CloudFormation, nor saved queries, X-Ray and budgets; cfn-lint checks those properties.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from samcli.yamlhelper import yaml_dump, yaml_parse

from tests.support import local_aws
from tests.support.paths import REPOSITORY
from tests.support.stacks import STACK_FILE, Stack, observability
from tests.support.templates import load

DEPLOYED = {
    "AWS::CloudWatch::Alarm",
    "AWS::KMS::Key",
    "AWS::Logs::MetricFilter",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SNS::Subscription",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
}
STACK = observability()


@pytest.mark.parametrize("file", sorted((REPOSITORY / "stacks").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_sam_uploads_has_neither_anchors_nor_merge_keys(file: Path) -> None:
    """CloudFormation refuses them; `sam build` and `sam deploy` write each template anew, with these functions."""
    uploaded = yaml_dump(yaml_parse(file.read_text()))
    assert not re.search(r"(^|[\s\[{,])[&*]\w|<<:", re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|\"[^\"]*\"", '""', uploaded))
    assert json.loads(json.dumps(yaml_parse(uploaded))) == load(file)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a local AWS that runs for these tests only."""
    with local_aws.running(tmp_path_factory.mktemp("engine")) as url:
        yield url


def client(service: str, url: str) -> Any:
    """A client of the local AWS."""
    return local_aws.client(url, service, "300000000000")


def deploy(url: str, name: str, stack: Stack) -> None:
    """Create a stack of what the local AWS has."""
    kept = {
        logical_id: resource
        for logical_id, resource in stack.template["Resources"].items()
        if resource["Type"] in DEPLOYED and "Metrics" not in resource["Properties"]
    }
    cloudformation = client("cloudformation", url)
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps({**stack.template, "Resources": kept, "Outputs": {}}),
        Parameters=[{"ParameterKey": key, "ParameterValue": str(value)} for key, value in stack.values.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    deadline = time.monotonic() + 20
    while (found := cloudformation.describe_stacks(StackName=name)["Stacks"][0])["StackStatus"].endswith("PROGRESS"):
        assert time.monotonic() < deadline, f"{name} is not deployed in 20 s"
        time.sleep(0.05)
    assert found["StackStatus"] == "CREATE_COMPLETE", found.get("StackStatusReason")


def test_cloudformation_makes_the_alarms_that_the_other_tests_evaluate(engine: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            client("logs", engine).create_log_group(logGroupName=STACK.values["FunctionsLogGroupName"])
            break
        except EndpointConnectionError:
            assert time.monotonic() < deadline, "the local AWS did not start in 30 s"
            time.sleep(0.1)
    deploy(engine, STACK_FILE.stem, STACK)
    deploy(engine, "dead-letters", STACK.nested["ImageEventsDeadLetterAlarms"])
    pages = client("cloudwatch", engine).get_paginator("describe_alarms").paginate()
    deployed = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}

    expected = {
        alarm["AlarmName"]: alarm
        for name, alarm in STACK.of_type("AWS::CloudWatch::Alarm").items()
        if "Metrics" not in alarm
        and name.partition(".")[0] in (*STACK.template["Resources"], "ImageEventsDeadLetterAlarms")
    }
    expected.pop(STACK.resources["ReportsDeadLetterAlarms.MessagesAlarm"]["Properties"]["AlarmName"])
    assert deployed.keys() == expected.keys()
    for name, alarm in expected.items():
        found = deployed[name]
        assert found["AlarmActions"] == found["OKActions"] != []
        for key in alarm.keys() - {"AlarmActions", "OKActions"}:
            number = isinstance(found[key], int | float)
            assert found[key] == (float(alarm[key]) if number else alarm[key]), f"{name}: {key}"
