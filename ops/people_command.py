"""What `petdetect person` takes and says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from ops import output, people
from ops.check_lines import Subject
from ops.environment import Deployment
from ops.people import Added, Known
from pet_detector.rules.people import OWNER_PREFIX, Group

# Of an ID token, in template.yaml: API Gateway does not ask the pool again until then.
TOKEN_MINUTES = 60
# Ids of the pool.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

group_choice = click.Choice([group.value for group in Group])


class Email(click.ParamType):
    """An e-mail address; with `or_id` also the id of a person, who may not be in the pool any more."""

    name = "email"

    def __init__(self, *, or_id: bool = False) -> None:
        self._or_id = or_id

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address, or a usage error."""
        if self._or_id and _ID.fullmatch(value):
            return value
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            self.fail(f"{value!r} is not an e-mail address.", param, ctx)
        return value


def say_added(deployment: Deployment, added: Added, *, as_json: bool) -> None:
    """Who may do what now, and where they sign in."""
    person, page = added.person, f"{Subject(deployment).api_url}/app/"
    if as_json:
        output.say_json({"person": document(person), "isNew": added.is_new, "page": page} | _password(added))
        return
    output.say(f"{person.email} is in: {', '.join(person.groups)}.")
    if added.password:
        output.say(f"Password for the first sign-in: {added.password}")
    elif added.is_new:
        output.say("Cognito has sent them an invitation with a password for the first sign-in. It is good for 7 days.")
    else:
        output.say("A new group counts from the next sign-in, or within the hour.")
    output.say(f"Page: {page}")


def say_everybody(found: Sequence[Known], *, as_json: bool) -> None:
    """The list of people."""
    if as_json:
        output.say_json({"people": [document(person) for person in found]})
        return
    if not found:
        output.say("There is nobody: petdetect person add EMAIL --group operator adds the first.")
        return
    rows = ((person.email, ", ".join(person.groups) or "none", person.status, person.id) for person in found)
    output.print_table(("e-mail", "groups", "status", "id"), rows)


def export(deployment: Deployment, email: str) -> None:
    """One JSON document: who a person is, and all that they said."""
    person = _find(deployment, email)
    output.say_json({"person": document(person), "reviews": people.said_by(deployment, person)})


def remove(
    deployment: Deployment, email: str, groups: Sequence[str], *, forget: bool, yes: bool, as_json: bool
) -> None:
    """Take somebody out of groups, or out of the pool after a question; `forget`: and their name out of verdicts."""
    if as_json and not yes:
        raise click.UsageError("--json cannot prompt; add --yes.")
    if forget and groups:
        raise click.UsageError("--forget is for who leaves altogether: leave --group out.")
    if _ID.fullmatch(email):
        _forget_removed(deployment, email, forget=forget, as_json=as_json)
        return
    person = _find(deployment, email)
    if not yes:
        whence = f"the groups {', '.join(groups)}" if groups else "the pool: they cannot sign in any more"
        click.confirm(f"Remove {person.email} from {whence} in {deployment.environment}?", abort=True, err=True)
    # First: who can sign in may write their name again meanwhile.
    people.remove(deployment, person, [Group(group) for group in groups])
    if forget and not as_json:  # also if it fails now, this is the way to go on
        output.say(f"The id of {person.email} is {person.id}.")
    forgotten = people.forget_name(deployment, person.id) if forget else 0
    if as_json:
        removed = {"removed": document(person), "groups": list(groups), "tokenMinutes": TOKEN_MINUTES}
        output.say_json(removed | {"verdictsWithoutName": forgotten})
        return
    whence = f"from {', '.join(groups)}" if groups else "and cannot sign in any more"
    output.say(f"{person.email} is removed {whence}. A page that is open goes on for up to {TOKEN_MINUTES} minutes.")
    if not groups:
        output.say(
            f"Their pictures stay. To erase them, too: petdetect erase --uploader {OWNER_PREFIX}{person.id}\n"
            "Their verdicts stay with the pictures, "
            + (f"{forgotten} of them now without their name." if forget else "and name them.")
        )
    if forget:
        output.say(
            f"An open page may have written the name since. After {TOKEN_MINUTES} minutes, run: "
            f"petdetect person remove {person.id} --forget"
        )


def _forget_removed(deployment: Deployment, person_id: str, *, forget: bool, as_json: bool) -> None:
    """Take the name of somebody who is out of the pool already out of their verdicts. It may be run again."""
    if not forget:
        raise click.UsageError("An id is for --forget: say the e-mail address of whom to remove.")
    if any(person.id == person_id for person in people.everybody(deployment)):
        raise click.ClickException("They are still in the pool: remove them by their e-mail address.")
    forgotten = people.forget_name(deployment, person_id)
    if as_json:
        output.say_json({"removed": {"id": person_id}, "groups": [], "verdictsWithoutName": forgotten})
        return
    output.say(f"Verdicts that name nobody now: {forgotten}.")


def _find(deployment: Deployment, email: str) -> Known:
    person = people.find(deployment, email)
    if person is None:
        raise click.ClickException(f"There is no {email}: petdetect person list shows everybody.")
    return person


def document(person: Known) -> dict[str, Any]:
    """A person for programs."""
    named: dict[str, Any] = {"id": person.id, "email": person.email}
    return named | {"groups": [group.value for group in person.groups], "status": person.status}


def _password(added: Added) -> dict[str, str]:
    return {"password": added.password} if added.password else {}
