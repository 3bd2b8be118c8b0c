"""S3: events say which version of the object they are about."""

from __future__ import annotations

import contextvars
import json
from typing import Any

from ministack.services import eventbridge, s3

# The object version that this thread's event is about; None outside of a versioned bucket.
_version: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)


def install() -> None:
    """Apply this module's patch."""
    _events_name_the_version()


def _events_name_the_version() -> None:
    """An event that a versioned bucket sends to EventBridge holds the object's version.

    AWS: `detail.object.version-id`. MiniStack: says it in notifications to queues, topics and functions, but not here.
    """
    fire = s3._fire_s3_event
    dispatch = eventbridge._dispatch_event

    def fire_with_version(*args: Any, version_id: str | None = None, **options: Any) -> None:
        token = _version.set(version_id)
        try:
            fire(*args, version_id=version_id, **options)
        finally:
            _version.reset(token)

    def dispatch_with_version(event: dict[str, Any], *args: Any, **options: Any) -> Any:
        version = _version.get()
        if version and event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args, **options)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version
