"""Remove an application's stack, and what `sam delete` leaves of it.

Every step looks at what is there and removes that, so that the whole can be broken off anywhere and run again. Nothing
is removed that `belongings` does not find. What keeps the account's own evidence (the audit trail and its like) is
never removed here: the application's end is part of what it has to tell.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops import belongings
from ops.belongings import Belongings, Resource
from ops.environment import CLIENT_CONFIG
from ops.errors import OperatorError
from pet_detector.aws.errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

BUCKET, TABLE, KEY = "AWS::S3::Bucket", "AWS::DynamoDB::Table", "AWS::KMS::Key"
ROLE, LOG_GROUP, POOL = "AWS::IAM::Role", "AWS::Logs::LogGroup", "AWS::Cognito::UserPool"
VAULT = "AWS::Backup::BackupVault"
API_KEY, SECRET, BACKUP = "API key", "Secret", "DynamoDB backup"

# Logical ids of what holds people's data, and of the key without which nobody reads it.
DATA = {
    "ImageBucket": BUCKET,
    "DetectionLogsTable": TABLE,
    "ErasuresTable": TABLE,
    "ReviewsTable": TABLE,
    "PeoplePool": POOL,
    "Key": KEY,
}
LOG_ROLE = "ApiGatewayLogRole"
# Of stacks/governance.yaml: the evidence.
AUDIT = {
    "Trail": "AWS::CloudTrail::Trail",
    "TrailBucket": BUCKET,
    "TrailKey": KEY,
    "TrailLogGroup": LOG_GROUP,
    "TrailRole": ROLE,
    "HistoryBucket": BUCKET,
    "Detector": "AWS::GuardDuty::Detector",
    "BackupVault": VAULT,  # of stacks/recovery.yaml: what everything else can be had again from
    "BackupRole": ROLE,  # by which AWS Backup deletes what has expired
}
# They end with what they are a part of. CloudFormation says that it left those of code when an update has replaced
# them: a function's `UpdateReplacePolicy: Retain` holds for all that SAM makes of it.
_OF_CODE = {
    "AWS::Lambda::Version",
    "AWS::Lambda::Alias",
    "AWS::Lambda::Permission",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::StepFunctions::StateMachineVersion",
    "AWS::StepFunctions::StateMachineAlias",
}
_PARTS = {
    *_OF_CODE,
    "AWS::S3::BucketPolicy",
    "AWS::Cognito::UserPoolGroup",
    "AWS::CloudFormation::Stack",
    "AWS::ApiGateway::Account",  # the account's setting that names the role of its logs, if it is ours
}
# What CloudFormation leaves and this removes, in this order: the ledger of erasures is the last of the tables, because
# a copy of the records that comes back is erased again by it.
_ORDER = (ROLE, API_KEY, SECRET, LOG_GROUP, BUCKET, BACKUP, POOL, TABLE, KEY)

# What each service says of a thing that is not there.
_GONE = ("404", "NoSuchBucket", "ResourceNotFoundException", "NoSuchEntity", "NotFoundException")

# Executions that run get this long to end when their pictures stay.
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 3.0
# Times that AWS is asked what is left: a function's last log lines make its log group again.
_ROUNDS = 5
_COUNTED = 100_000  # versions of a bucket that are counted for the list
_BATCH = 1000  # versions that S3 deletes, or lists, in a request
KEY_DAYS = 30  # in which a scheduled deletion of a key can be cancelled

Say = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """A resource, and whether it goes. `reason`: why it stays, or what comes of it. `size`: what is in it."""

    kind: str
    name: str
    goes: bool
    size: str = ""
    reason: str = ""


def lines(found: Belongings, *, with_data: bool) -> list[Line]:
    """What goes and what stays, each resource once; of resources that CloudFormation deletes by itself, too."""
    kept = _left_by_cloudformation(found)
    beside = belongings.made_beside(found)
    listed = [
        Line(one.kind, one.name, True, (_log_size(one.name) or "") if one.kind == LOG_GROUP else "")
        for one in found.living
        if one not in kept and one.kind not in _PARTS - _OF_CODE
    ]
    listed += [line for one in [*kept, *beside] if (line := _line(one, with_data=with_data))]
    return sorted(listed, key=lambda line: (not line.goes, line.kind, line.name))


def refuse_if_changing(found: Belongings) -> None:
    """Raises OperatorError when the stack is being changed by somebody, or is protected."""
    if found.description is None:
        return
    status = found.description["StackStatus"]
    if status.endswith("_IN_PROGRESS") and status not in ("DELETE_IN_PROGRESS", "REVIEW_IN_PROGRESS"):
        raise OperatorError(f"The stack {found.stack} is being changed ({status}): wait until that has ended.")
    if found.description.get("EnableTerminationProtection"):
        raise OperatorError(
            f"The stack {found.stack} is protected from termination. If it is to go: aws cloudformation "
            f"update-termination-protection --no-enable-termination-protection --stack-name {found.stack}"
        )


def run(found: Belongings, *, with_data: bool, say: Say) -> list[Line]:
    """Remove what `lines` says goes -> what is still there afterwards and should not be, with the reason if known.

    Raises OperatorError when CloudFormation cannot delete the stack; run it again when its cause is gone.
    """
    if found.description is not None and not found.description["StackStatus"].startswith("DELETE_"):
        _stop(found, wait=not with_data, say=say)
    for one in belongings.made_beside(found):
        if one.kind in (API_KEY, SECRET):
            _remove(one, found, say)
    if found.description is not None:
        _delete_stack(found.description["StackId"], say)
    for _ in range(_ROUNDS):
        found = belongings.find(found.stack)
        stuck = _remove_leftovers(found, with_data=with_data, say=say)
        known = {(line.kind, line.name) for line in stuck}
        listed = lines(belongings.find(found.stack), with_data=with_data)
        left = [line for line in listed if line.goes and (line.kind, line.name) not in known]
        if not left:
            break
        time.sleep(_POLL_SECONDS)
    return [*stuck, *left]


def _left_by_cloudformation(found: Belongings) -> list[Resource]:
    """What is there, and stays when CloudFormation deletes the stack."""
    return [
        one
        for one in found.all()
        if one.kind not in _PARTS and (one not in found.living or one.logical_id in {*DATA, *AUDIT, LOG_ROLE})
    ]


def _remove_leftovers(found: Belongings, *, with_data: bool, say: Say) -> list[Line]:
    left = [*_left_by_cloudformation(found), *belongings.made_beside(found)]
    stuck = [
        Line(one.kind, one.name, False, "", "petdetect cannot remove this type: do it by hand")
        for one in left
        if one.kind not in {*_ORDER, *AUDIT.values()}
    ]
    for kind in _ORDER:
        of_kind = [one for one in left if one.kind == kind]
        for one in sorted(of_kind, key=lambda one: one.logical_id == "ErasuresTable"):
            line = _line(one, with_data=with_data)
            if line and line.goes and (reason := _remove(one, found, say)):
                stuck.append(Line(one.kind, one.name, False, line.size, reason))
    return stuck


def _line(one: Resource, *, with_data: bool) -> Line | None:
    """What becomes of something that CloudFormation leaves; None when it is not there."""
    size = size_of(one)
    if size is None:
        return None
    if AUDIT.get(one.logical_id) == one.kind:
        reason = "evidence of who did what, this too: an administrator ends it (docs/operations.md)"
        if one.logical_id in ("BackupVault", "BackupRole"):
            reason = "backups go when their days are over; then an administrator deletes it (docs/operations.md)"
        return Line(one.kind, one.name, False, size, reason)
    if one.kind == KEY:
        after = f"can be cancelled for {KEY_DAYS} days" if with_data else "what it encrypted is lost without it"
        return Line(one.kind, one.name, with_data, size, after)
    if DATA.get(one.logical_id) == one.kind or one.kind == BACKUP:
        reason = "" if with_data else "people's data"
        if with_data and one.kind == TABLE:
            reason = "AWS keeps a backup of it for 35 days"
        return Line(one.kind, one.name, with_data, size, reason)
    if one.kind not in _ORDER:
        return Line(one.kind, one.name, False, size, "petdetect cannot remove this type: do it by hand")
    setting = "with the account's API log setting, where that names it" if one.logical_id == LOG_ROLE else ""
    return Line(one.kind, one.name, True, size, setting)


# --- Looking ----------------------------------------------------------------------------------------------------------


def size_of(one: Resource) -> str | None:
    """What is in it, in words; empty if that says nothing, None when it is not there."""
    look = {
        BUCKET: _bucket_size,
        TABLE: _table_size,
        KEY: _key_size,
        ROLE: _role_size,
        LOG_GROUP: _log_size,
        POOL: _pool_size,
    }.get(one.kind)
    try:
        return look(one.name) if look else ""
    except ClientError as error:
        if code_of(error) in _GONE:
            return None
        raise


def _bucket_size(name: str) -> str:
    _s3().head_bucket(Bucket=name)
    versions = marks = size = 0
    pages = _s3().get_paginator("list_object_versions").paginate(Bucket=name)
    for page in itertools.islice(pages, _COUNTED // _BATCH):
        versions += len(page.get("Versions", []))
        marks += len(page.get("DeleteMarkers", []))
        size += sum(version["Size"] for version in page.get("Versions", []))
    more = "more than " if versions + marks >= _COUNTED else ""
    return f"{more}{versions} object versions ({size / 1024**2:.1f} MB), {marks} delete markers"


def _table_size(name: str) -> str:
    table = _dynamodb().describe_table(TableName=name)["Table"]
    protected = ", protected from deletion" if table.get("DeletionProtectionEnabled") else ""
    # AWS counts every six hours.
    return f"about {table.get('ItemCount', 0)} items ({table.get('TableSizeBytes', 0) / 1024**2:.1f} MB){protected}"


def _pool_size(name: str) -> str:
    pool = boto3.client("cognito-idp", config=CLIENT_CONFIG).describe_user_pool(UserPoolId=name)["UserPool"]
    protected = ", protected from deletion" if pool.get("DeletionProtection") == "ACTIVE" else ""
    return f"about {pool.get('EstimatedNumberOfUsers', 0)} people{protected}"


def _key_size(name: str) -> str | None:
    kms = boto3.client("kms", config=CLIENT_CONFIG)
    state = kms.describe_key(KeyId=name)["KeyMetadata"]["KeyState"]
    return None if state == "PendingDeletion" else ""


def _role_size(name: str) -> str:
    boto3.client("iam", config=CLIENT_CONFIG).get_role(RoleName=name)
    return ""


def _log_size(name: str) -> str | None:
    logs = boto3.client("logs", config=CLIENT_CONFIG)
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    found = [group for group in groups if group["logGroupName"] == name]
    return f"{found[0].get('storedBytes', 0) / 1024**2:.1f} MB" if found else None


# --- Stopping ---------------------------------------------------------------------------------------------------------


def _stop(found: Belongings, *, wait: bool, say: Say) -> None:
    """Let nothing new start, and what runs end, or end it."""
    events = boto3.client("events", config=CLIENT_CONFIG)
    scheduler = boto3.client("scheduler", config=CLIENT_CONFIG)
    for one in found.living:  # the other rules record what fails meanwhile, and watch
        if one.logical_id == "ImageUploadedRule":
            events.disable_rule(Name=one.name)
        elif one.kind == "AWS::Scheduler::Schedule":
            schedule = scheduler.get_schedule(Name=one.name)
            if schedule["State"] == "ENABLED":
                kept = {field: schedule[field] for field in ("ScheduleExpression", "FlexibleTimeWindow", "Target")}
                scheduler.update_schedule(Name=one.name, State="DISABLED", **kept)
    machines = found.names("AWS::StepFunctions::StateMachine")
    deadline = time.monotonic() + (PATIENCE_SECONDS if wait else 0)
    while (running := list(_running(machines))) and time.monotonic() < deadline:
        say(f"{len(running)} executions run; waiting for them ...")
        time.sleep(_POLL_SECONDS)
    for execution in running:
        try:
            boto3.client("stepfunctions", config=CLIENT_CONFIG).stop_execution(
                executionArn=execution, error="StackDestroyed", cause="petdetect destroy"
            )
        except ClientError as error:
            if code_of(error) not in ("ExecutionDoesNotExist", "ValidationException"):  # it has ended by itself
                raise
    if running:
        kept_pictures = " Their pictures stay under input/." if wait else ""
        say(f"{len(running)} executions were stopped.{kept_pictures}")


def _running(machines: list[str]) -> Iterator[str]:
    states = boto3.client("stepfunctions", config=CLIENT_CONFIG)
    for machine in machines:
        try:
            for page in states.get_paginator("list_executions").paginate(
                stateMachineArn=machine, statusFilter="RUNNING"
            ):
                yield from (execution["executionArn"] for execution in page["executions"])
        except ClientError as error:
            if code_of(error) not in ("StateMachineDoesNotExist", "StateMachineDeleting"):
                raise


def _unprotect_pool(pool: str) -> None:
    """Let the user pool be deleted. What is not named here would go back to Cognito's defaults."""
    cognito = boto3.client("cognito-idp", config=CLIENT_CONFIG)
    known = cognito.describe_user_pool(UserPoolId=pool)["UserPool"]
    if known.get("DeletionProtection") == "ACTIVE":
        cognito.update_user_pool(
            UserPoolId=pool,
            DeletionProtection="INACTIVE",
            AdminCreateUserConfig={"AllowAdminCreateUserOnly": True},  # else, until it is gone, anybody could sign up
            Policies=known["Policies"],
            MfaConfiguration=known.get("MfaConfiguration", "OFF"),
        )


def _delete_stack(stack_id: str, say: Say) -> None:
    """Raises OperatorError with the reasons when a resource cannot be deleted."""
    cloudformation = boto3.client("cloudformation", config=CLIENT_CONFIG)
    description = belongings.describe(stack_id)
    if description and description["StackStatus"] not in ("DELETE_IN_PROGRESS", "DELETE_COMPLETE"):
        say("Deleting the stack ...")
        cloudformation.delete_stack(StackName=stack_id)
    while (description := belongings.describe(stack_id)) and description["StackStatus"] != "DELETE_COMPLETE":
        if description["StackStatus"] == "DELETE_FAILED":
            reasons = "\n".join(f"  {reason}" for reason in belongings.failures(stack_id))
            raise OperatorError(
                f"CloudFormation could not delete the stack:\n{reasons}\nRemove the cause, and run this command again."
            )
        time.sleep(_POLL_SECONDS)
    say("The stack is deleted.")


# --- Removing ---------------------------------------------------------------------------------------------------------


def _remove(one: Resource, found: Belongings, say: Say) -> str:
    """Remove it -> why it is still there; empty when it is gone."""
    remove: Callable[[Resource, Belongings, Say], str] = {
        BUCKET: _remove_bucket,
        TABLE: _remove_table,
        BACKUP: _remove_backup,
        KEY: _remove_key,
        ROLE: _remove_role,
        LOG_GROUP: _remove_log_group,
        POOL: _remove_pool,
        API_KEY: _remove_api_key,
        SECRET: _remove_secret,
    }[one.kind]
    try:
        reason = remove(one, found, say)
    except ClientError as error:
        if code_of(error) not in (*_GONE, "BackupNotFoundException"):
            raise
        reason = ""
    if not reason:
        say(f"Removed: {one.kind} {one.name}")
    return reason


def _remove_bucket(one: Resource, found: Belongings, say: Say) -> str:
    """Empty the bucket, and delete it. A form that was signed before can still put something in, for five minutes."""
    for _ in range(5):
        _abort_uploads(one.name)
        _delete_versions(one.name, say)
        try:
            _s3().delete_bucket(Bucket=one.name)
        except ClientError as error:
            if code_of(error) != "BucketNotEmpty":
                raise
        else:
            return ""
    return "something still writes to it: run the command again in five minutes"


def _abort_uploads(bucket: str) -> None:
    for page in _s3().get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            _s3().abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _delete_versions(bucket: str, say: Say) -> None:
    """Delete every version and every delete marker, by the thousand."""
    deleted = 0
    pages = _s3().get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": _BATCH})
    for page in pages:
        found: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            continue
        batch: list[Any] = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
        answer = _s3().delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        if errors := answer.get("Errors", []):
            raise OperatorError(
                f"S3 did not delete {len(errors)} object versions of {bucket}, such as {errors[0].get('Key')}: "
                f"{errors[0].get('Code')} {errors[0].get('Message')}"
            )
        deleted += len(batch)
        say(f"{deleted} object versions and delete markers of {bucket} deleted ...")


def _remove_table(one: Resource, found: Belongings, say: Say) -> str:
    table = _dynamodb().describe_table(TableName=one.name)["Table"]
    if table.get("DeletionProtectionEnabled"):
        _dynamodb().update_table(TableName=one.name, DeletionProtectionEnabled=False)
        _dynamodb().get_waiter("table_exists").wait(TableName=one.name)
    if table["TableStatus"] != "DELETING":
        _dynamodb().delete_table(TableName=one.name)
    _dynamodb().get_waiter("table_not_exists").wait(TableName=one.name)
    return ""


def _remove_pool(one: Resource, found: Belongings, say: Say) -> str:
    _unprotect_pool(one.name)
    boto3.client("cognito-idp", config=CLIENT_CONFIG).delete_user_pool(UserPoolId=one.name)
    return ""


def _remove_backup(one: Resource, found: Belongings, say: Say) -> str:
    _dynamodb().delete_backup(BackupArn=one.name)
    return ""


def _remove_key(one: Resource, found: Belongings, say: Say) -> str:
    kms = boto3.client("kms", config=CLIENT_CONFIG)
    kms.schedule_key_deletion(KeyId=one.name, PendingWindowInDays=KEY_DAYS)
    return ""


def _remove_role(one: Resource, found: Belongings, say: Say) -> str:
    """Delete the role of API Gateway's logs, unless the account's APIs log with it."""
    gateway = boto3.client("apigateway", config=CLIENT_CONFIG)
    if gateway.get_account().get("cloudwatchRoleArn", "").rpartition("/")[2] == one.name:
        if others := list(_logging_stages(found)):
            return (
                f"the account's API log setting names it, and {', '.join(others[:3])} logs by it: deploy that with "
                "ManageApiGatewayLogRole=true, or set another role, and run this command again"
            )
        try:  # without a value: an empty one is no ARN
            gateway.update_account(patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn"}])
        except ClientError as error:
            if code_of(error) != "BadRequestException":
                raise
            say("API Gateway keeps the name of its log role in the account's setting. No API there logs by it.")
    iam = boto3.client("iam", config=CLIENT_CONFIG)
    for policy in iam.list_attached_role_policies(RoleName=one.name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=one.name, PolicyArn=policy["PolicyArn"])
    for name in iam.list_role_policies(RoleName=one.name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=one.name, PolicyName=name)
    iam.delete_role(RoleName=one.name)
    return ""


def _logging_stages(found: Belongings) -> Iterator[str]:
    """Stages of this region's other APIs that write logs, and so need the account's role."""
    own = {one.name for one in found.seen if one.kind == "AWS::ApiGateway::RestApi"}
    gateway = boto3.client("apigateway", config=CLIENT_CONFIG)
    for page in gateway.get_paginator("get_rest_apis").paginate():
        for api in page["items"]:
            for stage in gateway.get_stages(restApiId=api["id"])["item"] if api["id"] not in own else ():
                levels = {settings.get("loggingLevel", "OFF") for settings in stage.get("methodSettings", {}).values()}
                if stage.get("accessLogSettings", {}).get("destinationArn") or levels - {"OFF"}:
                    yield f"stage {stage['stageName']} of {api['name']}"
    web_sockets = boto3.client("apigatewayv2", config=CLIENT_CONFIG)
    for page in web_sockets.get_paginator("get_apis").paginate():
        for api in page["Items"]:
            if api["ProtocolType"] == "WEBSOCKET":  # HTTP APIs log without it
                yield f"the WebSocket API {api['Name']}, perhaps,"


def _remove_log_group(one: Resource, found: Belongings, say: Say) -> str:
    boto3.client("logs", config=CLIENT_CONFIG).delete_log_group(logGroupName=one.name)
    return ""


def _remove_api_key(one: Resource, found: Belongings, say: Say) -> str:
    boto3.client("apigateway", config=CLIENT_CONFIG).delete_api_key(apiKey=one.name)
    return ""


def _remove_secret(one: Resource, found: Belongings, say: Say) -> str:
    """At once: it holds the value of a key that is deleted, and its name is free again for a next stack."""
    boto3.client("secretsmanager", config=CLIENT_CONFIG).delete_secret(
        SecretId=one.name, ForceDeleteWithoutRecovery=True
    )
    return ""


def _s3() -> S3Client:
    return boto3.client("s3", config=CLIENT_CONFIG)


def _dynamodb() -> DynamoDBClient:
    return boto3.client("dynamodb", config=CLIENT_CONFIG)
