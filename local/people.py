"""Made-up people of the local AWS: one of each group, so that a person can sign in on the page at once."""

from __future__ import annotations

from local.engine import Engine

# They exist on this machine only, and anybody may read it here.
PASSWORD = "Only-on-this-laptop-1"  # noqa: S105
PEOPLE = {
    "uploader": "uploader@pets.example",
    "reviewer": "reviewer@pets.example",
    "operator": "operator@pets.example",
}


def add_made_up_people(engine: Engine, pool_id: str) -> None:
    """Make sure that the pool has one person of each group, who can sign in with PASSWORD; no mail is sent."""
    cognito = engine.client("cognito-idp")
    for group, email in PEOPLE.items():
        attributes = [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}]
        try:
            cognito.admin_create_user(
                UserPoolId=pool_id, Username=email, UserAttributes=attributes, MessageAction="SUPPRESS"
            )
        except cognito.exceptions.UsernameExistsException:
            continue  # as it was made before, with what became of it since
        cognito.admin_set_user_password(UserPoolId=pool_id, Username=email, Password=PASSWORD, Permanent=True)
        cognito.admin_add_user_to_group(UserPoolId=pool_id, Username=email, GroupName=group)
