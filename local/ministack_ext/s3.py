"""S3: events say which version of the object they are about, and a copy may ask that its key is not taken."""

from __future__ import annotations

import contextvars
import json
from typing import Any

from ministack.services import eventbridge, s3

# The object version that this thread's event is about; None outside of a versioned bucket.
_version: contextvars.ContextVar[str | None] = contextvars.ContextVar("version", default=None)


def install() -> None:
    """Apply this module's patches."""
    _events_name_the_version()
    _a_copy_may_ask_for_a_free_key()


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


def _a_copy_may_ask_for_a_free_key() -> None:
    """CopyObject with `If-None-Match: *` fails with 412 when there is an object at its key.

    AWS: so, as with PutObject. MiniStack: asks for it in PutObject only.
    """
    copy = s3._copy_object

    def copy_if_free(bucket_name: str, key: str, headers: dict[str, str]) -> Any:
        objects = (s3._buckets.get(bucket_name) or {}).get("objects", {})
        return s3._check_put_preconditions(headers, objects.get(key)) or copy(bucket_name, key, headers)

    s3._copy_object = copy_if_free
