"""CloudWatch: what a function counts in its log becomes a metric, and what lies in a queue."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.local_aws import local_aws_python
from tests.support.paths import REPOSITORY
from tests.support.waiting import eventually

EMF = """
import json

def handler(event, context):
    print(json.dumps({
        "_aws": {"Timestamp": 0, "CloudWatchMetrics": [{
            "Namespace": "Pets", "Dimensions": [["service"]],
            "Metrics": [{"Name": "ImageClassified", "Unit": "Count"}],
        }]},
        "service": "image_processor", "ImageClassified": [1, 1],
    }))
    print('{"_aws": "not a metric document"}')
"""


def test_a_metric_in_the_log_is_counted(gap_engine: Any) -> None:
    name = gap_engine.create_function(EMF)
    gap_engine.client("lambda").invoke(FunctionName=name)

    now = datetime.now(UTC)
    answer = gap_engine.client("cloudwatch").get_metric_statistics(
        Namespace="Pets",
        MetricName="ImageClassified",
        Dimensions=[{"Name": "service", "Value": "image_processor"}],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=3600,
        Statistics=["Sum"],
    )
    assert [point["Sum"] for point in answer["Datapoints"]] == [2.0]


def test_what_lies_in_a_queue_is_counted(gap_engine: Any) -> None:
    url, arn = gap_engine.create_queue()
    for text in "ab":
        gap_engine.client("sqs").send_message(QueueUrl=url, MessageBody=text)
    name = arn.rpartition(":")[2]

    def most(metric: str) -> float:
        now = datetime.now(UTC)
        answer = gap_engine.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName=metric,
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now + timedelta(minutes=5),
            Period=3600,
            Statistics=["Maximum"],
        )
        return max((float(point["Maximum"]) for point in answer["Datapoints"]), default=0.0)

    eventually(lambda: most("ApproximateNumberOfMessagesVisible") == 2, "both messages are counted", seconds=5)
    eventually(lambda: most("ApproximateAgeOfOldestMessage") > 0, "they grow older", seconds=5)


LOST = """
from local.ministack_ext import install
from ministack.services import cloudwatch
{install}
cloudwatch.record_metric("Pets", "Barks", 1)
(points,) = cloudwatch._metrics.values()
cloudwatch._evict_old_metrics()  # what each call to CloudWatch begins with
points.append("what another thread counted meanwhile")
print(len(list(cloudwatch._metrics.values())[0]))
"""


@pytest.mark.parametrize(("install", "kept"), [("install()", "2"), ("", "1")], ids=["ours", "plain"])
def test_what_is_counted_during_a_call_is_not_lost(install: str, kept: str) -> None:
    """Plain: when it keeps both, delete the patch."""
    program = LOST.format(install=install)
    done = subprocess.run(
        [local_aws_python(), "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == kept
