"""`petdetect key` on moto: whose a key is, that no crash lets it see more, and that what is revoked opens nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from click.testing import Result

from ops import key_command, keys
from ops.environment import Deployment
from ops.keys import Key
from pet_detector.aws import api_clients, detection_logs, erased_records, listing
from pet_detector.aws.api_clients import ApiClient
from pet_detector.aws.clients import client
from pet_detector.rules.errors import RequestError, ServiceError
from tests.support.moto_world import TABLE, Cloud, refusal

STACK = "serverlessapp-pet-detector-dev"
OF_TEMPLATE = "client"  # the name of the key that template.yaml makes

Petdetect = Callable[..., Result]


@pytest.fixture(autouse=True)
def gateway(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Any:
    """API Gateway with the template's plans and key; `petdetect` and the test share its client."""
    # moto asks for it at its import, and needs it only to import OpenAPI documents.
    validator = SimpleNamespace(validate=None, OpenAPIValidationError=None)
    for module in ("", ".validation", ".validation.exceptions"):
        monkeypatch.setitem(sys.modules, f"openapi_spec_validator{module}", validator)
    made: Any = boto3.client("apigateway")
    secrets: Any = boto3.client("secretsmanager")
    monkeypatch.setattr(keys, "_gateway", lambda: made)
    monkeypatch.setattr(keys, "_secrets", lambda: secrets)
    plans = {name: made.create_usage_plan(name=f"{STACK}-{name}")["id"] for name in (keys.CLIENTS, keys.OPERATORS)}
    made.create_usage_plan(name="of another application")
    made.create_api_key(name="of another application", enabled=True)
    key = made.create_api_key(name=f"{STACK}-{OF_TEMPLATE}", enabled=True)["id"]
    made.create_usage_plan_key(usagePlanId=plans[keys.CLIENTS], keyId=key, keyType="API_KEY")
    return made


def secret_of(name: str) -> str | None:
    """The value in Secrets Manager."""
    try:
        return str(keys._secrets().get_secret_value(SecretId=f"{STACK}/api-keys/{name}")["SecretString"])
    except keys._secrets().exceptions.ResourceNotFoundException:
        return None


def value_of(gateway: Any, key: Key) -> str:
    return str(gateway.get_api_key(apiKey=key.key_id, includeValue=True)["value"])


def named(deployment: Deployment, name: str) -> list[Key]:
    """The keys of this name, the oldest first (moto's times are in whole seconds)."""
    return [key for key in keys.all_keys(deployment) if key.name == name]


def one(deployment: Deployment, name: str, state: str = "valid") -> Key:
    (key,) = [key for key in named(deployment, name) if key.state == state]
    return key


@pytest.mark.parametrize(
    ("options", "plan", "sees_all"), [([], keys.CLIENTS, False), (["--operator"], keys.OPERATORS, True)]
)
def test_a_new_key_is_its_own_owner_in_its_plan_and_its_value_is_a_secret(
    petdetect: Petdetect, deployment: Deployment, gateway: Any, options: list[str], plan: str, sees_all: bool
) -> None:
    answer = petdetect("key", "create", "web", *options)

    key = one(deployment, "web")
    value = value_of(gateway, key)
    assert answer.exit_code == 0, answer.stderr
    assert (key.plan, api_clients.of_key(TABLE, key.key_id)) == (plan, ApiClient(key.key_id, sees_all))
    assert secret_of("web") == value
    assert value not in answer.stdout
    assert f"aws secretsmanager get-secret-value --secret-id {STACK}/api-keys/web" in answer.stdout


def test_the_value_is_printed_only_for_those_who_ask(
    petdetect: Petdetect, deployment: Deployment, gateway: Any
) -> None:
    shown = petdetect("key", "create", "web", "--show")
    hidden = petdetect("key", "rotate", "web", "--json")
    listed = petdetect("key", "list", "--json")

    values = {value_of(gateway, key) for key in named(deployment, "web")}
    assert len(values) == 2
    assert any(value in shown.stdout for value in values)
    assert not any(value in answer.stdout for value in values for answer in (hidden, listed))
    assert not any(value in answer.stderr for value in values for answer in (shown, hidden, listed))


STEPS = [
    ("dynamodb", "PutItem"),
    ("apigateway", "CreateUsagePlanKey"),
    ("apigateway", "GetApiKey"),
    ("secretsmanager", "CreateSecret"),
    ("dynamodb", "UpdateItem"),
]


def failing(service: str) -> Any:
    """The client that `petdetect` uses for a service."""
    own = {"apigateway": keys._gateway, "secretsmanager": keys._secrets}
    return own[service]() if service in own else client("dynamodb")


@pytest.mark.parametrize(("service", "operation"), STEPS)
@pytest.mark.parametrize("options", [[], ["--operator"]])
def test_a_key_that_is_half_made_sees_no_more_and_the_same_command_finishes_it(
    petdetect: Petdetect, deployment: Deployment, options: list[str], service: str, operation: str
) -> None:
    with refusal(failing(service), operation, "InternalFailure", 500):
        assert petdetect("key", "create", "web", *options).exit_code == 1
    half = one(deployment, "web", "unfinished")
    assert half.plan in (None, keys.OPERATORS if options else keys.CLIENTS)
    assert half.plan is None or half.client.sees_all is bool(options)  # the table knows it before the plan does
    assert "run the command that made it again" in petdetect("key", "list").stdout

    # And somebody else may want less of it than the first one did.
    less = petdetect("key", "create", "web")
    if half.plan == keys.OPERATORS:
        assert f"was begun for operators: finish it as that, or petdetect key revoke {half.key_id}" in less.stderr
        assert one(deployment, "web", "unfinished").client.sees_all is True
        assert petdetect("key", "create", "web", *options).exit_code == 0
    assert one(deployment, "web").client.sees_all is (half.plan == keys.OPERATORS)
    assert len(named(deployment, "web")) == 1


def test_a_value_that_can_be_fetched_belongs_to_a_key_that_is_in_its_plan(
    petdetect: Petdetect, deployment: Deployment
) -> None:
    """Else a client that fetches it in between is refused."""
    petdetect("key", "create", "web")
    first = secret_of("web")
    with refusal(keys._gateway(), "CreateUsagePlanKey", "InternalFailure", 500):
        petdetect("key", "rotate", "web")
    assert secret_of("web") == first


def crash(*_: object) -> None:
    raise ServiceError("crashed")


def test_a_rotation_that_is_repeated_keeps_the_old_value_as_the_previous_one(
    petdetect: Petdetect, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    petdetect("key", "create", "web")
    first = secret_of("web")
    finish = api_clients.finish
    monkeypatch.setattr(api_clients, "finish", crash)
    assert petdetect("key", "rotate", "web").exit_code == 1
    monkeypatch.setattr(api_clients, "finish", finish)
    assert petdetect("key", "rotate", "web").exit_code == 0
    previous = keys._secrets().get_secret_value(SecretId=f"{STACK}/api-keys/web", VersionStage="AWSPREVIOUS")
    assert previous["SecretString"] == first


def test_a_secret_that_is_being_deleted_is_explained(petdetect: Petdetect, deployment: Deployment) -> None:
    petdetect("key", "create", "web")
    keys._secrets().delete_secret(SecretId=f"{STACK}/api-keys/web", RecoveryWindowInDays=7)
    with refusal(keys._secrets(), "PutSecretValue", "InvalidRequestException"):
        answer = petdetect("key", "rotate", "web")
    assert answer.exit_code == 1
    assert f"aws secretsmanager restore-secret --secret-id {STACK}/api-keys/web" in answer.stderr
    keys._secrets().restore_secret(SecretId=f"{STACK}/api-keys/web")
    assert petdetect("key", "rotate", "web").exit_code == 0


@pytest.mark.parametrize(("service", "operation"), [*STEPS[:3], ("secretsmanager", "PutSecretValue"), STEPS[4]])
def test_a_rotation_that_crashed_goes_on_with_the_same_key(
    petdetect: Petdetect, deployment: Deployment, service: str, operation: str
) -> None:
    petdetect("key", "create", "web")
    old = one(deployment, "web")
    with refusal(failing(service), operation, "InternalFailure", 500):
        assert petdetect("key", "rotate", "web").exit_code == 1
    assert one(deployment, "web").key_id == old.key_id

    assert petdetect("key", "rotate", "web").exit_code == 0
    assert {key.client.owner for key in named(deployment, "web")} == {old.key_id}
    assert [key.state for key in named(deployment, "web")] == ["valid", "valid"]


@pytest.mark.parametrize("name", [OF_TEMPLATE, "web", "boss"])
def test_a_rotated_key_sees_what_the_old_one_saw_and_both_work_until_it_is_revoked(
    petdetect: Petdetect, deployment: Deployment, gateway: Any, name: str
) -> None:
    petdetect("key", "create", "web")
    petdetect("key", "create", "boss", "--operator")
    old = one(deployment, name)

    answer = petdetect("key", "rotate", name, "--overlap-days", "3")

    (new,) = (key for key in named(deployment, name) if key.key_id != old.key_id)
    by = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}"
    assert answer.exit_code == 0, answer.stderr
    assert new.client == old.client == ApiClient(old.key_id, name == "boss")
    assert (new.plan, new.state) == (old.plan, "valid")
    assert api_clients.of_key(TABLE, new.key_id) == api_clients.of_key(TABLE, old.key_id)
    assert secret_of(name) == value_of(gateway, new)
    assert f"revoke it, by {by}: petdetect key revoke {old.key_id}" in answer.stdout
    assert f"replaced: revoke it by {by}" in petdetect("key", "list").stdout

    again = petdetect("key", "rotate", name)
    assert (again.exit_code, len(named(deployment, name))) == (1, 2)
    assert f"was rotated already: first petdetect key revoke {old.key_id}" in again.stderr

    assert petdetect("key", "revoke", old.key_id, "--yes").exit_code == 0
    assert one(deployment, name).key_id == new.key_id
    assert secret_of(name) == value_of(gateway, new)


def test_a_revoked_key_is_refused_by_the_functions_and_by_the_gateway_and_its_value_is_gone(
    petdetect: Petdetect, deployment: Deployment, gateway: Any
) -> None:
    petdetect("key", "create", "web")
    key = one(deployment, "web")

    answer = petdetect("key", "revoke", "web", typed="y\n")

    assert answer.exit_code == 0, answer.stderr
    assert "upload forms for 5 minutes, links to pictures for 5 minutes" in answer.stdout
    with pytest.raises(RequestError) as refused:
        api_clients.of_key(TABLE, key.key_id)
    assert (refused.value.status, refused.value.code) == (403, "INVALID_API_KEY")
    assert one(deployment, "web", "revoked").enabled is False
    assert secret_of("web") is None
    assert petdetect("key", "revoke", "web", "--yes").exit_code == 1


def test_a_revocation_that_crashed_refuses_the_key_already_and_can_be_finished(
    petdetect: Petdetect, deployment: Deployment
) -> None:
    petdetect("key", "create", "web")
    key = one(deployment, "web")
    with refusal(keys._gateway(), "UpdateApiKey", "InternalFailure", 500):
        assert petdetect("key", "revoke", "web", "--yes").exit_code == 1
    with pytest.raises(RequestError):
        api_clients.of_key(TABLE, key.key_id)
    assert "still enabled: revoke it again" in petdetect("key", "list").stdout

    assert petdetect("key", "revoke", "web", "--yes").exit_code == 0
    assert one(deployment, "web", "revoked").enabled is False


def test_the_client_of_a_revoked_key_comes_back_to_its_images(petdetect: Petdetect, deployment: Deployment) -> None:
    petdetect("key", "revoke", OF_TEMPLATE, "--yes")
    (old,) = named(deployment, OF_TEMPLATE)

    assert petdetect("key", "rotate", OF_TEMPLATE).exit_code == 0
    new = one(deployment, OF_TEMPLATE)
    assert (new.key_id != old.key_id, new.client.owner) == (True, old.key_id)


def test_nobody_but_the_person_asked_revokes_a_key(petdetect: Petdetect, deployment: Deployment) -> None:
    assert petdetect("key", "revoke", OF_TEMPLATE, typed="n\n").exit_code == 1
    assert petdetect("key", "revoke", OF_TEMPLATE, "--json").exit_code == 2
    assert one(deployment, OF_TEMPLATE).enabled is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", OF_TEMPLATE], "petdetect key rotate client makes another one"),
        (["rotate", "nobody"], "There is no key nobody"),
        (["revoke", "nobody", "--yes"], "There is no key nobody to revoke"),
        (["create", "a/b"], "is not a name"),
    ],
)
def test_a_wrong_name_is_answered_with_what_to_do(petdetect: Petdetect, arguments: list[str], message: str) -> None:
    answer = petdetect("key", *arguments)
    assert answer.exit_code in (1, 2)
    assert message in answer.stderr


def test_an_older_deployment_without_plans_is_named(petdetect: Petdetect, gateway: Any) -> None:
    for plan in gateway.get_usage_plans()["items"]:
        if plan["name"].endswith(keys.OPERATORS):
            gateway.delete_usage_plan(usagePlanId=plan["id"])
    assert "deploy this version of the application" in petdetect("key", "list").stderr


def test_the_list_has_only_the_keys_of_this_stack(petdetect: Petdetect) -> None:
    document = json.loads(petdetect("key", "list", "--json").stdout)
    assert [key["name"] for key in document["keys"]] == [OF_TEMPLATE]


@pytest.mark.parametrize(("days", "advice"), [(29, "rotate it by "), (31, "rotate it now")])
def test_a_key_is_to_be_rotated_when_it_is_30_days_old(days: int, advice: str) -> None:
    made = datetime.now(UTC) - timedelta(days=days)
    key = Key("id", "web", made, True, keys.CLIENTS, ApiClient("id"), None, None)
    assert key_command.advice(key).startswith(advice)


def test_what_a_person_disabled_elsewhere_is_not_taken_for_half_made(
    petdetect: Petdetect, deployment: Deployment, gateway: Any
) -> None:
    key = one(deployment, OF_TEMPLATE)
    gateway.update_api_key(apiKey=key.key_id, patchOperations=[{"op": "replace", "path": "/enabled", "value": "false"}])
    assert one(deployment, OF_TEMPLATE, "disabled").key_id == key.key_id
    assert petdetect("key", "create", OF_TEMPLATE).exit_code == 1


def test_images_from_before_keys_had_owners_come_into_the_lists_of_their_clients(
    aws: Cloud, petdetect: Petdetect
) -> None:
    for digit, owner_shard in (("1", None), ("2", "s3#2"), ("3", "key-of-a#3")):
        time = f"2026-11-21T09:30:00.00{digit}Z"
        aws.write(digit * 32, ProcessingStatus="completed", UploadedBy="key-of-a", ListedAt=f"{time}#{digit * 32}")
        change = "SET OwnerShard = :o" if owner_shard else "REMOVE OwnerShard"
        values: Any = {"ExpressionAttributeValues": {":o": {"S": owner_shard}}} if owner_shard else {}
        aws.dynamodb.update_item(TableName=TABLE, Key={"ImageID": {"S": digit * 32}}, UpdateExpression=change, **values)
    aws.withhold("ImageUncertain", 1)

    for _ in range(2):
        assert petdetect("key", "index-old", "--dry-run").stdout == "2 records would be changed.\n"
    assert json.loads(petdetect("key", "index-old", "--dry-run", "--json").stdout) == {"would_change": 2}
    assert petdetect("key", "index-old").stdout == "2 records were changed.\n"
    found = listing.list_images(TABLE, listing.Query(owner="key-of-a"), 10).records
    assert [record["ImageID"][0] for record in found] == ["3", "2", "1"]
    assert json.loads(petdetect("key", "index-old", "--json").stdout) == {"changed": 0}


@pytest.mark.parametrize("hidden_meanwhile", [False, True])
def test_an_image_that_is_being_erased_does_not_come_back_into_a_list(
    aws: Cloud, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, hidden_meanwhile: bool
) -> None:
    """Its record is hidden before its objects go, and says whose it was until they are gone."""
    image_id, time = "1" * 32, "2026-11-21T09:30:00.001Z"
    aws.write(image_id, ProcessingStatus="completed", UploadedBy="key-of-a", ListedAt=f"{time}#{image_id}")
    aws.dynamodb.update_item(TableName=TABLE, Key={"ImageID": {"S": image_id}}, UpdateExpression="REMOVE OwnerShard")
    write = keys._write_owner_shard

    def hide() -> None:
        assert erased_records.hide(TABLE, image_id, detection_logs.find(TABLE, image_id))

    def write_later(table: str, item: dict[str, Any]) -> bool:
        hide()
        return write(table, item)

    if hidden_meanwhile:
        monkeypatch.setattr(keys, "_write_owner_shard", write_later)
    else:
        hide()
    assert keys.index_old(deployment) == 0
    assert not listing.list_images(TABLE, listing.Query(owner="key-of-a"), 10).records
