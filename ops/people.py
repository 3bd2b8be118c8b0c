"""People who may sign in on the page: added to groups of the user pool, listed, and removed.

The pool holds the e-mail address, the groups and the password; records name a person by the pool's id alone, verdicts
by the e-mail address too.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import boto3

from ops.environment import CLIENT_CONFIG, LOCAL, Deployment
from ops.errors import OperatorError
from pet_detector.aws import reviewers
from pet_detector.rules.people import Group
from pet_detector.rules.review import Row

# Times that somebody who was added is looked for: Cognito lists new people a moment later.
_LOOKS = 10


@dataclass(frozen=True)
class Known:
    """A person in the pool. `status` is Cognito's word: CONFIRMED, or FORCE_CHANGE_PASSWORD until the first sign-in."""

    id: str
    email: str
    groups: tuple[Group, ...]
    status: str


@dataclass(frozen=True)
class Added:
    """Somebody who is in a group now. `password` is a new person's on the local AWS, which sends no mail."""

    person: Known
    is_new: bool
    password: str | None


def add(deployment: Deployment, email: str, group: Group) -> Added:
    """Put a person into a group, and first into the pool if they are not there: Cognito sends them an invitation.

    It can be run again. Raises OperatorError for a deployment without people.
    """
    pool, found = _pool(deployment), find(deployment, email)
    email = found.email if found else email  # as it is written there
    password = None
    if found is None:
        # On AWS Cognito makes the password up, mails it, and asks for another one at the first sign-in.
        is_local = deployment.environment == LOCAL
        password = f"{secrets.token_urlsafe(12)}-aA1" if is_local else None
        invitation: dict[str, Any] = {"DesiredDeliveryMediums": ["EMAIL"]}
        if is_local:
            invitation = {"MessageAction": "SUPPRESS", "TemporaryPassword": password}
        _cognito().admin_create_user(
            UserPoolId=pool,
            Username=email,
            UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
            **invitation,
        )
    _cognito().admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group.value)
    for _ in range(_LOOKS):
        if person := find(deployment, email):
            break
        time.sleep(1)
    else:
        raise OperatorError(f"{email} was added and is not there: look at the user pool {pool}.")
    return Added(person, found is None, password)


def everybody(deployment: Deployment) -> list[Known]:
    """Everybody in the pool, by e-mail address."""
    pool, cognito = _pool(deployment), _cognito()
    members = {
        group: {
            user["Username"]
            for page in cognito.get_paginator("list_users_in_group").paginate(UserPoolId=pool, GroupName=group.value)
            for user in page["Users"]
        }
        for group in Group
    }
    found = [
        replace(_known(user), groups=tuple(group for group in Group if user["Username"] in members[group]))
        for page in cognito.get_paginator("list_users").paginate(UserPoolId=pool)
        for user in page["Users"]
    ]
    return sorted(found, key=lambda person: person.email)


def find(deployment: Deployment, email: str) -> Known | None:
    """The person with this e-mail address, in whatever case it is written; None when there is none."""
    return next((person for person in everybody(deployment) if person.email.lower() == email.lower()), None)


def remove(deployment: Deployment, person: Known, groups: Sequence[Group] = ()) -> None:
    """Take a person out of these groups; without groups, out of the pool, and end their sessions."""
    pool = _pool(deployment)
    if groups:
        for group in groups:
            _cognito().admin_remove_user_from_group(UserPoolId=pool, Username=person.email, GroupName=group.value)
        return
    _cognito().admin_user_global_sign_out(UserPoolId=pool, Username=person.email)
    _cognito().admin_delete_user(UserPoolId=pool, Username=person.email)


def said_by(deployment: Deployment, person: Known) -> list[Row]:
    """All that a person said about images, newest first."""
    return list(reviewers.said_by(deployment.output("ReviewsTableName"), person.id))


def forget_name(deployment: Deployment, person_id: str) -> int:
    """Take a person's e-mail address out of their verdicts -> out of how many. Safe to run again."""
    return reviewers.forget_name(deployment.output("ReviewsTableName"), person_id)


def _known(user: dict[str, Any]) -> Known:
    attributes = {attribute["Name"]: attribute["Value"] for attribute in user.get("Attributes", [])}
    return Known(attributes["sub"], attributes.get("email", user["Username"]), (), user["UserStatus"])


def _pool(deployment: Deployment) -> str:
    return deployment.output("PeoplePoolId")


def _cognito() -> Any:
    return boto3.client("cognito-idp", config=CLIENT_CONFIG)
