"""`petdetect person`: who may sign in on the page. They really sign in, on the local AWS."""

from __future__ import annotations

import uuid

import pytest
import requests

from local.people import PEOPLE
from tests.operator.application import Application
from tests.support.people import sign_in

# The first sign-in asks for a password of one's own.
CHOSEN = "Chosen-by-myself-1"


@pytest.fixture
def email() -> str:
    return f"ada-{uuid.uuid4().hex[:8]}@pets.example"


def first_sign_in(application: Application, email: str) -> None:
    """Give somebody the password that they choose at the first sign-in."""
    application.engine.client("cognito-idp").admin_set_user_password(
        UserPoolId=application.outputs["PeoplePoolId"], Username=email, Password=CHOSEN, Permanent=True
    )


def reviews(application: Application, email: str) -> int:
    """What the API answers somebody who wants to see everybody's pictures."""
    page = application.outputs["PageUrl"]
    token = sign_in(page, email, CHOSEN)["id_token"]
    url = f"{application.outputs['ApiUrl']}/people/images"
    return requests.get(url, headers={"Authorization": token}, timeout=20).status_code


def test_who_is_added_signs_in_and_may_what_the_group_may(application: Application, email: str) -> None:
    added = application.petdetect("person", "add", email, "--group", "reviewer", "--json")
    assert added.code == 0
    assert (added.json["isNew"], added.json["person"]["groups"]) == (True, ["reviewer"])
    assert added.json["page"] == application.outputs["PageUrl"]
    assert len(added.json["password"]) >= 12, "on the local AWS, which sends no mail"
    first_sign_in(application, email)
    assert reviews(application, email) == 200

    again = application.petdetect("person", "add", email.upper(), "--group", "uploader")
    assert f"{email} is in: uploader, reviewer." in again.out
    assert "Password" not in again.out

    for group in ("uploader", "reviewer"):
        assert application.petdetect("person", "remove", email, "--group", group, "--yes").code == 0
    assert reviews(application, email) == 403


def test_the_list_shows_everybody_with_their_groups(application: Application) -> None:
    listed = application.petdetect("person", "list", "--json").json["people"]

    groups = {person["email"]: person["groups"] for person in listed}
    assert {email: [group] for group, email in PEOPLE.items()}.items() <= groups.items()
    assert "operator@pets.example" in application.petdetect("person", "list").out


def test_who_is_removed_is_gone_and_their_pictures_can_be_erased(application: Application, email: str) -> None:
    person = application.petdetect("person", "add", email, "--group", "uploader", "--json").json["person"]
    first_sign_in(application, email)

    removed = application.petdetect("person", "remove", email, "--yes")

    assert f"petdetect erase --uploader person#{person['id']}" in removed.out
    with pytest.raises(AssertionError, match="Incorrect username or password"):
        reviews(application, email)
    again = application.petdetect("person", "remove", email, "--yes")
    assert (again.code, "There is no" in again.err) == (1, True)


def test_a_person_gets_what_they_said_and_it_stays_without_their_name(application: Application, email: str) -> None:
    person = application.petdetect("person", "add", email, "--group", "reviewer", "--json").json["person"]
    table = application.outputs["ReviewsTableName"]
    key = {"ImageID": {"S": uuid.uuid4().hex}, "Entry": {"S": "verdict#000001"}}
    words = {"Person": person["id"], "PersonName": email, "At": "2026-11-30T12:00:00.000Z", "Animal": "cat"}
    row = key | {name: {"S": text} for name, text in words.items()}
    other = row | {"ImageID": {"S": uuid.uuid4().hex}, "Person": {"S": "another"}}
    for item in (row, other):
        application.dynamodb.put_item(TableName=table, Item=item)

    exported = application.petdetect("person", "export", email).json
    assert exported["person"] == person
    assert [(said["ImageID"], said["Animal"]) for said in exported["reviews"]] == [(key["ImageID"]["S"], "cat")]

    assert application.petdetect("person", "remove", email, "--forget", "--group", "reviewer", "--yes").code == 2
    removed = application.petdetect("person", "remove", email, "--forget", "--yes")
    assert "1 of them now without their name" in removed.out
    left = application.dynamodb.get_item(TableName=table, Key=key)["Item"]
    assert left == row | {"PersonName": {"S": "somebody who was removed"}}
    assert application.petdetect("person", "export", email).code == 1

    # A page that was open has written the name again.
    application.dynamodb.put_item(TableName=table, Item=row)
    assert f"petdetect person remove {person['id']} --forget" in removed.out
    assert application.petdetect("person", "remove", person["id"], "--yes").code == 2
    for number in (1, 0):
        again = application.petdetect("person", "remove", person["id"], "--forget", "--yes", "--json").json
        assert again["verdictsWithoutName"] == number
    assert application.dynamodb.get_item(TableName=table, Key=key)["Item"] == left
    for item in (row, other):
        application.dynamodb.delete_item(TableName=table, Key={name: item[name] for name in key})


def test_nobody_is_removed_without_an_answer(application: Application) -> None:
    email = PEOPLE["operator"]
    assert application.petdetect("person", "remove", email).code == 1
    assert application.petdetect("person", "remove", email, "--json").code == 2
    assert email in application.petdetect("person", "list").out


@pytest.mark.parametrize("arguments", [["add", "nobody", "--group", "reviewer"], ["add", "a@b.example"]])
def test_a_wrong_address_or_no_group_is_a_usage_error(application: Application, arguments: list[str]) -> None:
    assert application.petdetect("person", *arguments).code == 2
