"""Cells of the turns to ask Rekognition: the calls that take, keep and note them, and images that wait for theirs."""

from __future__ import annotations

import hashlib
import os
import signal
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pet_detector.aws import detection_logs
from pet_detector.rules import image_ids

from . import stories
from .cells import Case, Cell, Expected, Phase, Upload, failed, picture

# Seconds of turns that others have: enough to do something while an image waits.
SHORT, LONG = 4.0, 8.0
# More than all retries of a throttled state take here, so that the turn has not come when they are over.
LONGER_THAN_RETRIES = 75.0

Rules = dict[str, dict[str, Any]]
THROTTLED_FOR_GOOD = "throttled for good"
_ENDS = {
    THROTTLED_FOR_GOOD: failed("ThrottledError"),
    "access denied": failed("AccessDeniedError"),
    "expired credentials": failed("AccessDeniedError"),
}


# --- Calls -----------------------------------------------------------------------------------------------------------


def take(rules: Rules) -> list[Cell]:
    """The two writes that take a turn: the first one does it while nobody waits, else the second one."""

    def idle(case: Case, _seconds: float) -> None:
        case.put()

    def busy(case: Case, seconds: float) -> None:
        case.put_behind(seconds)

    return [
        *_nameless_row("UpdateItem: take turn, nobody waits", "UpdateItem", "NextTurn <= :earliest", rules, idle),
        *_nameless_row("UpdateItem: take turn, others wait", "UpdateItem", "NextTurn [+] :interval", rules, busy),
    ]


def look_at_live_turns(rules: Rules) -> list[Cell]:
    """An image of a backfill reads when it may come back, as live uploads are waiting."""

    def act(case: Case, seconds: float) -> None:
        case.put_behind(seconds, _backfill_key(case))

    return _nameless_row("GetItem: live turns", "GetItem", "turns#live", rules, act)


def hold_back(rules: Rules) -> list[Cell]:
    """Rekognition throttles once, and pushing all turns back meets every fault."""

    def act(case: Case, _seconds: float) -> None:
        throttle = {"error": {"code": "ThrottlingException", "status": 400}, "times": 1}
        case.inject("rekognition", "DetectLabels", throttle)
        case.put()

    # When no turn can be pushed back Analyze Image is retried, and asks again.
    ends = _ENDS | {THROTTLED_FOR_GOOD: Expected()}
    return _nameless_row("UpdateItem: hold turns back", "UpdateItem", "NextTurn < :until", rules, act, ends)


def _nameless_row(
    call: str,
    operation: str,
    payload: str,
    rules: Rules,
    upload: Callable[[Case, float], None],
    ends: dict[str, Expected] = _ENDS,
) -> list[Cell]:
    """A call about the turns of all images, so that these cells run alone."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            number = case.inject_everywhere("dynamodb", operation, rule, payload)
            upload(case, LONGER_THAN_RETRIES if fault in ends else SHORT)
            case.wait_for_fault(number)

        return Cell(call, fault, act, ends.get(fault, Expected()), phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


def while_waiting(call: str, text: str, rules: Rules) -> list[Cell]:
    """A write about an image that has to wait for its turn."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            number = case.inject("dynamodb", "UpdateItem", rule, also=text)
            case.put_behind(LONGER_THAN_RETRIES if fault in _ENDS else SHORT)
            case.wait_for_fault(number)

        return Cell(call, fault, act, _ENDS.get(fault, Expected()), phase=Phase.WAITING)

    return [cell(fault, rule) for fault, rule in rules.items()]


def throttled_in_its_turn(operation: str, throttle: dict[str, Any], times: int) -> Callable[[Case], None]:
    """Rekognition throttles so often: each time the image waits, and no attempt of its state fails of it."""

    def act(case: Case) -> None:
        rule = case.inject("rekognition", operation, {**throttle, "times": times})
        upload = case.put()
        case.wait_for_fault(rule, "rekognition", times)
        stories.wait_for_the_end(case, upload)
        execution = case.execution_of(upload)
        waits = case.rig.states_entered(execution).count("Wait for Turn")
        # More when images of other cells have taken the turns meanwhile.
        case.require(waits >= times, f"it waited {waits} times, not {times}")
        # A busy machine may fail an attempt in its own way, such as a read that takes too long.
        failures = filter(None, (event.get("taskFailedEventDetails") for event in case.rig.history(execution)))
        errors = [failure["error"] for failure in failures]
        case.require("ThrottledError" not in errors, f"a throttle failed an attempt: {errors}")

    return act


# --- While an image waits --------------------------------------------------------------------------------------------


def _backfill_key(case: Case) -> str:
    return f"{image_ids.BACKFILL_FOLDER}/{case.image_id}.jpg"


def _put_and_wait(case: Case, seconds: float = SHORT, key: str | None = None) -> tuple[Upload, str]:
    """Upload, until the image waits for its turn: the upload, and its execution."""
    upload = case.put_behind(seconds, key)
    return upload, _until_it_waits(case, upload)


def _until_it_waits(case: Case, upload: Upload) -> str:
    execution = case.execution_of(upload)
    case.wait_for_state(execution, "Wait for Turn")
    return execution


def _require_waits(case: Case, upload: Upload, times: int) -> None:
    waits = case.rig.states_entered(case.execution_of(upload)).count("Wait for Turn")
    case.require(waits == times, f"it waited {waits} times, not {times}")


def _content_hash(case: Case) -> str:
    return hashlib.sha256(case.data).hexdigest()


def _stopped(case: Case) -> None:
    _, execution = _put_and_wait(case, LONG)
    case.stop(execution)


def _everything_stops(case: Case) -> None:
    """The execution and the event of its end are lost. The claim of an image that has its turn ahead is valid."""
    with stories.failures_unheard(case):
        upload, execution = _put_and_wait(case, LONG)
        case.stop(execution)
    stories.age_claim(case, upload)
    case.require(stories.finished(case, case.start(upload)) == ["SUCCEEDED"], "the event that came again failed")
    owner = case.execution_of(upload)
    case.require(owner == execution, "the claim of an image that waits for its turn was taken over")
    long_ago = detection_logs.format_time(datetime.now(UTC) - timedelta(hours=3))
    case.rig.change_record(upload.image_id, ClaimedAt=long_ago, TurnAt=long_ago)
    case.rig.reconcile()


def _events_again(case: Case) -> None:
    upload, execution = _put_and_wait(case)
    case.require(set(stories.finished(case, case.start(upload, 2))) == {"SUCCEEDED"}, "a repeated event failed")
    case.require(case.execution_of(upload) == execution, "a repeated event took the image over")
    stories.wait_for_the_end(case, upload)
    _require_waits(case, upload, 1)


def _others_queue_behind(case: Case) -> None:
    """The image has its turn, however many come after it."""
    upload, _ = _put_and_wait(case, LONG)
    case.rig.others_take_turns(600)
    stories.wait_for_the_end(case, upload)
    _require_waits(case, upload, 1)


def _deleted(case: Case) -> None:
    upload, _ = _put_and_wait(case)
    case.rig.s3.delete_object(Bucket=case.rig.bucket, Key=upload.key, VersionId=upload.version)


def _overwritten(case: Case) -> None:
    first, _ = _put_and_wait(case)
    second = case.put(data=picture("cat", uuid.uuid4().hex))
    stories.wait_for_the_end(case, first)
    version = case.rig.record(first.image_id)["SourceVersion"]["S"]
    case.require(version == first.version, "the record is about the other version")
    case.rig.end_queue()
    case.rig.reconcile()
    case.superseded(second, first)


def _same_bytes(case: Case) -> tuple[Upload, str, Upload, int]:
    """Two images with the same bytes wait: the first, its execution, the second, and the rule that counts calls."""
    other = uuid.uuid4().hex
    case.name_also(other)
    calls = case.inject("rekognition", "DetectLabels", {})  # breaks nothing
    first, execution = _put_and_wait(case, LONG)
    turn = case.rig.next_turn()
    second = case.put(f"input/{other}.jpg")
    _until_it_waits(case, second)
    case.require(case.rig.next_turn() == turn, "the second image took a turn, too")
    return first, execution, second, calls


def _same_bytes_wait(case: Case) -> None:
    first, _, second, calls = _same_bytes(case)
    stories.wait_for_the_end(case, first)
    stories.wait_for_the_end(case, second)
    made = case.rig.rekognition.fired(calls)
    case.require(made == 1, f"Rekognition was asked {made} times")
    reused = [case.rig.record(u.image_id).get("AnalysisReused", {}).get("BOOL") for u in (first, second)]
    case.require(reused == [False, True], f"AnalysisReused is {reused}")


def _same_bytes_first_is_stopped(case: Case) -> None:
    """The second image gets its analysis when the lease of the first, which nobody uses any more, has ended."""
    _, execution, second, _ = _same_bytes(case)
    second.expected = Expected()
    case.stop(execution)
    case.rig.lease_ends(_content_hash(case))
    stories.wait_for_the_end(case, second)


def _refused_twice(case: Case) -> None:
    """An image of a backfill gets no live turn, and when it comes back there are new live uploads."""
    upload, _ = _put_and_wait(case, key=_backfill_key(case))
    case.rig.others_take_turns(SHORT + LONG)
    stories.wait_for_the_end(case, upload)
    _require_waits(case, upload, 2)


def _limit_reached(case: Case) -> None:
    """Others have used up the day's analyses when the turn comes."""
    upload, _ = _put_and_wait(case, LONG)
    with case.rig.daily_limit_reached():
        stories.wait_for_the_end(case, upload)
    _require_waits(case, upload, 1)


def _worker_killed(case: Case) -> None:
    """It has its turn in its lease, so the next attempt finds it."""
    rule = case.inject("dynamodb", "UpdateItem", stories.HANGS, also="SET TurnAt")
    case.put_behind(LONG)
    case.wait_for_fault(rule)
    turn = case.rig.next_turn()
    for process, name in case.rig.workers():
        if name == "ImageProcessorFunction":
            os.kill(int(process.name), signal.SIGKILL)
    _until_it_waits(case, case.uploads[0])
    case.require(case.rig.next_turn() == turn, "it took another turn")


_ABORTED = failed("ExecutionAborted")
_STORIES = {
    "stopped": (_stopped, _ABORTED),
    "everything stops, then reconciled": (_everything_stops, Expected()),
    "its event comes twice more": (_events_again, Expected()),
    "many others come": (_others_queue_behind, Expected()),
    "ImageProcessor is killed while it notes the turn": (_worker_killed, Expected()),
    "deleted": (_deleted, failed("ImageNotFoundError", gone=True, folder="cats")),
    "overwritten": (_overwritten, Expected()),
    "the same bytes come": (_same_bytes_wait, Expected()),
    "the same bytes come, and it is stopped": (_same_bytes_first_is_stopped, _ABORTED),
    "of a backfill, and new live uploads come": (_refused_twice, Expected()),
    "the daily limit is reached": (_limit_reached, Expected("held", "input")),
}
STORIES = [Cell("Wait for Turn", name, act, end, phase=Phase.ALONE) for name, (act, end) in _STORIES.items()]
