"""ErasureApi: DELETE /images/{id} and DELETE /people/images/{id}. Erases an image of the caller's."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from pet_detector.aws import api_clients, detection_logs, erased_records
from pet_detector.aws.api_clients import ApiClient
from pet_detector.aws.erasures import Source
from pet_detector.rules.errors import RequestError
from pet_detector.rules.image_ids import IMAGE_ID
from pet_detector.rules.people import Group
from pet_detector.runtime import http_api, settings
from pet_detector.runtime.observability import logger
from pet_detector.use_cases import erasure

app = http_api.resolver()


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    return app.resolve(event, context)


@app.delete("/images/<image_id>")
@app.delete("/people/images/<image_id>")
def erase_image(image_id: str) -> Response[str]:
    """200 when all that is held of the image is gone; 202 when dead letters are left that an operator has to look at.

    404 for an unknown id, another's image, and one that was erased; 409 while it is being processed or may arrive.
    """
    table = settings.required("DETECTION_LOGS_TABLE_NAME")
    caller = caller_of_request(table)
    record = None
    if IMAGE_ID.fullmatch(image_id):
        logger.append_keys(image_id=image_id)
        record = detection_logs.all_known(table, image_id)
    if record is None or erased_records.is_mark(record) or not caller.may_see(record):
        logger.info("Image not erased", denied=record is not None and not erased_records.is_mark(record))
        raise http_api.image_not_found()
    resources = erasure.Resources(
        bucket=settings.required("IMAGE_BUCKET_NAME"),
        table=table,
        analyses=settings.required("ANALYSES_TABLE_NAME"),
        reviews=settings.required("REVIEWS_TABLE_NAME"),
        ledger=settings.required("ERASURES_TABLE_NAME"),
        dead_letter_queues=(
            settings.required("IMAGE_EVENTS_DEAD_LETTER_QUEUE_URL"),
            settings.required("REPORTS_DEAD_LETTER_QUEUE_URL"),
        ),
        retention_days=int(settings.required("RECORD_RETENTION_DAYS")),
    )
    (outcome,) = erasure.erase(resources, [image_id], Source.API)
    if outcome.refusal:
        raise RequestError(409, "IMAGE_NOT_FINISHED", outcome.refusal)
    status, word = (200, "erased") if outcome.is_done else (202, "erasing")
    return http_api.answer(status, {"imageId": image_id, "status": word})


def caller_of_request(table: str) -> ApiClient:
    """Who asks, as what they may erase. From here on every line of log names the person or the key, and the request."""
    if person := http_api.person_of(app):
        person.needs(Group.UPLOADER)
        return api_clients.of_who_erases(person)
    key_id = http_api.caller_of(app)
    logger.append_keys(api_key_id=key_id, correlation_id=http_api.request_id_of(app))
    return api_clients.of_key(table, key_id)
