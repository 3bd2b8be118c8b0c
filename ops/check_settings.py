"""What is deployed, as AWS describes it: the definition, what starts it, the bucket, the numbers, keys and logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import boto3
from botocore.exceptions import ClientError

from ops import keys, releases
from ops.check_lines import Line, Subject, not_checked, not_ok, ok
from ops.environment import CLIENT_CONFIG
from ops.errors import OperatorError
from ops.keys import Key
from pet_detector.aws.clients import client
from pet_detector.rules.errors import PolicyInvalidError
from pet_detector.rules.policy import Policy

# S3 needs up to 15 minutes until the versioning of a new bucket is everywhere, and 5 for its events.
SETTLES = timedelta(minutes=15)
# The key that the template makes.
CLIENT_KEY = "client"
_STATEMENTS = ("TlsOnly", "Tls12AtLeast", "FormsAndLinksAreShort")
# What nobody does while one is off.
_SCHEDULES = {
    "ReconcileSchedule": ("schedule of the Reconciler", "lost uploads are not found"),
    "ReviewKeeperSchedule": (
        "schedule of ReviewKeeper",
        "verdicts that failed are not carried out, and no digest is sent",
    ),
}
_MAPPINGS = {
    "RecordChangedMapping": ("MetricsPublisher", "there are no business metrics"),
    "RecordFinishedMapping": ("ReviewQueue", "new images wait for a review only after the next run of ReviewKeeper"),
}


def stack(subject: Subject) -> Iterator[Line]:
    """Whether the last change of the stack came to its end."""
    status = releases.stack_status(subject.deployment)
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"):
        yield ok("stack", f"{status}: roles, logs and alarms were made in an order that AWS takes")
    elif status == "UPDATE_ROLLBACK_COMPLETE":  # the deployment was red; what is there now is whole
        yield ok(
            "stack",
            f"{status}: the last deployment was taken back, and all is as before it. Its first event with FAILED has "
            f"the cause: aws cloudformation describe-stack-events --stack-name {subject.deployment.stack}",
        )
    elif status.endswith("IN_PROGRESS"):
        yield not_checked("stack", f"{status}: what is below may change. Check again when the deployment has ended.")
    else:
        yield not_ok(
            "stack",
            f"{status}: the last deployment did not end well. The first event with FAILED has the cause: aws "
            f"cloudformation describe-stack-events --stack-name {subject.deployment.stack}",
        )


def refuse_unknown_version(subject: Subject) -> None:
    """Raise OperatorError when the workflow has no such version."""
    states = client("stepfunctions")
    try:
        states.describe_state_machine(stateMachineArn=subject.machine_arn)
    except states.exceptions.StateMachineDoesNotExist:
        versions = releases.machine_versions(subject.deployment.workflow_arn)
        numbers = [str(releases.number_of(arn)) for arn, _ in versions]
        raise OperatorError(
            f"The workflow has no version {subject.version}: it has {', '.join(numbers) or 'none'}."
        ) from None


def definitions(subject: Subject) -> Iterator[Line]:
    """Whether Step Functions accepts the definitions that are deployed, with their substitutions."""
    for name, arn, file in (
        ("definition", subject.machine_arn, "image_workflow"),
        ("definition of reviews", subject.deployment.output("ReviewWorkflowArn"), "review"),
    ):
        if subject.is_local:
            yield not_checked(name, "The local AWS accepts every definition; make test reads it with two linters.")
            continue
        states = client("stepfunctions")
        text = states.describe_state_machine(stateMachineArn=arn)["definition"]
        answer = states.validate_state_machine_definition(definition=text, type="STANDARD", severity="ERROR")
        errors = [found for found in answer["diagnostics"] if found["severity"] == "ERROR"]
        if answer["result"] == "OK" and not errors:
            yield ok(name, "validate-state-machine-definition finds no error, also not in expressions of several lines")
            continue
        told = "; ".join(f"{found.get('location', '?')}: {found['code']} {found['message']}" for found in errors[:3])
        yield not_ok(name, f"Step Functions does not accept it: {told}. Mend statemachine/{file}.asl.yaml, deploy.")


def alias(subject: Subject) -> Iterator[Line]:
    """Whether `live` is wholly on one version. An older one is what somebody, or an alarm, went back to."""
    name = "alias live"
    live = releases.live(subject.deployment)
    told = ", ".join(f"{share} % on version {version}" for version, share in sorted(live.shares.items()))
    if subject.version not in (None, "live"):
        yield ok(name, told)
    elif live.is_split:
        yield not_ok(name, f"A shift is going on, or was left: {told}. Wait for its end, or petdetect rollback.")
    elif not live.is_newest:
        yield ok(
            name, f"{told}; {live.newest}, the newest, was rolled back. Deploy a mended version when there is one."
        )
    else:
        yield ok(name, told)


def function_aliases(subject: Subject) -> Iterator[Line]:
    """The same of the functions' aliases."""
    name = "aliases of functions"
    arns = [physical for physical in subject.of_type("AWS::Lambda::Alias").values() if physical.endswith(":live")]
    shifting, older = [], []
    for arn in sorted(arns):
        function = arn.rpartition(":")[0].rpartition(":")[2]
        shares = releases.function_shares(releases.alias_of_function(function))
        newest = releases.function_versions(function)[0].number
        if len(shares) > 1:
            shifting.append(f"{function} is shifting")
        elif newest not in shares:
            older.append(f"{function} is on {next(iter(shares))} of {newest}, to which it was sent back")
    if shifting and subject.version in (None, "live"):
        yield not_ok(name, f"{'; '.join(shifting)}: wait for the shift's end, or petdetect rollback --function NAME.")
    else:
        yield ok(name, "; ".join(shifting + older) or f"{len(arns)}, each wholly on its newest version")


def rules(subject: Subject) -> Iterator[Line]:
    """Whether each rule of EventBridge is on and delivers to what is deployed."""
    events = boto3.client("events", config=CLIENT_CONFIG)
    for logical_id, rule in sorted(subject.of_type("AWS::Events::Rule").items()):
        name, short = f"rule {logical_id}", rule.rpartition("|")[2]
        if events.describe_rule(Name=short)["State"] != "ENABLED":
            yield not_ok(name, f"It is disabled, so nothing happens: aws events enable-rule --name {short}")
            continue
        targets = [target["Arn"] for target in events.list_targets_by_rule(Rule=short)["Targets"]]
        if not targets:
            yield not_ok(name, "It has no target: sam deploy gives it back, once the rule has any other change.")
        elif logical_id == "ImageUploadedRule" and targets != [subject.deployment.live_arn]:
            yield not_ok(
                name,
                f"It starts {', '.join(targets)}, and not {subject.deployment.live_arn}: uploads run no release. "
                "Set the target back, or delete the rule's target and deploy.",
            )
        else:
            yield ok(name, f"on, to {', '.join(target.split(':', 5)[5] for target in targets)}")


def schedules(subject: Subject) -> Iterator[Line]:
    """Whether what the schedules run is run."""
    scheduler = boto3.client("scheduler", config=CLIENT_CONFIG)
    for logical_id, (name, loss) in _SCHEDULES.items():
        short = subject.named(logical_id).rpartition("/")[2]
        yield (
            ok(name, "on")
            if scheduler.get_schedule(Name=short)["State"] == "ENABLED"
            else not_ok(name, f"It is disabled: {loss}. Enable the schedule {short} in the console of EventBridge.")
        )


def mappings(subject: Subject) -> Iterator[Line]:
    """Whether changes of records reach the functions that read the stream."""
    functions = boto3.client("lambda", config=CLIENT_CONFIG)
    for logical_id, (function, loss) in _MAPPINGS.items():
        name, uuid = f"stream to {function}", subject.named(logical_id)
        found = functions.get_event_source_mapping(UUID=uuid)
        state, last = found["State"], found.get("LastProcessingResult") or ""
        if state != "Enabled":
            yield not_ok(name, f"It is {state}: {loss}. aws lambda update-event-source-mapping --uuid {uuid} --enabled")
        elif last.startswith("PROBLEM"):
            yield not_ok(name, f"Lambda says {last}: see docs/operations.md#dead-letters and the log of {function}.")
        else:
            yield ok(name, last or "on")


def bucket(subject: Subject) -> Iterator[Line]:
    """How the bucket is set, and whether S3 has had the time to spread it."""
    s3, own = client("s3"), subject.deployment.bucket
    wrong = []
    if s3.get_bucket_versioning(Bucket=own).get("Status") != "Enabled":
        wrong.append("versioning is off, so an upload can destroy another")
    if "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket=own):
        wrong.append("it sends no events to EventBridge, so uploads start nothing")
    encryption = s3.get_bucket_encryption(Bucket=own)["ServerSideEncryptionConfiguration"]["Rules"][0]
    wanted = "aws:kms" if subject.deployment.parameter("DataKey") == "customer" else "AES256"
    kind = encryption.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "none")
    if kind != wanted:
        wrong.append(f"its default encryption is {kind} and not {wanted}")
    if not all(s3.get_public_access_block(Bucket=own)["PublicAccessBlockConfiguration"].values()):
        wrong.append("its public access is not blocked")
    statements = json.loads(s3.get_bucket_policy(Bucket=own)["Policy"])["Statement"]
    missing = [sid for sid in _STATEMENTS if sid not in {statement.get("Sid") for statement in statements}]
    if missing:
        wrong.append(f"its policy lacks {', '.join(missing)}")
    yield (
        not_ok("bucket", f"{'; '.join(wrong)}. Set it back as template.yaml has it (ImageBucket, ImageBucketPolicy).")
        if wrong
        else ok("bucket", "versioning, events, encryption, no public access, TLS 1.2 at least")
    )


def age_of_bucket(subject: Subject) -> Iterator[Line]:
    """A new bucket's versioning and events are not everywhere at once."""
    name, own = "age of the bucket", subject.deployment.bucket
    if subject.is_local:
        yield not_checked(name, "The local AWS needs no time for a new bucket.")
        return
    created = _created(own)
    if created is None:
        yield not_checked(name, f"S3 does not list {own} among the buckets of these credentials.")
    elif (settled := created + SETTLES) > datetime.now(UTC):
        yield not_checked(
            name,
            f"It was made at {created:%H:%M} UTC: S3 takes 15 minutes to spread versioning and events. "
            f"If pictures fail, check again after {settled:%H:%M} UTC.",
        )
    else:
        yield ok(name, f"made on {created:%Y-%m-%d}")


def is_new(subject: Subject) -> bool:
    """Whether the bucket is so young that S3 may keep an upload's event to itself; False when nobody says."""
    if subject.is_local:
        return False
    try:
        created = _created(subject.deployment.bucket)
    except ClientError:  # the line age of the bucket tells
        return False
    return created is not None and created + SETTLES > datetime.now(UTC)


def _created(bucket: str) -> datetime | None:
    """When a bucket was made, as far as S3 lists it."""
    pages = client("s3").get_paginator("list_buckets").paginate(Prefix=bucket)
    found = (one["CreationDate"] for page in pages for one in page["Buckets"] if one["Name"] == bucket)
    created = next(found, None)
    return created.astimezone(UTC) if created else None


def policy(subject: Subject) -> Iterator[Line]:
    """Whether the functions can use the numbers of the decision: by their own parser."""
    name, parameter = "detection policy", subject.deployment.output("PolicyParameterName")
    ssm = client("ssm")
    try:
        found = Policy.from_json(ssm.get_parameter(Name=parameter)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        yield not_ok(name, f"The parameter {parameter} is gone, so every image fails: deploy again to have it back.")
        return
    except PolicyInvalidError as error:
        yield not_ok(
            name,
            f"{parameter}: {error} Every image fails with PolicyInvalidError until it is mended "
            "(docs/operations.md#policyinvaliderror).",
        )
        return
    numbers = f"minimum {found.minimum:g}, margin {found.margin:g}, floor {found.floor:g}, evidence {found.evidence:g}"
    yield ok(name, numbers)


def working_key(subject: Subject) -> Key | None:
    """The newest API key of the template's client that opens the API; None when there is none."""
    found = (key for key in keys.all_keys(subject.deployment) if key.name == CLIENT_KEY and key.state == "valid")
    return next(found, None)


def api_key(subject: Subject) -> Iterator[Line]:
    """Whether a client has a key that opens anything."""
    name = "API key"
    key = working_key(subject)
    if key:
        yield ok(name, f"{key.key_id} is enabled, in the plan of {key.plan}")
        return
    found = [key for key in keys.all_keys(subject.deployment) if key.name == CLIENT_KEY]
    told = ", ".join(f"{key.key_id} is {key.state}" for key in found) or "there is none"
    yield not_ok(
        name,
        f"No key of {CLIENT_KEY} opens the API: {told}. petdetect key rotate {CLIENT_KEY} makes one "
        "(docs/operations.md#rotate-keys-every-30-days).",
    )


def log_groups(subject: Subject) -> Iterator[Line]:
    """Whether logs are kept as long as the parameter says, and API Gateway may write its own."""
    logs, wanted, wrong = (
        boto3.client("logs", config=CLIENT_CONFIG),
        subject.deployment.parameter("LogRetentionDays"),
        [],
    )
    for logical_id, group in sorted(subject.of_type("AWS::Logs::LogGroup").items()):
        found = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        days = next(
            (str(one.get("retentionInDays", "for ever")) for one in found if one["logGroupName"] == group), None
        )
        if days is None:
            wrong.append(f"{logical_id} ({group}) is gone")
        elif days != wanted:
            wrong.append(f"{logical_id} keeps logs {days} days: aws logs put-retention-policy --log-group-name {group} "
                         f"--retention-in-days {wanted}")  # fmt: skip
    yield not_ok("logs", "; ".join(wrong)) if wrong else ok("logs", f"kept {wanted} days")


def gateway_role(subject: Subject) -> Iterator[Line]:
    """Whether API Gateway has the role by which it writes access logs: one for the account and region."""
    name = "log role of API Gateway"
    if subject.is_local:
        yield not_checked(name, "The local AWS has no account settings for API Gateway.")
        return
    arn = boto3.client("apigateway", config=CLIENT_CONFIG).get_account().get("cloudwatchRoleArn")
    if not arn:
        yield not_ok(
            name, "The account has none, so there are no access logs: deploy with ManageApiGatewayLogRole=true."
        )
        return
    role = arn.rpartition("/")[2]
    iam = boto3.client("iam", config=CLIENT_CONFIG)
    try:
        iam.get_role(RoleName=role)
    except iam.exceptions.NoSuchEntityException:
        yield not_ok(
            name, f"The account names {role}, which is gone: deploy with ManageApiGatewayLogRole=true, or set another."
        )
        return
    own = subject.resources.get("ApiGatewayLogRole")
    yield ok(name, role if own and own.physical_id == role else f"{role}, of another stack")
