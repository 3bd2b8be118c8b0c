"""What `petdetect key` takes and says. It prints the value of a key only when it is asked to."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

from ops import output
from ops.environment import LOCAL, Deployment
from ops.keys import Key, Made
from pet_detector.aws.image_bucket import UPLOAD_LINK_SECONDS, VIEW_LINK_SECONDS

show_option = click.option("--show", is_flag=True, help="Print the value of the key, too.")


class Name(click.ParamType):
    """The name of an API client: 1 to 40 letters, digits, - and _."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or a usage error."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", value):
            self.fail(f"{value!r} is not a name: use 1 to 40 letters, digits, - and _.", param, ctx)
        return value


def say_made(deployment: Deployment, made: Made, *, show: bool, as_json: bool) -> None:
    """A new key, where its value is, and what becomes of the one that it replaces."""
    fetch = f"aws secretsmanager get-secret-value --secret-id {made.secret} --query SecretString --output text"
    shown = show or deployment.environment == LOCAL  # a value of the local AWS opens nothing else
    if as_json:
        replaces = made.replaces and key_document(made.replaces)
        value = {"value": made.value} if shown else {}
        output.say_json({"key": key_document(made.key), "secret": made.secret, "replaces": replaces} | value)
        return
    sees = "every image" if made.key.client.sees_all else "what its client uploads"
    output.say(f"API key {made.key.key_id} of {made.key.name} works within minutes. It sees {sees}.")
    output.say(f"Its value: {made.value}" if shown else f"Its value: {fetch}")
    if made.replaces:
        output.say(
            f"The old key {made.replaces.key_id} works until you revoke it, by {day(made.replaces.revoke_by)}: "
            f"petdetect key revoke {made.replaces.key_id}"
        )


def say_keys(keys: list[Key], *, as_json: bool) -> None:
    """The list of keys."""
    if as_json:
        output.say_json({"keys": [key_document(key) for key in keys]})
        return
    if not keys:
        output.say("There is no API key: petdetect key create NAME makes one.")
        return
    output.print_table(
        ("key", "name", "plan", "sees", "owner", "age", "state", "what to do"),
        (
            (
                key.key_id,
                key.name,
                key.plan or "none",
                "every image" if key.client.sees_all else "its own",
                key.client.owner,
                output.age(key.created),
                key.state,
                advice(key),
            )
            for key in keys
        ),
    )


def advice(key: Key) -> str:
    """What is to be done about a key, and when."""
    if key.state == "revoked":
        return f"revoked on {day(key.revoked_at)}" + (", but still enabled: revoke it again" if key.enabled else "")
    if key.state == "unfinished":
        return "run the command that made it again"
    if key.state == "disabled":
        return "enable it in API Gateway, or revoke it"
    if key.revoke_by:
        return f"replaced: revoke it by {day(key.revoke_by)}"
    return "rotate it now" if key.rotate_by <= datetime.now(UTC) else f"rotate it by {key.rotate_by:%Y-%m-%d}"


def say_revoked(keys: list[Key], *, as_json: bool) -> None:
    """That keys are revoked, and what they can still do."""
    if as_json:
        left = {"uploadFormsSeconds": UPLOAD_LINK_SECONDS, "viewLinksSeconds": VIEW_LINK_SECONDS}
        output.say_json({"revoked": [key.key_id for key in keys], **left})
        return
    for key in keys:
        output.say(f"API key {key.key_id} of {key.name} is revoked.")
    output.say(
        f"What it was given still works: upload forms for {UPLOAD_LINK_SECONDS // 60} minutes, links to pictures for "
        f"{VIEW_LINK_SECONDS // 60} minutes."
    )


def key_document(key: Key) -> dict[str, Any]:
    """A key for programs; never its value."""
    owned = {"owner": key.client.owner, "seesAll": key.client.sees_all}
    due = {"rotateBy": key.rotate_by, "state": key.state, "advice": advice(key)}
    return output.to_json(key, without=("client",)) | owned | due


def day(time: str | None) -> str:
    """The day of a time in the format of records."""
    return (time or "").partition("T")[0]
