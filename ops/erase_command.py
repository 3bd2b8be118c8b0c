"""`petdetect erase`: which images, what would happen, and when it asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import click

from ops import output, records
from ops.environment import Deployment
from ops.errors import KNOWN, OperatorError
from pet_detector.aws import api_clients, detection_logs, erasures
from pet_detector.aws.erasures import Source
from pet_detector.rules.models import ERASED
from pet_detector.use_cases import erasure
from pet_detector.use_cases.erasure import Found, Outcome, Resources

ATTENTION = 3
# Images that are erased together: the dead letters are looked through once for all of them.
_TOGETHER = 500
# Amazon SQS counts the messages that somebody has received up to a minute late, also those of a pass just before.
PATIENCE_SECONDS = 90.0
# Rows of the preview: of thousands nobody reads more.
_ROWS = 50


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command's arguments and options, but for the ids."""
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be erased, and do nothing."),
        click.option("--replay", is_flag=True, help="Erase again what is there of the ledger: after every restore."),
        click.option("--uploader", metavar="KEY", help="All images of an uploader: the id of an API key, or an owner."),
    ):
        function = option(function)
    return function


def run(
    deployment: Deployment,
    image_ids: tuple[str, ...],
    *,
    uploader: str | None,
    replay: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase images, for good."""
    if [bool(image_ids), bool(uploader), replay].count(True) != 1:
        raise click.UsageError("Name images to erase, or give --uploader KEY, or --replay: one of them.")
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json cannot prompt; add --yes (or --dry-run).")
    resources = resources_of(deployment)
    if replay:
        chosen: Iterable[str] = erasure.came_back(resources)
    else:
        chosen = image_ids or erasure.of_uploader(resources, _owner(deployment, str(uploader)))
    look = partial(erasure.look, resources, source=Source.OPERATOR)
    found = list(records.for_each(look, dict.fromkeys(chosen)))
    if image_ids:
        _refuse_unknown(deployment, resources, found)
    if dry_run and as_json:
        output.say_json({"dryRun": True, "images": list(map(_preview_document, found))})
        return
    if not as_json:
        _show_preview(found)
    possible = [one.image_id for one in found if not one.refusal]
    if dry_run or (not found and not as_json):
        return
    if possible and not yes:
        question = f"Erase {len(possible)} images in {deployment.environment}? Nothing brings them back."
        click.confirm(question, abort=True, err=True)
    results = [Outcome(one.image_id, refusal=one.refusal) for one in found if one.refusal]
    try:
        for batch in _batches(possible):
            results += erasure.erase(resources, batch, Source.OPERATOR, patience=PATIENCE_SECONDS)
    except KNOWN as error:
        _show_results(results, as_json, error)
        raise
    _show_results(results, as_json)
    if any(result.refusal or not result.is_done for result in results):
        raise click.exceptions.Exit(ATTENTION)


def resources_of(deployment: Deployment) -> Resources:
    """What erasing needs, of the deployed stack."""
    return Resources(
        bucket=deployment.bucket,
        table=deployment.table,
        analyses=deployment.output("AnalysesTableName"),
        reviews=deployment.output("ReviewsTableName"),
        ledger=deployment.output("ErasuresTableName"),
        dead_letter_queues=tuple(deployment.dead_letter_queues.values()),
        retention_days=int(deployment.parameter("RecordRetentionDays")),
    )


def _owner(deployment: Deployment, uploader: str) -> str:
    """Whose pictures an API key uploads: also of a revoked one. What is no key's id is an owner already."""
    item = detection_logs.all_known(deployment.table, f"{api_clients.KEY_PREFIX}{uploader}")
    return str((item or {}).get("Owner", uploader))


def _refuse_unknown(deployment: Deployment, resources: Resources, found: list[Found]) -> None:
    nothing = [one.image_id for one in found if one.is_nothing]
    unknown = [image_id for image_id in nothing if erasures.find(resources.ledger, image_id) is None]
    if unknown:
        raise OperatorError(
            f"There is no image {', '.join(unknown)} in {deployment.environment}: look at the ID, or name another "
            "environment with --env."
        )


def _batches(image_ids: list[str]) -> Iterator[list[str]]:
    rest = iter(image_ids)
    return iter(lambda: list(itertools.islice(rest, _TOGETHER)), [])


def _status(one: Found) -> str:
    status = (one.record or {}).get("ProcessingStatus", "unrecorded")
    return "erased" if status == ERASED else str(status)


def _show_preview(found: list[Found]) -> None:
    if not found:
        output.say("There is nothing to erase. petdetect key list shows the ids of API keys, and their owners.")
        return
    output.print_table(
        ("image", "status", "object versions", "what would happen"),
        ((one.image_id, _status(one), str(len(one.versions)), one.refusal or "erase") for one in found[:_ROWS]),
    )
    refused = sum(bool(one.refusal) for one in found)
    more = f" The first {_ROWS} are shown." if len(found) > _ROWS else ""
    output.say(f"{len(found) - refused} to erase, {refused} not now.{more}")


def _preview_document(one: Found) -> dict[str, Any]:
    return {
        "imageId": one.image_id,
        "status": _status(one),
        "objects": [version.key for version in one.versions],
        "refusal": one.refusal or None,
    }


def _show_results(results: list[Outcome], as_json: bool, error: BaseException | None = None) -> None:
    """What is known so far; `error` is what interrupted it, which the caller raises."""
    if as_json:
        output.say_json({"dryRun": False, "images": results, "error": error})
        return
    erased = [result for result in results if not result.refusal]
    objects, messages = sum(r.objects for r in erased), sum(r.messages for r in erased)
    output.say(
        f"{len(erased)} erased: {objects} object versions and {messages} dead letters deleted. "
        f"{len(results) - len(erased)} not now."
    )
    for result in results:
        if result.refusal:
            output.say(f"  {result.image_id}: {result.refusal}")
    if any(not result.is_done for result in erased):
        output.say(
            "Some dead letters were in other hands, or there are too many: nobody knows whether they name one of the "
            "images. Later: petdetect erase --replay."
        )
