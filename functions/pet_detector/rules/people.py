"""People who sign in, and what their groups let them do. Machines have API keys instead (`aws/api_clients.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pet_detector.rules.errors import RequestError

# Begins the owner of what a person uploads. No API key has such an id.
OWNER_PREFIX = "person#"


class Group(StrEnum):
    """A group of the user pool. They add up; who is in none may do nothing."""

    UPLOADER = "uploader"
    REVIEWER = "reviewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Person:
    """Who signed in. `id` is the pool's own (`sub`) and stays; `name` is what other people read, the e-mail address."""

    id: str
    name: str
    groups: frozenset[Group]

    @classmethod
    def of_claims(cls, claims: Mapping[str, Any]) -> Self:
        """The person of an ID token that API Gateway has verified. Groups that are not ours are left out.

        Raises RequestError (401) for claims of another kind of token.
        """
        if not claims.get("sub") or claims.get("token_use", "id") != "id":
            raise unauthorized()
        # A text for the function: `a,b` on AWS, `[a b]` also.
        named = re.split(r"[\s,\[\]]+", str(claims.get("cognito:groups") or ""))
        name = claims.get("email") or claims.get("cognito:username") or claims["sub"]
        return cls(str(claims["sub"]), str(name), frozenset(group for group in Group if group in named))

    @property
    def owner(self) -> str:
        """What stands in UploadedBy of this person's pictures."""
        return f"{OWNER_PREFIX}{self.id}"

    @property
    def may_upload(self) -> bool:
        """Whether the person may send pictures, and see and erase them."""
        return self._is_in(Group.UPLOADER)

    @property
    def sees_all(self) -> bool:
        """Whether the person sees everybody's pictures."""
        return self._is_in(Group.REVIEWER)

    @property
    def may_review(self) -> bool:
        """Whether the person may say what a picture shows."""
        return self._is_in(Group.REVIEWER)

    @property
    def may_set_policy(self) -> bool:
        """Whether the person may change the numbers of the decision, and erase everybody's pictures."""
        return self._is_in(Group.OPERATOR)

    def needs(self, *groups: Group) -> None:
        """Raise RequestError (403) unless the person is in one of the groups, or an operator, who may do everything."""
        if not any(self._is_in(group) for group in groups):
            names = " or ".join([*groups, *([Group.OPERATOR] if Group.OPERATOR not in groups else [])])
            message = f"This takes the group {names}: ask an operator to add you, and sign in again."
            raise RequestError(403, "NOT_ALLOWED", message)

    def _is_in(self, group: Group) -> bool:
        return group in self.groups or Group.OPERATOR in self.groups


def unauthorized() -> RequestError:
    """The answer to somebody who has not signed in."""
    return RequestError(401, "UNAUTHORIZED", "Sign in, and send the ID token in the header Authorization.")
