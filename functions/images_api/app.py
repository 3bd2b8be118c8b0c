"""ImagesApi: GET /images and GET /images/{id}, the same under /people, and GET /health.

Images are answered from the table alone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import api_clients, detection_logs, health, image_bucket, listing
from pet_detector.aws.api_clients import ApiClient
from pet_detector.aws.listing import Query
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import IMAGE_ID, key_in
from pet_detector.rules.models import SUPERSEDED, Animal, Record, Status
from pet_detector.rules.people import Group
from pet_detector.rules.text import printable
from pet_detector.runtime import http_api, settings
from pet_detector.runtime.observability import logger

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_TOKEN_LENGTH = 1024
MAX_NAME_LENGTH = 1024  # as long as a key of Amazon S3 can be
FILTERS = ("animal", "status", "from", "to", "limit", "nextToken")

Choice = TypeVar("Choice", bound=StrEnum)  # Python 3.11 has no other spelling

# The attributes of a record that clients see, and their names in the API.
_FIELDS = {
    "ImageID": "imageId",
    "ProcessingStatus": "status",
    "DetectedAnimal": "animal",
    "ConfidenceScore": "confidence",
    "Certain": "certain",
    "Scores": "scores",
    "Reason": "reason",
    "ReasonCode": "reasonCode",
    "OriginalFilename": "fileName",
    "FileSize": "fileSize",
    "ImageFormat": "imageFormat",
    "S3Location": "location",
    "OriginalLocation": "originalLocation",
    "PolicyVersion": "policyVersion",
    "CorrelationId": "correlationId",
    "Timestamp": "timestamp",
    "CreatedAt": "createdAt",
    "UpdatedAt": "updatedAt",
}

app = http_api.resolver()


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    return app.resolve(event, context)


@app.get("/health")
def health_of_the_service() -> Response[str]:
    """200 when every part of the service answers, else 503. Needs no API key, and so gives no details."""
    parts = health.check(
        bucket=settings.required("IMAGE_BUCKET_NAME"),
        table=settings.required("DETECTION_LOGS_TABLE_NAME"),
        workflow_arn=settings.required("IMAGE_WORKFLOW_ARN"),
        policy_parameter=settings.required("POLICY_PARAMETER_NAME"),
    )
    healthy = all(parts.values())
    dependencies = {part: "ok" if answers else "down" for part, answers in parts.items()}
    body = {"status": "ok" if healthy else "down", "dependencies": dependencies}
    return http_api.answer(200 if healthy else 503, body)


@app.get("/images/<image_id>")
@app.get("/people/images/<image_id>")
def one_image(image_id: str) -> Response[str]:
    """The record of an image, with a link to view the picture for a few minutes if it was classified.

    Somebody else's image is not found, like one that does not exist. Every read leaves a line of log.
    """
    client = client_of_request()
    record = None
    if IMAGE_ID.fullmatch(image_id):
        logger.append_keys(image_id=image_id)
        record = detection_logs.find(settings.required("DETECTION_LOGS_TABLE_NAME"), image_id)
    if record is None or not client.may_see(record):
        logger.info("Image not shown", denied=record is not None)
        raise http_api.image_not_found()
    body = visible(record, client)
    if person := http_api.person_of(app):
        body["mayErase"] = person.may_upload and api_clients.of_who_erases(person).may_see(record)
    if client.is_person and "Labels" in record:
        body["labels"] = [{"name": label["Name"], "confidence": label["Confidence"]} for label in record["Labels"]]
        body["modelVersion"] = record.get("ModelVersion")
    linked = record["ProcessingStatus"] in (Status.COMPLETED, Status.NEEDS_REVIEW)
    logger.info("Image shown", linked=linked)
    if linked:
        bucket = settings.required("IMAGE_BUCKET_NAME")
        body["viewUrl"] = image_bucket.view_link(bucket, key_in(record["S3Location"]))
        body["viewUrlExpiresInSeconds"] = image_bucket.VIEW_LINK_SECONDS
    return http_api.answer(200, body)


@app.get("/images")
@app.get("/people/images")
def all_images() -> Response[str]:
    """Records, newest first, filtered by animal, status, from and to; `nextToken` is null at the end.

    Only those that the client may see. Every list leaves a line of log.
    """
    client = client_of_request()
    parameters = app.current_event.query_string_parameters
    if unknown := sorted(parameters.keys() - FILTERS):
        raise RequestError(400, "INVALID_FILTER", f"There is no parameter {unknown[0]}: use {', '.join(FILTERS)}.")
    every = app.current_event.multi_value_query_string_parameters
    if repeated := sorted(name for name, values in every.items() if len(values) > 1):
        raise RequestError(400, "INVALID_FILTER", f"{repeated[0]} is given more than once: give it once.")
    query = Query(
        animal=choice(Animal, "animal", parameters.get("animal")),
        status=choice(Status, "status", parameters.get("status")),
        since=moment("from", parameters.get("from")),
        until=moment("to", parameters.get("to")),
        owner=None if client.sees_all else client.owner,
    )
    if query.since and query.until and query.since > query.until:
        raise RequestError(400, "INVALID_FILTER", "from must not be later than to.")
    token = parameters.get("nextToken")
    if token is not None and len(token) > MAX_TOKEN_LENGTH:
        raise RequestError(400, "INVALID_TOKEN", "This is not a nextToken of this listing: send it unchanged.")
    page = listing.list_images(
        settings.required("DETECTION_LOGS_TABLE_NAME"), query, limit_of(parameters.get("limit")), token or None
    )
    filters = {"animal": query.animal, "status": query.status, "from": query.since, "to": query.until}
    logger.info(
        "Images listed", count=len(page.records), filters={name: text for name, text in filters.items() if text}
    )
    images = [visible(record, client) for record in page.records]
    return http_api.answer(200, {"images": images, "nextToken": page.next_token})


def client_of_request() -> ApiClient:
    """Who asks. From here on every line of log names the person or the key, and the request."""
    if person := http_api.person_of(app):
        person.needs(Group.UPLOADER, Group.REVIEWER)
        return api_clients.of_person(person)
    key_id = http_api.caller_of(app)
    logger.append_keys(api_key_id=key_id, correlation_id=http_api.request_id_of(app))
    return api_clients.of_key(settings.required("DETECTION_LOGS_TABLE_NAME"), key_id)


def visible(record: Record, client: ApiClient) -> dict[str, Any]:
    """The part of a record that a client sees, under the API's names."""
    found: dict[str, Any] = {**record}
    shown = {field: found[name] for name, field in _FIELDS.items() if name in found}
    if client.sees_all:  # both tell that somebody else sent the same bytes: a verdict goes to all images of them
        if "AnalysisReused" in found:
            shown["analysisReused"] = found["AnalysisReused"]
        if "ReviewedAt" in found:  # a person has decided; who, is for people alone
            shown |= {"reviewed": True, "reviewedAt": found["ReviewedAt"]}
    if record["ProcessingStatus"] == Status.PROCESSING and "TurnAt" in record:
        shown["turnAt"] = record["TurnAt"]
    if number := int(record.get("Superseded", 0)):
        uploads = f"{number} later uploads" if number > 1 else "1 later upload"
        shown["superseded"] = {
            "reasonCode": SUPERSEDED,
            "uploads": number,
            "reason": f"{uploads} with the same form rejected: ask for a new form for each picture.",
        }
    if "fileName" in shown:  # of an object that was put straight into S3 it may be anything
        shown["fileName"] = printable(shown["fileName"], MAX_NAME_LENGTH) or "image"
    return shown


def choice(choices: type[Choice], name: str, text: str | None) -> Choice | None:
    """The value of the filter `name`. Raises RequestError when it is not one of the choices."""
    if text is None:
        return None
    try:
        return choices(text)
    except ValueError:
        raise RequestError(400, "INVALID_FILTER", f"{name} must be one of {', '.join(choices)}.") from None


def moment(name: str, text: str | None) -> str | None:
    """A time, or the beginning of a day, in the format of records; UTC unless it has an offset. Raises RequestError."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter for a year that its offset moves out of the calendar
        raise RequestError(
            400, "INVALID_FILTER", f"{name} must be a day or a time, such as 2026-11-21 or 2026-11-21T09:30:00Z."
        ) from None
    return detection_logs.format_time(time)


def limit_of(text: str | None) -> int:
    """How many records a page has. Raises RequestError when it is not a number from 1 to MAX_LIMIT."""
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise RequestError(400, "INVALID_LIMIT", f"limit must be a number from 1 to {MAX_LIMIT}.")
    return int(text)
