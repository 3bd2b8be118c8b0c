"""People who sign in: who they are, what their groups let them do, and what of them is logged."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs
from pet_detector.rules.errors import RequestError
from pet_detector.rules.people import Group, Person
from tests.support.api_events import API_KEY_ID, EMAIL, ID_TOKEN, PERSON_ID, REQUEST_ID, body_of, refused, request
from tests.support.moto_world import BUCKET, IMAGE_ID, TABLE, Cloud

CLAIMS = {"sub": PERSON_ID, "email": EMAIL, "cognito:username": "a-username", "token_use": "id"}
OWNER = f"person#{PERSON_ID}"
SOMEBODY = "0b9c5a0e-0000-4000-8000-000000000000"
PICTURE = {"fileName": "tom.jpg", "contentType": "image/jpeg"}
RECORD = {
    "ProcessingStatus": "completed",
    "OriginalFilename": "tom.jpg",
    "DetectedAnimal": "cat",
    "S3Location": f"s3://{BUCKET}/cats/{IMAGE_ID}.jpg",
    "CreatedAt": "2026-01-01T00:00:00.000Z",
    "UpdatedAt": "2026-01-01T00:00:00.000Z",
}


def call(handler: str, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    answer: dict[str, Any] = importlib.import_module(f"{handler}.app").lambda_handler(event, context)
    return answer


# --- Rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "groups"),
    [
        ("uploader", "uploader"),
        ("uploader,reviewer", "reviewer uploader"),
        ("[uploader reviewer]", "reviewer uploader"),
        ("[operator]", "operator"),
        ("uploader, operator", "operator uploader"),
        (["reviewer"], "reviewer"),
        ("us-east-1_pool_Google,operators,uploaderr", ""),
        ("", ""),
        ("[]", ""),
        (None, ""),
    ],
    ids=str,
)
def test_groups_are_read_in_every_form_that_the_gateway_writes(claim: object, groups: str) -> None:
    if isinstance(claim, list):
        claim = "[" + " ".join(claim) + "]"
    assert Person.of_claims(CLAIMS | {"cognito:groups": claim}).groups == set(groups.split())


def test_a_person_is_known_by_an_id_that_stays_and_a_name_that_others_read() -> None:
    person = Person.of_claims(CLAIMS)
    assert (person.id, person.name, person.owner) == (PERSON_ID, EMAIL, OWNER)
    assert Person.of_claims({"sub": PERSON_ID, "cognito:username": "ada"}).name == "ada"
    assert Person.of_claims({"sub": PERSON_ID}).name == PERSON_ID


@pytest.mark.parametrize("claims", [{}, {"email": EMAIL}, {"sub": ""}, CLAIMS | {"token_use": "access"}], ids=str)
def test_claims_of_no_id_token_are_nobody(claims: dict[str, str]) -> None:
    with pytest.raises(RequestError) as raised:
        Person.of_claims(claims)
    assert (raised.value.status, raised.value.code) == (401, "UNAUTHORIZED")


MAY = ("may_upload", "sees_all", "may_review", "may_set_policy")


@pytest.mark.parametrize(
    ("groups", "may"),
    [
        ([], []),
        (["uploader"], ["may_upload"]),
        (["reviewer"], ["sees_all", "may_review"]),
        (["uploader", "reviewer"], ["may_upload", "sees_all", "may_review"]),
        (["operator"], list(MAY)),
    ],
    ids=str,
)
def test_groups_add_up_and_an_operator_may_do_everything(groups: list[Group], may: list[str]) -> None:
    person = Person(PERSON_ID, EMAIL, frozenset(map(Group, groups)))
    assert [name for name in MAY if getattr(person, name)] == may


def test_the_refusal_says_which_group_it_takes() -> None:
    person = Person(PERSON_ID, EMAIL, frozenset([Group.UPLOADER]))
    person.needs(Group.UPLOADER, Group.REVIEWER)
    with pytest.raises(RequestError, match="takes the group reviewer or operator: ask") as raised:
        person.needs(Group.REVIEWER)
    assert (raised.value.status, raised.value.code) == (403, "NOT_ALLOWED")
    with pytest.raises(RequestError, match="takes the group operator: ask"):
        person.needs(Group.OPERATOR)


# --- The same handlers for people and machines ------------------------------------------------------------------------

# Which groups get past the door of which path, with a picture of somebody else's there.
PATHS: list[tuple[str, str, str, dict[str, int]]] = [
    ("upload_api", "POST", "/people/upload", {"uploader": 201, "reviewer": 403, "operator": 201}),
    ("images_api", "GET", "/people/images", {"uploader": 200, "reviewer": 200, "operator": 200}),
    ("images_api", "GET", f"/people/images/{IMAGE_ID}", {"uploader": 404, "reviewer": 200, "operator": 200}),
    ("erasure_api", "DELETE", f"/people/images/{IMAGE_ID}", {"uploader": 404, "reviewer": 403, "operator": 200}),
]


@pytest.mark.parametrize("group", ["uploader", "reviewer", "operator", None])
@pytest.mark.parametrize(("handler", "method", "path", "statuses"), PATHS, ids=lambda value: str(value)[:30])
def test_every_group_at_every_path(
    aws: Cloud,
    context: LambdaContext,
    handler: str,
    method: str,
    path: str,
    statuses: dict[str, int],
    group: str | None,
) -> None:
    aws.make_queues()
    aws.write(**RECORD, UploadedBy=f"person#{SOMEBODY}")
    event = request(method, path, body=PICTURE if method == "POST" else None, groups=[group] if group else [])

    answer = call(handler, event, context)

    assert answer["statusCode"] == (statuses[group] if group else 403)
    if answer["statusCode"] == 403:
        assert refused(answer) == (403, "NOT_ALLOWED")


@pytest.mark.parametrize(("handler", "method", "path", "_"), PATHS, ids=lambda value: str(value)[:30])
def test_an_api_key_opens_no_path_of_people(
    aws: Cloud, context: LambdaContext, handler: str, method: str, path: str, _: object
) -> None:
    """API Gateway asks for an ID token there. If a template forgot it, the function would still refuse."""
    event = request(method, path, body=PICTURE if method == "POST" else None)
    assert refused(call(handler, event, context)) == (401, "UNAUTHORIZED")


def test_claims_open_nothing_for_a_machine(aws: Cloud, context: LambdaContext) -> None:
    aws.write(**RECORD, UploadedBy=f"person#{SOMEBODY}")
    event = request("GET", f"/images/{IMAGE_ID}")
    event["requestContext"]["authorizer"] = {"claims": CLAIMS | {"cognito:groups": "operator"}}
    assert refused(call("images_api", event, context)) == (404, "IMAGE_NOT_FOUND")


def seen_by(groups: Sequence[str], sub: str, context: LambdaContext) -> list[str]:
    answer = call("images_api", request("GET", "/people/images", groups=groups, sub=sub), context)
    return [image["imageId"] for image in body_of(answer)["images"]]


def test_what_a_person_uploads_is_theirs(aws: Cloud, context: LambdaContext) -> None:
    answer = call("upload_api", request("POST", "/people/upload", body=PICTURE, groups=["uploader"]), context)
    image_id = body_of(answer)["imageId"]

    record: dict[str, Any] = {**(detection_logs.find(TABLE, image_id) or {})}
    assert record.pop("UploadedBy") == OWNER
    assert record["OwnerShard"].startswith(f"{OWNER}#")
    aws.write(**record | RECORD | {"image_id": record.pop("ImageID"), "UploadedBy": OWNER})
    assert seen_by(["uploader"], PERSON_ID, context) == [image_id]
    assert seen_by(["uploader"], SOMEBODY, context) == []
    assert seen_by(["reviewer"], SOMEBODY, context) == [image_id]
    machine = call("images_api", request("GET", f"/images/{image_id}", api_key_id=API_KEY_ID), context)
    assert machine["statusCode"] == 404


def test_people_see_what_the_machine_saw_and_machines_do_not(aws: Cloud, context: LambdaContext) -> None:
    seen = [{"Name": "Cat", "Confidence": 98}, {"Name": "Sofa", "Confidence": 71}]
    aws.write(**RECORD, UploadedBy=API_KEY_ID, Labels=seen, ModelVersion="3.0")

    person = body_of(call("images_api", request("GET", f"/people/images/{IMAGE_ID}", groups=["reviewer"]), context))
    machine = body_of(call("images_api", request("GET", f"/images/{IMAGE_ID}"), context))

    assert person["labels"] == [{"name": "Cat", "confidence": 98}, {"name": "Sofa", "confidence": 71}]
    assert person["modelVersion"] == "3.0"
    assert not {"labels", "modelVersion"} & machine.keys()


def test_the_log_names_the_person_by_the_id_alone(aws: Cloud, context: LambdaContext, logs: io.StringIO) -> None:
    call("images_api", request("GET", "/people/images", groups=["reviewer"]), context)

    (line,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (line["person_id"], line["correlation_id"]) == (PERSON_ID, REQUEST_ID)
    assert "api_key_id" not in line
    assert EMAIL not in logs.getvalue()
    assert ID_TOKEN not in logs.getvalue()
