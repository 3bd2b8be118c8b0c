"""The stacks as `sam deploy` hands them to CloudFormation, and what CloudFormation makes of the alarms on one metric.

Only those alarms are deployed here, and what they need: the CloudFormation of the local AWS refuses metric math,
composite alarms and nested stacks, and has no dashboards, saved queries, X-Ray and budgets. So no test deploys a whole
template of stacks/. cfn-lint checks the properties of what is left out, `test_alarms_evaluated.py` its alarms.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_dump, yaml_parse

from tests.support import local_aws
from tests.support.paths import REPOSITORY
from tests.support.stacks import STACK_FILE, Stack, observability
from tests.support.templates import load
from tests.support.waiting import eventually

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


def deploy_alarms_on_one_metric(url: str, name: str, stack: Stack) -> None:
    """Create a stack of what the local AWS has."""
    kept = {
        logical_id: resource
        for logical_id, resource in stack.template["Resources"].items()
        if resource["Type"] in DEPLOYED and "Metrics" not in resource["Properties"]
    }
    cloudformation = local_aws.client(url, "cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps({**stack.template, "Resources": kept, "Outputs": {}}),
        Parameters=[{"ParameterKey": key, "ParameterValue": str(value)} for key, value in stack.values.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    def status() -> str | None:
        found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        done = not found["StackStatus"].endswith("IN_PROGRESS")
        return f"{found['StackStatus']} {found.get('StackStatusReason', '')}".strip() if done else None

    assert eventually(status, f"{name} is deployed") == "CREATE_COMPLETE"


def test_cloudformation_makes_the_alarms_on_one_metric_as_the_other_tests_evaluate_them(tmp_path: Path) -> None:
    with local_aws.running(tmp_path) as url:
        local_aws.client(url, "logs").create_log_group(logGroupName=STACK.values["FunctionsLogGroupName"])
        deploy_alarms_on_one_metric(url, STACK_FILE.stem, STACK)
        deploy_alarms_on_one_metric(url, "dead-letters", STACK.nested["ImageEventsDeadLetterAlarms"])
        pages = local_aws.client(url, "cloudwatch").get_paginator("describe_alarms").paginate()
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
