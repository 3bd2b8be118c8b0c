"""The recovery: what is backed up, for how long, where copies go, and that somebody hears when it is not.

The local AWS has no AWS Backup: what is asked here is the templates, with their parameters filled in.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from ops import adopt
from tests.support.definitions import decided, references, source, translated
from tests.support.paths import REPOSITORY
from tests.support.stacks import APPLICATION, Stack, recovery
from tests.support.templates import load

OFF = {"CopyVaultArn": "", "CopyBucketName": "", "CopyRoleName": "", "OperatorsTopicArn": ""}
ALL, ALONE = recovery(CopyRoleName="replicator"), recovery(**OFF)
REGION_FILE = REPOSITORY / "stacks" / "recovery_region.yaml"
SECOND = Stack(REGION_FILE, {"ApplicationName": APPLICATION})


def only(stack: Stack, kind: str) -> dict[str, Any]:
    (found,) = stack.of_type(kind).values()
    return found


def rules(plan: str, stack: Stack = ALL) -> dict[str, dict[str, Any]]:
    return {
        rule["RuleName"]: rule
        for rule in stack.of_type("AWS::Backup::BackupPlan")[plan]["BackupPlan"]["BackupPlanRule"]
    }


# --- What is backed up ------------------------------------------------------------------------------------------------


def test_everything_that_cannot_be_had_again_is_backed_up() -> None:
    """The pool cannot: AWS Backup has no Cognito (docs/operations.md)."""
    parameters = source()["Resources"]["RecoveryStack"]["Properties"]["Parameters"]
    handed_over = set().union(
        *(references(parameters[name]) for name in parameters if name.endswith(("Name", "TableName")))
    )
    stateful = {name for name, kind in adopt.ADOPTABLE.items() if kind in ("AWS::S3::Bucket", "AWS::DynamoDB::Table")}
    assert stateful <= handed_over
    selections = ALL.of_type("AWS::Backup::BackupSelection").values()
    selected = [arn for selection in selections for arn in selection["BackupSelection"]["Resources"]]
    names = ("ImageBucketName", "DetectionLogsTableName", "ErasuresTableName", "ReviewsTableName")
    assert sorted(re.split("[:/]", arn)[-1] for arn in selected) == sorted(names)
    tested = [
        arn
        for one in ALL.of_type("AWS::Backup::RestoreTestingSelection").values()
        for arn in one["ProtectedResourceArns"]
    ]
    assert sorted(tested) == sorted(selected)


def test_each_day_is_kept_as_long_as_it_is_said() -> None:
    for plan in ("TablesPlan", "BucketPlan"):
        assert rules(plan)["Daily"]["Lifecycle"] == {"DeleteAfterDays": 35}
        assert rules(plan, recovery(BackupRetentionDays=90))["Daily"]["Lifecycle"] == {"DeleteAfterDays": 90}
    assert rules("BucketPlan")["Continuous"]["EnableContinuousBackup"] is True
    assert rules("BucketPlan")["Continuous"]["Lifecycle"]["DeleteAfterDays"] <= 35, "AWS Backup has no more"


def test_backups_of_tables_are_copied_only_where_there_is_a_second_region() -> None:
    (copy,) = rules("TablesPlan")["Daily"]["CopyActions"]
    assert copy["DestinationBackupVaultArn"].startswith("arn:aws:backup:us-west-2:")
    assert "CopyActions" not in rules("TablesPlan", ALONE)["Daily"]
    assert rules("TablesPlan").keys() == rules("TablesPlan", recovery(**OFF, CopyTables="hourly")).keys() == {"Daily"}
    assert "ReplicationPolicy" not in ALONE.resources


def test_the_documents_say_how_old_and_how_long() -> None:
    """A job begins within its window; and what the bucket can be restored to is kept for 35 days, whatever else is."""
    text = (REPOSITORY / "docs" / "reliability.md").read_text()
    hourly = rules("TablesPlan", recovery(CopyTables="hourly"))["Hourly"]
    assert hourly["StartWindowMinutes"] == 60, "AWS Backup takes no less"
    assert "`CopyTables=hourly` two hours" in text, "an hour between two, and one until it begins"
    kept = rules("BucketPlan", recovery(BackupRetentionDays=14))["Continuous"]["Lifecycle"]["DeleteAfterDays"]
    assert f"the picture at least {kept};" in (REPOSITORY / "docs" / "erasure.md").read_text()


def test_tables_are_copied_by_the_hour_where_records_may_be_no_older() -> None:
    hourly = rules("TablesPlan", recovery(CopyTables="hourly"))
    assert hourly.keys() == {"Daily", "Hourly"}
    assert re.fullmatch(r"cron\(\d+ \* \* \* \? \*\)", hourly["Hourly"]["ScheduleExpression"])
    assert hourly["Hourly"]["CopyActions"][0]["DestinationBackupVaultArn"].startswith("arn:aws:backup:us-west-2:")


# --- The vaults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("application", ["serverlessapp-pet-detector-staging", "serverlessapp-pet-detector-recovery"])
def test_vaults_outlive_their_stack_and_have_names_that_fit(application: str) -> None:
    """AWS Backup takes 50 characters; a stack that is made again must not want the name of the vault that stayed."""
    for stack in (recovery(ApplicationName=application), Stack(REGION_FILE, {"ApplicationName": application})):
        (vault,) = (one for one in stack.resources.values() if one["Type"] == "AWS::Backup::BackupVault")
        assert (vault["DeletionPolicy"], vault["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", vault["Properties"]["BackupVaultName"])
        assert vault["Properties"]["BackupVaultName"].endswith("-0f9e8d7c"), "of the stack's id"


@pytest.mark.parametrize(
    ("lock", "configuration"),
    [
        ("none", None),
        ("governance", {"MinRetentionDays": 1}),
        (
            "compliance",
            {"MinRetentionDays": 1, "ChangeableForDays": 14},
        ),  # this one makes it one that nothing takes back
    ],
)
def test_lock_is_what_was_chosen_in_both_regions(lock: str, configuration: dict[str, int] | None) -> None:
    for stack in (recovery(BackupLock=lock), Stack(REGION_FILE, {"ApplicationName": APPLICATION, "BackupLock": lock})):
        assert only(stack, "AWS::Backup::BackupVault").get("LockConfiguration") == configuration


def test_a_locked_vault_takes_every_backup() -> None:
    """One that is to go before MinRetentionDays would fail."""
    least = source()["Parameters"]["BackupRetentionDays"]["MinValue"]
    stack = recovery(BackupLock="governance", BackupRetentionDays=least, CopyTables="hourly")
    locked = only(stack, "AWS::Backup::BackupVault")
    plans = [rule for plan in ("TablesPlan", "BucketPlan") for rule in rules(plan, stack).values()]
    days = [rule["Lifecycle"]["DeleteAfterDays"] for rule in plans]
    assert locked["LockConfiguration"]["MinRetentionDays"] <= min(*days, least)


# --- The second region ------------------------------------------------------------------------------------------------


def replication() -> Any:
    bucket = translated()["Resources"]["ImageBucket"]["Properties"]
    assert "ReplicationConfiguration" not in decided(bucket, "HasReplica", False)
    return decided(bucket, "HasReplica", True)["ReplicationConfiguration"]


def test_every_picture_is_replicated_and_its_deletion_too() -> None:
    (rule,) = replication()["Rules"]
    assert (rule["Status"], rule["Filter"]) == ("Enabled", {"Prefix": ""})
    assert rule["DeleteMarkerReplication"] == {"Status": "Enabled"}
    assert rule["Destination"]["Bucket"] == {"Fn::Sub": "arn:${AWS::Partition}:s3:::${CopyBucketName}"}
    alarms = ALL.of_type("AWS::CloudWatch::Alarm")
    late, failed = alarms["ReplicationLateAlarm"], alarms["ReplicationFailedAlarm"]
    assert late["Dimensions"][-1] == {"Name": "RuleId", "Value": rule["Id"]}
    assert failed["Dimensions"] == late["Dimensions"]
    assert rule["Destination"]["Metrics"]["Status"] == "Enabled", "else neither metric is there"
    assert late["Threshold"] == 60 * rule["Destination"]["ReplicationTime"]["Time"]["Minutes"]


def test_replication_may_read_the_one_bucket_and_write_to_the_other() -> None:
    policy = only(ALL, "AWS::IAM::RolePolicy")
    assert policy["RoleName"] == "replicator"
    reached = {
        resource: {action.split(":")[1] for action in statement["Action"]}
        for statement in policy["PolicyDocument"]["Statement"]
        for resource in [statement["Resource"]]
    }
    assert reached == {  # "Setting up permissions for live replication" of the S3 user guide
        "arn:aws:s3:::ImageBucketName": {"GetReplicationConfiguration", "ListBucket"},
        "arn:aws:s3:::ImageBucketName/*": {
            "GetObjectVersionForReplication",
            "GetObjectVersionAcl",
            "GetObjectVersionTagging",
        },
        "arn:aws:s3:::replica/*": {"ReplicateObject", "ReplicateDelete", "ReplicateTags"},
    }
    role = translated()["Resources"]["ReplicationRole"]
    assert (role["Condition"], "Policies" in role["Properties"]) == ("HasReplica", False)
    assert references(replication()["Role"]) == {"ReplicationRole"}


def test_copies_are_kept_as_pictures_are_but_for_uploads() -> None:
    """S3 replicates neither what lifecycle rules delete nor the deletion of a version, as of a filed upload."""
    expires = {
        rule["Prefix"]: rule["ExpirationInDays"]
        for rule in only(SECOND, "AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
        if "ExpirationInDays" in rule
    }
    assert expires == {"input/": 30, "rejected/": 30, "": 365}
    defaults = load(REGION_FILE)["Parameters"]
    assert defaults["ImageRetentionDays"]["Default"] == source()["Parameters"]["ImageRetentionDays"]["Default"]


def test_the_copy_is_as_private_as_the_bucket() -> None:
    ours, copy = translated()["Resources"]["ImageBucket"]["Properties"], only(SECOND, "AWS::S3::Bucket")
    for name in ("PublicAccessBlockConfiguration", "OwnershipControls", "VersioningConfiguration"):
        assert copy[name] == ours[name]
    assert copy["BucketEncryption"] == decided(ours, "HasDataKey", False)["BucketEncryption"]


def test_outputs_of_the_second_region_are_parameters_of_the_first() -> None:
    assert load(REGION_FILE)["Outputs"].keys() == {"CopyBucketName", "CopyVaultArn"} <= source()["Parameters"].keys()


def test_nothing_of_it_is_there_unless_it_was_chosen() -> None:
    found = translated()["Resources"]
    assert {name: one["Condition"] for name, one in found.items() if "Recovery" in str(one.get("Condition"))} == {
        "RecoveryStack": "HasRecovery"
    }
    assert not [one["Type"] for one in found.values() if one["Type"].startswith("AWS::Backup::")]


# --- Who hears --------------------------------------------------------------------------------------------------------


def test_no_backup_at_all_is_an_alarm() -> None:
    """A metric without a value leaves the formula without one."""
    alarm = ALONE.of_type("AWS::CloudWatch::Alarm")["BackupsMissingAlarm"]
    assert alarm["TreatMissingData"] == "breaching"
    formula, *metrics = alarm["Metrics"]
    assert "FILL" not in formula["Expression"]
    least = {"tables": 3, "bucket": 1}
    for metric in metrics:
        stat = metric["MetricStat"]
        assert f"{metric['Id']} < {least.pop(metric['Id'])}" in formula["Expression"]
        assert (stat["Stat"], stat["Period"], stat["Metric"]["MetricName"]) == (
            "Sum",
            28 * 3600,
            "NumberOfBackupJobsCompleted",
        )
        assert stat["Metric"]["Dimensions"][0] == {"Name": "BackupVaultName", "Value": "BackupVault"}
    assert not least


def test_no_copy_in_the_second_region_is_an_alarm() -> None:
    """AWS Backup counts a copy under the vault that it goes into, and not under the one that it comes from."""
    alarm = ALL.of_type("AWS::CloudWatch::Alarm")["CopiesMissingAlarm"]
    (vault,) = alarm["Dimensions"]
    assert vault == {"Name": "BackupVaultName", "Value": ALL.parameters["CopyVaultArn"].rpartition(":")[2]}
    assert (alarm["Statistic"], alarm["Period"], alarm["MetricName"]) == ("Sum", 28 * 3600, "NumberOfCopyJobsCompleted")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (3, "LessThanThreshold")
    assert alarm["TreatMissingData"] == "breaching"
    assert "CopiesMissingAlarm" not in ALONE.resources


def test_what_expires_can_be_deleted_when_the_stack_is_gone() -> None:
    """AWS Backup deletes a backup by the role that made it."""
    role = ALONE.resources["BackupRole"]
    assert (role["DeletionPolicy"], role["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_one_picture_that_was_not_replicated_is_an_alarm() -> None:
    """S3 gives it up: nothing is late, and nothing else would say so."""
    alarm = ALL.of_type("AWS::CloudWatch::Alarm")["ReplicationFailedAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/S3", "OperationsFailedReplication")
    assert (alarm["Statistic"], alarm["Threshold"], alarm["ComparisonOperator"]) == ("Sum", 0, "GreaterThanThreshold")
    assert (alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (1, "notBreaching")
    assert "ReplicationFailedAlarm" not in ALONE.resources


def test_every_alarm_has_a_runbook_and_reaches_the_operators() -> None:
    runbook = (REPOSITORY / "docs" / "operations.md").read_text()
    for alarm in ALL.of_type("AWS::CloudWatch::Alarm").values():
        title = alarm["AlarmName"].removeprefix(f"{APPLICATION}-").replace("-", " ").capitalize()
        assert alarm["AlarmDescription"].endswith(f"#{title.lower().replace(' ', '-')}")
        assert f"\n## {title}\n" in runbook
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["arn:aws:sns:us-east-1:123456789012:alarms"]
    assert all(alarm["AlarmActions"] == [] for alarm in ALONE.of_type("AWS::CloudWatch::Alarm").values())
