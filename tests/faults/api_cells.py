"""Cells of what surrounds the workflow: the API's own writes, the detection policy, and the Reconciler's starts."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from .cells import Case, Cell, Expected, Phase, Upload, failed

# Calls that name no image, or that need the events of all images lost: nothing else may run beside them.
ALONE = {"GetParameter: policy", "StartExecution: Reconciler"}
_FINE = {"throttled twice, then fine", "server error twice, then fine"}


def _post(case: Case) -> int:
    """POST /upload with the picture and an Idempotency-Key; the status."""
    body = {"fileName": "cat.jpg", "contentType": "image/jpeg", "image": base64.b64encode(case.data).decode()}
    headers = {"x-api-key": case.bench.api_key, "Content-Type": "application/json", "Idempotency-Key": case.cell.name}
    request = urllib.request.Request(
        f"{case.bench.outputs['ApiUrl']}/upload", json.dumps(body).encode(), headers, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _api_row(call: str, service: str, operation: str, rules: dict[str, dict[str, Any]], first: dict[str, int]) -> Any:
    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            from upload_api.app import image_id_for  # late: the module reads its environment

            case.image_id = image_id_for(case.cell.name, case.bench.outputs["ApiKeyId"])
            case.key = f"input/{case.image_id}.jpg"
            case.name_again()
            case.inject(service, operation, rule)
            status = _post(case)
            case.require(status == first.get(fault, 202), f"the API answered {status}, not {first.get(fault, 202)}")
            case.lift()
            if status != 202:  # the client repeats the request: same Idempotency-Key, same image
                case.require(_post(case) == 202, "the repeated request was refused")
            case.uploads.append(Upload(case.image_id, case.key, case.newest_version(case.key), case.cell.expected))

        return Cell(call, fault, act, Expected())

    return [cell(fault, rule) for fault, rule in rules.items()]


def announce(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """PutItem: the SDK tries three times; what it cannot mend, the client's repetition does."""
    first = {"throttled for good": 503, "access denied": 500, "expired credentials": 500}
    return list(_api_row("PutItem: announce", "dynamodb", "PutItem", rules, first))


def store(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """PutObject: one attempt, then the client repeats the request."""
    first = dict.fromkeys(rules, 503) | {"access denied": 500, "expired credentials": 500}
    rules = {fault: {**rule, "times": 1} if fault in _FINE else rule for fault, rule in rules.items()}
    return list(_api_row("PutObject: store", "s3", "PutObject", rules, first))


def policy(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """GetParameter: names no image and is cached by each worker, so these run alone, each with new workers."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            case.bench.restart_workers(case.bench.outputs["ImageProcessorFunctionName"])
            number = case.inject_everywhere("ssm", "GetParameter", rule)
            case.put()
            case.wait_for_fault(number)

        # The SDK's own five attempts are over before the state machine's begin.
        bad = {
            "throttled for good": failed("ThrottledError"),
            "access denied": failed("AccessDeniedError"),
            "expired credentials": failed("AccessDeniedError"),
        }
        return Cell("GetParameter: policy", fault, act, bad.get(fault, Expected()), phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def reconciler(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """The upload's event was lost. A run that fails is mended by the next one."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            with case.bench.events_lost():
                case.put()
            number = case.inject("stepfunctions", "StartExecution", rule)
            answer = case.bench.reconcile()
            case.wait_for_fault(number)
            case.lift()
            if "errorType" in answer:
                case.bench.reconcile()

        return Cell("StartExecution: Reconciler", fault, act, Expected(), phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]
