"""docs/erasure.md says what is kept of a picture, and for how many days: what the template and the code say too."""

from __future__ import annotations

import re
import time

import pytest

from pet_detector.aws import analyses, dead_letters, image_bucket
from pet_detector.use_cases import erasure, failures
from tests.support.definitions import TWO_WEEKS, resources, source
from tests.support.paths import REPOSITORY

TEXT = (REPOSITORY / "docs" / "erasure.md").read_text()
ROWS = {
    cells[0].strip(): cells[-1].strip()
    for line in TEXT.splitlines()
    if line.startswith("| ") and len(cells := line.strip("| ").split(" | ")) >= 2
}
DAY = 24 * 60 * 60


def default_of(parameter: str) -> int:
    return int(source()["Parameters"][parameter]["Default"])


@pytest.mark.parametrize(
    ("row", "parameter"),
    [
        ("Table DetectionLogs", "RecordRetentionDays"),
        ("CloudWatch Logs", "LogRetentionDays"),
        ("API Gateway's access log", "LogRetentionDays"),
        ("Objects under `cats/`, `dogs/`, `others/`", "ImageRetentionDays"),
        ("Records", "RecordRetentionDays"),
    ],
)
def test_days_that_a_parameter_sets(row: str, parameter: str) -> None:
    assert f"`{parameter}` ({default_of(parameter)} days)" in ROWS[row]


def test_days_of_the_buckets_lifecycle() -> None:
    rules = {
        rule["Prefix"]: rule for rule in resources("AWS::S3::Bucket")["ImageBucket"]["LifecycleConfiguration"]["Rules"]
    }
    retention = {"Ref": "ImageRetentionDays"}
    for folder in ("cats/", "dogs/", "others/", "rejected/"):
        days = rules[folder]["NoncurrentVersionExpiration"]["NoncurrentDays"]
        row = ROWS[
            "Objects under `rejected/`" if folder == "rejected/" else "Objects under `cats/`, `dogs/`, `others/`"
        ]
        assert row.endswith(f"then {days} days as a noncurrent version")
    assert ROWS["Objects under `rejected/`"].startswith(f"{rules['rejected/']['ExpirationInDays']} days,")
    unfinished = rules["input/"]
    assert unfinished["ExpirationInDays"] == unfinished["NoncurrentVersionExpiration"]["NoncurrentDays"] == retention


def test_a_failed_record_outlives_its_object_by_the_days_that_are_written() -> None:
    (late,) = re.findall(r"twice `ImageRetentionDays` and (\d+) days", ROWS["Failed records"])
    operators = failures.Operators("t", "arn", "dev", 20, 100)
    assert abs(operators.record_expires_at - time.time() - (2 * 100 + int(late)) * DAY) < 60
    assert int(late) > 2  # S3 and DynamoDB may be two days late each


def test_days_of_caches_and_queues() -> None:
    assert ROWS["Analyses"] == f"{analyses.KEPT_SECONDS // DAY} days"
    assert ROWS["Dead letters"] == f"{TWO_WEEKS // DAY} days"
    assert f"up to {dead_letters.MOST_MESSAGES:,} messages" in TEXT


def test_how_long_after_a_form_and_a_failure_an_image_is_not_erased() -> None:
    minutes = (image_bucket.UPLOAD_LINK_SECONDS + erasure._ARRIVES_SECONDS) // 60
    assert (
        f"may still arrive ({minutes} minutes after its form was handed out), or failed within the last minute" in TEXT
    )
    assert erasure.SETTLES_SECONDS == 60
    assert resources("AWS::Lambda::Function")["FileManagerFunction"]["Timeout"] < erasure.SETTLES_SECONDS


def test_what_recovers_is_named_with_its_days() -> None:
    """Point-in-time recovery reaches 35 days back unless a table says otherwise."""
    for name in ("DetectionLogsTable", "ErasuresTable"):
        recovery = resources("AWS::DynamoDB::Table")[name]["PointInTimeRecoverySpecification"]
        assert recovery == {"PointInTimeRecoveryEnabled": True}
    assert ROWS["Point-in-time recovery of DetectionLogs"] == "35 days"
    assert ROWS["Table Erasures"] == "no end"
    assert "TimeToLiveSpecification" not in resources("AWS::DynamoDB::Table")["ErasuresTable"]
