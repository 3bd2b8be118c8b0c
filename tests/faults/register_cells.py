"""Cells of RegisterImages: its calls, and batches that are registered twice, late, or by a process that dies.

A batch has two pictures. The faults hit the first one; the second one shows what becomes of the rest of a batch.
"""

from __future__ import annotations

import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import yaml

from pet_detector.rules import backfill
from pet_detector.rules.backfill import Source
from pet_detector.rules.models import ImageFormat
from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_for

from .cells import Case, Cell, Expected, Phase, picture
from .stories import HANGS

Rules = dict[str, dict[str, Any]]

FUNCTION = "RegisterImagesFunction"
_DENIED = "counted as denied"
THROTTLED_FOR_GOOD, DENIED, EXPIRED = "throttled for good", "access denied", "expired credentials"
# A copy that takes long, and is still waited for: less than the timeout of the SDK.
SLOW = {"latency": 6000, "times": 1}
# How often a batch waits for another attempt to copy until it is said to wait for good.
ROUNDS = 4

# The text that only the copies of RegisterImages have; FileManager copies from input/.
_ALBUM = "album/"
_NO_RECORD, _NO_OBJECT = Expected("no record", gone=True), Expected("uploading", gone=True)


class Batch:
    """Two pictures in a folder of the image bucket, as RegisterImages gets them."""

    def __init__(self, case: Case) -> None:
        self._case, self._rig = case, case.rig
        self._folder = f"{_ALBUM}{uuid.uuid4().hex}/"
        self._sources = [self._put("1.jpg", case.data), self._put("2.jpg", picture("cat", uuid.uuid4().hex))]
        self._before = self._rig.objects(self._folder, delete_markers=True)
        self.keys = [backfill.destination(source.image_id, ImageFormat.JPEG) for source in self._sources]
        case.image_id, case.key = self._sources[0].image_id, self.keys[0]
        case.name_again()
        self.first, self.second = (
            case.upload(s.image_id, key) for s, key in zip(self._sources, self.keys, strict=True)
        )
        ids = "|".join(source.image_id for source in self._sources)
        self._asked = self._rig.rekognition.add({"service": "rekognition", "operation": "DetectLabels", "payload": ids})
        case.at_the_end.append(self._check)

    def _put(self, name: str, data: bytes) -> Source:
        key = self._folder + name
        etag = self._rig.s3.put_object(Bucket=self._rig.bucket, Key=key, Body=data)["ETag"].strip('"')
        return Source(self._rig.bucket, key, etag, len(data))

    def invoke(self) -> dict[str, Any]:
        """RegisterImages' answer, or what it says about its error."""
        items = [
            {"key": source.key, "size": source.size, "etag": f'"{source.etag}"', "storageClass": source.storage_class}
            for source in self._sources
        ]
        return self._rig.invoke(FUNCTION, {"bucket": self._rig.bucket, "backfill": self._folder[:-1], "items": items})

    def attempts_end(self) -> None:
        """Nobody may be copying any more, as it is COPY_SECONDS after the last attempt."""
        for source in self._sources:
            self._rig.copy_ends(source.image_id)

    def register(self) -> dict[str, Any]:
        """Do what the backfill's state machine does with a batch: its last answer, which may still be `busy`."""
        answer = self._retried()
        for _ in range(ROUNDS - 1):
            if answer.get("outcome") == "busy":
                self.attempts_end()
                answer = self._retried()
        return answer

    def _retried(self) -> dict[str, Any]:
        answer = self.invoke()
        for _ in range(_RETRIES):
            if answer.get("errorType") in _RETRIED:
                answer = self.invoke()
        return answer

    def end_as(self, answer: dict[str, Any]) -> None:
        """Note how the batch ended; if not all is registered, the next backfill of the prefix comes."""
        if "errorType" in answer:
            self._case.refuse(f"the run fails ({answer['errorType']})", self.next_backfill)
        elif answer["outcome"] == "busy":
            self._case.refuse("the batch stays busy", self.next_backfill)
        elif "denied" in answer["counts"]:
            self._case.refuse(_DENIED, self.next_backfill)
        elif "changed" in answer["counts"]:
            self._case.refuse("counted as changed", self.next_backfill)

    def next_backfill(self) -> None:
        """Register the batch again, later, when nothing is broken."""
        self.attempts_end()
        answer = self.register()
        good = answer.get("counts", {}).keys() <= {"registered", "known"}
        self._case.require(good and answer.get("outcome") == "registered", f"the next backfill: {answer}")

    def _check(self) -> None:
        require, rig = self._case.require, self._rig
        for source, key in zip(self._sources, self.keys, strict=True):
            executions = rig.record(source.image_id).get("Executions", {}).get("SS", [])
            require(len(executions) == 1, f"claimed by {executions}")
            filed = rig.objects(f"cats/{source.image_id}.", delete_markers=True)
            require(len(filed) == 1, f"filed as {filed}")
            left = rig.objects(key, delete_markers=True)
            require(not left, f"left: {left}")
        require(rig.objects(self._folder, delete_markers=True) == self._before, "the source has changed")
        asked = rig.rekognition.fired(self._asked)
        require(asked == len(self._sources), f"Rekognition was asked {asked} times")


def _retriers() -> list[dict[str, Any]]:
    """Of the state that calls RegisterImages."""
    machine = yaml.safe_load((REPOSITORY / "statemachine" / "backfill.asl.yaml").read_text())
    states = machine["States"]["Register Every Object"]["ItemProcessor"]["States"]
    retriers: list[dict[str, Any]] = states["Register Images"]["Retry"]
    return retriers


_RETRIED = {error for retrier in _retriers() for error in retrier["ErrorEquals"]}
# What is broken for good stays broken: the fewest of all errors' retries will do, and no pauses.
_RETRIES = min(retrier["MaxAttempts"] for retrier in _retriers())


# --- Calls -----------------------------------------------------------------------------------------------------------


def calls(dynamodb: Rules, s3: Rules, s3_head: Rules) -> list[Cell]:
    """Each call of RegisterImages x every fault."""
    throttled, denied = "the run fails (ThrottledError)", "the run fails (AccessDeniedError)"
    fails = {THROTTLED_FOR_GOOD: throttled, DENIED: denied, EXPIRED: denied}
    no_head = fails | dict.fromkeys((THROTTLED_FOR_GOOD, EXPIRED), "the run fails (ServiceError)")
    # The batch waits until an attempt that was throttled is over, and fails after some rounds.
    no_copy = {THROTTLED_FOR_GOOD: "the batch stays busy", DENIED: _DENIED, EXPIRED: _DENIED}
    changed = dict.fromkeys(dynamodb, "counted as changed") | {DENIED: denied, EXPIRED: denied}
    del changed[THROTTLED_FOR_GOOD]  # the next attempt copies, and asks no more
    denials = {fault: dynamodb[fault] for fault in (DENIED, EXPIRED)}
    others = {fault: rule for fault, rule in dynamodb.items() if fault not in denials}
    is_taken = ("dynamodb", "GetItem", "ImageID")
    once = {"error": {"code": "SlowDown", "status": 503}, "times": 1}
    taken = {"error": {"code": "PreconditionFailed", "status": 412}, "times": 1}

    return [
        *_row("announce", ("dynamodb", "PutItem", "CopyClaim"), dynamodb, fails, _NO_RECORD),
        *_row("", ("s3", "CopyObject", _ALBUM), s3, no_copy, _NO_OBJECT, rest=Expected()),
        *_row("look for the copy", ("s3", "HeadObject", "input/backfill/"), s3_head, no_head, _NO_OBJECT, once),
        *_row("take over", ("dynamodb", "UpdateItem", "CopyClaim"), dynamodb, fails, _NO_OBJECT, once, Expected()),
        *_row("key taken", is_taken, others, changed, _NO_OBJECT, taken, Expected()),
        *_row("key taken", is_taken, denials, changed, _NO_OBJECT, taken),
        *_schedule_row(dynamodb, fails),
    ]


def _row(
    what: str,
    call: tuple[str, str, str],
    rules: Rules,
    seen: dict[str, str],
    left: Expected,
    first_copy: dict[str, Any] | None = None,
    rest: Expected = _NO_RECORD,
) -> list[Cell]:
    """`seen` is how the batch ends by itself, by fault; the first picture is `left` then, and the second is the `rest`.

    With `first_copy` the first attempt to copy ends so, and a call is made that else is not. When S3 denies a copy,
    the rest is registered: other objects of the batch may be readable.
    """
    service, operation, also = call

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        refused = seen.get(fault, "")

        def act(case: Case) -> None:
            batch = Batch(case)
            if refused:
                goes_on = refused == _DENIED
                batch.second.expected = replace(Expected() if goes_on else rest, refused=refused)
            if first_copy:
                case.inject("s3", "CopyObject", first_copy, also=_ALBUM)
            number = case.inject(service, operation, rule, also=also)
            batch.end_as(batch.register())
            case.wait_for_fault(number)

        withdrawn = _NO_RECORD if refused == _DENIED else left
        end = replace(withdrawn, refused=refused) if refused else Expected()
        return Cell(f"{operation}: RegisterImages{', ' if what else ''}{what}", fault, act, end)

    return [cell(fault, rule) for fault, rule in rules.items()]


def _schedule_row(rules: Rules, seen: dict[str, str]) -> list[Cell]:
    """A call that names no image, so that these cells run alone."""

    def cell(fault: str, rule: dict[str, Any]) -> Cell:
        def act(case: Case) -> None:
            batch = Batch(case)
            number = case.inject_everywhere("dynamodb", "GetItem", rule, "turns#backfill")
            batch.end_as(batch.register())
            case.wait_for_fault(number)

        end = replace(_NO_RECORD, refused=seen[fault]) if fault in seen else Expected()
        return Cell("GetItem: RegisterImages, schedule", fault, act, end, phase=Phase.ALONE)

    return [cell(fault, rule) for fault, rule in rules.items()]


# --- Twice, late, killed ---------------------------------------------------------------------------------------------


def _again_later(case: Case) -> None:
    batch = Batch(case)
    _require_registered(case, batch.invoke(), registered=2)
    _wait_until_completed(case, batch)
    _require_registered(case, batch.invoke(), known=2)


def _at_once(case: Case) -> None:
    batch = Batch(case)

    def until_registered(_number: int) -> bool:
        return bool(wait_for(lambda: batch.invoke().get("outcome") == "registered", 60))

    with ThreadPoolExecutor(3) as pool:
        case.require(all(pool.map(until_registered, range(3))), "the batch was never registered")


def _beside_a_slow_copy(case: Case) -> None:
    """Whoever comes meanwhile does not copy the first picture, too."""
    batch = Batch(case)
    rule = case.inject("s3", "CopyObject", SLOW, also=_ALBUM)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(batch.invoke)
        case.wait_for_fault(rule)
        _require_wait(case, batch.invoke())
        _require_registered(case, slow.result(), registered=1, known=1)
    _require_registered(case, batch.invoke(), known=2)


def _beside_a_copy_beyond_its_time(case: Case) -> None:
    """An attempt copies when it is over, and another one has copied: S3 refuses, as the key is taken."""
    with case.rig.uploads_ignored():
        batch = Batch(case)
        rule = case.inject("s3", "CopyObject", SLOW, also=_ALBUM)
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(batch.invoke)
            case.wait_for_fault(rule)
            batch.attempts_end()
            _require_registered(case, batch.invoke(), registered=2)
            _require_registered(case, slow.result(), known=2)
        for key in batch.keys:
            versions = case.rig.objects(key)
            case.require(len(versions) == 1, f"copied {len(versions)} times")
    case.rig.reconcile()


def _killed(case: Case) -> None:
    batch = Batch(case)
    _kill_in_copy(case, batch, HANGS)
    _require_wait(case, batch.invoke())
    batch.end_as(batch.register())


def _killed_and_copied(case: Case) -> None:
    """The request is on its way when the process dies: nobody else copies until it must have arrived."""
    batch = Batch(case)
    _kill_in_copy(case, batch, SLOW)
    _require_wait(case, batch.invoke())
    _wait_until_completed(case, batch)
    _require_registered(case, batch.invoke(), known=2)


def _kill_in_copy(case: Case, batch: Batch, fault: dict[str, Any]) -> None:
    rule = case.inject("s3", "CopyObject", fault, also=_ALBUM)
    with ThreadPoolExecutor(1) as pool:
        dying = pool.submit(batch.invoke)
        case.wait_for_fault(rule)
        for process, name in case.rig.workers():
            if name == FUNCTION:
                os.kill(int(process.name), signal.SIGKILL)
        case.require(dying.result().get("errorType") in _RETRIED, f"the state would not try again: {dying.result()}")


def _wait_until_completed(case: Case, batch: Batch) -> None:
    ids = [upload.image_id for upload in (batch.first, batch.second)]
    case.require(
        wait_for(lambda: all(case.rig.status(image_id) == "completed" for image_id in ids), 60), "never completed"
    )


def _require_wait(case: Case, answer: dict[str, Any]) -> None:
    case.require(answer.get("outcome") == "busy", f"another attempt may be copying, and the answer was {answer}")


def _require_registered(case: Case, answer: dict[str, Any], **counts: int) -> None:
    wanted = {"outcome": "registered", "counts": counts}
    case.require(answer == wanted, f"the answer was {answer}, not {wanted}")


STORIES = [
    Cell("batch", "registered again later (RegisterImages)", _again_later, Expected()),
    Cell("batch", "registered by three RegisterImages at once", _at_once, Expected()),
    Cell("batch", "registered beside a RegisterImages that is slow to copy", _beside_a_slow_copy, Expected()),
    Cell(
        "batch",
        "registered beside a RegisterImages that copies beyond its time",
        _beside_a_copy_beyond_its_time,
        Expected(),
        phase=Phase.ALONE,
    ),
    Cell("kill", "RegisterImages while it copies", _killed, Expected(), phase=Phase.ALONE),
    Cell("kill", "RegisterImages, and its copy comes through", _killed_and_copied, Expected(), phase=Phase.ALONE),
]
