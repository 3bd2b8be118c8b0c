"""ReviewApi: GET and POST /people/reviews, GET /people/reviews/mine, GET /people/images/{id}/reviews.

What people judge next, what they say, what they said, and what was said about one image.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from enum import StrEnum
from typing import Any, TypeVar

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import detection_logs, image_bucket, reviews
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import IMAGE_ID, key_in
from pet_detector.rules.models import Animal
from pet_detector.rules.people import Group, Person, unauthorized
from pet_detector.rules.review import Kind, Mode, Queue, filed_since, is_blind, sequence_of
from pet_detector.rules.text import printable
from pet_detector.runtime import http_api, settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import review_page, verdicts
from pet_detector.use_cases.review_page import Picture, Wish
from pet_detector.use_cases.review_queue import Resources
from pet_detector.use_cases.verdicts import Undo, Verdict

MAX_PICTURES = 24
DEFAULT_PICTURES = 8
# What a page may name: what it holds, and what is not saved yet; and what was passed over.
MAX_IMAGE_IDS = 150
MAX_VERDICTS = 100
DEFAULT_VERDICTS = 50
MAX_NAME_LENGTH = 1024
# A day: somebody left the page open.
MAX_MILLISECONDS = 24 * 60 * 60 * 1000

_KEY = re.compile(r"[A-Za-z0-9-]{8,64}")
_PLACES = 10
Choice = TypeVar("Choice", bound=StrEnum)  # Python 3.11 has no other spelling

app = http_api.resolver()


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    return app.resolve(event, context)


@app.get("/people/reviews")
def next_pictures() -> Response[str]:
    """The next pictures for whoever asks, leased to them, and how many wait."""
    person = reviewer()
    query = app.current_event.query_string_parameters
    mode = choice(Mode, "mode", query.get("mode", Mode.SINGLE.value))
    if mode is Mode.GALLERY:
        raise RequestError(400, "INVALID_FILTER", "mode must be single or sheet.")
    leaning = choice(Animal, "guess", query.get("guess")) if mode is Mode.SHEET else None
    wish = Wish(
        number("limit", query.get("limit"), DEFAULT_PICTURES, MAX_PICTURES),
        leaning,
        image_ids("except", query.get("except", "")),
        secrets.randbelow(_PLACES) + 1,  # else a page that asks for few each time would never get to the tenth place
        filed_since(float(settings.required("IMAGE_RETENTION_DAYS")), time.time()),
    )
    table = settings.required("REVIEWS_TABLE_NAME")
    for image_id in image_ids("skipped", query.get("skipped", "")):
        reviews.pass_over(table, image_id)
    pictures, waiting = review_page.lease_next(table, settings.required("DETECTION_LOGS_TABLE_NAME"), person, wish)
    logger.info("Pictures leased", count=len(pictures), mode=mode)
    pending = reviews.count(table, Queue.PENDING)
    shown = [picture_shown(picture) for picture in pictures]
    return http_api.answer(200, {"pictures": shown, "waiting": waiting, "pending": pending})


@app.post("/people/reviews")
def decide() -> Response[str]:
    """Saves a verdict or an undo; the same Idempotency-Key again gives the same answer."""
    person = reviewer()
    key = app.current_event.headers.get("Idempotency-Key") or ""
    if not _KEY.fullmatch(key):
        raise RequestError(400, "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key needs 8 to 64 of A-Z, a-z, 0-9 and -.")
    said = parse(app.current_event.body, key)
    logger.append_keys(image_id=said.image_id)
    resources = Resources(
        reviews=settings.required("REVIEWS_TABLE_NAME"),
        records=settings.required("DETECTION_LOGS_TABLE_NAME"),
        workflow_arn=settings.required("REVIEW_WORKFLOW_ARN"),
        sample_percent=float(settings.required("REVIEW_SAMPLE_PERCENT")),
        second_look_percent=float(settings.required("SECOND_LOOK_PERCENT")),
    )
    answer = verdicts.save(resources, person, said)
    logger.info("Verdict saved", sequence=answer.sequence, undo=isinstance(said, Undo))
    body = {"imageId": answer.image_id, "key": answer.key, "sequence": answer.sequence, "animal": answer.animal}
    return http_api.answer(200, body)


@app.get("/people/reviews/mine")
def own_verdicts() -> Response[str]:
    """What whoever asks has decided, newest first."""
    person = reviewer()
    query = app.current_event.query_string_parameters
    limit = number("limit", query.get("limit"), DEFAULT_VERDICTS, MAX_VERDICTS)
    table = settings.required("REVIEWS_TABLE_NAME")
    rows, before = reviews.verdicts_of(table, person.id, limit, query.get("before"))
    heads = reviews.heads_of(table, {row["ImageID"] for row in rows})
    shown = [
        {
            "key": row["Key"],
            "imageId": row["ImageID"],
            "sequence": sequence_of(row),
            "animal": row["Animal"],
            "blind": row["Blind"],
            "mode": row["Mode"],
            "undone": sequence_of(row) in heads.get(row["ImageID"], {}).get("Undone", set()),
            "at": row["At"],
        }
        for row in rows
    ]
    return http_api.answer(200, {"verdicts": shown, "before": before})


@app.get("/people/images/<image_id>/reviews")
def history(image_id: str) -> Response[str]:
    """Everything that people said about an image, oldest first; empty when nobody did. Own verdicts have their key."""
    person = reviewer()
    if not IMAGE_ID.fullmatch(image_id):
        raise http_api.image_not_found()
    logger.append_keys(image_id=image_id)
    review = reviews.review(settings.required("REVIEWS_TABLE_NAME"), image_id)
    if review is None and detection_logs.find(settings.required("DETECTION_LOGS_TABLE_NAME"), image_id) is None:
        raise http_api.image_not_found()
    rows = review.rows if review else ()
    undone = {int(row["Undoes"]) for row in rows if row["Kind"] == Kind.UNDO}
    shown = [
        {
            "kind": row["Kind"],
            "animal": row.get("Animal") or row.get("Leaves"),
            "by": row["PersonName"],
            "at": row["At"],
            "mode": row["Mode"],
            "blind": row["Blind"],
            "milliseconds": row.get("Milliseconds", 0),
            "undone": sequence_of(row) in undone,
            "sameAs": row.get("SameAs"),
            "key": row["Key"] if row["Person"] == person.id else None,
        }
        for row in rows
    ]
    carried_out = review is None or "PendingSince" not in review.head
    return http_api.answer(200, {"imageId": image_id, "reviews": shown, "carriedOut": carried_out})


def reviewer() -> Person:
    """Who asks. Raises RequestError when they may not review."""
    person = http_api.person_of(app)
    if person is None:
        raise unauthorized()
    person.needs(Group.REVIEWER)
    return person


def picture_shown(picture: Picture) -> dict[str, Any]:
    """What the page gets of a picture: of a blind one nothing but the picture."""
    head, record = picture.head, picture.record
    bucket = settings.required("IMAGE_BUCKET_NAME")
    blind = is_blind(head)
    shown = {
        "imageId": head["ImageID"],
        "viewUrl": image_bucket.view_link(bucket, key_in(record["S3Location"])),
        "viewUrlExpiresInSeconds": image_bucket.VIEW_LINK_SECONDS,
        "leasedUntil": head["LeasedUntil"],
        "blind": blind,
        "sequence": head["Sequence"],
    }
    if blind:
        return shown
    labels = [{"name": label["Name"], "confidence": label["Confidence"]} for label in record.get("Labels", [])]
    return shown | {
        "guess": head["Guess"],
        "leaning": head["Leaning"],
        "scores": head["Scores"],
        "reason": record.get("Reason", ""),
        "labels": labels,
        "fileName": printable(record.get("OriginalFilename", ""), MAX_NAME_LENGTH) or "image",
    }


def parse(body: str | None, key: str) -> Verdict | Undo:
    """What a request says, checked. Raises RequestError."""
    try:
        fields = json.loads(body or "")
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "INVALID_BODY", "Send a JSON object with imageId, and animal or undoes.")
    image_id = fields.get("imageId")
    if not isinstance(image_id, str) or not IMAGE_ID.fullmatch(image_id):
        raise http_api.image_not_found()
    if "undoes" in fields:
        undoes = fields["undoes"]
        if not isinstance(undoes, str) or not _KEY.fullmatch(undoes):
            raise RequestError(400, "INVALID_BODY", "undoes must be the Idempotency-Key of a verdict.")
        return Undo(image_id, key, undoes)
    sequence, milliseconds, blind = fields.get("sequence"), fields.get("milliseconds", 0), fields.get("blind", False)
    if not isinstance(blind, bool) or not _is_count(milliseconds) or not (sequence is None or _is_count(sequence)):
        raise RequestError(
            400, "INVALID_BODY", "blind must be true or false, milliseconds and sequence whole numbers from 0."
        )
    return Verdict(
        image_id,
        key,
        choice(Animal, "animal", fields.get("animal")),
        choice(Mode, "mode", fields.get("mode", Mode.SINGLE.value)),
        blind,
        min(milliseconds, MAX_MILLISECONDS),
        sequence,
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def choice(choices: type[Choice], name: str, text: object) -> Choice:
    """The value of `name`. Raises RequestError when it is not one of the choices."""
    try:
        return choices(str(text))
    except ValueError:
        raise RequestError(400, "INVALID_FILTER", f"{name} must be one of {', '.join(choices)}.") from None


def number(name: str, text: str | None, default: int, most: int) -> int:
    """A whole number from 1 to `most`. Raises RequestError."""
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= most:
        raise RequestError(400, "INVALID_LIMIT", f"{name} must be a number from 1 to {most}.")
    return int(text)


def image_ids(name: str, text: str) -> frozenset[str]:
    """The ImageIDs of a parameter. Raises RequestError."""
    found = text.split(",") if text else []
    if len(found) > MAX_IMAGE_IDS or not all(map(IMAGE_ID.fullmatch, found)):
        raise RequestError(
            400, "INVALID_FILTER", f"{name} must be at most {MAX_IMAGE_IDS} image ids with commas between them."
        )
    return frozenset(found)
