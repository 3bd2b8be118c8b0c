"""UploadApi: POST /upload and POST /people/upload.

Announces an image, and either answers with an upload form or stores it at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import unicodedata
import uuid
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import api_clients, detection_logs, image_bucket
from pet_detector.rules import image_ids
from pet_detector.rules.errors import RequestError
from pet_detector.rules.models import ImageFormat, Status
from pet_detector.rules.people import Group
from pet_detector.runtime import http_api, settings
from pet_detector.runtime.observability import logger

# HEIC is one kind of HEIF, and programs name it either way.
EXTENSIONS = {kind.content_type: kind.value for kind in ImageFormat} | {"image/heif": ImageFormat.HEIC.value}
FILE_NAME_LENGTH = 255
# Lambda takes requests of up to 6 MB, and base64 makes 4 bytes of 3: 4 MB always fit.
MAX_INLINE_BYTES = 4 * 1024 * 1024
IDEMPOTENCY_KEY_LENGTH = 255

app = http_api.resolver()


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    return app.resolve(event, context)


@dataclass(frozen=True)
class Upload:
    """A request that was checked. `data` is None when the caller wants a form to send the picture with."""

    file_name: str
    content_type: str
    data: bytes | None

    @property
    def fingerprint(self) -> str:
        """Equal for equal requests: what an Idempotency-Key stands for."""
        digest = hashlib.sha256(self.data or b"").hexdigest()
        return hashlib.sha256(json.dumps([self.file_name, self.content_type, digest]).encode()).hexdigest()


@app.post("/upload")
@app.post("/people/upload")
def upload() -> Response[str]:
    """201 with a form, or 202 when the picture came with the request. 200 when the same request's picture has arrived.

    409 when an Idempotency-Key is used again for another request.
    """
    table, correlation_id = settings.required("DETECTION_LOGS_TABLE_NAME"), http_api.request_id_of(app)
    owner = owner_of_request(table)
    request = parse(app.current_event.body)
    image_id = image_id_for(app.current_event.headers.get("Idempotency-Key"), owner)
    logger.append_keys(image_id=image_id)
    record = detection_logs.announce(
        table,
        image_id,
        file_name=request.file_name,
        uploaded_by=owner,
        fingerprint=request.fingerprint,
        correlation_id=correlation_id,
    )
    # Another owner's record is never answered from, although no two owners can get the same id.
    if record.get("UploadedBy") != owner or record.get("RequestFingerprint") != request.fingerprint:
        raise RequestError(
            409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was sent with another request; choose a new key."
        )
    body = {"imageId": image_id, "status": record["ProcessingStatus"]}
    if record["ProcessingStatus"] != Status.UPLOADING:  # a repeated request: another object would be rejected
        return http_api.answer(200, body)
    bucket = settings.required("IMAGE_BUCKET_NAME")
    key = f"{image_ids.INPUT_FOLDER}/{image_id}.{EXTENSIONS[request.content_type]}"
    if request.data is None:
        form = image_bucket.upload_form(bucket, key, request.content_type, correlation_id)
        logger.info("Upload form handed out")
        return http_api.answer(201, body | {"upload": form, "expiresInSeconds": image_bucket.UPLOAD_LINK_SECONDS})
    image_bucket.store(bucket, key, request.data, request.content_type, correlation_id)
    logger.info("Image stored")
    return http_api.answer(202, body)


def owner_of_request(table: str) -> str:
    """Whose the picture will be. From here on every line of log names the person or the key, and the request.

    Raises RequestError when whoever asks may not upload.
    """
    if person := http_api.person_of(app):
        person.needs(Group.UPLOADER)
        return person.owner
    key_id = http_api.caller_of(app)
    logger.append_keys(api_key_id=key_id, correlation_id=http_api.request_id_of(app))
    return api_clients.of_key(table, key_id).owner


def image_id_for(idempotency_key: str | None, owner: str) -> str:
    """A new random ImageID; with an Idempotency-Key always the same one for the same owner, whichever key it uses.

    Raises RequestError for a key that is empty, too long, or no text.
    """
    if idempotency_key is None:
        return uuid.uuid4().hex
    if not 1 <= len(idempotency_key) <= IDEMPOTENCY_KEY_LENGTH:
        raise RequestError(
            400, "INVALID_IDEMPOTENCY_KEY", f"Idempotency-Key needs 1 to {IDEMPOTENCY_KEY_LENGTH} characters."
        )
    try:
        text = f"{owner}\n{idempotency_key}".encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        raise RequestError(
            400, "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key must be text that is valid UTF-8."
        ) from None
    return hashlib.sha256(text).hexdigest()[:32]


def parse(body: str | None) -> Upload:
    """Check the whole request, whatever API Gateway has checked before. Raises RequestError."""
    try:
        fields = json.loads(body or "")
    except (ValueError, RecursionError):  # the latter for thousands of nested brackets
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "INVALID_BODY", "Send a JSON object with fileName and contentType.")
    file_name, content_type = fields.get("fileName"), fields.get("contentType")
    if not isinstance(file_name, str) or not 1 <= len(file_name) <= FILE_NAME_LENGTH:
        raise RequestError(400, "INVALID_FILE_NAME", f"fileName needs 1 to {FILE_NAME_LENGTH} characters.")
    if not isinstance(content_type, str) or content_type not in EXTENSIONS:
        raise RequestError(400, "UNSUPPORTED_CONTENT_TYPE", f"contentType must be one of {', '.join(EXTENSIONS)}.")
    return Upload(clean_name(file_name), content_type, picture_in(fields))


def clean_name(file_name: str) -> str:
    """The last part of a path, without control, direction, line and other invisible characters; else `image`.

    The name is only shown, and never used as a path.
    """
    last = file_name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kinds = ((character, unicodedata.category(character)) for character in last)
    visible = "".join(character for character, kind in kinds if kind[0] != "C" and kind not in ("Zl", "Zp")).strip()
    return visible if visible.strip(".") else "image"


def picture_in(fields: dict[str, Any]) -> bytes | None:
    """The decoded `image` of a request, or None. Raises RequestError when it is not base64, empty or too large."""
    if "image" not in fields:
        return None
    try:
        data = base64.b64decode(fields["image"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise RequestError(400, "INVALID_IMAGE", "image must be the picture's bytes in base64.") from None
    if not data:
        raise RequestError(400, "EMPTY", "image is empty; send the picture's bytes, or leave image out to get a form.")
    if len(data) > MAX_INLINE_BYTES:
        raise RequestError(
            413, "TOO_LARGE", "image has more than 4 MB; leave image out to get a form that takes up to 15 MB."
        )
    return data
