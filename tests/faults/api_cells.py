"""Cells of what surrounds the workflow: the API's own writes, the detection policy, and the Reconciler's starts."""

from __future__ import annotations

import base64
from typing import Any

import requests

from upload_api.app import image_id_for

from .cells import Case, Cell, Expected, Phase, failed, picture
from .stories import wait_for_the_end

# Calls that name no image, or that need the events of all images lost: nothing else may run beside them.
ALONE = {"GetParameter: policy", "GetItem: newest model", "StartExecution: Reconciler", "DeleteObjects: Reconciler"}
_FINE = {"throttled twice, then fine", "server error twice, then fine"}
_COMMITTED = {"answer lost after the commit", "answer corrupted once"}


def _post(case: Case) -> int:
    """POST /upload with the picture and an Idempotency-Key; the status."""
    body = {"fileName": "cat.jpg", "contentType": "image/jpeg", "image": base64.b64encode(case.data).decode()}
    headers = {"x-api-key": case.rig.api_key, "Idempotency-Key": case.cell.name}
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        return session.post(f"{case.rig.outputs['ApiUrl']}/upload", json=body, headers=headers, timeout=60).status_code


def _api_row(
    call: str, service: str, operation: str, rules: dict[str, dict[str, Any]], first: dict[str, int], left: str
) -> list[Cell]:
    """`first` has the answers to the first request that are no 202; it leaves a record `left`, and no object."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            case.image_id = image_id_for(case.cell.name, case.rig.outputs["ApiKeyId"])
            case.key = f"input/{case.image_id}.jpg"
            case.name_again()
            number = case.inject(service, operation, rule)
            case.upload(case.image_id, case.key)
            status = _post(case)
            case.wait_for_fault(number)
            if status != 202:
                case.refuse(f"refused ({status})", lambda: repeat(case))

        def repeat(case: Case) -> None:
            """The client's request again: same Idempotency-Key, same image."""
            wanted = 200 if case.rig.status(case.image_id) == "completed" else 202
            status = _post(case)
            case.require(status == wanted, f"the repeated request was answered {status}, not {wanted}")

        if fault not in first:
            return Cell(call, fault, act, Expected())
        refused = f"refused ({first[fault]})"
        if fault in _COMMITTED:
            return Cell(call, fault, act, Expected(refused=refused))
        return Cell(call, fault, act, Expected(left, gone=True, refused=refused))

    return [cell(fault, rule) for fault, rule in rules.items()]


def announce(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """PutItem: the SDK tries three times; what it cannot mend, the client's repetition does."""
    first = {"throttled for good": 503, "access denied": 500, "expired credentials": 500}
    return _api_row("PutItem: announce", "dynamodb", "PutItem", rules, first, "no record")


def store(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """PutObject: one attempt, then the client repeats the request."""
    first = dict.fromkeys(rules, 503) | {"access denied": 500, "expired credentials": 500}
    rules = {fault: {**rule, "times": 1} if fault in _FINE else rule for fault, rule in rules.items()}
    return _api_row("PutObject: store", "s3", "PutObject", rules, first, "uploading")


def policy(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """GetParameter: is cached by each worker, so each cell has new workers."""
    return _nameless_row("GetParameter: policy", "ssm", "GetParameter", rules, new_workers=True)


def newest_model(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """GetItem of the analyses' newest model version."""
    return _nameless_row("GetItem: newest model", "dynamodb", "GetItem", rules, "newest-model")


def _nameless_row(
    call: str,
    service: str,
    operation: str,
    rules: dict[str, dict[str, Any]],
    payload: str = ".",
    *,
    new_workers: bool = False,
) -> list[Cell]:
    """A call of ImageProcessor that names no image, so that these cells run alone."""
    bad = {
        "throttled for good": failed("ThrottledError"),
        "access denied": failed("AccessDeniedError"),
        "expired credentials": failed("AccessDeniedError"),
    }

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            if new_workers:
                case.rig.configure("ImageProcessorFunction")  # new workers, which have cached nothing
            number = case.inject_everywhere(service, operation, rule, payload)
            case.put()
            case.wait_for_fault(number)

        return Cell(call, fault, act, bad.get(fault, Expected()), phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def reconciler(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """The upload's event was lost. A run that fails is mended by the next one."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            with case.rig.uploads_ignored():
                case.put()
            number = case.inject("stepfunctions", "StartExecution", rule)
            answer = case.rig.reconcile()
            case.wait_for_fault(number)
            if "errorType" in answer:
                case.refuse(f"the run fails ({answer['errorType']})", case.rig.reconcile)

        bad = {
            "throttled for good": "ThrottledError",
            "access denied": "AccessDeniedError",
            "expired credentials": "AccessDeniedError",
        }
        end = Expected("no record", "input", refused=f"the run fails ({bad[fault]})") if fault in bad else Expected()
        return Cell("StartExecution: Reconciler", fault, act, end, phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def superseding(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """A form was posted twice. A run that cannot remove the later upload is mended by the next one."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            image = case.put()
            wait_for_the_end(case, image)
            later = case.put(data=picture("cat", case.cell.name))
            number = case.inject("s3", "DeleteObjects", rule)
            answer = case.rig.reconcile()
            case.wait_for_fault(number)
            if "errorType" in answer:
                case.lift()
                case.rig.reconcile()
            case.superseded(later, image)

        return Cell("DeleteObjects: Reconciler", fault, act, Expected(), phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]
