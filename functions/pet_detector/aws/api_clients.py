"""Amazon DynamoDB: who a client of the API is, by the id of its key."""

from __future__ import annotations

from dataclasses import dataclass

from pet_detector.rules.models import Record


@dataclass(frozen=True)
class ApiClient:
    """A client: the `owner` of what it uploads; `sees_all` is an operator's."""

    owner: str
    sees_all: bool

    def may_see(self, record: Record) -> bool:
        """Whether an image is this client's."""
        return self.sees_all or record.get("UploadedBy") == self.owner


def of_key(table: str, key_id: str) -> ApiClient:
    """The client with this API key."""
    return ApiClient(key_id, sees_all=False)
