"""People who sign in, and what their groups let them do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Person:
    """Who signed in. `id` is the pool's own, `groups` are names of the pool's groups."""

    id: str
    name: str
    groups: frozenset[str] = frozenset()

    @classmethod
    def of_claims(cls, claims: Mapping[str, Any]) -> Person:
        """The person of an ID token that API Gateway has verified."""
        groups = frozenset(re.findall(r"[\w-]+", str(claims.get("cognito:groups", ""))))
        return cls(str(claims["sub"]), str(claims.get("email") or claims.get("cognito:username", "")), groups)

    @property
    def may_review(self) -> bool:
        """Whether they may judge pictures."""
        return bool(self.groups & {"reviewer", "operator"})

    @property
    def sees_all(self) -> bool:
        """Whether they see what others uploaded."""
        return self.may_review
