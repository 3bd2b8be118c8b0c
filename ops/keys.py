"""API keys: made, listed, rotated and revoked. A key lives in three places, written so that nobody ever sees more.

    API Gateway       the key, named `<stack>-<name>`, in the usage plan of clients or of operators
    DetectionLogs     whose key it is, and what it may see (`api_clients`)
    Secrets Manager   its value, for whoever installs it: `<stack>/api-keys/<name>`

Of a new key the table knows first whose it is, and the secret holds its value last: whoever fetches the value can use
it, when API Gateway has spread the plan's new member. Until then nobody has the value, and after a crash the same
command finishes the key: the table says that it is half made. A key is revoked in the table first, where every request
looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from ops.environment import CLIENT_CONFIG, Deployment
from ops.errors import OperatorError
from pet_detector.aws import api_clients
from pet_detector.aws.api_clients import ApiClient
from pet_detector.aws.clients import client
from pet_detector.aws.detection_logs import format_time
from pet_detector.aws.errors import code_of, refused_item
from pet_detector.rules.image_ids import shard_of
from pet_detector.rules.models import ERASED

if TYPE_CHECKING:
    from mypy_boto3_apigateway import APIGatewayClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

# A key is to be replaced when it is as old as that.
ROTATION_DAYS = 30
_WRITERS = 10  # of records at the same time; botocore keeps as many connections
CLIENTS, OPERATORS = "clients", "operators"  # the usage plans, as template.yaml names them


@dataclass(frozen=True)
class Key:
    """An API key. Without a `plan` it opens nothing. `client`: whose it is, what it may see.

    `is_half_made`: its value is not in the secret yet.
    """

    key_id: str
    name: str
    created: datetime
    enabled: bool
    plan: str | None
    client: ApiClient
    revoke_by: str | None
    revoked_at: str | None
    is_half_made: bool = False

    @property
    def state(self) -> str:
        """valid, revoked, disabled (by a person, elsewhere) or unfinished."""
        if self.revoked_at:
            return "revoked"
        if not self.enabled:
            return "disabled"
        return "valid" if self.plan and not self.is_half_made else "unfinished"

    @property
    def rotate_by(self) -> datetime:
        """When it should be replaced."""
        return self.created + timedelta(days=ROTATION_DAYS)


@dataclass(frozen=True)
class Made:
    """A new key, with its value; `replaces` is the key that is to be revoked by `replaces.revoke_by`."""

    key: Key
    value: str
    secret: str
    replaces: Key | None = None


def all_keys(deployment: Deployment) -> list[Key]:
    """The keys of a deployment, by name, the newest first."""
    prefix = f"{deployment.stack}-"
    plans = {
        member["id"]: name
        for name, plan_id in _plans(deployment).items()
        for page in _gateway().get_paginator("get_usage_plan_keys").paginate(usagePlanId=plan_id)
        for member in page["items"]
    }
    pages = _gateway().get_paginator("get_api_keys").paginate(nameQuery=prefix, includeValues=False)
    found = [entry for page in pages for entry in page["items"] if entry.get("name", "").startswith(prefix)]
    known = api_clients.known(deployment.table, [entry["id"] for entry in found])
    keys = [
        Key(
            entry["id"],
            entry["name"].removeprefix(prefix),
            entry["createdDate"].astimezone(UTC),
            str(entry.get("enabled", True)).lower() != "false",
            plans.get(entry["id"]),
            known[entry["id"]].client,
            known[entry["id"]].revoke_by,
            known[entry["id"]].revoked_at,
            known[entry["id"]].is_half_made,
        )
        for entry in found
    ]
    keys.sort(key=lambda key: key.created, reverse=True)
    return sorted(keys, key=lambda key: key.name)


def create(deployment: Deployment, name: str, *, operator: bool) -> Made:
    """A key for a new client, or what is missing of one that was begun. Raises OperatorError when the name is taken."""
    keys = _named(deployment, name)
    if any(key.state != "unfinished" for key in keys):
        raise OperatorError(
            f"There is a key {name} already: petdetect key rotate {name} makes another one for the same client. For "
            "another client choose another name."
        )
    key_id = keys[0].key_id if keys else _new_key(deployment, name)
    return _finish(deployment, key_id, name, ApiClient(key_id, operator))


def rotate(deployment: Deployment, name: str, overlap_days: int) -> Made:
    """A new key for the same client: it sees what the old one uploaded. The old one works until it is revoked.

    Raises OperatorError when there is no such key, or when two work already.
    """
    keys = _named(deployment, name)
    complete = [key for key in keys if key.state != "unfinished"]
    if not complete:
        raise OperatorError(f"There is no key {name}: petdetect key list shows them, petdetect key create makes one.")
    valid = [key for key in complete if key.state == "valid"]
    if len(valid) > 1:
        replaced = next((key for key in valid if key.revoke_by), valid[-1])
        raise OperatorError(f"{name} was rotated already: first petdetect key revoke {replaced.key_id}, the old key.")
    old = (valid or complete)[0]  # also of a revoked key: the client comes back to what it uploaded
    unfinished = [key for key in keys if key.state == "unfinished"]
    key_id = unfinished[0].key_id if unfinished else _new_key(deployment, name)
    if valid:  # before the new key works: a crash leaves the date, and the same command goes on
        by = format_time(datetime.now(UTC) + timedelta(days=overlap_days))
        api_clients.mark(deployment.table, old.key_id, name, "RevokeBy", by)
    made = _finish(deployment, key_id, name, old.client)
    replaced = next(key for key in _named(deployment, name) if key.key_id == old.key_id)
    return Made(made.key, made.value, made.secret, replaced if valid else None)


def revocable(deployment: Deployment, name_or_id: str) -> list[Key]:
    """The key of this id, else all keys of this name that are not revoked. Raises OperatorError if there is none."""
    keys = all_keys(deployment)
    found = [key for key in keys if key.key_id == name_or_id]
    # A revoked one that is enabled: a revocation that did not come to its end.
    found = found or [key for key in keys if key.name == name_or_id and (key.enabled or not key.revoked_at)]
    if not found:
        raise OperatorError(f"There is no key {name_or_id} to revoke: petdetect key list shows them.")
    return found


def revoke(deployment: Deployment, keys: Sequence[Key]) -> None:
    """Let these keys open nothing any more, from the next request on. What they were told before stays told."""
    for key in keys:
        api_clients.mark(deployment.table, key.key_id, key.name, "RevokedAt", format_time(datetime.now(UTC)))
        disable = [{"op": "replace", "path": "/enabled", "value": "false"}]
        _gateway().update_api_key(apiKey=key.key_id, patchOperations=disable)  # type: ignore[arg-type]
    for name in {key.name for key in keys}:
        if all(key.revoked_at for key in _named(deployment, name)):
            _forget_value(_secret(deployment, name))


def index_old(deployment: Deployment, *, dry_run: bool = False) -> int:
    """Give every record the OwnerShard that belongs to its UploadedBy -> how many had another one, or none.

    In a dry run they keep it.
    What is done stays done: when it is stopped, the next run skips it. Nothing reads a record in between as wrong.
    A record that is being erased is in no list any more, and stays out of them.
    """
    pages = (
        client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=deployment.table,
            FilterExpression="attribute_exists(UploadedBy) AND ProcessingStatus <> :erased",
            ExpressionAttributeValues={":erased": {"S": ERASED}},
            ProjectionExpression="ImageID, UploadedBy, OwnerShard",
        )
    )
    changed = 0
    with ThreadPoolExecutor(_WRITERS) as pool:
        for page in pages:
            wrong = [item for item in page["Items"] if item.get("OwnerShard") != _owner_shard(item)]
            write = partial(_write_owner_shard, deployment.table)
            changed += len(wrong) if dry_run else sum(pool.map(write, wrong))
    return changed


def _owner_shard(item: dict[str, Any]) -> Any:
    return {"S": f"{item['UploadedBy']['S']}#{shard_of(item['ImageID']['S'])}"}


def _write_owner_shard(table: str, item: dict[str, Any]) -> bool:
    """Whether the record was still there to be changed: it may have expired since, or be erased."""
    try:
        client("dynamodb").update_item(
            TableName=table,
            Key={"ImageID": item["ImageID"]},
            UpdateExpression="SET OwnerShard = :wanted",
            ConditionExpression="UploadedBy = :uploader AND ProcessingStatus <> :erased",
            ExpressionAttributeValues={
                ":wanted": _owner_shard(item),
                ":uploader": item["UploadedBy"],
                ":erased": {"S": ERASED},
            },
        )
    except ClientError as error:
        refused_item(error)
        return False
    return True


def _finish(deployment: Deployment, key_id: str, name: str, whose: ApiClient) -> Made:
    """Give a key that nobody has yet its owner, let it in, and keep its value."""
    plan = OPERATORS if whose.sees_all else CLIENTS
    joined = next(key.plan for key in _named(deployment, name) if key.key_id == key_id)
    if joined not in (None, plan):
        raise OperatorError(
            f"A key {name} was begun for {joined}: finish it as that, or petdetect key revoke {key_id} and choose "
            "another name."
        )
    api_clients.register(deployment.table, key_id, name, whose)
    if joined is None:
        _gateway().create_usage_plan_key(usagePlanId=_plans(deployment)[plan], keyId=key_id, keyType="API_KEY")
    secret = _secret(deployment, name)
    value = _gateway().get_api_key(apiKey=key_id, includeValue=True)["value"]
    _keep_value(secret, key_id, value, f"API key of {deployment.stack}, made by petdetect key")
    api_clients.finish(deployment.table, key_id)
    key = next(key for key in _named(deployment, name) if key.key_id == key_id)
    return Made(key, value, secret)


def _named(deployment: Deployment, name: str) -> list[Key]:
    return [key for key in all_keys(deployment) if key.name == name]


def _new_key(deployment: Deployment, name: str) -> str:
    made = _gateway().create_api_key(
        name=f"{deployment.stack}-{name}",
        enabled=True,
        description="Made by petdetect key; in no plan it opens nothing.",
    )
    return made["id"]


def _plans(deployment: Deployment) -> dict[str, str]:
    """Ids of the two usage plans, by what they are for. Raises OperatorError when one is missing."""
    pages = _gateway().get_paginator("get_usage_plans").paginate()
    ids = {plan["name"]: plan["id"] for page in pages for plan in page["items"]}
    wanted = {kind: f"{deployment.stack}-{kind}" for kind in (CLIENTS, OPERATORS)}
    if missing := [name for name in wanted.values() if name not in ids]:
        raise OperatorError(f"There is no usage plan {missing[0]}: deploy this version of the application.")
    return {kind: ids[name] for kind, name in wanted.items()}


def _secret(deployment: Deployment, name: str) -> str:
    return f"{deployment.stack}/api-keys/{name}"


def _keep_value(secret: str, key_id: str, value: str, description: str) -> None:
    """Make it the secret's current value; the one before stays as AWSPREVIOUS, however often this is called.

    Raises OperatorError when the secret is scheduled for deletion.
    """
    token = hashlib.sha256(key_id.encode()).hexdigest()  # names the version: the same again makes no second one
    try:
        try:
            _secrets().create_secret(Name=secret, SecretString=value, Description=description, ClientRequestToken=token)
        except ClientError as error:
            if code_of(error) != "ResourceExistsException":
                raise
            _secrets().put_secret_value(SecretId=secret, SecretString=value, ClientRequestToken=token)
    except ClientError as error:
        if code_of(error) != "InvalidRequestException":
            raise
        raise OperatorError(
            f"The secret {secret} is scheduled for deletion. aws secretsmanager restore-secret --secret-id {secret} "
            "brings it back; then run the same command again."
        ) from error


def _forget_value(secret: str) -> None:
    try:
        # At once: the name is free again, and the value opens nothing.
        _secrets().delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":  # the template's own key has none before its first rotation
            raise


def _gateway() -> APIGatewayClient:
    return boto3.client("apigateway", config=CLIENT_CONFIG)


def _secrets() -> SecretsManagerClient:
    return boto3.client("secretsmanager", config=CLIENT_CONFIG)
