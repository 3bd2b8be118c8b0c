"""The stacks as `sam deploy` hands them to CloudFormation, and one that is deployed: stacks/dead_letters.yaml, as it is.

The local AWS cannot deploy the others: it has neither metric math, composite alarms and nested stacks in CloudFormation,
nor saved queries, X-Ray and budgets. cfn-lint checks their properties.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from samcli.yamlhelper import yaml_dump, yaml_parse

from tests.support import local_aws
from tests.support.paths import REPOSITORY
from tests.support.stacks import observability
from tests.support.templates import load
from tests.support.waiting import eventually


@pytest.mark.parametrize("file", sorted((REPOSITORY / "stacks").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_sam_uploads_has_neither_anchors_nor_merge_keys(file: Path) -> None:
    """CloudFormation refuses them; `sam build` and `sam deploy` write each template anew, with these functions."""
    uploaded = yaml_dump(yaml_parse(file.read_text()))
    assert not re.search(r"(^|[\s\[{,])[&*]\w|<<:", re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|\"[^\"]*\"", '""', uploaded))
    assert json.loads(json.dumps(yaml_parse(uploaded))) == load(file)


def test_cloudformation_makes_the_alarms_that_the_other_tests_evaluate(tmp_path: Path) -> None:
    stack = observability().nested["LostWorkAlarms"]
    with local_aws.running(tmp_path) as url:
        cloudformation = local_aws.client(url, "cloudformation")
        cloudformation.create_stack(
            StackName="dead-letters",
            TemplateBody=stack.file.read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": str(value)} for key, value in stack.values.items()],
        )

        def status() -> str | None:
            found: str = cloudformation.describe_stacks(StackName="dead-letters")["Stacks"][0]["StackStatus"]
            return None if found.endswith("IN_PROGRESS") else found

        assert eventually(status, "the stack is deployed") == "CREATE_COMPLETE"
        alarms = local_aws.client(url, "cloudwatch").describe_alarms()["MetricAlarms"]
    deployed = {alarm["AlarmName"]: alarm for alarm in alarms}
    expected = {alarm["AlarmName"]: alarm for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()}
    assert deployed.keys() == expected.keys() != set()
    for name, alarm in expected.items():
        found = deployed[name]
        assert found["AlarmActions"] == found["OKActions"] != []
        for key in alarm.keys() - {"AlarmActions", "OKActions"}:
            number = isinstance(found[key], int | float)
            assert found[key] == (float(alarm[key]) if number else alarm[key]), f"{name}: {key}"
