"""Cells of a storm of notices: the count of them, what is withheld, and the digest that the Reconciler sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pet_detector.rules.notices import REVIEW as KIND
from tests.support.waiting import wait_for

from .cells import Case, Cell, Phase
from .stories import REVIEW

_ITEM = f"notice-burst#{KIND}"
_THROTTLED, _SERVICE, _DENIED = "ThrottledError", "ServiceError", "AccessDeniedError"
_FOR_GOOD = {"throttled for good": _THROTTLED, "access denied": _DENIED, "expired credentials": _DENIED}
_REFUSED_ONCE = {"throttled twice, then fine": _THROTTLED, "server error twice, then fine": _SERVICE}
_LOST = {"answer lost after the commit", "answer corrupted once"}
_UNANSWERED = {"hangs once", "connection reset once", *_LOST}


def _begin_storm(case: Case) -> None:
    """From here on review notices are withheld."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    item = {"ImageID": {"S": _ITEM}, "Withheld": {"N": "0"}, "WithheldSince": {"S": now}}
    case.rig.dynamodb.put_item(TableName=case.rig.table, Item=item)


def _end_storm(case: Case) -> None:
    case.rig.dynamodb.delete_item(TableName=case.rig.table, Key={"ImageID": {"S": _ITEM}})


def count(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """A notice that cannot be counted, in one attempt of a second, is sent."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            number = case.inject_everywhere("dynamodb", "UpdateItem", rule, "ADD #minute")
            case.put()
            case.wait_for_fault(number)

        return Cell("UpdateItem: count notice", fault, act, REVIEW, "uncertain", phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def withhold(rules: dict[str, dict[str, Any]]) -> list[Cell]:
    """A notice that the digest cannot be told of is sent."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            _begin_storm(case)
            number = case.inject_everywhere("dynamodb", "UpdateItem", rule, "ADD Withheld :one")
            case.put()
            case.wait_for_fault(number)
            case.require(wait_for(lambda: case.rig.sent(case.image_id), 60), "the notice was withheld")
            _end_storm(case)

        return Cell("UpdateItem: withhold notice", fault, act, REVIEW, "uncertain", phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def digest(sns: dict[str, dict[str, Any]], dynamodb: dict[str, dict[str, Any]]) -> list[Cell]:
    """A run of the Reconciler that fails, or does not know whether its digest was sent, is mended by the next one."""
    read = {fault: (_FOR_GOOD.get(fault, ""), 1) for fault in dynamodb}
    published = {fault: ((_FOR_GOOD | _REFUSED_ONCE).get(fault, ""), 2 if fault in _LOST else 1) for fault in sns}
    settled = {fault: (_FOR_GOOD.get(fault, ""), 2 if fault in _FOR_GOOD else 1) for fault in dynamodb}
    return [
        _digest_cell("event", "of an uncertain image in a storm of notices", lambda _: None, "", 1, again=False),
        *_row("GetItem: notice digest", "dynamodb", "GetItem", dynamodb, "notice-burst", read),
        *_row("Publish: notice digest", "sns", "Publish", sns, "NoticeDigest", published),
        *_row("UpdateItem: notice digest", "dynamodb", "UpdateItem", dynamodb, "REMOVE Withheld", settled),
    ]


def _row(
    call: str,
    service: str,
    operation: str,
    rules: dict[str, dict[str, Any]],
    payload: str,
    ends: dict[str, tuple[str, int]],
) -> list[Cell]:
    """`ends` has the error of the run, and how many digests there are when the next run has ended."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def breaks(case: Case) -> Callable[[], None]:
            number = case.inject_everywhere(service, operation, rule, payload)
            return lambda: case.wait_for_fault(number)

        error, digests = ends[fault]
        again = bool(error) or (service == "sns" and fault in _UNANSWERED)
        return _digest_cell(call, fault, breaks, error, digests, again=again)

    return [cell(fault, rule) for fault, rule in rules.items()]


def _digest_cell(
    call: str,
    fault: str,
    breaks: Callable[[Case], Callable[[], None] | None],
    error: str,
    digests: int,
    *,
    again: bool,
) -> Cell:
    seen = f"the run fails ({error})" if error else "the digest is sent again" if again else "in a digest"

    def act(case: Case) -> None:
        before = len(case.rig.digests())
        _begin_storm(case)
        case.put()
        counted = {"N": "1"}
        case.require(wait_for(lambda: case.rig.item(_ITEM).get("Withheld") == counted, 120), "nothing was withheld")
        is_broken = breaks(case)
        answer = case.rig.reconcile()
        if is_broken:
            is_broken()
        case.require(answer.get("errorType", "") == error, f"the run answered {answer}")

        def next_run() -> None:
            case.rig.reconcile()
            sent = len(case.rig.digests()) - before
            case.require(sent == digests, f"{sent} digests, not {digests}")
            case.require(not case.rig.item(_ITEM).keys() & {"Withheld", "WithheldSince"}, "the storm is not over")

        if again:
            case.refuse(seen, next_run)
        else:
            case.refused = seen
            next_run()

    return Cell(call, fault, act, replace(REVIEW, reviews=0, refused=seen), "uncertain", phase=Phase.ALONE)
